//! One partition in virtual time: alone, and in a pair of processes that pass it to each other through one ledger row.

use super::*;
use crate::ledger::{Claim, FORMAT, OwnerId, Row, SourceId};
use crate::take_over::steps::{Answer, Ask, Ended as TakeOverEnded, Given, TakeOver, Taken};
use crate::take_over::{OnLostRecords, Settled, Switches, WhenSwitchedOn};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const SINKS: [SinkName; 2] = [SinkName::Postgres, SinkName::ClickHouse];
const ON: Switches = Switches {
    postgres: Some(WhenSwitchedOn::Fill),
    clickhouse: Some(WhenSwitchedOn::Fill),
    on_lost_records: OnLostRecords::Stop,
};

/// A right, with the epoch under which the ledger gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Epoch(pub(super) i64, pub(super) Plan);

impl Right for Epoch {
    fn plan(&self) -> &Plan {
        &self.1
    }
}

impl CutBatch for Range {
    fn range(&self) -> Range {
        *self
    }
}

pub(super) type Process = Machine<Epoch, Range>;

pub(super) fn at(offset: Offset) -> Frontiers {
    Frontiers { dead_letters: offset, postgres: Some(offset), clickhouse: Some(offset) }
}

pub(super) fn plan(start: Offset, claims: &[Offset]) -> Plan {
    Plan {
        start,
        read_from: start,
        claimed: claims.last().copied().unwrap_or(start),
        cuts: claims.to_vec(),
        claims: claims.iter().map(|&end| Claim { end, fingerprint: 1 }).collect(),
        frontiers: at(start),
        uncertain_through: None,
        doubtful_below: None,
        birth: 1,
    }
}

pub(super) fn progress(claimed: Offset, stored: Offset) -> Progress {
    Progress { partition: 0, claimed, frontiers: at(stored) }
}

/// A partition that was taken over with this plan.
pub(super) fn owned(plan: Plan) -> Process {
    let mut machine = Process::assigned();
    machine.take_over_began();
    assert!(machine.taken_over(Epoch(1, plan)));
    machine
}

/// One ledger row and the stored offsets of both databases, as PostgreSQL's fenced statements see them.
struct Ledger {
    row: Option<Row>,
    log_end: Offset,
}

impl Ledger {
    fn row(&mut self, epoch: i64) -> Option<&mut Row> {
        self.row.as_mut().filter(|row| row.epoch == epoch)
    }

    /// Takes the partition over by the program's own steps. Returns the epoch and the plan.
    fn take_over(&mut self) -> Epoch {
        let given = Given { source: SourceId(7), partition: 0, switches: ON, other_lives_known: false };
        let mut steps = TakeOver::new(given);
        let mut epoch = 0;
        loop {
            let answer = match steps.ask() {
                Err(TakeOverEnded::Ours(plan)) => return Epoch(epoch, Plan::clone(plan)),
                Err(ended) => panic!("{ended:?}"),
                Ok(Ask::Watermarks) => Answer::Watermarks(0, self.log_end),
                Ok(Ask::Row) => Answer::Row(self.row.is_some()),
                Ok(Ask::Starts) => Answer::Starts(None),
                Ok(Ask::FirstStart) => Answer::FirstStart(crate::first_start::FirstStarts::new(false, &[None], None)),
                Ok(Ask::WriteStarts(_)) => Answer::Written,
                Ok(Ask::Committed) => Answer::Committed(None),
                Ok(Ask::HoldsRows) => Answer::HoldsRows(false),
                Ok(Ask::TakeRow { start, .. }) => {
                    let row = self.row.get_or_insert_with(|| fresh_row(start.offset));
                    row.epoch += 1;
                    epoch = row.epoch;
                    let row = row.clone();
                    Answer::Taken(Box::new(Taken { row, may_have_gone_back: false, is_from_other_cluster: false }))
                }
                Ok(Ask::Drain { .. }) => Answer::Drained,
                Ok(Ask::Highest { .. }) => Answer::Highest(None),
                Ok(Ask::End) => Answer::End(self.log_end),
                Ok(Ask::TopicId) => Answer::TopicId(true),
                Ok(Ask::Settle(settled)) => Answer::Settled(self.settle(epoch, *settled)),
            };
            steps.answer(answer).unwrap();
        }
    }

