//! Take-overs: started where the group gives a partition, thrown away where it no longer does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use footprint_protocol::tracker::Tracker;
use footprint_service::failpoint::{self, Point};
use footprint_service::metrics;
use footprint_service::retry::Backoff;
use tracing::{debug, warn};

use super::{Coordinator, Owned, PipelineError, Slot, TakenOver};
use crate::claim::take_over::{TakeOverError, take_over};
use crate::limits::UNCLEAR_TRIES_MAX;
use crate::read::reader::Command;

/// The tries to take one partition over.
pub(super) struct Tries {
    backoff: Backoff,
    state: Try,
}

/// What has become of the latest try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    /// None was made, or the next one may be made at once.
    None,
    /// It is under way: nothing else is started for the partition.
    Running,
    /// It failed, and the next one waits until then.
    Waits(Instant),
}

impl Default for Tries {
    fn default() -> Self {
        Self { backoff: Backoff::new(), state: Try::None }
    }
}

impl Tries {
    /// The next try waits.
    pub(super) fn wait_until(&mut self, at: Instant) {
        self.state = Try::Waits(at);
    }

    fn may_start(&self, now: Instant) -> bool {
        match self.state {
            Try::None => true,
            Try::Running => false,
            Try::Waits(until) => until <= now,
        }
    }
}

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
            let may_start = self.takeover_tries.get(&partition).is_none_or(|tries| tries.may_start(now));
            if !matches!(slot, Slot::TakingOver) || !may_start || generation == 0 {
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
            self.takeover_tries.entry(partition).or_default().state = Try::Running;
        }
    }

    pub(super) fn on_taken_over(&mut self, taken: TakenOver) -> Result<(), PipelineError> {
        let TakenOver { generation, partition, ledger, result } = taken;
        let now = Instant::now();
        let current = self.generations.get(&partition) == Some(&generation)
            && matches!(self.slots.get(&partition), Some(Slot::TakingOver));
        match result {
            Ok(ownership) if current && !self.stopping => {
                self.takeover_tries.remove(&partition);
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
                        .takeover_tries
                        .get(&partition)
                        .is_some_and(|tries| tries.backoff.tries() >= UNCLEAR_TRIES_MAX) =>
            {
                return Err(PipelineError::Stop(format!("partition {partition}: {why}; {remedy}")));
            }
            Err(TakeOverError::LedgerLost(why)) => {
                if self.ledger.as_ref().is_some_and(|current| Arc::ptr_eq(current, &ledger)) {
                    self.lose_ledger(&why);
                }
                if let Some(tries) = self.takeover_tries.get_mut(&partition) {
                    tries.state = Try::None;
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
        let tries = self.takeover_tries.entry(partition).or_default();
        tries.state = if current { Try::Waits(now + tries.backoff.next_wait()) } else { Try::None };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_try_is_alone_and_a_failed_one_is_waited_after() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        assert!(tries.may_start(now));
        tries.state = Try::Running;
        assert!(!tries.may_start(now + Duration::from_secs(7_200)), "however long it takes");
        tries.wait_until(now + Duration::from_secs(1));
        assert!(!tries.may_start(now) && tries.may_start(now + Duration::from_secs(1)));
    }
}
