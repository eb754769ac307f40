//! The state machine of one partition in one process, from its assignment to its release. No I/O, no clock and no randomness: time is a
//! parameter. The coordinator drives one machine for each partition, and the model drives the same code.
//!
//! The calls come in three classes:
//! - events: [`Machine::assign`], [`revoke`](Machine::revoke), [`taken_over`](Machine::taken_over), [`cut`](Machine::cut),
//!   [`topic_id_seen`](Machine::topic_id_seen), [`claimed`](Machine::claimed), [`stored`](Machine::stored),
//!   [`heartbeat_answered`](Machine::heartbeat_answered), [`on_unreadable`](Machine::on_unreadable), and [`end`](Machine::end) for
//!   anything else that ends an ownership: a fenced write, another life of the topic, the loss of the ledger;
//! - work to do: [`wants_take_over`](Machine::wants_take_over), [`to_claim`](Machine::to_claim), [`next_to_send`](Machine::next_to_send),
//!   [`heartbeat`](Machine::heartbeat), [`to_commit`](Machine::to_commit), [`release`](Machine::release),
//!   [`end_unreadable`](Machine::end_unreadable);
//! - questions: the tracker, the right, whether a batch is in flight.

mod attempt;
mod questions;
mod unreadable;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::attempt::Attempt;
use self::unreadable::Unreadable;
pub use self::unreadable::{STORED_WAIT, UnreadableOutcome, UnreadablePolicy, UnreadableVerdict};
use crate::ledger::{Frontiers, Progress, SinkName};
use crate::offset::{Offset, Range};
use crate::take_over::Plan;
use crate::tracker::Tracker;

#[cfg(test)]
mod tests;

/// How long a release waits for the answer to the last commit.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The right to write a partition, which a take-over gives.
pub trait Right {
    /// The plan that the take-over made.
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

/// A batch, as the protocol sees it.
pub trait CutBatch {
    /// The offsets that the batch covers.
    fn range(&self) -> Range;
}

impl<T: CutBatch> CutBatch for Arc<T> {
    fn range(&self) -> Range {
        T::range(self)
    }
}

/// The state machine of one partition. `R` is the right that a take-over gives, `B` is a batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine<R, B> {
    state: State<R, B>,
    attempt: Attempt,
    releasing: Option<Releasing>,
    /// The error at which the reading stopped, until its records are stored or given up, or the partition is released.
    unreadable: Option<Unreadable>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State<R, B> {
    /// The group has not assigned the partition to us, or has taken it back.
    Idle,
    /// The group has assigned the partition to us, and it must be taken over.
    TakingOver,
    /// A take-over has made the partition ours.
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
    /// The topic was asked for its id after the batch's last record was read, and still had the id that the right is for.
    is_topic_checked: bool,
}

/// The release of a partition: the group has revoked it, or the program stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Releasing {
    /// Until this time, work continues as before.
    begins_at: Instant,
    /// From this time on, the partition is released even if batches are in flight. The next owner finishes them.
    deadline: Instant,
    /// Set when the last commit is sent: the release waits for the answer until this time.
    committing_until: Option<Instant>,
}

/// An ownership that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended<R> {
    /// The right, which is void now.
    pub right: R,
    /// The frontiers, as far as this process knows.
    pub stored: Frontiers,
    /// The end of the last range that was sent to the writers.
    pub sent: Offset,
    /// The reason, for the log.
    pub why: &'static str,
}

/// Whether a partition may go back to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// No: work continues, or an answer is missing.
    NotYet,
    /// Everything that was sent is stored. The caller sends a heartbeat and the commit that follows from its answer, and then calls
    /// [`Machine::committing`].
    Commit,
    /// Yes.
    Ready {
        /// Some batches that were sent are not stored at the deadline. The next owner finishes their claims.
        is_late: bool,
    },
}

impl<R: Right, B: CutBatch> Machine<R, B> {
    /// A partition that the group has just assigned to us.
    pub fn assigned() -> Self {
        Self { state: State::TakingOver, attempt: Attempt::None, releasing: None, unreadable: None }
    }

    // --- events ---

    /// The group assigns the partition to us, perhaps again. A take-over that is under way was for an earlier assignment, so its result
    /// will not count.
    pub fn assign(&mut self) {
        self.releasing = None;
        if matches!(self.state, State::Idle) {
            self.state = State::TakingOver;
        }
        self.attempt.mark_unwanted();
    }

