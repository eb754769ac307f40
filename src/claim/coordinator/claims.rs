//! Claims: ranges are announced to the ledger, then their batches go to the writers.

use std::collections::BTreeMap;
use std::time::Instant;

use footprint_protocol::ledger::Progress;
use footprint_protocol::write::{Resolution, resolve};
use footprint_service::failpoint::{self, Point};
use footprint_service::metrics;
use tracing::warn;

use super::{Coordinator, PipelineError, Slot};
use crate::ledger::statements::{ClaimWanted, Fence, Ledger};
use crate::store::lanes::Lane;

impl Coordinator {
    /// Sends what is claimed to the writers, and claims what is ready: one range of each partition in one statement.
    pub(super) async fn dispatch(&mut self) -> Result<(), PipelineError> {
        self.choose_lanes();
        self.send_claimed();
        let (Some(ledger), Some(seen_at)) = (self.ledger.clone(), self.watch.seen_at) else { return Ok(()) };
        let mut by_lane: BTreeMap<Lane, Vec<(Instant, ClaimWanted)>> = BTreeMap::new();
        for owned in self.owned() {
            let Some(batch) = owned.ready.front() else { continue };
            let is_next = batch.range.start == owned.tracker.claimed();
            if is_next && seen_at > batch.read_at && owned.tracker.may_claim() && !owned.leaving {
                let wanted = ClaimWanted {
                    fence: Fence::from(&*owned.ownership),
                    range: batch.range,
                    fingerprint: self.context.definition.fingerprint(),
                    clickhouse_next: owned.tracker.clickhouse_next(),
                };
                by_lane.entry(owned.lane).or_default().push((batch.first_read_at, wanted));
            }
        }
        for (&lane, wanted) in &mut by_lane {
            // those that have waited longest, where not all may go: each partition has its turn
            wanted.sort_by_key(|&(first_read_at, _)| first_read_at);
            wanted.truncate(self.ports.lanes.admits(lane, wanted.len()));
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
        metrics::claimed(started.elapsed());
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
        sighting: crate::ledger::proof::Sighting,
    ) -> Result<(), PipelineError> {
        for claim in wanted {
            let partition = claim.fence.partition;
            let mut answer = answers.iter().find(|progress| progress.partition == partition).copied();
            if answer.is_none() {
                // refused: what the row says decides
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
            let Some(progress) = answer else {
                metrics::fenced(1);
                warn!(partition, range = %claim.range, "claim fenced: taking over again");
                self.end(partition, "a claim was fenced");
                continue;
            };
            let Some(owned) = self.owned_mut(partition) else { continue };
            owned.tracker.claimed_range(claim.range);
            owned.ownership.proof.renew(sighting);
            if owned.tracker.recorded(&progress).is_err() {
                self.end(partition, "the ledger is behind memory");
            }
        }
        Ok(())
    }

    /// A partition of which nothing is under way may change its lane: its next batches go where there is least to do.
    fn choose_lanes(&mut self) {
        let bound: Vec<Lane> = self.owned().filter(|owned| owned.is_under_way()).map(|owned| owned.lane).collect();
        let Self { slots, ports, .. } = self;
        let free = slots.values_mut().filter_map(|slot| match slot {
            Slot::Owned(owned) if !owned.is_under_way() && !owned.ready.is_empty() => Some(&mut owned.lane),
            _ => None,
        });
        ports.lanes.spread(bound.into_iter(), free);
    }

    /// Hands on every batch whose range is claimed and whose records are the source's, as long as the writers have room.
    pub(super) fn send_claimed(&mut self) {
        // a range claimed by an owner before is read anew: its records, too, must be of this life of the topic
        let Some(seen_at) = self.watch.seen_at else { return };
        let Self { slots, ports, moved, .. } = self;
        for slot in slots.values_mut() {
            let Slot::Owned(owned) = slot else { continue };
            while let Some(batch) = owned.ready.front() {
                let claimed = batch.range.end <= owned.tracker.claimed() && seen_at > batch.read_at;
                if !claimed || ports.lanes.room(owned.lane) == 0 {
                    break;
                }
                let Some(batch) = owned.ready.pop_front() else { break };
                owned.sent = batch.range.end;
                moved.records += (batch.rows.len() + batch.dead_letters.len()) as u64;
                moved.first_read_at.get_or_insert(batch.first_read_at);
                ports.lanes.send(owned.lane, &batch);
            }
        }
    }
}
