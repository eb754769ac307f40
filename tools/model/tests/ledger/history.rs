//! One random history of one source. The reference rows are compared with the real ones after every step.

use std::fmt;

use footprint::ledger::statements::{self, holder::Holder};
use footprint::store::sink::{Sink, SinkError, Verdict};
use footprint::store::write_failure::WriteFailure;
use footprint_model::guard::Guards;
use footprint_model::ledger::{self as reference, Advance, Fence, LedgerRow};
use footprint_protocol::first_start::FirstStarts;
use footprint_protocol::ledger::{Progress, SinkName, SourceId};
use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::write::{Resolution, resolve};
use footprint_service::kafka::source_id;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::operation::{Dice, Operation, PARTITIONS, Share};
use crate::server::{Server, Table, plan};

type Slots = [Option<LedgerRow>; PARTITIONS];

/// A history, and what it must have left in the tables.
pub struct History {
    seed: u64,
    chance: StdRng,
    source: SourceId,
    slots: Slots,
    starts: Option<FirstStarts>,
    known: Vec<Fence>,
    rows: Vec<(Partition, Offset)>,
    dead_letters: Vec<(Partition, Offset)>,
    gaps: Vec<(Partition, String, Offset, Offset)>,
}

/// How often each operation was accepted and refused.
#[derive(Default)]
pub struct Tally([(usize, usize); KINDS.len()]);

const KINDS: [&str; 7] = ["take-over", "settle", "claim", "heartbeat", "reread", "write", "starts"];

impl Tally {
    fn count(&mut self, kind: usize, accepted: bool) {
        let (yes, no) = &mut self.0[kind];
        *(if accepted { yes } else { no }) += 1;
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(other.0) {
            *mine = (mine.0 + others.0, mine.1 + others.1);
        }
    }

    /// Every operation was often accepted, and often refused, except the take-over, which has no fence.
    pub fn assert_both_ways(&self) {
        for (kind, (accepted, refused)) in KINDS.iter().zip(self.0) {
            assert!(accepted > 50 && (refused > 50 || *kind == "take-over"), "{kind} is seldom tried: {self}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (accepted, refused)) in KINDS.iter().zip(self.0) {
            write!(f, "{kind} {accepted} done {refused} refused; ")?;
        }
        Ok(())
    }
}

fn key(partition: usize) -> Partition {
    Partition::try_from(partition).unwrap()
}

fn at(partition: usize, progress: Option<Progress>) -> Option<Progress> {
    progress.map(|progress| Progress { partition: key(partition), ..progress })
}

fn sorted(mut progress: Vec<Progress>) -> Vec<Progress> {
    progress.sort_by_key(|progress| progress.partition);
    progress
}

/// The compare-and-set that the sink makes for a share. None: nothing of it is left to do.
fn advance_of(share: &Share) -> Option<Advance> {
    let Share { fence, frontiers, range, .. } = *share;
    let (rows, dead_letters) = (plan(frontiers).postgres_wants_rows(range), plan(frontiers).wants_dead_letters(range));
    let moved = (range.start, range.end);
    (rows || dead_letters).then_some(Advance {
        fence,
        dead_letters: if dead_letters { moved } else { (frontiers.dead_letters, frontiers.dead_letters) },
        rows: frontiers.postgres.map(|next| if rows { moved } else { (next, next) }),
        end: range.end,
    })
}

impl History {
    /// Starts with a new source.
    pub async fn new(seed: u64, server: &Server) -> Self {
        let name = format!("history-{seed}");
        let source = source_id("cluster", &name);
        server.ledger.register_source(source, "cluster", &name, &name).await.unwrap();
        let chance = StdRng::seed_from_u64(seed);
        let (slots, known) = (Slots::default(), Vec::new());
        Self {
            seed,
            chance,
            source,
            slots,
            starts: None,
            known,
            rows: Vec::new(),
            dead_letters: Vec::new(),
            gaps: Vec::new(),
        }
    }

    fn fence(&self, partition: usize, fence: Fence) -> statements::Fence {
        let Fence { epoch, owner } = fence;
        statements::Fence { source: self.source, partition: key(partition), epoch, owner }
    }

