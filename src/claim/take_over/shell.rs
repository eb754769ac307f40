//! Asks Kafka, the ledger and ClickHouse the questions of a take-over, and keeps those answers that only the shell needs.

use std::sync::Arc;
use std::time::Duration;

use footprint_protocol::first_start::FirstStart;
use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::{Offset, Partition, Range};
use footprint_protocol::take_over::steps::{Answer, Ask, Taken};
use footprint_protocol::take_over::{Gap, Plan, Settled};
use footprint_service::failpoint::{self, Point};
use footprint_service::kafka::Inquirer;
use tokio::sync::MutexGuard;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Context, Skip, TakeOverError, TopicLife, ask, definitions, first_start, has_same_topic_id, watermarks};
use crate::ledger::identity::new_owner;
use crate::ledger::ownership::{Earlier, LeftOut, Ownership};
use crate::ledger::proof::{Proof, Sighting};
use crate::ledger::statements::holder::{Blocker, Holder, PartitionState};
use crate::ledger::statements::{Fence, Ledger, LedgerError};
use crate::store::clickhouse::readback::Questions;
use crate::store::sink::SinkError;

/// How long a drain may take to end older inserts.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the search for the next readable offset may take.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(120);
/// The reason of a gap whose records Kafka could not give.
const UNREADABLE: &str = "could not be read from kafka's log";
/// How many offsets below ClickHouse's frontier its last rows are looked for.
const LOST_ROWS_WINDOW: Offset = 1_000_000;

/// The servers that a take-over asks, and the answers that only the shell needs.
pub(super) struct TakeOverShell<'a> {
    context: &'a Context,
    ledger: &'a Ledger,
    life: &'a TopicLife,
    partition: Partition,
    skips: &'a [Skip],
    /// Held while the record of the route's first start is read or made.
    first_start_lock: Option<MutexGuard<'a, ()>>,
    /// The fence under which the statement took the row, and the moment before it was sent.
    taken: Option<(Fence, Sighting)>,
    log_end: Offset,
    earlier: Vec<Earlier>,
    given_up: Vec<Range>,
}

impl<'a> TakeOverShell<'a> {
    pub(super) fn new(
        context: &'a Context,
        ledger: &'a Ledger,
        life: &'a TopicLife,
        partition: Partition,
        skips: &'a [Skip],
    ) -> Self {
        let (earlier, given_up) = (Vec::new(), Vec::new());
        Self {
            context,
            ledger,
            life,
            partition,
            skips,
            first_start_lock: None,
            taken: None,
            log_end: 0,
            earlier,
            given_up,
        }
    }

    /// Asks one question and returns the answer.
    pub(super) async fn ask(&mut self, ask: Ask) -> Result<Answer, TakeOverError> {
        let Self { context, ledger, life, partition, .. } = *self;
        let ledger_error = |error| TakeOverError::of_ledger(error, partition);
        Ok(match ask {
            Ask::Watermarks => {
                failpoint::hit(Point::Watermarks);
                let (start, end) = watermarks(context, partition).await?;
                failpoint::hit(Point::WatermarksAnswered);
                self.log_end = end;
                Answer::Watermarks(start, end)
            }
            Ask::Row => {
                failpoint::hit(Point::Known);
                let state = ledger
                    .partition_state(life.source, partition, &context.holder.group)
                    .await
                    .map_err(ledger_error)?;
                failpoint::hit(Point::KnownAnswered);
                match state {
                    PartitionState::NoRow => Answer::Row(false),
                    PartitionState::HasRow => Answer::Row(true),
                    PartitionState::HeldByOtherGroup { holder, renewed_s } => {
                        return Err(contended(&holder, renewed_s));
                    }
                }
            }
            Ask::Starts => {
                if self.first_start_lock.is_none() {
                    self.first_start_lock = Some(first_start::lock(context).await?);
                }
                Answer::Starts(first_start::starts(ledger, life).await.map_err(ledger_error)?)
            }
            Ask::FirstStart => Answer::FirstStart(first_start::look(context, life, partition).await?),
            Ask::WriteStarts(starts) => {
                first_start::write(ledger, life, &starts).await.map_err(ledger_error)?;
                Answer::Written
            }
            Ask::Committed => {
                self.first_start_lock = None;
                failpoint::hit(Point::FirstStart);
                Answer::Committed(first_start::committed(context, partition).await?)
            }
            Ask::HoldsRows => Answer::HoldsRows(first_start::holds_rows(context, life, partition).await?),
            Ask::TakeRow { start, has_row } => {
                if !has_row {
                    first_start::log_start(partition, &start);
                }
                Answer::Taken(Box::new(self.take(&start, has_row).await?))
            }
            Ask::Drain { id_is_known } => {
                self.drain(id_is_known).await.map_err(|error| TakeOverError::of_sink(error, partition))?;
                Answer::Drained
            }
            Ask::Highest { from, stored } => {
                let highest = self.highest(from, stored).await;
                Answer::Highest(highest.map_err(|error| TakeOverError::of_sink(error, partition))?)
            }
            Ask::End => {
                let end = watermarks(context, partition).await?.1;
                self.log_end = self.log_end.max(end);
                Answer::End(end)
            }
            Ask::TopicId => Answer::TopicId(has_same_topic_id(context, life, partition).await?),
            Ask::Settle(settled) => Answer::Settled(self.settle(*settled).await?),
        })
    }

