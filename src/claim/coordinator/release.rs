//! The release of partitions: after a revoke or a stop, the coordinator waits for batches in flight, commits, and answers the group.

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

/// How long work on a revoked partition continues. The next owner has just joined the group. To get the partition it must join once more,
/// and librdkafka does not let a member join twice within a second (`rkcg_join_intvl`). Without this delay, nobody would work on the
/// partition until then.
pub(super) const HAND_OVER_DELAY: Duration = Duration::from_millis(500);

/// What had been sent to the writers of a partition, and was not known to be stored, when its ownership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// The lowest frontier.
    stored: Offset,
    /// The end of the last range that was sent.
    sent: Offset,
    postgres: bool,
    clickhouse: bool,
}

impl Unfinished {
    /// Notes what an ownership leaves unfinished. What an earlier ownership left is finished once this one has stored it.
    pub(super) fn note(unfinished: &mut BTreeMap<Partition, Self>, ended: &Ended<Arc<Ownership>>) {
        let (partition, frontiers) = (ended.right.partition, ended.stored);
        let stored = frontiers.lowest();
        let earlier = unfinished.get(&partition).map_or(Offset::MIN, |left| left.sent);
        let sent = ended.sent.max(earlier);
        if stored >= sent {
            unfinished.remove(&partition);
            return;
        }
        let is_behind = |next: Option<Offset>| next.is_some_and(|next| next < sent);
        let (postgres, clickhouse) = (is_behind(frontiers.postgres), is_behind(frontiers.clickhouse));
        // PostgreSQL also stores the dead letters
        let postgres = postgres || frontiers.dead_letters < sent;
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

    /// Begins the release of partitions. An owned partition is released after `delay` and a drain.
    pub(super) fn begin_release(&mut self, partitions: Vec<Partition>, delay: Duration) {
        let begins_at = Instant::now() + delay;
        let deadline = begins_at + self.drain_deadline();
        for &partition in &partitions {
            if let Some(machine) = self.machine(partition) {
                machine.revoke(begins_at, deadline);
            }
        }
        self.releasing.push(partitions.into_iter().collect());
    }

    /// Releases revoked partitions once none of their batches is in flight and the last commit was answered. At the deadline they are
    /// released in any case, and the next owner replays their claims.
    pub(super) async fn release_drained(&mut self) -> Result<(), PipelineError> {
        let mut index = 0;
        while index < self.releasing.len() {
            if !self.may_release(index).await? {
                index += 1;
                continue;
            }
            let releasing = self.releasing.remove(index);
            for &partition in &releasing {
                self.released(partition);
            }
            self.command(Command::Release(releasing.into_iter().collect()))?;
        }
        Ok(())
    }

    /// Whether partitions that are released together may go back to the group. Once none of their batches is in flight, this sends the last
    /// heartbeat and its commits.
    async fn may_release(&mut self, index: usize) -> Result<bool, PipelineError> {
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
        let Self { releasing, partitions, .. } = self;
        let together = &releasing[index];
        let held = partitions.iter_mut().filter(|(partition, _)| together.contains(partition));
        held.map(|(&partition, held)| (partition, held.machine.release(now, commits_answered))).collect()
    }

    /// Ends the ownership, because the partition goes back to the group. If an unwanted take-over is still under way, the partition's
    /// machine is kept until that ends.
    fn released(&mut self, partition: Partition) {
        let Some(machine) = self.machine(partition) else { return };
        let ended = machine.end("released");
        if machine.may_be_dropped() {
            self.partitions.remove(&partition);
        }
        if let Some(ended) = ended {
            Unfinished::note(&mut self.unfinished, &ended);
            ended.right.ended.cancel();
        }
        if !self.stopping {
            // the next owner finishes it
            self.unfinished.remove(&partition);
        }
    }
}
