//! `cargo demo`: events go the whole way once, on real servers, with a kill -9 in the middle. Then the databases prove that nothing was
//! lost or doubled.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use footprint_stack::{Progress, Stack, StackOptions};
use footprint_trials::trial::oracle::{RowConditions, Scope, judge};
use footprint_trials::trial::{
    Dice, Fixture, LedgerRow, Line, Process, Program, Sent, StoredCounts, Watch, build, grouped, keep_log,
};
use tokio::signal::unix::{SignalKind, signal};

const TOPIC: &str = "web-logs-topic";
/// The time between two looks at the ledger during the wait for the moment to kill.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// The time between two looks if nothing depends on the moment.
const SHOW_INTERVAL: Duration = Duration::from_millis(50);
/// A consumer that has stored nothing new for this long has failed.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// At the kill, at least this share of the events must be stored, and at least this share must not be stored.
const WINDOW_EDGE: f64 = 0.05;
/// How often the kill may miss that window. Each try begins with empty tables.
const TRIES_MAX: u32 = 8;
/// The first consumer stores everything in about this many batches. So there are enough moments to choose from, and neither database
/// gets far ahead of the other, since a partition has at most 64 claims.
const BATCHES: u64 = 1_000;
/// The share of records that cannot be stored.
const BAD_SHARE: f64 = 0.001;

/// Stores events exactly once in two real databases, is killed half-way, and proves that nothing was lost or doubled.
///
/// Starts a real Kafka, PostgreSQL and ClickHouse on this machine (no containers; the first time it fetches some 220 MB),
/// builds footprint, and then:
///
///   1. makes the tables             footprint migrate
///   2. sends events to Kafka        footprint generate     (one in a thousand cannot be stored)
///   3. starts storing them          footprint run
///   4. kills that with SIGKILL at a random moment, between 5 % and 95 % stored
///   5. starts it again              footprint run --until-caught-up
///   6. compares Kafka with both databases, record by record     footprint verify
///   7. asks both databases the same questions and compares the answers
///
/// Everything listens on 127.0.0.1 alone, and ends with this program. Exit status: 0 when all is exactly once and all
/// answers agree, else 1.
#[derive(Parser, Debug)]
#[command(name = "demo", version, verbatim_doc_comment)]
struct Arguments {
    /// Events to send.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    events: u64,

    /// Seed of the events and of the moment to kill [default: from the clock].
    #[arg(long)]
    seed: Option<u64>,

    /// Partitions of the topic.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    partitions: u16,

    /// Leave the servers running at the end, until Ctrl-C, and print how to reach them.
    #[arg(long)]
    keep: bool,

