//! The questions for the start of a partition without a ledger row. They go to Kafka, ClickHouse and the ledger. If no process has recorded
//! the route's first start on the source yet, this one does.

use footprint_protocol::first_start::{Committed, FirstStart, FirstStarts, starts_at_end};
use footprint_protocol::offset::Partition;
use footprint_service::config::OffsetReset;
use footprint_service::failpoint::{self, Point};
use tokio::sync::MutexGuard;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{ASK_TIMEOUT, Context, TakeOverError, TopicLife, ask, has_same_topic_id};
use crate::ledger::statements::{Ledger, LedgerError};
use crate::store::sink::SinkError;

/// Waits for its turn at the first start. All partitions of a process start at once: one of them asks and writes the record, the others
/// wait and read it.
pub(super) async fn lock(context: &Context) -> Result<MutexGuard<'_, ()>, TakeOverError> {
    let waiting = timeout(ASK_TIMEOUT, context.starting.lock()).await;
    waiting.map_err(|_| TakeOverError::Passing("the first start of another partition takes long".into()))
}

/// The record of the route's first start on the source, if there is one.
pub(super) async fn starts(ledger: &Ledger, life: &TopicLife) -> Result<Option<FirstStarts>, LedgerError> {
    failpoint::hit(Point::Starts);
    let written = ledger.starts(life.source).await?;
    failpoint::hit(Point::StartsAnswered);
    Ok(written)
}

/// Writes the record, unless another process has written one.
pub(super) async fn write(ledger: &Ledger, life: &TopicLife, starts: &FirstStarts) -> Result<(), LedgerError> {
    failpoint::hit(Point::StartsWrite);
    failpoint::sent(Point::StartsWriteSent, ledger.write_starts(life.source, starts)).await?;
    failpoint::hit(Point::StartsWriteAnswered);
    Ok(())
}

/// Asks Kafka for what the record must say. If partitions start at the log's end, the end of every partition is needed. So a partition
/// without a leader delays a first start at the log's end, but not one at its start.
pub(super) async fn look(
    context: &Context,
    life: &TopicLife,
    partition: Partition,
) -> Result<FirstStarts, TakeOverError> {
    let topic = ask(context, |inquirer, topic| inquirer.describe_topic(topic, ASK_TIMEOUT), partition).await?;
    let count = topic.partition_count;
    let committed =
        ask(context, move |inquirer, topic| inquirer.all_committed(topic, count, ASK_TIMEOUT), partition).await?;
    let is_latest = context.offset_reset == OffsetReset::Latest;
    let ends = match starts_at_end(is_latest, life.source, life.others_known, &committed) {
        true => {
            Some(ask(context, move |inquirer, topic| inquirer.all_ends(topic, count, ASK_TIMEOUT), partition).await?)
        }
        false => None,
    };
    // the answers above are about the topic that has the name now: it must be of this life
    match has_same_topic_id(context, life, partition).await? {
        true => Ok(FirstStarts::new(life.others_known, &committed, ends)),
        false => Err(TakeOverError::Replaced),
    }
}

/// The offset that the group has committed for the partition.
pub(super) async fn committed(context: &Context, partition: Partition) -> Result<Committed, TakeOverError> {
    ask(context, move |inquirer, topic| inquirer.committed(topic, partition, ASK_TIMEOUT), partition).await
}

/// Whether ClickHouse holds any row of the source and partition.
pub(super) async fn holds_rows(
    context: &Context,
    life: &TopicLife,
    partition: Partition,
) -> Result<bool, TakeOverError> {
    let Some(questions) = &context.questions else { return Ok(false) };
    let highest = questions.highest(life.source, partition, 0).await;
    Ok(highest.map_err(|error: SinkError| TakeOverError::of_sink(error, partition))?.is_some())
}

/// Logs where the partition starts, and why.
pub(super) fn log_start(partition: Partition, start: &FirstStart) {
    failpoint::hit(Point::FirstStartAnswered);
    if start.ledger_lost {
        warn!(partition, "the ledger of this partition was lost: starting at the log's start, reading everything back");
    } else {
        info!(partition, offset = start.offset, "first start: {}", start.why);
    }
}
