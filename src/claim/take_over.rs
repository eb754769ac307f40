//! Taking a partition over: asks Kafka, the ledger and ClickHouse in the order that the protocol demands, and lets
//! `protocol/take_over.rs` decide. Runs beside the reader, as often as it takes.

mod definitions;
mod first_start;

use std::sync::Arc;
use std::time::Duration;

use footprint_event::definition::Definition;
use footprint_protocol::first_start::FirstStart;
use footprint_protocol::ledger::{Row, SourceId};
use footprint_protocol::offset::{Offset, Partition, Range};
use footprint_protocol::take_over::{
    Corrupt, Gap, Observed, Switches, insert_id_is_known, must_drain, question_from, settle, switch,
};
use footprint_service::config::OffsetReset;
use footprint_service::failpoint::{self, Point};
use footprint_service::kafka::{AskError, Inquirer};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::ledger::ownership::{LeftOut, Ownership};
use crate::ledger::proof::{Proof, Proofs};
use crate::ledger::statements::{Fence, Ledger, LedgerError, Taken, fresh_owner};
use crate::store::clickhouse::migrate::Migrator;
use crate::store::clickhouse::readback::Questions;
use crate::store::sink::SinkError;

/// How long one question to Kafka may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the search for where a log can be read again may take.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(120);
/// How long older inserts are waited out.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Why there is a gap where Kafka could not give records.
const UNREADABLE: &str = "could not be read from kafka's log";
/// How far below ClickHouse's frontier its last rows are looked for.
const LOST_ROWS_WINDOW: Offset = 1_000_000;

/// What every take-over of a pipeline shares.
pub struct Context {
    /// The route's name.
    pub route: String,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group_id: String,
    /// This process, in the upper half of every owner.
    pub instance: u64,
    /// Questions to Kafka.
    pub inquirer: Arc<Inquirer>,
    /// Questions to ClickHouse; none while it is switched off.
    pub questions: Option<Questions>,
    /// ClickHouse's tables; none when it is off.
    pub clickhouse_tables: Option<Migrator>,
    /// Which sinks are on.
    pub switches: Switches,
    /// The configured first start.
    pub offset_reset: OffsetReset,
    /// Held while the first start on a source is asked for and written down.
    pub starting: Mutex<()>,
    /// What decides a record's row, as the route is configured.
    pub definition: Arc<Definition>,
    /// What voids proofs.
    pub proofs: Arc<Proofs>,
}

/// Why a take-over did not end.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// Try again.
    #[error("{0}")]
    Passing(String),
    /// Try again, [`crate::limits::UNCLEAR_TRIES_MAX`] times; then stop.
    #[error("{why}")]
    Unclear {
        /// What a server said.
        why: String,
        /// What to do when it lasts.
        remedy: String,
    },
    /// The ledger's connection is lost.
    #[error("{0}")]
    LedgerLost(String),
    /// The topic has another id than the life that was to be taken over.
    #[error("the topic was replaced meanwhile")]
    Replaced,
    /// Stop the pipeline.
    #[error("partition {partition}: {why}")]
    Stop {
        /// The partition.
        partition: Partition,
        /// Why, and what to do.
        why: String,
    },
}

impl TakeOverError {
    /// Classes an error of the ledger.
    pub fn of_ledger(error: LedgerError, partition: Partition) -> Self {
        match error {
            LedgerError::Lost(_) => Self::LedgerLost(error.to_string()),
            error if error.is_passing() => Self::Passing(error.to_string()),
            error => Self::Stop { partition, why: error.to_string() },
        }
    }

    fn of_sink(error: &SinkError, partition: Partition) -> Self {
        match error {
            SinkError::Retry { why, .. } => Self::Passing(why.clone()),
            SinkError::Unclear { why, remedy } => Self::Unclear { why: why.clone(), remedy: remedy.clone() },
            SinkError::Stop { .. } => Self::Stop { partition, why: error.to_string() },
        }
    }