    /// Sends the statement that takes the row. If another connection of footprint has locked the row, that connection is ended, so that the
    /// next attempt finds the row free.
    async fn take(&mut self, start: &FirstStart, has_row: bool) -> Result<Taken, TakeOverError> {
        let Self { context, ledger, life, partition, .. } = *self;
        let ledger_error = |error| TakeOverError::of_ledger(error, partition);
        let sighting = context.proofs.before_sending();
        let owner = new_owner(context.instance);
        failpoint::hit(Point::TakeOver);
        let taking = ledger.take_over(life.source, partition, owner, start, has_row, &context.holder);
        let taken = failpoint::sent(Point::TakeOverSent, taking).await;
        if let Err(LedgerError::Locked(_)) = &taken {
            log_blocker(partition, ledger.end_blocker(life.source, partition).await.map_err(ledger_error)?);
        }
        let taken = taken.map_err(ledger_error)?;
        failpoint::hit(Point::TakeOverAnswered);
        let fence = Fence { source: life.source, partition, epoch: taken.row.epoch, owner };
        self.taken = Some((fence, sighting));
        Ok(Taken {
            row: taken.row,
            may_have_gone_back: taken.may_have_gone_back,
            is_from_other_cluster: taken.is_from_other_cluster,
        })
    }

    /// Ends the insert that runs under the partition's query id. Older inserts may use an id that nobody knows any more, because the ledger
    /// was lost, moved to another cluster, or written by an older program. They cannot be ended, so this waits until none can be running:
    /// for as long as an insert may run, from the moment when this process connected to the present ledger. By then, the previous ledger
    /// had given its last right.
    async fn drain(&self, id_is_known: bool) -> Result<(), SinkError> {
        let Self { ledger, life, partition, .. } = *self;
        let Some(questions) = &self.context.questions else { return Ok(()) };
        failpoint::hit(Point::Drain);
        let id = questions.insert_id(ledger.id(), life.source, partition);
        failpoint::sent(Point::DrainSent, questions.drain(&id, DRAIN_TIMEOUT)).await?;
        failpoint::hit(Point::DrainAnswered);
        if !id_is_known {
            let until = ledger.connected_at() + questions.insert_lifetime_max();
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

    /// The highest offset that ClickHouse holds at or above `from`, where the ledger says that it holds none. Also checks whether
    /// ClickHouse lost rows of `stored`.
    async fn highest(&self, from: Offset, stored: Option<Range>) -> Result<Option<Offset>, SinkError> {
        let Self { life, partition, .. } = *self;
        let Some(questions) = &self.context.questions else { return Ok(None) };
        failpoint::hit(Point::Highest);
        let highest = questions.highest(life.source, partition, from).await?;
        failpoint::hit(Point::HighestAnswered);
        if highest.is_some() {
            warn!(
                partition,
                "clickhouse holds rows above the ledger: it went back in time; reading back what is uncertain"
            );
        }
        if let Some(stored) = stored {
            warn_of_lost_rows(questions, life.source, partition, stored).await?;
        }
        Ok(highest)
    }

    /// Writes the decision, with the gaps of the records that are given up. Returns false if the row is no longer ours.
    async fn settle(&mut self, mut settled: Settled) -> Result<bool, TakeOverError> {
        let Self { context, ledger, partition, skips, log_end, .. } = *self;
        let Some((fence, _)) = self.taken else { return Ok(false) };
        self.earlier = definitions::earlier(context, ledger, partition, &settled.plan).await?;
        self.given_up = unreadable_ranges(context, partition, skips, log_end).await?;
        let unnoted = skips.iter().zip(&self.given_up).filter(|(skip, _)| !skip.is_noted);
        settled.gaps.extend(unnoted.map(|(_, &range)| Gap { sink: None, range, reason: UNREADABLE }));
        for gap in &settled.gaps {
            warn!(partition, range = %gap.range, "gap: {}", gap.reason);
        }
        failpoint::hit(Point::Settle);
        let sent = failpoint::sent(Point::SettleSent, ledger.settle(fence, &settled)).await;
        let is_ours = sent.map_err(|error| TakeOverError::of_ledger(error, partition))?;
        failpoint::hit(Point::SettleAnswered);
        if is_ours {
            for gap in &settled.gaps {
                context.meters.given_up(gap.reason, gap.range.len());
            }
        }
        Ok(is_ours)
    }

    /// Makes the ownership. The records that one database leaves out for good are read after the statement that took the row: from then on
    /// nobody else can add to them.
    pub(super) async fn own(self, plan: Plan) -> Result<Arc<Ownership>, TakeOverError> {
        let Self { context, ledger, partition, earlier, given_up, .. } = self;
        let Some((fence, sighting)) = self.taken else {
            return Err(TakeOverError::Passing("the take-over has no row".into()));
        };
        let left_out = ledger.left_out(fence.source, partition, plan.start).await;
        let left_out = left_out.map_err(|error| TakeOverError::of_ledger(error, partition))?;
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
            source: fence.source,
            partition,
            epoch: fence.epoch,
            owner: fence.owner,
            plan,
            earlier,
            skips: given_up,
            left_out: LeftOut::new(left_out),
            proof: Proof::new(Arc::clone(&context.proofs), sighting),
            ended: CancellationToken::new(),
        }))
    }
}

