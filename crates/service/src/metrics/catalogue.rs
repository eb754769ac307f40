//! Every metric: its name, kind, labels and meaning, and how to read it. docs/metrics.md is made from this table.

use std::fmt::Write as _;

/// Bounds of the buckets of a write or a statement, seconds.
const WRITE_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Bounds of the buckets of a batch's rows.
const ROWS_BUCKETS: &[f64] = &[1.0, 10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 25_000.0, 50_000.0, 100_000.0, 250_000.0];
/// Bounds of the buckets of a batch's payload bytes.
const BYTES_BUCKETS: &[f64] = &[1e3, 1e4, 1e5, 1e6, 4e6, 1.6e7, 6.4e7];
/// Bounds of the buckets of one wait for the next stage, seconds.
const WAIT_BUCKETS: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0];
/// Bounds of the buckets of a record's way from Kafka into a database, seconds. A backlog is hours old.
const WAY_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86_400.0];

/// What a metric counts with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, and begins at 0 when the program starts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// `footprint_<area>_<what>_<unit>`, and `_total` for a counter.
    pub name: &'static str,
    /// What it counts with.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it is.
    pub is: &'static str,
    /// How to read it.
    pub read: &'static str,
}

macro_rules! metrics {
    ($($constant:ident: $name:literal, $kind:expr, [$($label:literal),*], $is:literal, $read:literal;)*) => {
        $(
            #[doc = $is]
            pub const $constant: Metric =
                Metric { name: $name, kind: $kind, labels: &[$($label),*], is: $is, read: $read };
        )*
        /// All of them, in the order of the data's way.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

metrics! {
    HEALTH: "footprint_component_health", Gauge, ["route", "component", "state"],
        "1 for the state that a component is in, 0 for every other state",
        "Alert on state=\"failed\". /readyz says why, since when, and what to do.";
    JOINED: "footprint_group_joined", Gauge, ["route"],
        "1 while the consumer is a member of its group",
        "0 for long: the group does not let it in, or the broker is away.";
    RECORDS_READ: "footprint_reader_records_total", Counter, ["route"],
        "records taken from Kafka",
        "Its rate is the input. A record that is read again after a take-over counts again.";
    BYTES_READ: "footprint_reader_bytes_total", Counter, ["route"],
        "bytes of keys and payloads taken from Kafka",
        "Divided by the records: their size. It decides how many records the byte budget holds.";
    UNREADABLE: "footprint_reader_unreadable_total", Counter, ["route"],
        "errors that Kafka's client gave in place of records",
        "Any: look at the log for the partition and the offset.";
    CUTS: "footprint_batch_cuts_total", Counter, ["route", "reason"],
        "batches by what closed them: rows, bytes, months (a limit of the batch), linger (its time was up), claimed (claimed so before)",
        "linger: input is light. rows or bytes: a backlog, or much input. claimed: after a take-over.";
    BATCH_ROWS: "footprint_batch_rows", Histogram(ROWS_BUCKETS), ["route"],
        "rows and dead letters of a batch",
        "Small during a backlog: bytes or months close the batches, see footprint_batch_cuts_total.";
    BATCH_BYTES: "footprint_batch_bytes", Histogram(BYTES_BUCKETS), ["route"],
        "bytes of a batch's columns in memory",
        "Divided by the rows: what a row costs of the byte budget, besides spare room.";
    READER_PAUSED: "footprint_reader_paused", Gauge, ["route"],
        "1 while reading waits because the byte budget is spent",
        "Often 1: the sinks are slower than the input. Alone it is no fault: memory stays bounded.";
    READER_PAUSES: "footprint_reader_pauses_total", Counter, ["route"],
        "times that reading began to wait",
        "Many a second: the budget is small for these records.";
    PAUSED: "footprint_partitions_paused", Gauge, ["route"],
        "partitions that the client holds for this process and that are not read now",
        "They wait for a take-over or their turn, or a person has paused the route. For long with lag: the log says why.";
    BLOCKED_SECONDS: "footprint_blocked_seconds", Histogram(WAIT_BUCKETS), ["route", "stage"],
        "time that a stage waited, once, for the next one: budget (the reader, for bytes of the budget), reader, batcher, writer",
        "The rate of the sum is the share of time that the stage is blocked. The stage behind the last blocked one is the slow one.";
    BUDGET_TAKEN: "footprint_budget_taken_bytes", Gauge, [],
        "bytes of the byte budget in use, by all routes",
        "Near the budget: reading waits.";
    BUDGET_HELD: "footprint_budget_held_bytes", Gauge, ["holder"],
        "bytes of the byte budget by their holder: reader (not decoded), open (decoded, not cut), batches (cut, not stored)",
        "Most in batches: a sink is slow. Most in reader: decoding is. Most in open: many partitions with little each.";
    BUDGET_MAX: "footprint_budget_max_bytes", Gauge, [],
        "the byte budget (pipeline.budget_bytes)",
        "Compare with the bytes in use.";
    OWNED: "footprint_partitions_owned", Gauge, ["route"],
        "partitions that this process owns",
        "The sum over all processes is the topic's count. Less for long: see footprint_partitions_assigned.";
    ASSIGNED: "footprint_partitions_assigned", Gauge, ["route"],
        "partitions that the group has assigned to this process",
        "More than owned for long: a take-over does not succeed; the log says why.";
    REBALANCES: "footprint_group_rebalances_total", Counter, ["route", "kind"],
        "times that the group assigned partitions, revoked them, or had taken them already (lost)",
        "Steady growth: members come and go. lost: the member was silent for the session's timeout.";
    COMMITS: "footprint_commits_total", Counter, ["route"],
        "commits that Kafka accepted",
        "0 while rows are stored: look at the failures. Nothing is lost: the ledger decides where reading begins.";
    COMMIT_FAILURES: "footprint_commit_failures_total", Counter, ["route"],
        "commits that Kafka refused, or that got no answer",
        "Some with rebalances. Steady growth: the log has the reason; other tools see an old offset.";
    COMMIT_SECONDS: "footprint_commit_seconds", Histogram(WRITE_BUCKETS), ["route"],
        "time of one commit to Kafka",
        "Slow: the group's coordinator is busy, or far away.";
    ROUND_TRIP: "footprint_kafka_round_trip_seconds", Gauge, ["route", "broker"],
        "mean time of a request to the broker, over the last five seconds",
        "Up to 0.1 s is normal while nothing comes, since a fetch waits for records. Compare the brokers.";
    THROTTLE: "footprint_kafka_throttle_seconds", Gauge, ["route", "broker"],
        "mean time that the broker makes the client wait, over the last five seconds",
        "Above 0: a quota of the cluster limits footprint.";
    TRANSPORT_ERRORS: "footprint_kafka_transport_errors_total", Counter, ["route", "broker"],
        "errors and time-outs of the connection to the broker",
        "Steady growth: the network, or a broker that restarts.";
    TAKEOVERS: "footprint_ledger_takeovers_total", Counter, ["route"],
        "partitions taken over",
        "Steady growth: members come and go, or the ledger's connection breaks.";
    CLAIM_SECONDS: "footprint_ledger_claim_seconds", Histogram(WRITE_BUCKETS), ["route"],
        "time of one claim statement",
        "Slow: PostgreSQL is busy, or far away.";
    FENCED: "footprint_ledger_fenced_total", Counter, ["route"],
        "claims and writes that found another owner of the partition",
        "Some with each rebalance under load. Steady growth: two groups share one ledger.";
    GAP_OFFSETS: "footprint_gap_offsets_total", Counter, ["route", "reason"],
        "offsets that were given up and noted in footprint_gap",
        "Any: records are lost. The reason says whether retention deleted them, Kafka could not give them, or a person skipped them.";
    CLAIMS_PENDING: "footprint_claims_pending", Gauge, ["route", "partition"],
        "ranges that are claimed and that not every sink has stored",
        "At 64 the partition waits for the slower sink.";
    CLAIM_AGE: "footprint_claim_age_seconds", Gauge, ["route", "partition"],
        "age of the oldest pending claim, counted from its claim or, if an earlier owner made it, from the take-over",
        "Above some seconds: a sink does not answer.";
    FRONTIER: "footprint_frontier_offset", Gauge, ["route", "partition", "sink"],
        "the offset below which the sink has stored everything, as the ledger knows it",
        "It stands while there is lag: the sink does not store.";
    LOG_END: "footprint_log_end_offset", Gauge, ["route", "partition"],
        "the end of the partition's log, asked every five seconds",
        "Its rate is what producers send.";
    LAG: "footprint_lag_records", Gauge, ["route", "partition"],
        "records between the log's end and what every sink has stored",
        "It grows: the input is faster than the slower sink.";
    LAG_SECONDS: "footprint_lag_seconds", Gauge, ["route", "partition"],
        "age of the oldest record that is not stored in every sink, by Kafka's timestamp; 0 without lag. While such a record is not read yet, \
         the age counts from the moment when it was seen in the log",
        "The delay of the slower database. It grows by one a second: nothing is stored.";
    OPEN_TRANSACTION: "footprint_lag_open_transaction_records", Gauge, ["route", "partition"],
        "records behind an open transaction of a producer, which nobody may read yet",
        "For long: a producer hangs in a transaction. Lag does not count these records.";
    PROGRESS_AGE: "footprint_progress_age_seconds", Gauge, ["route", "partition"],
        "time since a frontier of the partition moved, while there is lag; 0 without lag",
        "Above a minute: the partition is stuck. /readyz says which component has failed.";
    RETENTION_LEFT: "footprint_retention_left_seconds", Gauge, ["route", "partition"],
        "estimated time until Kafka deletes the oldest record that is not stored in every sink; no series without lag or without a limit",
        "Shrinking below an hour: mend the sink, or raise the topic's retention.ms or retention.bytes now.";
    ROWS_WRITTEN: "footprint_sink_rows_total", Counter, ["route", "sink"],
        "rows stored, acknowledged by the sink",
        "The two sinks' rates are equal in the long run, but for refused rows.";
    BATCHES_WRITTEN: "footprint_sink_batches_total", Counter, ["route", "sink"],
        "batches stored, acknowledged by the sink",
        "Rows divided by batches: few rows are normal without a backlog.";
    BYTES_WRITTEN: "footprint_sink_bytes_total", Counter, ["route", "sink"],
        "bytes of the columns of the stored rows, as they are in memory",
        "Divided by the rows: the size of a row.";
    WRITE_SECONDS: "footprint_sink_write_seconds", Histogram(WRITE_BUCKETS), ["route", "sink"],
        "time of one write of a group of batches",
        "Slow and few rows: many small writes, or a busy server. Slow and many rows: the database is saturated.";
    WAY_SECONDS: "footprint_sink_delay_seconds", Histogram(WAY_BUCKETS), ["route", "sink"],
        "time from Kafka's timestamp of a batch's first record until the sink has stored the batch",
        "The delay that a dashboard shows. Producers' clocks are in it, unless the topic has LogAppendTime.";
    WAY_TO_BOTH_SECONDS: "footprint_delay_seconds", Histogram(WAY_BUCKETS), ["route"],
        "time from Kafka's timestamp of a batch's first record until every sink has stored the batch",
        "What exactly once in both costs in time: the slower sink.";
    RETRIES: "footprint_sink_retries_total", Counter, ["route", "sink"],
        "writes that failed and were tried again",
        "Any growth: the log has the reason, and /readyz if it lasts.";
    SINK_ERRORS: "footprint_sink_errors_total", Counter, ["route", "sink", "class"],
        "failed writes by class: retry (nothing landed), uncertain (it may have landed), unclear, stop (a person is needed)",
        "uncertain is normal when a server restarts. stop: act now.";
    DEAD_LETTERS: "footprint_dead_letters_total", Counter, ["route", "reason"],
        "records stored as dead letters",
        "A new reason, or a jump: a producer has changed. `footprint dead-letters` shows them.";
    READ_BACKS: "footprint_clickhouse_read_backs_total", Counter, ["route", "result"],
        "ranges read back from ClickHouse because an insert was uncertain: complete (every row was there), partial, none. After the \
         missing rows are inserted, the range is read back again",
        "Some after a crash. Steady growth: ClickHouse answers too late. partial: some parts of an insert landed, and the rest was added.";
    REPAIRED_ROWS: "footprint_clickhouse_repaired_rows_total", Counter, ["route"],
        "rows inserted because a read-back did not find them",
        "Normal after a crash. Each was missing, and is stored once now.";
    DOUBLED: "footprint_clickhouse_doubled_total", Counter, ["route"],
        "records found more than once in ClickHouse",
        "Any is a fault: run `footprint verify` and report it.";
    AUDIT_RECORDS: "footprint_audit_records_total", Counter, ["route", "sink"],
        "rows and dead letters that the audit has compared",
        "Its rate is the speed of the proof. 0 for long: audit.cpu_percent is 0, the route is behind, or the log says why.";
    AUDIT_FAULTS: "footprint_audit_faults_total", Counter, ["route", "sink", "kind"],
        "faults that the audit has found: a row lost, doubled or changed. Dead letters count for postgres",
        "Any is a fault of stored data: the log names the offset; run `footprint verify`. A fault that stays counts once.";
    AUDIT_FAULTY: "footprint_audit_faulty_ranges", Gauge, ["route", "partition"],
        "ranges in which the audit found a fault that is still there",
        "Back to 0 when the rows are put right.";
    AUDIT_PROOF_AGE: "footprint_audit_proof_age_seconds", Gauge, ["route", "partition"],
        "seconds since a range of the partition was last proven",
        "It grows while the route is behind, because the audit waits then.";
    AUDIT_PROVEN: "footprint_audit_proven_offset", Gauge, ["route", "partition"],
        "the offset below which everything is proven",
        "It follows footprint_frontier_offset. It stands before the first fault.";
    AUDIT_SECONDS: "footprint_audit_seconds_total", Counter, ["route"],
        "seconds that the audit has worked, waits for the servers included",
        "Its rate is at most 0.05. The processor time is bounded by audit.cpu_percent.";
    AUDIT_PASS_SECONDS: "footprint_audit_pass_seconds", Gauge, ["route"],
        "the estimated time until every stored range has been proven once more",
        "A row that somebody changes is found within twice this time.";
    CLICKHOUSE_PARTS: "footprint_clickhouse_active_parts", Gauge, ["route"],
        "active parts of the route's table, asked every 15 seconds",
        "It rises for hours: merges do not keep up with inserts. ClickHouse slows inserts down at 1000 parts of one month \
         (parts_to_delay_insert), and refuses them at 3000.";
    ALLOCATOR: "footprint_allocator_bytes", Gauge, ["kind"],
        "memory as jemalloc counts it: allocated by the program, resident, retained for reuse",
        "resident far above allocated for long: fragmentation.";
    BUILD: "footprint_build_info", Gauge, ["version", "client"],
        "1; the labels say which version runs",
        "Join it to other metrics to see which version they are of.";
    PROCESS_CPU: "process_cpu_seconds_total", Counter, [],
        "processor time of the process, user and system",
        "Its rate is the number of cores in use.";
    PROCESS_RESIDENT: "process_resident_memory_bytes", Gauge, [],
        "memory of the process that is in RAM",
        "Bounded by the byte budget and about 100 MiB. More: report it.";
    PROCESS_VIRTUAL: "process_virtual_memory_bytes", Gauge, [],
        "address space of the process",
        "Large and harmless: threads and the allocator reserve it.";
    PROCESS_VIRTUAL_MAX: "process_virtual_memory_max_bytes", Gauge, [],
        "the limit on the address space",
        "Rarely set.";
    PROCESS_FDS: "process_open_fds", Gauge, [],
        "open file descriptors",
        "Some for each broker, lane and page. Steady growth: report it.";
    PROCESS_FDS_MAX: "process_max_fds", Gauge, [],
        "the limit on file descriptors",
        "Compare with those in use.";
    PROCESS_THREADS: "process_threads", Gauge, [],
        "threads of the process",
        "Some for each core, route and broker. Steady growth: report it.";
    PROCESS_START: "process_start_time_seconds", Gauge, [],
        "when the process started, seconds since 1970",
        "A change: it was started again.";
}

/// docs/metrics.md.
pub fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\nMade from `crates/service/src/metrics/catalogue.rs`. /metrics gives them to Prometheus at `telemetry.listen`. Series of a \
         partition\ndisappear when the partition leaves the process. A counter begins at 0 with each start.\n",
    );
    for metric in ALL {
        let kind = match metric.kind {
            Counter => "counter".to_owned(),
            Gauge => "gauge".to_owned(),
            Histogram(bounds) => {
                let bounds: Vec<String> = bounds.iter().map(ToString::to_string).collect();
                format!("histogram: {}", bounds.join(", "))
            }
        };
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let labels = if labels.is_empty() { "no labels".to_owned() } else { labels };
        let _ = write!(
            page,
            "\n## {}\n\n{kind}; {labels}\n\nWhat it is: {}.\n\nHow to read it: {}\n",
            metric.name, metric.is, metric.read
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_says_area_and_unit_and_stands_once() {
        for (index, metric) in ALL.iter().enumerate() {
            let Metric { name, kind, is, read, .. } = metric;
            // the process's names are the same in every program
            let is_named = name.starts_with("footprint_") || name.starts_with("process_");
            assert!(is_named && !is.is_empty() && !read.is_empty(), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
            if let Histogram(bounds) = kind {
                let says_unit = ["_seconds", "_rows", "_bytes"].iter().any(|unit| name.ends_with(unit));
                assert!(says_unit && bounds.is_sorted(), "{name}");
            }
            assert!(ALL[..index].iter().all(|other| other.name != *name), "{name} twice");
        }
    }

    /// `FOOTPRINT_TEST_WRITE=1 cargo test -p footprint-service metrics_page` writes the page again.
    #[test]
    fn the_metrics_page_is_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        if std::env::var_os("FOOTPRINT_TEST_WRITE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            kept,
            page(),
            "docs/metrics.md is stale: run this test with FOOTPRINT_TEST_WRITE=1 and look at the difference"
        );
    }
}
