//! Records that Kafka cannot give. An error comes in their place, and the client may read on behind it. First, the records before the error
//! are stored. Then the ownership ends. After a wait that grows, the partition is taken over and read again. If the same offset fails for
//! too long, the program stops, or, if configured, gives the records up.

use std::time::{Duration, Instant};

use super::{CutBatch, Ended, Machine, Right, State};
use crate::offset::Offset;
use crate::take_over::OnLostRecords;

/// How long the records before the error may take to be stored. A limit is needed, because a claim of an earlier owner that reaches past
/// the error never becomes complete.
pub const STORED_WAIT: Duration = Duration::from_secs(5);

/// The error that stops the reading of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Unreadable {
    offset: Offset,
    /// When the error first came at this offset.
    since: Instant,
    /// How often the ownership has ended because of this error.
    attempt_count: u32,
    ending: Option<Ending>,
}

/// When the ownership ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ending {
    /// It ends once everything below this offset is stored.
    sent_below: Offset,
    /// It ends at this time in any case.
    until: Instant,
}

/// What to do about records that Kafka cannot give.
#[derive(Clone, Copy, Debug)]
pub struct UnreadablePolicy {
    /// Whether to stop or to give the records up.
    pub then: OnLostRecords,
    /// How long the same offset is tried before that.
    pub after: Duration,
}

/// What follows from an error in place of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnreadableVerdict<R> {
    /// The partition is read again, see [`Machine::end_unreadable`].
    ReadAgain,
    /// The records are given up. The ownership has ended, and the next take-over reads past them.
    GiveUp(Ended<R>),
    /// The pipeline must stop: a person must act.
    Stop {
        /// How long the offset was tried.
        lasted: Duration,
    },
}

/// What became of a partition that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnreadableOutcome<R> {
    /// The records were read and stored after all. The error was at this offset.
    WasRead(Offset),
    /// The ownership has ended. The partition is taken over again after a wait.
    Ended(Ended<R>),
}

impl<R: Right, B: CutBatch> Machine<R, B> {
    /// An error came in place of the records from `offset` on. Everything below `sent_below` was sent to the batcher before. Returns none
    /// if the partition is not ours, because then it is read again in any case.
    pub fn on_unreadable(
        &mut self,
        offset: Offset,
        sent_below: Offset,
        policy: UnreadablePolicy,
        now: Instant,
    ) -> Option<UnreadableVerdict<R>> {
        self.right()?;
        let first = Unreadable { offset, since: now, attempt_count: 0, ending: None };
        let known = self.unreadable.take().filter(|known| known.offset == offset).unwrap_or(first);
        let lasted = now - known.since;
        let ending = Some(Ending { sent_below, until: now + STORED_WAIT });
        self.unreadable = Some(Unreadable { ending, ..known });
        if lasted < policy.after {
            return Some(UnreadableVerdict::ReadAgain);
        }
        if policy.then == OnLostRecords::Stop {
            return Some(UnreadableVerdict::Stop { lasted });
        }
        self.unreadable = None;
        self.end("records that cannot be read are given up").map(UnreadableVerdict::GiveUp)
    }

    /// Ends the ownership of a partition that could not be read, once everything before the error is stored and recorded, or after
    /// [`STORED_WAIT`]. `wait` gives the time before the next take-over for a number of attempts.
    pub fn end_unreadable(&mut self, now: Instant, wait: impl FnOnce(u32) -> Duration) -> Option<UnreadableOutcome<R>> {
        let known = self.unreadable.as_mut()?;
        let State::Owned(owned) = &self.state else {
            known.ending = None;
            return None;
        };
        let stored_below = owned.tracker.frontiers().lowest();
        if stored_below > known.offset {
            let offset = known.offset;
            self.unreadable = None;
            return Some(UnreadableOutcome::WasRead(offset));
        }
        // also recorded: otherwise the next owner would find the claim open and treat it as incomplete
        let is_stored = |sent_below| stored_below >= sent_below && !owned.tracker.is_unrecorded();
        known.ending.filter(|ending| is_stored(ending.sent_below) || now >= ending.until)?;
        known.ending = None;
        let wait = wait(known.attempt_count);
        known.attempt_count = known.attempt_count.saturating_add(1);
        let ended = self.end("records could not be read");
        self.wait_until(now + wait);
        ended.map(UnreadableOutcome::Ended)
    }

    /// Forgets the error, because another life of the topic has other records.
    pub fn forget_unreadable(&mut self) {
        self.unreadable = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Epoch, Process, SECOND, SINKS, at, owned, plan, progress};
    use super::*;
    use crate::ledger::SinkName;
    use crate::offset::Range;

    const STOP: UnreadablePolicy = UnreadablePolicy { then: OnLostRecords::Stop, after: Duration::from_secs(60) };
    const SKIP: UnreadablePolicy = UnreadablePolicy { then: OnLostRecords::Skip, ..STOP };

    /// One second for each try.
    fn wait(tries: u32) -> Duration {
        tries * SECOND
    }

    fn take_over_again(machine: &mut Process, now: Instant) {
        assert!(machine.wants_take_over(now));
        machine.take_over_began();
        assert!(machine.taken_over(Epoch(2, plan(10, &[]))));
    }

    fn store(machine: &mut Process, range: Range) {
        SINKS.into_iter().for_each(|sink| machine.stored(sink, range));
    }

