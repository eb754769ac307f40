//! Where a partition starts that the ledger does not know: asks Kafka, ClickHouse and the ledger, writes the route's first
//! start on the source down where nobody has, and lets `protocol/first_start.rs` decide.

use footprint_protocol::first_start::{FirstStart, Starts, Unknown, commit_mark, first_start, starts_at_end};
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::config::OffsetReset;
use footprint_service::failpoint::{self, Point};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{ASK_TIMEOUT, Context, Life, TakeOverError, ask, check_life};
use crate::ledger::statements::Ledger;
use crate::store::sink::SinkError;

/// Where the partition starts, whose log reaches from `log_start` to `log_end`.
pub(super) async fn first(
    context: &Context,
    ledger: &Ledger,
    life: &Life,
    partition: Partition,
    (log_start, log_end): (Offset, Offset),
) -> Result<FirstStart, TakeOverError> {
    let written = starts(context, ledger, life, partition).await?.and_then(|starts| starts.of(partition));
    failpoint::hit(Point::FirstStart);
    let committed =
        ask(context, move |inquirer, topic| inquirer.committed(topic, partition, ASK_TIMEOUT), partition).await?;
    let clickhouse_holds_rows = match &context.questions {
        Some(questions) => {
            let highest = questions.highest(life.source, partition, 0).await;
            highest.map_err(|error: SinkError| TakeOverError::of_sink(&error, partition))?.is_some()
        }
        None => false,
    };
    let start = first_start(&Unknown {
        committed: committed.as_ref().map(|(offset, metadata)| (*offset, metadata.as_str())),
        our_mark: &commit_mark(life.source),
        clickhouse_holds_rows,
        written,
        other_lives_known: life.others_known,
        log_start,
        log_end,
    });
    failpoint::hit(Point::FirstStartAnswered);
    if start.ledger_lost {
        warn!(partition, "the ledger of this partition was lost: starting at the log's start, reading everything back");
    } else {
        info!(partition, offset = start.offset, "first start: {}", start.why);
    }
    Ok(start)
}

/// What the route's first start on the source has written down; it is written when nobody has. None: an older program started
/// here, and wrote nothing down.
async fn starts(
    context: &Context,
    ledger: &Ledger,
    life: &Life,
    partition: Partition,
) -> Result<Option<Starts>, TakeOverError> {
    let ledger_error = |error| TakeOverError::of_ledger(error, partition);
    // all partitions of a process start at once: one of them asks and writes, the others wait and read
    let Ok(_alone) = timeout(ASK_TIMEOUT, context.starting.lock()).await else {
        return Err(TakeOverError::Passing("the first start of another partition takes long".into()));
    };
    failpoint::hit(Point::Starts);
    let written = ledger.starts(life.source).await.map_err(ledger_error)?;
    failpoint::hit(Point::StartsAnswered);
    if written.is_some() {
        return Ok(written);
    }
    let seen = look(context, life, partition).await?;
    failpoint::hit(Point::StartsWrite);
    failpoint::sent(Point::StartsWriteSent, ledger.write_starts(life.source, &seen)).await.map_err(ledger_error)?;
    failpoint::hit(Point::StartsWriteAnswered);
    // somebody else's may have come first
    ledger.starts(life.source).await.map_err(ledger_error)
}

/// Asks Kafka for what is to be written down. An end is asked of every partition, and there is no first start without it: a
/// partition without a leader holds up the first start at the log's end, not one at its start.
async fn look(context: &Context, life: &Life, partition: Partition) -> Result<Starts, TakeOverError> {
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
    check_life(context, life, partition).await?;
    Ok(Starts::new(life.others_known, &committed, ends))
}