    /// Draws an operation, runs it on both sides, and compares the answers and the rows.
    pub async fn step(&mut self, step: usize, server: &mut Server, tally: &mut Tally) {
        let operation = Dice { chance: &mut self.chance, slots: &self.slots, known: &self.known }.operation();
        let before = self.slots.clone();
        let seed = self.seed;
        let what = || format!("LEDGER_SEED={seed} step {step}: {operation:?}\nbefore: {before:?}");
        match &operation {
            Operation::Starts(starts) => {
                server.ledger.write_starts(self.source, starts).await.unwrap();
                let has_rows = self.slots.iter().any(Option::is_some);
                let written = reference::write_starts(&mut self.starts, has_rows, starts);
                assert_eq!(server.ledger.starts(self.source).await.unwrap(), self.starts, "{}", what());
                tally.count(6, written);
            }
            Operation::TakeOver { partition, owner, start } => {
                let holder = Holder::this_process("model");
                let taken =
                    server.ledger.take_over(self.source, key(*partition), *owner, start, false, &holder).await.unwrap();
                // the program draws the birth of a new row at random, so the reference takes it from the answer
                let expected = reference::take_over(&mut self.slots[*partition], *owner, start, taken.row.birth);
                let found = reference::TakeOverAnswer {
                    row: taken.row,
                    gone_back: taken.may_have_gone_back,
                    another: taken.is_from_other_cluster,
                };
                assert_eq!(found, expected, "{}", what());
                self.known.push(Fence { epoch: expected.row.epoch, owner: *owner });
                tally.count(0, true);
            }
            Operation::Settle { partition, fence, settled } => {
                let answer = server.ledger.settle(self.fence(*partition, *fence), settled).await.unwrap();
                let expected = reference::settle(&mut self.slots[*partition], fence, settled);
                assert_eq!(answer, expected, "{}", what());
                if expected {
                    self.gaps.extend(settled.gaps.iter().map(|gap| {
                        let sink = gap.sink.map_or("both", SinkName::as_str).to_owned();
                        (key(*partition), sink, gap.range.start, gap.range.end)
                    }));
                }
                tally.count(1, expected);
            }
            Operation::Claim(wanted) => {
                let claims: Vec<statements::ClaimWanted> = wanted
                    .iter()
                    .map(|(partition, wanted)| statements::ClaimWanted {
                        fence: self.fence(*partition, wanted.fence),
                        range: wanted.range,
                        fingerprint: wanted.fingerprint,
                        clickhouse_next: wanted.clickhouse_next,
                    })
                    .collect();
                let answer = sorted(server.ledger.claim(&claims).await.unwrap());
                let slots = &mut self.slots;
                let expected = wanted.iter().filter_map(|(partition, wanted)| {
                    let claimed = reference::claim(&mut slots[*partition], wanted, Guards::all());
                    tally.count(2, claimed.is_some());
                    at(*partition, claimed)
                });
                assert_eq!(answer, sorted(expected.collect()), "{}", what());
            }
            Operation::Heartbeat(beats) => {
                let given: Vec<(statements::Fence, Option<Offset>)> =
                    beats.iter().map(|(partition, fence, next)| (self.fence(*partition, *fence), *next)).collect();
                let answer = sorted(server.ledger.heartbeat(&given).await.unwrap());
                let slots = &mut self.slots;
                let expected = beats.iter().filter_map(|(partition, fence, next)| {
                    let beaten = reference::heartbeat(&mut slots[*partition], fence, *next, Guards::all());
                    tally.count(3, beaten.is_some());
                    at(*partition, beaten)
                });
                assert_eq!(answer, sorted(expected.collect()), "{}", what());
            }
            Operation::Reread { partition, fence } => {
                let answer = server.ledger.reread(self.fence(*partition, *fence)).await.unwrap();
                let expected = at(*partition, reference::reread(&mut self.slots[*partition], fence));
                assert_eq!(answer, expected, "{}", what());
                tally.count(4, expected.is_some());
            }
            Operation::Write { shares, uncertain } => {
                let batches: Vec<_> = shares
                    .iter()
                    .map(|(partition, share)| server.batches(self.source, key(*partition), &share.joinable()))
                    .collect();
                let expected = self.write(shares, *uncertain);
                let group = batches.concat();
                match (server.sink.write(&group, *uncertain).await, &expected) {
                    (Ok(verdicts), Some(expected)) => {
                        let each = batches
                            .iter()
                            .zip(expected)
                            .flat_map(|(batches, verdict)| batches.iter().map(|_| *verdict));
                        assert_eq!(verdicts, each.collect::<Vec<_>>(), "{}", what());
                    }
                    (Err(SinkError::Uncertain(why)), None) => {
                        assert!(matches!(why, WriteFailure::Fenced), "{why}\n{}", what());
                    }
                    (answer, expected) => panic!("{answer:?}, expected {expected:?}\n{}", what()),
                }
                tally.count(5, expected.is_some());
            }
            Operation::AnotherServer { partition } => {
                server.forget(self.source, key(*partition)).await;
                if let Some(found) = &mut self.slots[*partition] {
                    (found.fresh, found.another) = (false, true);
                }
            }
        }
        assert_eq!(server.rows(self.source).await, self.slots, "the rows after {}", what());
    }

