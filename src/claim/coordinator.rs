//! The coordinator: the one task that owns every partition's state. It takes partitions over, claims ranges, sends claimed batches to the
//! writers, renews its ownerships in the ledger, commits to Kafka and answers revokes. The partitions' state machines make the decisions
//! (`protocol/partition.rs`); this is the shell around them. It never waits for a writer: it sends a batch only if the writer's channel has
//! room.

mod claims;
mod connection;
mod error;
mod events;
mod heartbeat;
mod log_history;
mod other_consumers;
mod pauses;
mod release;
mod status;
mod take_overs;
mod topic;
mod unreadable;
mod unstored;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::offset::Partition;
use footprint_protocol::partition::{Ended, Machine, UnreadablePolicy};
use footprint_protocol::silence::{NewClients, Silence};
use footprint_protocol::tracker::Tracker;
use footprint_service::failpoint::{self, Point};
use footprint_service::health::{Component, Health, Reporter};
use footprint_service::metrics::Meters;
use footprint_service::retry::Backoff;
use footprint_service::status::Moved;
use footprint_service::status::{BrokerView, Status};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::debug;

pub use self::error::{PipelineError, SinkStop};
use self::log_history::LogHistory;
use self::other_consumers::GroupWatch;
use self::pauses::Pauses;
use self::status::{Measured, Retention};
use self::topic::{Described, Watch};
use self::unstored::Unstored;
use crate::batch::Batch;
use crate::batch::budget::Budget;
use crate::claim::coordinator::release::Unfinished;
use crate::claim::take_over::{Context, Skip, TakeOverError, TopicLife};
use crate::ledger::ownership::Ownership;
use crate::ledger::statements::{Ledger, ServerIdentity};
use crate::limits::{CUTS_PER_SECOND_MAX, READY_BATCHES_MAX};
use crate::outcome::Outcome;
use crate::paused::Paused;
use crate::read::commands::{Command, Commands};
use crate::read::event::Event;
use crate::store::lanes::{Lane, Lanes};
use crate::store::sink::Ack;

/// How often the coordinator looks for due work while nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// The coordinator's ends of its channels.
pub struct Channels {
    /// To the reader.
    pub commands: Commands,
    /// From the reader.
    pub events: mpsc::Receiver<Event>,
    /// From the batcher.
    pub batches: mpsc::Receiver<Batch>,
    /// To the writers.
    pub lanes: Lanes,
    /// From the writers.
    pub acks: mpsc::Receiver<Ack>,
    /// Status, for /readyz and `--until-caught-up`.
    pub status: watch::Sender<Status>,
    /// True means: drain and end.
    pub stop: watch::Receiver<bool>,
    /// To the batcher: the time between two cuts of incomplete batches.
    pub cut_interval: watch::Sender<Duration>,
    /// To the reader and the writers: what a person has paused.
    pub paused: watch::Sender<Paused>,
}

/// The time between two cuts of incomplete batches, for a process that owns `owned` of a topic's `partitions`. With it, all owners together
/// cut no faster than [`CUTS_PER_SECOND_MAX`].
pub fn cut_interval(partitions: usize, owned: usize) -> Duration {
    let partitions = u32::try_from(partitions.max(owned)).unwrap_or(u32::MAX);
    let share = u32::try_from(owned.max(1)).unwrap_or(u32::MAX);
    Duration::from_secs(1) / CUTS_PER_SECOND_MAX * partitions / share
}

/// Settings of the coordinator.
#[derive(Clone)]
pub struct Settings {
    /// The ledger's server.
    pub postgres: footprint_service::config::Postgres,
    /// How long a stop or a revoke waits for batches in flight.
    pub drain_deadline: Duration,
    /// What to do about records that Kafka cannot give.
    pub unreadable: UnreadablePolicy,
    /// The byte budget, which bounds reading.
    pub budget: Arc<Budget>,
    /// The board that shows the health of the route.
    pub health: Arc<Health>,
    /// The counters of the route.
    pub meters: Meters,
}

/// A partition of this process: its machine, and what only the shell needs.
struct HeldPartition {
    machine: Machine<Arc<Ownership>, Arc<Batch>>,
    /// The lane of its batches in flight.
    lane: Lane,
    /// The waits between attempts to take it over.
    backoff: Backoff,
    /// The ages of its batches.
    unstored: Unstored,
    /// When it was last taken over.
    owned_since: Instant,
    log: LogHistory,
}

