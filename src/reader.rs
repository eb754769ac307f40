//! The reader: one thread that polls librdkafka and copies payloads into chunks. It never blocks for long while the group
//! waits for its polls: when the byte budget is spent, or the next stage is busy, it pauses the partitions and goes on
//! polling. It assigns, releases and commits exactly what the coordinator tells it, in that order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tracing::{debug, warn};

use crate::budget::{Budget, Permit};
use crate::chunk::{Chunk, Record, Records};
use crate::commit::Commits;
use crate::failpoint::{self, Point};
use crate::ledger::Ownership;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, RECORD_OVERHEAD_BYTES};
use crate::metrics;
use crate::offset::{Offset, Partition};

/// How long one poll waits when nothing comes.
const POLL_TIMEOUT: Duration = Duration::from_millis(20);
/// How long the reader waits, without polling, for room in the budget or in the next stage before it pauses: pausing
/// throws away what librdkafka has fetched.
const PATIENCE: Duration = Duration::from_millis(200);
/// Records between looks at the commands.
const COMMAND_INTERVAL_RECORDS: u32 = 256;
/// How often positions are looked at while nothing comes: they pass gaps and control records.
const POSITION_INTERVAL: Duration = Duration::from_millis(200);
/// A chunk that has waited so long goes on though it is not full.
const CHUNK_AGE_MAX: Duration = Duration::from_millis(10);

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
    /// The topic is not there.
    TopicGone,
    /// The client cannot go on.
    Failed(String),
}

/// Queues what librdkafka tells; answers nothing itself, save an assignment, which is taken empty: partitions follow when
/// they are taken over.
struct GroupContext {
    topic: String,
    queue: Mutex<VecDeque<Event>>,
    closing: AtomicBool,
}

impl ClientContext for GroupContext {
    fn error(&self, error: KafkaError, reason: &str) {
        warn!("kafka: {error}: {reason}");
    }
}

impl GroupContext {
    /// The partitions of our topic. Numbers of another topic's would be taken for ours.
    fn ours_of(&self, list: &TopicPartitionList) -> Vec<Partition> {
        let elements = list.elements();
        let (ours, others): (Vec<_>, Vec<_>) = elements.iter().partition(|element| element.topic() == self.topic);
        if let Some(other) = others.first() {
            warn!(topic = other.topic(), "the group speaks of partitions of another topic than ours; left alone");
        }
        ours.iter().map(|element| element.partition()).collect()
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigns = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let partitions = self.ours_of(list);
        debug!(?partitions, assigns, "rebalance");
        failpoint::hit(if assigns { Point::Assigned } else { Point::Revoked });
        if assigns {
            if let Err(error) = consumer.incremental_assign(&TopicPartitionList::new()) {
                self.queue.lock().push_back(Event::Displaced(format!("assignment refused: {error}")));
            }
            self.queue.lock().push_back(Event::Assigned(partitions));
        } else if self.closing.load(Ordering::SeqCst) {
            let assigned = consumer.assignment().unwrap_or_default();
            let _ = consumer.incremental_unassign(&assigned);
        } else {
            let lost = consumer.assignment_lost();
            self.queue.lock().push_back(Event::Revoked { partitions, lost });
        }
    }
}

/// A chunk in the making.
struct Open {
    records: Records,
    permit: Permit,
    position: Offset,
    since: Instant,
}

/// A partition that is read.
struct Reading {
    ownership: Arc<Ownership>,
    open: Option<Open>,
    /// Everything below it was handed on.
    handed: Offset,
}

/// The reader's ends of its channels.
pub struct Ports {
    /// What the coordinator tells.
    pub commands: mpsc::Receiver<Command>,
    /// What the coordinator hears.
    pub events: mpsc::Sender<Event>,
    /// The next stage.
    pub chunks: mpsc::Sender<Chunk>,
}

