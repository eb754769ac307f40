//! The loop that feeds a sink. It takes batches in order, writes them, tries again with backoff and without end, and sends the
//! coordinator a verdict for each. A batch whose ownership has ended is dropped silently.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::ledger::SinkName;
use footprint_service::metrics::{self, Written};
use footprint_service::report::Chain;
use footprint_service::retry::Backoff;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::batch::Batch;
use crate::limits::UNCLEAR_TRIES_MAX;
use crate::store::sink::{Ack, Sink, SinkError, Verdict};
use crate::store::write_failure::WriteFailure;

/// Serves one lane until the channel of batches closes.
///
/// # Errors
/// Trying again does not help: [`SinkError::Stop`].
pub async fn serve(
    mut sink: impl Sink,
    mut batches: mpsc::Receiver<Arc<Batch>>,
    acks: mpsc::Sender<Ack>,
) -> Result<(), SinkError> {
    let mut waiting: Option<Arc<Batch>> = None;
    loop {
        let first = match waiting.take() {
            Some(batch) => batch,
            None => match batches.recv().await {
                Some(batch) => batch,
                None => return Ok(()),
            },
        };
        if first.ownership.has_ended() {
            continue;
        }
        let mut group = vec![first];
        while let Ok(next) = batches.try_recv() {
            if next.ownership.has_ended() {
                continue;
            }
            if !sink.joins(&group, &next) {
                waiting = Some(next);
                break;
            }
            group.push(next);
        }
        if !write_group(&mut sink, group, &acks).await? {
            return Ok(());
        }
    }
}

/// Writes a group until it is stored, fenced, or dropped because its ownership has ended. False: the coordinator is gone.
async fn write_group(
    sink: &mut impl Sink,
    mut group: Vec<Arc<Batch>>,
    acks: &mpsc::Sender<Ack>,
) -> Result<bool, SinkError> {
    let mut backoff = Backoff::new();
    let mut uncertain = false;
    let mut unclear = 0;
    let name = sink.name();
    loop {
        let started = Instant::now();
        let failure = match sink.write(&group, uncertain).await {
            Ok(verdicts) => {
                assert!(verdicts.len() == group.len(), "a verdict for each batch");
                if backoff.tries() > 0 {
                    info!(sink = name.as_str(), tries = backoff.tries(), "the sink answers again");
                }
                let took = started.elapsed();
                log_stored(name, &group, &verdicts, took);
                metrics::written(name, &counted(name, &group, &verdicts), took);
                return Ok(acknowledge(group, &verdicts, sink, acks).await);
            }
            Err(SinkError::Retry(failure)) => {
                unclear = 0;
                failure
            }
            Err(SinkError::Uncertain(failure)) => {
                uncertain = true;
                unclear = 0;
                failure
            }
            Err(SinkError::Unclear(failure)) => {
                uncertain = true;
                unclear += 1;
                if unclear > UNCLEAR_TRIES_MAX {
                    let source = Box::new(failure);
                    return Err(SinkError::Stop(WriteFailure::Repeated { tries: unclear, source }));
                }
                failure
            }
            Err(stop @ SinkError::Stop(_)) => return Err(stop),
        };
        let wait = backoff.next_wait();
        metrics::retried(name);
        warn!(sink = name.as_str(), tries = backoff.tries(), wait_ms = wait.as_millis(), "{}", Chain(&failure));
        tokio::time::sleep(wait).await;
        group.retain(|batch| !batch.ownership.has_ended());
        if group.is_empty() {
            return Ok(!acks.is_closed());
        }
    }
}

fn counted(sink: SinkName, group: &[Arc<Batch>], verdicts: &[Verdict]) -> Written {
    let mut written = Written::default();
    for (batch, verdict) in group.iter().zip(verdicts) {
        if *verdict == Verdict::Fenced {
            written.fenced += 1;
            continue;
        }
        written.batches += 1;
        written.rows += batch.rows.len() as u64;
        if sink == SinkName::Postgres {
            written.dead_letters.extend(batch.dead_letters.iter().map(|letter| letter.reason.code()));
        }
    }
    written
}

fn log_stored(sink: SinkName, group: &[Arc<Batch>], verdicts: &[Verdict], took: Duration) {
    for (batch, _) in group.iter().zip(verdicts).filter(|&(_, &verdict)| verdict == Verdict::Stored) {
        debug!(
            sink = sink.as_str(),
            partition = batch.ownership.partition,
            range = %batch.range,
            rows = batch.rows.len(),
            took_ms = took.as_millis(),
            "stored"
        );
    }
}

/// Sends the verdicts. False: the coordinator is gone.
async fn acknowledge(group: Vec<Arc<Batch>>, verdicts: &[Verdict], sink: &impl Sink, acks: &mpsc::Sender<Ack>) -> bool {
    for (batch, &verdict) in group.iter().zip(verdicts) {
        let ack = Ack { ownership: Arc::clone(&batch.ownership), sink: sink.name(), range: batch.range, verdict };
        if acks.send(ack).await.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
