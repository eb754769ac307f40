//! Letting go: a revoke or a stop waits for what the writers hold, commits, then answers the group.

use std::time::{Duration, Instant};

use tracing::warn;

use super::{Coordinator, Leaving, PipelineError, Slot};
use crate::offset::Partition;
use crate::reader::Command;

/// How long a commit's answer is waited for before partitions are let go.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the group asks back is worked on for so much longer. The member that is to get it has just joined, and librdkafka
/// lets none join again within a second of its last time (`rkcg_join_intvl`), which it must to be given anything: until then
/// the partition would stand still.
pub(super) const HAND_OVER_DELAY: Duration = Duration::from_millis(500);

impl Coordinator {
    /// Lets partitions go, those that are owned after `delay` and a drain.
    pub(super) fn leave(&mut self, partitions: Vec<Partition>, delay: Duration) {
        for &partition in &partitions {
            if matches!(self.slots.get(&partition), Some(Slot::TakingOver)) {
                self.slots.remove(&partition);
            }
            self.generation += 1;
            self.generations.insert(partition, self.generation);
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
                        owned.ownership.ended.cancel();
                    }
                    self.takeover_backoff.remove(partition);
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
