//! The ledger's heartbeat, and the commits to Kafka that follow from its answers.

use std::time::{Duration, Instant};

use footprint_protocol::first_start::commit_mark;
use footprint_protocol::offset::Offset;
use footprint_service::failpoint::{self, Point};
use tracing::warn;

use super::claims::renew;
use super::{Coordinator, PipelineError};
use crate::ledger::statements::Fence;
use crate::read::commands::Command;

/// The last offsets are committed again at this interval, because a late commit of a previous owner may have moved them back.
const COMMIT_AGAIN: Duration = Duration::from_secs(60);

/// The shortest time between two heartbeats while no batch waits and no claim is open.
const HEARTBEAT_QUIET: Duration = Duration::from_millis(250);
/// The shortest time between two heartbeats otherwise: the ledger learns within this time what a sink has acknowledged.
const HEARTBEAT_SOON: Duration = Duration::from_millis(500);
/// The longest time between two heartbeats: an idle owner must notice a restore (R9).
const HEARTBEAT_IDLE: Duration = Duration::from_secs(2);

impl Coordinator {
    pub(super) async fn heartbeat_when_due(&mut self) -> Result<(), PipelineError> {
        let since = self.heartbeat_at.elapsed();
        let unrecorded = self.owned().any(|(_, tracker)| tracker.is_unrecorded());
        let quiet = self.ready_count() == 0 && self.owned().all(|(_, tracker)| tracker.pending_count() == 0);
        let soon = if quiet { HEARTBEAT_QUIET } else { HEARTBEAT_SOON };
        if since >= HEARTBEAT_IDLE || (unrecorded && since >= soon) {
            self.heartbeat().await?;
        }
        Ok(())
    }

    /// Sends one fenced statement for all owned partitions. It records progress, proves the ownerships, and notices a restore.
    pub(super) async fn heartbeat(&mut self) -> Result<(), PipelineError> {
        let Some(ledger) = self.ledger.clone() else { return Ok(()) };
        self.heartbeat_at = Instant::now();
        let beats: Vec<(Fence, Option<Offset>)> = {
            let machines = self.partitions.values().map(|held| &held.machine);
            let beats = machines.filter_map(|machine| machine.right().zip(machine.heartbeat()));
            beats.map(|(ownership, clickhouse_next)| (Fence::from(&**ownership), clickhouse_next)).collect()
        };
        if beats.is_empty() {
            return Ok(());
        }
        let sighting = self.context.proofs.before_sending();
        failpoint::hit(Point::Heartbeat);
        let answers = match failpoint::sent(Point::HeartbeatSent, ledger.heartbeat(&beats)).await {
            Ok(answers) => answers,
            Err(error) => return self.on_ledger_error(error),
        };
        failpoint::hit(Point::HeartbeatAnswered);
        for (fence, _) in beats {
            let partition = fence.partition;
            let answer = answers.iter().find(|progress| progress.partition == partition);
            let Some(machine) = self.machine(partition) else { continue };
            match machine.heartbeat_answered(answer) {
                Ok(()) => renew(machine.right(), sighting),
                Err(ended) => {
                    self.settings.meters.fenced();
                    warn!(partition, "heartbeat: the ledger row changed unexpectedly: taking over again");
                    self.on_ended(&ended);
                }
            }
        }
        self.commit()
    }

    /// Commits the offsets that the ledger itself returned, if they are new (R8).
    pub(super) fn commit(&mut self) -> Result<(), PipelineError> {
        let Some(life) = &self.life else { return Ok(()) };
        let metadata = commit_mark(life.source);
        let again = self.committed_again_at.elapsed() >= COMMIT_AGAIN;
        if again {
            self.committed_again_at = Instant::now();
        }
        let mut offsets = Vec::new();
        for (&partition, held) in &mut self.partitions {
            if again {
                held.machine.commit_again();
            }
            if let Some(offset) = held.machine.to_commit() {
                held.machine.committed(offset);
                offsets.push((partition, offset));
            }
        }
        if !offsets.is_empty() {
            self.commits_under_way += 1;
            self.command(Command::Commit { offsets, metadata })?;
        }
        Ok(())
    }
}