    fn settle(&mut self, epoch: i64, settled: Settled) -> bool {
        self.row(epoch).map(|row| *row = Row { epoch, ..settled.row }).is_some()
    }

    fn claim(&mut self, epoch: i64, range: Range) -> Option<Progress> {
        let row = self.row(epoch).filter(|row| row.claimed == range.start)?;
        row.claimed = range.end;
        row.claims.push(Claim { end: range.end, fingerprint: 1 });
        self.heartbeat(epoch, None)
    }

    /// PostgreSQL's write: its frontier moves in the transaction of its rows.
    fn write(&mut self, epoch: i64, range: Range) -> bool {
        let Some(row) = self.row(epoch).filter(|row| row.frontiers.postgres == Some(range.start)) else { return false };
        (row.frontiers.postgres, row.frontiers.dead_letters) = (Some(range.end), range.end);
        true
    }

    fn heartbeat(&mut self, epoch: i64, clickhouse: Option<Offset>) -> Option<Progress> {
        let row = self.row(epoch)?;
        row.frontiers.clickhouse = row.frontiers.clickhouse.max(clickhouse);
        let lowest = row.frontiers.lowest();
        row.claims.retain(|claim| claim.end > lowest);
        Some(Progress { partition: 0, claimed: row.claimed, frontiers: row.frontiers })
    }
}

fn fresh_row(start: Offset) -> Row {
    Row {
        epoch: 0,
        owner: OwnerId(0),
        claimed: start,
        frontiers: at(start),
        postgres_stopped: None,
        clickhouse_stopped: None,
        claims: Vec::new(),
        doubtful_below: None,
        birth: 1,
        first_offset: Some(start),
        format: FORMAT,
    }
}

/// Cuts, claims and sends a range.
fn claim_and_send(machine: &mut Process, ledger: &mut Ledger, range: Range, now: Instant) {
    assert!(machine.cut(range, true, now));
    let epoch = machine.right().unwrap().0;
    let (&wanted, _) = machine.to_claim(now).unwrap();
    let answer = ledger.claim(epoch, wanted);
    machine.claimed(wanted, answer.as_ref()).unwrap();
    assert_eq!(machine.next_to_send(), Some(range));
}

#[test]
fn a_batch_goes_to_the_writers_once_it_is_claimed_and_of_the_topics_life() {
    let (mut machine, now) = (owned(plan(0, &[])), Instant::now());
    let (first, second) = (Range::new(0, 10), Range::new(10, 20));
    assert!(machine.cut(first, false, now) && machine.cut(second, false, now));
    assert!(machine.waits_for_topic_check() && machine.to_claim(now).is_none(), "the topic may be another by now");
    machine.topic_id_seen(|range| *range == first);
    assert_eq!(machine.to_claim(now), Some((&first, Some(0))));
    assert_eq!(machine.next_to_send(), None, "it is not claimed");
    machine.claimed(first, Some(&progress(10, 0))).unwrap();
    assert_eq!(machine.next_to_send(), Some(first));
    assert!(machine.is_under_way());
    assert!(
        machine.to_claim(now).is_none() && machine.waits_for_topic_check(),
        "the second was read after the question"
    );
}

#[test]
fn what_was_claimed_before_the_take_over_is_sent_without_a_claim() {
    let (mut machine, now) = (owned(plan(0, &[10])), Instant::now());
    assert!(machine.cut(Range::new(0, 10), true, now));
    assert!(machine.to_claim(now).is_none());
    assert_eq!(machine.next_to_send(), Some(Range::new(0, 10)));
    assert!(machine.cut(Range::new(10, 30), true, now));
    assert_eq!(machine.next_to_send(), None, "this one is not");
    assert!(machine.to_claim(now).is_some());
}

