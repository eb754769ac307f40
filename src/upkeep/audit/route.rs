//! The audit of one route: which partitions are there, what is proven next, and what was found. The results go to the metrics, to the
//! log, and to the ledger's table of proofs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use footprint_event::route::Route;
use footprint_protocol::offset::Partition;
use footprint_service::config::Config;
use footprint_service::metrics::audit::AuditMeters;
use footprint_service::postgres::pool::Sessions;
use footprint_service::report::Chain;
use footprint_service::status::{Audited, PartitionView, Status};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::Watched;
use super::prover::{Compared, Prover};
use super::schedule::{Choice, Faulty, Proven, Schedule};
use crate::ledger::statements::proofs::{Proof, Prover as ProvenBy, Reached};
use crate::upkeep::verify::error::VerifyError;
use crate::upkeep::verify::faults::{Faults, Kind};

/// A route whose oldest record that is not stored is older than this is not audited.
const LATE_MAX: Duration = Duration::from_secs(5);
/// A route that is this many records behind is not audited.
const BEHIND_MAX: i64 = 100_000;
/// How often what is proven is written to the ledger, unless a fault was found or mended.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// The wait after an error, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    Idle,
    /// It asked the servers.
    Worked,
}

/// The state of the audit of one route.
pub(super) struct RouteAudit {
    pub route: Arc<Route>,
    status: watch::Receiver<Status>,
    audited: watch::Sender<Vec<Audited>>,
    seed: u64,
    /// The clients. None: nothing was asked yet.
    prover: Option<Prover>,
    /// The source whose partitions are audited.
    source: Option<i64>,
    schedule: Schedule,
    /// Rows compared since the start.
    rows: BTreeMap<Partition, [u64; 2]>,
    saved_at: BTreeMap<Partition, Instant>,
    /// Whether it was said that results cannot be written.
    cannot_save: bool,
    backoff: Duration,
    not_before: Option<Instant>,
}

impl RouteAudit {
    /// Nothing is proven yet. `seed` decides the scattered order.
    pub(super) fn new(watched: Watched, seed: u64) -> Self {
        let Watched { route, status, audited } = watched;
        Self {
            route,
            status,
            audited,
            seed,
            prover: None,
            source: None,
            schedule: Schedule::new(seed),
            rows: BTreeMap::new(),
            saved_at: BTreeMap::new(),
            cannot_save: false,
            backoff: BACKOFF.0,
            not_before: None,
        }
    }

    /// Proves one range, if the route is not behind.
    pub(super) async fn turn(&mut self, config: &Config, sessions: &Sessions, meters: &AuditMeters) -> Turn {
        let now = Instant::now();
        if self.not_before.is_some_and(|at| now < at) {
            return Turn::Idle;
        }
        let status = self.status.borrow().clone();
        let turn = match self.prove_next(config, sessions, &status, meters).await {
            Ok(turn) => {
                (self.backoff, self.not_before) = (BACKOFF.0, None);
                turn
            }
            Err(error) => {
                warn!("route {}: the audit could not prove anything: {}", self.route.name, Chain(&error));
                self.not_before = Some(Instant::now() + self.backoff);
                self.backoff = (self.backoff * 2).min(BACKOFF.1);
                Turn::Worked
            }
        };
        self.publish();
        turn
    }

    async fn prove_next(
        &mut self,
        config: &Config,
        sessions: &Sessions,
        status: &Status,
        meters: &AuditMeters,
    ) -> Result<Turn, VerifyError> {
        let Some(source) = status.source.map(|source| source.0) else { return Ok(Turn::Idle) };
        let asked = self.follow(config, sessions, source, &status.partitions).await?;
        if is_behind(&status.partitions, SystemTime::now()) {
            return Ok(asked);
        }
        let Some(choice) = self.schedule.choose(Instant::now()) else { return Ok(asked) };
        let Some(prover) = &mut self.prover else { return Ok(asked) };
        if let Some(compared) = prover.prove((source, choice.partition), choice.range).await? {
            self.note(source, choice, compared, meters).await;
        }
        if let Some(time) = self.schedule.pass_time(Instant::now()) {
            meters.pass(time);
        }
        Ok(Turn::Worked)
    }

