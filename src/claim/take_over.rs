//! Takes a partition over: asks Kafka, the ledger and ClickHouse the questions of `protocol/take_over/steps.rs`, in its order. Each attempt
//! runs beside the reader.

mod definitions;
mod first_start;
mod shell;

use std::sync::Arc;
use std::time::Duration;

use footprint_event::definition::Definition;
use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::take_over::steps::{Ended, Given, TakeOver};
use footprint_protocol::take_over::{Plan, Switches};
use footprint_service::config::OffsetReset;
use footprint_service::failpoint::{self, Point};
use footprint_service::kafka::{AskError, Inquirer};
use footprint_service::metrics::Meters;
use footprint_service::report::Cause;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use self::shell::TakeOverShell;
use crate::ledger::ownership::Ownership;
use crate::ledger::proof::Proofs;
use crate::ledger::statements::holder::Holder;
use crate::ledger::statements::{Ledger, LedgerError};
use crate::store::clickhouse::migrate::Migrator;
use crate::store::clickhouse::readback::Questions;
use crate::store::sink::SinkError;
use crate::store::write_failure::WriteFailure;

/// How long one question to Kafka may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// What every take-over of a pipeline shares.
pub struct Context {
    /// The route's name.
    pub route: String,
    /// The topic.
    pub topic: String,
    /// This process, as others see it in the ledger. Its group is the route's consumer group.
    pub holder: Holder,
    /// The random number of this process, which is the upper half of every owner.
    pub instance: u64,
    /// The client that asks Kafka.
    pub inquirer: Arc<Inquirer>,
    /// The client that asks ClickHouse. None if ClickHouse is switched off.
    pub questions: Option<Questions>,
    /// ClickHouse's tables. None if ClickHouse is switched off.
    pub clickhouse_tables: Option<Migrator>,
    /// Which sinks are on.
    pub switches: Switches,
    /// Where partitions without a commit start, as configured.
    pub offset_reset: OffsetReset,
    /// Held while the record of a first start is made.
    pub starting: Mutex<()>,
    /// The route's present definition: all that decides a record's row.
    pub definition: Arc<Definition>,
    /// Voids the proofs of this pipeline.
    pub proofs: Arc<Proofs>,
    /// Counts the offsets that are given up.
    pub meters: Meters,
}

/// Why a take-over has failed.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// Try again.
    #[error(transparent)]
    Passing(Cause),
    /// Try again, at most [`crate::limits::UNCLEAR_TRIES_MAX`] times. Then stop.
    #[error(transparent)]
    Unclear(Cause),
    /// The ledger's connection is lost.
    #[error(transparent)]
    LedgerLost(LedgerError),
    /// The topic no longer has the id of the life that the take-over is for.
    #[error("the topic was replaced meanwhile")]
    Replaced,
    /// Stop the pipeline.
    #[error("partition {partition}")]
    Stop {
        /// The partition.
        partition: Partition,
        /// The cause, and what to do about it.
        source: Cause,
    },
}

impl TakeOverError {
    /// Classifies an error of the ledger.
    pub fn of_ledger(error: LedgerError, partition: Partition) -> Self {
        match error {
            error if error.is_lost() => Self::LedgerLost(error),
            error if error.is_passing() => Self::Passing(error.into()),
            error => Self::stop(partition, error),
        }
    }

    fn of_sink(error: SinkError, partition: Partition) -> Self {
        match error {
            SinkError::Retry(failure) | SinkError::Uncertain(failure) => Self::Passing(failure.into()),
            SinkError::Unclear(failure) => Self::Unclear(failure.into()),
            SinkError::Stop(failure) => Self::stop(partition, failure),
        }
    }

    fn stop(partition: Partition, cause: impl Into<Cause>) -> Self {
        Self::Stop { partition, source: cause.into() }
    }
}

/// Records that cannot be read and are given up.
#[derive(Clone, Copy, Debug)]
pub struct Skip {
    /// The offset of the first record.
    pub start: Offset,
    /// The offset from which the log can be read again. None before the search for it.
    pub end: Option<Offset>,
    /// Their gap is already recorded.
    pub is_noted: bool,
}

