//! Starts the take-overs of assigned partitions, and throws away the results that nobody wants any more.

use std::sync::Arc;
use std::time::Instant;

use footprint_protocol::offset::Partition;
use footprint_service::failpoint::{self, Point};
use footprint_service::health::Severity;
use footprint_service::report::Chain;
use tracing::{debug, warn};

use super::{Coordinator, PipelineError, TakenOver};
use crate::claim::take_over::{TakeOverError, take_over};
use crate::ledger::ownership::Ownership;
use crate::ledger::statements::Ledger;
use crate::limits::{TAKE_OVERS_MAX, UNCLEAR_TRIES_MAX};
use crate::read::commands::Command;

impl Coordinator {
    /// Starts the take-overs that are due, up to the limit on take-overs under way.
    pub(super) fn start_takeovers(&mut self) {
        let (Some(ledger), Some(life)) = (&self.ledger, &self.life) else { return };
        if self.stopping {
            return;
        }
        let now = Instant::now();
        for (&partition, held) in &mut self.partitions {
            if self.takeovers.len() >= TAKE_OVERS_MAX {
                break;
            }
            if !held.machine.wants_take_over(now) {
                continue;
            }
            held.machine.take_over_began();
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
                TakenOver { partition, ledger, result }
            });
        }
    }

    pub(super) fn on_taken_over(&mut self, taken: TakenOver) -> Result<(), PipelineError> {
        let TakenOver { partition, ledger, result } = taken;
        match result {
            Ok(ownership) => self.own(&ownership)?,
            Err(error) => self.on_take_over_failed(partition, &ledger, error)?,
        }
        // the partition has left, and only waited for this unwanted take-over to end
        if self.partitions.get(&partition).is_some_and(|held| held.machine.may_be_dropped()) {
            self.partitions.remove(&partition);
        }
        Ok(())
    }

    fn own(&mut self, ownership: &Arc<Ownership>) -> Result<(), PipelineError> {
        let partition = ownership.partition;
        let Some(held) = self.partitions.get_mut(&partition) else { return Ok(()) };
        if !held.machine.taken_over(Arc::clone(ownership)) {
            debug!(partition, "taken over, but no longer wanted");
            return Ok(());
        }
        held.backoff.reset();
        held.owned_since = Instant::now();
        self.take_over_health.good();
        self.settings.meters.taken_over();
        self.note_skips(ownership);
        self.command(Command::Assign(Arc::clone(ownership)))
    }

    fn on_take_over_failed(
        &mut self,
        partition: Partition,
        ledger: &Arc<Ledger>,
        error: TakeOverError,
    ) -> Result<(), PipelineError> {
        let Some(held) = self.partitions.get_mut(&partition) else { return Ok(()) };
        let is_wanted = held.machine.is_attempt_wanted();
        match error {
            TakeOverError::Stop { .. } if is_wanted => return Err(PipelineError::Stop(error.into())),
            TakeOverError::Unclear(source) if is_wanted && held.backoff.tries() >= UNCLEAR_TRIES_MAX => {
                return Err(PipelineError::Stop(TakeOverError::Stop { partition, source }.into()));
            }
            TakeOverError::LedgerLost(ref why) => {
                held.machine.take_over_lost();
                if self.ledger.as_ref().is_some_and(|current| Arc::ptr_eq(current, ledger)) {
                    self.lose_ledger(&Chain(why).to_string());
                }
                return Ok(());
            }
            TakeOverError::Replaced => self.watch.doubt(),
            TakeOverError::Stop { .. } | TakeOverError::Unclear(_) | TakeOverError::Passing(_) => {}
        }
        warn!(partition, "take-over: {}; trying again", Chain(&error));
        self.take_over_health.bad(Severity::Passing, &error, Instant::now());
        held.machine.take_over_failed(Instant::now() + held.backoff.next_wait());
        Ok(())
    }
}
