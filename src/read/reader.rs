//! The reader: one thread that takes what librdkafka has fetched and hands it on in chunks. It never keeps the group
//! waiting for its polls: when the byte budget is spent, or the next stage is busy, it takes no messages, which librdkafka
//! then keeps, and goes on polling the group's events. It assigns, releases and commits exactly what the coordinator tells
//! it, in that order.

mod group;
mod intake;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition};
use footprint_service::failpoint::{self, Point};
use footprint_service::kafka::events::wake;
use footprint_service::kafka::fetched::{Fetched, InPlaceError};
use footprint_service::kafka::messages::Messages;
use footprint_service::kafka::trouble::{InPlace, in_place_of_messages, missing_right};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tracing::{debug, warn};

use self::group::GroupContext;
use self::intake::{Intake, Met};
use crate::batch::budget::Budget;
use crate::batch::under_way::Flights;
use crate::ledger::ownership::Ownership;
use crate::limits::REPLAYS_MAX;
use crate::read::chunk::Chunk;
use crate::read::commit::Commits;

/// How long one take waits when nothing comes.
const TAKE_TIMEOUT: Duration = Duration::from_millis(20);
/// Partitions that have sent nothing since they were assigned are forwarded anew so often, see [`Reader::forward_unheard`]:
/// at first, and later, when they are idle most likely.
const FORWARD_INTERVAL: Duration = Duration::from_millis(20);
const FORWARD_INTERVAL_LATER: Duration = Duration::from_secs(1);
/// How long after an assignment "at first" is.
const FORWARD_OFTEN: Duration = Duration::from_secs(2);
/// How often librdkafka's main thread is woken: see [`Reader::wake`].
const WAKE_INTERVAL: Duration = Duration::from_millis(100);
/// How long the messages taken may take to be decoded, or thrown away, when the reader ends.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the client's errors must last to be told.
const COMPLAINT_AFTER: Duration = Duration::from_secs(5);
/// How often positions are looked at while nothing comes: they pass gaps and control records.
const POSITION_INTERVAL: Duration = Duration::from_millis(200);

/// What the coordinator tells the reader.
#[derive(Debug)]
pub enum Command {
    /// Read a partition from `plan.read_from` on, under this ownership.
    Assign(Arc<Ownership>),
    /// Its ownership has ended: stop fetching until the next `Assign`.
    Halt(Partition),
    /// Answer a revoke: the partitions are let go.
    Release(Vec<Partition>),
    /// Commit offsets with our mark, and tell what came of it.
    Commit {
        /// Partitions and next offsets.
        offsets: Vec<(Partition, Offset)>,
        /// The mark.
        metadata: String,
    },
    /// Leave the group and end.
    Close,
}

/// What the reader tells the coordinator.
#[derive(Debug)]
pub enum Event {
    /// The group gives partitions.
    Assigned(Vec<Partition>),
    /// The group takes partitions; it waits for `Release` unless they are lost already.
    Revoked {
        /// Which.
        partitions: Vec<Partition>,
        /// The group has given them to somebody else already.
        lost: bool,
    },
    /// A commit was answered.
    Committed(Result<(), String>),
    /// A fetch found its offset out of the log's range, or an assignment was refused: look again at every partition.
    Displaced(String),
    /// An error stands in place of records: nothing more is read of the partition.
    Unreadable {
        /// The partition.
        partition: Partition,
        /// Where the error stands.
        offset: Offset,
        /// Everything below it was handed on before.
        handed: Offset,
        /// librdkafka's words.
        why: String,
    },
    /// The topic is not there.
    TopicGone,
    /// The group does not let us in: its members assign partitions in another way.
    RefusedByGroup,
    /// The client cannot go on.
    Failed(String),
}

/// The reader's ends of its channels.
pub struct Ports {
    /// What the coordinator tells.
    pub commands: mpsc::Receiver<Command>,
    /// What the coordinator hears.
    pub events: mpsc::Sender<Event>,
    /// The next stage.
    pub chunks: mpsc::Sender<Chunk<Messages>>,
}

