//! Claims ranges in the ledger, then sends their batches to the writers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use footprint_protocol::ledger::Progress;
use footprint_protocol::write::{Resolution, resolve};
use footprint_service::failpoint::{self, Point};
use tracing::warn;

use super::{Coordinator, HeldPartition, PipelineError};
use crate::ledger::ownership::Ownership;
use crate::ledger::proof::Sighting;
use crate::ledger::statements::{ClaimWanted, Fence, Ledger};
use crate::store::lanes::Lane;

impl Coordinator {
    /// Sends claimed batches to the writers, and claims ready ranges: at most one for each partition, all in one statement.
    pub(super) async fn dispatch(&mut self) -> Result<(), PipelineError> {
        self.choose_lanes();
        self.send_claimed();
        // what is claimed is finished; nothing new is claimed
        let Some(ledger) = self.ledger.clone().filter(|_| !self.pauses.is_route_paused()) else { return Ok(()) };
        let now = Instant::now();
        let fingerprint = self.context.definition.fingerprint();
        let mut by_lane: BTreeMap<Lane, Vec<(Instant, ClaimWanted)>> = BTreeMap::new();
        for held in self.partitions.values() {
            let Some((batch, clickhouse_next)) = held.machine.to_claim(now) else { continue };
            let fence = Fence::from(&*batch.ownership);
            let wanted = ClaimWanted { fence, range: batch.range, fingerprint, clickhouse_next };
            by_lane.entry(held.lane).or_default().push((batch.first_read_at, wanted));
        }
        for (&lane, wanted) in &mut by_lane {
            // if there is no room for all, those that have waited longest go first: each partition has its turn
            wanted.sort_by_key(|&(first_read_at, _)| first_read_at);
            wanted.truncate(self.channels.lanes.admits(lane, wanted.len()));
        }
        let wanted: Vec<ClaimWanted> = by_lane.into_values().flatten().map(|(_, wanted)| wanted).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let sighting = self.context.proofs.before_sending();
        let started = Instant::now();
        failpoint::hit(Point::Claim);
        let answer = failpoint::sent(Point::ClaimSent, ledger.claim(&wanted)).await;
        failpoint::hit(Point::ClaimAnswered);
        self.settings.meters.claimed(started.elapsed());
        match answer {
            Ok(progress) => self.on_claimed(&ledger, &wanted, &progress, sighting).await?,
            Err(error) => self.on_ledger_error(error)?,
        }
        self.send_claimed();
        Ok(())
    }

    pub(super) async fn on_claimed(
        &mut self,
        ledger: &Ledger,
        wanted: &[ClaimWanted],
        answers: &[Progress],
        sighting: Sighting,
    ) -> Result<(), PipelineError> {
        for claim in wanted {
            let partition = claim.fence.partition;
            let mut answer = answers.iter().find(|progress| progress.partition == partition).copied();
            if answer.is_none() {
                // refused: the row decides what that means
                failpoint::hit(Point::ClaimReread);
                let found = match ledger.reread(claim.fence).await {
                    Ok(found) => found,
                    Err(error) => return self.on_ledger_error(error),
                };
                failpoint::hit(Point::ClaimRereadAnswered);
                let resolution = resolve(found.is_some(), found.map(|row| row.claimed), claim.range);
                if resolution == Resolution::Landed {
                    answer = found;
                }
            }
            if answer.is_none() {
                self.settings.meters.fenced();
                warn!(partition, range = %claim.range, "claim fenced: taking over again");
            }
            let Some(machine) = self.machine(partition) else { continue };
            match machine.claimed(claim.range, answer.as_ref()) {
                Ok(()) => {
                    renew(machine.right(), sighting);
                    if let Some(held) = self.partitions.get_mut(&partition) {
                        held.unstored.claimed(claim.range.end, Instant::now());
                    }
                }
                Err(ended) => self.on_ended(&ended),
            }
        }
        Ok(())
    }

    /// A partition with no batch in flight may change its lane: its next batches go to the lane that serves the fewest partitions.
    fn choose_lanes(&mut self) {
        let under_way = self.partitions.values().filter(|held| held.machine.is_under_way());
        let bound: Vec<Lane> = under_way.map(|held| held.lane).collect();
        let Self { partitions, channels, .. } = self;
        let is_free = |held: &&mut HeldPartition| !held.machine.is_under_way() && held.machine.ready_count() > 0;
        let free = partitions.values_mut().filter(is_free).map(|held| &mut held.lane);
        channels.lanes.spread(bound.into_iter(), free);
    }

    /// Sends batches to the writers while these have room. A batch may go if its range is claimed and its records are the source's.
    pub(super) fn send_claimed(&mut self) {
        let Self { partitions, channels, moved, .. } = self;
        for held in partitions.values_mut() {
            while held.machine.wants_to_send() && channels.lanes.room(held.lane) > 0 {
                let Some(batch) = held.machine.next_to_send() else { break };
                moved.records += (batch.rows.len() + batch.dead_letters.len()) as u64;
                moved.first_read_at.get_or_insert(batch.first_read_at);
                channels.lanes.send(held.lane, &batch);
            }
        }
    }
}

/// Renews the proof of an ownership. A fenced statement that was sent after `sighting` proves the ownership as of that moment.
pub(super) fn renew(ownership: Option<&Arc<Ownership>>, sighting: Sighting) {
    if let Some(ownership) = ownership {
        ownership.proof.renew(sighting);
    }
}