    #[test]
    fn what_was_read_before_is_stored_and_recorded_before_the_ownership_ends() {
        let (mut machine, now) = (owned(plan(0, &[10])), Instant::now());
        assert_eq!(machine.end_unreadable(now, wait), None, "nothing is wrong");
        machine.cut(Range::new(0, 10), true, now);
        machine.next_to_send();
        assert_eq!(machine.on_unreadable(10, 10, STOP, now), Some(UnreadableVerdict::ReadAgain));
        assert_eq!(machine.end_unreadable(now, wait), None, "its writers are at work");
        store(&mut machine, Range::new(0, 10));
        assert_eq!(machine.end_unreadable(now, wait), None, "the ledger does not know it");
        machine.heartbeat_answered(Some(&progress(10, 10))).unwrap();
        let Some(UnreadableOutcome::Ended(ended)) = machine.end_unreadable(now, wait) else { panic!("not ended") };
        assert_eq!((ended.stored, ended.sent), (at(10), 10));
        assert!(machine.wants_take_over(now), "the first time at once");
        assert_eq!(machine.end_unreadable(now, wait), None, "once");
    }

    /// A claim of an earlier owner that reaches past the error never becomes complete.
    #[test]
    fn what_cannot_be_stored_is_not_waited_for_for_ever() {
        let (mut machine, now) = (owned(plan(0, &[20])), Instant::now());
        machine.on_unreadable(10, 10, STOP, now);
        assert_eq!(machine.end_unreadable(now + STORED_WAIT - SECOND, wait), None);
        assert!(matches!(machine.end_unreadable(now + STORED_WAIT, wait), Some(UnreadableOutcome::Ended(_))));
    }

    #[test]
    fn the_take_over_waits_longer_each_time_at_the_same_offset() {
        let (mut machine, now) = (owned(plan(10, &[])), Instant::now());
        for tries in 0..3 {
            machine.on_unreadable(10, 10, STOP, now);
            assert!(matches!(machine.end_unreadable(now, wait), Some(UnreadableOutcome::Ended(_))));
            let waited = now + tries * SECOND;
            assert!(tries == 0 || !machine.wants_take_over(waited - SECOND / 2), "{tries}");
            take_over_again(&mut machine, waited);
        }
        machine.on_unreadable(11, 11, STOP, now);
        machine.stored(SinkName::Postgres, Range::new(10, 11));
        assert!(matches!(machine.end_unreadable(now + STORED_WAIT, wait), Some(UnreadableOutcome::Ended(_))));
        assert!(machine.wants_take_over(now + STORED_WAIT), "another offset is another error");
    }

    #[test]
    fn the_same_offset_for_too_long_is_a_stop_or_is_given_up() {
        let (mut machine, now) = (owned(plan(10, &[])), Instant::now());
        assert_eq!(machine.on_unreadable(10, 10, STOP, now), Some(UnreadableVerdict::ReadAgain));
        machine.end_unreadable(now, wait);
        assert_eq!(machine.on_unreadable(10, 10, STOP, now + 60 * SECOND), None, "it is not ours");
        take_over_again(&mut machine, now);
        assert_eq!(machine.on_unreadable(10, 10, STOP, now + 59 * SECOND), Some(UnreadableVerdict::ReadAgain));
        let mut skipping = machine.clone();
        let stop = UnreadableVerdict::Stop { lasted: 61 * SECOND };
        assert_eq!(machine.on_unreadable(10, 10, STOP, now + 61 * SECOND), Some(stop));
        let given_up = skipping.on_unreadable(10, 10, SKIP, now + 60 * SECOND);
        let Some(UnreadableVerdict::GiveUp(ended)) = given_up else { panic!("{given_up:?}") };
        assert_eq!(ended.right.0, 2);
        take_over_again(&mut skipping, now + 60 * SECOND);
        let next = skipping.on_unreadable(10, 10, SKIP, now + 61 * SECOND);
        assert_eq!(next, Some(UnreadableVerdict::ReadAgain), "the time begins again");
    }

    #[test]
    fn another_offset_and_another_life_begin_the_time_again() {
        let (mut machine, now) = (owned(plan(10, &[])), Instant::now());
        machine.on_unreadable(10, 10, STOP, now);
        assert_eq!(machine.on_unreadable(12, 12, STOP, now + 70 * SECOND), Some(UnreadableVerdict::ReadAgain));
        machine.forget_unreadable();
        assert_eq!(machine.on_unreadable(12, 12, STOP, now + 140 * SECOND), Some(UnreadableVerdict::ReadAgain));
        machine.revoke(now, now);
        assert_eq!(
            machine.on_unreadable(12, 12, STOP, now + 210 * SECOND),
            Some(UnreadableVerdict::ReadAgain),
            "it has left"
        );
    }

    #[test]
    fn what_was_read_after_all_is_told_and_forgotten() {
        let (mut machine, now) = (owned(plan(0, &[20])), Instant::now());
        machine.on_unreadable(10, 10, STOP, now);
        machine.end_unreadable(now + STORED_WAIT, wait);
        machine.take_over_began();
        assert!(machine.taken_over(Epoch(2, plan(0, &[20]))));
        assert_eq!(machine.end_unreadable(now + 2 * STORED_WAIT, wait), None, "no error has come since");
        store(&mut machine, Range::new(0, 20));
        assert_eq!(machine.end_unreadable(now, wait), Some(UnreadableOutcome::WasRead(10)));
        assert_eq!(machine.end_unreadable(now, wait), None);
    }

    /// An ownership that ended for another reason has nothing left to end. Neither has the next one.
    #[test]
    fn the_end_of_an_ownership_ends_the_wait() {
        let (mut machine, now) = (owned(plan(0, &[20])), Instant::now());
        machine.on_unreadable(10, 10, STOP, now);
        machine.end("lost");
        assert_eq!(machine.end_unreadable(now + STORED_WAIT, wait), None);
        take_over_again(&mut machine, now);
        assert_eq!(machine.end_unreadable(now + STORED_WAIT, wait), None);
    }
}
