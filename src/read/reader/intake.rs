//! The intake: messages into chunks, and whether more may be taken. What the next stage cannot take at once waits here, and
//! nothing more is taken meanwhile. A message never waits for others: each keeps everything alive that was fetched with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use footprint_event::recycle::{Pool, Recycled};
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::kafka::brokers::Brokers;
use footprint_service::kafka::fetched::{InPlaceError, Incoming, Run, Taken};
use footprint_service::kafka::messages::Messages;
use footprint_service::kafka::trouble::{InPlace, in_place_of_messages};
use footprint_service::metrics;
use tokio::sync::mpsc;
use tracing::debug;

use super::send_waiting;
use crate::batch::budget::Budget;
use crate::batch::under_way::UnderWay;
use crate::ledger::ownership::Ownership;
use crate::limits::{CHUNKS_KEPT_BYTES_MAX, RECORD_OVERHEAD_BYTES};
use crate::read::chunk::Chunk;

/// How long one wait for room in the budget lasts: the group's events are looked at in between.
const ROOM_TIMEOUT: Duration = Duration::from_millis(20);
/// How long one wait for the next stage lasts.
const NEXT_STAGE_WAIT: Duration = Duration::from_millis(1);
/// Reading that is held up for longer is told as paused.
const PATIENCE: Duration = Duration::from_millis(200);
/// After so long with the budget spent and nothing on its way that could give bytes back, reading goes on all the same.
const STUCK: Duration = Duration::from_secs(1);

/// A replay of which nothing has come for this long, of the time spent taking messages, may have to give up its place.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(2);

/// What was met between messages.
pub(super) enum Met {
    /// An error in place of messages; everything below `handed` was handed on before it.
    Error { error: InPlaceError, handed: Offset },
    /// Something comes of a partition behind such an error: nothing of it is wanted.
    Behind(Partition),
    /// Records that are given up stand here: the log is to be read from `next` on.
    Skip { partition: Partition, next: Offset },
}

/// A partition, and where it is to be read from.
pub(super) struct Place {
    pub(super) ownership: Arc<Ownership>,
    pub(super) from: Offset,
}

/// A partition that is read.
struct Reading {
    ownership: Arc<Ownership>,
    /// Everything below it was handed on.
    handed: Offset,
    /// When that was last moved, by the intake's clock.
    moved_at: Duration,
}

/// See the module's head.
pub(super) struct Intake {
    chunks: mpsc::Sender<Chunk<Messages>>,
    budget: Arc<Budget>,
    under_way: UnderWay,
    pool: Arc<Pool<Messages>>,
    reading: BTreeMap<Partition, Reading>,
    /// Partitions that are read no further because of an error, and are still fetched.
    broken: BTreeSet<Partition>,
    waiting: VecDeque<Chunk<Messages>>,
    /// Time spent taking messages: it stands still while none may be taken.
    clock: Duration,
    held_since: Option<Instant>,
    stuck_since: Option<Instant>,
    overdraws: bool,
    paused: bool,
    /// The next stage is gone.
    pub(super) closed: bool,
}

impl Intake {
    /// Nothing is read yet.
    pub(super) fn new(chunks: mpsc::Sender<Chunk<Messages>>, budget: &Arc<Budget>, under_way: &UnderWay) -> Self {
        Self {
            chunks,
            budget: Arc::clone(budget),
            under_way: under_way.clone(),
            pool: Pool::new(CHUNKS_KEPT_BYTES_MAX),
            reading: BTreeMap::new(),
            broken: BTreeSet::new(),
            waiting: VecDeque::new(),
            clock: Duration::ZERO,
            held_since: None,
            stuck_since: None,
            overdraws: false,
            paused: false,
            closed: false,
        }
    }

    /// Takes a partition's messages from `from` on.
    pub(super) fn start(&mut self, ownership: Arc<Ownership>, from: Offset) {
        self.broken.remove(&ownership.partition);
        self.reading.insert(ownership.partition, Reading { handed: from, moved_at: self.clock, ownership });
    }

    /// Takes none of a partition's messages any more. True when any were taken.
    pub(super) fn stop(&mut self, partition: Partition) -> bool {
        self.reading.remove(&partition).is_some()
    }

    /// Drops what waits: nothing more is handed on.
    pub(super) fn forget(&mut self) {
        self.reading.clear();
        self.waiting.clear();
    }

    /// Whether any partition is read.
    pub(super) fn is_reading(&self) -> bool {
        !self.reading.is_empty()
    }

    /// Partitions whose claims of earlier owners are not read whole yet.
    pub(super) fn replaying(&self) -> usize {
        self.reading.values().filter(|reading| reading.replays()).count()
    }