/// The error if another consumer group works on this ledger. The two groups would take the partition from each other for ever, so the
/// second one waits.
fn contended(holder: &Holder, renewed_s: f64) -> TakeOverError {
    let Holder { group, host, pid } = holder;
    let why = format!(
        "process {pid} on {host}, of consumer group {group:?}, has the partition and renewed it {renewed_s:.0} s ago; two groups \
         must not share a route's ledger: stop one of them, or give this one another database or another route name and tables"
    );
    TakeOverError::Passing(why.into())
}

/// Logs who kept the row locked, and what was done about it.
fn log_blocker(partition: Partition, blocker: Option<Blocker>) {
    match blocker {
        Some(Blocker { application, pid, was_ended: true }) => {
            warn!(partition, application, pid, "the row was locked by another owner's connection, which was ended");
        }
        Some(Blocker { application, pid, was_ended: false }) => {
            warn!(
                partition,
                application,
                pid,
                "the row is locked by a session that is not footprint's: end it, or its transaction, in postgresql"
            );
        }
        None => warn!(partition, "the row was locked; the lock is gone since"),
    }
}

/// The ranges of the records that are given up. If the end of a range is not known yet, this searches for it.
async fn unreadable_ranges(
    context: &Context,
    partition: Partition,
    skips: &[Skip],
    log_end: Offset,
) -> Result<Vec<Range>, TakeOverError> {
    let mut ranges = Vec::new();
    for skip in skips {
        let behind = Range::new(skip.start, log_end.max(skip.start + 1));
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
            return Err(TakeOverError::stop(partition, why));
        };
        ranges.push(Range::new(skip.start, end));
    }
    Ok(ranges)
}

/// Warns if ClickHouse holds no row in a whole window below its frontier. It is unlikely that all records of a window are dead letters.
async fn warn_of_lost_rows(
    questions: &Questions,
    source: SourceId,
    partition: Partition,
    stored: Range,
) -> Result<(), SinkError> {
    let next = stored.end;
    let from = (next - LOST_ROWS_WINDOW).max(stored.start);
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
