//! Chunks -> batches: decodes each record into the open batch of its partition, and cuts where the plan says, at the
//! limits of rows and bytes, or after the linger. Pure: time is a parameter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Batch, Rows};
use crate::budget::Permit;
use crate::chunk::{Chunk, Record};
use crate::decode::Decoder;
use crate::ledger::Ownership;
use crate::normalize::received_at_us;
use crate::offset::{Offset, Partition, Range};
use crate::reject::DeadLetter;
use crate::route::{Route, RouteError};

/// When a batch is full.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows and dead letters of a batch, at most.
    pub rows_max: usize,
    /// Payload bytes of a batch, at most; the first record is not subject to this limit.
    pub bytes_max: usize,
    /// How long an incomplete batch waits for more.
    pub linger: Duration,
}

/// A batch in the making.
struct Open {
    ownership: Arc<Ownership>,
    start: Offset,
    /// Everything below it was seen.
    covered: Offset,
    /// The next of the plan's cuts.
    cut: usize,
    rows: Rows,
    dead_letters: Vec<DeadLetter>,
    bytes: usize,
    /// When the first record or the first move of the position came.
    since: Option<Instant>,
    read_at: Instant,
    permit: Permit,
}

/// The open batches of every partition.
pub struct Batcher {
    route: Arc<Route>,
    decoder: Decoder,
    limits: Limits,
    open: BTreeMap<Partition, Open>,
}

impl Batcher {
    /// No open batch.
    ///
    /// # Errors
    /// A route that cannot be decoded.
    pub fn new(route: &Arc<Route>, limits: Limits) -> Result<Self, RouteError> {
        assert!(limits.rows_max > 0 && limits.bytes_max > 0);
        Ok(Self { route: Arc::clone(route), decoder: Decoder::new(route)?, limits, open: BTreeMap::new() })
    }

    /// Adds a chunk; what is full is appended to `full`, in order.
    pub fn add(&mut self, chunk: Chunk, now: Instant, full: &mut Vec<Batch>) {
        let partition = chunk.ownership.partition;
        if chunk.ownership.has_ended() {
            self.forget_ended(partition);
            return;
        }
        let open = match self.open.entry(partition) {
            std::collections::btree_map::Entry::Occupied(entry) => {
                let open = entry.into_mut();
                if !Arc::ptr_eq(&open.ownership, &chunk.ownership) {
                    *open = Open::new(&chunk.ownership, &self.route, now);
                }
                open
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Open::new(&chunk.ownership, &self.route, now))
            }
        };
        open.read_at = chunk.read_at;
        for record in chunk.records.iter() {
            open.cut_up_to(record.offset, &self.route, full);
            open.push(record, &mut self.decoder, now);
            if open.is_full(&self.limits) {
                full.push(open.close(open.covered, &self.route));
            }
        }
        open.permit.absorb(chunk.permit);
        open.move_to(chunk.position, now);
        open.cut_up_to(chunk.position, &self.route, full);
    }

    /// When the next incomplete batch has waited long enough.
    pub fn due_at(&self) -> Option<Instant> {
        self.open.values().filter_map(|open| open.due_at(self.limits.linger)).min()
    }

    /// Cuts every incomplete batch that has waited long enough.
    pub fn cut_due(&mut self, now: Instant, full: &mut Vec<Batch>) {
        self.open.retain(|_, open| !open.ownership.has_ended());
        for open in self.open.values_mut() {
            if open.due_at(self.limits.linger).is_some_and(|due| due <= now) {
                full.push(open.close(open.covered, &self.route));
            }
        }
    }

    fn forget_ended(&mut self, partition: Partition) {
        if self.open.get(&partition).is_some_and(|open| open.ownership.has_ended()) {
            self.open.remove(&partition);
        }
    }
}

impl Open {
    fn new(ownership: &Arc<Ownership>, route: &Route, now: Instant) -> Self {
        Self {
            ownership: Arc::clone(ownership),
            start: ownership.plan.start,
            covered: ownership.plan.start,
            cut: 0,
            rows: Rows::empty(route),
            dead_letters: Vec::new(),
            bytes: 0,
            since: None,
            read_at: now,
            permit: Permit::default(),
        }
    }

    fn push(&mut self, record: Record<'_>, decoder: &mut Decoder, now: Instant) {
        assert!(record.offset >= self.covered, "offset {} comes again below {}", record.offset, self.covered);
        self.since.get_or_insert(now);
        self.bytes += record.payload.map_or(0, <[u8]>::len);
        if let Err(reason) = decoder.decode(record, &mut self.rows) {
            self.dead_letters.push(DeadLetter {
                offset: record.offset,
                received_at_us: received_at_us(record.timestamp_ms),
                key: record.key.map(<[u8]>::to_vec),
                payload: record.payload.map(<[u8]>::to_vec),
                headers: record.headers.to_vec(),
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

    /// The plan's next cut, above the open batch's start.
    fn next_cut(&self) -> Option<Offset> {
        self.ownership.plan.cuts.get(self.cut).copied()
    }

    /// Closes at every cut at or below `offset`, which was seen.
    fn cut_up_to(&mut self, offset: Offset, route: &Route, full: &mut Vec<Batch>) {
        while let Some(cut) = self.next_cut().filter(|&cut| cut <= offset) {
            full.push(self.close(cut, route));
            self.cut += 1;
        }
    }

    /// Claims found at a take-over are written as they were claimed: below a cut no limit applies.
    fn is_bound(&self) -> bool {
        self.start < self.ownership.plan.claimed
    }

    fn is_full(&self, limits: &Limits) -> bool {
        let count = self.rows.len() + self.dead_letters.len();
        !self.is_bound() && (count >= limits.rows_max || self.bytes >= limits.bytes_max)
    }

    fn due_at(&self, linger: Duration) -> Option<Instant> {
        self.since.filter(|_| !self.is_bound() && self.covered > self.start).map(|since| since + linger)
    }

    fn close(&mut self, end: Offset, route: &Route) -> Batch {
        let range = Range::new(self.start, end);
        debug_assert!(self.rows.offsets.last().is_none_or(|&last| last < end));
        self.start = end;
        self.covered = self.covered.max(end);
        self.bytes = 0;
        self.since = None;
        Batch {
            ownership: Arc::clone(&self.ownership),
            range,
            rows: std::mem::replace(&mut self.rows, Rows::empty(route)),
            dead_letters: std::mem::take(&mut self.dead_letters),
            read_at: self.read_at,
            permit: std::mem::take(&mut self.permit),
        }
    }
}

#[cfg(test)]
mod tests;
