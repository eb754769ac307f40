//! The counters of a route and of its sinks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_event::reject::Reason;
use footprint_protocol::ledger::SinkName;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::catalogue::{self, Metric};

/// The counters of one route.
#[derive(Clone, Debug)]
pub struct Meters {
    route: Arc<str>,
    records_read: Counter,
    bytes_read: Counter,
    unreadable: Counter,
    reader_paused: Gauge,
    reader_pauses: Counter,
    owned: Gauge,
    assigned: Gauge,
    takeovers: Counter,
    claim_seconds: Histogram,
    fenced: Counter,
    doubled: Counter,
    repaired_rows: Counter,
    paused_partitions: Gauge,
    commits: Counter,
    commit_failures: Counter,
    commit_seconds: Histogram,
    batch_rows: Histogram,
    batch_bytes: Histogram,
    delay_seconds: Histogram,
}

/// The counters of one route and sink.
#[derive(Clone, Debug)]
pub struct SinkMeters {
    route: Arc<str>,
    sink: &'static str,
    rows: Counter,
    batches: Counter,
    bytes: Counter,
    write_seconds: Histogram,
    delay_seconds: Histogram,
    retries: Counter,
    fenced: Counter,
    blocked: Blocked,
}

/// Counts how long one stage waits for the next.
#[derive(Clone, Debug)]
pub struct Blocked(Histogram);

impl Blocked {
    /// It has waited since `started`.
    pub fn since(&self, started: Instant) {
        self.0.record(started.elapsed().as_secs_f64());
    }
}

/// The outcome of one group of batches.
#[derive(Debug, Default)]
pub struct Written {
    /// Batches stored.
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
    /// The bytes of their columns.
    pub bytes: u64,
    /// Batches that the fence refused.
    pub fenced: u64,
    /// The code of the reason of each dead letter stored.
    pub dead_letters: Vec<&'static str>,
    /// The time from Kafka's timestamp of each batch's first record until now.
    pub delays: Vec<Duration>,
}

/// What the group did to this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// It gave partitions, or none.
    Assigned,
    /// It takes partitions back, and waits until they are released.
    Revoked,
    /// It has taken partitions already.
    Lost,
}

impl Rebalance {
    const ALL: [Self; 3] = [Self::Assigned, Self::Revoked, Self::Lost];

    fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Revoked => "revoked",
            Self::Lost => "lost",
        }
    }
}

/// How much of a range ClickHouse holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadBack {
    /// Every row.
    Complete,
    /// Some rows.
    Partial,
    /// No row.
    None,
}

impl ReadBack {
    const ALL: [Self; 3] = [Self::Complete, Self::Partial, Self::None];

    /// What it is if `missing` of `rows` rows were not found.
    fn of(rows: usize, missing: usize) -> Self {
        match missing {
            0 => Self::Complete,
            missing if missing < rows => Self::Partial,
            _ => Self::None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::None => "none",
        }
    }
}

impl Meters {
    /// The counters of a route.
    pub fn new(route: &str) -> Self {
        let route: Arc<str> = route.into();
        let counter = |metric: Metric| counter!(metric.name, "route" => Arc::clone(&route));
        let gauge = |metric: Metric| gauge!(metric.name, "route" => Arc::clone(&route));
        let histogram = |metric: Metric| histogram!(metric.name, "route" => Arc::clone(&route));
        Self {
            records_read: counter(catalogue::RECORDS_READ),
            bytes_read: counter(catalogue::BYTES_READ),
            unreadable: counter(catalogue::UNREADABLE),
            reader_paused: gauge(catalogue::READER_PAUSED),
            reader_pauses: counter(catalogue::READER_PAUSES),
            owned: gauge(catalogue::OWNED),
            assigned: gauge(catalogue::ASSIGNED),
            takeovers: counter(catalogue::TAKEOVERS),
            claim_seconds: histogram(catalogue::CLAIM_SECONDS),
            fenced: counter(catalogue::FENCED),
            doubled: counter(catalogue::DOUBLED),
            repaired_rows: counter(catalogue::REPAIRED_ROWS),
            paused_partitions: gauge(catalogue::PAUSED),
            commits: counter(catalogue::COMMITS),
            commit_failures: counter(catalogue::COMMIT_FAILURES),
            commit_seconds: histogram(catalogue::COMMIT_SECONDS),
            batch_rows: histogram(catalogue::BATCH_ROWS),
            batch_bytes: histogram(catalogue::BATCH_BYTES),
            delay_seconds: histogram(catalogue::WAY_TO_BOTH_SECONDS),
            route,
        }
        .with_all_labels()
    }