/// The life of the topic that a take-over is for.
#[derive(Clone, Debug)]
pub struct TopicLife {
    /// The source id of this life.
    pub source: SourceId,
    /// Kafka's id of this life.
    pub topic_id: Arc<str>,
    /// Whether the ledger knows another life of the topic.
    pub others_known: bool,
}

/// One attempt to take a partition over. It asks the questions of [`TakeOver`] until the partition is ours or cannot be.
///
/// # Errors
/// A server did not answer, or the ledger and the log do not fit each other.
pub async fn take_over(
    context: &Context,
    ledger: &Ledger,
    life: &TopicLife,
    partition: Partition,
    skips: &[Skip],
) -> Result<Arc<Ownership>, TakeOverError> {
    let (switches, other_lives_known) = (context.switches, life.others_known);
    let given = Given { source: life.source, partition, switches, other_lives_known };
    let mut shell = TakeOverShell::new(context, ledger, life, partition, skips);
    let mut steps = TakeOver::new(given);
    loop {
        match steps.ask() {
            Ok(ask) => {
                let answer = shell.ask(ask).await?;
                steps.answer(answer).map_err(|corrupt| TakeOverError::stop(partition, corrupt))?;
            }
            Err(Ended::Ours(plan)) => return shell.own(Plan::clone(plan)).await,
            Err(Ended::Replaced) => return Err(TakeOverError::Replaced),
            Err(Ended::Fenced) => {
                return Err(TakeOverError::Passing("another process took the partition over meanwhile".into()));
            }
        }
    }
}

/// Whether the topic still has the id of the life that is being taken over.
async fn has_same_topic_id(context: &Context, life: &TopicLife, partition: Partition) -> Result<bool, TakeOverError> {
    failpoint::hit(Point::LifeCheck);
    let described = ask(context, |inquirer, topic| inquirer.describe_topic(topic, ASK_TIMEOUT), partition).await?;
    failpoint::hit(Point::LifeCheckAnswered);
    Ok(*described.topic_id == *life.topic_id)
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
        Ok(Err(error)) if error.is_final() => Err(TakeOverError::stop(partition, error)),
        Ok(Err(error)) => Err(TakeOverError::Passing(error.into())),
        Err(error) => Err(TakeOverError::Passing(WriteFailure::Thread(error).into())),
    }
}

#[cfg(test)]
mod tests {
    use footprint_service::report::{Remedy, printed_once};

    use super::*;
    use crate::claim::coordinator::PipelineError;

    /// Follows an error that a take-over meets, through the take-over's error and the pipeline's, to the line that a person reads.
    #[test]
    fn each_error_tells_its_cause_once_and_what_to_do_last() {
        let ledger = || LedgerError::Refused(Remedy::new("grant it", "permission denied (SQLSTATE 42501)"));
        let kafka = || AskError::refused("watermarks", "no answer in time");
        let cases = [
            (
                TakeOverError::of_ledger(ledger(), 3),
                "partition 3: ledger: refused: permission denied (SQLSTATE 42501); grant it",
            ),
            (TakeOverError::of_ledger(LedgerError::Unexpected("no row"), 3), "ledger: connection given up: no row"),
            (TakeOverError::Passing(kafka().into()), "kafka: watermarks: no answer in time"),
            (TakeOverError::of_sink(SinkError::Uncertain(kafka().into()), 3), "kafka: watermarks: no answer in time"),
            (
                TakeOverError::of_sink(SinkError::Stop(ledger().into()), 3),
                "partition 3: ledger: refused: permission denied \
             (SQLSTATE 42501); grant it",
            ),
        ];
        for (error, told) in cases {
            assert_eq!(printed_once(&error), told);
            assert_eq!(printed_once(&PipelineError::Stop(error.into())), told);
        }
        assert_eq!(
            printed_once(&PipelineError::from(ledger())),
            "ledger: refused: permission denied (SQLSTATE 42501); grant it"
        );
    }
}
