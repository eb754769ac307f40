//! `cargo soak`: kills the real consumer again and again while events keep coming, then counts what was lost or doubled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use clap::{Parser, ValueEnum};
use footprint_stack::{Progress, Stack, StackOptions};
use footprint_trials::trial::oracle::{Judgement, RowConditions, Scope, judge};
use footprint_trials::trial::{
    Dice, Fixture, Generate, LedgerRow, Line, Process, Program, Watch, build, grouped, keep_log,
};

const TOPIC: &str = "soak";
const GROUP: &str = "soak";
const PARTITIONS: u16 = 4;
/// Events that are sent each second. There are enough that a consumer always has a batch under way.
const EVENTS_PER_SECOND: u32 = 1_000;
/// The share of the events that cannot be stored.
const BAD_SHARE: f64 = 0.01;
/// The time between two looks at the ledger.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// Once it has stored rows, a consumer lives for at most this long.
const LIFE_MAX: Duration = Duration::from_millis(300);
/// This share of the lives ends as soon as the ledger shows a claim, the rest at any moment.
const AIMED_SHARE: f64 = 0.7;
/// The time limit of the wait for a claim.
const AIM_LIMIT: Duration = Duration::from_millis(500);
/// This share of the lives ends within `EARLY_MAX` of its start, mostly before it stores: during the take-over, for example.
const EARLY_SHARE: f64 = 0.1;
const EARLY_MAX: Duration = Duration::from_millis(600);
/// A consumer that has stored nothing for this long has failed.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// At the end, everything that was sent must be stored within this time.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(300);

/// Kills the running consumer with SIGKILL, again and again, while events are sent; then proves that none was lost or doubled.
///
/// Starts a real Kafka, PostgreSQL and ClickHouse on this machine and builds footprint. One `footprint generate` sends events
/// all the time. `footprint run` is started, killed at a random moment after it has stored rows, and started again. A kill
/// counts only if that process had stored rows before it died. Most kills are aimed at a moment when the ledger shows a claim
/// that not every database has acknowledged, since a mistake would show there. Some come before anything is stored: they do
/// not count, and the report shows them separately.
///
/// In the end a last consumer catches up, every record's identity in Kafka is looked up in both databases, and `footprint
/// verify` compares the contents. Exit status: 0 when nothing was lost or doubled, else 1.
#[derive(Parser, Debug)]
#[command(name = "soak", version)]
struct Arguments {
    /// Kills that must count.
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,

    /// Seed of the random moments [default: from the clock].
    #[arg(long)]
    seed: Option<u64>,

    /// The group protocol of the consumer.
    #[arg(long, value_enum, default_value_t = GroupProtocol::Classic)]
    group_protocol: GroupProtocol,