/// The reader of one topic.
pub struct Reader {
    // dropped before the consumer
    commits: Commits,
    consumer: Arc<BaseConsumer<GroupContext>>,
    topic: String,
    ports: Ports,
    budget: Arc<Budget>,
    reading: BTreeMap<Partition, Reading>,
    /// What librdkafka fetches: a superset of `reading`, since a halted partition stays until it is released.
    assigned: Vec<Partition>,
    chunks_waiting: VecDeque<Chunk>,
    events_waiting: VecDeque<Event>,
    /// A revoke waits for its answer; assignments wait until it has one.
    revoking: bool,
    deferred: Vec<Arc<Ownership>>,
    paused: bool,
    positions_at: Instant,
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
        ports: Ports,
    ) -> Result<Self, KafkaError> {
        let context = GroupContext {
            topic: topic.to_owned(),
            queue: Mutex::new(VecDeque::new()),
            closing: AtomicBool::new(false),
        };
        let consumer: BaseConsumer<GroupContext> = config.create_with_context(context)?;
        consumer.subscribe(&[topic])?;
        Ok(Self {
            commits: Commits::new(&consumer)?,
            consumer: Arc::new(consumer),
            topic: topic.to_owned(),
            ports,
            budget: Arc::clone(budget),
            reading: BTreeMap::new(),
            assigned: Vec::new(),
            chunks_waiting: VecDeque::new(),
            events_waiting: VecDeque::new(),
            revoking: false,
            deferred: Vec::new(),
            paused: false,
            positions_at: Instant::now(),
            closed: false,
        })
    }

    /// Reads until told to close, or until the coordinator is gone. The consumer leaves the group when it is dropped.
    pub fn run(mut self) {
        while !self.closed {
            self.obey();
            self.tell();
            self.poll_some();
            self.hand_on_old();
            self.regulate();
        }
        self.consumer.context().closing.store(true, Ordering::SeqCst);
        self.unassign(&self.assigned.clone());
        debug!(topic = self.topic, "the reader leaves the group");
        failpoint::hit(Point::Leave);
        drop(self);
        failpoint::hit(Point::LeaveAnswered);
    }

    /// Polls until nothing comes, the budget is spent, or it is time for commands.
    fn poll_some(&mut self) {
        // a handle of its own: the message borrows the consumer while the rest of the reader changes
        let consumer = Arc::clone(&self.consumer);
        let mut timeout = POLL_TIMEOUT;
        for _ in 0..COMMAND_INTERVAL_RECORDS {
            let polled = consumer.poll(timeout);
            timeout = Duration::ZERO;
            match polled {
                Some(Ok(message)) => self.take(&message),
                Some(Err(error)) => self.note_error(&error),
                None => {
                    self.note_positions();
                    return;
                }
            }
            if self.budget.is_spent() || !self.chunks_waiting.is_empty() {
                return;
            }
        }
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let Some(reading) = self.reading.get_mut(&message.partition()) else { return };
        if reading.ownership.has_ended() || message.offset() < reading.handed {
            return;
        }
        let headers = headers_json(message);
        let record = Record {
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key(),
            payload: message.payload(),
            headers: &headers,
        };
        let bytes = record.key.map_or(0, <[u8]>::len) + record.payload.map_or(0, <[u8]>::len) + headers.len();
        let open = reading.open.get_or_insert_with(|| Open {
            records: Records::default(),
            permit: self.budget.take(0),
            position: 0,
            since: Instant::now(),
        });
        open.permit.grow(bytes + RECORD_OVERHEAD_BYTES);
        open.records.push(record);
        open.position = record.offset + 1;
        if open.records.len() >= CHUNK_RECORDS_MAX || open.records.byte_len() >= CHUNK_BYTES_MAX {
            self.hand_on(message.partition());
        }
    }

    /// Hands a partition's chunk to the next stage, or keeps it waiting when that is busy.
    fn hand_on(&mut self, partition: Partition) {
        let Some(reading) = self.reading.get_mut(&partition) else { return };
        let Some(open) = reading.open.take() else { return };
        metrics::read(open.records.len(), open.records.byte_len());
        reading.handed = open.position;
        let ownership = Arc::clone(&reading.ownership);
        let Open { records, permit, position, .. } = open;
        self.chunks_waiting.push_back(Chunk { ownership, records, position, read_at: Instant::now(), permit });
        self.send_chunks();
    }

    fn send_chunks(&mut self) {
        while let Some(chunk) = self.chunks_waiting.pop_front() {
            match self.ports.chunks.try_send(chunk) {
                Ok(()) => {}
                Err(TrySendError::Full(chunk)) => {
                    self.chunks_waiting.push_front(chunk);
                    return;
                }
                Err(TrySendError::Closed(_)) => self.closed = true,
            }
        }
    }

    fn hand_on_old(&mut self) {
        let spent = self.budget.is_spent();
        let old: Vec<Partition> = self
            .reading
            .iter()
            .filter(|(_, reading)| {
                reading.open.as_ref().is_some_and(|open| spent || open.since.elapsed() >= CHUNK_AGE_MAX)
            })
            .map(|(&partition, _)| partition)
            .collect();
        for partition in old {
            self.hand_on(partition);
        }
    }

    /// Gaps, control and aborted records move the position without a record: everything below it was seen all the same.
    fn note_positions(&mut self) {
        if self.positions_at.elapsed() < POSITION_INTERVAL || self.reading.is_empty() {
            return;
        }
        self.positions_at = Instant::now();
        let Ok(list) = self.consumer.position() else { return };
        for element in list.elements() {
            let (KafkaOffset::Offset(position), Some(reading)) =
                (element.offset(), self.reading.get_mut(&element.partition()))
            else {
                continue;
            };
            let covered = reading.open.as_ref().map_or(reading.handed, |open| open.position);
            if position > covered && !reading.ownership.has_ended() {
                let open = reading.open.get_or_insert_with(|| Open {
                    records: Records::default(),
                    permit: self.budget.take(0),
                    position,
                    since: Instant::now(),
                });
                open.position = position;
            }
        }
    }

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
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed => {
                    self.events_waiting
                        .push_back(Event::Failed(format!("{error}; grant the user read on the topic and the group")));
                }
                _ => warn!("kafka: {error}"),
            },
            _ => warn!("kafka: {error}"),
        }
    }

    /// Pauses when the budget is spent or the next stage is busy for longer than the reader's patience, and resumes.
    fn regulate(&mut self) {
        self.send_chunks();
        metrics::budget(self.budget.taken(), self.budget.bytes_max());
        if self.paused {
            if self.chunks_waiting.is_empty() && self.budget.is_below_low_water() {
                self.set_paused(false);
            }
            return;
        }
        let until = Instant::now() + PATIENCE;
        while !self.chunks_waiting.is_empty() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
            self.send_chunks();
        }
        let room = self.budget.wait_for_room(until.saturating_duration_since(Instant::now()));
        if !room || !self.chunks_waiting.is_empty() {
            self.set_paused(true);
        }
    }

    fn set_paused(&mut self, paused: bool) {
        let list = self.list(self.reading.keys().copied());
        let result = if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(error) = result {
            warn!("kafka: pause or resume: {error}");
        }
        self.paused = paused;
        metrics::paused(paused);
        debug!(paused, taken = self.budget.taken(), "reading");
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
            match self.ports.commands.try_recv() {
                Ok(Command::Assign(ownership)) if self.revoking => self.deferred.push(ownership),
                Ok(Command::Assign(ownership)) => self.assign(ownership),
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

    fn assign(&mut self, ownership: Arc<Ownership>) {
        let (partition, from) = (ownership.partition, ownership.plan.read_from);
        if ownership.has_ended() {
            return;
        }
        if self.assigned.contains(&partition) {
            self.unassign(&[partition]);
        }
        let mut list = TopicPartitionList::new();
        let added = list
            .add_partition_offset(&self.topic, partition, KafkaOffset::Offset(from))
            .and_then(|()| self.consumer.incremental_assign(&list));
        if let Err(error) = added {
            self.events_waiting.push_back(Event::Displaced(format!("partition {partition}: {error}")));
            return;
        }
        failpoint::hit(Point::Reading);
        self.assigned.push(partition);
        if self.paused {
            let _ = self.consumer.pause(&self.list(std::iter::once(partition)));
        }
        self.reading.insert(partition, Reading { handed: from, ownership, open: None });
    }

    fn halt(&mut self, partition: Partition) {
        if self.reading.remove(&partition).is_some() {
            let _ = self.consumer.pause(&self.list(std::iter::once(partition)));
        }
    }

    fn release(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.reading.remove(partition);
        }
        failpoint::hit(Point::Release);
        self.unassign(partitions);
        failpoint::hit(Point::ReleaseAnswered);
        self.revoking = false;
        self.deferred.retain(|ownership| !partitions.contains(&ownership.partition));
        for ownership in std::mem::take(&mut self.deferred) {
            self.assign(ownership);
        }
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
    }

    fn commit(&mut self, offsets: &[(Partition, Offset)], metadata: &str) {
        failpoint::hit(Point::KafkaCommit);
        let sent = self.commits.send(&self.consumer, &self.topic, offsets, metadata);
        failpoint::hit(Point::KafkaCommitSent);
        if let Err(error) = sent {
            self.events_waiting.push_back(Event::Committed(Err(error.to_string())));
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
        while let Some(event) = self.events_waiting.pop_front() {
            match self.ports.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.events_waiting.push_front(event);
                    return;
                }
                Err(TrySendError::Closed(_)) => self.closed = true,
            }
        }
    }
}

/// Headers as a JSON array of `{"key", "value"}`, or `"base64"` in place of a value that is not text. Empty: none.
fn headers_json(message: &BorrowedMessage<'_>) -> Vec<u8> {
    use base64::Engine as _;
    let headers = crate::kafka::headers(message);
    if headers.is_empty() {
        return Vec::new();
    }
    let list: Vec<serde_json::Value> = headers
        .iter()
        .map(|(key, value)| match value.map(|value| (std::str::from_utf8(value), value)) {
            None => serde_json::json!({ "key": key, "value": null }),
            // jsonb cannot hold NUL
            Some((Ok(text), _)) if !text.contains('\0') => serde_json::json!({ "key": key, "value": text }),
            Some((_, value)) => {
                serde_json::json!({ "key": key, "base64": base64::engine::general_purpose::STANDARD.encode(value) })
            }
        })
        .collect();
    serde_json::to_vec(&list).unwrap_or_default()
}
