//! The coordinator: the one task that owns every partition's state. It takes partitions over, claims ranges, hands claimed
//! batches to the writers, beats the ledger's heart, commits to Kafka and answers revokes. It decides; the stages compute.
//! It never waits for a writer: batches go on only where the writer's channel has room.

mod claims;
mod connection;
mod heartbeat;
mod release;
mod status;
mod strangers;
mod take_overs;
mod topic;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::silence::Silence;
use footprint_protocol::take_over::OnLostRecords;
use footprint_protocol::tracker::Tracker;
use footprint_service::failpoint::{self, Point};
use footprint_service::kafka::{AskError, TopicDescription};
use footprint_service::retry::Backoff;
use footprint_service::status::Moved;
use footprint_service::status::Status;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, info, warn};

use self::strangers::GroupWatch;
use self::unreadable::Unreadable;
use crate::batch::Batch;
use crate::batch::budget::Budget;
use crate::claim::coordinator::release::{HAND_OVER_DELAY, Unfinished};
use crate::claim::coordinator::take_overs::Tries;
use crate::claim::take_over::{Context, Life, Skip, TakeOverError};
use crate::ledger::ownership::Ownership;
use crate::ledger::statements::{Ledger, LedgerError, ServerIdentity};
use crate::limits::{CUTS_PER_SECOND_MAX, READY_BATCHES_MAX};
use crate::outcome::Outcome;
use crate::read::reader::{Command, Event};
use crate::store::lanes::{Lane, Lanes};
use crate::store::sink::{Ack, Verdict};

/// How often the coordinator looks around when nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// Why a pipeline ended early.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The protocol or a server says: stop, a person is needed.
    #[error("{0}")]
    Stop(String),
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Kafka refuses.
    #[error(transparent)]
    Kafka(#[from] AskError),
}

/// The coordinator's ends of its channels.
pub struct Ports {
    /// The reader.
    pub commands: mpsc::Sender<Command>,
    /// From the reader.
    pub events: mpsc::Receiver<Event>,
    /// From the batcher.
    pub batches: mpsc::Receiver<Batch>,
    /// To the writers.
    pub lanes: Lanes,
    /// From the writers.
    pub acks: mpsc::Receiver<Ack>,
    /// To whom it may concern.
    pub status: watch::Sender<Status>,
    /// True: drain and end.
    pub stop: watch::Receiver<bool>,
    /// To the batcher: the time between two cuts of incomplete batches.
    pub cut_interval: watch::Sender<Duration>,
}

/// The time between two cuts of incomplete batches by the owner of `owned` of a topic's partitions: all owners together
/// then cut no faster than [`CUTS_PER_SECOND_MAX`].
pub fn cut_interval(partitions: usize, owned: usize) -> Duration {
    let partitions = u32::try_from(partitions.max(owned)).unwrap_or(u32::MAX);
    let share = u32::try_from(owned.max(1)).unwrap_or(u32::MAX);
    Duration::from_secs(1) / CUTS_PER_SECOND_MAX * partitions / share
}

/// Settings of the coordinator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The ledger's server.
    pub postgres: footprint_service::config::Postgres,
    /// How long a stop or a revoke waits.
    pub drain_deadline: Duration,
    /// What to do about records that Kafka cannot give, and after how long.
    pub on_unreadable: OnLostRecords,
    /// How long the same offset is tried again before.
    pub unreadable_after: Duration,
    /// What bounds reading.
    pub budget: Arc<Budget>,
}

/// A partition that the group has given us.
enum Slot {
    /// A take-over is under way, or is waited for.
    TakingOver,
    /// Ours.
    Owned(Owned),
}

struct Owned {
    ownership: Arc<Ownership>,
    /// The lane of what is under way of it.
    lane: Lane,
    tracker: Tracker,
    /// Batches that wait for their claim or for a writer's room, in order.
    ready: VecDeque<Arc<Batch>>,
    /// The end of the last range that was sent to the writers.
    sent: Offset,
    /// No further claim and no further batch: it is being let go.
    leaving: bool,
}

