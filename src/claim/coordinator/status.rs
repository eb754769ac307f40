//! What the coordinator publishes: status, frontiers and lag.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::metrics;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::{Coordinator, PipelineError, cut_interval};
use crate::read::commands::Command;

/// How often the lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

impl Coordinator {
    pub(super) fn command(&self, command: Command) -> Result<(), PipelineError> {
        self.channels.commands.send(command).map_err(|gone| PipelineError::Stop(gone.into()))
    }

    pub(super) fn publish_status(&self) {
        let owned = self.owned().count();
        let source = self.life.as_ref().map(|life| life.source);
        self.channels.status.send_if_modified(|status| {
            let changed = status.owned != owned || status.source != source || status.moved != self.moved;
            (status.owned, status.source, status.moved) = (owned, source, self.moved);
            changed
        });
        let interval = cut_interval(self.partition_count, owned);
        self.channels.cut_interval.send_if_modified(|known| std::mem::replace(known, interval) != interval);
    }

    pub(super) fn publish_frontiers(&self) {
        let route: Arc<str> = self.context.route.as_str().into();
        metrics::owned(&route, self.owned().count());
        for (ownership, tracker) in self.owned() {
            let frontiers = tracker.recorded_frontiers();
            for (sink, next) in [(SinkName::Postgres, frontiers.postgres), (SinkName::ClickHouse, frontiers.clickhouse)]
            {
                if let Some(next) = next {
                    metrics::frontier(&route, ownership.partition, sink, next);
                }
            }
        }
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
        let route: Arc<str> = self.context.route.as_str().into();
        let (now, is_spent) = (Instant::now(), self.settings.budget.is_spent());
        for &(partition, end) in ends {
            let Some(machine) = self.partitions.get(&partition).map(|held| &held.machine) else { continue };
            let Some((ownership, tracker)) = machine.right().zip(machine.tracker()) else { continue };
            let next = tracker.recorded_frontiers().lowest();
            metrics::lag(&route, partition, end.saturating_sub(next).max(0).cast_unsigned());
            let is_waiting = end > next && !is_spent && !machine.is_under_way() && machine.ready_count() == 0;
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
