//! The intake makes chunks of messages. A chunk that the next stage cannot take at once waits here, and no more messages are taken
//! meanwhile. A message is never held back to fill a chunk, because each message keeps everything alive that was fetched with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use footprint_event::recycle::{Pool, Recycled};
use footprint_protocol::offset::Partition;
use footprint_service::health::{Component, Health, Reporter, Severity};
use footprint_service::kafka::brokers::Brokers;
use footprint_service::kafka::fetched::{Incoming, Run, Taken};
use footprint_service::kafka::messages::Messages;
use footprint_service::metrics::{Blocked, Meters};
use tokio::sync::mpsc;
use tracing::debug;

use super::action::Action;
use super::readings::{Reading, Readings};
use super::room::{Load, Room};
use super::send_waiting;
use crate::batch::budget::Budget;
use crate::batch::under_way::UnderWay;
use crate::limits::{CHUNKS_KEPT_BYTES_MAX, RECORD_OVERHEAD_BYTES};
use crate::read::chunk::Chunk;

/// How long one wait for room in the budget lasts. Between two waits, the reader handles the group's events.
const ROOM_TIMEOUT: Duration = Duration::from_millis(20);
/// How long one wait for the next stage lasts.
const NEXT_STAGE_WAIT: Duration = Duration::from_millis(1);

/// Makes chunks of messages and sends them on; see the top of this file.
pub(super) struct Intake {
    chunks: mpsc::Sender<Chunk<Messages>>,
    budget: Arc<Budget>,
    under_way: UnderWay,
    pool: Arc<Pool<Messages>>,
    waiting: VecDeque<Chunk<Messages>>,
    room: Room,
    health: Reporter,
    meters: Meters,
    blocked: Blocked,
    blocked_by_budget: Blocked,
    /// The next stage is gone.
    pub(super) closed: bool,
}

/// A chunk's content, without its place in the partition.
struct Contents {
    records: Recycled<Messages>,
    brokers: Brokers,
    is_behind: bool,
    first_read_at: Instant,
}

impl Intake {
    /// An intake that has taken nothing yet.
    pub(super) fn new(
        chunks: mpsc::Sender<Chunk<Messages>>,
        budget: &Arc<Budget>,
        under_way: &UnderWay,
        (health, meters): (&Arc<Health>, &Meters),
    ) -> Self {
        Self {
            meters: meters.clone(),
            blocked: meters.blocked("reader"),
            blocked_by_budget: meters.blocked("budget"),
            health: health.reporter(Component::Reader),
            chunks,
            budget: Arc::clone(budget),
            under_way: under_way.clone(),
            pool: Pool::new(CHUNKS_KEPT_BYTES_MAX),
            waiting: VecDeque::new(),
            room: Room::default(),
            closed: false,
        }
    }

    /// Drops the chunks that wait, because nothing more is sent.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Whether messages may be taken now. `replaying` is the number of partitions that are replays.
    pub(super) fn may_take(&mut self, replaying: usize) -> bool {
        self.send();
        let load = Load {
            budget_is_spent: self.budget.is_spent(),
            batches_under_way: self.under_way.count(),
            replaying,
            next_stage_is_full: !self.waiting.is_empty(),
        };
        let Room { is_past_budget, is_paused, .. } = self.room;
        let may = self.room.may_take(load, Instant::now());
        let taken = self.budget.taken();
        if self.room.is_paused != is_paused {
            self.meters.paused(self.room.is_paused);
            self.report();
            debug!(paused = self.room.is_paused, taken, "reading");
        }
        if self.room.is_past_budget && !is_past_budget {
            debug!(taken, "reading past the budget to the end of a claim of an earlier owner");
        }
        may
    }

    fn report(&self) {
        if !self.room.is_paused {
            return self.health.good();
        }
        let why = "reading is paused: the byte budget (pipeline.budget_bytes) is spent";
        let what_to_do = "look at the sinks: records wait for a database that is slow or away";
        self.health.says(Severity::Paused, why, what_to_do, Instant::now());
    }