impl Owned {
    /// Whether a writer still works on something of it. Claims found at the take-over and not replayed yet are the next
    /// owner's.
    fn is_under_way(&self) -> bool {
        self.tracker.nexts().lowest() < self.sent
    }
}

/// Partitions on their way out.
struct Leaving {
    partitions: BTreeSet<Partition>,
    /// Until then what is owned of them is worked on as before.
    begins_at: Instant,
    deadline: Instant,
    /// The last commit was sent and its answer is waited for until then.
    committing_until: Option<Instant>,
}

struct TakenOver {
    generation: u64,
    partition: Partition,
    /// The connection it was tried on: the loss of an older one says nothing of today's.
    ledger: Arc<Ledger>,
    result: Result<Arc<Ownership>, TakeOverError>,
}

/// When the topic was asked about; the cluster's id and the topic's description.
type Described = (Instant, Result<(String, TopicDescription), AskError>);

/// Looks at the topic's id: one under way, the latest answer, and when it was asked.
struct Watch {
    asked_at: Option<Instant>,
    under_way: bool,
    /// When the latest answer that showed our topic id was asked.
    seen_at: Option<Instant>,
    backoff: Backoff,
}

/// What a task has given. One that panicked ends the pipeline: what it was about would wait for it for ever.
fn finished<T>(ended: Result<T, JoinError>) -> Result<T, PipelineError> {
    ended.map_err(|error| PipelineError::Stop(format!("a task of the coordinator failed: {error}; please report it")))
}

/// Waits until told to stop; a teller that is gone tells so.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|&stop| stop).await;
}

/// See the module's head.
pub struct Coordinator {
    context: Arc<Context>,
    settings: Settings,
    ports: Ports,
    ledger: Option<Arc<Ledger>>,
    ledger_identity: Option<ServerIdentity>,
    ledger_backoff: Backoff,
    ledger_retry_at: Instant,
    cluster_id: Option<String>,
    life: Option<Life>,
    /// Partitions of the topic, as last described.
    partition_count: usize,
    slots: BTreeMap<Partition, Slot>,
    /// Grows with every change of what is assigned; a take-over of an older one is thrown away.
    generations: BTreeMap<Partition, u64>,
    generation: u64,
    takeovers: JoinSet<TakenOver>,
    takeover_tries: BTreeMap<Partition, Tries>,
    describes: JoinSet<Described>,
    watch: Watch,
    group: GroupWatch,
    lags: JoinSet<Vec<(Partition, Offset)>>,
    lag_at: Instant,
    leaving: Vec<Leaving>,
    /// What this process has sent to the writers of partitions that it no longer owns, and that it has not seen stored.
    unfinished: BTreeMap<Partition, Unfinished>,
    /// Partitions that cannot be read on.
    unreadable: BTreeMap<Partition, Unreadable>,
    /// Partitions of which nothing comes.
    silence: Silence,
    /// Records that are given up.
    skips: BTreeMap<Partition, Vec<Skip>>,
    commits_under_way: usize,
    moved: Moved,
    beaten_at: Instant,
    committed_again_at: Instant,
    stopping: bool,
}

impl Coordinator {
    /// A coordinator that owns nothing yet.
    pub fn new(context: Arc<Context>, settings: Settings, ports: Ports) -> Self {
        let now = Instant::now();
        Self {
            context,
            settings,
            ports,
            ledger: None,
            ledger_identity: None,
            ledger_backoff: Backoff::new(),
            ledger_retry_at: now,
            cluster_id: None,
            life: None,
            partition_count: 0,
            slots: BTreeMap::new(),
            generations: BTreeMap::new(),
            generation: 0,
            takeovers: JoinSet::new(),
            takeover_tries: BTreeMap::new(),
            describes: JoinSet::new(),
            watch: Watch { asked_at: None, under_way: false, seen_at: None, backoff: Backoff::new() },
            group: GroupWatch::default(),
            lags: JoinSet::new(),
            lag_at: now,
            leaving: Vec::new(),
            unfinished: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            silence: Silence::default(),
            skips: BTreeMap::new(),
            commits_under_way: 0,
            moved: Moved::default(),
            beaten_at: now,
            committed_again_at: now,
            stopping: false,
        }
    }