    /// The group revokes the partition, or the program stops. Until `begins_at`, work continues as before. Then nothing new is claimed, and
    /// batches in flight may take until `deadline`.
    pub fn revoke(&mut self, begins_at: Instant, deadline: Instant) {
        if matches!(self.state, State::TakingOver) {
            self.state = State::Idle;
        }
        self.attempt.mark_unwanted();
        self.unreadable = None;
        self.releasing = Some(Releasing { begins_at, deadline, committing_until: None });
    }

    /// Ends the ownership, for any reason. If the partition is still assigned to us and not being released, it is taken over again.
    pub fn end(&mut self, why: &'static str) -> Option<Ended<R>> {
        self.attempt.mark_unwanted();
        // an idle partition is always being released
        let next = if self.releasing.is_some() { State::Idle } else { State::TakingOver };
        match std::mem::replace(&mut self.state, next) {
            State::Owned(owned) => {
                Some(Ended { stored: owned.tracker.frontiers(), sent: owned.sent, right: owned.right, why })
            }
            State::Idle | State::TakingOver => None,
        }
    }

    /// A take-over has begun.
    pub fn take_over_began(&mut self) {
        self.attempt = Attempt::UnderWay { is_wanted: true };
    }

    /// A take-over has succeeded. Returns whether it was still wanted. If it was not, its right is void, and nobody may use it.
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

    /// A take-over has failed. The next one waits until `retry_at`, but only if the failed one was still wanted.
    pub fn take_over_failed(&mut self, retry_at: Instant) {
        self.attempt.fail(retry_at);
    }

    /// A take-over has ended because the ledger's connection was lost. The next one begins with the next connection.
    pub fn take_over_lost(&mut self) {
        self.attempt = Attempt::None;
    }

    /// The next take-over waits until `retry_at`. If one is under way, this changes nothing.
    pub fn wait_until(&mut self, retry_at: Instant) {
        if !self.attempt.is_under_way() {
            self.attempt = Attempt::Waits(retry_at);
        }
    }

    /// A batch was cut under the present right. `is_topic_checked` says whether the topic's id was seen after the batch's last record was
    /// read. Returns false if the batch is thrown away, because the partition is being released or no longer ours.
    pub fn cut(&mut self, batch: B, is_topic_checked: bool, now: Instant) -> bool {
        let is_draining = self.is_draining(now);
        let State::Owned(owned) = &mut self.state else { return false };
        if is_draining {
            return false;
        }
        owned.ready.push_back(Ready { batch, is_topic_checked });
        true
    }

    /// The topic still has the id that the right is for. `is_older` says whether a batch's last record was read before the topic was asked.
    pub fn topic_id_seen(&mut self, is_older: impl Fn(&B) -> bool) {
        let State::Owned(owned) = &mut self.state else { return };
        for ready in &mut owned.ready {
            ready.is_topic_checked |= is_older(&ready.batch);
        }
    }

    /// The ledger has answered a claim. `progress` is the row with the claim in it. None means that the claim was refused, because another
    /// owner has the partition.
    ///
    /// # Errors
    /// The ownership has ended: the claim was fenced, or the row does not fit what this process knows.
    pub fn claimed(&mut self, range: Range, progress: Option<&Progress>) -> Result<(), Ended<R>> {
        let State::Owned(owned) = &mut self.state else { return Ok(()) };
        let Some(progress) = progress else { return self.end_with("a claim was fenced") };
        owned.tracker.claimed_range(range);
        match owned.tracker.recorded(progress) {
            Ok(()) => Ok(()),
            Err(_) => self.end_with("the ledger is behind memory"),
        }
    }

    /// A sink has stored a range durably.
    pub fn stored(&mut self, sink: SinkName, range: Range) {
        if let State::Owned(owned) = &mut self.state {
            owned.tracker.acknowledged(sink, range);
        }
    }

    /// The ledger has answered a heartbeat with the row. None means that another owner has the row.
    ///
    /// # Errors
    /// The ownership has ended: the row is another owner's, or it does not fit what this process knows.
    pub fn heartbeat_answered(&mut self, progress: Option<&Progress>) -> Result<(), Ended<R>> {
        let State::Owned(owned) = &mut self.state else { return Ok(()) };
        match progress.map(|progress| owned.tracker.recorded(progress)) {
            Some(Ok(())) => Ok(()),
            _ => self.end_with("the ledger row changed unexpectedly"),
        }
    }