    /// Stops taking messages of the replay of which nothing has come for the longest time, where that is too long.
    pub(super) fn stop_stalled(&mut self) -> Option<Place> {
        let stalled = |reading: &&Reading| reading.replays() && self.clock >= reading.moved_at + STALLED_AFTER;
        let oldest = self.reading.values().filter(stalled).min_by_key(|reading| reading.moved_at)?;
        let partition = oldest.ownership.partition;
        let Reading { ownership, handed, .. } = self.reading.remove(&partition)?;
        debug!(partition, offset = handed, "nothing comes of a claimed range; another partition is read in its place");
        Some(Place { ownership, from: handed })
    }

    /// Messages were taken, or waited for, for so long.
    pub(super) fn took(&mut self, time: Duration) {
        self.clock += time;
    }

    /// Whether messages may be taken now. The budget bounds all but one case: claims of earlier owners cannot be cut, so where
    /// nothing is on its way that could give bytes back, they are read to their end past it.
    pub(super) fn may_take(&mut self) -> bool {
        self.send();
        let spent = self.budget.is_spent();
        if !spent || self.under_way.count() > 0 || self.replaying() == 0 {
            self.stuck_since = None;
            self.overdraws = false;
        } else if !self.overdraws {
            let since = *self.stuck_since.get_or_insert_with(Instant::now);
            self.overdraws = since.elapsed() >= STUCK;
            if self.overdraws {
                debug!(
                    taken = self.budget.taken(),
                    "reading past the budget to the end of a claim of an earlier owner"
                );
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
        self.send();
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

    /// Hands messages on, a chunk a run of one partition; those of partitions that are not read are left out. What else was met
    /// goes to `met`. Of a partition with an error that leaves records out nothing more is taken.
    pub(super) fn take(&mut self, mut taken: Taken<'_>, met: &mut Vec<Met>) {
        while let Some(run) = taken.next_run() {
            match run {
                Run::Messages { partition, messages } => self.take_run(partition, messages, met),
                Run::Error(error) => met.extend(self.meet(error)),
            }
        }
        self.send();
    }

    fn meet(&mut self, error: InPlaceError) -> Option<Met> {
        let InPlaceError { partition, offset, code, .. } = error;
        let Some(reading) = self.reading.get(&partition) else {
            return self.broken.remove(&partition).then_some(Met::Behind(partition));
        };
        if reading.ownership.has_ended() {
            return None;
        }
        let handed = reading.handed;
        if in_place_of_messages(code) == InPlace::Unreadable {
            if let Some(skip) = reading.ownership.skips.iter().find(|skip| skip.contains(offset)) {
                let next = skip.end;
                self.note_position(partition, next);
                return Some(Met::Skip { partition, next });
            }
            self.reading.remove(&partition);
            self.broken.insert(partition);
        }
        Some(Met::Error { error, handed })
    }

    fn take_run(&mut self, partition: Partition, messages: Incoming<'_>, met: &mut Vec<Met>) {
        let Some(reading) = self.reading.get_mut(&partition) else {
            met.extend(self.broken.remove(&partition).then_some(Met::Behind(partition)));
            return;
        };
        if reading.ownership.has_ended() {
            return;
        }
        let (first_read_at, log_end) = (Instant::now(), messages.log_end());
        let mut taken = self.pool.take(Messages::default);
        let mut brokers = Brokers::default();
        for message in messages {
            if message.offset() >= reading.handed {
                brokers.add(message.broker());
                reading.handed = message.offset() + 1;
                reading.moved_at = self.clock;
                taken.push(message);
            }
        }
        if !taken.is_empty() {
            let is_behind = log_end.is_some_and(|end| reading.handed < end);
            metrics::read(taken.len(), taken.byte_len());
            self.waiting.push_back(reading.chunk(taken, brokers, is_behind, first_read_at, &self.budget));
        }
    }

    /// Everything of a partition below `position` was seen: gaps, control and aborted records move it without a record.
    pub(super) fn note_position(&mut self, partition: Partition, position: Offset) {
        let Some(reading) = self.reading.get_mut(&partition) else { return };
        if position > reading.handed && !reading.ownership.has_ended() {
            reading.handed = position;
            reading.moved_at = self.clock;
            self.waiting.push_back(reading.chunk(
                Messages::default().into(),
                Brokers::default(),
                false,
                Instant::now(),
                &self.budget,
            ));
        }
    }

    /// Hands on what waits, as far as there is room.
    pub(super) fn send(&mut self) {
        self.closed |= !send_waiting(&mut self.waiting, &self.chunks);
    }
}

impl Reading {
    fn replays(&self) -> bool {
        !self.ownership.has_ended() && self.handed < self.ownership.plan.claimed
    }

    /// What was taken last, up to what is handed on with it.
    fn chunk(
        &self,
        records: Recycled<Messages>,
        brokers: Brokers,
        is_behind: bool,
        first_read_at: Instant,
        budget: &Arc<Budget>,
    ) -> Chunk<Messages> {
        Chunk {
            ownership: Arc::clone(&self.ownership),
            permit: budget.take(records.byte_len() + records.len() * RECORD_OVERHEAD_BYTES),
            records,
            brokers,
            position: self.handed,
            is_behind,
            first_read_at,
            read_at: Instant::now(),
        }
    }
}
