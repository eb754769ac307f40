//! The reader: one thread that takes the messages that librdkafka has fetched, and sends them on in chunks. It always polls the group in
//! time. If the byte budget is spent or the next stage is full, it takes no messages, so librdkafka keeps them, and it still polls for the
//! group's events. It assigns, releases and commits exactly what the coordinator tells it. Its decisions are in pure files:
//! `reader/partitions.rs`, `readings.rs`, `deferred.rs`, `room.rs`. The calls to librdkafka are here and in `client.rs`, `fetching.rs`,
//! `group.rs` and `intake.rs`.

mod action;
mod client;
mod deferred;
mod fetching;
mod group;
mod intake;
mod partitions;
mod readings;
mod room;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition};
use footprint_service::failpoint::{self, Point};
use footprint_service::health::Health;
use footprint_service::kafka::events::wake;
use footprint_service::kafka::messages::Messages;
use footprint_service::metrics::Meters;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset as KafkaOffset};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use self::action::Action;
use self::client::Client;
use self::intake::Intake;
use self::partitions::Partitions;
use crate::batch::budget::Budget;
use crate::batch::under_way::UnderWay;
use crate::paused::Paused;
use crate::read::chunk::Chunk;
use crate::read::commands::{CommandQueue, Commit};
use crate::read::commit::CommitAnswer;
use crate::read::event::Event;

/// How often librdkafka's main thread is woken: see [`Reader::wake`].
const WAKE_INTERVAL: Duration = Duration::from_millis(100);
/// How long one wait lasts while the route is paused. Between two waits, the reader handles the group's events.
const PAUSED_WAIT: Duration = Duration::from_millis(20);
/// How long the client's errors must last before they are logged.
const CLIENT_ERRORS_LAST: Duration = Duration::from_secs(5);

/// The reader's ends of its channels.
pub struct Channels {
    /// Commands from the coordinator.
    pub commands: CommandQueue,
    /// Reports to the coordinator.
    pub events: mpsc::Sender<Event>,
    /// Chunks to the next stage.
    pub chunks: mpsc::Sender<Chunk<Messages>>,
    /// What a person has paused.
    pub paused: watch::Receiver<Paused>,
}

/// The reader of one topic.
pub struct Reader {
    // dropped before the channels: the other stages end when those close
    client: Client,
    config: ClientConfig,
    topic: String,
    commands: CommandQueue,
    events: mpsc::Sender<Event>,
    events_waiting: VecDeque<Event>,
    partitions: Partitions,
    intake: Intake,
    health: Arc<Health>,
    paused: watch::Receiver<Paused>,
    meters: Meters,
    woken_at: Instant,
    /// Nobody takes events any more.
    coordinator_is_gone: bool,
}

impl Reader {
    /// Joins the group.
    ///
    /// # Errors
    /// librdkafka refuses a setting or the subscription, or gives no queue.
    pub fn new(
        config: &ClientConfig,
        topic: &str,
        budget: &Arc<Budget>,
        under_way: &UnderWay,
        (health, meters): (&Arc<Health>, &Meters),
        channels: Channels,
    ) -> Result<Self, KafkaError> {
        let Channels { commands, events, chunks, paused } = channels;
        Ok(Self {
            client: Client::join(config, topic)?,
            config: config.clone(),
            topic: topic.to_owned(),
            commands,
            events,
            events_waiting: VecDeque::new(),
            partitions: Partitions::default(),
            intake: Intake::new(chunks, budget, under_way, (health, meters)),
            health: Arc::clone(health),
            paused,
            meters: meters.clone(),
            woken_at: Instant::now(),
            coordinator_is_gone: false,
        })
    }

    /// Reads until it receives `Close`, or until the coordinator or the next stage is gone. The consumer leaves the group when it is
    /// dropped.
    pub fn run(mut self) {
        while !self.partitions.closed && !self.coordinator_is_gone && !self.intake.closed {
            self.health.reader_turned(Instant::now());
            let mut pending = self.commands.take();
            let silent = std::mem::take(&mut pending.silent);
            let actions = self.partitions.follow(pending);
            self.do_all(actions);
            if let Some(partition) = self.stuck(&silent) {
                let Some(reader) = self.join_again(partition) else { return };
                self = reader;
            }
            let actions = self.partitions.start_deferred();
            self.do_all(actions);
            self.client.fetching.forward_again();
            self.wake();
            self.log_lasting_errors();
            self.poll_group();
            self.send_events();
            let may_take = self.intake.may_take(self.partitions.readings.replaying());
            if self.paused.borrow().route {
                // librdkafka keeps what it has fetched in its own bounded queue, as while the budget is spent
                thread::sleep(PAUSED_WAIT);
            } else if may_take {
                self.take();
            } else {
                self.intake.wait();
            }
        }
        self.leave();
    }

    /// A partition of the `silent` ones for which a new client is needed.
    fn stuck(&self, silent: &BTreeSet<Partition>) -> Option<Partition> {
        self.partitions.stuck(silent, |partition| self.client.fetching.is_silent(partition))
    }

