//! One partition, from its assignment to its release: what its process hears of it, and what it then wants. No I/O, no clock
//! and no randomness: time is a parameter. The coordinator drives one for each partition, and the model drives the same code.
//!
//! The calls come in three classes:
//! - what is heard: [`Machine::assign`], [`revoke`](Machine::revoke), [`taken_over`](Machine::taken_over),
//!   [`cut`](Machine::cut), [`topic_id_seen`](Machine::topic_id_seen), [`claimed`](Machine::claimed), [`stored`](Machine::stored),
//!   [`heartbeat_answered`](Machine::heartbeat_answered), [`unreadable`](Machine::unreadable), and [`end`](Machine::end) for whatever else ends an ownership: a fenced write, another
//!   life of the topic, the loss of the ledger;
//! - what is wanted: [`wants_take_over`](Machine::wants_take_over), [`to_claim`](Machine::to_claim),
//!   [`next_to_send`](Machine::next_to_send), [`beat`](Machine::beat), [`to_commit`](Machine::to_commit),
//!   [`release`](Machine::release), [`end_unreadable`](Machine::end_unreadable);
//! - what is asked: the tracker, the right, whether something is under way.

mod asked;
mod attempt;
mod unreadable;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::attempt::Attempt;
use self::unreadable::Unreadable;
pub use self::unreadable::{AfterUnreadable, AtUnreadable, STORED_WAIT, UnreadablePolicy};
use crate::ledger::{Nexts, Progress, SinkName};
use crate::offset::{Offset, Range};
use crate::take_over::Plan;
use crate::tracker::Tracker;

#[cfg(test)]
mod tests;

/// How long the answer of the last commit is waited for before a partition is released.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a take-over gives: the right to write the partition.
pub trait Right {
    /// What the take-over decided.
    fn plan(&self) -> &Plan;
}

impl<T: Right> Right for Box<T> {
    fn plan(&self) -> &Plan {
        T::plan(self)
    }
}

impl<T: Right> Right for Arc<T> {
    fn plan(&self) -> &Plan {
        T::plan(self)
    }
}

/// A batch as far as the protocol knows it.
pub trait Cut {
    /// What it covers.
    fn range(&self) -> Range;
}

impl<T: Cut> Cut for Arc<T> {
    fn range(&self) -> Range {
        T::range(self)
    }
}

/// One partition of one process. `R` is the right that a take-over gives, `B` a batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine<R, B> {
    state: State<R, B>,
    attempt: Attempt,
    leaving: Option<Leaving>,
    /// It cannot be read on.
    unreadable: Option<Unreadable>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State<R, B> {
    /// The group has not given it to us, or has it back.
    Idle,
    /// It is ours to take over.
    TakingOver,
    /// Ours.
    Owned(Box<Owned<R, B>>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Owned<R, B> {
    right: R,
    tracker: Tracker,
    /// Batches that wait for their claim, or for room at the writers, in order.
    ready: VecDeque<Ready<B>>,
    /// The end of the last range that was sent to the writers.
    sent: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ready<B> {
    batch: B,
    /// The topic's id was asked after its last record was read, and it was that of the right.
    is_topic_checked: bool,
}

/// The group has asked for the partition, or the program stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Leaving {
    /// Until then it is worked on as before.
    begins_at: Instant,
    /// When the next owner has to finish what is under way.
    deadline: Instant,
    /// The last commit was sent, and its answer is waited for until then.
    committing_until: Option<Instant>,
}

/// An ownership that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended<R> {
    /// The right that is void now.
    pub right: R,
    /// The frontiers, as far as this process knows.
    pub stored: Nexts,
    /// The end of what was sent to the writers.
    pub sent: Offset,
    /// Why, for the log.
    pub why: &'static str,
}

/// Whether a partition may go back to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// It is worked on, or its writers are.
    NotYet,
    /// Everything that was sent is stored: a heartbeat comes next, and the commit that follows from its answer.
    /// [`Machine::committing`] says that they were sent.
    Commit,
    /// Yes. `is_late`: at the deadline, with something under way; the next owner finishes the claims.
    Ready {
        /// Not everything that was sent is stored.
        is_late: bool,
    },
}

impl<R: Right, B: Cut> Machine<R, B> {
    /// The group has just given it to us.
    pub fn assigned() -> Self {
        Self { state: State::TakingOver, attempt: Attempt::None, leaving: None, unreadable: None }
    }

    // --- what is heard ---

    /// The group gives it to us, perhaps again: a take-over that is under way was for an earlier assignment.
    pub fn assign(&mut self) {
        self.leaving = None;
        if matches!(self.state, State::Idle) {
            self.state = State::TakingOver;
        }
        self.attempt.disown();
    }

