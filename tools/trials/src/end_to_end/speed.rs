//! `speed`: the bare load of the same rows beside the whole way, in turns. Read the ratio, not the rates: machines differ and
//! are noisy, the two halves of a round are not.

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use super::bare::{self, Load, Sinks};
use super::caught_up::{self, Run};
use super::check;
use super::cpu::ServersCpu;
use super::parts::{rest, settle};
use super::prepared::Prepared;
use super::site::Site;
use super::table::{Spread, Table, grouped, seconds, thousands_per_second};

/// How fast a full topic gets into both databases, beside the bare load of the same rows.
#[derive(clap::Args, Debug)]
pub(super) struct SpeedArgs {
    /// Events in the topic; above 2,000,000 a multiple of 100,000
    #[arg(long, default_value_t = Self::DEFAULT.events, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) events: u64,
    /// Rounds, each a bare load and a run
    #[arg(long, default_value_t = Self::DEFAULT.rounds, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,
    /// Partitions of the topic
    #[arg(long, default_value_t = Self::DEFAULT.partitions, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) partitions: u16,
    /// Only this database; the other is switched off
    #[arg(long)]
    pub(super) only: Option<Sink>,
}

impl SpeedArgs {
    /// What the command line defaults to.
    pub(super) const DEFAULT: Self = Self { events: 2_000_000, rounds: 5, partitions: 4, only: None };
}

/// One of the two databases.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Sink {
    /// PostgreSQL
    Postgres,
    /// ClickHouse
    Clickhouse,
}

/// A bare load and what it cost the servers.
struct Bare {
    load: Load,
    servers: ServersCpu,
}

/// Runs the scenario.
pub(super) fn run(bench: &Bench, args: &SpeedArgs) -> Result<()> {
    let sinks = match args.only {
        None => Sinks::BOTH,
        Some(Sink::Postgres) => Sinks { postgres: true, clickhouse: false },
        Some(Sink::Clickhouse) => Sinks { postgres: false, clickhouse: true },
    };
    let topic = "bench_speed";
    bench.fill(topic, args.partitions, args.events)?;
    let prepared = Prepared::new(args.events)?;

    println!(
        "speed: {} events, {} partitions, {} rounds{}",
        grouped(args.events),
        args.partitions,
        args.rounds,
        match args.only {
            None => "",
            Some(Sink::Postgres) => ", PostgreSQL alone",
            Some(Sink::Clickhouse) => ", ClickHouse alone",
        }
    );
    println!("round   bare load               footprint, first read to last stored    whole     ratio");
    let (mut bares, mut runs) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        // each half goes first in every other round, so that a drift of the machine favours neither
        let (bare, run) = if round % 2 == 0 {
            let bare = bare_half(bench, &prepared, args.events, sinks)?;
            (bare, footprint_half(bench, topic, sinks)?)
        } else {
            let run = footprint_half(bench, topic, sinks)?;
            (bare_half(bench, &prepared, args.events, sinks)?, run)
        };
        println!(
            "{round:>5}   {:>6} s {:>7.0} k/s   {:>12} s {:>7.0} k/s              {:>7} s   {:>7.3}",
            seconds(bare.load.elapsed),
            thousands_per_second(args.events, bare.load.elapsed),
            seconds(run.storing),
            thousands_per_second(run.events, run.storing),
            seconds(run.whole),
            ratio(&bare, run.storing)
        );
        bares.push(bare);
        runs.push(run);
    }
    println!();
    summary(&bares, &runs, sinks).print();
    Ok(())
}

fn ratio(bare: &Bare, time: Duration) -> f64 {
    bare.load.elapsed.as_secs_f64() / time.as_secs_f64()
}