    fn of_corrupt(corrupt: &Corrupt, partition: Partition) -> Self {
        Self::Stop { partition, why: corrupt.to_string() }
    }
}

/// Records that cannot be read and are given up.
#[derive(Clone, Copy, Debug)]
pub struct Skip {
    /// The first of them.
    pub start: Offset,
    /// Where the log can be read again; none before it was looked for.
    pub end: Option<Offset>,
    /// Their gap is noted already.
    pub is_noted: bool,
}

/// Which life of the topic a take-over is of.
#[derive(Clone, Debug)]
pub struct Life {
    /// The source.
    pub source: SourceId,
    /// Kafka's id of this life.
    pub topic_id: Arc<str>,
    /// Another life of the topic is known to the ledger.
    pub others_known: bool,
}

/// One try to take a partition over.
///
/// # Errors
/// Something did not answer, or the ledger and the log do not fit.
pub async fn take_over(
    context: &Context,
    ledger: &Ledger,
    life: &Life,
    partition: Partition,
    skips: &[Skip],
) -> Result<Arc<Ownership>, TakeOverError> {
    let source = life.source;
    let ledger_error = |error| TakeOverError::of_ledger(error, partition);
    let before = look(context, ledger, life, partition).await?;
    let sighting = context.proofs.before_sending();
    let owner = fresh_owner(context.instance);
    let taken = take(ledger, source, partition, owner, &before.start).await?;
    let fence = Fence { source, partition, epoch: taken.row.epoch, owner };
    let drains = must_drain(&taken.row, before.known && !before.start.ledger_lost, taken.may_have_gone_back);
    let (row, gaps) = switch(taken.row, &context.switches);
    // strictly after the take-over has committed
    let id_is_known = insert_id_is_known(&row, before.start.ledger_lost, taken.is_anothers);
    let drain = drains.then_some(Drain { ledger, id_is_known });
    let clickhouse_highest = ask_clickhouse(context, source, partition, &row, drain).await?;
    // H must be at or above everything an older owner can have written: asked after the take-over
    let log_end = before.log_end.max(watermarks(context, partition).await?.1);
    // the watermarks are of the topic that bears the name now: of another life they would say that records were lost
    check_life(context, life, partition).await?;
    let observed = Observed {
        log_start: before.log_start,
        log_end,
        may_have_gone_back: taken.may_have_gone_back,
        clickhouse_highest,
        ledger_lost: before.start.ledger_lost,
    };
    let mut settled =
        settle(row, &observed, &context.switches).map_err(|corrupt| TakeOverError::of_corrupt(&corrupt, partition))?;
    settled.gaps.extend(gaps);
    let earlier = definitions::earlier(context, ledger, partition, &settled.plan).await?;
    let ranges = unreadable_ranges(context, partition, skips, log_end).await?;
    let unnoted = skips.iter().zip(&ranges).filter(|(skip, _)| !skip.is_noted);
    settled.gaps.extend(unnoted.map(|(_, &range)| Gap { sink: None, range, reason: UNREADABLE }));
    for gap in &settled.gaps {
        warn!(partition, range = %gap.range, "gap: {}", gap.reason);
    }
    failpoint::hit(Point::Settle);
    let is_ours = failpoint::sent(Point::SettleSent, ledger.settle(fence, &settled)).await.map_err(ledger_error)?;
    failpoint::hit(Point::SettleAnswered);
    if !is_ours {
        return Err(TakeOverError::Passing("somebody else took the partition over meanwhile".into()));
    }
    let plan = settled.plan;
    // after the take-over has committed: nobody else can add one any more
    let left_out = ledger.left_out(source, partition, plan.start).await.map_err(ledger_error)?;
    info!(
        partition,
        epoch = fence.epoch,
        start = plan.start,
        claimed = plan.claimed,
        pending = plan.claims.len(),
        doubtful_below = plan.doubtful_below,
        "taken over"
    );
    Ok(Arc::new(Ownership {
        ledger: ledger.id(),
        source,
        partition,
        epoch: fence.epoch,
        owner,
        plan,
        earlier,
        skips: ranges,
        left_out: LeftOut::new(left_out),
        proof: Proof::new(Arc::clone(&context.proofs), sighting),
        ended: CancellationToken::new(),
    }))
}

