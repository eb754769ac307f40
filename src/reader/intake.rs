//! The intake: messages into chunks, a chunk a partition in the making, and whether another may be taken. What the next
//! stage cannot take at once waits here, and nothing more is taken meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use tokio::sync::mpsc;
use tracing::debug;

use super::send_waiting;
use crate::budget::{Budget, Permit};
use crate::chunk::{Chunk, Record, Records};
use crate::flight::Flights;
use crate::kafka::fetched::{Message, Messages, Run, Taken};
use crate::ledger::Ownership;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, CHUNKS_KEPT_BYTES_MAX, RECORD_OVERHEAD_BYTES};
use crate::metrics;
use crate::offset::{Offset, Partition};
use crate::recycle::{Pool, Recycled};

/// How long one wait for room in the budget lasts: the group's events are looked at in between.
const ROOM_TIMEOUT: Duration = Duration::from_millis(20);
/// How long one wait for the next stage lasts.
const NEXT_STAGE_WAIT: Duration = Duration::from_millis(1);
/// Reading that is held up for longer is told as paused.
const PATIENCE: Duration = Duration::from_millis(200);
/// After so long with the budget spent and nothing on its way that could give bytes back, reading goes on all the same.
const STUCK: Duration = Duration::from_secs(1);

/// A chunk in the making.
struct Open {
    records: Recycled<Records>,
    permit: Permit,
    position: Offset,
    first_read_at: Instant,
}

/// A partition that is read.
struct Reading {
    ownership: Arc<Ownership>,
    open: Option<Open>,
    /// Everything below it was handed on.
    handed: Offset,
}

/// See the module's head.
pub(super) struct Intake {
    chunks: mpsc::Sender<Chunk>,
    budget: Arc<Budget>,
    flights: Flights,
    pool: Arc<Pool<Records>>,
    reading: BTreeMap<Partition, Reading>,
    waiting: VecDeque<Chunk>,
    /// A message's headers, before they go into its chunk.
    headers: Vec<u8>,
    held_since: Option<Instant>,
    stuck_since: Option<Instant>,
    overdraws: bool,
    paused: bool,
    /// The next stage is gone.
    pub(super) closed: bool,
}

impl Intake {
    /// Nothing is read yet.
    pub(super) fn new(chunks: mpsc::Sender<Chunk>, budget: &Arc<Budget>, flights: &Flights) -> Self {
        Self {
            chunks,
            budget: Arc::clone(budget),
            flights: flights.clone(),
            pool: Pool::new(CHUNKS_KEPT_BYTES_MAX),
            reading: BTreeMap::new(),
            waiting: VecDeque::new(),
            headers: Vec::new(),
            held_since: None,
            stuck_since: None,
            overdraws: false,
            paused: false,
            closed: false,
        }
    }

    /// Takes a partition's messages from `from` on.
    pub(super) fn start(&mut self, ownership: Arc<Ownership>, from: Offset) {
        self.reading.insert(ownership.partition, Reading { handed: from, ownership, open: None });
    }

    /// Takes none of a partition's messages any more; what is in the making is dropped. True when any were taken.
    pub(super) fn stop(&mut self, partition: Partition) -> bool {
        self.reading.remove(&partition).is_some()
    }

    /// Whether any partition is read.
    pub(super) fn is_reading(&self) -> bool {
        !self.reading.is_empty()
    }

    /// Partitions whose claims of before are not read whole yet.
    pub(super) fn replaying(&self) -> usize {
        let replays =
            |reading: &&Reading| !reading.ownership.has_ended() && reading.handed < reading.ownership.plan.claimed;
        self.reading.values().filter(replays).count()
    }

    /// Whether messages may be taken now. The budget bounds all but one case: claims of before cannot be cut, so where
    /// nothing is on its way that could give bytes back, they are read to their end past it.
    pub(super) fn may_take(&mut self) -> bool {
        self.send();
        let spent = self.budget.is_spent();
        if !spent || self.flights.count() > 0 {
            self.stuck_since = None;
            self.overdraws = false;
        } else if !self.overdraws {
            let since = *self.stuck_since.get_or_insert_with(Instant::now);
            self.overdraws = since.elapsed() >= STUCK;
            if self.overdraws {
                debug!(taken = self.budget.taken(), "reading past the budget to the end of a claim of before");
            }
        }
        let may = self.waiting.is_empty() && (!spent || self.overdraws);
        metrics::budget(self.budget.taken(), self.budget.bytes_max());
        if may {
            self.held_since = None;
            self.tell_paused(false);
        }
        may
    }

    /// Waits a moment for what keeps messages from being taken. Those fetched stay in librdkafka, whose queue is bounded.
    pub(super) fn hold(&mut self) {
        let since = *self.held_since.get_or_insert_with(Instant::now);
        self.tell_paused(since.elapsed() >= PATIENCE);
        self.hand_on_all();
        if self.waiting.is_empty() {
            self.budget.wait_for_room(ROOM_TIMEOUT);
        } else {
            thread::sleep(NEXT_STAGE_WAIT);
        }
    }