    /// Use this footprint program instead of building it.
    #[arg(long, value_name = "FILE")]
    footprint: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Until the end, a signal ends this program at once, and the kernel ends its children.
fn run(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    let stack = Stack::start(StackOptions { progress: Progress::stderr(), ..StackOptions::default() })?;
    let file = build(arguments.footprint.as_deref())?;
    let fixture = Fixture::of_application(&stack, TOPIC, "demo")?;
    let mut program = Program::new(file, &fixture)?;
    // After the kill, the broker admits the same name at once, and does not wait until the dead consumer's session has ended.
    program.set("FOOTPRINT_KAFKA__INSTANCE_NAME", "demo");
    let shown = show(arguments, seed, &fixture, &mut program);
    if shown.is_err() {
        keep_log("demo", &program);
    }
    if arguments.keep {
        keep(&stack, &program)?;
    }
    shown
}

fn show(arguments: &Arguments, seed: u64, fixture: &Fixture<'_>, program: &mut Program) -> Result<()> {
    fixture.stack.kafka()?.create_topic(TOPIC, arguments.partitions, &[])?;
    let watch = Watch::connect(fixture)?;
    let events = arguments.events;
    println!("1. Making the tables, and sending {} events (seed {seed})", grouped(events));
    program.migrate()?;
    let options =
        [("--count", events.to_string()), ("--seed", seed.to_string()), ("--bad-share", BAD_SHARE.to_string())];
    let options: Vec<&str> = options.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
    let (sent, said) = program.generate(&options)?.finish()?;
    println!("   {said}");

    println!("2. Storing them, to be killed half-way");
    let killed = kill_half_way(events, &mut Dice::new(seed), program, &watch)?;
    println!(
        "   kill -9: PostgreSQL held {} rows, ClickHouse {}; {} pending",
        grouped(killed.stored.postgres),
        grouped(killed.stored.clickhouse),
        claims(killed.claim_count)
    );

    println!("3. Storing the rest, after a restart");
    program.set("FOOTPRINT_PIPELINE__BATCH_ROWS_MAX", "100000");
    let began = Instant::now();
    program.note("started again")?;
    catch_up(events, program.consumer(&["--until-caught-up"])?, &watch)?;
    let seconds = began.elapsed().as_secs_f64();
    let rest = events.saturating_sub(killed.recorded);
    println!(
        "   {} records in {seconds:.1} s, start and stop included: {} a second into both databases",
        grouped(rest),
        grouped((rest as f64 / seconds) as u64)
    );

    println!("4. Comparing Kafka with both databases, record by record");
    program.verify()?;
    let sources = watch.ask("select id from footprint_source")?.concat();
    let [source] = sources.as_slice() else { bail!("the ledger knows other sources than one: {sources:?}") };
    let ends = fixture.stack.kafka()?.end_offsets(TOPIC)?;
    let ends = ends.into_iter().map(|(partition, end)| ((source.clone(), partition), end)).collect();
    judge(&watch, &ends, Scope { sources: "true", counts_offsets: true }, &RowConditions::any_values())?
        .must_be_clean()?;
    let stored = watch.stored()?;
    println!("5. Comparing the databases' answers");
    compare_counts(sent, stored)?;
    compare_answers(&watch)?;
    println!("\nEvery event is exactly once in PostgreSQL and exactly once in ClickHouse, through a kill -9.");
    Ok(())
}

/// What the databases held right after the kill.
struct Killed {
    stored: StoredCounts,
    /// Records that the ledger knew to be in both databases.
    recorded: u64,
    claim_count: i32,
}

/// Starts the consumer and kills it at a random moment. Starts again if the moment was missed.
fn kill_half_way(events: u64, dice: &mut Dice, program: &mut Program, watch: &Watch<'_>) -> Result<Killed> {
    let batch_rows = (events / BATCHES).clamp(10, 10_000);
    program.set("FOOTPRINT_PIPELINE__BATCH_ROWS_MAX", &batch_rows.to_string());
    for attempt in 1..=TRIES_MAX {
        // Each try has its own group, so that no commit of an earlier try says that something has been stored.
        program.set("GROUP_ID", &format!("demo-{attempt}"));
        // The moment is well before the edge, because more is stored between the look and the kill.
        let moment = dice.between(WINDOW_EDGE + 0.01, 0.85);
        program.note(&format!("started, to be killed at {:.0} %", moment * 100.0))?;
        let mut consumer = program.consumer(&[])?;
        wait(&mut consumer, watch, LOOK_INTERVAL, "first run", events, |rows| {
            let [postgres, clickhouse] = frontiers(rows).map(|records| records as f64 / events as f64);
            postgres.max(clickhouse) >= moment && postgres.min(clickhouse) > WINDOW_EDGE + 0.01
        })?;
        consumer.kill()?;
        let ledger = watch.ledger()?;
        let stored = watch.stored()?;
        let share = |rows: u64| rows as f64 / events as f64;
        let window = WINDOW_EDGE..=1.0 - WINDOW_EDGE;
        if window.contains(&share(stored.postgres)) && window.contains(&share(stored.clickhouse)) {
            let claim_count = ledger.iter().map(|row| row.claim_count).sum();
            return Ok(Killed { stored, recorded: stored_records(&ledger), claim_count });
        }
        println!(
            "   killed too late, at {} and {} rows: once more, with empty tables",
            grouped(stored.postgres),
            grouped(stored.clickhouse)
        );
        watch.reset()?;
        program.migrate()?;
    }
    bail!("{TRIES_MAX} kills all missed the middle: this machine is too busy; give --events a larger number")
}

/// Waits until the restarted consumer has ended well.
fn catch_up(events: u64, mut consumer: Process, watch: &Watch<'_>) -> Result<()> {
    wait(&mut consumer, watch, SHOW_INTERVAL, "second run", events, |_| false)?;
    // the consumer has ended, so this does not wait
    consumer.succeed(Duration::ZERO).map(drop)
}

/// Looks at the ledger and shows what is stored, until `enough` or until the consumer has ended.
fn wait(
    consumer: &mut Process,
    watch: &Watch<'_>,
    interval: Duration,
    what: &str,
    events: u64,
    enough: impl Fn(&[LedgerRow]) -> bool,
) -> Result<()> {
    let mut line = Line::stderr();
    let began = Instant::now();
    let (mut last, mut moved) = (None, Instant::now());
    let mut first = None;
    loop {
        let rows = watch.ledger()?;
        if enough(&rows) {
            return Ok(());
        }
        if let Some(ended) = consumer.ended()? {
            ensure!(ended.status.success(), "footprint run failed ({})", ended.status);
            return Ok(());
        }
        let stored = stored_records(&rows);
        let first = *first.get_or_insert(stored);
        if last != Some(stored) {
            (last, moved) = (Some(stored), Instant::now());
        }
        ensure!(moved.elapsed() < STALL_LIMIT, "footprint run has stored nothing for {} s", STALL_LIMIT.as_secs());
        line.show(|| {
            let [postgres, clickhouse] = frontiers(&rows);
            let rate = (stored - first.min(stored)) as f64 / began.elapsed().as_secs_f64();
            format!(
                "{what}: {:3.0} %, PostgreSQL {}, ClickHouse {}, {}/s",
                100.0 * stored as f64 / events as f64,
                grouped(postgres),
                grouped(clickhouse),
                grouped(rate as u64)
            )
        });
        std::thread::sleep(interval);
    }
}

/// Records that the ledger knows to be in PostgreSQL, and in ClickHouse.
fn frontiers(rows: &[LedgerRow]) -> [u64; 2] {
    let postgres = rows.iter().map(|row| row.postgres_next.unsigned_abs()).sum();
    [postgres, rows.iter().map(|row| row.clickhouse_next.unsigned_abs()).sum()]
}

/// Records that the ledger knows to be in both databases: offsets start at 0 here, without gaps.
fn stored_records(rows: &[LedgerRow]) -> u64 {
    rows.iter().map(|row| row.postgres_next.min(row.clickhouse_next).unsigned_abs()).sum()
}

fn claims(count: i32) -> String {
    match count {
        0 => "no batch was".to_owned(),
        1 => "1 claimed batch was".to_owned(),
        _ => format!("{count} claimed batches were"),
    }
}

fn compare_counts(sent: Sent, stored: StoredCounts) -> Result<()> {
    println!("   {:<24}{:>14}{:>14}{:>14}", "", "sent", "PostgreSQL", "ClickHouse");
    println!(
        "   {:<24}{:>14}{:>14}{:>14}",
        "events",
        grouped(sent.good),
        grouped(stored.postgres),
        grouped(stored.clickhouse)
    );
    println!("   {:<24}{:>14}{:>14}", "dead letters", grouped(sent.bad), grouped(stored.dead_letters));
    let expected = StoredCounts { postgres: sent.good, clickhouse: sent.good, dead_letters: sent.bad };
    ensure!(stored == expected, "the counts differ: sent {sent:?}, found {stored:?}");
    Ok(())
}

/// One question in both SQL dialects. The first column is a name, the second a count.
struct Question {
    title: &'static str,
    postgres: &'static str,
    clickhouse: &'static str,
    shown_max: usize,
}

/// Both databases order ties by bytes.
const QUESTIONS: [Question; 2] = [
    Question {
        title: "most viewed pages",
        postgres: "select link, count(*) from user_footprint group by link order by 2 desc, link collate \"C\" limit 100",
        clickhouse: "select link, count() as n from prd.user_footprint group by link order by n desc, link limit 100",
        shown_max: 5,
    },
    Question {
        title: "views a minute (UTC)",
        postgres: "select to_char(date_trunc('minute', footprint_time at time zone 'UTC'), 'YYYY-MM-DD HH24:MI') as m, count(*) \
                   from user_footprint group by m order by m",
        clickhouse: "select formatDateTime(toStartOfMinute(footprint_time), '%Y-%m-%d %H:%i', 'UTC') as m, count() \
                     from prd.user_footprint group by m order by m",
        shown_max: 5,
    },
];

fn compare_answers(watch: &Watch<'_>) -> Result<()> {
    for question in &QUESTIONS {
        let ask =
            |what: &str, answer: Result<_>| answer.with_context(|| format!("asking {what} for {}", question.title));
        let began = Instant::now();
        let postgres = ask("PostgreSQL", watch.postgres(question.postgres))?;
        let postgres_time = began.elapsed();
        let began = Instant::now();
        let clickhouse = ask("ClickHouse", watch.clickhouse(question.clickhouse))?;
        let clickhouse_time = began.elapsed();
        println!("\n   {:<38}{:>14}{:>14}", question.title, "PostgreSQL", "ClickHouse");
        for (one, other) in postgres.iter().zip(&clickhouse).take(question.shown_max) {
            println!("   {:<38}{:>14}{:>14}", cut(&one[0], 36), one[1], other[1]);
        }
        let asked = [postgres_time, clickhouse_time].map(|time| format!("{} ms", time.as_millis()));
        println!(
            "   {:<38}{:>14}{:>14}",
            format!("({} rows compared) answered in", postgres.len()),
            asked[0],
            asked[1]
        );
        ensure!(!postgres.is_empty() && postgres == clickhouse, "the databases answer differently: {}", question.title);
    }
    Ok(())
}

fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        text.to_owned()
    } else {
        text.chars().take(length - 1).chain(['…']).collect()
    }
}

fn keep(stack: &Stack, program: &Program) -> Result<()> {
    println!("\nThe servers stay until Ctrl-C. In another shell (bash):\n");
    for (name, value) in program.settings() {
        println!("export {name}={value}");
    }
    println!("\nClickHouse's play page: http://127.0.0.1:{}/play", stack.clickhouse()?.http_port());
    for server in stack.servers() {
        println!("{}: log {}", server.name(), server.log_path().display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        Ok(())
    })
}
