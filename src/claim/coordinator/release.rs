//! Letting go: a revoke or a stop waits for what the writers hold, commits, then answers the group.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition};
use tracing::warn;

use super::{Coordinator, Leaving, Owned, PipelineError, Slot};
use crate::outcome::{Left, Outcome};
use crate::read::reader::Command;

/// How long a commit's answer is waited for before partitions are let go.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the group asks back is worked on for so much longer. The member that is to get it has just joined, and librdkafka
/// lets none join again within a second of its last time (`rkcg_join_intvl`), which it must to be given anything: until then
/// the partition would stand still.
pub(super) const HAND_OVER_DELAY: Duration = Duration::from_millis(500);

/// What was sent to the writers of a partition and not seen stored when its ownership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// The lowest frontier.
    stored: Offset,
    /// The end of what was sent.
    sent: Offset,
    postgres: bool,
    clickhouse: bool,
}

impl Unfinished {
    /// Notes what `owned` leaves unfinished at the end of its ownership; what a former ownership left is finished when this
    /// one has stored it.
    pub(super) fn note(unfinished: &mut BTreeMap<Partition, Self>, partition: Partition, owned: &Owned) {
        let nexts = owned.tracker.nexts();
        let stored = nexts.lowest();
        let before = unfinished.get(&partition).map_or(Offset::MIN, |left| left.sent);
        let sent = owned.sent.max(before);
        if stored >= sent {
            unfinished.remove(&partition);
            return;
        }
        let is_behind = |next: Option<Offset>| next.is_some_and(|next| next < sent);
        let (postgres, clickhouse) = (is_behind(nexts.postgres), is_behind(nexts.clickhouse));
        // the dead letters are PostgreSQL's too
        let postgres = postgres || nexts.dead_letters < sent;
        unfinished.insert(partition, Self { stored, sent, postgres, clickhouse });
    }
}

impl Coordinator {
    /// How the drain ended.
    pub(super) fn outcome(&self) -> Outcome {
        if self.unfinished.is_empty() {
            return Outcome::Drained;
        }
        let left = self.unfinished.values().map(|left| Left {
            records: left.sent.abs_diff(left.stored),
            partitions: 1,
            postgres: left.postgres,
            clickhouse: left.clickhouse,
            silent_routes: 0,
        });
        Outcome::NotDrained(left.fold(Left::default(), Left::and))
    }

    /// Lets partitions go, those that are owned after `delay` and a drain.
    pub(super) fn leave(&mut self, partitions: Vec<Partition>, delay: Duration) {
        for &partition in &partitions {
            if matches!(self.slots.get(&partition), Some(Slot::TakingOver)) {
                self.slots.remove(&partition);
            }
            self.generation += 1;
            self.generations.insert(partition, self.generation);
            self.unreadable.remove(&partition);
        }
        let begins_at = Instant::now() + delay;
        let deadline = begins_at + self.settings.drain_deadline;
        let partitions = partitions.into_iter().collect();
        self.leaving.push(Leaving { partitions, begins_at, deadline, committing_until: None });
    }

    /// Partitions on their way out are let go when nothing of theirs is under way and the last commit was answered, or
    /// at the deadline: the next owner then replays their claims.
    pub(super) async fn let_go(&mut self) -> Result<(), PipelineError> {
        let mut index = 0;
        while index < self.leaving.len() {
            if self.has_left(index).await? {
                let leaving = self.leaving.remove(index);
                for partition in &leaving.partitions {
                    if let Some(Slot::Owned(owned)) = self.slots.remove(partition) {
                        Unfinished::note(&mut self.unfinished, *partition, &owned);
                        owned.ownership.ended.cancel();
                    }
                    if !self.stopping {
                        // the next owner's
                        self.unfinished.remove(partition);
                    }
                    self.takeover_tries.remove(partition);
                }
                self.command(Command::Release(leaving.partitions.into_iter().collect()))?;
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    /// Whether the partitions can be let go. Where their time has come it stops the work on them, and in the end commits.
    async fn has_left(&mut self, index: usize) -> Result<bool, PipelineError> {
        let now = Instant::now();
        let Self { leaving, slots, .. } = &mut *self;
        let Leaving { partitions, begins_at, deadline, committing_until } = &leaving[index];
        let (deadline, committing_until) = (*deadline, *committing_until);
        let mut owned = Vec::new();
        for &partition in partitions {
            let Some(Slot::Owned(slot)) = slots.get_mut(&partition) else { continue };
            owned.push(partition);
            if now >= *begins_at && !slot.leaving {
                slot.leaving = true;
                slot.ready.clear();
            }
        }
        if owned.is_empty() || now < *begins_at {
            return Ok(owned.is_empty());
        }
        if let Some(until) = committing_until {
            return Ok(self.commits_under_way == 0 || now >= until);
        }
        let under_way = |p: &Partition| matches!(self.slots.get(p), Some(Slot::Owned(owned)) if owned.is_under_way());
        if owned.iter().any(under_way) {
            if now >= deadline {
                warn!(partitions = ?owned, "not drained in time: the next owner finishes the claims");
            }
            return Ok(now >= deadline);
        }
        self.heartbeat().await?;
        if let Some(leaving) = self.leaving.get_mut(index) {
            leaving.committing_until = Some(now + COMMIT_TIMEOUT);
        }
        Ok(self.commits_under_way == 0)
    }
}
