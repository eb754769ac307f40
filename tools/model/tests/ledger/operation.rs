//! One step of a history: a random operation, close enough to the row that many are accepted, and often wrong in some part, so
//! that many are refused.

use footprint_model::ledger::{ClaimWanted, Fence, LedgerRow};
use footprint_protocol::first_start::{FirstStart, FirstStarts};
use footprint_protocol::ledger::{Claim, FORMAT, Frontiers, OwnerId, Row, SinkName};
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::take_over::{Gap, Plan, Settled};
use rand::Rng;
use rand::rngs::StdRng;

/// Partitions of a history.
pub const PARTITIONS: usize = 2;

/// What a writer believes that it owns, and what it stores.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The ownership's fence.
    pub fence: Fence,
    /// The frontiers that its take-over found.
    pub frontiers: Frontiers,
    /// The range that it writes.
    pub range: Range,
    /// Where the range is split into two batches.
    pub split: Option<Offset>,
}

/// An operation, with at most one part for each partition.
#[derive(Clone, Debug)]
pub enum Operation {
    Starts(FirstStarts),
    TakeOver {
        partition: usize,
        owner: OwnerId,
        start: FirstStart,
    },
    Settle {
        partition: usize,
        fence: Fence,
        settled: Box<Settled>,
    },
    Claim(Vec<(usize, ClaimWanted)>),
    Heartbeat(Vec<(usize, Fence, Option<Offset>)>),
    Reread {
        partition: usize,
        fence: Fence,
    },
    Write {
        shares: Vec<(usize, Share)>,
        uncertain: bool,
    },
    /// The row was settled under another PostgreSQL.
    AnotherServer {
        partition: usize,
    },
}

/// Draws operations.
pub struct Dice<'a> {
    /// Chance.
    pub chance: &'a mut StdRng,
    /// The present rows.
    pub slots: &'a [Option<LedgerRow>; PARTITIONS],
    /// Earlier fences.
    pub known: &'a [Fence],
}