    /// Leaves the group, and joins it again with a new client. Returns None if no client can be made.
    fn join_again(mut self, partition: Partition) -> Option<Self> {
        let topic = self.topic.as_str();
        warn!(
            topic,
            partition,
            "kafka's client fetches nothing of the partition, though its log holds more; joining the group again"
        );
        let count = self.client.commits.unanswered();
        if count > 0 {
            let result = Err("the client has left the group".to_owned());
            self.events_waiting.push_back(Event::Committed { count, result });
        }
        let lost = self.partitions.joins_again();
        self.perform(lost);
        // what waits here is read again by the next owner
        self.intake.forget();
        self.client.leave(&self.topic);
        match Client::join(&self.config, &self.topic) {
            Ok(client) => Some(Self { client, ..self }),
            Err(error) => {
                let _ = self.events.blocking_send(Event::Failed(error.to_string())); // the pipeline has ended already
                None
            }
        }
    }

    fn leave(self) {
        let Self { client, topic, commands, events, mut intake, .. } = self;
        intake.forget();
        client.leave(&topic);
        // the other stages end when these channels close, so they must live longer than the consumer
        drop((commands, events, intake));
    }

    fn do_all(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Commit(commit) => self.commit(&commit),
            Action::Fetch { partition, from } => self.fetch(partition, from),
            Action::Pause(partition) => self.client.fetching.pause(partition),
            Action::Release(partitions) => {
                failpoint::hit(Point::Release);
                self.client.fetching.stop(&partitions);
                failpoint::hit(Point::ReleaseAnswered);
            }
            Action::AskPositions => self.ask_positions(),
            Action::SendPosition(partition) => self.intake.take_position(partition, &self.partitions.readings),
            Action::Report(event) => self.events_waiting.push_back(event),
        }
    }

    fn commit(&mut self, commit: &Commit) {
        failpoint::hit(Point::KafkaCommit);
        let sent = self.client.commits.send(&self.client.consumer, &self.topic, commit);
        failpoint::hit(Point::KafkaCommitSent);
        if let Err(error) = sent {
            self.meters.committed(false, Duration::ZERO);
            self.events_waiting.push_back(Event::Committed { count: commit.count, result: Err(error) });
        }
    }

    fn fetch(&mut self, partition: Partition, from: Offset) {
        if let Err(error) = self.client.fetching.start(partition, from) {
            let action = self.partitions.not_fetched(partition, from, &error.to_string());
            return self.perform(action);
        }
        failpoint::hit(Point::Reading);
    }

    fn take(&mut self) {
        let started = Instant::now();
        let taken = self.client.fetching.take();
        let none_came = taken.is_empty();
        if !none_came {
            self.client.consumer.context().events.answered();
        }
        let actions = self.intake.take(taken, &mut self.partitions.readings);
        self.do_all(actions);
        let now = Instant::now();
        if let Some(action) = self.partitions.taken(none_came, now - started, now) {
            self.perform(action);
        }
    }

    fn ask_positions(&mut self) {
        let Ok(list) = self.client.consumer.position() else { return };
        for element in list.elements() {
            if let KafkaOffset::Offset(position) = element.offset()
                && let Some(action) = self.partitions.readings.position(element.partition(), position)
            {
                self.perform(action);
            }
        }
        self.intake.send();
    }

    /// Wakes librdkafka's main thread, which sends the group's heartbeats. Without this, a member learned of a rebalance only when that
    /// thread woke by itself, however short the heartbeat interval was. Meanwhile the other members' partitions were not read.
    fn wake(&mut self) {
        if self.woken_at.elapsed() >= WAKE_INTERVAL {
            self.woken_at = Instant::now();
            let fetched = self.client.fetching.partitions().len();
            self.meters.partitions_paused(fetched.saturating_sub(self.partitions.readings.len()));
            wake(&self.client.consumer);
        }
    }

    /// Logs errors of the client that have lasted for a while. A broker's short restart is not worth a line.
    fn log_lasting_errors(&self) {
        if let Some(text) = self.client.consumer.context().events.lasting(CLIENT_ERRORS_LAST) {
            warn!("kafka: {text}");
        }
    }

    /// Handles the events of the group and the errors of the brokers. Messages come on a queue of their own.
    fn poll_group(&mut self) {
        match self.client.consumer.poll(Duration::ZERO) {
            None => {}
            Some(Ok(_)) => {
                let why = "a message came by the group's queue; please report it".to_owned();
                let partitions = self.client.fetching.partitions().to_vec();
                self.events_waiting.push_back(Event::Displaced { partitions, why });
            }
            Some(Err(error)) => match Event::of_group(&error, self.client.fetching.partitions()) {
                Some(event) => self.events_waiting.push_back(event),
                // the context keeps this error with its reason, and it is logged if it lasts
                None => debug!("kafka: {error}"),
            },
        }
    }

    fn send_events(&mut self) {
        while let Some(CommitAnswer { count, elapsed, result }) = self.client.commits.answer() {
            failpoint::hit(Point::KafkaCommitAnswered);
            self.meters.committed(result.is_ok(), elapsed);
            self.events_waiting.push_back(Event::Committed { count, result });
        }
        let changes: Vec<Event> = self.client.consumer.context().queue.lock().drain(..).collect();
        for change in changes {
            let action = self.partitions.group_changed(change);
            self.perform(action);
        }
        self.coordinator_is_gone |= !send_waiting(&mut self.events_waiting, &self.events);
    }
}

/// Sends what waits, in order, as far as there is room. Returns false if nobody listens any more.
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