    /// A commit up to `offset` was sent to Kafka.
    pub fn committed(&mut self, offset: Offset) {
        if let State::Owned(owned) = &mut self.state {
            owned.tracker.committed(offset);
        }
    }

    /// Makes [`to_commit`](Self::to_commit) repeat the last offset, because a late commit of a previous owner may have moved it back.
    pub fn commit_again(&mut self) {
        if let State::Owned(owned) = &mut self.state {
            owned.tracker.commit_again();
        }
    }

    // --- work to do ---

    /// Whether a take-over must begin now.
    pub fn wants_take_over(&self, now: Instant) -> bool {
        matches!(self.state, State::TakingOver) && self.attempt.may_begin(now)
    }

    /// The batch whose range must be claimed next, and ClickHouse's frontier, which the same statement records.
    pub fn to_claim(&self, now: Instant) -> Option<(&B, Option<Offset>)> {
        let owned = self.owned().filter(|_| !self.is_draining(now))?;
        let Ready { batch, is_topic_checked } = owned.ready.front()?;
        let is_next = batch.range().start == owned.tracker.claimed();
        (is_next && *is_topic_checked && owned.tracker.may_claim()).then(|| (batch, owned.tracker.clickhouse_next()))
    }

    /// Whether the next batch may go to the writers: its range is claimed, and its records are of the right's life of the topic.
    pub fn wants_to_send(&self) -> bool {
        self.owned().is_some_and(Owned::front_may_go)
    }

    /// Takes the batch that goes to the writers next.
    pub fn next_to_send(&mut self) -> Option<B> {
        let State::Owned(owned) = &mut self.state else { return None };
        if !owned.front_may_go() {
            return None;
        }
        let batch = owned.ready.pop_front()?.batch;
        owned.sent = batch.range().end;
        Some(batch)
    }

    /// ClickHouse's frontier, which a heartbeat writes to the ledger. The outer `None` means that the partition is not ours and needs no
    /// heartbeat.
    pub fn heartbeat(&self) -> Option<Option<Offset>> {
        self.owned().map(|owned| owned.tracker.clickhouse_next())
    }

    /// The offset to commit to Kafka, if it is new. It is always one that the ledger itself returned (R8).
    pub fn to_commit(&self) -> Option<Offset> {
        self.owned().and_then(|owned| owned.tracker.to_commit())
    }

    /// Whether the partition may go back to the group. From the start of its release on, batches that were not sent to the writers are
    /// thrown away. `commits_answered` says that no commit waits for its answer.
    pub fn release(&mut self, now: Instant, commits_answered: bool) -> Release {
        let Some(releasing) = self.releasing else { return Release::NotYet };
        let State::Owned(owned) = &mut self.state else { return Release::Ready { is_late: false } };
        if now < releasing.begins_at {
            return Release::NotYet;
        }
        owned.ready.clear();
        let is_under_way = owned.is_under_way();
        match releasing.committing_until {
            Some(until) if commits_answered || now >= until => Release::Ready { is_late: is_under_way },
            Some(_) => Release::NotYet,
            None if !is_under_way => Release::Commit,
            None if now >= releasing.deadline => Release::Ready { is_late: true },
            None => Release::NotYet,
        }
    }

    /// The last heartbeat and its commit were sent. The release now waits for the answer, at most [`COMMIT_TIMEOUT`].
    pub fn committing(&mut self, now: Instant) {
        if let Some(releasing) = &mut self.releasing {
            releasing.committing_until = Some(now + COMMIT_TIMEOUT);
        }
    }

    fn owned(&self) -> Option<&Owned<R, B>> {
        match &self.state {
            State::Owned(owned) => Some(owned),
            _ => None,
        }
    }

    fn is_draining(&self, now: Instant) -> bool {
        self.releasing.is_some_and(|releasing| releasing.begins_at <= now)
    }

    fn end_with(&mut self, why: &'static str) -> Result<(), Ended<R>> {
        self.end(why).map_or(Ok(()), Err)
    }
}

impl<R, B: CutBatch> Owned<R, B> {
    fn front_may_go(&self) -> bool {
        let is_claimed = |range: Range| range.end <= self.tracker.claimed();
        self.ready.front().is_some_and(|ready| ready.is_topic_checked && is_claimed(ready.batch.range()))
    }

    fn is_under_way(&self) -> bool {
        self.tracker.frontiers().lowest() < self.sent
    }
}
