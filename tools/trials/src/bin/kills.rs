//! `cargo kills`: kills the real program at every named point, and lets an oracle check the records.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use footprint_stack::{APPLICATION_DATABASE, Progress, Stack, StackOptions};
use footprint_trials::kills::{
    Deaths, LOSSES, Loss, Losses, Point, Protocol, Schedule, Site, Suspensions, Tally, can_be_stopped,
};
use footprint_trials::trial::{Dice, Fixture, Program, build_with_failpoints, grouped, keep_log};

/// Kills the running program at every named point, against real servers, and proves after each that nothing was lost or doubled.
///
/// Starts a real Kafka, PostgreSQL and ClickHouse on this machine and builds footprint with its failpoints, in the dev profile and under a
/// name of its own. A round counts only if the program died by SIGKILL at exactly the point it was armed for. After each round it is
/// started again. Then every identity sent so far must be in each database once, with the values it was sent with, and new events must
/// arrive.
///
/// With --action stop the program is stopped at the point for longer than the group waits. Another one takes its partitions and continues,
/// and then the first one wakes. With --action lose a proxy forwards a request and drops the answer, or withholds it until the program
/// gives up; the points are then the names of answers.
///
/// Exit status: 0 when every point was hit and nothing was lost or doubled, else 1.
#[derive(Parser, Debug)]
#[command(name = "kills", version)]
struct Arguments {
    /// Rounds, spread over all points [default: one for each].
    #[arg(long, value_name = "COUNT")]
    rounds: Option<usize>,

    /// Seed of the random choices [default: from the clock].
    #[arg(long)]
    seed: Option<u64>,

    /// Only these points.
    #[arg(long, value_name = "NAME")]
    point: Vec<String>,

    /// What happens at the points.
    #[arg(long, value_enum, default_value_t = Action::Kill)]
    action: Action,

    /// The group protocol of the consumers; with both they take turns.
    #[arg(long, value_enum, default_value_t = GroupProtocol::Both)]
    group_protocol: GroupProtocol,

    /// Remove a guard, to see that the rounds then fail.
    #[arg(long, value_enum, value_name = "GUARD")]
    without: Option<Guard>,

    /// Number of inserts whose tokens ClickHouse's table remembers. With 0 no token hides a mistake: deaths and lost answers must do
    /// without tokens. A suspended program may need them.
    #[arg(long, value_name = "COUNT")]
    deduplication_window: Option<u32>,

    /// Shortest time that ClickHouse works on an insert, so that some inserts still run when the next program starts.
    #[arg(long, value_name = "MILLISECONDS")]
    insert_ms: Option<u32>,

    /// Use this program, built with failpoints, instead of building it.
    #[arg(long, value_name = "FILE")]
    footprint: Option<PathBuf>,
}

/// How many points `--action all` chooses for suspensions. They are few, because each suspension takes seconds.
const STOPS_AMONG_ALL: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GroupProtocol {
    /// The client assigns partitions.
    Classic,
    /// KIP-848: the broker assigns partitions.
    Consumer,
    /// Each in turn.
    Both,
}

/// Guards that only the real program can leave out. The model leaves out the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Guard {
    /// PostgreSQL's compare-and-set comes after COPY, with the commit.
    CompareLast,
    /// All inserts of a partition in ClickHouse have one query id.
    Fence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// The program dies.
    Kill,
    /// The program stops, another one takes over, and the first one continues.
    Stop,
    /// The program does not get its answer.
    Lose,
    /// Each in turn: kill at every point, stop at some points, lose every answer.
    All,
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
    let actions: &[Action] = match arguments.action {
        Action::All => &[Action::Kill, Action::Stop, Action::Lose],
        Action::Kill => &[Action::Kill],
        Action::Stop => &[Action::Stop],
        Action::Lose => &[Action::Lose],
    };
    let file = build_with_failpoints(arguments.footprint.as_deref())?;
    let stack = Stack::start(StackOptions { progress: Progress::stderr(), ..StackOptions::default() })?;
    let fixture = Fixture::of_application(&stack, "kills", "kills")?;
    let mut program = Program::new(file, &fixture)?;
    if let Some(guard) = arguments.without {
        let name = match guard {
            Guard::CompareLast => "compare-last",
            Guard::Fence => "fence",
        };
        program.set("FOOTPRINT_FAILPOINT_WITHOUT", name);
    }
    let mut site = Site::new(&fixture, program.clone())?;
    change_table(&stack, arguments)?;
    println!("seed {seed}");
    for &action in actions {
        let done = rounds_of(action, arguments, seed, &mut site);
        if done.is_err() {
            keep_log("kills", &program);
        }
        done.with_context(|| format!("seed {seed}"))?;
    }
    println!("{} records: 0 lost, 0 doubled, 0 changed in either database", grouped(site.sent()));
    Ok(())
}