/// The offsets of what is given up; where the log can be read again is looked for.
async fn unreadable_ranges(
    context: &Context,
    partition: Partition,
    skips: &[Skip],
    log_end: Offset,
) -> Result<Vec<Range>, TakeOverError> {
    let mut ranges = Vec::new();
    for skip in skips {
        let behind = Range::new(skip.start, log_end.max(skip.start));
        let question =
            move |inquirer: &Inquirer, topic: &str| inquirer.first_readable(topic, partition, behind, SEARCH_TIMEOUT);
        let end = match skip.end {
            Some(end) => Some(end),
            None => ask(context, question, partition).await?,
        };
        let Some(end) = end else {
            let why = format!(
                "the records from offset {} on cannot be read, and none behind them can, so they cannot be skipped; look at \
                 the broker's disk and log",
                skip.start
            );
            return Err(TakeOverError::Stop { partition, why });
        };
        ranges.push(Range::new(skip.start, end));
    }
    Ok(ranges)
}

/// What is known before the statement.
struct Before {
    log_start: Offset,
    log_end: Offset,
    /// The ledger has a row.
    known: bool,
    /// Where a row that is made begins, and whether it is made in place of a lost one.
    start: FirstStart,
}

async fn look(context: &Context, ledger: &Ledger, life: &Life, partition: Partition) -> Result<Before, TakeOverError> {
    failpoint::hit(Point::Watermarks);
    let (log_start, log_end) = watermarks(context, partition).await?;
    failpoint::hit(Point::WatermarksAnswered);
    failpoint::hit(Point::Known);
    let answer = ledger.knows(life.source, partition).await;
    let known = answer.map_err(|error| TakeOverError::of_ledger(error, partition))?;
    failpoint::hit(Point::KnownAnswered);
    let start = match known {
        // should the row vanish before the statement, it is made anew at 0, as one whose ledger was lost
        true => FirstStart { offset: 0, ledger_lost: false, why: "a row is there" },
        false => first_start::first(context, ledger, life, partition, (log_start, log_end)).await?,
    };
    Ok(Before { log_start, log_end, known, start })
}

/// The statement. When the row is locked, the old owner's connections are ended, so that the next try finds it free.
async fn take(
    ledger: &Ledger,
    source: SourceId,
    partition: Partition,
    owner: Uuid,
    start: &FirstStart,
) -> Result<Taken, TakeOverError> {
    let ledger_error = |error| TakeOverError::of_ledger(error, partition);
    failpoint::hit(Point::TakeOver);
    let taken = failpoint::sent(Point::TakeOverSent, ledger.take_over(source, partition, owner, start)).await;
    if let Err(LedgerError::Locked(_)) = &taken {
        let ended = ledger.end_owners_backends(source, partition).await.map_err(ledger_error)?;
        warn!(partition, ended, "the row was locked: ended the old owner's connections");
    }
    let taken = taken.map_err(ledger_error)?;
    failpoint::hit(Point::TakeOverAnswered);
    Ok(taken)
}

/// How older inserts of a partition are ended.
struct Drain<'a> {
    ledger: &'a Ledger,
    /// Whether they all went under the query id that ours go under.
    id_is_known: bool,
}