    /// Takes over which partitions the process owns, and how far they are stored. Asks the ledger about new ones.
    async fn follow(
        &mut self,
        config: &Config,
        sessions: &Sessions,
        source: i64,
        views: &[PartitionView],
    ) -> Result<Turn, VerifyError> {
        if self.source != Some(source) {
            self.schedule = Schedule::new(self.seed);
            (self.source, self.rows, self.saved_at) = (Some(source), BTreeMap::new(), BTreeMap::new());
        }
        let owned: BTreeSet<Partition> = views.iter().map(|view| view.partition).collect();
        self.schedule.partitions.retain(|partition, _| owned.contains(partition));
        self.rows.retain(|partition, _| owned.contains(partition));
        self.saved_at.retain(|partition, _| owned.contains(partition));
        let mut turn = Turn::Idle;
        if owned.iter().any(|partition| !self.schedule.partitions.contains_key(partition)) {
            turn = Turn::Worked;
            self.learn(config, sessions, source, &owned).await?;
        }
        for view in views {
            let lowest = view.postgres_next.into_iter().chain(view.clickhouse_next).min();
            if let Some((proven, stored)) = self.schedule.partitions.get_mut(&view.partition).zip(lowest) {
                proven.stored = stored;
            }
        }
        Ok(turn)
    }

    /// Asks the ledger where new partitions start, and how far they were proven.
    async fn learn(
        &mut self,
        config: &Config,
        sessions: &Sessions,
        source: i64,
        owned: &BTreeSet<Partition>,
    ) -> Result<(), VerifyError> {
        if self.prover.is_none() {
            self.prover = Some(Prover::new(config, &self.route, sessions.clone())?);
        }
        let Some(prover) = &self.prover else { return Ok(()) };
        let ledger = prover.tables.ledger().await?;
        let mut reached = prover.tables.reached(source).await.unwrap_or_else(|error| {
            debug!("route {}: earlier proofs cannot be read: {}", self.route.name, Chain(&error));
            BTreeMap::new()
        });
        for &partition in owned {
            let Some(promised) = ledger.get(&(source, partition)) else { continue };
            if self.schedule.partitions.contains_key(&partition) {
                continue;
            }
            let first = prover.first((source, partition), promised)?;
            // a ledger that starts earlier than the last proof has been restored or rewound
            let Reached { start, end, faulty_ranges } = reached.remove(&partition).unwrap_or_default();
            let below = if start <= first { end.max(first) } else { first };
            self.schedule.partitions.insert(partition, Proven::new(first, below, &faulty_ranges));
        }
        Ok(())
    }

    /// Takes the result of a comparison to the metrics, the log and the ledger.
    async fn note(&mut self, source: i64, choice: Choice, compared: Compared, meters: &AuditMeters) {
        let Compared { rows, faulty } = compared;
        meters.proven(rows);
        let sum = self.rows.entry(choice.partition).or_default();
        *sum = [sum[0] + rows[0], sum[1] + rows[1]];
        let before = self.faulty_windows(choice.partition);
        let now = Instant::now();
        let new = self.schedule.compared(choice, faulty.clone(), now);
        if let Some(faulty) = faulty.filter(|_| !new.is_none()) {
            self.tell(choice, &faulty, new, meters);
        }
        let after = self.faulty_windows(choice.partition);
        if after < before {
            info!(
                partition = choice.partition,
                range = %choice.range,
                "route {}: the audit finds nothing wrong there any more",
                self.route.name
            );
        }
        let is_due = self.saved_at.get(&choice.partition).is_none_or(|&at| now >= at + SAVE_INTERVAL);
        if is_due || before != after || !new.is_none() {
            self.saved_at.insert(choice.partition, now);
            self.save(source, choice.partition).await;
        }
    }

