//! The reader: one thread that takes what librdkafka has fetched and sends it on in chunks. It never keeps the group
//! waiting for its polls: when the byte budget is spent, or the next stage is busy, it takes no messages, which librdkafka
//! then keeps, and goes on polling the group's events. It assigns, releases and commits exactly what the coordinator tells it.

mod deferred;
mod fetching;
mod group;
mod intake;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition};
use footprint_service::failpoint::{self, Point};
use footprint_service::kafka::events::wake;
use footprint_service::kafka::messages::Messages;
use footprint_service::kafka::trouble::missing_right;
use rdkafka::Offset as KafkaOffset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{debug, warn};

use self::deferred::{Deferred, Turn};
use self::fetching::Fetching;
use self::group::GroupContext;
use self::intake::{Intake, Met, Place};
use crate::batch::budget::Budget;
use crate::batch::under_way::UnderWay;
use crate::read::chunk::Chunk;
use crate::read::commands::{CommandQueue, Wanted};
use crate::read::commit::Commits;
use crate::read::event::Event;

/// How often librdkafka's main thread is woken: see [`Reader::wake`].
const WAKE_INTERVAL: Duration = Duration::from_millis(100);
/// How long the messages taken may take to be decoded, or thrown away, when the reader ends.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the client's errors must last before they are logged.
const COMPLAINT_AFTER: Duration = Duration::from_secs(5);
/// How often positions are looked at while nothing comes: they pass gaps and control records.
const POSITION_INTERVAL: Duration = Duration::from_millis(200);

/// The reader's ends of its channels.
pub struct Ports {
    /// What the coordinator wants.
    pub commands: CommandQueue,
    /// What the coordinator receives.
    pub events: mpsc::Sender<Event>,
    /// The next stage.
    pub chunks: mpsc::Sender<Chunk<Messages>>,
}

/// The reader of one topic.
pub struct Reader {
    // both dropped before the consumer
    commits: Commits,
    fetching: Fetching,
    consumer: Arc<BaseConsumer<GroupContext>>,
    topic: String,
    commands: CommandQueue,
    events: mpsc::Sender<Event>,
    intake: Intake,
    events_waiting: VecDeque<Event>,
    /// A revoke waits for its answer; assignments wait until it has one.
    revoking: bool,
    deferred: Deferred,
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
        under_way: &UnderWay,
        ports: Ports,
    ) -> Result<Self, KafkaError> {
        let consumer: BaseConsumer<GroupContext> = config.create_with_context(GroupContext::new(config, topic))?;
        consumer.subscribe(&[topic])?;
        let consumer = Arc::new(consumer);
        let Ports { commands, events, chunks } = ports;
        Ok(Self {
            commits: Commits::new(&consumer)?,
            fetching: Fetching::new(&consumer, topic)?,
            consumer,
            topic: topic.to_owned(),
            commands,
            events,
            intake: Intake::new(chunks, budget, under_way),
            events_waiting: VecDeque::new(),
            revoking: false,
            deferred: Deferred::default(),
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
            self.fetching.forward_unheard();
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
        self.fetching.stop_all();
        let Self { commits, fetching, consumer, topic, commands, events, mut intake, .. } = self;
        intake.forget();
        if !fetching.close(RETURN_TIMEOUT) {
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
        let started = Instant::now();
        let mut met = Vec::new();
        let taken = self.fetching.take();
        let nothing = taken.is_empty();
        if !nothing {
            self.consumer.context().events.answered();
        }
        self.intake.take(taken, &mut met);
        for met in met {
            self.note_met(met);
        }
        if nothing {
            self.note_positions();
        }
        self.intake.took(started.elapsed());
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
        self.displace_all(stray);
    }

    fn displace_all(&mut self, why: String) {
        let partitions = self.fetching.partitions().to_vec();
        self.events_waiting.push_back(Event::Displaced { partitions, why });
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
        match met {
            Met::Error { error, handed } => self.events_waiting.extend(Event::in_place(error, handed)),
            Met::Behind(partition) => self.fetching.pause(partition),
            Met::Skip { partition, next } => self.fetch(partition, next),
        }
    }

    /// What the group's queue tells: of the group, the topic, the client as a whole.
    fn note_error(&mut self, error: &KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(_) => self.events_waiting.push_back(Event::Failed(error.to_string())),
            KafkaError::MessageConsumption(code) => match code {
                // a partition's own come by its queue, and name it
                RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::NoOffset => {
                    self.displace_all(error.to_string());
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

    /// Does what the coordinator wants, in the order that `commands.rs` explains.
    fn obey(&mut self) {
        let Wanted { commit, halted, released, assigned, closes, .. } = self.commands.take();
        if let Some(commit) = commit {
            failpoint::hit(Point::KafkaCommit);
            let sent = self.commits.send(&self.consumer, &self.topic, &commit);
            failpoint::hit(Point::KafkaCommitSent);
            if let Err(error) = sent {
                self.events_waiting.push_back(Event::Committed { count: commit.count, result: Err(error) });
            }
        }
        for partition in halted {
            self.intake.stop(partition);
            self.fetching.pause(partition);
        }
        if let Some(partitions) = released {
            self.release(&partitions.into_iter().collect::<Vec<_>>());
        }
        for ownership in assigned.into_values() {
            self.deferred.add(ownership);
        }
        self.closed |= closes;
    }

    /// Has those that wait read, unless a revoke waits for its answer.
    fn assign_deferred(&mut self) {
        if self.revoking {
            return;
        }
        for _ in 0..self.deferred.len() {
            let Some(Turn { paused, next }) = self.deferred.turn(&mut self.intake) else { continue };
            if let Some(partition) = paused {
                self.fetching.pause(partition);
            }
            let Place { ownership, from } = next;
            let partition = ownership.partition;
            self.intake.start(ownership, from);
            self.fetch(partition, from);
            failpoint::hit(Point::Reading);
        }
    }

    fn fetch(&mut self, partition: Partition, from: Offset) {
        if let Err(error) = self.fetching.start(partition, from) {
            self.intake.stop(partition);
            let why = format!("offset {from}: {error}");
            self.events_waiting.push_back(Event::Displaced { partitions: vec![partition], why });
        }
    }

    fn release(&mut self, partitions: &[Partition]) {
        for &partition in partitions {
            self.intake.stop(partition);
        }
        failpoint::hit(Point::Release);
        self.fetching.stop(partitions);
        failpoint::hit(Point::ReleaseAnswered);
        self.revoking = false;
        self.deferred.remove(|partition| partitions.contains(&partition));
    }

    fn tell(&mut self) {
        while let Some((count, result)) = self.commits.answer() {
            failpoint::hit(Point::KafkaCommitAnswered);
            self.events_waiting.push_back(Event::Committed { count, result });
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
