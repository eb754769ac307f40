//! `footprint config`: shows the settings in force, each with the place that it comes from, and prints their JSON schema.

use footprint_service::config::{self, Shown, misspelt};
use footprint_service::console::{Output, complain};
use footprint_service::environment::{Environment, Note};

use crate::cli::{Exit, usage};

/// Show the settings in force and where each comes from, or print their JSON schema
#[derive(clap::Args, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Show(ShowArgs),
    /// Print the JSON schema (draft 2020-12) of the configuration file, for editors and checks
    Schema,
}

/// Show each setting in force and where it comes from: a default, a line of the file, a variable of the environment or of .env, or a
/// flag
///
/// The output is a configuration file with comments. Secrets are hidden. If the configuration has faults, all of them are printed
/// instead, and the exit status is 2.
#[derive(clap::Args, Debug)]
struct ShowArgs {
    /// Print one JSON document instead
    #[arg(long)]
    json: bool,
}

impl ConfigArgs {
    /// Whether only the schema is wanted, which needs no configuration.
    pub fn asks_for_schema(&self) -> bool {
        matches!(self.command, Command::Schema)
    }
}

/// Shows the settings.
pub fn show(args: &ConfigArgs, shown: &Shown, environment: &Environment, output: &mut Output) -> Exit {
    let is_json = matches!(&args.command, Command::Show(ShowArgs { json: true }));
    if !is_json {
        output.line(shown.text().trim_end());
    } else {
        match serde_json::to_string_pretty(shown) {
            Ok(json) => output.line(json),
            Err(error) => return usage(&error),
        }
    }
    // on standard error: the output may be read by a program
    let ignored = environment.notes().iter().filter_map(|note| match note {
        Note::Ignored(text) => Some(text.clone()),
        Note::File(_) => None,
    });
    ignored.chain(misspelt(environment)).for_each(complain);
    Exit::Done
}

/// Prints the schema.
pub fn schema(output: &mut Output) -> Exit {
    match config::schema() {
        Ok(schema) => {
            output.line(format_args!("{schema:#}"));
            Exit::Done
        }
        Err(error) => usage(&error),
    }
}