    fn tell(&self, choice: Choice, faulty: &Faulty, new: Faults, meters: &AuditMeters) {
        for (sink, counts) in [("postgres", new.postgres), ("clickhouse", new.clickhouse)] {
            for kind in Kind::ALL.into_iter().filter(|&kind| counts[kind as usize] > 0) {
                meters.faults(sink, kind.as_str(), counts[kind as usize]);
                error!(
                    partition = choice.partition,
                    offset = faulty.first,
                    range = %choice.range,
                    sink,
                    kind = kind.as_str(),
                    count = counts[kind as usize],
                    "route {}: the audit has found stored data that is wrong: {}; run `footprint verify --route {}`: it \
                     names every offset",
                    self.route.name,
                    faulty.example,
                    self.route.name
                );
            }
        }
    }

    fn faulty_windows(&self, partition: Partition) -> usize {
        self.schedule.partitions.get(&partition).map_or(0, |proven| proven.faulty.len())
    }

    /// Writes what is known of a partition to the ledger. If that fails, the audit goes on, and says so once.
    async fn save(&mut self, source: i64, partition: Partition) {
        let (Some(prover), Some(proven)) = (&self.prover, self.schedule.partitions.get(&partition)) else { return };
        let Faults { postgres, clickhouse } = proven.faults();
        let proof = Proof {
            key: (source, partition),
            start: proven.first,
            end: proven.below,
            rows: self.rows.get(&partition).copied().unwrap_or_default(),
            faults: [postgres, clickhouse],
            example: proven.faulty.values().map(|faulty| faulty.example.clone()).find(|text| !text.is_empty()),
            faulty_ranges: proven.faulty.values().map(|faulty| faulty.first).collect(),
        };
        match prover.tables.save(ProvenBy::Audit, &proof).await {
            Ok(()) => self.cannot_save = false,
            Err(error) if self.cannot_save => debug!("route {}: {}", self.route.name, Chain(&error)),
            Err(error) => {
                self.cannot_save = true;
                warn!(
                    "route {}: the audit goes on, but cannot write its result to footprint_proof, so it begins again after a \
                     restart: {}",
                    self.route.name,
                    Chain(&error)
                );
            }
        }
    }

    fn publish(&self) {
        let audited = |(&partition, proven): (&Partition, &Proven)| Audited {
            partition,
            proven_below: proven.proven_below(),
            proven_at: proven.at,
            faulty_ranges: proven.faulty.len(),
        };
        self.audited.send_replace(self.schedule.partitions.iter().map(audited).collect());
    }
}

/// Whether the route is behind, or nobody knows yet.
fn is_behind(views: &[PartitionView], now: SystemTime) -> bool {
    let lags = views.iter().map(|view| view.lag().unwrap_or(i64::MAX));
    let is_late = |view: &PartitionView| view.lag_age(now).is_none_or(|age| age > LATE_MAX);
    lags.fold(0_i64, i64::saturating_add) > BEHIND_MAX || views.iter().any(is_late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_with_many_records_or_old_ones_to_store_is_behind() {
        let now = SystemTime::now();
        let view = |log_end, seconds| PartitionView {
            partition: 0,
            claims_pending: 0,
            claim_since: None,
            postgres_next: Some(0),
            clickhouse_next: Some(0),
            log_end,
            oldest_received: Some(now - Duration::from_secs(seconds)),
            stuck_since: None,
            overtaken_at: None,
            behind_open_transaction: None,
        };
        assert!(!is_behind(&[view(Some(BEHIND_MAX / 2), 1), view(Some(BEHIND_MAX / 2), 1)], now));
        assert!(is_behind(&[view(Some(BEHIND_MAX / 2), 1), view(Some(BEHIND_MAX / 2 + 1), 1)], now), "in all");
        assert!(is_behind(&[view(Some(9), 1), view(Some(9), 6)], now), "few records, but large or slow ones");
        assert!(is_behind(&[view(None, 0)], now), "not known");
    }
}
