//! How far each partition is visible in a database. A thread with its own connection looks every few milliseconds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clickhouse::{Client as ClickHouseClient, Row};
use footprint_service::postgres::connect;
use footprint_service::postgres::session::Purpose;
use serde::Deserialize;
use tokio_postgres::Client as PostgresClient;

use super::site::Site;

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// How often `wait` asks what the thread has seen.
const WAIT_INTERVAL: Duration = Duration::from_millis(2);

/// How far a partition was visible from a certain time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// When the answer came, microseconds since 1970. The records became visible at most one look's interval earlier.
    pub(super) at_us: i64,
    /// Everything below this offset is visible.
    pub(super) next: i64,
    /// The ledger's epoch, which grows with every take-over; 0 in ClickHouse.
    pub(super) epoch: i64,
}

/// The changes of each partition, in their order.
pub(super) type Series = BTreeMap<i32, Vec<Sample>>;

/// What a sampler has seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// The changes.
    pub(super) series: Series,
    /// Times from one answer to the next, milliseconds.
    pub(super) intervals_ms: Vec<f64>,
}

/// A thread that looks at a database again and again.
pub(super) struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    series: Mutex<Series>,
    intervals_ms: Mutex<Vec<f64>>,
}

impl Sampler {
    /// Looks at PostgreSQL. It asks the ledger, whose row moves in the same transaction as the rows themselves. So the answer is exact, and
    /// no index is needed, which would slow the program that is measured.
    pub(super) fn postgres(site: &Site<'_>, interval: Duration) -> Result<Self> {
        let config = site.config()?;
        Self::start("postgres", interval, async move || {
            let client = connect(&config.postgres, "bench sampler", Purpose::Check).await?;
            Ok(Database::Postgres(client))
        })
    }

    /// Looks at ClickHouse's table itself: the greatest offset of each of the topic's `partitions`. This is enough, because a partition's
    /// batches are inserted in order.
    pub(super) fn clickhouse(site: &Site<'_>, partitions: u16, interval: Duration) -> Result<Self> {
        let config = site.config()?;
        let table = format!("{}.user_footprint", site.name);
        Self::start("clickhouse", interval, async move || {
            let client = footprint_service::clickhouse::client(&config.clickhouse).with_setting("max_threads", "1");
            let client = Box::new(client);
            Ok(Database::ClickHouse {
                client,
                table,
                nexts: (0..i32::from(partitions)).map(|number| (number, 0)).collect(),
            })
        })
    }

    fn start<F>(name: &str, interval: Duration, open: F) -> Result<Self>
    where
        F: AsyncFnOnce() -> Result<Database> + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let body = move || runtime.block_on(async { look_on(open().await?, &ours, interval).await });
        let thread = std::thread::Builder::new().name(format!("sampler-{name}")).spawn(body)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits until `find` finds something in what the thread has seen, or returns an error.
    pub(super) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&Series) -> Result<Option<T>>,
    ) -> Result<T> {
        let started = Instant::now();
        loop {
            if let Some(found) = find(&locked(&self.shared.series))? {
                return Ok(found);
            }
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                bail!("a sampler has ended while waiting: {what}");
            }
            if started.elapsed() > limit {
                bail!("not in {limit:?}: {what}");
            }
            std::thread::sleep(WAIT_INTERVAL);
        }
    }

    /// What is visible now.
    pub(super) fn latest(&self) -> BTreeMap<i32, Sample> {
        let series = locked(&self.shared.series);
        series.iter().filter_map(|(&partition, samples)| Some((partition, *samples.last()?))).collect()
    }

    /// Stops looking. Returns all that was seen.
    pub(super) fn finish(mut self) -> Result<Seen> {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).context("a sampler")?;
        }
        let series = std::mem::take(&mut *locked(&self.shared.series));
        Ok(Seen { series, intervals_ms: std::mem::take(&mut *locked(&self.shared.intervals_ms)) })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Microseconds since 1970.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

async fn look_on(mut database: Database, shared: &Shared, interval: Duration) -> Result<()> {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before_us = None;
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let found = tokio::time::timeout(LOOK_LIMIT, database.look()).await.context("a database is silent")??;
        let at_us = now_us();
        if let Some(before_us) = before_us.replace(at_us) {
            locked(&shared.intervals_ms).push((at_us - before_us) as f64 / 1_000.0);
        }
        let mut series = locked(&shared.series);
        for (partition, next, epoch) in found {
            let samples = series.entry(partition).or_default();
            if samples.last().is_none_or(|last| (last.next, last.epoch) != (next, epoch)) {
                samples.push(Sample { at_us, next, epoch });
            }
        }
    }
    Ok(())
}

/// A connection, and how to ask.
enum Database {
    Postgres(PostgresClient),
    ClickHouse { client: Box<ClickHouseClient>, table: String, nexts: BTreeMap<i32, i64> },
}

#[derive(Row, Deserialize)]
struct Reached {
    partition: i32,
    next: i64,
}

impl Database {
    /// Each partition, with its next offset and epoch.
    async fn look(&mut self) -> Result<Vec<(i32, i64, i64)>> {
        match self {
            Self::Postgres(client) => {
                let sql = "select partition, coalesce(postgres_next, 0), epoch from footprint_ledger";
                let rows = client.query_typed(sql, &[]).await?;
                rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
            }
            Self::ClickHouse { client, table, nexts } => {
                // by the index on the offset, ClickHouse does not read what was seen before
                let floor = nexts.values().min().copied().unwrap_or(0);
                let sql = format!(
                    "select kafka_partition as partition, max(kafka_offset) + 1 as next from {table} \
                     where kafka_offset >= {floor} group by partition"
                );
                for row in client.query(&sql).fetch_all::<Reached>().await? {
                    nexts.insert(row.partition, row.next);
                }
                Ok(nexts.iter().map(|(&partition, &next)| (partition, next, 0)).collect())
            }
        }
    }
}
