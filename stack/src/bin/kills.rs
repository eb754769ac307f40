//! `cargo kills`: kills the real program at every named point, and asks an oracle what became of the records.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use footprint_stack::kills::{Deaths, Point, Protocol, Schedule, Site, Tally};
use footprint_stack::trial::{Dice, Program, build_with_failpoints, grouped, keep_log};
use footprint_stack::{Progress, Stack, StackOptions};

/// Kills the running program at every named point, against real servers, and proves after each that nothing was lost or doubled.
///
/// Starts a real Kafka, PostgreSQL and ClickHouse on this machine and builds footprint with its failpoints, in the dev profile
/// and under a name of its own. A round counts only when the program died by SIGKILL at the very point it was armed for. After
/// each it is started again; then every identity sent so far must be in each database once, with the values it was sent with,
/// and fresh events must arrive.
///
/// Exit status: 0 when every point was hit and nothing was lost or doubled, else 1.
#[derive(Parser, Debug)]
#[command(name = "kills", version)]
struct Arguments {
    /// Rounds, spread over all points [default: one for each].
    #[arg(long, value_name = "COUNT")]
    rounds: Option<usize>,

    /// Where the dice start [default: from the clock].
    #[arg(long)]
    seed: Option<u64>,

    /// Only these points.
    #[arg(long, value_name = "NAME", value_parser = point)]
    point: Vec<Point>,

    /// The group protocol of the consumers; with both they take turns.
    #[arg(long, value_enum, default_value_t = GroupProtocol::Both)]
    group_protocol: GroupProtocol,

    /// Use this program, built with failpoints, instead of building it.
    #[arg(long, value_name = "FILE")]
    footprint: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GroupProtocol {
    /// The client assigns.
    Classic,
    /// KIP-848, the broker assigns.
    Consumer,
    /// Now the one, now the other.
    Both,
}

impl GroupProtocol {
    fn protocols(self) -> &'static [Protocol] {
        match self {
            Self::Classic => &[Protocol::Classic],
            Self::Consumer => &[Protocol::Consumer],
            Self::Both => &Protocol::ALL,
        }
    }
}

fn point(name: &str) -> Result<Point, String> {
    let found = Point::ALL.iter().find(|point| point.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        format!("there is no such point; there are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kills: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    let file = build_with_failpoints(arguments.footprint.as_deref())?;
    let stack = Stack::start(StackOptions { progress: Progress::stderr(), ..StackOptions::default() })?;
    let program = Program::new(file, &stack, "kills")?;
    let mut site = Site::new(&stack, program.clone())?;
    let points = if arguments.point.is_empty() { Point::ALL } else { &arguments.point };
    let rounds = arguments.rounds.unwrap_or(points.len());
    let mut dice = Dice::new(seed);
    let mut tally = Tally::new(points.iter().map(|point| point.name()).collect());
    println!("{rounds} rounds of kills at {} points (seed {seed})", points.len());
    let began = Instant::now();
    let schedule = Schedule::new(points, arguments.group_protocol.protocols(), rounds, &mut dice);
    let done = Deaths::new(&mut site, &mut dice, &mut tally).run(schedule);
    print!("{}", tally.table("killed at"));
    let seconds = began.elapsed().as_secs_f64();
    let kills = tally.hits();
    println!("{kills} kills in {seconds:.0} s, {:.2} s each", seconds / f64::from(kills.max(1)));
    if let Err(error) = done {
        keep_log("kills", &program);
        return Err(error).with_context(|| format!("seed {seed}"));
    }
    println!("{} records: 0 lost, 0 doubled, 0 changed in either database", grouped(site.sent()));
    let never = tally.never();
    ensure!(rounds < points.len() || never.is_empty(), "never hit: {}", never.join(", "));
    Ok(())
}
