//! Measures `footprint` against real servers: throughput, growth, latency, scaling out and recovery. Each scenario checks that both
//! databases hold every record exactly once, and fails otherwise. `tools/trials/README.md` says how to run and read each.

mod bare;
mod caught_up;
mod check;
mod cpu;
mod encode;
mod growth;
mod latency;
mod parts;
mod prepared;
mod producer;
mod recovery;
mod scale_out;
mod settings;
mod site;
mod speed;
mod steady;
mod table;
mod versions;
mod visible;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use footprint_stack::{Progress, Stack, StackOptions};
use tokio::runtime::Runtime;

use self::site::Site;
use crate::trial::build;

/// Measures footprint against real servers. Without a scenario: speed.
#[derive(Parser, Debug)]
#[command(name = "end-to-end", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    /// A setting of footprint for every run, such as FOOTPRINT_PIPELINE__LINGER_MS=20; may be given again
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Use this footprint program instead of building it
    #[arg(long, global = true, value_name = "FILE")]
    footprint: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Scenario {
    Speed(speed::SpeedArgs),
    Growth(growth::GrowthArgs),
    Latency(latency::LatencyArgs),
    ScaleOut(scale_out::ScaleOutArgs),
    Recovery(recovery::RecoveryArgs),
    Settings(settings::SettingsArgs),
    Versions(versions::VersionsArgs),
}

/// The servers of a run, and the program with its settings.
struct Bench {
    stack: Stack,
    runtime: Runtime,
    /// The program's file.
    program: PathBuf,
    /// The program's settings in every run, in addition to the site's own.
    settings: Vec<(String, String)>,
}

impl Bench {
    /// Starts the servers, and lets one group join and leave. When the first group joins, the broker creates the topic of committed
    /// offsets. This takes seconds, which would count against the first measurement.
    fn start(program: PathBuf, settings: Vec<(String, String)>) -> Result<Self> {
        let stack = Stack::start(StackOptions { progress: Progress::stderr(), ..StackOptions::default() })?;
        let bench = Self { stack, runtime: Runtime::new()?, program, settings };
        let topic = "bench_warm_up";
        bench.fill(topic, 1, 1_000)?;
        let mut site = Site::new(&bench, topic)?;
        caught_up::run(&mut site, bare::Sinks::BOTH)?;
        site.drop_databases()?;
        Ok(bench)
    }

    /// Makes a topic with `events` events, all good.
    fn fill(&self, topic: &str, partitions: u16, events: u64) -> Result<()> {
        self.stack.kafka()?.create_topic(topic, partitions, &[])?;
        let site = Site::new(self, topic)?;
        site.fill(events)?;
        let held: i64 = self.stack.kafka()?.end_offsets(topic)?.values().sum();
        ensure!(held.unsigned_abs() == events, "the topic holds {held} records, not {events}");
        site.drop_databases()
    }
}

fn setting(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("a setting is NAME=VALUE")?;
    ensure!(name.starts_with("FOOTPRINT_"), "a setting's name starts with FOOTPRINT_");
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the scenario.
///
/// # Errors
/// A server or the program fails, or a database does not hold what was sent.
pub fn run(arguments: Arguments) -> Result<()> {
    let program = build(arguments.footprint.as_deref())?;
    let bench = Bench::start(program, arguments.set)?;
    match arguments.scenario {
        None => speed::run(&bench, &speed::SpeedArgs::default()),
        Some(Scenario::Speed(args)) => speed::run(&bench, &args),
        Some(Scenario::Growth(args)) => growth::run(&bench, &args),
        Some(Scenario::Latency(args)) => latency::run(&bench, &args),
        Some(Scenario::ScaleOut(args)) => scale_out::run(&bench, &args),
        Some(Scenario::Recovery(args)) => recovery::run(&bench, &args),
        Some(Scenario::Settings(args)) => settings::run(&bench, &args),
        Some(Scenario::Versions(args)) => versions::run(&bench, &args),
    }
}
