//! Where a partition starts that the ledger does not know: what Kafka, ClickHouse and the ledger are asked for it, and the
//! route's first start on the source, which is written down where nobody has.

use footprint_protocol::first_start::{Committed, FirstStart, Starts, starts_at_end};
use footprint_protocol::offset::Partition;
use footprint_service::config::OffsetReset;
use footprint_service::failpoint::{self, Point};
use tokio::sync::MutexGuard;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{ASK_TIMEOUT, Context, TakeOverError, TopicLife, ask, has_same_topic_id};
use crate::ledger::statements::{Ledger, LedgerError};
use crate::store::sink::SinkError;

/// All partitions of a process start at once: one of them asks and writes, the others wait and read.
pub(super) async fn alone(context: &Context) -> Result<MutexGuard<'_, ()>, TakeOverError> {
    let waiting = timeout(ASK_TIMEOUT, context.starting.lock()).await;
    waiting.map_err(|_| TakeOverError::Passing("the first start of another partition takes long".into()))
}

/// What the route's first start on the source has written down, if anything.
pub(super) async fn starts(ledger: &Ledger, life: &TopicLife) -> Result<Option<Starts>, LedgerError> {
    failpoint::hit(Point::Starts);
    let written = ledger.starts(life.source).await?;
    failpoint::hit(Point::StartsAnswered);
    Ok(written)
}

/// Writes it down, unless somebody has.
pub(super) async fn write(ledger: &Ledger, life: &TopicLife, starts: &Starts) -> Result<(), LedgerError> {
    failpoint::hit(Point::StartsWrite);
    failpoint::sent(Point::StartsWriteSent, ledger.write_starts(life.source, starts)).await?;
    failpoint::hit(Point::StartsWriteAnswered);
    Ok(())
}

/// Asks Kafka for what is to be written down. An end is asked of every partition, and there is no first start without it: a
/// partition without a leader holds up the first start at the log's end, not one at its start.
pub(super) async fn look(context: &Context, life: &TopicLife, partition: Partition) -> Result<Starts, TakeOverError> {
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
    // what was asked above is of the topic that bears the name now: it must be of this life
    match has_same_topic_id(context, life, partition).await? {
        true => Ok(Starts::new(life.others_known, &committed, ends)),
        false => Err(TakeOverError::Replaced),
    }
}

/// What the group committed for the partition.
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

/// Says where the partition starts, and why there.
pub(super) fn log_start(partition: Partition, start: &FirstStart) {
    failpoint::hit(Point::FirstStartAnswered);
    if start.ledger_lost {
        warn!(partition, "the ledger of this partition was lost: starting at the log's start, reading everything back");
    } else {
        info!(partition, offset = start.offset, "first start: {}", start.why);
    }
}
