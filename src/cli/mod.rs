//! The commands: one short file for each. Only they use anyhow, and only they send lines to standard output.

mod at;
mod caught_up;
pub mod check;
pub mod completions;
pub mod config;
pub mod dead_letters;
pub mod diagnose;
pub mod generate;
pub mod health;
pub mod migrate;
pub mod offsets;
mod partition_table;
pub mod pause;
pub mod run;
pub mod top;
pub mod verify;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use footprint_service::config::{Config, Shown, misspelt};
use footprint_service::console::{self, Output, complain};
use footprint_service::environment::{Environment, Note};
use footprint_service::report::Chain;
use footprint_service::signals::Signals;
use footprint_service::telemetry::logging;
use tracing::{info, warn};

/// Stores every Kafka event exactly once in PostgreSQL and exactly once in ClickHouse.
///
/// Settings come, weakest first, from the shipped defaults, --config FILE, the old consumer's environment names
/// (BOOTSTRAP_SERVER, GROUP_ID, TOPIC, OFFSET_RESET_CONFIG, DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD, CH_HOST,
/// CH_PORT, CH_USER, CH_PASSWORD, LOG_DIR, LOG_LEVEL), FOOTPRINT_SECTION__KEY, and flags. A .env file in the working directory
/// is read as python-dotenv reads it; the real environment wins over it.
///
/// Exit status: 0 done or drained, 1 a failure at run time or interrupted before the end, 2 bad usage or configuration, 3 verify
/// or check found a fault.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// A configuration file (TOML); it needs only what differs from the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How much is logged: error, warn, info, debug, trace or off, Python's words too, or a filter such as
    /// footprint=debug,warn.
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// How a line of the log looks: text, json, or auto: text on a terminal, JSON anywhere else.
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(run::RunArgs),
    Migrate(migrate::MigrateArgs),
    Check(check::CheckArgs),
    Generate(generate::GenerateArgs),
    Verify(verify::VerifyArgs),
    DeadLetters(Box<dead_letters::DeadLettersArgs>),
    Offsets(offsets::OffsetsArgs),
    Config(config::ConfigArgs),
    Completions(completions::CompletionsArgs),
    Health(health::HealthArgs),
    Diagnose(diagnose::DiagnoseArgs),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Top(top::TopArgs),
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done or drained.
    Done = 0,
    /// A failure at run time.
    Failed = 1,
    /// Bad usage or configuration.
    Usage = 2,
    /// `verify` or `check` found a fault.
    Fault = 3,
}

/// The whole program: reads the command line, runs the command, and returns how it ended. Help and usage errors need only the
/// command line.
pub async fn main(signals: &Signals) -> Exit {
    let mut output = Output::standard();
    let exit = match Cli::try_parse() {
        Ok(cli) => cli.run(signals, &mut output).await,
        Err(error) => print_usage(&error, &mut output),
    };
    let Some(error) = output.lost() else { return exit };
    complain(format_args!(
        "standard output: {error}; not everything was printed; otherwise the end was: {}",
        exit.name()
    ));
    Exit::Failed
}

/// Prints help, the version, or what is wrong with the command line.
fn print_usage(error: &clap::Error, output: &mut Output) -> Exit {
    let text = error.render();
    if error.use_stderr() {
        if console::errors_are_coloured() {
            console::complain_styled(text.ansi())
        } else {
            console::complain_styled(text)
        }
        return Exit::Usage;
    }
    let text = if console::is_coloured() { text.ansi().to_string() } else { text.to_string() };
    output.styled(text.trim_end());
    Exit::Done
}

impl Exit {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "a failure",
            Self::Usage => "bad usage or configuration",
            Self::Fault => "a fault was found",
        }
    }
}

impl Cli {
    /// Reads the configuration, sets up logging, and runs the command. Errors are printed here.
    async fn run(self, signals: &Signals, output: &mut Output) -> Exit {
        // these two need no configuration
        match &self.command {
            Command::Completions(args) => return completions::run(args, output),
            Command::Config(args) if args.asks_for_schema() => return config::schema(output),
            _ => {}
        }
        let environment = Environment::load();
        let flags = [("telemetry.log", self.log), ("telemetry.log_format", self.log_format)];
        let flags: Vec<_> = flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let (config, shown) = match Config::load_shown(self.config.as_deref(), &environment, &flags) {
            Ok(loaded) => loaded,
            Err(error) => return usage(&error),
        };
        if let Command::Config(args) = &self.command {
            return config::show(args, &shown, &environment, output);
        }
        // `top` keeps no log: its lines would run through the view, and into the log file of the consumer
        let logs = (!matches!(self.command, Command::Top(_))).then(|| logging::start(&config.telemetry));
        let _logs = match logs.transpose() {
            Ok(logs) => logs,
            Err(error) => return usage(&error),
        };
        for note in environment.notes() {
            match note {
                Note::File(text) => info!("{text}"),
                Note::Ignored(text) => warn!("{text}"),
            }
        }
        misspelt(&environment).iter().for_each(|text| warn!("{text}"));
        let ended = match self.command {
            Command::Diagnose(args) => {
                let collecting = diagnose::run(&args, self.config, &config, &shown, output);
                unless_asked(signals, "diagnose", collecting).await
            }
            command => command.run(&config, &shown, signals, output).await,
        };
        match ended {
            Ok(exit) => exit,
            Err(error) => {
                complain(Chain(&*error));
                Exit::Failed
            }
        }
    }
}

fn usage(error: &(dyn std::error::Error + 'static)) -> Exit {
    complain(Chain(error));
    Exit::Usage
}

impl Command {
    async fn run(self, config: &Config, shown: &Shown, signals: &Signals, output: &mut Output) -> anyhow::Result<Exit> {
        match self {
            Self::Run(args) => run::run(&args, config, shown, signals, output).await,
            Self::Migrate(args) => migrate::run(&args, config, signals, output).await,
            Self::Check(args) => check::run(&args, config, signals, output).await,
            // a repair that is ended leaves what it inserted, and the next one inserts the rest
            Self::Verify(args) => unless_asked(signals, "verify", verify::run(&args, config, output)).await,
            Self::DeadLetters(args) => {
                unless_asked(signals, "dead-letters", dead_letters::run(&args, config, output)).await
            }
            Self::Pause(args) => unless_asked(signals, "pause", pause::pause(&args, config, output)).await,
            Self::Resume(args) => unless_asked(signals, "resume", pause::resume(&args, config, output)).await,
            Self::Offsets(args) => unless_asked(signals, "offsets", offsets::run(&args, config, output)).await,
            // they have ended before
            Self::Config(_) | Self::Completions(_) | Self::Diagnose(_) => Ok(Exit::Done),
            Self::Health(args) => unless_asked(signals, "health", health::run(&args, config, output)).await,
            Self::Top(args) => top::run(&args, config, signals, output).await,
            Self::Generate(args) => generate::run(args, &config.kafka, &config.routes[0].topic, signals, output).await,
        }
    }
}

/// Runs a command that only reads. A signal ends it at once.
async fn unless_asked(
    signals: &Signals,
    name: &str,
    command: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    tokio::select! {
        biased;
        ended = command => ended,
        () = signals.wait() => Err(anyhow::anyhow!("interrupted: `{name}` was stopped before its end and has no result")),
    }
}