    /// Runs until told to stop, and drained or at the deadline, or until something demands a person.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub async fn run(mut self) -> Result<Outcome, PipelineError> {
        let mut stop = self.ports.stop.clone();
        let proofs = Arc::clone(&self.context.proofs);
        loop {
            // biased: acknowledgements first, they free memory; then what the group wants; new work last
            tokio::select! {
                biased;
                Some(ack) = self.ports.acks.recv() => {
                    self.on_ack(&ack);
                    while let Ok(ack) = self.ports.acks.try_recv() {
                        self.on_ack(&ack);
                    }
                }
                Some(event) = self.ports.events.recv() => self.on_event(event)?,
                Some(ended) = self.takeovers.join_next() => self.on_taken_over(finished(ended)?)?,
                Some(ended) = self.describes.join_next() => {
                    let (asked_at, answer) = finished(ended)?;
                    self.on_description(asked_at, answer)?;
                }
                Some(ended) = self.lags.join_next() => self.on_ends(&finished(ended)?),
                Some(ended) = self.group.answer() => self.on_strangers(finished(ended)?),
                () = proofs.wanted() => self.heartbeat().await?,
                batch = self.ports.batches.recv(), if self.ready_count() < READY_BATCHES_MAX => match batch {
                    Some(batch) => {
                        self.on_batch(batch);
                        while self.ready_count() < READY_BATCHES_MAX
                            && let Ok(batch) = self.ports.batches.try_recv()
                        {
                            self.on_batch(batch);
                        }
                    }
                    None => return Err(PipelineError::Stop("the batcher ended; see the lines above".into())),
                },
                () = told(&mut stop), if !self.stopping => self.on_stop(),
                () = tokio::time::sleep(TICK) => {}
            }
            self.work().await?;
            if self.stopping && self.leaving.is_empty() {
                failpoint::hit(Point::Drained);
                self.command(Command::Close)?;
                return Ok(self.outcome());
            }
        }
    }

    /// Everything that may be due.
    async fn work(&mut self) -> Result<(), PipelineError> {
        self.connect().await?;
        self.describe_when_needed();
        self.look_for_strangers();
        self.start_takeovers();
        self.dispatch().await?;
        self.end_unreadable();
        self.heartbeat_when_due().await?;
        self.let_go().await?;
        self.measure_lag();
        self.tell_status();
        Ok(())
    }

    // --- ownerships ---

    fn owned(&self) -> impl Iterator<Item = &Owned> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Owned(owned) => Some(owned),
            Slot::TakingOver => None,
        })
    }

    /// Batches that wait for their claim or for a writer's room.
    fn ready_count(&self) -> usize {
        self.owned().map(|owned| owned.ready.len()).sum()
    }

    fn owned_mut(&mut self, partition: Partition) -> Option<&mut Owned> {
        match self.slots.get_mut(&partition) {
            Some(Slot::Owned(owned)) => Some(owned),
            _ => None,
        }
    }

    /// Ends an ownership; as long as the group gives us the partition it is taken over anew.
    fn end(&mut self, partition: Partition, why: &str) {
        let leaving = self.is_leaving(partition);
        let Some(slot) = self.slots.get_mut(&partition) else { return };
        if let Slot::Owned(owned) = slot {
            Unfinished::note(&mut self.unfinished, partition, owned);
            debug!(partition, "ownership ended: {why}");
            owned.ownership.ended.cancel();
            *slot = Slot::TakingOver;
            let _ = self.ports.commands.try_send(Command::Halt(partition));
        }
        self.generation += 1;
        self.generations.insert(partition, self.generation);
        if leaving {
            self.slots.remove(&partition);
        }
    }

    fn end_all(&mut self) {
        for partition in self.slots.keys().copied().collect::<Vec<_>>() {
            self.end(partition, "all end");
        }
    }

    fn is_leaving(&self, partition: Partition) -> bool {
        self.leaving.iter().any(|leaving| leaving.partitions.contains(&partition))
    }

    // --- what the others say ---

    fn on_ack(&mut self, ack: &Ack) {
        let partition = ack.ownership.partition;
        let Some(owned) = self.owned_mut(partition) else { return };
        if !Arc::ptr_eq(&owned.ownership, &ack.ownership) {
            return;
        }
        match ack.verdict {
            Verdict::Stored => {
                owned.tracker.acknowledged(ack.sink, ack.range);
                self.moved.last_stored_at = Some(Instant::now());
            }
            Verdict::Fenced => {
                warn!(partition, sink = ack.sink.as_str(), range = %ack.range, "fenced: taking over again");
                self.end(partition, "a write was fenced");
            }
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), PipelineError> {
        match event {
            Event::Assigned(partitions) => {
                info!(?partitions, "assigned");
                for partition in partitions {
                    self.generation += 1;
                    self.generations.insert(partition, self.generation);
                    self.slots.entry(partition).or_insert(Slot::TakingOver);
                }
                self.ports.status.send_modify(|status| status.joined = true);
            }
            Event::Revoked { partitions, lost } => {
                info!(?partitions, lost, "revoked");
                if lost {
                    for &partition in &partitions {
                        self.end(partition, "lost");
                    }
                }
                self.leave(partitions, if lost { Duration::ZERO } else { HAND_OVER_DELAY });
            }
            Event::Committed(result) => {
                self.commits_under_way = self.commits_under_way.saturating_sub(1);
                if let Err(error) = result {
                    debug!("kafka commit: {error}");
                }
            }
            Event::Displaced(why) => {
                warn!("kafka: {why}: every partition is taken over anew");
                self.end_all();
                self.watch.seen_at = None;
                let wait = Instant::now() + Duration::from_secs(1);
                for partition in self.slots.keys() {
                    self.takeover_tries.entry(*partition).or_default().wait_until(wait);
                }
            }
            Event::Unreadable { partition, offset, handed, why } => {
                return self.on_unreadable(partition, offset, handed, why);
            }
            Event::TopicGone => self.watch.seen_at = None,
            Event::RefusedByGroup => self.on_refused_by_group(),
            Event::Failed(why) => return Err(PipelineError::Stop(format!("kafka: {why}"))),
        }
        Ok(())
    }

    fn on_stop(&mut self) {
        failpoint::hit(Point::Stop);
        info!("draining");
        self.stopping = true;
        let partitions: Vec<Partition> = self.slots.keys().copied().collect();
        self.leave(partitions, Duration::ZERO);
    }

    fn on_batch(&mut self, batch: Batch) {
        let Some(owned) = self.owned_mut(batch.ownership.partition) else { return };
        if Arc::ptr_eq(&owned.ownership, &batch.ownership) && !owned.leaving {
            owned.ready.push_back(Arc::new(batch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: a panic in a take-over was dropped, and its partition waited an hour for its end.
    #[tokio::test]
    async fn a_task_that_panics_ends_the_pipeline() {
        assert_eq!(finished(tokio::spawn(async { 7 }).await).unwrap(), 7);
        let panicked = tokio::spawn(async { panic!("on purpose") }).await;
        let error = finished(panicked).unwrap_err().to_string();
        assert!(error.contains("on purpose") && error.contains("please report it"), "{error}");
    }
}
