//! `growth`: how the speed changes with more partitions, and with more rows already in the tables.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::Bench;
use super::bare::{self, Sending, Sinks};
use super::caught_up::{self, Run};
use super::check;
use super::parts::rest;
use super::prepared::{Prepared, ROWS_MAX};
use super::site::Site;
use super::table::{Spread, Table, grouped, thousands_per_second};

/// Partitions of the topic in the cases with more and more stored rows.
const PARTITIONS: u16 = 4;

/// How more partitions and more stored rows change the speed.
#[derive(clap::Args, Debug)]
pub(super) struct GrowthArgs {
    /// Events of each run
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) events: u64,
    /// Numbers of partitions; empty for none
    #[arg(long, value_delimiter = ',', num_args = 0.., default_values_t = [1, 4, 16, 64])]
    pub(super) partitions: Vec<u16>,
    /// Rows in the tables before a run, each a multiple of 500,000; empty for none
    #[arg(long, value_delimiter = ',', num_args = 0.., default_values_t = [0, 5_000_000, 20_000_000])]
    pub(super) stored: Vec<u64>,
    /// How often each is measured
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,
}

/// One case of the scenario, and its runs.
struct Case {
    partitions: u16,
    stored: u64,
    runs: Vec<Run>,
}

/// Runs the scenario.
pub(super) fn run(bench: &Bench, args: &GrowthArgs) -> Result<()> {
    let case = |partitions, stored| Case { partitions, stored, runs: Vec::new() };
    let mut by_partitions: Vec<Case> = args.partitions.iter().map(|&partitions| case(partitions, 0)).collect();
    let mut by_stored: Vec<Case> = args.stored.iter().map(|&stored| case(PARTITIONS, stored)).collect();
    let topics: BTreeSet<u16> = by_partitions.iter().chain(&by_stored).map(|case| case.partitions).collect();
    for &partitions in &topics {
        bench.fill(&topic(partitions), partitions, args.events)?;
    }
    let prepared = Prepared::new(args.stored.iter().copied().max().unwrap_or(0).min(ROWS_MAX))?;
    for round in 0..args.rounds {
        let mut cases: Vec<&mut Case> = by_partitions.iter_mut().chain(&mut by_stored).collect();
        // in every other round the order is reversed, so that a drift of the machine favours no case
        if round % 2 == 1 {
            cases.reverse();
        }
        for case in cases {
            eprintln!("round {round}: {} partitions, {} rows stored", case.partitions, grouped(case.stored));
            case.runs.push(measure(bench, &prepared, case)?);
        }
    }
    println!("growth: {} events a run, medians of {} rounds", grouped(args.events), args.rounds);
    print("partitions", &by_partitions, |case| case.partitions.to_string());
    print(&format!("rows stored, {PARTITIONS} partitions"), &by_stored, |case| grouped(case.stored));
    Ok(())
}

fn topic(partitions: u16) -> String {
    format!("bench_growth_{partitions}")
}

fn measure(bench: &Bench, prepared: &Prepared, case: &Case) -> Result<Run> {
    let mut site = Site::new(bench, &topic(case.partitions))?;
    if case.stored > 0 {
        bare::load(&bench.runtime, &site, prepared, case.stored, Sinks::BOTH, Sending::by(1))?;
        // otherwise autovacuum would do this in the middle of the run
        site.postgres("vacuum (analyze) user_footprint")?;
        check::bare(&site, prepared, case.stored, Sinks::BOTH)?;
    }
    rest(&bench.stack)?;
    let run = caught_up::run(&mut site, Sinks::BOTH)?;
    site.drop_databases()?;
    Ok(run)
}

/// Prints one table. Each `x` is the value as a multiple of the first line's.
fn print(first: &str, cases: &[Case], name: impl Fn(&Case) -> String) {
    if cases.is_empty() {
        return;
    }
    let mut headings = vec![first];
    for (heading, _) in MEASURES {
        headings.extend([heading, "x"]);
    }
    let mut table = Table::new(&headings);
    for case in cases {
        let mut cells = vec![name(case)];
        for (_, of) in MEASURES {
            let median = |case: &Case| Spread::of(case.runs.iter().map(of)).median;
            cells.extend([format!("{:.0}", median(case)), format!("{:.2}", median(case) / median(&cases[0]))]);
        }
        table.line(cells);
    }
    println!();
    table.print();
}

/// A column's heading, and what of a run it shows.
type Measure = (&'static str, fn(&Run) -> f64);

const MEASURES: [Measure; 5] = [
    ("events\nk/s", |run| thousands_per_second(run.events, run.storing)),
    ("peak\nMiB", |run| run.peak_bytes as f64 / f64::from(1 << 20)),
    ("CPU ms\na million", |run| run.cpu.as_secs_f64() * 1e3 / run.events as f64 * 1e6),
    ("parts\nafter", |run| run.parts.active as f64),
    ("inserts\na second", |run| run.parts.inserts as f64 / at_least_a_millisecond(run.storing)),
];

fn at_least_a_millisecond(time: Duration) -> f64 {
    time.as_secs_f64().max(0.001)
}