/// The reader of one topic.
pub struct Reader {
    // both dropped before the consumer
    commits: Commits,
    fetched: Fetched,
    consumer: Arc<BaseConsumer<GroupContext>>,
    topic: String,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    intake: Intake,
    /// What librdkafka fetches: a superset of what is taken in, since a halted partition stays until it is released.
    assigned: Vec<Partition>,
    /// Assigned partitions from which no message has come yet.
    unheard: Vec<Partition>,
    assigned_at: Instant,
    forwarded_at: Instant,
    events_waiting: VecDeque<Event>,
    /// A revoke waits for its answer; assignments wait until it has one.
    revoking: bool,
    /// Assignments that wait, for a revoke or for others' claims to be read.
    deferred: VecDeque<Arc<Ownership>>,
    positions_at: Instant,
    woken_at: Instant,
    closed: bool,
}

impl Reader {
    /// Joins the group.
    ///
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(
        config: &rdkafka::ClientConfig,
        topic: &str,
        budget: &Arc<Budget>,
        flights: &Flights,
        ports: Ports,
    ) -> Result<Self, KafkaError> {
        let consumer: BaseConsumer<GroupContext> = config.create_with_context(GroupContext::new(config, topic))?;
        consumer.subscribe(&[topic])?;
        let consumer = Arc::new(consumer);
        let Ports { commands, events, chunks } = ports;
        Ok(Self {
            commits: Commits::new(&consumer)?,
            fetched: Fetched::new(&consumer)?,
            consumer,
            topic: topic.to_owned(),
            commands,
            events,
            intake: Intake::new(chunks, budget, flights),
            assigned: Vec::new(),
            unheard: Vec::new(),
            assigned_at: Instant::now(),
            forwarded_at: Instant::now(),
            events_waiting: VecDeque::new(),
            revoking: false,
            deferred: VecDeque::new(),
            positions_at: Instant::now(),
            woken_at: Instant::now(),
            closed: false,
        })
    }

    /// Reads until told to close, or until the coordinator is gone. The consumer leaves the group when it is dropped.
    pub fn run(mut self) {
        while !self.closed && !self.intake.closed {
            self.obey();
            self.assign_deferred();
            self.forward_unheard();
            self.wake();
            self.complain();
            self.poll_group();
            self.tell();
            if self.intake.may_take() {
                self.take();
            } else {
                self.intake.hold();
            }
        }
        self.consumer.context().closing.store(true, Ordering::SeqCst);
        self.unassign(&self.assigned.clone());
        let Self { commits, fetched, consumer, topic, commands, events, mut intake, .. } = self;
        intake.forget();
        if !fetched.close(RETURN_TIMEOUT) {
            warn!(topic, "messages are still being decoded; the group is left after them");
        }
        debug!(topic, "the reader leaves the group");
        failpoint::hit(Point::Leave);
        drop((commits, consumer));
        failpoint::hit(Point::LeaveAnswered);
        // the other stages end with their channels: they outlast the consumer
        drop((commands, events, intake));
    }

    fn take(&mut self) {
        let mut met = Vec::new();
        let taken = self.fetched.take(TAKE_TIMEOUT);
        let nothing = taken.is_empty();
        if !nothing {
            self.consumer.context().events.answered();
        }
        if !self.unheard.is_empty() {
            for partition in taken.partitions() {
                self.unheard.retain(|&unheard| unheard != partition);
            }
        }
        self.intake.take(taken, &mut met);
        for met in met {
            self.note_met(met);
        }
        if nothing {
            self.note_positions();
        }
    }

    /// Where a partition was assigned before, librdkafka ends its forwarding some time after it was let go
    /// (`rd_kafka_toppar_fetch_stop`), which may be after it was forwarded for the next assignment; its messages then lie
    /// where nobody takes them. Forwarding again brings them along, so it is done until the first has come.
    fn forward_unheard(&mut self) {
        let is_new = self.assigned_at.elapsed() < FORWARD_OFTEN;
        let interval = if is_new { FORWARD_INTERVAL } else { FORWARD_INTERVAL_LATER };
        if self.unheard.is_empty() || self.forwarded_at.elapsed() < interval {
            return;
        }
        self.forwarded_at = Instant::now();
        for &partition in &self.unheard {
            if let Err(error) = self.fetched.forward(&self.consumer, &self.topic, partition) {
                debug!(partition, "kafka: forward: {error}");
            }
        }
    }

