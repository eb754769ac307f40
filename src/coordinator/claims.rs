//! Claims: ranges are announced to the ledger, then their batches go to the writers.

use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use super::{Coordinator, PipelineError, Slot};
use crate::failpoint::{self, Point};
use crate::ledger::Progress;
use crate::ledger::postgres::{ClaimWanted, Fence, Ledger};
use crate::ledger::protocol::{Resolution, resolve};
use crate::metrics;

impl Coordinator {
    /// Sends what is claimed to the writers, and claims what is ready: one range of each partition in one statement.
    pub(super) async fn dispatch(&mut self) -> Result<(), PipelineError> {
        self.send_claimed();
        let (Some(ledger), Some(seen_at)) = (self.ledger.clone(), self.watch.seen_at) else { return Ok(()) };
        let mut wanted: Vec<ClaimWanted> = Vec::new();
        for owned in self.owned() {
            let Some(batch) = owned.ready.front() else { continue };
            let is_next = batch.range.start == owned.tracker.claimed();
            if is_next && seen_at > batch.read_at && owned.tracker.may_claim() && !owned.leaving {
                wanted.push(ClaimWanted {
                    fence: Fence::from(&*owned.ownership),
                    range: batch.range,
                    fingerprint: self.settings.fingerprint,
                    clickhouse_next: owned.tracker.clickhouse_next(),
                });
            }
        }
        if wanted.is_empty() || !self.writers_have_room(wanted.len()) {
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

    pub(super) fn writers_have_room(&self, batches: usize) -> bool {
        self.ports.postgres.capacity() >= batches
            && self.ports.clickhouse.as_ref().is_none_or(|clickhouse| clickhouse.capacity() >= batches)
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
                let room = ports.postgres.capacity() > 0
                    && ports.clickhouse.as_ref().is_none_or(|clickhouse| clickhouse.capacity() > 0);
                if !claimed || !room {
                    break;
                }
                let Some(batch) = owned.ready.pop_front() else { break };
                owned.sent = batch.range.end;
                moved.records += (batch.rows.len() + batch.dead_letters.len()) as u64;
                moved.first_read_at.get_or_insert(batch.first_read_at);
                if let Some(clickhouse) = &ports.clickhouse {
                    let _ = clickhouse.try_send(Arc::clone(&batch));
                }
                let _ = ports.postgres.try_send(batch);
            }
        }
    }
}