impl Dice<'_> {
    fn often(&mut self) -> bool {
        self.chance.random_bool(0.88)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.chance.random_range(0..from.len())]
    }

    fn owner(&mut self) -> OwnerId {
        OwnerId(self.chance.random())
    }

    fn row(&self, partition: usize) -> Option<&Row> {
        self.slots[partition].as_ref().map(|found| &found.row)
    }

    /// An offset equal or next to one in the row.
    fn offset(&mut self, partition: usize) -> Offset {
        let mut held = vec![0];
        if let Some(row) = self.row(partition) {
            held.extend([row.claimed, row.claimed, row.frontiers.dead_letters]);
            held.extend([row.frontiers.postgres, row.frontiers.clickhouse].into_iter().flatten());
            held.extend(row.claims.iter().map(|claim| claim.end));
        }
        let difference = self.pick(&[0, 0, 0, 0, 1, 2, -1]);
        (self.pick(&held) + difference).max(0)
    }

    fn maybe_offset(&mut self, partition: usize) -> Option<Offset> {
        self.chance.random_bool(0.7).then(|| self.offset(partition))
    }

    /// The row's fence, or one with a wrong epoch, a wrong owner, or both.
    fn fence(&mut self, partition: usize) -> Fence {
        let right = self.row(partition).map(|row| Fence { epoch: row.epoch, owner: row.owner });
        let wrong = Fence { epoch: self.chance.random_range(0..4), owner: self.owner() };
        match (right, self.chance.random_range(0..30)) {
            (Some(right), 0) => Fence { epoch: right.epoch + self.pick(&[-1, 1]), ..right },
            (Some(right), 1) => Fence { owner: wrong.owner, ..right },
            (_, 2) if !self.known.is_empty() => self.pick(self.known),
            (Some(right), _) => right,
            (None, _) => wrong,
        }
    }

    fn partitions(&mut self) -> Vec<usize> {
        let first = self.chance.random_range(0..PARTITIONS);
        if self.chance.random_bool(0.3) { vec![first, (first + 1) % PARTITIONS] } else { vec![first] }
    }

    /// The next operation.
    pub fn operation(&mut self) -> Operation {
        let partition = self.chance.random_range(0..PARTITIONS);
        let missing = self.row(partition).is_none();
        match self.chance.random_range(0..100) {
            0..4 => self.take_over(partition),
            4..35 if missing => Operation::Starts(self.starts()),
            35..60 if missing => self.take_over(partition),
            4..12 => Operation::Settle {
                partition,
                fence: self.fence(partition),
                settled: Box::new(self.settled(partition)),
            },
            12..45 => Operation::Claim(
                self.partitions().into_iter().map(|partition| (partition, self.claim(partition))).collect(),
            ),
            45..60 => Operation::Heartbeat(
                self.partitions()
                    .into_iter()
                    .map(|partition| (partition, self.fence(partition), self.maybe_offset(partition)))
                    .collect(),
            ),
            60..67 => Operation::Reread { partition, fence: self.fence(partition) },
            67..98 => Operation::Write {
                shares: self.partitions().into_iter().map(|partition| (partition, self.share(partition))).collect(),
                uncertain: self.chance.random_bool(0.3),
            },
            _ => Operation::AnotherServer { partition },
        }
    }

    fn take_over(&mut self, partition: usize) -> Operation {
        let (offset, ledger_lost) = (self.chance.random_range(0..5), self.chance.random_bool(0.3));
        Operation::TakeOver { partition, owner: self.owner(), start: FirstStart { offset, ledger_lost, why: "" } }
    }

    fn starts(&mut self) -> FirstStarts {
        let offsets = |chance: &mut StdRng| (0..3).map(|_| chance.random_range(0..9)).collect::<Vec<Offset>>();
        let commits = offsets(self.chance).into_iter().map(|offset| (offset > 4).then_some(offset)).collect();
        FirstStarts { commits, ends: self.chance.random_bool(0.5).then(|| offsets(self.chance)) }
    }

    fn claim(&mut self, partition: usize) -> ClaimWanted {
        let right = self.row(partition).map_or(0, |row| row.claimed);
        let start = if self.often() { right } else { self.offset(partition) };
        ClaimWanted {
            fence: self.fence(partition),
            range: Range::new(start, start + self.chance.random_range(1..5)),
            fingerprint: self.chance.random_range(1..4),
            clickhouse_next: self.maybe_offset(partition),
        }
    }

    fn share(&mut self, partition: usize) -> Share {
        let mut frontiers = self
            .row(partition)
            .map_or(Frontiers { dead_letters: 0, postgres: Some(0), clickhouse: None }, |row| row.frontiers);
        if !self.often() {
            frontiers.dead_letters = self.offset(partition);
        }
        if !self.often() {
            frontiers.postgres = self.maybe_offset(partition);
        }
        let lowest = Frontiers { clickhouse: None, ..frontiers }.lowest();
        let start = if self.often() { lowest } else { self.offset(partition) };
        let claims = self.row(partition).map_or(&[][..], |row| &row.claims);
        let ends: Vec<Offset> = claims.iter().map(|claim| claim.end).filter(|&end| start < end).collect();
        let end =
            if ends.is_empty() || !self.often() { start + self.chance.random_range(1..4) } else { self.pick(&ends) };
        let split =
            (end - start >= 2 && self.chance.random_bool(0.3)).then(|| self.chance.random_range(start + 1..end));
        Share { fence: self.fence(partition), frontiers, range: Range::new(start, end), split }
    }

    /// A decision that a take-over might have made, and more. Its epoch, owner, birth, start and dead letters must be
    /// ignored.
    fn settled(&mut self, partition: usize) -> Settled {
        let mut row = self.row(partition).cloned().unwrap_or_else(empty);
        for next in 0..2 {
            if self.chance.random_bool(0.3) {
                let value = self.maybe_offset(partition);
                *(if next == 0 { &mut row.frontiers.postgres } else { &mut row.frontiers.clickhouse }) = value;
            }
        }
        if self.chance.random_bool(0.3) {
            row.claimed = self.offset(partition);
            let kept = self.chance.random_range(0..=row.claims.len());
            row.claims.truncate(kept);
            row.claims.retain(|claim| claim.end <= row.claimed);
        }
        if self.chance.random_bool(0.3) {
            row.claims.retain(|_| self.chance.random_bool(0.5));
        }
        if self.chance.random_bool(0.5) {
            row.postgres_stopped = self.maybe_offset(partition);
            row.clickhouse_stopped = self.maybe_offset(partition);
            row.doubtful_below = self.maybe_offset(partition);
            row.format = self.pick(&[FORMAT, FORMAT + 1]);
        }
        if self.chance.random_bool(0.5) {
            row.epoch += 7;
            row.owner = self.owner();
            row.birth += 1;
            row.first_offset = Some(77);
            row.frontiers.dead_letters += 1;
        }
        let gaps = (0..self.chance.random_range(0..3)).map(|_| self.gap(partition)).collect();
        let plan = Plan {
            start: row.frontiers.lowest(),
            read_from: row.frontiers.lowest(),
            claimed: row.claimed,
            cuts: Vec::new(),
            claims: Vec::<Claim>::new(),
            frontiers: row.frontiers,
            uncertain_through: None,
            doubtful_below: row.doubtful_below,
            birth: row.birth,
        };
        Settled { row, plan, gaps }
    }

    fn gap(&mut self, partition: usize) -> Gap {
        let start = self.offset(partition);
        Gap {
            sink: self.pick(&[None, Some(SinkName::Postgres), Some(SinkName::ClickHouse)]),
            range: Range::new(start, start + self.chance.random_range(1..5)),
            reason: "drawn by chance",
        }
    }
}

fn empty() -> Row {
    Row {
        epoch: 1,
        owner: OwnerId(0),
        claimed: 0,
        frontiers: Frontiers { dead_letters: 0, postgres: Some(0), clickhouse: Some(0) },
        postgres_stopped: None,
        clickhouse_stopped: None,
        claims: Vec::new(),
        doubtful_below: None,
        birth: 1,
        first_offset: None,
        format: FORMAT,
    }
}