    /// A counter that is looked up when it is needed has no series before, and a rate of it would miss its first step. So the known labels
    /// are counted with 0 at the start.
    fn with_all_labels(self) -> Self {
        for kind in Rebalance::ALL {
            self.rebalances(kind).increment(0);
        }
        for reason in Reason::CODES {
            dead_letters(&self.route, reason).increment(0);
        }
        for result in ReadBack::ALL {
            self.read_backs(result).increment(0);
        }
        self
    }

    /// The counters of one of its sinks.
    pub fn sink(&self, sink: SinkName) -> SinkMeters {
        let (route, sink) = (Arc::clone(&self.route), sink.as_str());
        let counter = |metric: Metric| counter!(metric.name, "route" => Arc::clone(&route), "sink" => sink);
        let histogram = |metric: Metric| histogram!(metric.name, "route" => Arc::clone(&route), "sink" => sink);
        for class in ERROR_CLASSES {
            errors(&route, sink, class).increment(0);
        }
        SinkMeters {
            rows: counter(catalogue::ROWS_WRITTEN),
            batches: counter(catalogue::BATCHES_WRITTEN),
            bytes: counter(catalogue::BYTES_WRITTEN),
            write_seconds: histogram(catalogue::WRITE_SECONDS),
            delay_seconds: histogram(catalogue::WAY_SECONDS),
            retries: counter(catalogue::RETRIES),
            fenced: self.fenced.clone(),
            blocked: self.blocked("writer"),
            route,
            sink,
        }
    }

    /// Kafka's client gave an error in place of records.
    pub fn unreadable(&self) {
        self.unreadable.increment(1);
    }

    /// A chunk was read.
    pub fn read(&self, records: usize, bytes: usize) {
        self.records_read.increment(records as u64);
        self.bytes_read.increment(bytes as u64);
    }

    /// Reading was paused or resumed.
    pub fn paused(&self, paused: bool) {
        self.reader_paused.set(f64::from(u8::from(paused)));
        if paused {
            self.reader_pauses.increment(1);
        }
    }

    /// Partitions assigned and owned now.
    pub fn partitions(&self, assigned: usize, owned: usize) {
        self.assigned.set(assigned as f64);
        self.owned.set(owned as f64);
    }

    /// A claim has an answer.
    pub fn claimed(&self, elapsed: Duration) {
        self.claim_seconds.record(elapsed.as_secs_f64());
    }

    /// A claim or a heartbeat found the partition no longer ours.
    pub fn fenced(&self) {
        self.fenced.increment(1);
    }

    /// A partition was taken over.
    pub fn taken_over(&self) {
        self.takeovers.increment(1);
    }

    /// A range of `rows` rows was read back from ClickHouse, and `missing` of them were not there.
    pub fn read_back(&self, rows: usize, missing: usize) {
        self.read_backs(ReadBack::of(rows, missing)).increment(1);
    }

    fn read_backs(&self, result: ReadBack) -> Counter {
        counter!(catalogue::READ_BACKS.name, "route" => Arc::clone(&self.route), "result" => result.as_str())
    }

    /// Rows that a read-back had missed were inserted.
    pub fn repaired(&self, rows: u64) {
        self.repaired_rows.increment(rows);
    }

