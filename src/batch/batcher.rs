//! Chunks -> batches. Decodes each record into the open batch of its partition. Cuts where the take-over's plan says, at the
//! limits of rows and bytes, or after the linger, no faster than the pace. Pure: time is a parameter.

mod months;
mod pacing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_event::decode::Decoder;
use footprint_event::definition::Definition;
use footprint_event::normalize::received_at_us;
use footprint_event::record::{Headers, Record, Records};
use footprint_event::recycle::{Buffer, Pool, Recycled};
use footprint_event::reject::DeadLetter;
use footprint_event::rows::Rows;
use footprint_protocol::offset::{Offset, Partition, Range};
use footprint_service::kafka::brokers::Brokers;

use self::months::Months;
use self::pacing::Pacing;
pub use self::pacing::{Pace, Room};
use crate::batch::budget::{Holder, Permit};
use crate::batch::under_way::UnderWay;
use crate::batch::{Batch, CutReason};
use crate::ledger::ownership::Ownership;
use crate::limits::{BATCHES_UNDER_WAY_MAX, COLUMN_BYTE_COST, DEAD_LETTER_OVERHEAD_BYTES};
use crate::read::chunk::Chunk;

/// When a batch is full, and how long an incomplete batch waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows and dead letters of a batch, at most.
    pub rows_max: usize,
    /// Payload bytes of a batch, at most. The first record may exceed this limit.
    pub bytes_max: usize,
    /// Months of a batch, at most, by the time when Kafka received its records.
    pub months_max: usize,
    /// How long an incomplete batch waits for more records, at least.
    pub linger: Duration,
    /// Bytes of finished batches' memory that are kept for reuse, at most.
    pub kept_bytes_max: usize,
}

/// The open batch of a partition.
struct Open {
    ownership: Arc<Ownership>,
    start: Offset,
    /// Everything below this offset was seen.
    covered: Offset,
    /// The index of the plan's next cut.
    cut: usize,
    /// Taken from the pool when the first record comes, so that a partition without records holds no memory.
    rows: Option<Recycled<Rows>>,
    dead_letters: Vec<DeadLetter>,
    dead_letter_bytes: usize,
    bytes: usize,
    months: Months,
    /// Decodes a range that an earlier definition claimed. None: the present definition decodes.
    earlier: Option<Box<EarlierDecoder>>,
    /// No batch was cut since the take-over, so nothing of the partition was stored during the change of owners.
    is_first: bool,
    /// The log holds more records of this partition.
    is_behind: bool,
    /// When the first record came, or the position first moved.
    since: Option<Instant>,
    first_read_at: Option<Instant>,
    read_at: Instant,
    /// The brokers that gave records since the last cut.
    brokers: Brokers,
    permit: Permit,
}

/// An earlier definition and its decoder, for a range that it claimed.
struct EarlierDecoder {
    definition: Arc<Definition>,
    decoder: Decoder,
}

impl EarlierDecoder {
    fn of(ownership: &Ownership, start: Offset) -> Option<Box<Self>> {
        let definition = ownership.earlier_definition(start)?;
        Some(Box::new(Self { definition: Arc::clone(definition), decoder: definition.decoder() }))
    }
}

/// What the open batches of all partitions share.
struct Shared {
    definition: Arc<Definition>,
    pool: Arc<Pool<Rows>>,
    under_way: UnderWay,
}

impl Shared {
    fn rows(&self) -> Recycled<Rows> {
        self.pool.take(|| Rows::empty(self.definition.route()))
    }
}

/// The open batches of every partition.
pub struct Batcher {
    shared: Shared,
    decoder: Decoder,
    limits: Limits,
    open: BTreeMap<Partition, Open>,
    pacing: Pacing,
}

impl Batcher {
    /// Starts with no open batch. `definition` decodes every range that no other definition has claimed.
    pub fn new(definition: &Arc<Definition>, limits: Limits, under_way: &UnderWay) -> Self {
        assert!(limits.rows_max > 0 && limits.bytes_max > 0);
        let pool = Pool::new(limits.kept_bytes_max);
        let shared = Shared { definition: Arc::clone(definition), pool, under_way: under_way.clone() };
        let decoder = definition.decoder();
        Self { shared, decoder, limits, open: BTreeMap::new(), pacing: Pacing::default() }
    }

