//! The coordinator: the one task that owns every partition's state. It takes partitions over, claims ranges, hands claimed
//! batches to the writers, beats the ledger's heart, commits to Kafka and answers revokes. It decides; the stages compute.
//! It never waits for a writer: batches go on only where the writer's channel has room.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{debug, info, warn};

use crate::batch::Batch;
use crate::kafka::{AskError, Inquirer, TopicDescription};
use crate::ledger::postgres::{ClaimWanted, Fence, Ledger, LedgerError, Progress, ServerIdentity, application_name};
use crate::ledger::protocol::{Resolution, commit_mark, resolve};
use crate::ledger::{Ownership, SinkName, SourceId};
use crate::metrics;
use crate::offset::{Offset, Partition};
use crate::reader::{Command, Event};
use crate::sink::retry::Backoff;
use crate::sink::{Ack, Verdict};
use crate::takeover::{Context, Life, TakeOverError, take_over};
use crate::tracker::Tracker;

/// How often the coordinator looks around when nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// A heartbeat comes so soon after something that the ledger does not know.
const HEARTBEAT_SOON: Duration = Duration::from_millis(500);
/// A heartbeat comes at least so often: an idle owner must notice a restore (R9).
const HEARTBEAT_IDLE: Duration = Duration::from_secs(2);
/// Looks at the topic's id are at least so far apart.
const DESCRIBE_INTERVAL: Duration = Duration::from_millis(50);
/// How long one look may take.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a commit's answer is waited for before partitions are let go.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

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

/// What the outside may see of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The life of the topic that is read.
    pub source: Option<SourceId>,
    /// Partitions owned.
    pub owned: usize,
    /// Whether the ledger answers.
    pub ledger_up: bool,
    /// Whether the group has given partitions, or said that there are none.
    pub joined: bool,
}

/// The coordinator's ends of its channels.
pub struct Ports {
    /// The reader.
    pub commands: mpsc::Sender<Command>,
    /// From the reader.
    pub events: mpsc::Receiver<Event>,
    /// From the batcher.
    pub batches: mpsc::Receiver<Batch>,
    /// To PostgreSQL's lane.
    pub postgres: mpsc::Sender<Arc<Batch>>,
    /// To ClickHouse's lane; none while it is switched off.
    pub clickhouse: Option<mpsc::Sender<Arc<Batch>>>,
    /// From the writers.
    pub acks: mpsc::Receiver<Ack>,
    /// To whom it may concern.
    pub status: watch::Sender<Status>,
    /// True: drain and end.
    pub stop: watch::Receiver<bool>,
}

