//! `footprint dead-letters`: lists and shows the records that could not be stored, stores those again that have become good, deletes
//! them, and leaves a record out of one database when a person decides so.

mod add;
mod filter;
mod list;
mod purge;
mod replay;
mod show;

use std::time::Duration;

use anyhow::Context as _;
use footprint_service::config::Config;
use footprint_service::console::Output;
use footprint_service::postgres::PostgresError;
use footprint_service::report::Remedy;

use crate::cli::Exit;

/// How long one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one pass over all dead letters may take.
const SCAN_TIMEOUT: Duration = Duration::from_secs(600);

/// List, show, store again or delete the records that could not be stored
///
/// A record that no database can hold, or that one of them refuses, is a row of the table dead_letters, with its payload and the
/// reason. The program adds most of them itself. If a database refuses a batch and does not say for which record, the route
/// stops. `add` then leaves out the record that a person has found to be at fault. Without a command, they are listed.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: list::ListArgs,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Replay(replay::ReplayArgs),
    Purge(purge::PurgeArgs),
    Add(add::AddArgs),
}

/// Runs the command.
///
/// # Errors
/// A server does not answer, or the record cannot be left out.
pub async fn run(args: &DeadLettersArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    match args.command.as_ref() {
        None => list::run(&args.list, config, output).await,
        Some(Command::List(args)) => list::run(args, config, output).await,
        Some(Command::Show(args)) => show::run(args, config, output).await,
        Some(Command::Replay(args)) => replay::run(args, config, output).await,
        Some(Command::Purge(args)) => purge::run(args, config, output).await,
        Some(Command::Add(args)) => add::run(args, config, output).await,
    }
}

/// Waits for an answer about the dead letters.
async fn answered<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(limit, answer).await;
    answer.with_context(|| format!("postgresql does not answer in {limit:?}"))?.map_err(|error| {
        let what_to_do = footprint_service::postgres::error::remedy(&error);
        anyhow::Error::new(Remedy::new(what_to_do, PostgresError::from(error))).context("the dead letters")
    })
}