    fn tell_paused(&mut self, paused: bool) {
        if self.paused != paused {
            self.paused = paused;
            metrics::paused(paused);
            debug!(paused, taken = self.budget.taken(), "reading");
        }
    }

    /// Puts messages into their partitions' chunks; those of partitions that are not read are left out. Errors told in place
    /// of messages go to `errors`.
    pub(super) fn take(&mut self, taken: &Taken<'_>, errors: &mut Vec<KafkaError>) {
        for run in taken.runs() {
            match run {
                Run::Messages { partition, messages } => self.take_run(partition, messages),
                Run::Error(error) => errors.push(error),
            }
        }
        if !taken.is_full() {
            self.hand_on_all();
        }
    }

    fn take_run(&mut self, partition: Partition, messages: Messages<'_>) {
        let Some(reading) = self.reading.get_mut(&partition) else { return };
        if reading.ownership.has_ended() {
            return;
        }
        for message in messages.iter() {
            if message.offset() < reading.handed {
                continue;
            }
            let open = reading.open.get_or_insert_with(|| Open::new(&self.pool, &self.budget));
            open.push(message, &mut self.headers);
            if open.is_full() {
                self.waiting.extend(reading.close());
            }
        }
        if let Some(open) = &mut reading.open {
            open.charge();
        }
        self.send();
    }

    /// Everything of a partition below `position` was seen: gaps, control and aborted records move it without a record.
    pub(super) fn note_position(&mut self, partition: Partition, position: Offset) {
        let Some(reading) = self.reading.get_mut(&partition) else { return };
        let covered = reading.open.as_ref().map_or(reading.handed, |open| open.position);
        if position > covered && !reading.ownership.has_ended() {
            reading.open.get_or_insert_with(|| Open::new(&self.pool, &self.budget)).position = position;
        }
    }

    /// Hands every chunk in the making to the next stage.
    pub(super) fn hand_on_all(&mut self) {
        self.waiting.extend(self.reading.values_mut().filter_map(Reading::close));
        self.send();
    }

    fn send(&mut self) {
        self.closed |= !send_waiting(&mut self.waiting, &self.chunks);
    }
}

impl Reading {
    /// The chunk in the making, if there is one.
    fn close(&mut self) -> Option<Chunk> {
        let mut open = self.open.take()?;
        open.charge();
        metrics::read(open.records.len(), open.records.byte_len());
        self.handed = open.position;
        let ownership = Arc::clone(&self.ownership);
        let Open { records, permit, position, first_read_at } = open;
        Some(Chunk { ownership, records, position, first_read_at, read_at: Instant::now(), permit })
    }
}

impl Open {
    fn new(pool: &Arc<Pool<Records>>, budget: &Arc<Budget>) -> Self {
        Self {
            records: pool.take(Records::default),
            permit: budget.take(0),
            position: 0,
            first_read_at: Instant::now(),
        }
    }

    fn push(&mut self, message: Message<'_>, headers: &mut Vec<u8>) {
        write_headers(message, headers);
        self.records.push(Record {
            offset: message.offset(),
            timestamp_ms: message.timestamp_ms(),
            key: message.key(),
            payload: message.payload(),
            headers,
        });
        self.position = message.offset() + 1;
    }

    fn is_full(&self) -> bool {
        self.records.len() >= CHUNK_RECORDS_MAX || self.records.byte_len() >= CHUNK_BYTES_MAX
    }

    /// Takes its bytes of the budget.
    fn charge(&mut self) {
        self.permit.set(self.records.byte_len() + self.records.len() * RECORD_OVERHEAD_BYTES);
    }
}

/// Writes a message's headers as a JSON array of `{"key", "value"}`, or `"base64"` in place of a value that is not text.
/// Nothing: it has none.
fn write_headers(message: Message<'_>, out: &mut Vec<u8>) {
    use base64::Engine as _;
    out.clear();
    message.for_each_header(|name, value| {
        out.extend_from_slice(if out.is_empty() { b"[{\"key\":" } else { b",{\"key\":" });
        write_text(&name, out);
        match value.map(|value| (std::str::from_utf8(value), value)) {
            None => out.extend_from_slice(b",\"value\":null"),
            // jsonb cannot hold NUL
            Some((Ok(text), _)) if !text.contains('\0') => {
                out.extend_from_slice(b",\"value\":");
                write_text(text, out);
            }
            Some((_, value)) => {
                out.extend_from_slice(b",\"base64\":");
                write_text(&base64::engine::general_purpose::STANDARD.encode(value), out);
            }
        }
        out.push(b'}');
    });
    if !out.is_empty() {
        out.push(b']');
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // writing to memory does not fail, and neither does text
    let _ = serde_json::to_writer(out, text);
}
