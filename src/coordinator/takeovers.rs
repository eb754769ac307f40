//! Take-overs: started where the group gives a partition, thrown away where it no longer does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::{Coordinator, Owned, PipelineError, Slot, TakenOver};
use crate::failpoint::{self, Point};
use crate::limits::UNCLEAR_TRIES_MAX;
use crate::metrics;
use crate::reader::Command;
use crate::sink::retry::Backoff;
use crate::takeover::{TakeOverError, take_over};
use crate::tracker::Tracker;

impl Coordinator {
    pub(super) fn start_takeovers(&mut self) {
        let (Some(ledger), Some(life)) = (&self.ledger, &self.life) else { return };
        if self.stopping {
            return;
        }
        let now = Instant::now();
        let mut started = Vec::new();
        for (&partition, slot) in &self.slots {
            let generation = self.generations.get(&partition).copied().unwrap_or_default();
            let waits = self.takeover_backoff.get(&partition).is_some_and(|(_, until)| now < *until);
            if !matches!(slot, Slot::TakingOver) || waits || generation == 0 {
                continue;
            }
            let (context, ledger, mut life) = (Arc::clone(&self.context), Arc::clone(ledger), life.clone());
            let skips = self.skips.get(&partition).cloned().unwrap_or_default();
            let cluster_id = self.cluster_id.clone().unwrap_or_default();
            self.takeovers.spawn(async move {
                failpoint::hit(Point::Register);
                let registered = ledger.register_source(life.source, &cluster_id, &context.topic, &life.topic_id).await;
                failpoint::hit(Point::RegisterAnswered);
                let result = match registered {
                    Ok(others_known) => {
                        life.others_known = others_known;
                        take_over(&context, &ledger, &life, partition, &skips).await
                    }
                    Err(error) => Err(TakeOverError::of_ledger(error, partition)),
                };
                TakenOver { generation, partition, ledger, result }
            });
            started.push(partition);
        }
        for partition in started {
            // until it is done nothing else is started for the partition
            let entry = self.takeover_backoff.entry(partition).or_insert_with(|| (Backoff::new(), now));
            entry.1 = now + Duration::from_secs(3_600);
        }
    }

    pub(super) fn on_taken_over(&mut self, taken: TakenOver) -> Result<(), PipelineError> {
        let TakenOver { generation, partition, ledger, result } = taken;
        let now = Instant::now();
        let current = self.generations.get(&partition) == Some(&generation)
            && matches!(self.slots.get(&partition), Some(Slot::TakingOver));
        match result {
            Ok(ownership) if current && !self.stopping => {
                self.takeover_backoff.remove(&partition);
                metrics::taken_over();
                self.note_skips(&ownership);
                let tracker = Tracker::new(&ownership.plan);
                self.command(Command::Assign(Arc::clone(&ownership)))?;
                let sent = ownership.plan.start;
                let owned = Owned { ownership, lane: 0, tracker, ready: VecDeque::new(), sent, leaving: false };
                self.slots.insert(partition, Slot::Owned(owned));
                return Ok(());
            }
            Ok(_) => debug!(partition, "taken over, but no longer wanted"),
            Err(error @ TakeOverError::Stop { .. }) if current => return Err(PipelineError::Stop(error.to_string())),
            Err(TakeOverError::Unclear { why, remedy })
                if current
                    && self
                        .takeover_backoff
                        .get(&partition)
                        .is_some_and(|(tries, _)| tries.tries() >= UNCLEAR_TRIES_MAX) =>
            {
                return Err(PipelineError::Stop(format!("partition {partition}: {why}; {remedy}")));
            }
            Err(TakeOverError::LedgerLost(why)) => {
                if self.ledger.as_ref().is_some_and(|current| Arc::ptr_eq(current, &ledger)) {
                    self.lose_ledger(&why);
                }
                if let Some(entry) = self.takeover_backoff.get_mut(&partition) {
                    entry.1 = now;
                }
                return Ok(());
            }
            Err(error) => {
                if matches!(error, TakeOverError::Replaced) {
                    self.watch.seen_at = None;
                }
                warn!(partition, "take-over: {error}; trying again");
            }
        }
        let entry = self.takeover_backoff.entry(partition).or_insert_with(|| (Backoff::new(), now));
        entry.1 = now + if current { entry.0.next_wait() } else { Duration::ZERO };
        Ok(())
    }
}