    /// Adds a chunk, and appends the batches that are full to `full`, in order.
    pub fn add(&mut self, chunk: Chunk<impl Records + Buffer>, now: Instant, full: &mut Vec<Batch>) {
        let partition = chunk.ownership.partition;
        if chunk.ownership.has_ended() {
            self.forget_ended(partition);
            return;
        }
        let shared = &self.shared;
        let open = match self.open.entry(partition) {
            std::collections::btree_map::Entry::Occupied(entry) => {
                let open = entry.into_mut();
                if !Arc::ptr_eq(&open.ownership, &chunk.ownership) {
                    *open = Open::new(&chunk, now);
                }
                open
            }
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Open::new(&chunk, now)),
        };
        open.first_read_at.get_or_insert(chunk.first_read_at);
        open.read_at = chunk.read_at;
        open.is_behind = chunk.is_behind;
        if open.since.is_none() {
            open.brokers = Brokers::default();
        }
        open.brokers.extend(&chunk.brokers);
        let cut_before = full.len();
        for record in chunk.records.iter() {
            open.cut_up_to(record.offset, shared, full);
            if !open.takes_month_of(record, &self.limits) {
                full.push(open.close(open.covered, CutReason::Months, shared));
                open.first_read_at = Some(chunk.first_read_at);
                open.takes_month_of(record, &self.limits);
            }
            open.push(record, &mut self.decoder, shared, now);
            if let Some(reason) = open.is_full(&self.limits) {
                full.push(open.close(open.covered, reason, shared));
                open.first_read_at = Some(chunk.first_read_at);
            }
        }
        open.move_to(chunk.position, now);
        open.cut_up_to(chunk.position, shared, full);
        if full.len() > cut_before {
            open.brokers = chunk.brokers;
        }
        // reserves the columns' bytes before the chunk's bytes are released
        open.permit.set(open.cost());
    }

    /// Which batches the writers can use. With a light load, batches are cut small and soon. During a backlog they grow as large
    /// as they may.
    pub fn room(&self) -> Room {
        let under_way = &self.shared.under_way;
        if under_way.count() >= BATCHES_UNDER_WAY_MAX {
            Room::None
        } else if under_way.rows() >= self.limits.rows_max {
            Room::Rest
        } else {
            Room::Any
        }
    }

    /// When the next incomplete batch may be cut. None: the writers cannot use one.
    pub fn due_at(&self, pace: Pace) -> Option<Instant> {
        let is_stuck = self.is_stuck();
        self.open.values().filter_map(|open| open.due_at(&self.pacing, self.limits.linger, pace, is_stuck)).min()
    }

    /// Cuts the incomplete batch that has waited longest, if one is due. Oldest first is fair to every partition. Partitions just
    /// taken over come first, because their records have already waited for the change of owners.
    pub fn cut_due(&mut self, now: Instant, pace: Pace, full: &mut Vec<Batch>) {
        self.open.retain(|_, open| !open.ownership.has_ended());
        for batch in full.iter() {
            self.pacing.note_full(batch.rows.len(), pace, now);
        }
        let (pacing, linger, is_stuck) = (&self.pacing, self.limits.linger, self.is_stuck());
        let is_due = |open: &&mut Open| open.due_at(pacing, linger, pace, is_stuck).is_some_and(|due| due <= now);
        let due = self.open.values_mut().filter(is_due);
        if let Some(open) = due.min_by_key(|open| (!open.is_first, open.since)) {
            let batch = open.close(open.covered, CutReason::Linger, &self.shared);
            self.pacing.note_cut(batch.rows.len(), open.is_behind, now);
            full.push(batch);
        }
    }

    /// Whether open batches hold the whole byte budget. Then nothing can be read, and no batch under way will release bytes.
    fn is_stuck(&self) -> bool {
        let is_spent = |open: &Open| open.permit.is_spent();
        self.shared.under_way.count() == 0 && self.open.values().next().is_some_and(is_spent)
    }

    fn forget_ended(&mut self, partition: Partition) {
        if self.open.get(&partition).is_some_and(|open| open.ownership.has_ended()) {
            self.open.remove(&partition);
        }
    }
}

impl Open {
    fn new(chunk: &Chunk<impl Buffer>, now: Instant) -> Self {
        let ownership = &chunk.ownership;
        Self {
            ownership: Arc::clone(ownership),
            start: ownership.plan.start,
            covered: ownership.plan.start,
            cut: 0,
            rows: None,
            dead_letters: Vec::new(),
            dead_letter_bytes: 0,
            bytes: 0,
            months: Months::default(),
            earlier: EarlierDecoder::of(ownership, ownership.plan.start),
            is_first: true,
            is_behind: false,
            since: None,
            first_read_at: None,
            read_at: now,
            brokers: Brokers::default(),
            permit: chunk.permit.fresh(Holder::Open),
        }
    }