impl HeldPartition {
    fn assigned() -> Self {
        Self {
            machine: Machine::assigned(),
            lane: 0,
            backoff: Backoff::new(),
            unstored: Unstored::default(),
            owned_since: Instant::now(),
            log: LogHistory::default(),
        }
    }
}

/// Partitions that the group has revoked together. They are released together.
type Releasing = BTreeSet<Partition>;

struct TakenOver {
    partition: Partition,
    /// The connection that the take-over used. The loss of an older connection says nothing about the present one.
    ledger: Arc<Ledger>,
    result: Result<Arc<Ownership>, TakeOverError>,
}

/// The result of a task. A panic of the task ends the pipeline, because nothing else would show that its result never comes.
fn finished<T>(ended: Result<T, JoinError>) -> Result<T, PipelineError> {
    ended.map_err(|error| PipelineError::task("a task of the coordinator", error))
}

/// Waits until the program is asked to stop. A dropped sender counts as a request.
async fn stop_requested(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|&stop| stop).await;
}

/// The coordinator of one pipeline; see the top of this file.
pub struct Coordinator {
    context: Arc<Context>,
    settings: Settings,
    channels: Channels,
    ledger: Option<Arc<Ledger>>,
    ledger_identity: Option<ServerIdentity>,
    ledger_backoff: Backoff,
    ledger_health: Reporter,
    take_over_health: Reporter,
    ledger_retry_at: Instant,
    cluster_id: Option<String>,
    life: Option<TopicLife>,
    /// The number of the topic's partitions, as Kafka last described the topic.
    partition_count: usize,
    partitions: BTreeMap<Partition, HeldPartition>,
    takeovers: JoinSet<TakenOver>,
    describes: JoinSet<Described>,
    watch: Watch,
    group: GroupWatch,
    pauses: Pauses,
    lags: JoinSet<Measured>,
    lag_at: Instant,
    retention: Retention,
    viewed_at: Instant,
    /// What the client knows of its brokers.
    brokers: Vec<BrokerView>,
    /// Records behind an open transaction, as far as they were seen.
    open_transactions: BTreeMap<Partition, i64>,
    releasing: Vec<Releasing>,
    /// For partitions that this process no longer owns: what it has sent to the writers and has not seen stored.
    unfinished: BTreeMap<Partition, Unfinished>,
    /// Partitions from which nothing comes, although their logs hold more.
    silence: Silence,
    new_clients: NewClients,
    /// Records that cannot be read and are given up.
    skips: BTreeMap<Partition, Vec<Skip>>,
    commits_under_way: usize,
    moved: Moved,
    heartbeat_at: Instant,
    committed_again_at: Instant,
    stopping: bool,
}

impl Coordinator {
    /// A coordinator that owns nothing yet.
    pub fn new(context: Arc<Context>, settings: Settings, channels: Channels) -> Self {
        let now = Instant::now();
        Self {
            context,
            channels,
            ledger: None,
            ledger_identity: None,
            ledger_backoff: Backoff::new(),
            ledger_health: settings.health.reporter(Component::Ledger),
            take_over_health: settings.health.reporter(Component::Coordinator),
            ledger_retry_at: now,
            cluster_id: None,
            life: None,
            partition_count: 0,
            partitions: BTreeMap::new(),
            takeovers: JoinSet::new(),
            describes: JoinSet::new(),
            watch: Watch::default(),
            group: GroupWatch::default(),
            pauses: Pauses::new(&settings.health),
            lags: JoinSet::new(),
            lag_at: now,
            retention: Retention::default(),
            viewed_at: now,
            brokers: Vec::new(),
            open_transactions: BTreeMap::new(),
            releasing: Vec::new(),
            unfinished: BTreeMap::new(),
            silence: Silence::default(),
            new_clients: NewClients::default(),
            skips: BTreeMap::new(),
            commits_under_way: 0,
            moved: Moved::default(),
            heartbeat_at: now,
            committed_again_at: now,
            stopping: false,
            settings,
        }
    }