#[test]
fn only_what_the_ledger_returned_is_committed() {
    let (mut machine, now) = (owned(plan(0, &[10])), Instant::now());
    machine.cut(Range::new(0, 10), true, now);
    machine.next_to_send();
    for sink in SINKS {
        machine.stored(sink, Range::new(0, 10));
    }
    assert_eq!(machine.to_commit(), Some(0), "memory is not the ledger");
    assert_eq!(machine.heartbeat(), Some(Some(10)));
    machine.heartbeat_answered(Some(&progress(10, 10))).unwrap();
    assert_eq!(machine.to_commit(), Some(10));
    machine.committed(10);
    assert_eq!(machine.to_commit(), None);
    machine.commit_again();
    assert_eq!(machine.to_commit(), Some(10));
}

#[test]
fn a_refused_claim_a_lost_row_and_a_ledger_behind_memory_end_the_ownership() {
    let refused = owned(plan(0, &[])).claimed(Range::new(0, 10), None).unwrap_err();
    assert_eq!((refused.right.0, refused.sent), (1, 0));
    let behind = progress(5, 0);
    assert!(owned(plan(0, &[])).claimed(Range::new(0, 10), Some(&behind)).is_err());
    assert!(owned(plan(0, &[])).heartbeat_answered(None).is_err());
    let mut machine = owned(plan(10, &[20]));
    assert!(machine.heartbeat_answered(Some(&progress(10, 10))).is_err(), "the claim is gone from the ledger");
    assert!(machine.wants_take_over(Instant::now()), "the group still gives it to us");
    assert!(machine.right().is_none() && machine.heartbeat().is_none() && machine.to_commit().is_none());
}

#[test]
fn one_try_is_under_way_at_a_time_and_a_failed_one_is_waited_after() {
    let (mut machine, now) = (Process::assigned(), Instant::now());
    assert!(machine.wants_take_over(now));
    machine.take_over_began();
    assert!(!machine.wants_take_over(now + 7_200 * SECOND), "however long it takes");
    machine.take_over_failed(now + SECOND);
    assert!(!machine.wants_take_over(now) && machine.wants_take_over(now + SECOND));
    machine.take_over_began();
    machine.take_over_lost();
    assert!(machine.wants_take_over(now), "the next connection takes it over at once");
}

/// The story: a take-over of an earlier assignment ended after the partition had gone to another consumer and come back.
#[test]
fn a_take_over_of_an_earlier_assignment_gives_no_right() {
    let (mut machine, now) = (Process::assigned(), Instant::now());
    machine.take_over_began();
    machine.revoke(now, now);
    assert_eq!(machine.release(now, true), Release::Ready { is_late: false });
    assert!(!machine.may_be_dropped(), "its take-over is under way");
    machine.assign();
    assert!(machine.is_taking_over() && !machine.is_attempt_wanted() && !machine.wants_take_over(now));
    assert!(!machine.taken_over(Epoch(1, plan(0, &[]))), "nobody wants it any more");
    assert!(machine.wants_take_over(now));
    machine.take_over_began();
    assert!(machine.taken_over(Epoch(2, plan(0, &[]))));
    assert_eq!(machine.right().unwrap().0, 2);
}