impl Drain<'_> {
    /// Ends the insert under the partition's query id. One under an id that nobody knows any more, because the ledger was
    /// lost or moved to another cluster, can only be waited out: as long as one may live since the ledger that runs now was
    /// first seen, which was after the one before had given its last right.
    async fn end(&self, questions: &Questions, source: SourceId, partition: Partition) -> Result<(), SinkError> {
        failpoint::hit(Point::Drain);
        let id = questions.insert_id(self.ledger.id(), source, partition);
        failpoint::sent(Point::DrainSent, questions.drain(&id, DRAIN_TIMEOUT)).await?;
        failpoint::hit(Point::DrainAnswered);
        if !self.id_is_known {
            let until = self.ledger.connected_at() + questions.insert_lifetime_max();
            let left = until.saturating_duration_since(std::time::Instant::now());
            warn!(
                partition,
                seconds = left.as_secs(),
                "another ledger's inserts may be on their way: waiting them out"
            );
            tokio::time::sleep_until(until.into()).await;
        }
        Ok(())
    }
}

/// First the drain, then the question: the highest offset that ClickHouse holds where the ledger says that it holds none.
async fn ask_clickhouse(
    context: &Context,
    source: SourceId,
    partition: Partition,
    row: &Row,
    drain: Option<Drain<'_>>,
) -> Result<Option<Offset>, TakeOverError> {
    let Some(questions) = &context.questions else { return Ok(None) };
    let sink_error = |error: SinkError| TakeOverError::of_sink(&error, partition);
    if let Some(drain) = drain {
        drain.end(questions, source, partition).await.map_err(sink_error)?;
    }
    failpoint::hit(Point::Highest);
    let highest = questions.highest(source, partition, question_from(row)).await.map_err(sink_error)?;
    failpoint::hit(Point::HighestAnswered);
    if highest.is_some() {
        warn!(
            partition,
            "clickhouse holds rows above the ledger: it went back in time; reading back what is uncertain"
        );
    }
    warn_of_lost_rows(questions, source, partition, row).await.map_err(sink_error)?;
    Ok(highest)
}

async fn check_life(context: &Context, life: &Life, partition: Partition) -> Result<(), TakeOverError> {
    failpoint::hit(Point::LifeCheck);
    let described = ask(context, |inquirer, topic| inquirer.describe_topic(topic, ASK_TIMEOUT), partition).await?;
    failpoint::hit(Point::LifeCheckAnswered);
    if *described.topic_id == *life.topic_id { Ok(()) } else { Err(TakeOverError::Replaced) }
}

async fn warn_of_lost_rows(
    questions: &Questions,
    source: SourceId,
    partition: Partition,
    row: &Row,
) -> Result<(), SinkError> {
    // a window below the frontier, so that the index answers; dead letters alone in all of it would be strange as well
    let first = row.first_offset.unwrap_or(0);
    let Some(next) = row.nexts.clickhouse.filter(|&next| next > first) else { return Ok(()) };
    let from = (next - LOST_ROWS_WINDOW).max(first);
    failpoint::hit(Point::LostRows);
    let highest = questions.highest_below(source, partition, from, next).await?;
    failpoint::hit(Point::LostRowsAnswered);
    if highest.is_none() {
        warn!(
            partition,
            from, next, "clickhouse holds no row below its frontier: it lost some; run `footprint verify`"
        );
    }
    Ok(())
}

async fn watermarks(context: &Context, partition: Partition) -> Result<(Offset, Offset), TakeOverError> {
    ask(context, move |inquirer, topic| inquirer.watermarks(topic, partition, ASK_TIMEOUT), partition).await
}

async fn ask<T: Send + 'static>(
    context: &Context,
    question: impl FnOnce(&Inquirer, &str) -> Result<T, AskError> + Send + 'static,
    partition: Partition,
) -> Result<T, TakeOverError> {
    let inquirer = Arc::clone(&context.inquirer);
    let topic = context.topic.clone();
    match spawn_blocking(move || question(&inquirer, &topic)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_final() => Err(TakeOverError::Stop { partition, why: error.to_string() }),
        Ok(Err(error)) => Err(TakeOverError::Passing(error.to_string())),
        Err(error) => Err(TakeOverError::Passing(format!("a question to kafka ended early: {error}"))),
    }
}
