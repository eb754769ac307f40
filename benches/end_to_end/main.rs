//! `footprint` against real servers: how fast, how it grows, how late, how it scales and how it recovers. Each scenario checks
//! that both databases hold every record exactly once, or fails. `benches/README.md` says how to run and read each.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on panics")]
#![allow(missing_docs, unreachable_pub, reason = "nothing else uses it")]

mod bare;
mod caught_up;
mod check;
mod child;
mod cpu;
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
mod visible;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use footprint_stack::{Stack, StackOptions};
use tokio::runtime::Runtime;

use crate::site::Site;

/// Measures footprint against real servers. Without a scenario: speed.
#[derive(Parser, Debug)]
#[command(max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    /// A setting of footprint for every run, such as FOOTPRINT_PIPELINE__LINGER_MS=20; may be given again
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// What cargo says to every benchmark
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand, Debug)]
enum Scenario {
    Speed(speed::SpeedArgs),
    Growth(growth::GrowthArgs),
    Latency(latency::LatencyArgs),
    ScaleOut(scale_out::ScaleOutArgs),
    Recovery(recovery::RecoveryArgs),
    Settings(settings::SettingsArgs),
}

/// The servers of a run, and what speaks to them.
struct Bench {
    stack: Stack,
    runtime: Runtime,
}

impl Bench {
    /// Starts the servers, and lets one group come and go: the broker's first makes the topic of committed offsets, seconds
    /// that would be counted against the first measurement.
    fn start() -> Result<Self> {
        let bench = Self { stack: Stack::start(StackOptions::default())?, runtime: Runtime::new()? };
        let topic = "bench_warm_up";
        bench.fill(topic, 1, 1_000)?;
        let mut site = Site::new(&bench.stack, topic)?;
        caught_up::run(&mut site, bare::Sinks::BOTH)?;
        site.drop_databases()?;
        Ok(bench)
    }

    /// Makes a topic with `events` events, all good.
    fn fill(&self, topic: &str, partitions: u16, events: u64) -> Result<()> {
        self.stack.kafka()?.create_topic(topic, partitions, &[])?;
        let site = Site::new(&self.stack, topic)?;
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

fn main() -> Result<()> {
    // `cargo test --benches` only asks whether it builds
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let cli = Cli::parse();
    site::set_for_all(cli.set);
    let bench = Bench::start()?;
    match cli.scenario {
        None => speed::run(&bench, &speed::SpeedArgs::DEFAULT),
        Some(Scenario::Speed(args)) => speed::run(&bench, &args),
        Some(Scenario::Growth(args)) => growth::run(&bench, &args),
        Some(Scenario::Latency(args)) => latency::run(&bench, &args),
        Some(Scenario::ScaleOut(args)) => scale_out::run(&bench, &args),
        Some(Scenario::Recovery(args)) => recovery::run(&bench, &args),
        Some(Scenario::Settings(args)) => settings::run(&bench, &args),
    }
}
