//! The commands: one file each, short. They are all that uses anyhow, and all that prints to standard output.

mod caught_up;
pub mod check;
pub mod generate;
pub mod migrate;
pub mod run;
pub mod verify;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{Config, flag};
use crate::telemetry;

/// Stores every Kafka event exactly once in PostgreSQL and exactly once in ClickHouse.
///
/// Settings come, weakest first, from the shipped defaults, --config FILE, the old consumer's environment names
/// (BOOTSTRAP_SERVER, GROUP_ID, TOPIC, OFFSET_RESET_CONFIG, DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD, CH_HOST,
/// CH_PORT, CH_USER, CH_PASSWORD, LOG_DIR), FOOTPRINT_SECTION__KEY, and flags. A .env file in the working directory is
/// read; the real environment wins over it.
///
/// Exit status: 0 done or drained, 1 a failure at run time, 2 bad usage or configuration, 3 verify or check found a fault.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// A configuration file (TOML); it needs only what differs from the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How much is logged: error, warn, info, debug, or a filter such as footprint=debug,warn.
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
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

impl Cli {
    /// Reads the configuration, sets up logging, runs the command, and says how it ended. Errors are printed here.
    pub async fn main(self) -> Exit {
        let flags: Vec<_> = self.log.iter().map(|log| ("telemetry.log", flag(log))).collect();
        let config = match Config::load(self.config.as_deref(), &flags) {
            Ok(config) => config,
            Err(error) => return usage(&error),
        };
        let _guard = match telemetry::init_logs(&config.telemetry) {
            Ok(guard) => guard,
            Err(error) => return usage(&error),
        };
        match self.command.run(&config).await {
            Ok(exit) => exit,
            Err(error) => {
                eprintln!("footprint: {error:#}");
                Exit::Failed
            }
        }
    }
}

fn usage(error: &dyn std::error::Error) -> Exit {
    eprintln!("footprint: {error}");
    Exit::Usage
}

impl Command {
    async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        match self {
            Self::Run(args) => run::run(&args, config).await,
            Self::Migrate(args) => migrate::run(&args, config).await,
            Self::Check(args) => check::run(&args, config).await,
            Self::Verify(args) => verify::run(&args, config).await,
            Self::Generate(args) => {
                let kafka = crate::kafka::client_config(&config.kafka);
                generate::run(args, &kafka, &config.routes[0].topic).await.map(|()| Exit::Done)
            }
        }
    }
}