    /// The group asks for it, or the program stops. Until `begins_at` it is worked on as before. Then nothing new is claimed,
    /// and what is under way may take until `deadline`.
    pub fn revoke(&mut self, begins_at: Instant, deadline: Instant) {
        if matches!(self.state, State::TakingOver) {
            self.state = State::Idle;
        }
        self.attempt.disown();
        self.unreadable = None;
        self.leaving = Some(Leaving { begins_at, deadline, committing_until: None });
    }

    /// The ownership is over, for whatever reason. As long as the group gives us the partition, it is taken over again.
    pub fn end(&mut self, why: &'static str) -> Option<Ended<R>> {
        self.attempt.disown();
        let next = match self.state {
            State::Idle => State::Idle,
            _ if self.leaving.is_some() => State::Idle,
            _ => State::TakingOver,
        };
        match std::mem::replace(&mut self.state, next) {
            State::Owned(owned) => {
                Some(Ended { stored: owned.tracker.nexts(), sent: owned.sent, right: owned.right, why })
            }
            State::Idle | State::TakingOver => None,
        }
    }

    /// A take-over has begun.
    pub fn take_over_began(&mut self) {
        self.attempt = Attempt::UnderWay { is_wanted: true };
    }

    /// A take-over has ended well. Whether it was still wanted: if not, its right is void, and nobody acts upon it.
    pub fn taken_over(&mut self, right: R) -> bool {
        let is_wanted = self.attempt.is_wanted();
        self.attempt = Attempt::None;
        if !is_wanted || !matches!(self.state, State::TakingOver) {
            return false;
        }
        let tracker = Tracker::new(right.plan());
        let sent = right.plan().start;
        self.state = State::Owned(Box::new(Owned { right, tracker, ready: VecDeque::new(), sent }));
        true
    }

    /// A take-over has failed; the next one waits until `retry_at`. One that is no longer wanted leaves no wait behind.
    pub fn take_over_failed(&mut self, retry_at: Instant) {
        self.attempt.fail(retry_at);
    }

    /// A take-over has ended because the ledger's connection was lost: the next one begins with the next connection.
    pub fn take_over_lost(&mut self) {
        self.attempt = Attempt::None;
    }

    /// The next take-over waits until then, unless one is under way.
    pub fn wait_until(&mut self, retry_at: Instant) {
        if !self.attempt.is_under_way() {
            self.attempt = Attempt::Waits(retry_at);
        }
    }

    /// A batch was cut under the present right. `is_topic_checked`: the topic's id was seen since its last record was read. False: it
    /// is thrown away, since the partition is leaving.
    pub fn cut(&mut self, batch: B, is_topic_checked: bool, now: Instant) -> bool {
        let is_leaving = self.has_begun_to_leave(now);
        let State::Owned(owned) = &mut self.state else { return false };
        if is_leaving {
            return false;
        }
        owned.ready.push_back(Ready { batch, is_topic_checked });
        true
    }

    /// The topic's id was seen, and it is that of the right. `is_older`: a batch whose last record was read before the question.
    pub fn topic_id_seen(&mut self, is_older: impl Fn(&B) -> bool) {
        let State::Owned(owned) = &mut self.state else { return };
        for ready in &mut owned.ready {
            ready.is_topic_checked |= is_older(&ready.batch);
        }
    }

    /// A claim was answered. `progress` is the ledger's row once the claim is in it; none: it was refused, since the partition
    /// is somebody else's.
    ///
    /// # Errors
    /// The ownership is over: the claim was fenced, or the ledger is not what it was.
    pub fn claimed(&mut self, range: Range, progress: Option<&Progress>) -> Result<(), Ended<R>> {
        let State::Owned(owned) = &mut self.state else { return Ok(()) };
        let Some(progress) = progress else { return self.over("a claim was fenced") };
        owned.tracker.claimed_range(range);
        match owned.tracker.recorded(progress) {
            Ok(()) => Ok(()),
            Err(_) => self.over("the ledger is behind memory"),
        }
    }

    /// A sink has stored a range durably.
    pub fn stored(&mut self, sink: SinkName, range: Range) {
        if let State::Owned(owned) = &mut self.state {
            owned.tracker.acknowledged(sink, range);
        }
    }

