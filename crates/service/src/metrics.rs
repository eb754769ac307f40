//! Every metric's name, kind and meaning, and the functions that count. They are called once a batch, never once an event.

use std::sync::Arc;
use std::time::Duration;

use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::{Offset, Partition};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::health::{Component, State};

const RECORDS_READ: &str = "footprint_reader_records_total";
const BYTES_READ: &str = "footprint_reader_bytes_total";
const UNREADABLE: &str = "footprint_reader_unreadable_total";
const READER_PAUSED: &str = "footprint_reader_paused";
const READER_PAUSES: &str = "footprint_reader_pauses_total";
const BUDGET_TAKEN: &str = "footprint_budget_taken_bytes";
const BUDGET_MAX: &str = "footprint_budget_max_bytes";
const DEAD_LETTERS: &str = "footprint_dead_letters_total";
const ROWS_WRITTEN: &str = "footprint_sink_rows_total";
const BATCHES_WRITTEN: &str = "footprint_sink_batches_total";
const WRITE_SECONDS: &str = "footprint_sink_write_seconds";
const RETRIES: &str = "footprint_sink_retries_total";
const FENCED: &str = "footprint_ledger_fenced_total";
const CLAIM_SECONDS: &str = "footprint_ledger_claim_seconds";
const TAKEOVERS: &str = "footprint_ledger_takeovers_total";
const REPAIRS: &str = "footprint_clickhouse_repairs_total";
const DOUBLED: &str = "footprint_clickhouse_doubled_total";
const FRONTIER: &str = "footprint_frontier_offset";
const LAG: &str = "footprint_lag_records";
const OWNED: &str = "footprint_partitions_owned";
const HEALTH: &str = "footprint_component_health";

/// Describes each name to the recorder.
pub fn describe() {
    describe_counter!(RECORDS_READ, "records read from Kafka");
    describe_counter!(BYTES_READ, "payload bytes read from Kafka");
    describe_counter!(UNREADABLE, "errors that Kafka's client gave in place of records");
    describe_gauge!(READER_PAUSED, "1 while reading is paused because the byte budget is spent");
    describe_counter!(READER_PAUSES, "times reading was paused");
    describe_gauge!(BUDGET_TAKEN, "bytes of the budget in use");
    describe_gauge!(BUDGET_MAX, "bytes of the budget");
    describe_counter!(DEAD_LETTERS, "records stored as dead letters, by reason");
    describe_counter!(ROWS_WRITTEN, "rows acknowledged by a sink");
    describe_counter!(BATCHES_WRITTEN, "batches acknowledged by a sink");
    describe_histogram!(WRITE_SECONDS, "time of one write of a group of batches");
    describe_counter!(RETRIES, "writes that a sink refused or did not answer, tried again");
    describe_counter!(FENCED, "claims and writes that found a new owner of the partition");
    describe_histogram!(CLAIM_SECONDS, "time of one claim statement");
    describe_counter!(TAKEOVERS, "partitions taken over");
    describe_counter!(REPAIRS, "ranges read back from ClickHouse and completed");
    describe_counter!(DOUBLED, "identities found more than once in ClickHouse: a fault");
    describe_gauge!(FRONTIER, "next offset of a sink, as the ledger last returned it");
    describe_gauge!(LAG, "records between a partition's end and its lowest frontier");
    describe_gauge!(OWNED, "partitions owned");
    describe_gauge!(HEALTH, "1 for the state that a component of a route is in, 0 for every other state");
}

/// Kafka's client gave an error in place of records.
pub fn unreadable() {
    counter!(UNREADABLE).increment(1);
}

/// A chunk was read.
pub fn read(records: usize, bytes: usize) {
    counter!(RECORDS_READ).increment(records as u64);
    counter!(BYTES_READ).increment(bytes as u64);
}

/// Reading was paused or resumed.
pub fn paused(paused: bool) {
    gauge!(READER_PAUSED).set(f64::from(u8::from(paused)));
    if paused {
        counter!(READER_PAUSES).increment(1);
    }
}

/// The present use of the budget.
pub fn budget(taken: usize, max: usize) {
    gauge!(BUDGET_TAKEN).set(taken as f64);
    gauge!(BUDGET_MAX).set(max as f64);
}

/// The outcome of one group of batches.
#[derive(Debug, Default)]
pub struct Written {
    /// Batches stored.
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
    /// Batches that the fence refused.
    pub fenced: u64,
    /// The code of the reason of each dead letter stored.
    pub dead_letters: Vec<&'static str>,
}

/// A group of batches has an answer.
pub fn written(sink: SinkName, written: &Written, elapsed: Duration) {
    let label = sink.as_str();
    for reason in &written.dead_letters {
        counter!(DEAD_LETTERS, "reason" => *reason).increment(1);
    }
    counter!(FENCED).increment(written.fenced);
    counter!(BATCHES_WRITTEN, "sink" => label).increment(written.batches);
    counter!(ROWS_WRITTEN, "sink" => label).increment(written.rows);
    histogram!(WRITE_SECONDS, "sink" => label).record(elapsed.as_secs_f64());
}

/// Rows that one database refused became dead letters.
pub fn refused(sink: SinkName, rows: usize) {
    let reason = match sink {
        SinkName::Postgres => "postgres_refused",
        SinkName::ClickHouse => "clickhouse_refused",
    };
    counter!(DEAD_LETTERS, "reason" => reason).increment(rows as u64);
}

/// A write is tried again.
pub fn retried(sink: SinkName) {
    counter!(RETRIES, "sink" => sink.as_str()).increment(1);
}

/// A claim or a heartbeat found the partition no longer ours.
pub fn fenced(count: usize) {
    counter!(FENCED).increment(count as u64);
}

/// A claim has an answer.
pub fn claimed(elapsed: Duration) {
    histogram!(CLAIM_SECONDS).record(elapsed.as_secs_f64());
}

/// A partition was taken over.
pub fn taken_over() {
    counter!(TAKEOVERS).increment(1);
}

/// A range is read back.
pub fn repaired() {
    counter!(REPAIRS).increment(1);
}

/// Identities were found more than once.
pub fn doubled(count: u64) {
    counter!(DOUBLED).increment(count);
}

/// A partition's frontier in one sink.
pub fn frontier(route: &Arc<str>, partition: Partition, sink: SinkName, next: Offset) {
    let partition = partition.to_string();
    gauge!(FRONTIER, "route" => Arc::clone(route), "partition" => partition, "sink" => sink.as_str()).set(next as f64);
}

/// A partition's lag.
pub fn lag(route: &Arc<str>, partition: Partition, records: u64) {
    gauge!(LAG, "route" => Arc::clone(route), "partition" => partition.to_string()).set(records as f64);
}

/// Partitions owned now.
pub fn owned(route: &Arc<str>, count: usize) {
    gauge!(OWNED, "route" => Arc::clone(route)).set(count as f64);
}

/// A component's state: one for the state that it is in, and zero for the others.
pub fn health(route: &str, component: Component, state: State) {
    for other in State::ALL {
        let labels = [
            ("route", route.to_owned()),
            ("component", component.as_str().to_owned()),
            ("state", other.as_str().to_owned()),
        ];
        gauge!(HEALTH, &labels).set(f64::from(u8::from(other == state)));
    }
}
