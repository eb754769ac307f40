//! `speed`: the bare load and the whole way, in turns, with the same rows. The bare load tries several numbers of connections, and the best
//! one counts. Read the ratio, not the rates: machines differ and are noisy, but the two halves of a round differ little.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::bare::{self, Load, Sending, Sinks};
use super::caught_up::{self, Run};
use super::check;
use super::cpu::ServersCpu;
use super::parts::{rest, settle};
use super::prepared::Prepared;
use super::site::Site;
use super::table::{Spread, Table, grouped, seconds, thousands_per_second};

/// Connections to each database, at most.
const CONNECTIONS_MAX: u64 = 16;
/// Numbers of connections that are tried, at most.
const NUMBERS_MAX: usize = 8;

/// How fast a full topic gets into both databases, beside the bare load of the same rows.
#[derive(clap::Args, Debug)]
pub(super) struct SpeedArgs {
    /// Events in the topic; above 2,000,000 a multiple of 500,000
    #[arg(long, default_value_t = Self::default().events, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) events: u64,
    /// Rounds, each with one run, and one bare load for every number of connections
    #[arg(long, default_value_t = Self::default().rounds, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,
    /// Partitions of the topic
    #[arg(long, default_value_t = Self::default().partitions, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) partitions: u16,
    /// Only this database; the other is switched off
    #[arg(long)]
    pub(super) only: Option<Sink>,
    /// Numbers of connections to each database that the bare load tries; the best counts
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [1, 2, 4],
          value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    pub(super) bare_connections: Vec<u64>,
}

impl Default for SpeedArgs {
    fn default() -> Self {
        Self { events: 2_000_000, rounds: 5, partitions: 4, only: None, bare_connections: vec![1, 2, 4] }
    }
}

/// One of the two databases.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Sink {
    /// PostgreSQL
    Postgres,
    /// ClickHouse
    Clickhouse,
}

/// The bare loads with one number of connections, one for each round.
struct Bare {
    connections: usize,
    loads: Vec<Load>,
    servers: Vec<ServersCpu>,
}

impl Bare {
    fn median_seconds(&self) -> f64 {
        Spread::of(self.loads.iter().map(|load| load.elapsed.as_secs_f64())).median
    }
}

/// Runs the scenario.
pub(super) fn run(bench: &Bench, args: &SpeedArgs) -> Result<()> {
    let sinks = match args.only {
        None => Sinks::BOTH,
        Some(Sink::Postgres) => Sinks { postgres: true, clickhouse: false },
        Some(Sink::Clickhouse) => Sinks { postgres: false, clickhouse: true },
    };
    let mut bares = bares(&args.bare_connections)?;
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
    let mut runs = Vec::new();
    for round in 0..args.rounds {
        // each half goes first in every other round, so that a drift of the machine favours neither
        if round % 2 == 0 {
            run_bare_loads(bench, &prepared, args.events, sinks, bares.iter_mut())?;
            runs.push(run_footprint(bench, topic, sinks)?);
        } else {
            runs.push(run_footprint(bench, topic, sinks)?);
            run_bare_loads(bench, &prepared, args.events, sinks, bares.iter_mut().rev())?;
        }
        print_round(round, &bares, &runs);
    }
    println!();
    let best = bares.iter().min_by(|one, other| one.median_seconds().total_cmp(&other.median_seconds()));
    let best = best.context("no bare load")?;
    for bare in &bares {
        let rate = args.events as f64 / bare.median_seconds() / 1e3;
        let is_best = if bare.connections == best.connections { ", the best: it counts below" } else { "" };
        println!("bare load, {}: {rate:.0} k/s{is_best}", connections(bare.connections));
    }
    println!();
    summary(best, &runs, sinks).print();
    Ok(())
}

/// An empty list of bare loads for each of these numbers of connections.
fn bares(numbers: &[u64]) -> Result<Vec<Bare>> {
    ensure!(!numbers.is_empty() && numbers.len() <= NUMBERS_MAX, "--bare-connections takes 1 to {NUMBERS_MAX} numbers");
    let bare =
        |&number: &u64| Ok(Bare { connections: usize::try_from(number)?, loads: Vec::new(), servers: Vec::new() });
    numbers.iter().map(bare).collect()
}