#[test]
fn a_revoked_partition_drains_commits_and_goes() {
    let (mut machine, mut ledger, now) = (Process::assigned(), Ledger { row: None, log_end: 50 }, Instant::now());
    machine.take_over_began();
    assert!(machine.taken_over(ledger.take_over()));
    claim_and_send(&mut machine, &mut ledger, Range::new(0, 10), now);
    let (begins_at, deadline) = (now + SECOND, now + 30 * SECOND);
    machine.revoke(begins_at, deadline);
    // until `begins_at`, work continues as before
    assert_eq!(machine.release(now, true), Release::NotYet);
    claim_and_send(&mut machine, &mut ledger, Range::new(10, 20), now);
    assert!(machine.cut(Range::new(20, 30), true, now));
    // then nothing new is claimed, and the batch that waits for its claim is thrown away
    assert!(machine.to_claim(begins_at).is_none() && !machine.cut(Range::new(30, 40), true, begins_at));
    assert_eq!(machine.release(begins_at, true), Release::NotYet, "two batches are with the writers");
    assert_eq!(machine.ready_count(), 0);
    for range in [Range::new(0, 10), Range::new(10, 20)] {
        assert!(ledger.write(1, range));
        SINKS.into_iter().for_each(|sink| machine.stored(sink, range));
    }
    assert_eq!(machine.release(begins_at, true), Release::Commit);
    let beat = machine.heartbeat().unwrap();
    machine.heartbeat_answered(ledger.heartbeat(1, beat).as_ref()).unwrap();
    assert_eq!(machine.to_commit(), Some(20));
    machine.committed(20);
    machine.committing(begins_at);
    assert_eq!(machine.release(begins_at, false), Release::NotYet, "the commit is not answered");
    assert_eq!(machine.release(begins_at + COMMIT_TIMEOUT, false), Release::Ready { is_late: false }, "not for ever");
    assert_eq!(machine.release(begins_at, true), Release::Ready { is_late: false });
    let ended = machine.end("released").unwrap();
    assert_eq!((ended.stored.lowest(), ended.sent), (20, 20));
    assert!(machine.may_be_dropped());
}

#[test]
fn at_the_deadline_the_next_owner_finishes_the_claims() {
    let (mut machine, mut ledger, now) = (Process::assigned(), Ledger { row: None, log_end: 50 }, Instant::now());
    machine.take_over_began();
    assert!(machine.taken_over(ledger.take_over()));
    claim_and_send(&mut machine, &mut ledger, Range::new(0, 10), now);
    machine.revoke(now, now + 30 * SECOND);
    assert_eq!(machine.release(now + 29 * SECOND, true), Release::NotYet);
    assert_eq!(machine.release(now + 30 * SECOND, true), Release::Ready { is_late: true });
    let next = ledger.take_over();
    assert_eq!((next.1.start, next.1.claimed, next.1.cuts.as_slice()), (0, 10, [10].as_slice()));
}

/// The group moves the partition to a second process while the first is stopped in the middle of a write. Whatever the first does later,
/// the ledger refuses it, and each record is written once.
#[test]
fn a_pair_that_passes_the_partition_on_writes_each_record_once() {
    let now = Instant::now();
    let mut ledger = Ledger { row: None, log_end: 50 };
    let (mut first, mut second) = (Process::assigned(), Process::assigned());
    first.take_over_began();
    assert!(first.taken_over(ledger.take_over()));
    claim_and_send(&mut first, &mut ledger, Range::new(0, 10), now);
    // the first is stopped; the group gives the partition to the second, which finishes the claim
    second.take_over_began();
    assert!(second.taken_over(ledger.take_over()));
    assert!(second.cut(Range::new(0, 10), true, now));
    assert_eq!(second.next_to_send(), Some(Range::new(0, 10)));
    assert!(ledger.write(2, Range::new(0, 10)));
    SINKS.into_iter().for_each(|sink| second.stored(sink, Range::new(0, 10)));
    // the first wakes: its write and its next claim are fenced
    assert!(!ledger.write(1, Range::new(0, 10)));
    assert!(first.cut(Range::new(10, 20), true, now));
    let (&wanted, _) = first.to_claim(now).unwrap();
    let answer = ledger.claim(1, wanted);
    let ended = first.claimed(wanted, answer.as_ref()).unwrap_err();
    assert_eq!((ended.stored.lowest(), ended.sent), (0, 10), "as far as it knows, it left something unfinished");
    first.revoke(now, now);
    assert_eq!(first.release(now, true), Release::Ready { is_late: false });
    // the second continues
    let beat = second.heartbeat().unwrap();
    second.heartbeat_answered(ledger.heartbeat(2, beat).as_ref()).unwrap();
    assert_eq!(second.to_commit(), Some(10));
    claim_and_send(&mut second, &mut ledger, Range::new(10, 20), now);
    assert!(ledger.write(2, Range::new(10, 20)));
    assert_eq!(ledger.row.unwrap().frontiers.postgres, Some(20));
}