    /// A heartbeat was answered with the ledger's row; none: the row is somebody else's.
    ///
    /// # Errors
    /// The ownership is over.
    pub fn heartbeat_answered(&mut self, progress: Option<&Progress>) -> Result<(), Ended<R>> {
        let State::Owned(owned) = &mut self.state else { return Ok(()) };
        match progress.map(|progress| owned.tracker.recorded(progress)) {
            Some(Ok(())) => Ok(()),
            _ => self.over("the ledger is not what it was"),
        }
    }

    /// A commit up to `offset` was sent to Kafka.
    pub fn committed(&mut self, offset: Offset) {
        if let State::Owned(owned) = &mut self.state {
            owned.tracker.committed(offset);
        }
    }

    /// What was committed is to be committed again: a late commit of a previous owner may have moved it back.
    pub fn commit_again(&mut self) {
        if let State::Owned(owned) = &mut self.state {
            owned.tracker.commit_again();
        }
    }

    // --- what is wanted ---

    /// Whether a take-over is to begin now.
    pub fn wants_take_over(&self, now: Instant) -> bool {
        matches!(self.state, State::TakingOver) && self.attempt.may_begin(now)
    }

    /// The batch whose range is to be claimed next, and ClickHouse's frontier, which the statement records on its way.
    pub fn to_claim(&self, now: Instant) -> Option<(&B, Option<Offset>)> {
        let owned = self.owned().filter(|_| !self.has_begun_to_leave(now))?;
        let Ready { batch, is_topic_checked } = owned.ready.front()?;
        let is_next = batch.range().start == owned.tracker.claimed();
        (is_next && *is_topic_checked && owned.tracker.may_claim()).then(|| (batch, owned.tracker.clickhouse_next()))
    }

    /// Whether a batch may go to the writers: its range is claimed, and its records are of the right's life of the topic.
    pub fn wants_to_send(&self) -> bool {
        self.owned().is_some_and(Owned::front_may_go)
    }

    /// The batch that goes to the writers next.
    pub fn next_to_send(&mut self) -> Option<B> {
        let State::Owned(owned) = &mut self.state else { return None };
        if !owned.front_may_go() {
            return None;
        }
        let batch = owned.ready.pop_front()?.batch;
        owned.sent = batch.range().end;
        Some(batch)
    }

    /// What a heartbeat tells the ledger: ClickHouse's frontier. None: nothing is ours, and nothing beats.
    pub fn beat(&self) -> Option<Option<Offset>> {
        self.owned().map(|owned| owned.tracker.clickhouse_next())
    }

    /// What is to be committed to Kafka: only what the ledger itself returned (R8).
    pub fn to_commit(&self) -> Option<Offset> {
        self.owned().and_then(|owned| owned.tracker.to_commit())
    }

    /// Whether the partition may go back to the group. Where its time to leave has come, what is not claimed is thrown away.
    /// `commits_answered`: no commit is on its way.
    pub fn release(&mut self, now: Instant, commits_answered: bool) -> Release {
        let Some(leaving) = self.leaving else { return Release::NotYet };
        let State::Owned(owned) = &mut self.state else { return Release::Ready { is_late: false } };
        if now < leaving.begins_at {
            return Release::NotYet;
        }
        owned.ready.clear();
        let is_under_way = owned.is_under_way();
        match leaving.committing_until {
            Some(until) if commits_answered || now >= until => Release::Ready { is_late: is_under_way },
            Some(_) => Release::NotYet,
            None if !is_under_way => Release::Commit,
            None if now >= leaving.deadline => Release::Ready { is_late: true },
            None => Release::NotYet,
        }
    }

    /// The last heartbeat and its commit were sent. The commit's answer is waited for, up to [`COMMIT_TIMEOUT`].
    pub fn committing(&mut self, now: Instant) {
        if let Some(leaving) = &mut self.leaving {
            leaving.committing_until = Some(now + COMMIT_TIMEOUT);
        }
    }

    fn owned(&self) -> Option<&Owned<R, B>> {
        match &self.state {
            State::Owned(owned) => Some(owned),
            _ => None,
        }
    }

    fn has_begun_to_leave(&self, now: Instant) -> bool {
        self.leaving.is_some_and(|leaving| leaving.begins_at <= now)
    }

    fn over(&mut self, why: &'static str) -> Result<(), Ended<R>> {
        self.end(why).map_or(Ok(()), Err)
    }
}

impl<R, B: Cut> Owned<R, B> {
    fn front_may_go(&self) -> bool {
        let is_claimed = |range: Range| range.end <= self.tracker.claimed();
        self.ready.front().is_some_and(|ready| ready.is_topic_checked && is_claimed(ready.batch.range()))
    }

    fn is_under_way(&self) -> bool {
        self.tracker.nexts().lowest() < self.sent
    }
}