    fn push(&mut self, record: Record<'_>, decoder: &mut Decoder, shared: &Shared, now: Instant) {
        assert!(record.offset >= self.covered, "offset {} comes again below {}", record.offset, self.covered);
        self.since.get_or_insert(now);
        self.bytes += record.payload.map_or(0, <[u8]>::len);
        let (rows, decoder) = match &mut self.earlier {
            None => (self.rows.get_or_insert_with(|| shared.rows()), decoder),
            Some(reading) => {
                let rows = self.rows.get_or_insert_with(|| Rows::empty(reading.definition.route()).into());
                (rows, &mut reading.decoder)
            }
        };
        if let Err(reason) = decoder.decode(record, rows) {
            let headers = record.headers.map_or_else(Vec::new, Headers::to_json);
            self.dead_letter_bytes += record.byte_len() + headers.len() + DEAD_LETTER_OVERHEAD_BYTES;
            self.dead_letters.push(DeadLetter {
                offset: record.offset,
                received_at_us: received_at_us(record.timestamp_ms),
                key: record.key.map(<[u8]>::to_vec),
                payload: record.payload.map(<[u8]>::to_vec),
                headers,
                reason,
            });
        }
        self.covered = record.offset + 1;
    }

    fn move_to(&mut self, position: Offset, now: Instant) {
        if position > self.covered {
            self.covered = position;
            self.since.get_or_insert(now);
        }
    }

    /// The plan's next cut above the open batch's start.
    fn next_cut(&self) -> Option<Offset> {
        self.ownership.plan.cuts.get(self.cut).copied()
    }

    /// Closes a batch at every cut at or below `offset`, which was seen.
    fn cut_up_to(&mut self, offset: Offset, shared: &Shared, full: &mut Vec<Batch>) {
        while let Some(cut) = self.next_cut().filter(|&cut| cut <= offset) {
            full.push(self.close(cut, CutReason::Claimed, shared));
            self.cut += 1;
        }
    }

    /// Claims found at a take-over are written as they were claimed. No limit applies below a cut.
    fn is_bound(&self) -> bool {
        self.start < self.ownership.plan.claimed
    }

    /// The limit that the batch has reached.
    fn is_full(&self, limits: &Limits) -> Option<CutReason> {
        if self.is_bound() {
            return None;
        }
        let count = self.rows.as_ref().map_or(0, |rows| rows.len()) + self.dead_letters.len();
        let by_bytes = || (self.bytes >= limits.bytes_max).then_some(CutReason::Bytes);
        (count >= limits.rows_max).then_some(CutReason::Rows).or_else(by_bytes)
    }

    /// Notes the record's month. False: the batch has as many months as it may, and must end before the record.
    fn takes_month_of(&mut self, record: Record<'_>, limits: &Limits) -> bool {
        self.is_bound() || self.months.note(record.timestamp_ms, limits.months_max)
    }

    /// If the budget is spent and nothing will release bytes, a batch waits only for its linger.
    fn due_at(&self, pacing: &Pacing, linger: Duration, pace: Pace, is_stuck: bool) -> Option<Instant> {
        let since = self.since.filter(|_| !self.is_bound() && self.covered > self.start)?;
        if is_stuck {
            return Some(since + linger);
        }
        let has_room = match pace.room {
            Room::None => false,
            Room::Rest => !self.is_behind,
            Room::Any => true,
        };
        has_room.then(|| pacing.due(since, linger, pace.interval, self.is_behind))
    }

    /// The bytes of the budget that it needs.
    fn cost(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| rows.byte_len()) * COLUMN_BYTE_COST + self.dead_letter_bytes
    }

    fn close(&mut self, end: Offset, reason: CutReason, shared: &Shared) -> Batch {
        let range = Range::new(self.start, end);
        self.permit.set(self.cost());
        let definition = self.earlier.as_ref().map_or(&shared.definition, |reading| &reading.definition);
        let definition = Arc::clone(definition);
        let rows = self.rows.take().unwrap_or_else(|| Rows::empty(definition.route()).into());
        debug_assert!(rows.offsets.last().is_none_or(|&last| last < end));
        self.start = end;
        self.earlier = EarlierDecoder::of(&self.ownership, end);
        self.covered = self.covered.max(end);
        self.bytes = 0;
        self.dead_letter_bytes = 0;
        self.months.clear();
        self.is_first = false;
        self.since = None;
        let fresh = self.permit.fresh(Holder::Open);
        self.permit.pass_to(Holder::Batches);
        let under_way = shared.under_way.start(rows.len());
        Batch {
            ownership: Arc::clone(&self.ownership),
            range,
            reason,
            definition,
            rows,
            dead_letters: std::mem::take(&mut self.dead_letters),
            first_read_at: self.first_read_at.take().unwrap_or(self.read_at),
            read_at: self.read_at,
            brokers: self.brokers.clone(),
            permit: std::mem::replace(&mut self.permit, fresh),
            under_way,
        }
    }
}

#[cfg(test)]
mod tests;