    /// Waits a moment for room in the next stage or in the budget. Messages that are fetched meanwhile stay in librdkafka's bounded queue.
    pub(super) fn wait(&mut self) {
        let started = Instant::now();
        if self.waiting.is_empty() {
            self.budget.wait_for_room(ROOM_TIMEOUT);
            self.blocked_by_budget.since(started);
        } else {
            thread::sleep(NEXT_STAGE_WAIT);
            self.blocked.since(started);
        }
    }

    /// Sends messages on, in one chunk for each run of messages of one partition. Messages of partitions that are not read are left out.
    /// Returns the actions that remain to be done.
    pub(super) fn take(&mut self, mut taken: Taken<'_>, readings: &mut Readings) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(run) = taken.next_run() {
            match run {
                Run::Messages { partition, messages } => {
                    actions.extend(self.take_run(partition, messages, readings).err().flatten());
                }
                Run::Error(error) => {
                    for action in readings.error(error) {
                        match action {
                            // done at once, in order with the messages around it
                            Action::SendPosition(partition) => self.take_position(partition, readings),
                            other => actions.push(other),
                        }
                    }
                }
            }
        }
        self.send();
        actions
    }

    fn take_run(
        &mut self,
        partition: Partition,
        messages: Incoming<'_>,
        readings: &mut Readings,
    ) -> Result<(), Option<Action>> {
        let mut new = readings.messages(partition)?;
        let (first_read_at, log_end) = (Instant::now(), messages.log_end());
        let mut records = self.pool.take(Messages::default);
        let mut brokers = Brokers::default();
        for message in messages {
            if new.take(message.offset()) {
                brokers.add(message.broker());
                records.push(message);
            }
        }
        if !records.is_empty() {
            let is_behind = log_end.is_some_and(|end| new.reading.next < end);
            self.meters.read(records.len(), records.byte_len());
            self.push(new.reading, Contents { records, brokers, is_behind, first_read_at });
        }
        Ok(())
    }

    /// Makes a chunk without records: everything below the partition's next offset was seen.
    pub(super) fn take_position(&mut self, partition: Partition, readings: &Readings) {
        let Some(reading) = readings.get(partition) else { return };
        let (records, brokers) = (Messages::default().into(), Brokers::default());
        self.push(reading, Contents { records, brokers, is_behind: false, first_read_at: Instant::now() });
    }

    fn push(&mut self, reading: &Reading, contents: Contents) {
        let Contents { records, brokers, is_behind, first_read_at } = contents;
        self.waiting.push_back(Chunk {
            ownership: Arc::clone(&reading.ownership),
            permit: self.budget.take(records.byte_len() + records.len() * RECORD_OVERHEAD_BYTES),
            records,
            brokers,
            position: reading.next,
            is_behind,
            first_read_at,
            read_at: Instant::now(),
        });
    }

    /// Sends the chunks that wait, as far as there is room.
    pub(super) fn send(&mut self) {
        self.closed |= !send_waiting(&mut self.waiting, &self.chunks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::reader::readings::ReadFrom;
    use crate::read::tests::ownership;

    #[test]
    fn what_the_next_stage_cannot_take_waits_and_nothing_more_is_taken() {
        let (chunks, mut received) = mpsc::channel(1);
        let mut intake = Intake::new(
            chunks,
            &Budget::new(1 << 20),
            &UnderWay::default(),
            (&Health::new("visits", Vec::new(), Instant::now()), &Meters::new("visits")),
        );
        let mut readings = Readings::default();
        readings.start(ReadFrom { ownership: ownership(3, 0), from: 0 });
        for position in [5, 9] {
            assert!(intake.may_take(0));
            readings.position(3, position);
            intake.take_position(3, &readings);
            intake.send();
        }
        assert!(!intake.may_take(0), "the second waits");
        let chunk = received.try_recv().unwrap();
        assert_eq!((chunk.position, chunk.records.len(), chunk.ownership.partition), (5, 0, 3));
        assert!(intake.may_take(0));
        assert_eq!(received.try_recv().unwrap().position, 9);
        drop(received);
        readings.position(3, 10);
        intake.take_position(3, &readings);
        intake.send();
        assert!(intake.closed, "nobody takes it");
    }
}