    /// Use this footprint program instead of building it.
    #[arg(long, value_name = "FILE")]
    footprint: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GroupProtocol {
    /// The client assigns partitions. The broker admits a restarted consumer at once, by its name.
    Classic,
    /// KIP-848: the broker assigns partitions. A restarted consumer waits until the dead one's session has ended.
    Consumer,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    let stack = Stack::start(StackOptions { progress: Progress::stderr(), ..StackOptions::default() })?;
    let file = build(arguments.footprint.as_deref())?;
    let fixture = Fixture::of_application(&stack, TOPIC, GROUP)?;
    let mut program = Program::new(file, &fixture)?;
    program.set("FOOTPRINT_PIPELINE__BATCH_ROWS_MAX", "100");
    program.set("FOOTPRINT_PIPELINE__LINGER_MS", "10");
    match arguments.group_protocol {
        GroupProtocol::Classic => program.set("FOOTPRINT_KAFKA__INSTANCE_NAME", "soak"),
        GroupProtocol::Consumer => {
            program.set("FOOTPRINT_KAFKA__GROUP_PROTOCOL", "consumer");
            stack.kafka()?.set_group_session(GROUP, Duration::from_millis(1_000), Duration::from_millis(300))?;
        }
    }
    let soaked = soak(arguments.kills, seed, &fixture, &mut program);
    if soaked.is_err() {
        keep_log("soak", &program);
    }
    soaked
}

fn soak(kills: u32, seed: u64, fixture: &Fixture<'_>, program: &mut Program) -> Result<()> {
    let kafka = fixture.stack.kafka()?;
    kafka.create_topic(TOPIC, PARTITIONS, &[])?;
    program.migrate()?;
    let watch = Watch::connect(fixture)?;
    println!("Killing footprint run {kills} times (seed {seed}), while {EVENTS_PER_SECOND} events a second are sent");
    // This number is more than any soak needs: `generate` is stopped at the end.
    let generate = program.generate(&[
        &format!("--rate={EVENTS_PER_SECOND}"),
        &format!("--count={}", u32::MAX),
        &format!("--seed={seed}"),
        &format!("--bad-share={BAD_SHARE}"),
    ])?;
    let began = Instant::now();
    let mut soak = Soak { watch: &watch, program, dice: Dice::new(seed), generate, tally: Tally::default() };
    let mut line = Line::stderr();
    while soak.tally.counted < kills {
        soak.one_life(&mut line)?;
    }
    drop(line);
    let seconds = began.elapsed().as_secs_f64();
    let Soak { generate, tally, .. } = soak;
    generate.stop();
    let (sent, _) = generate.finish()?;
    let expected = kafka.end_offsets(TOPIC)?;
    ensure!(
        expected.values().sum::<i64>().unsigned_abs() == sent.good + sent.bad,
        "Kafka holds other records than were sent: {expected:?} against {sent:?}"
    );
    program.set("FOOTPRINT_PIPELINE__BATCH_ROWS_MAX", "10000");
    catch_up(&expected, program.consumer(&["--until-caught-up"])?, &watch)?;
    println!("{}", tally.report());
    let lives = tally.counted + tally.not_counted;
    println!("{lives} lives in {seconds:.0} s, {:.2} s each", seconds / f64::from(lives));
    let found = identities(&expected, &watch)?;
    println!(
        "{} records sent: {} lost, {} doubled in PostgreSQL; {} lost, {} doubled in ClickHouse",
        grouped(sent.good + sent.bad),
        found.postgres.lost,
        found.postgres.doubled,
        found.clickhouse.lost,
        found.clickhouse.doubled
    );
    program.verify()?;
    found.must_be_clean()?;
    let stored = watch.stored()?;
    ensure!(
        (stored.postgres, stored.clickhouse, stored.dead_letters) == (sent.good, sent.good, sent.bad),
        "the counts differ: sent {sent:?}, found {stored:?}"
    );
    ensure!(
        tally.claim_pending * 2 >= tally.counted,
        "only {} of {} counted kills hit a pending claim: too few to prove much; run it again on a quieter machine",
        tally.claim_pending,
        tally.counted
    );
    Ok(())
}

/// The kills by their kind.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Kills of consumers that had stored rows.
    counted: u32,
    /// Counted kills right after which the ledger held a claim.
    claim_pending: u32,
    /// Counted kills right after which one database held rows that the other did not.
    half_stored: u32,
    /// Kills of consumers that had stored nothing yet.
    not_counted: u32,
}

impl Tally {
    fn report(&self) -> String {
        let Self { counted, claim_pending, half_stored, not_counted } = self;
        format!(
            "kills that counted: {counted}; of these with a claim pending: {claim_pending}, with rows in one database \
             only: {half_stored}; kills that did not count: {not_counted}"
        )
    }
}

struct Soak<'a> {
    watch: &'a Watch<'a>,
    program: &'a Program,
    dice: Dice,
    generate: Generate,
    tally: Tally,
}

