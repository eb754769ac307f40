//! What the coordinator publishes: status, frontiers and lag.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::ledger::Frontiers;
use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::tracker::Tracker;
use footprint_service::status::PartitionView;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::{Coordinator, PipelineError, cut_interval};
use crate::ledger::ownership::Ownership;
use crate::read::commands::Command;

/// How often the lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// How often the pages' view of the partitions is made.
const VIEW_INTERVAL: Duration = Duration::from_millis(500);

impl Coordinator {
    pub(super) fn command(&self, command: Command) -> Result<(), PipelineError> {
        self.channels.commands.send(command).map_err(|gone| PipelineError::Stop(gone.into()))
    }

    pub(super) fn publish_status(&mut self) {
        let owned = self.owned().count();
        let views = (self.viewed_at.elapsed() >= VIEW_INTERVAL).then(|| self.views());
        if views.is_some() {
            self.viewed_at = Instant::now();
            self.settings.meters.partitions(self.assigned_count(), owned);
        }
        let source = self.life.as_ref().map(|life| life.source);
        self.channels.status.send_if_modified(|status| {
            let changed = status.owned != owned
                || status.source != source
                || status.moved != self.moved
                || views.as_ref().is_some_and(|views| status.partitions != *views);
            (status.owned, status.source, status.moved) = (owned, source, self.moved);
            if let Some(views) = views {
                status.partitions = views;
            }
            changed
        });
        let interval = cut_interval(self.partition_count, owned);
        self.channels.cut_interval.send_if_modified(|known| std::mem::replace(known, interval) != interval);
    }

    /// The partitions owned, as the pages show them.
    fn views(&self) -> Vec<PartitionView> {
        let view = |(ownership, tracker): (&Arc<Ownership>, &Tracker)| {
            let Frontiers { postgres, clickhouse, .. } = tracker.recorded_frontiers();
            PartitionView {
                partition: ownership.partition,
                claims_pending: tracker.pending_count(),
                postgres_next: postgres,
                clickhouse_next: clickhouse,
                log_end: self.log_ends.get(&ownership.partition).copied(),
            }
        };
        self.owned().map(view).collect()
    }

    pub(super) fn measure_lag(&mut self) {
        if self.lag_at.elapsed() < LAG_INTERVAL || !self.lags.is_empty() {
            return;
        }
        self.lag_at = Instant::now();
        let partitions: Vec<Partition> = self.owned().map(|(ownership, _)| ownership.partition).collect();
        let inquirer = Arc::clone(&self.context.inquirer);
        let topic = self.context.topic.clone();
        self.lags.spawn(async move {
            let measured = spawn_blocking(move || {
                let end = |&partition: &Partition| {
                    inquirer.watermarks(&topic, partition, LAG_INTERVAL).ok().map(|(_, end)| (partition, end))
                };
                partitions.iter().map_while(end).collect()
            });
            measured.await.unwrap_or_default()
        });
    }

    pub(super) fn on_log_ends(&mut self, ends: &[(Partition, Offset)]) {
        self.log_ends.extend(ends.iter().copied());
        self.log_ends.retain(|partition, _| self.partitions.contains_key(partition));
        let now = Instant::now();
        let is_held = self.settings.budget.is_spent() || self.pauses.is_route_paused();
        for &(partition, end) in ends {
            let Some(machine) = self.partitions.get(&partition).map(|held| &held.machine) else { continue };
            let Some((ownership, tracker)) = machine.right().zip(machine.tracker()) else { continue };
            let next = tracker.recorded_frontiers().lowest();
            let is_waiting = end > next && !is_held && !machine.is_under_way() && machine.ready_count() == 0;
            let after = self.settings.unreadable.after;
            if let Some(stood) = self.silence.observe(partition, (ownership.epoch, next), is_waiting, after, now) {
                warn!(
                    partition,
                    offset = next,
                    log_end = end,
                    seconds = stood.as_secs(),
                    "kafka gives nothing of the partition from there on, and no error, though its log holds more; if this \
                     lasts, look at the broker's disk and log"
                );
            }
        }
    }
}
