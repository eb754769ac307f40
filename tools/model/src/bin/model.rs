//! `cargo model`: visits every state of the protocol's model, walks random histories through it, and takes out its guards.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use footprint_model::check::{Outcome, check};
use footprint_model::guard::Guards;
use footprint_model::scenario::{self, Scenario};
use footprint_model::simulate::{Failure, walk_many};
use footprint_model::teeth;

/// Checks the exactly-once protocol. The decisions are the program's own functions; docs/protocol.md explains them.
#[derive(Parser, Debug)]
#[command(name = "model", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Threads.
    #[arg(long, global = true, default_value_t = 2)]
    threads: usize,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Visits every state that each scenario can reach, and prints their number and depth.
    Check {
        /// Only these scenarios.
        #[arg(value_name = "SCENARIO")]
        names: Vec<String>,
        /// Steps looked at in each scenario, at most [default: until every state was visited].
        #[arg(long, default_value_t = 0)]
        steps_max: usize,
    },
    /// Walks random histories with every fault.
    Simulate {
        /// The number of histories.
        #[arg(long, default_value_t = 50_000)]
        seeds: u64,
        /// The first seed; `--seeds 1` replays one history [default: from the clock].
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Takes out each guard, and shows what breaks.
    Teeth {
        /// Only these guards.
        #[arg(value_name = "GUARD")]
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    let Arguments { command, threads } = Arguments::parse();
    let fine = match command {
        Command::Check { names, steps_max } => check_all(&names, steps_max, threads),
        Command::Simulate { seeds, seed } => simulate(seeds, seed, threads),
        Command::Teeth { names } => show_teeth(&names, threads),
    };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check_all(names: &[String], steps_max: usize, threads: usize) -> bool {
    let chosen: Option<Vec<Scenario>> = match names {
        [] => Some(scenario::all()),
        names => names.iter().map(|name| scenario::named(name)).collect(),
    };
    let Some(chosen) = chosen else {
        let known: Vec<&str> = scenario::all().iter().map(|scenario| scenario.name).collect();
        eprintln!("model: no such scenario; the scenarios are {}", known.join(", "));
        return false;
    };
    let (mut fine, mut states) = (true, 0);
    for Scenario { name, about, config } in &chosen {
        let outcome = check(config, threads, steps_max);
        let Outcome { states: visited, depth, took, broken, whole } = outcome;
        let whole = if whole { "all" } else { "not all" };
        println!("{name:20} {visited:>10} states ({whole}), depth {depth:>3}, {:>6.1} s: {about}", took.as_secs_f64());
        states += visited;
        if let Some((broken, steps)) = broken {
            fine = false;
            for step in steps {
                println!("    {step:?}");
            }
            println!("    {broken:?}");
        }
    }
    println!("{} scenarios, {states} states: {}", chosen.len(), if fine { "nothing breaks" } else { "BROKEN" });
    fine
}

fn simulate(seeds: u64, seed: Option<u64>, threads: usize) -> bool {
    let first = seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    let walked = walk_many(first, seeds, threads, Guards::all());
    println!(
        "{} histories from seed {first}, {} steps, {} faults{}",
        walked.seeds,
        walked.steps,
        walked.faults,
        if walked.failure.is_none() { ": nothing breaks" } else { "" }
    );
    let Some(Failure { seed, broken, steps }) = walked.failure else { return true };
    for step in &steps {
        println!("    {step:?}");
    }
    println!("    {broken:?}; replay with `cargo model simulate --seeds 1 --seed {seed}`");
    false
}

fn show_teeth(chosen: &[String], threads: usize) -> bool {
    let mut fine = true;
    for tooth in teeth::all() {
        let names: Vec<String> = tooth.removed.iter().map(ToString::to_string).collect();
        if !chosen.is_empty() && !names.iter().any(|name| chosen.contains(name)) {
            continue;
        }
        let outcome = tooth.bite(threads);
        println!("without {:40} {:22} {}", names.join(" + "), tooth.scenario, teeth::tell(&outcome));
        fine &= outcome.broken.is_some() == tooth.breaks;
    }
    fine
}
