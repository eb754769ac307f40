//! What the coordinator publishes: status, frontiers and lag.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use footprint_protocol::offset::Partition;
use footprint_service::report::Chain;
use footprint_service::status::{LaneView, PartitionView};
use tokio::task::spawn_blocking;
use tracing::{debug, warn};

use super::log_history::Sample;
use super::{Coordinator, HeldPartition, PipelineError, cut_interval};
use crate::read::commands::Command;

/// How often the lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// How often the pages' view of the partitions is made.
const VIEW_INTERVAL: Duration = Duration::from_millis(500);

/// How often the topic's retention is asked.
const RETENTION_INTERVAL: Duration = Duration::from_secs(300);

/// The topic's retention.ms.
#[derive(Debug, Default)]
pub(super) struct Retention {
    asked_at: Option<Instant>,
    /// None: there is no limit, or it is not known.
    known: Option<Duration>,
}

/// What was asked about the logs of the owned partitions.
pub(super) struct Measured {
    logs: Vec<(Partition, Sample)>,
    /// None: it was not asked.
    retention: Option<Option<Duration>>,
}

impl Coordinator {
    pub(super) fn command(&self, command: Command) -> Result<(), PipelineError> {
        self.channels.commands.send(command).map_err(|gone| PipelineError::Stop(gone.into()))
    }

    pub(super) fn publish_status(&mut self) {
        let owned = self.owned().count();
        let is_due = self.viewed_at.elapsed() >= VIEW_INTERVAL;
        let views = is_due.then(|| (self.views(), self.lane_views(), self.brokers.clone()));
        if views.is_some() {
            self.viewed_at = Instant::now();
            self.settings.meters.partitions(self.assigned_count(), owned);
        }
        let source = self.life.as_ref().map(|life| life.source);
        self.channels.status.send_if_modified(|status| {
            let changed =
                status.owned != owned || status.source != source || status.moved != self.moved || views.is_some();
            (status.owned, status.source, status.moved) = (owned, source, self.moved);
            if let Some(views) = views {
                (status.partitions, status.lanes, status.brokers) = views;
            }
            changed
        });
        let interval = cut_interval(self.partition_count, owned);
        self.channels.cut_interval.send_if_modified(|known| std::mem::replace(known, interval) != interval);
    }

    /// The partitions owned, as the pages show them.
    fn views(&mut self) -> Vec<PartitionView> {
        let (now, retention, transactions) = (Instant::now(), self.retention.known, &self.open_transactions);
        let view = |(&partition, held): (&Partition, &mut HeldPartition)| {
            let HeldPartition { machine, unstored, owned_since, log, .. } = held;
            let tracker = machine.tracker()?;
            let frontiers = tracker.recorded_frontiers();
            log.stored_below(frontiers.lowest(), now);
            let has_lag = log.end().is_some_and(|end| end > frontiers.lowest());
            let seen = || log.seen_at(frontiers.lowest()).filter(|_| has_lag);
            let oldest_received = unstored.oldest_received().or_else(seen);
            let claims_pending = tracker.pending_count();
            let claim_since = || unstored.claimed_since().unwrap_or(*owned_since);
            Some(PartitionView {
                partition,
                claims_pending,
                claim_since: (claims_pending > 0).then(claim_since),
                postgres_next: frontiers.postgres,
                clickhouse_next: frontiers.clickhouse,
                log_end: log.end(),
                oldest_received,
                stuck_since: log.stuck_since(),
                overtaken_at: log.last().and_then(|last| log.overtaken_at(oldest_received, retention, last)),
                behind_open_transaction: transactions.get(&partition).copied(),
            })
        };
        self.partitions.iter_mut().filter_map(view).collect()
    }

    /// The lanes, as the pages show them.
    fn lane_views(&self) -> Vec<LaneView> {
        let mut views = self.channels.lanes.views();
        for held in self.partitions.values().filter(|held| held.machine.is_under_way()) {
            views[held.lane].partitions += 1;
        }
        views
    }

    /// Asks for the starts and ends of the logs, and from time to time for the topic's retention.
    pub(super) fn measure_lag(&mut self) {
        if self.lag_at.elapsed() < LAG_INTERVAL || !self.lags.is_empty() {
            return;
        }
        self.lag_at = Instant::now();
        let partitions: Vec<Partition> = self.owned().map(|(ownership, _)| ownership.partition).collect();
        let inquirer = Arc::clone(&self.context.inquirer);
        let topic = self.context.topic.clone();
        let asks_retention = self.retention.asked_at.is_none_or(|at| at.elapsed() >= RETENTION_INTERVAL);
        if asks_retention {
            self.retention.asked_at = Some(Instant::now());
        }
        self.lags.spawn(async move {
            let retention = match asks_retention {
                true => Some(inquirer.retention(&topic, LAG_INTERVAL).await.unwrap_or_else(|error| {
                    debug!("retention.ms is not known: {}", Chain(&error));
                    None
                })),
                false => None,
            };
            let measured = spawn_blocking(move || {
                let log = |&partition: &Partition| {
                    let (start, end) = inquirer.watermarks(&topic, partition, LAG_INTERVAL).ok()?;
                    Some((partition, Sample { start, end, at: Instant::now(), time: SystemTime::now() }))
                };
                partitions.iter().map_while(log).collect()
            });
            Measured { logs: measured.await.unwrap_or_default(), retention }
        });
    }

    /// The logs were asked about. Looks for partitions from which nothing comes.
    pub(super) fn on_measured(&mut self, measured: Measured) -> Result<(), PipelineError> {
        let Measured { logs, retention } = measured;
        if let Some(retention) = retention {
            self.retention.known = retention;
        }
        let now = Instant::now();
        let is_held = self.settings.budget.is_spent() || self.pauses.is_route_paused();
        let mut silent = Vec::new();
        for &(partition, sample) in &logs {
            let Some(held) = self.partitions.get_mut(&partition) else { continue };
            held.log.add(sample);
            let machine = &held.machine;
            let Some((ownership, tracker)) = machine.right().zip(machine.tracker()) else { continue };
            let next = tracker.recorded_frontiers().lowest();
            let is_waiting = sample.end > next && !is_held && !machine.is_under_way() && machine.ready_count() == 0;
            let after = self.settings.unreadable.after;
            if let Some(stood) = self.silence.observe(partition, (ownership.epoch, next), is_waiting, after, now) {
                warn!(
                    partition,
                    offset = next,
                    log_end = sample.end,
                    seconds = stood.as_secs(),
                    "kafka gives nothing of the partition from there on, and no error, though its log holds more; if this \
                     lasts, look at the broker's disk and log"
                );
            }
            if self.silence.silent_for(partition, now).is_some_and(|time| self.new_clients.may_make(time, now)) {
                silent.push(partition);
            }
        }
        if silent.is_empty() || self.stopping {
            return Ok(());
        }
        // a partition of an earlier owner may still wait for its turn: the reader decides
        self.command(Command::JoinAgain(silent))
    }
}