impl Soak<'_> {
    /// Starts a consumer, kills it, and counts the kill.
    fn one_life(&mut self, line: &mut Line) -> Result<()> {
        if let Some(status) = self.generate.ended()? {
            bail!("footprint generate has ended ({status})");
        }
        let mut life = Life::new(self.watch.ledger()?);
        let lives = self.tally.counted + self.tally.not_counted;
        self.program.note(&format!("life {}", lives + 1))?;
        let mut consumer = self.program.consumer(&[])?;
        if self.dice.chance(EARLY_SHARE) {
            let end = Instant::now() + EARLY_MAX.mul_f64(self.dice.between(0.0, 1.0));
            self.look_until(&mut consumer, &mut life, end, |_| false)?;
        } else {
            let end = Instant::now() + STALL_LIMIT;
            let stored = self.look_until(&mut consumer, &mut life, end, |life| life.has_stored)?;
            ensure!(stored, "footprint run has stored nothing for {} s", STALL_LIMIT.as_secs());
            let end = Instant::now() + LIFE_MAX.mul_f64(self.dice.between(0.0, 1.0));
            self.look_until(&mut consumer, &mut life, end, |_| false)?;
            if self.dice.chance(AIMED_SHARE) {
                self.look_until(&mut consumer, &mut life, Instant::now() + AIM_LIMIT, |life| life.claim_count > 0)?;
            }
        }
        consumer.kill()?;
        life.look(&self.watch.ledger()?);
        let stored = self.watch.stored()?;
        if life.has_stored {
            self.tally.half_stored += u32::from(stored.postgres != stored.clickhouse);
            self.tally.counted += 1;
            self.tally.claim_pending += u32::from(life.claim_count > 0);
        } else {
            self.tally.not_counted += 1;
        }
        line.show(|| self.tally.report());
        Ok(())
    }

    /// Looks at the ledger until `enough` or until `end`. True: `enough` came first.
    fn look_until(
        &self,
        consumer: &mut Process,
        life: &mut Life,
        end: Instant,
        enough: impl Fn(&Life) -> bool,
    ) -> Result<bool> {
        while Instant::now() < end {
            life.look(&self.watch.ledger()?);
            if enough(life) {
                return Ok(true);
            }
            consumer.must_run()?;
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(false)
    }
}

/// What the ledger shows of one consumer's life.
struct Life {
    /// The epochs when this life began. A larger epoch belongs to this life.
    epochs: BTreeMap<i32, i64>,
    /// PostgreSQL's position when this life's epoch was first seen. From then on no other process can move it, since every write
    /// compares the epoch. What this life stored before that look is not counted, so no kill counts wrongly.
    first_next: BTreeMap<i32, i64>,
    has_stored: bool,
    claim_count: i32,
}

impl Life {
    fn new(before: Vec<LedgerRow>) -> Self {
        let epochs = before.into_iter().map(|row| (row.partition, row.epoch)).collect();
        Self { epochs, first_next: BTreeMap::new(), has_stored: false, claim_count: 0 }
    }

    fn look(&mut self, rows: &[LedgerRow]) {
        self.claim_count = rows.iter().map(|row| row.claim_count).sum();
        for row in rows.iter().filter(|row| self.epochs.get(&row.partition).is_none_or(|epoch| row.epoch > *epoch)) {
            let first = *self.first_next.entry(row.partition).or_insert(row.postgres_next);
            self.has_stored |= row.postgres_next > first;
        }
    }
}

/// Waits until the last consumer has stored all and ended well.
fn catch_up(expected: &BTreeMap<i32, i64>, mut consumer: Process, watch: &Watch<'_>) -> Result<()> {
    let mut line = Line::stderr();
    let end = Instant::now() + CATCH_UP_LIMIT;
    loop {
        if let Some(ended) = consumer.ended()? {
            ensure!(ended.status.success(), "footprint run failed ({})", ended.status);
            break;
        }
        ensure!(Instant::now() < end, "the last consumer has not caught up within {} s", CATCH_UP_LIMIT.as_secs());
        let left = behind(expected, &watch.ledger()?);
        line.show(|| format!("catching up: {} records to go", grouped(left)));
        std::thread::sleep(Duration::from_millis(20));
    }
    let left = behind(expected, &watch.ledger()?);
    ensure!(left == 0, "footprint run --until-caught-up ended with {left} records to go");
    Ok(())
}

fn behind(expected: &BTreeMap<i32, i64>, rows: &[LedgerRow]) -> u64 {
    let next = |partition: &i32| {
        let row = rows.iter().find(|row| row.partition == *partition);
        row.map_or(0, |row| row.postgres_next.min(row.clickhouse_next))
    };
    expected.iter().map(|(partition, end)| (end - next(partition)).max(0).unsigned_abs()).sum()
}

/// Looks up every identity, without footprint's help.
fn identities(expected: &BTreeMap<i32, i64>, watch: &Watch<'_>) -> Result<Judgement> {
    let sources = watch.ask(&format!("select id from footprint_source where topic = '{TOPIC}'"))?.concat();
    let [source] = sources.as_slice() else {
        bail!("the ledger knows the topic by other sources than one: {sources:?}")
    };
    let ends = expected.iter().map(|(&partition, &end)| ((source.clone(), partition), end)).collect();
    judge(watch, &ends, Scope { sources: "true", counts_offsets: true }, &RowConditions::any_values())
}