fn bare_half(bench: &Bench, prepared: &Prepared, events: u64, sinks: Sinks) -> Result<Bare> {
    let site = Site::new(bench, "bench_speed")?;
    rest(&bench.stack)?;
    let before = ServersCpu::now(&bench.stack)?;
    let load = bare::load(&bench.runtime, &site, prepared, events, sinks)?;
    settle(&bench.stack)?;
    let servers = ServersCpu::now(&bench.stack)? - before;
    check::bare(&site, prepared, events, sinks)?;
    site.drop_databases()?;
    Ok(Bare { load, servers })
}

fn footprint_half(bench: &Bench, topic: &str, sinks: Sinks) -> Result<Run> {
    let mut site = Site::new(bench, topic)?;
    rest(&bench.stack)?;
    let run = caught_up::run(&mut site, sinks)?;
    site.drop_databases()?;
    Ok(run)
}

/// What all rounds say, a measure a line.
fn summary(bares: &[Bare], runs: &[Run], sinks: Sinks) -> Table {
    let mut table = Table::new(&["", "median", "least", "greatest"]);
    let mut line = |name: &str, digits: usize, values: Vec<f64>| {
        let [median, min, max] = Spread::of(values).cells(digits);
        table.line(vec![name.to_owned(), median, min, max]);
    };
    let events = runs[0].events;
    let million = events as f64 / 1e6;
    let pairs = || bares.iter().zip(runs);
    line(
        "ratio: bare load / footprint, first read to last stored",
        3,
        pairs().map(|(b, r)| ratio(b, r.storing)).collect(),
    );
    line("ratio: bare load / footprint, the whole process", 3, pairs().map(|(b, r)| ratio(b, r.whole)).collect());

    let of_bares = |of: &dyn Fn(&Bare) -> f64| bares.iter().map(of).collect::<Vec<_>>();
    line("bare load: thousand rows a second", 0, of_bares(&|b| thousands_per_second(events, b.load.elapsed)));
    line("bare load: seconds", 3, of_bares(&|b| b.load.elapsed.as_secs_f64()));
    let of_one = |of: fn(&Load) -> Option<Duration>| {
        bares.iter().filter_map(|b| Some(of(&b.load)?.as_secs_f64())).collect::<Vec<_>>()
    };
    if sinks.postgres {
        line("bare load: seconds of COPY", 3, of_one(|load| load.postgres));
    }
    if sinks.clickhouse {
        line("bare load: seconds of INSERT", 3, of_one(|load| load.clickhouse));
    }
    line("bare load: CPU s a million, sender", 2, of_bares(&|b| b.load.cpu.as_secs_f64() / million));
    line("bare load: CPU s a million, PostgreSQL", 2, of_bares(&|b| b.servers.postgres / million));
    line("bare load: CPU s a million, ClickHouse", 2, of_bares(&|b| b.servers.clickhouse / million));

    let of_runs = |of: &dyn Fn(&Run) -> f64| runs.iter().map(of).collect::<Vec<_>>();
    line("footprint: thousand events a second", 0, of_runs(&|r| thousands_per_second(events, r.storing)));
    line("footprint: seconds, first read to last stored", 3, of_runs(&|r| r.storing.as_secs_f64()));
    line("footprint: seconds, the whole process", 3, of_runs(&|r| r.whole.as_secs_f64()));
    line("footprint: CPU s a million, itself", 2, of_runs(&|r| r.cpu.as_secs_f64() / million));
    line("footprint: CPU s a million, Kafka", 2, of_runs(&|r| r.servers.kafka / million));
    line("footprint: CPU s a million, PostgreSQL", 2, of_runs(&|r| r.servers.postgres / million));
    line("footprint: CPU s a million, ClickHouse", 2, of_runs(&|r| r.servers.clickhouse / million));
    line("footprint: peak resident memory, MiB", 0, of_runs(&|r| r.peak_bytes as f64 / (1 << 20) as f64));
    line("footprint: ClickHouse inserts", 0, of_runs(&|r| r.parts.inserts as f64));
    line("footprint: ClickHouse parts after the run", 0, of_runs(&|r| r.parts.active as f64));
    table
}
