//! Letting go: a revoke or a stop waits for what the writers hold, commits, then answers the group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::partition::{Ended, Release};
use tracing::warn;

use super::{Coordinator, PipelineError};
use crate::ledger::ownership::Ownership;
use crate::outcome::{Left, Outcome};
use crate::read::commands::Command;

/// What the group asks for is worked on this much longer. The member that is to get it has just joined, and librdkafka
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
    /// Notes what an ownership leaves unfinished; what an earlier one left is finished when this one has stored it.
    pub(super) fn note(unfinished: &mut BTreeMap<Partition, Self>, ended: &Ended<Arc<Ownership>>) {
        let (partition, nexts) = (ended.right.partition, ended.stored);
        let stored = nexts.lowest();
        let earlier = unfinished.get(&partition).map_or(Offset::MIN, |left| left.sent);
        let sent = ended.sent.max(earlier);
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
        let begins_at = Instant::now() + delay;
        let deadline = begins_at + self.settings.drain_deadline;
        for &partition in &partitions {
            if let Some(machine) = self.machine(partition) {
                machine.revoke(begins_at, deadline);
            }
        }
        self.leaving.push(partitions.into_iter().collect());
    }

    /// Partitions on their way out are let go when nothing of theirs is under way and the last commit was answered, or
    /// at the deadline: the next owner then replays their claims.
    pub(super) async fn let_go(&mut self) -> Result<(), PipelineError> {
        let mut index = 0;
        while index < self.leaving.len() {
            if !self.may_leave(index).await? {
                index += 1;
                continue;
            }
            let leaving = self.leaving.remove(index);
            for &partition in &leaving {
                self.released(partition);
            }
            self.command(Command::Release(leaving.into_iter().collect()))?;
        }
        Ok(())
    }

    /// Whether partitions that leave together may go back to the group. The last heartbeat and its commits are sent when
    /// nothing of any is under way.
    async fn may_leave(&mut self, index: usize) -> Result<bool, PipelineError> {
        let now = Instant::now();
        let releases = self.releases(index, now);
        if releases.iter().any(|(_, release)| *release == Release::NotYet) {
            return Ok(false);
        }
        let late: Vec<Partition> = releases
            .iter()
            .filter(|(_, release)| *release == Release::Ready { is_late: true })
            .map(|&(partition, _)| partition)
            .collect();
        if !late.is_empty() {
            warn!(partitions = ?late, "not drained in time: the next owner finishes the claims");
        }
        if releases.iter().all(|(_, release)| *release != Release::Commit) {
            return Ok(true);
        }
        self.heartbeat().await?;
        for (partition, _) in releases {
            if let Some(machine) = self.machine(partition) {
                machine.committing(now);
            }
        }
        Ok(self.commits_under_way == 0)
    }

    fn releases(&mut self, index: usize, now: Instant) -> Vec<(Partition, Release)> {
        let commits_answered = self.commits_under_way == 0;
        let Self { leaving, partitions, .. } = self;
        let together = &leaving[index];
        let held = partitions.iter_mut().filter(|(partition, _)| together.contains(partition));
        held.map(|(&partition, held)| (partition, held.machine.release(now, commits_answered))).collect()
    }

    /// The partition goes back to the group. One whose take-over is under way, and wanted by nobody, is kept until that ends.
    fn released(&mut self, partition: Partition) {
        let Some(machine) = self.machine(partition) else { return };
        let ended = machine.end("released");
        if machine.is_over() {
            self.partitions.remove(&partition);
        }
        if let Some(ended) = ended {
            Unfinished::note(&mut self.unfinished, &ended);
            ended.right.ended.cancel();
        }
        if !self.stopping {
            // the next owner's
            self.unfinished.remove(&partition);
        }
    }
}