    /// Runs until it is asked to stop, and then until it has drained or the deadline has passed. An error that needs a person ends it
    /// early.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub async fn run(mut self) -> Result<Outcome, PipelineError> {
        let mut stop = self.channels.stop.clone();
        let proofs = Arc::clone(&self.context.proofs);
        loop {
            // biased: acknowledgements first, because they free memory; then what the group wants; new work last
            tokio::select! {
                biased;
                Some(ack) = self.channels.acks.recv() => {
                    self.on_ack(&ack);
                    while let Ok(ack) = self.channels.acks.try_recv() {
                        self.on_ack(&ack);
                    }
                }
                Some(event) = self.channels.events.recv() => self.on_event(event)?,
                Some(ended) = self.takeovers.join_next() => self.on_taken_over(finished(ended)?)?,
                Some(ended) = self.describes.join_next() => self.on_description(finished(ended)?)?,
                Some(ended) = self.lags.join_next() => self.on_measured(finished(ended)?)?,
                Some(ended) = self.group.answer() => self.on_other_consumers(finished(ended)?),
                () = proofs.wanted() => self.heartbeat().await?,
                batch = self.channels.batches.recv(), if self.ready_count() < READY_BATCHES_MAX => match batch {
                    Some(batch) => {
                        self.on_batch(batch);
                        while self.ready_count() < READY_BATCHES_MAX
                            && let Ok(batch) = self.channels.batches.try_recv()
                        {
                            self.on_batch(batch);
                        }
                    }
                    None => return Err(PipelineError::Stop("the batcher ended; see the lines above".into())),
                },
                () = stop_requested(&mut stop), if !self.stopping => self.on_stop(),
                () = tokio::time::sleep(TICK) => {}
            }
            self.work().await?;
            if self.stopping && self.releasing.is_empty() {
                failpoint::hit(Point::Drained);
                self.command(Command::Close)?;
                return Ok(self.outcome());
            }
        }
    }

    /// Does all work that is due.
    async fn work(&mut self) -> Result<(), PipelineError> {
        self.settings.health.coordinator_turned(Instant::now());
        self.connect().await?;
        self.look_at_pauses().await?;
        self.describe_when_needed();
        self.look_for_other_consumers();
        self.start_takeovers();
        self.dispatch().await?;
        self.end_unreadable();
        self.heartbeat_when_due().await?;
        self.release_drained().await?;
        self.measure_lag();
        self.publish_status();
        Ok(())
    }

    // --- ownerships ---

    /// The ownerships, and their progress.
    fn owned(&self) -> impl Iterator<Item = (&Arc<Ownership>, &Tracker)> {
        let machines = self.partitions.values().map(|held| &held.machine);
        machines.filter_map(|machine| machine.right().zip(machine.tracker()))
    }

    /// The number of partitions that the group has assigned to us and that have not left.
    fn assigned_count(&self) -> usize {
        self.partitions.values().filter(|held| held.machine.is_assigned()).count()
    }

    /// The number of batches that wait for their claim or for room at a writer.
    fn ready_count(&self) -> usize {
        self.partitions.values().map(|held| held.machine.ready_count()).sum()
    }

    fn machine(&mut self, partition: Partition) -> Option<&mut Machine<Arc<Ownership>, Arc<Batch>>> {
        self.partitions.get_mut(&partition).map(|held| &mut held.machine)
    }

    /// The machine of the ownership's partition, if this is the present ownership.
    fn machine_of(&mut self, ownership: &Arc<Ownership>) -> Option<&mut Machine<Arc<Ownership>, Arc<Batch>>> {
        let machine = self.machine(ownership.partition)?;
        machine.right().is_some_and(|right| Arc::ptr_eq(right, ownership)).then_some(machine)
    }

    /// Ends an ownership. If the partition is still assigned to us, it is taken over again.
    fn end(&mut self, partition: Partition, why: &'static str) {
        if let Some(ended) = self.machine(partition).and_then(|machine| machine.end(why)) {
            self.on_ended(&ended);
        }
    }

    fn on_ended(&mut self, ended: &Ended<Arc<Ownership>>) {
        let partition = ended.right.partition;
        Unfinished::note(&mut self.unfinished, ended);
        if let Some(held) = self.partitions.get_mut(&partition) {
            held.unstored.clear();
        }
        debug!(partition, "ownership ended: {}", ended.why);
        ended.right.ended.cancel();
        let _ = self.channels.commands.send(Command::Halt(partition)); // the next command reports an ended reader
    }

    fn end_all(&mut self, why: &'static str) {
        for partition in self.partitions.keys().copied().collect::<Vec<_>>() {
            self.end(partition, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use footprint_service::report::printed_once;

    use super::*;

    /// The story: a panic in a take-over was dropped, and its partition waited an hour for the take-over to end.
    #[tokio::test]
    async fn a_task_that_panics_ends_the_pipeline() {
        assert_eq!(finished(tokio::spawn(async { 7 }).await).unwrap(), 7);
        let panicked = tokio::spawn(async { panic!("on purpose") }).await;
        let error = printed_once(&finished(panicked).unwrap_err());
        assert!(error.contains("on purpose") && error.contains("please report it"), "{error}");
    }
}