fn connections(count: usize) -> String {
    format!("{count} connection{} a database", if count == 1 { "" } else { "s" })
}

fn print_round(round: u32, bares: &[Bare], runs: &[Run]) {
    let loads = bares.iter().filter_map(|bare| Some((bare.connections, bare.loads.last()?)));
    let loads: Vec<String> =
        loads.map(|(connections, load)| format!("{connections}: {} s", seconds(load.elapsed))).collect();
    if let Some(run) = runs.last() {
        println!(
            "round {round}: bare load by connections {}; footprint {} s from first read to last stored, {} s whole",
            loads.join(", "),
            seconds(run.storing),
            seconds(run.whole)
        );
    }
}

fn ratio(bare: &Load, time: Duration) -> f64 {
    bare.elapsed.as_secs_f64() / time.as_secs_f64()
}

/// Does one bare load with each number of connections, each into empty tables.
fn run_bare_loads<'a>(
    bench: &Bench,
    prepared: &Prepared,
    events: u64,
    sinks: Sinks,
    bares: impl Iterator<Item = &'a mut Bare>,
) -> Result<()> {
    for bare in bares {
        let site = Site::new(bench, "bench_speed")?;
        rest(&bench.stack)?;
        let before = ServersCpu::now(&bench.stack)?;
        let sending = Sending::by(bare.connections);
        bare.loads.push(bare::load(&bench.runtime, &site, prepared, events, sinks, sending)?);
        settle(&bench.stack)?;
        bare.servers.push(ServersCpu::now(&bench.stack)? - before);
        check::bare(&site, prepared, events, sinks)?;
        site.drop_databases()?;
    }
    Ok(())
}

fn run_footprint(bench: &Bench, topic: &str, sinks: Sinks) -> Result<Run> {
    let mut site = Site::new(bench, topic)?;
    rest(&bench.stack)?;
    let run = caught_up::run(&mut site, sinks)?;
    site.drop_databases()?;
    Ok(run)
}

/// The figures of all rounds, one measure on each line.
fn summary(bare: &Bare, runs: &[Run], sinks: Sinks) -> Table {
    let mut table = Table::new(&["", "median", "least", "greatest"]);
    let mut line = |name: &str, digits: usize, values: Vec<f64>| {
        let [median, min, max] = Spread::of(values).cells(digits);
        table.line(vec![name.to_owned(), median, min, max]);
    };
    let events = runs[0].events;
    let million = events as f64 / 1e6;
    let pairs = || bare.loads.iter().zip(runs);
    line(
        "ratio: bare load / footprint, first read to last stored",
        3,
        pairs().map(|(b, r)| ratio(b, r.storing)).collect(),
    );
    line("ratio: bare load / footprint, the whole process", 3, pairs().map(|(b, r)| ratio(b, r.whole)).collect());

    let of_loads = |of: &dyn Fn(&Load) -> f64| bare.loads.iter().map(of).collect::<Vec<_>>();
    line("bare load: thousand rows a second", 0, of_loads(&|load| thousands_per_second(events, load.elapsed)));
    line("bare load: seconds", 3, of_loads(&|load| load.elapsed.as_secs_f64()));
    let of_one = |of: fn(&Load) -> Option<Duration>| {
        bare.loads.iter().filter_map(|load| Some(of(load)?.as_secs_f64())).collect::<Vec<_>>()
    };
    if sinks.postgres {
        line("bare load: seconds of COPY", 3, of_one(|load| load.postgres));
    }
    if sinks.clickhouse {
        line("bare load: seconds of INSERT", 3, of_one(|load| load.clickhouse));
    }
    let of_servers = |of: &dyn Fn(&ServersCpu) -> f64| bare.servers.iter().map(of).collect::<Vec<_>>();
    line("bare load: CPU s a million, sender", 2, of_loads(&|load| load.cpu.as_secs_f64() / million));
    line("bare load: CPU s a million, PostgreSQL", 2, of_servers(&|servers| servers.postgres / million));
    line("bare load: CPU s a million, ClickHouse", 2, of_servers(&|servers| servers.clickhouse / million));

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
