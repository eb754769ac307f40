//! The loop that feeds a sink. It takes batches in order, writes them, tries again with backoff and without end, and sends the
//! coordinator a verdict for each. A batch whose ownership has ended is dropped silently.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use footprint_protocol::ledger::SinkName;
use footprint_service::health::{Reporter, Severity};
use footprint_service::metrics::{SinkMeters, Written};
use footprint_service::report::Chain;
use footprint_service::retry::Backoff;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::batch::Batch;
use crate::limits::UNCLEAR_TRIES_MAX;
use crate::paused::Paused;
use crate::store::sink::{Ack, Sink, SinkError, Verdict};
use crate::store::write_failure::WriteFailure;

/// What a failure that only a person can mend means to a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It ends the pipeline.
    None,
    /// The write is tried again every three seconds, without end.
    ForPeople,
}

/// How often a write is tried again that only a person can help.
const MENDED_INTERVAL: Duration = Duration::from_secs(3);

/// What a writer reports to, and how patient it is.
pub struct Watched {
    /// The board of the route: every failed write is told there.
    pub health: Reporter,
    /// The counters of the route and sink.
    pub meters: SinkMeters,
    /// What a failure that only a person can mend means.
    pub patience: Patience,
    /// What a person has paused.
    pub paused: watch::Receiver<Paused>,
}

/// Serves one lane until the channel of batches closes.
///
/// # Errors
/// Trying again does not help: [`SinkError::Stop`].
pub async fn serve(
    mut sink: impl Sink,
    mut batches: mpsc::Receiver<Arc<Batch>>,
    acks: mpsc::Sender<Ack>,
    mut watched: Watched,
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
        if !write_group(&mut sink, group, &acks, &mut watched).await? {
            return Ok(());
        }
    }
}

/// Writes a group until it is stored, fenced, or dropped because its ownership has ended. False: the coordinator is gone.
async fn write_group(
    sink: &mut impl Sink,
    mut group: Vec<Arc<Batch>>,
    acks: &mpsc::Sender<Ack>,
    watched: &mut Watched,
) -> Result<bool, SinkError> {
    let Watched { health, meters, patience, paused } = watched;
    let mut tries = Tries::new(*patience);
    let name = sink.name();
    loop {
        if paused.borrow().sink(name) {
            // an error means that the coordinator is gone
            if paused.wait_for(|paused| !paused.sink(name)).await.is_err() {
                return Ok(false);
            }
            group.retain(|batch| !batch.ownership.has_ended());
            if group.is_empty() {
                return Ok(!acks.is_closed());
            }
        }
        let started = Instant::now();
        let error = match sink.write(&group, tries.uncertain).await {
            Ok(verdicts) => {
                assert!(verdicts.len() == group.len(), "a verdict for each batch");
                if tries.backoff.tries() > 0 {
                    info!(sink = name.as_str(), tries = tries.backoff.tries(), "the sink answers again");
                    health.good();
                }
                let took = started.elapsed();
                log_stored(name, &group, &verdicts, took);
                meters.written(&counted(name, &group, &verdicts), took);
                return Ok(acknowledge(group, &verdicts, sink, acks, meters).await);
            }
            Err(error) => error,
        };
        meters.failed(class(&error));
        let (failure, severity, wait) = match tries.after(error) {
            Next::Again { failure, severity, wait } => (failure, severity, wait),
            Next::Stop(failure) => return Err(SinkError::Stop(failure)),
        };
        health.bad_or(severity, &failure, otherwise(name), started);
        warn!(sink = name.as_str(), tries = tries.backoff.tries(), wait_ms = wait.as_millis(), "{}", Chain(&failure));
        tokio::time::sleep(wait).await;
        group.retain(|batch| !batch.ownership.has_ended());
        if group.is_empty() {
            // nobody knows whether the next write would fail too
            health.good();
            return Ok(!acks.is_closed());
        }
    }
}

/// What is known after the failed writes of one group.
struct Tries {
    patience: Patience,
    backoff: Backoff,
    /// Some write may have landed.
    uncertain: bool,
    /// Refusals in a row of which it is not known whether they pass.
    unclear: u32,
}

/// What to do after a failed write.
enum Next {
    /// Try again after `wait`.
    Again { failure: WriteFailure, severity: Severity, wait: Duration },
    /// Trying again does not help.
    Stop(WriteFailure),
}

impl Tries {
    fn new(patience: Patience) -> Self {
        Self { patience, backoff: Backoff::new(), uncertain: false, unclear: 0 }
    }

    fn after(&mut self, error: SinkError) -> Next {
        self.uncertain |= !matches!(error, SinkError::Retry(_));
        self.unclear = if matches!(error, SinkError::Unclear(_)) { self.unclear + 1 } else { 0 };
        let error = match error {
            SinkError::Unclear(failure) if self.unclear > UNCLEAR_TRIES_MAX => {
                SinkError::Stop(WriteFailure::Repeated { tries: self.unclear, source: Box::new(failure) })
            }
            error => error,
        };
        let wait = self.backoff.next_wait();
        match error {
            SinkError::Retry(failure) | SinkError::Uncertain(failure) | SinkError::Unclear(failure) => {
                Next::Again { failure, severity: Severity::Passing, wait }
            }
            SinkError::Stop(failure) if self.patience == Patience::ForPeople => {
                Next::Again { failure, severity: Severity::Lasting, wait: MENDED_INTERVAL }
            }
            SinkError::Stop(failure) => Next::Stop(failure),
        }
    }
}

/// What to do about a failure that does not say it: most pass by themselves.
fn otherwise(sink: SinkName) -> &'static str {
    match sink {
        SinkName::Postgres => {
            "look at PostgreSQL: its log, its load, and the space on its disk; the write is tried again by itself"
        }
        SinkName::ClickHouse => {
            "look at ClickHouse: its log, its load, and the space on its disk; the write is tried again by itself"
        }
    }
}

/// The class of an error, as the metrics name it.
fn class(error: &SinkError) -> &'static str {
    match error {
        SinkError::Retry(_) => "retry",
        SinkError::Uncertain(_) => "uncertain",
        SinkError::Unclear(_) => "unclear",
        SinkError::Stop(_) => "stop",
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
        written.bytes += batch.rows.byte_len() as u64;
        // a clock that differs gives no delay
        written.delays.extend(batch.received().and_then(|at| SystemTime::now().duration_since(at).ok()));
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
async fn acknowledge(
    group: Vec<Arc<Batch>>,
    verdicts: &[Verdict],
    sink: &impl Sink,
    acks: &mpsc::Sender<Ack>,
    meters: &SinkMeters,
) -> bool {
    for (batch, &verdict) in group.iter().zip(verdicts) {
        let ack = Ack { ownership: Arc::clone(&batch.ownership), sink: sink.name(), range: batch.range, verdict };
        let Err(error) = acks.try_send(ack) else { continue };
        let TrySendError::Full(ack) = error else { return false };
        let started = Instant::now();
        let is_gone = acks.send(ack).await.is_err();
        meters.blocked_since(started);
        if is_gone {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