    /// librdkafka beats the group's heart on its main thread: as late as that wakes a member heard of a rebalance, however often
    /// its heart was to beat, and the others' partitions stood still.
    fn wake(&mut self) {
        if self.woken_at.elapsed() >= WAKE_INTERVAL {
            self.woken_at = Instant::now();
            wake(&self.consumer);
        }
    }

    /// What the client has complained of for a while: a broker that restarts is nobody's concern.
    fn complain(&self) {
        if let Some(text) = self.consumer.context().events.lasting(COMPLAINT_AFTER) {
            warn!("kafka: {text}");
        }
    }

    /// Serves what the group and the brokers tell; messages come by a queue of their own.
    fn poll_group(&mut self) {
        let stray = match self.consumer.poll(Duration::ZERO) {
            None => return,
            Some(Ok(_)) => "a message came by the group's queue; please report it".to_owned(),
            Some(Err(error)) => return self.note_error(&error),
        };
        self.events_waiting.push_back(Event::Displaced(stray));
    }

    fn note_positions(&mut self) {
        if self.positions_at.elapsed() < POSITION_INTERVAL || !self.intake.is_reading() {
            return;
        }
        self.positions_at = Instant::now();
        let Ok(list) = self.consumer.position() else { return };
        for element in list.elements() {
            if let KafkaOffset::Offset(position) = element.offset() {
                self.intake.note_position(element.partition(), position);
            }
        }
        self.intake.send();
    }

    fn note_met(&mut self, met: Met) {
        let event = match met {
            Met::Error { error, handed } => match Event::in_place(error, handed) {
                Some(event) => event,
                None => return,
            },
            Met::Behind(partition) => return self.pause(partition),
            Met::Skip { partition, next } => return self.fetch(partition, next),
        };
        self.events_waiting.push_back(event);
    }

