//! `versions`: compares several builds of footprint, which take turns with the same topic on the same servers. Read a line's `x`: the rate
//! as a multiple of the first build's.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::bare::Sinks;
use super::caught_up::{self, Run};
use super::latency::{self, LatencyArgs, Measured};
use super::parts::rest;
use super::site::Site;
use super::table::{Spread, Table, grouped, share, thousands_per_second};

/// How fast, and how late, several builds of footprint are, compared with the first one.
#[derive(clap::Args, Debug)]
pub(super) struct VersionsArgs {
    /// A build and its name in the table, such as before=/tmp/footprint; may be given again
    #[arg(long = "program", required = true, value_name = "NAME=PATH", value_parser = build)]
    pub(super) builds: Vec<Build>,
    /// Events in the topic
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) events: u64,
    /// Rounds, each with one run of every build; 0: latencies only
    #[arg(long, default_value_t = 5)]
    pub(super) rounds: u32,
    /// Rounds of the latency at 10,000 events a second, each with one load for every build; 0: none
    #[arg(long, default_value_t = 3)]
    pub(super) latency_rounds: u32,
    /// Partitions of the topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) partitions: u16,
}

/// A build of footprint.
#[derive(Clone, Debug)]
pub(super) struct Build {
    name: String,
    program: PathBuf,
}

fn build(text: &str) -> Result<Build> {
    let (name, program) = text.split_once('=').context("a build is NAME=PATH")?;
    let program = std::fs::canonicalize(program).with_context(|| format!("there is no {program}"))?;
    ensure!(program.is_file(), "{} is no file", program.display());
    Ok(Build { name: name.to_owned(), program })
}

/// A build, and its results.
struct Case<'a> {
    build: &'a Build,
    runs: Vec<Run>,
    loads: Vec<Measured>,
}

/// Runs the scenario.
pub(super) fn run(bench: &Bench, args: &VersionsArgs) -> Result<()> {
    let mut cases: Vec<Case<'_>> =
        args.builds.iter().map(|build| Case { build, runs: Vec::new(), loads: Vec::new() }).collect();
    if args.rounds > 0 {
        speed(bench, args, &mut cases)?;
    }
    if args.latency_rounds > 0 {
        latencies(bench, args, &mut cases)?;
    }
    Ok(())
}

/// The cases in this round's order. In every other round the order is reversed, so that a drift of the machine favours no case.
fn in_turn<'a, 'b>(cases: &'a mut [Case<'b>], round: u32) -> Vec<&'a mut Case<'b>> {
    let mut turns: Vec<_> = cases.iter_mut().collect();
    if round % 2 == 1 {
        turns.reverse();
    }
    turns
}

fn speed(bench: &Bench, args: &VersionsArgs, cases: &mut [Case<'_>]) -> Result<()> {
    let topic = "bench_versions";
    bench.fill(topic, args.partitions, args.events)?;
    for round in 0..args.rounds {
        for case in in_turn(cases, round) {
            let mut site = Site::of_program(bench, topic, &case.build.program)?;
            rest(&bench.stack)?;
            let run = caught_up::run(&mut site, Sinks::BOTH)?;
            site.drop_databases()?;
            eprintln!("round {round}: {}: {:.0} k/s", case.build.name, thousands_per_second(run.events, run.storing));
            case.runs.push(run);
        }
    }
    println!(
        "versions: {} events, {} partitions, {} rounds; medians",
        grouped(args.events),
        args.partitions,
        args.rounds
    );
    let mut table = Table::new(&[
        "",
        "events\nk/s",
        "x",
        "least",
        "greatest",
        "whole\ns",
        "CPU s\na million",
        "servers'",
        "inserts",
        "peak\nMiB",
    ]);
    let rate = |case: &Case<'_>| Spread::of(case.runs.iter().map(|run| thousands_per_second(run.events, run.storing)));
    let first = rate(&cases[0]).median;
    for case in &*cases {
        let median = |of: fn(&Run) -> f64| Spread::of(case.runs.iter().map(of)).median;
        let rate = rate(case);
        table.line(vec![
            case.build.name.clone(),
            format!("{:.0}", rate.median),
            format!("{:.2}", rate.median / first),
            format!("{:.0}", rate.min),
            format!("{:.0}", rate.max),
            format!("{:.2}", median(|run| run.whole.as_secs_f64())),
            format!("{:.2}", median(|run| run.cpu.as_secs_f64() * 1e6 / run.events as f64)),
            format!(
                "{:.2}",
                median(
                    |run| (run.servers.kafka + run.servers.postgres + run.servers.clickhouse) * 1e6 / run.events as f64
                )
            ),
            format!("{:.0}", median(|run| run.parts.inserts as f64)),
            format!("{:.0}", median(|run| run.peak_bytes as f64 / f64::from(1 << 20))),
        ]);
    }
    table.print();
    Ok(())
}

fn latencies(bench: &Bench, args: &VersionsArgs, cases: &mut [Case<'_>]) -> Result<()> {
    let load = LatencyArgs { rate: 10_000, seconds: 20, partitions: args.partitions };
    for round in 0..args.latency_rounds {
        for (number, case) in in_turn(cases, round).into_iter().enumerate() {
            let topic = format!("bench_versions_latency_{round}_{number}");
            latency::make_topic(bench, &topic, load.partitions)?;
            let site = Site::of_program(bench, &topic, &case.build.program)?;
            let measured = latency::measure(&site, &load)?;
            site.drop_databases()?;
            bench.stack.kafka()?.delete_topic(&topic)?;
            eprintln!("round {round}: {}: p50 {:.0} ms", case.build.name, share(&measured.latencies_ms[2], 0.5));
            case.loads.push(measured);
        }
    }
    println!();
    println!(
        "latency: {} events a second, {} partitions, visible in both, {} rounds; medians",
        grouped(load.rate),
        load.partitions,
        args.latency_rounds
    );
    let mut table = Table::new(&["", "p50\nms", "x", "p99\nms", "x", "max\nms", "inserts\na second"]);
    let both = |case: &Case<'_>, part: f64| {
        Spread::of(case.loads.iter().map(|load| share(&load.latencies_ms[2], part))).median
    };
    let first = [0.5, 0.99].map(|part| both(&cases[0], part));
    for case in &*cases {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| both(case, part));
        table.line(vec![
            case.build.name.clone(),
            format!("{p50:.0}"),
            format!("{:.2}", p50 / first[0]),
            format!("{p99:.0}"),
            format!("{:.2}", p99 / first[1]),
            format!("{max:.0}"),
            format!("{:.1}", Spread::of(case.loads.iter().map(|load| load.inserts_per_second)).median),
        ]);
    }
    table.print();
    Ok(())
}