/// The loss of the ledger's connection ends the ownership, whatever is in flight. Late answers change nothing.
#[test]
fn what_comes_after_the_end_of_an_ownership_is_heard_by_nobody() {
    let (mut machine, now) = (owned(plan(0, &[])), Instant::now());
    assert!(machine.cut(Range::new(0, 10), true, now));
    machine.claimed(Range::new(0, 10), Some(&progress(10, 0))).unwrap();
    machine.next_to_send();
    let ended = machine.end("the ledger's connection was lost").unwrap();
    assert_eq!((ended.stored.lowest(), ended.sent), (0, 10));
    machine.stored(SinkName::Postgres, Range::new(0, 10));
    machine.claimed(Range::new(10, 20), Some(&progress(20, 10))).unwrap();
    machine.heartbeat_answered(Some(&progress(20, 10))).unwrap();
    machine.committed(10);
    assert!(machine.is_taking_over() && machine.tracker().is_none() && machine.end("again").is_none());
}

#[test]
fn what_may_be_sent_is_said_before_it_is_taken() {
    let (mut machine, now) = (owned(plan(0, &[10])), Instant::now());
    assert!(!machine.wants_to_send());
    machine.cut(Range::new(0, 10), true, now);
    machine.cut(Range::new(10, 20), true, now);
    assert_eq!((machine.ready_count(), machine.ready().count()), (2, 2));
    assert!(machine.wants_to_send());
    machine.next_to_send();
    assert!(!machine.wants_to_send() && machine.ready_count() == 1, "the second is not claimed");
}

#[test]
fn questions_change_nothing_and_tell_the_state() {
    let now = Instant::now();
    let fresh = Process::assigned();
    assert!(fresh.is_assigned() && fresh.is_taking_over() && !fresh.is_releasing() && !fresh.may_be_dropped());
    assert!(
        !fresh.is_attempt_wanted()
            && fresh.tracker().is_none()
            && !fresh.is_under_way()
            && !fresh.waits_for_topic_check()
    );
    let mut trying = fresh.clone();
    trying.take_over_began();
    assert!(trying.is_attempt_wanted());
    let mut machine = owned(plan(0, &[10]));
    assert!(machine.is_assigned() && !machine.is_taking_over() && !machine.is_under_way());
    assert_eq!(machine.tracker().unwrap().claimed(), 10);
    machine.right_mut().unwrap().0 = 9;
    assert_eq!(machine.right().unwrap().0, 9);
    machine.cut(Range::new(0, 10), true, now);
    assert!(!machine.waits_for_topic_check());
    assert_eq!(machine.ready().copied().collect::<Vec<_>>(), [Range::new(0, 10)]);
    machine.next_to_send();
    assert!(machine.is_under_way());
    for sink in SINKS {
        machine.stored(sink, Range::new(0, 10));
    }
    assert!(!machine.is_under_way());
    machine.revoke(now, now);
    assert!(machine.is_releasing() && machine.is_assigned(), "until it is released it is ours");
}

#[test]
fn a_wait_is_set_from_outside_unless_a_try_is_under_way() {
    let (mut machine, now) = (Process::assigned(), Instant::now());
    machine.wait_until(now + SECOND);
    assert!(!machine.wants_take_over(now) && machine.wants_take_over(now + SECOND));
    machine.take_over_began();
    machine.wait_until(now);
    assert!(!machine.wants_take_over(now + SECOND), "one at a time");
    assert!(machine.taken_over(Epoch(1, plan(0, &[]))));
}

#[test]
fn an_idle_partition_stays_idle_whatever_ends() {
    let (mut machine, now) = (Process::assigned(), Instant::now());
    machine.revoke(now, now);
    assert!(
        machine.end("lost").is_none() && !machine.is_assigned() && machine.is_releasing() && machine.may_be_dropped()
    );
    machine.assign();
    assert!(machine.is_assigned() && !machine.is_releasing() && !machine.may_be_dropped());
}
