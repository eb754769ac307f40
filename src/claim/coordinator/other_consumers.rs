//! Looks for other consumers in the group, such as the one that footprint replaces. If such a consumer still runs, it keeps some
//! partitions, or, with another assignor, the whole group. Whenever the set of these consumers changes, the log names them, with what to
//! do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_service::kafka::AskError;
use footprint_service::kafka::members::OtherConsumers;
use footprint_service::report::Chain;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tracing::{debug, info, warn};

use super::Coordinator;

/// How often the group is asked while some partitions are not ours.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often the group is asked while it refuses us.
const INTERVAL_REFUSED: Duration = Duration::from_secs(2);
/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is known about other consumers in the group, and when the group was last asked.
#[derive(Default)]
pub(super) struct GroupWatch {
    asked_at: Option<Instant>,
    /// The broker has refused us since the last question.
    refused: bool,
    known: OtherConsumers,
    /// The question under way, at most one.
    asking: JoinSet<Result<OtherConsumers, AskError>>,
}

impl GroupWatch {
    /// The answer to the question under way. None if there is no question.
    pub(super) async fn answer(&mut self) -> Option<Result<Result<OtherConsumers, AskError>, JoinError>> {
        self.asking.join_next().await
    }
}

impl Coordinator {
    /// The broker did not let us into the group.
    pub(super) fn on_refused_by_group(&mut self) {
        self.group.refused = true;
    }

    /// Asks the group for its members while it keeps partitions from us.
    pub(super) fn look_for_other_consumers(&mut self) {
        let interval = if self.group.refused { INTERVAL_REFUSED } else { INTERVAL };
        let is_due = self.group.asked_at.is_none_or(|at| at.elapsed() >= interval);
        // if every partition is ours, there is nobody to wait for; the partition count is known before the first take-over
        let waits = self.partition_count > 0 && self.assigned_count() < self.partition_count;
        let tells = waits || self.group.refused || !self.group.known.is_empty();
        if !is_due || !tells || self.stopping || !self.group.asking.is_empty() {
            return;
        }
        self.group.asked_at = Some(Instant::now());
        self.group.refused = false;
        let inquirer = Arc::clone(&self.context.inquirer);
        self.group.asking.spawn(async move {
            let asked = spawn_blocking(move || inquirer.other_consumers(TIMEOUT)).await;
            asked.unwrap_or_else(|error| Err(AskError::refused("describe group", error)))
        });
    }

    pub(super) fn on_other_consumers(&mut self, answer: Result<OtherConsumers, AskError>) {
        match answer {
            Ok(others) if others == self.group.known => {}
            Ok(others) => {
                if others.is_empty() {
                    info!("the other consumers have left the group");
                } else {
                    warn!("{}", others.advice(&self.context.holder.group));
                }
                self.group.known = others;
            }
            Err(error) => debug!("{}", Chain(&error)),
        }
    }
}