    /// What the group's queue tells: of the group, the topic, the client as a whole.
    fn note_error(&mut self, error: &KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(_) => self.events_waiting.push_back(Event::Failed(error.to_string())),
            KafkaError::MessageConsumption(code) => match code {
                RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::NoOffset => {
                    self.events_waiting.push_back(Event::Displaced(error.to_string()));
                }
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                    self.events_waiting.push_back(Event::TopicGone);
                }
                RDKafkaErrorCode::InconsistentGroupProtocol => self.events_waiting.push_back(Event::RefusedByGroup),
                code => match missing_right(*code) {
                    Some(remedy) => self.events_waiting.push_back(Event::Failed(format!("{code}; {remedy}"))),
                    // kept with its reason by the context, and warned of when it lasts
                    None => debug!("kafka: {error}"),
                },
            },
            _ => warn!("kafka: {error}"),
        }
    }

    fn list(&self, partitions: impl Iterator<Item = Partition>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        list
    }

    fn obey(&mut self) {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Assign(ownership)) => self.deferred.push_back(ownership),
                Ok(Command::Halt(partition)) => self.halt(partition),
                Ok(Command::Release(partitions)) => self.release(&partitions),
                Ok(Command::Commit { offsets, metadata }) => self.commit(&offsets, &metadata),
                Ok(Command::Close) | Err(TryRecvError::Disconnected) => {
                    self.closed = true;
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// Assigns what waits, unless a revoke waits for its answer, or, of those with claims to read again, enough are read.
    fn assign_deferred(&mut self) {
        if self.revoking {
            return;
        }
        for ownership in std::mem::take(&mut self.deferred) {
            let replays = ownership.plan.claimed > ownership.plan.start;
            if replays && self.intake.replaying() >= REPLAYS_MAX {
                self.deferred.push_back(ownership);
            } else {
                self.assign(ownership);
            }
        }
    }

    fn assign(&mut self, ownership: Arc<Ownership>) {
        let (partition, from) = (ownership.partition, ownership.plan.read_from);
        if ownership.has_ended() {
            return;
        }
        self.intake.start(ownership, from);
        self.fetch(partition, from);
        failpoint::hit(Point::Reading);
    }

    /// Has librdkafka fetch a partition from `from` on, whatever it fetched of it before.
    fn fetch(&mut self, partition: Partition, from: Offset) {
        if self.assigned.contains(&partition) {
            self.unassign(&[partition]);
        }
        let mut list = TopicPartitionList::new();
        let added = list
            .add_partition_offset(&self.topic, partition, KafkaOffset::Offset(from))
            .and_then(|()| self.fetched.forward(&self.consumer, &self.topic, partition))
            .and_then(|()| self.consumer.incremental_assign(&list));
        if let Err(error) = added {
            self.intake.stop(partition);
            self.events_waiting.push_back(Event::Displaced(format!("partition {partition}: {error}")));
            return;
        }
        self.assigned.push(partition);
        self.unheard.push(partition);
        self.assigned_at = Instant::now();
    }

    fn halt(&mut self, partition: Partition) {
        self.intake.stop(partition);
        self.pause(partition);
    }

    /// Fetches no more of a partition that stays assigned. Nothing to do where it is not.
    fn pause(&self, partition: Partition) {
        if self.assigned.contains(&partition) {
            let _ = self.consumer.pause(&self.list(std::iter::once(partition)));
        }
    }

    fn release(&mut self, partitions: &[Partition]) {
        for &partition in partitions {
            self.intake.stop(partition);
        }
        failpoint::hit(Point::Release);
        self.unassign(partitions);
        failpoint::hit(Point::ReleaseAnswered);
        self.revoking = false;
        self.deferred.retain(|ownership| !partitions.contains(&ownership.partition));
    }

    /// Takes partitions out of what librdkafka fetches. Called for a revoke even when none is in it: the group waits for
    /// the call.
    fn unassign(&mut self, partitions: &[Partition]) {
        let list = self.list(self.assigned.iter().copied().filter(|partition| partitions.contains(partition)));
        // librdkafka keeps an application's pause across assignments: a halted partition would never be read again. It is
        // resumed before it is let go, not after it is assigned anew, where resuming would seek to the old position.
        if let Err(error) = self.consumer.resume(&list) {
            debug!("kafka: resume: {error}");
        }
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            warn!("kafka: unassign: {error}");
        }
        self.assigned.retain(|partition| !partitions.contains(partition));
        self.unheard.retain(|partition| !partitions.contains(partition));
    }

    fn commit(&mut self, offsets: &[(Partition, Offset)], metadata: &str) {
        failpoint::hit(Point::KafkaCommit);
        let sent = self.commits.send(&self.consumer, &self.topic, offsets, metadata);
        failpoint::hit(Point::KafkaCommitSent);
        if let Err(error) = sent {
            self.events_waiting.push_back(Event::Committed(Err(error)));
        }
    }

    fn tell(&mut self) {
        while let Some(answer) = self.commits.answer() {
            failpoint::hit(Point::KafkaCommitAnswered);
            self.events_waiting.push_back(Event::Committed(answer));
        }
        {
            let mut queue = self.consumer.context().queue.lock();
            for event in queue.drain(..) {
                self.revoking |= matches!(event, Event::Revoked { .. });
                self.events_waiting.push_back(event);
            }
        }
        self.closed |= !send_waiting(&mut self.events_waiting, &self.events);
    }
}

impl Event {
    /// What the coordinator hears of an error in place of messages; nothing where it is harmless.
    fn in_place(error: InPlaceError, handed: Offset) -> Option<Self> {
        let InPlaceError { partition, offset, code, why } = error;
        Some(match in_place_of_messages(code) {
            InPlace::Harmless => return None,
            InPlace::OutOfRange => Event::Displaced(format!("partition {partition} at offset {offset}: {why}")),
            InPlace::Gone => Event::TopicGone,
            InPlace::Denied => Event::Failed(format!("{why}; {}", missing_right(code).unwrap_or("grant read on it"))),
            InPlace::Unreadable => Event::Unreadable { partition, offset, handed, why },
        })
    }
}

/// Sends what waits, in order, as far as there is room. False: nobody listens.
fn send_waiting<T>(waiting: &mut VecDeque<T>, to: &mpsc::Sender<T>) -> bool {
    while let Some(next) = waiting.pop_front() {
        match to.try_send(next) {
            Ok(()) => {}
            Err(TrySendError::Full(next)) => {
                waiting.push_front(next);
                return true;
            }
            Err(TrySendError::Closed(_)) => return false,
        }
    }
    true
}