/// Changes ClickHouse's table according to the options.
fn change_table(stack: &Stack, arguments: &Arguments) -> Result<()> {
    let mut changes = Vec::new();
    if let Some(window) = arguments.deduplication_window {
        changes.push(format!("modify setting non_replicated_deduplication_window = {window}"));
    }
    if let Some(ms) = arguments.insert_ms {
        // computed for every insert, before any of it is stored
        changes.push(format!("add column slow UInt8 materialized sleep({:.3})", f64::from(ms) / 1_000.0));
    }
    for change in changes {
        stack.clickhouse()?.query(&format!("alter table {APPLICATION_DATABASE}.user_footprint {change}"))?;
    }
    Ok(())
}

/// Runs all rounds of one action, and prints their table.
fn rounds_of(action: Action, arguments: &Arguments, seed: u64, site: &mut Site<'_>) -> Result<()> {
    let protocols = arguments.group_protocol.protocols();
    let names: Vec<&'static str> = match action {
        Action::Lose => LOSSES.iter().map(|loss| loss.name).collect(),
        Action::Stop => Point::ALL.iter().copied().filter(|&point| can_be_stopped(point)).map(Point::name).collect(),
        Action::Kill | Action::All => Point::ALL.iter().map(|point| point.name()).collect(),
    };
    if let Some(unknown) = arguments.point.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("there is no {unknown:?} for this action; there are {}", names.join(", "));
    }
    let chosen = |name: &&'static str| arguments.point.is_empty() || arguments.point.iter().any(|found| found == name);
    let mut names: Vec<&'static str> = names.into_iter().filter(chosen).collect();
    let mut dice = Dice::new(seed);
    if action == Action::Stop {
        dice.shuffle(&mut names);
        if arguments.action == Action::All {
            names.truncate(STOPS_AMONG_ALL);
        }
    }
    let points: Vec<Point> =
        names.iter().filter_map(|name| Point::ALL.iter().find(|point| point.name() == *name)).copied().collect();
    let rounds = arguments.rounds.unwrap_or(names.len());
    let mut tally = Tally::new(names.clone());
    let began = Instant::now();
    let (done, verb) = match action {
        Action::Stop => (Suspensions::new(site, &mut dice, &mut tally).run(&points, protocols, rounds), "suspensions"),
        Action::Lose => {
            let losses: Vec<&Loss> = LOSSES.iter().filter(|loss| names.contains(&loss.name)).collect();
            (Losses::new(site, &mut dice, &mut tally)?.run(&losses, protocols, rounds), "answers lost")
        }
        Action::Kill | Action::All => {
            let schedule = Schedule::new(&points, protocols, rounds, &mut dice);
            (Deaths::new(site, &mut dice, &mut tally).run(schedule), "kills")
        }
    };
    print!("{}", tally.table(verb));
    let (seconds, hits) = (began.elapsed().as_secs_f64(), tally.hits());
    println!("{hits} {verb} in {seconds:.0} s, {:.2} s each", seconds / f64::from(hits.max(1)));
    done?;
    let never = tally.never();
    ensure!(rounds < names.len() || never.is_empty(), "never: {}", never.join(", "));
    Ok(())
}