/// Settings of the coordinator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The ledger's server.
    pub postgres: crate::config::Postgres,
    /// The route's fingerprint.
    pub fingerprint: i64,
    /// How long a stop or a revoke waits.
    pub drain_deadline: Duration,
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
    life: Option<(Life, TopicDescription)>,
    slots: BTreeMap<Partition, Slot>,
    /// Grows with every change of what is assigned; a take-over of an older one is thrown away.
    generations: BTreeMap<Partition, u64>,
    generation: u64,
    takeovers: JoinSet<TakenOver>,
    takeover_backoff: BTreeMap<Partition, (Backoff, Instant)>,
    describes: JoinSet<Described>,
    watch: Watch,
    lags: JoinSet<Vec<(Partition, Offset)>>,
    lag_at: Instant,
    leaving: Vec<Leaving>,
    commits_under_way: usize,
    beaten_at: Instant,
    stopping: Option<Instant>,
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
            slots: BTreeMap::new(),
            generations: BTreeMap::new(),
            generation: 0,
            takeovers: JoinSet::new(),
            takeover_backoff: BTreeMap::new(),
            describes: JoinSet::new(),
            watch: Watch { asked_at: None, under_way: false, seen_at: None },
            lags: JoinSet::new(),
            lag_at: now,
            leaving: Vec::new(),
            commits_under_way: 0,
            beaten_at: now,
            stopping: None,
        }
    }

    /// Runs until told to stop and drained, or until something demands a person.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub async fn run(mut self) -> Result<(), PipelineError> {
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
                Some(Ok(taken)) = self.takeovers.join_next() => self.on_taken_over(taken)?,
                Some(Ok((asked_at, answer))) = self.describes.join_next() => self.on_description(asked_at, answer)?,
                Some(Ok(ends)) = self.lags.join_next() => self.on_ends(&ends),
                () = proofs.wanted() => self.heartbeat().await?,
                batch = self.ports.batches.recv() => match batch {
                    Some(batch) => {
                        self.on_batch(batch);
                        while let Ok(batch) = self.ports.batches.try_recv() {
                            self.on_batch(batch);
                        }
                    }
                    None => return Err(PipelineError::Stop("the batcher ended; see the lines above".into())),
                },
                () = told(&mut stop), if self.stopping.is_none() => self.on_stop(),
                () = tokio::time::sleep(TICK) => {}
            }
            self.work().await?;
            if self.stopping.is_some() && self.leaving.is_empty() {
                self.command(Command::Close)?;
                return Ok(());
            }
        }
    }

    /// Everything that may be due.
    async fn work(&mut self) -> Result<(), PipelineError> {
        self.connect().await?;
        self.describe_when_needed();
        self.start_takeovers();
        self.dispatch().await?;
        self.heartbeat_when_due().await?;
        self.let_go().await?;
        self.measure_lag();
        self.tell_status();
        Ok(())
    }

    // --- the ledger's connection ---

    async fn connect(&mut self) -> Result<(), PipelineError> {
        if self.ledger.as_ref().is_some_and(|ledger| ledger.is_closed()) {
            self.lose_ledger("its connection was closed");
        }
        if self.ledger.is_some() || Instant::now() < self.ledger_retry_at {
            return Ok(());
        }
        match Ledger::connect(&self.settings.postgres, &self.context.route, &application_name(self.context.instance))
            .await
        {
            Ok(ledger) => {
                if self.ledger_identity.as_ref().is_some_and(|before| before != ledger.identity()) {
                    warn!("postgresql was restarted, restored or failed over: every partition is taken over anew");
                }
                self.ledger_identity = Some(ledger.identity().clone());
                self.ledger = Some(Arc::new(ledger));
                self.ledger_backoff.reset();
                info!("ledger connected");
            }
            Err(error) if error.is_passing() => {
                let wait = self.ledger_backoff.next_wait();
                warn!(wait_ms = wait.as_millis(), "{error}");
                self.ledger_retry_at = Instant::now() + wait;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// After the ledger's connection is lost every ownership is gone (R4).
    fn lose_ledger(&mut self, why: &str) {
        if self.ledger.take().is_some() {
            warn!("ledger: {why}: every partition is taken over anew");
            self.context.proofs.void();
            self.ledger_retry_at = Instant::now() + self.ledger_backoff.next_wait();
            self.end_all();
        }
    }

    /// What to do about an error of the ledger: lost connections end every ownership, passing ones wait for the next try.
    fn on_ledger_error(&mut self, error: LedgerError) -> Result<(), PipelineError> {
        match error {
            LedgerError::Lost(_) | LedgerError::Connect(_) => self.lose_ledger(&error.to_string()),
            error if error.is_passing() => {
                // the statement may have landed: what the next one finds decides
                warn!("{error}");
                self.lose_ledger("a statement was refused");
            }
            error => return Err(error.into()),
        }
        Ok(())
    }

    // --- ownerships ---

    fn owned(&self) -> impl Iterator<Item = &Owned> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Owned(owned) => Some(owned),
            Slot::TakingOver => None,
        })
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
            Verdict::Stored => owned.tracker.acknowledged(ack.sink, ack.range),
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
                self.on_revoked(partitions, lost);
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
                    self.takeover_backoff.entry(*partition).or_insert_with(|| (Backoff::new(), wait)).1 = wait;
                }
            }
            Event::TopicGone => self.watch.seen_at = None,
            Event::Failed(why) => return Err(PipelineError::Stop(format!("kafka: {why}"))),
        }
        Ok(())
    }

    fn on_revoked(&mut self, partitions: Vec<Partition>, lost: bool) {
        let now = Instant::now();
        for &partition in &partitions {
            if lost {
                self.end(partition, "lost");
            }
            match self.slots.get_mut(&partition) {
                Some(Slot::Owned(owned)) => {
                    owned.leaving = true;
                    owned.ready.clear();
                }
                Some(Slot::TakingOver) => {
                    self.slots.remove(&partition);
                }
                None => {}
            }
            self.generation += 1;
            self.generations.insert(partition, self.generation);
        }
        let deadline = if lost { now } else { now + self.settings.drain_deadline };
        self.leaving.push(Leaving { partitions: partitions.into_iter().collect(), deadline, committing_until: None });
    }

    fn on_stop(&mut self) {
        info!("draining");
        let deadline = Instant::now() + self.settings.drain_deadline;
        self.stopping = Some(deadline);
        let partitions: Vec<Partition> = self.slots.keys().copied().collect();
        self.on_revoked(partitions, false);
    }

    fn on_batch(&mut self, batch: Batch) {
        let Some(owned) = self.owned_mut(batch.ownership.partition) else { return };
        if Arc::ptr_eq(&owned.ownership, &batch.ownership) && !owned.leaving {
            owned.ready.push_back(Arc::new(batch));
        }
    }

    // --- the topic's life ---

    fn describe_when_needed(&mut self) {
        let now = Instant::now();
        if self.watch.under_way || self.watch.asked_at.is_some_and(|at| now < at + DESCRIBE_INTERVAL) {
            return;
        }
        let waits = |owned: &Owned| {
            let next = owned.ready.iter().find(|batch| batch.range.start >= owned.tracker.claimed());
            next.is_some_and(|batch| self.watch.seen_at.is_none_or(|seen| seen <= batch.read_at))
        };
        let taking_over = self.slots.values().any(|slot| matches!(slot, Slot::TakingOver));
        if self.life.is_none() || (taking_over && self.watch.seen_at.is_none()) || self.owned().any(waits) {
            self.watch.asked_at = Some(now);
            self.watch.under_way = true;
            let inquirer: Arc<Inquirer> = Arc::clone(&self.context.inquirer);
            let topic = self.context.topic.clone();
            let known = self.cluster_id.clone();
            self.describes.spawn(async move {
                let answer = spawn_blocking(move || {
                    let cluster_id = known.map_or_else(|| inquirer.cluster_id(DESCRIBE_TIMEOUT), Ok)?;
                    Ok((cluster_id, inquirer.describe_topic(&topic, DESCRIBE_TIMEOUT)?))
                })
                .await;
                let failed = |error: tokio::task::JoinError| AskError::Refused {
                    what: "describe topic",
                    why: error.to_string(),
                };
                (now, answer.map_err(failed).flatten())
            });
        }
    }

    fn on_description(
        &mut self,
        asked_at: Instant,
        answer: Result<(String, TopicDescription), AskError>,
    ) -> Result<(), PipelineError> {
        self.watch.under_way = false;
        match answer {
            Ok((cluster_id, description)) => {
                let replaced = self.life.as_ref().is_some_and(|(_, known)| known.topic_id != description.topic_id);
                if replaced {
                    warn!(
                        topic = self.context.topic,
                        topic_id = description.topic_id,
                        "the topic was replaced: a new source begins"
                    );
                    self.life = None;
                    self.end_all();
                }
                if self.life.is_none() {
                    let source = SourceId::of(&cluster_id, &description.topic_id);
                    self.cluster_id = Some(cluster_id);
                    self.life = Some((Life { source, others_known: false }, description));
                }
                self.watch.seen_at = Some(asked_at);
            }
            Err(error @ AskError::Client(_)) => return Err(error.into()),
            Err(error) => {
                // no answer, no claim; asked again a little later
                self.watch.asked_at = Some(Instant::now() + Duration::from_millis(450));
                warn!("{error}");
            }
        }
        Ok(())
    }

    // --- take-overs ---

    fn start_takeovers(&mut self) {
        let (Some(ledger), Some((life, description))) = (&self.ledger, &self.life) else { return };
        if self.stopping.is_some() {
            return;
        }
        let now = Instant::now();
        let mut started = Vec::new();
        for (&partition, slot) in &self.slots {
            let generation = self.generations.get(&partition).copied().unwrap_or_default();
            let waits = self.takeover_backoff.get(&partition).is_some_and(|(_, until)| now < *until);
            if !matches!(slot, Slot::TakingOver) || waits || generation == 0 {
                continue;
            }
            let (context, ledger, mut life) = (Arc::clone(&self.context), Arc::clone(ledger), *life);
            let (cluster_id, topic_id) = (self.cluster_id.clone().unwrap_or_default(), description.topic_id.clone());
            self.takeovers.spawn(async move {
                let registered = ledger.register_source(life.source, &cluster_id, &context.topic, &topic_id).await;
                let result = match registered {
                    Ok(others_known) => {
                        life.others_known = others_known;
                        take_over(&context, &ledger, life, partition).await
                    }
                    Err(error) => Err(TakeOverError::of_ledger(error, partition)),
                };
                TakenOver { generation, partition, ledger, result }
            });
            started.push(partition);
        }
        for partition in started {
            // until it is done nothing else is started for the partition
            let entry = self.takeover_backoff.entry(partition).or_insert_with(|| (Backoff::new(), now));
            entry.1 = now + Duration::from_secs(3_600);
        }
    }

    fn on_taken_over(&mut self, taken: TakenOver) -> Result<(), PipelineError> {
        let TakenOver { generation, partition, ledger, result } = taken;
        let now = Instant::now();
        let current = self.generations.get(&partition) == Some(&generation)
            && matches!(self.slots.get(&partition), Some(Slot::TakingOver));
        match result {
            Ok(ownership) if current && self.stopping.is_none() => {
                self.takeover_backoff.remove(&partition);
                metrics::taken_over();
                let tracker = Tracker::new(&ownership.plan);
                self.command(Command::Assign(Arc::clone(&ownership)))?;
                let sent = ownership.plan.start;
                let owned = Owned { ownership, tracker, ready: VecDeque::new(), sent, leaving: false };
                self.slots.insert(partition, Slot::Owned(owned));
                return Ok(());
            }
            Ok(_) => debug!(partition, "taken over, but no longer wanted"),
            Err(error @ TakeOverError::Stop { .. }) if current => return Err(PipelineError::Stop(error.to_string())),
            Err(TakeOverError::LedgerLost(why)) => {
                if self.ledger.as_ref().is_some_and(|current| Arc::ptr_eq(current, &ledger)) {
                    self.lose_ledger(&why);
                }
                if let Some(entry) = self.takeover_backoff.get_mut(&partition) {
                    entry.1 = now;
                }
                return Ok(());
            }
            Err(error) => warn!(partition, "take-over: {error}; trying again"),
        }
        let entry = self.takeover_backoff.entry(partition).or_insert_with(|| (Backoff::new(), now));
        entry.1 = now + if current { entry.0.next_wait() } else { Duration::ZERO };
        Ok(())
    }

    // --- claims and writes ---

    /// Sends what is claimed to the writers, and claims what is ready: one range of each partition in one statement.
    async fn dispatch(&mut self) -> Result<(), PipelineError> {
        self.send_claimed();
        let (Some(ledger), Some(seen_at)) = (self.ledger.clone(), self.watch.seen_at) else { return Ok(()) };
        let mut wanted: Vec<ClaimWanted> = Vec::new();
        for owned in self.owned() {
            let Some(batch) = owned.ready.front() else { continue };
            let is_next = batch.range.start == owned.tracker.claimed();
            if is_next && seen_at > batch.read_at && owned.tracker.may_claim() && !owned.leaving {
                wanted.push(ClaimWanted {
                    fence: Fence::from(&*owned.ownership),
                    range: batch.range,
                    fingerprint: self.settings.fingerprint,
                    clickhouse_next: owned.tracker.clickhouse_next(),
                });
            }
        }
        if wanted.is_empty() || !self.writers_have_room(wanted.len()) {
            return Ok(());
        }
        let sighting = self.context.proofs.before_sending();
        let started = Instant::now();
        let answer = ledger.claim(&wanted).await;
        metrics::claimed(started.elapsed());
        match answer {
            Ok(progress) => self.on_claimed(&ledger, &wanted, &progress, sighting).await?,
            Err(error) => self.on_ledger_error(error)?,
        }
        self.send_claimed();
        Ok(())
    }

    async fn on_claimed(
        &mut self,
        ledger: &Ledger,
        wanted: &[ClaimWanted],
        answers: &[Progress],
        sighting: crate::ledger::proof::Sighting,
    ) -> Result<(), PipelineError> {
        for claim in wanted {
            let partition = claim.fence.partition;
            let mut answer = answers.iter().find(|progress| progress.partition == partition).copied();
            if answer.is_none() {
                // refused: what the row says decides
                let found = match ledger.reread(claim.fence).await {
                    Ok(found) => found,
                    Err(error) => return self.on_ledger_error(error),
                };
                let resolution = resolve(found.is_some(), found.map(|row| row.claimed), claim.range);
                if resolution == Resolution::Landed {
                    answer = found;
                }
            }
            let Some(progress) = answer else {
                metrics::fenced(1);
                warn!(partition, range = %claim.range, "claim fenced: taking over again");
                self.end(partition, "a claim was fenced");
                continue;
            };
            let Some(owned) = self.owned_mut(partition) else { continue };
            owned.tracker.claimed_range(claim.range);
            owned.ownership.proof.renew(sighting);
            if owned.tracker.recorded(&progress).is_err() {
                self.end(partition, "the ledger is behind memory");
            }
        }
        Ok(())
    }

    fn writers_have_room(&self, batches: usize) -> bool {
        self.ports.postgres.capacity() >= batches
            && self.ports.clickhouse.as_ref().is_none_or(|clickhouse| clickhouse.capacity() >= batches)
    }

    /// Hands on every batch whose range is claimed, as long as the writers have room.
    fn send_claimed(&mut self) {
        let Self { slots, ports, .. } = self;
        for slot in slots.values_mut() {
            let Slot::Owned(owned) = slot else { continue };
            while let Some(batch) = owned.ready.front() {
                let claimed = batch.range.end <= owned.tracker.claimed();
                let room = ports.postgres.capacity() > 0
                    && ports.clickhouse.as_ref().is_none_or(|clickhouse| clickhouse.capacity() > 0);
                if !claimed || !room {
                    break;
                }
                let Some(batch) = owned.ready.pop_front() else { break };
                owned.sent = batch.range.end;
                if let Some(clickhouse) = &ports.clickhouse {
                    let _ = clickhouse.try_send(Arc::clone(&batch));
                }
                let _ = ports.postgres.try_send(batch);
            }
        }
    }

    // --- heartbeat and commit ---

    async fn heartbeat_when_due(&mut self) -> Result<(), PipelineError> {
        let since = self.beaten_at.elapsed();
        let unrecorded = self.owned().any(|owned| owned.tracker.is_unrecorded());
        if since >= HEARTBEAT_IDLE || (unrecorded && since >= HEARTBEAT_SOON) {
            self.heartbeat().await?;
        }
        Ok(())
    }

    /// One fenced statement for every owned partition: records, proves, and notices a restore.
    async fn heartbeat(&mut self) -> Result<(), PipelineError> {
        let Some(ledger) = self.ledger.clone() else { return Ok(()) };
        self.beaten_at = Instant::now();
        let beats: Vec<(Fence, Option<Offset>)> =
            self.owned().map(|owned| (Fence::from(&*owned.ownership), owned.tracker.clickhouse_next())).collect();
        if beats.is_empty() {
            return Ok(());
        }
        let sighting = self.context.proofs.before_sending();
        let answers = match ledger.heartbeat(&beats).await {
            Ok(answers) => answers,
            Err(error) => return self.on_ledger_error(error),
        };
        for (fence, _) in beats {
            let partition = fence.partition;
            let answer = answers.iter().find(|progress| progress.partition == partition);
            let Some(owned) = self.owned_mut(partition) else { continue };
            match answer.map(|progress| owned.tracker.recorded(progress)) {
                Some(Ok(())) => owned.ownership.proof.renew(sighting),
                _ => {
                    metrics::fenced(1);
                    warn!(partition, "heartbeat: the ledger is not what it was: taking over again");
                    self.end(partition, "heartbeat");
                }
            }
        }
        self.tell_frontiers();
        self.commit()
    }

    /// Commits what the ledger itself returned, when that is news (R8).
    fn commit(&mut self) -> Result<(), PipelineError> {
        let Some((life, _)) = &self.life else { return Ok(()) };
        let metadata = commit_mark(life.source);
        let mut offsets = Vec::new();
        for slot in self.slots.values_mut() {
            if let Slot::Owned(owned) = slot
                && let Some(offset) = owned.tracker.to_commit()
            {
                owned.tracker.committed(offset);
                offsets.push((owned.ownership.partition, offset));
            }
        }
        if !offsets.is_empty() {
            self.commits_under_way += 1;
            self.command(Command::Commit { offsets, metadata })?;
        }
        Ok(())
    }

    // --- letting go ---

    /// Partitions on their way out are let go when nothing of theirs is under way and the last commit was answered, or
    /// at the deadline: the next owner then replays their claims.
    async fn let_go(&mut self) -> Result<(), PipelineError> {
        let mut index = 0;
        while index < self.leaving.len() {
            if self.has_left(index).await? {
                let leaving = self.leaving.remove(index);
                for partition in &leaving.partitions {
                    if let Some(Slot::Owned(owned)) = self.slots.remove(partition) {
                        owned.ownership.ended.cancel();
                    }
                    self.takeover_backoff.remove(partition);
                }
                self.command(Command::Release(leaving.partitions.into_iter().collect()))?;
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    async fn has_left(&mut self, index: usize) -> Result<bool, PipelineError> {
        let now = Instant::now();
        let Leaving { partitions, deadline, committing_until } = &self.leaving[index];
        let (deadline, committing_until) = (*deadline, *committing_until);
        let owned: Vec<Partition> =
            partitions.iter().copied().filter(|p| matches!(self.slots.get(p), Some(Slot::Owned(_)))).collect();
        if owned.is_empty() {
            return Ok(true);
        }
        if let Some(until) = committing_until {
            return Ok(self.commits_under_way == 0 || now >= until);
        }
        let under_way = |p: &Partition| matches!(self.slots.get(p), Some(Slot::Owned(owned)) if owned.is_under_way());
        if owned.iter().any(under_way) {
            if now >= deadline {
                warn!(partitions = ?owned, "not drained in time: the next owner finishes the claims");
            }
            return Ok(now >= deadline);
        }
        self.heartbeat().await?;
        if let Some(leaving) = self.leaving.get_mut(index) {
            leaving.committing_until = Some(now + COMMIT_TIMEOUT);
        }
        Ok(self.commits_under_way == 0)
    }

    // --- telling ---

    fn command(&self, command: Command) -> Result<(), PipelineError> {
        self.ports
            .commands
            .try_send(command)
            .map_err(|_| PipelineError::Stop("the reader ended, or does not keep up with its commands".into()))
    }

    fn tell_status(&self) {
        let owned = self.owned().count();
        let (source, ledger_up) = (self.life.as_ref().map(|(life, _)| life.source), self.ledger.is_some());
        self.ports.status.send_if_modified(|status| {
            let changed = status.owned != owned || status.source != source || status.ledger_up != ledger_up;
            (status.owned, status.source, status.ledger_up) = (owned, source, ledger_up);
            changed
        });
    }

    fn tell_frontiers(&self) {
        let route: Arc<str> = self.context.route.as_str().into();
        metrics::owned(&route, self.owned().count());
        for owned in self.owned() {
            let nexts = owned.tracker.recorded_nexts();
            for (sink, next) in [(SinkName::Postgres, nexts.postgres), (SinkName::ClickHouse, nexts.clickhouse)] {
                if let Some(next) = next {
                    metrics::frontier(&route, owned.ownership.partition, sink, next);
                }
            }
        }
    }

    fn measure_lag(&mut self) {
        if self.lag_at.elapsed() < LAG_INTERVAL || !self.lags.is_empty() {
            return;
        }
        self.lag_at = Instant::now();
        let partitions: Vec<Partition> = self.owned().map(|owned| owned.ownership.partition).collect();
        let inquirer = Arc::clone(&self.context.inquirer);
        let topic = self.context.topic.clone();
        self.lags.spawn(async move {
            let measured = spawn_blocking(move || {
                let end = |&partition: &Partition| {
                    inquirer.watermarks(&topic, partition, LAG_INTERVAL).ok().map(|(_, end)| (partition, end))
                };
                partitions.iter().map_while(end).collect()
            });
            measured.await.unwrap_or_default()
        });
    }

    fn on_ends(&self, ends: &[(Partition, Offset)]) {
        let route: Arc<str> = self.context.route.as_str().into();
        for &(partition, end) in ends {
            if let Some(Slot::Owned(owned)) = self.slots.get(&partition) {
                let next = owned.tracker.recorded_nexts().lowest();
                metrics::lag(&route, partition, end.saturating_sub(next).max(0).cast_unsigned());
            }
        }
    }
}