    /// What the sink's transaction does to the reference: a verdict for each share. None: all of it is refused.
    fn write(&mut self, shares: &[(usize, Share)], uncertain: bool) -> Option<Vec<Verdict>> {
        let mut slots = self.slots.clone();
        let (mut verdicts, mut written) = (Vec::new(), Vec::new());
        for (partition, share) in shares {
            let slot = &mut slots[*partition];
            let Some(advance) = advance_of(share) else {
                verdicts.push(Verdict::Stored);
                continue;
            };
            let wants = plan(share.frontiers).wants_dead_letters(share.range);
            let found = reference::reread(slot, &share.fence);
            let value = found
                .and_then(|found| if wants { Some(found.frontiers.dead_letters) } else { found.frontiers.postgres });
            match if uncertain { resolve(found.is_some(), value, share.range) } else { Resolution::SendAgain } {
                Resolution::Landed => verdicts.push(Verdict::Stored),
                Resolution::TakeOver => verdicts.push(Verdict::Fenced),
                Resolution::SendAgain if reference::advance(slot, &advance, Guards::all()) => {
                    verdicts.push(Verdict::Stored);
                    written.push((*partition, share));
                }
                Resolution::SendAgain => return None,
            }
        }
        self.slots = slots;
        for (partition, share) in written {
            let of = |remainder: i64| {
                let offsets = (share.range.start..share.range.end).filter(move |offset| offset % 2 == remainder);
                offsets.map(move |offset| (key(partition), offset))
            };
            if plan(share.frontiers).postgres_wants_rows(share.range) {
                self.rows.extend(of(0));
            }
            if plan(share.frontiers).wants_dead_letters(share.range) {
                self.dead_letters.extend(of(1));
            }
        }
        Some(verdicts)
    }

    /// Checks that the tables hold exactly what the history has stored and noted.
    pub async fn compare_tables(mut self, server: &Server) {
        self.rows.sort_unstable();
        self.dead_letters.sort_unstable();
        self.gaps.sort_unstable();
        let mut gaps = server.gaps(self.source).await;
        gaps.sort_unstable();
        assert_eq!(server.places(Table::Rows, self.source).await, self.rows, "LEDGER_SEED={}: rows", self.seed);
        let letters = server.places(Table::DeadLetters, self.source).await;
        assert_eq!(letters, self.dead_letters, "LEDGER_SEED={}: dead letters", self.seed);
        assert_eq!(gaps, self.gaps, "LEDGER_SEED={}: gaps", self.seed);
    }
}

impl Share {
    /// Groups it as the writer's loop would: two batches move the same frontiers, or there is only one.
    fn joinable(self) -> Self {
        let moves = |end: Offset| {
            let range = footprint_protocol::offset::Range::new(self.range.start, end);
            (plan(self.frontiers).postgres_wants_rows(range), plan(self.frontiers).wants_dead_letters(range))
        };
        Self { split: self.split.filter(|&middle| moves(middle) == moves(self.range.end)), ..self }
    }
}