    /// The group has changed this member's partitions.
    pub fn rebalanced(&self, kind: Rebalance) {
        self.rebalances(kind).increment(1);
    }

    fn rebalances(&self, kind: Rebalance) -> Counter {
        counter!(catalogue::REBALANCES.name, "route" => Arc::clone(&self.route), "kind" => kind.as_str())
    }

    /// Partitions of librdkafka's assignment that are not read now.
    pub fn partitions_paused(&self, paused: usize) {
        self.paused_partitions.set(paused as f64);
    }

    /// Kafka has answered a commit.
    pub fn committed(&self, is_done: bool, elapsed: Duration) {
        let counter = if is_done { &self.commits } else { &self.commit_failures };
        counter.increment(1);
        self.commit_seconds.record(elapsed.as_secs_f64());
    }

    /// A batch was cut.
    pub fn cut(&self, reason: &'static str, rows: usize, bytes: usize) {
        counter!(catalogue::CUTS.name, "route" => Arc::clone(&self.route), "reason" => reason).increment(1);
        self.batch_rows.record(rows as f64);
        self.batch_bytes.record(bytes as f64);
    }

    /// A batch is stored in every sink, this long after Kafka received its first record.
    pub fn stored_in_all(&self, delay: Duration) {
        self.delay_seconds.record(delay.as_secs_f64());
    }

    /// Offsets are given up, and noted in footprint_gap.
    pub fn given_up(&self, reason: &'static str, offsets: u64) {
        counter!(catalogue::GAP_OFFSETS.name, "route" => Arc::clone(&self.route), "reason" => reason)
            .increment(offsets);
    }

    /// The time that a stage waits for the next one.
    pub fn blocked(&self, stage: &'static str) -> Blocked {
        Blocked(histogram!(catalogue::BLOCKED_SECONDS.name, "route" => Arc::clone(&self.route), "stage" => stage))
    }

    /// Records were found more than once in ClickHouse.
    pub fn doubled(&self, count: u64) {
        self.doubled.increment(count);
    }

    /// Rows that one database refused became dead letters.
    pub fn refused(&self, sink: SinkName, rows: usize) {
        let reason = match sink {
            SinkName::Postgres => "postgres_refused",
            SinkName::ClickHouse => "clickhouse_refused",
        };
        dead_letters(&self.route, reason).increment(rows as u64);
    }
}

impl SinkMeters {
    /// A group of batches has an answer.
    pub fn written(&self, written: &Written, elapsed: Duration) {
        for reason in &written.dead_letters {
            dead_letters(&self.route, reason).increment(1);
        }
        self.fenced.increment(written.fenced);
        self.batches.increment(written.batches);
        self.rows.increment(written.rows);
        self.bytes.increment(written.bytes);
        self.write_seconds.record(elapsed.as_secs_f64());
        for delay in &written.delays {
            self.delay_seconds.record(delay.as_secs_f64());
        }
    }

    /// The writer has waited since `started` to send its verdict.
    pub fn blocked_since(&self, started: Instant) {
        self.blocked.since(started);
    }

    /// A write has failed, with an error of this class, and is tried again.
    pub fn failed(&self, class: &'static str) {
        self.retries.increment(1);
        errors(&self.route, self.sink, class).increment(1);
    }
}

/// The classes of failed writes.
const ERROR_CLASSES: [&str; 4] = ["retry", "uncertain", "unclear", "stop"];

fn errors(route: &Arc<str>, sink: &'static str, class: &'static str) -> Counter {
    counter!(catalogue::SINK_ERRORS.name, "route" => Arc::clone(route), "sink" => sink, "class" => class)
}

fn dead_letters(route: &Arc<str>, reason: &'static str) -> Counter {
    counter!(catalogue::DEAD_LETTERS.name, "route" => Arc::clone(route), "reason" => reason)
}
