//! *Operations*: what is slow, what is stuck and what is at risk, from Prometheus. The panels follow the way of the data.

use crate::dashboard::Dashboard;
use crate::layout::{COLUMNS, Layout};
use crate::look::{CALM, Look, State, Step};
use crate::metrics::{quantiles, query, routes};

/// The states of a component, by the value that the panel's query gives each.
const STATES: &[State] =
    &[State("ok", "green", 0), State("paused", "blue", 1), State("degraded", "yellow", 2), State("failed", "red", 3)];

/// The dashboard.
pub(crate) fn dashboard() -> Dashboard {
    let mut layout = Layout::default();
    now(&mut layout);
    way(&mut layout);
    sinks(&mut layout);
    protocol(&mut layout);
    memory(&mut layout);
    proof(&mut layout);
    kafka(&mut layout);
    process(&mut layout);
    Dashboard {
        file: "footprint-operations".to_owned(),
        title: "Operations".to_owned(),
        description: "What is slow, what is stuck and what is at risk. Each panel links to the section of the runbook that helps.",
        time_from: "now-1h",
        refresh: "30s",
        variables: vec![routes()],
        panels: layout.panels,
    }
}

fn now(layout: &mut Layout) {
    layout.row("Now");
    layout.stat(
        "Processes",
        ("short", &[Step("red", None), Step("green", Some(1.0))]),
        vec![query(r#"sum(up{job="footprint"})"#, "answer"), query(r#"count(up{job="footprint"})"#, "known")],
        "Processes that answer Prometheus, and those that it knows. If one does not answer, the others take its partitions over.",
        Some("FootprintDown"),
    );
    layout.stat(
        "Partitions",
        ("short", &[CALM]),
        vec![
            query("sum(footprint_partitions_owned{ROUTES})", "owned"),
            query("sum(footprint_partitions_assigned{ROUTES})", "assigned"),
        ],
        "Partitions that the group has assigned, and those that a process owns. Only an owned partition is stored.",
        Some("FootprintPartitionNotOwned"),
    );
    layout.stat(
        "Lag",
        ("short", &[CALM]),
        vec![query("sum(footprint_lag_records{ROUTES})", "records")],
        "Records in Kafka that are not yet stored in every database.",
        None,
    );
    layout.stat(
        "Dead letters",
        ("short", &[CALM, Step("yellow", Some(0.5))]),
        vec![query("round(sum(increase(footprint_dead_letters_total{ROUTES}[$__range])))", "in the range")],
        "Records of the time range that could not become a row. They are kept with their reason.",
        Some("FootprintDeadLetters"),
    );
    layout.stat(
        "Oldest record",
        ("s", &[CALM, Step("yellow", Some(60.0)), Step("red", Some(300.0))]),
        vec![query("max(footprint_lag_seconds{ROUTES})", "age")],
        "Age of the oldest record that is not stored in every database. The dashboards show the past by this much.",
        Some("FootprintLagOld"),
    );
    layout.stat(
        "Faults of stored rows",
        ("short", &[CALM, Step("red", Some(1.0))]),
        vec![query("sum(footprint_audit_faulty_ranges{ROUTES}) or vector(0)", "ranges")],
        "Ranges in which the audit has found a row that is lost, doubled or changed, and that are not yet put right.",
        Some("FootprintAuditFault"),
    );
    layout.stat(
        "Parts in ClickHouse",
        ("short", &[CALM, Step("yellow", Some(300.0)), Step("red", Some(1000.0))]),
        vec![query("max by (route) (footprint_clickhouse_active_parts{ROUTES})", "{{route}}")],
        "Active parts of the table. At 1000 parts of one month ClickHouse slows inserts down.",
        Some("FootprintClickHousePartsRising"),
    );
    layout.stat(
        "Version",
        ("short", &[CALM]),
        vec![query("count by (version) (footprint_build_info)", "{{version}}")],
        "Processes of each version. Two versions are normal only during an upgrade.",
        None,
    );
    let of = |state: &str, weight: u32| {
        format!("{weight} * sum without (state) (footprint_component_health{{ROUTES,state=\"{state}\"}})")
    };
    let health =
        format!("max by (route, component) ({} + {} + {})", of("paused", 1), of("degraded", 2), of("failed", 3));
    layout.panel(
        COLUMNS,
        9,
        "Health of each component",
        Look::States { states: STATES },
        vec![query(&health, "{{route}} {{component}}")],
        "The worst that any process sees of a component. /readyz says why, since when, and what to do.",
        Some("FootprintComponentFailed"),
    );
}

fn way(layout: &mut Layout) {
    layout.row("From Kafka into the databases");
    layout.lines(
        "Records a second",
        ("cps", &[CALM]),
        vec![
            query("sum(rate(footprint_reader_records_total{ROUTES}[$__rate_interval]))", "read"),
            query("sum by (sink) (rate(footprint_sink_rows_total{ROUTES}[$__rate_interval]))", "stored in {{sink}}"),
        ],
        "Records read from Kafka, and rows stored in each database. In the long run the lines are equal, but for dead letters.",
        None,
    );
    layout.lines(
        "Bytes a second",
        ("Bps", &[CALM]),
        vec![
            query("sum(rate(footprint_reader_bytes_total{ROUTES}[$__rate_interval]))", "read"),
            query("sum by (sink) (rate(footprint_sink_bytes_total{ROUTES}[$__rate_interval]))", "stored in {{sink}}"),
        ],
        "Bytes of keys and payloads read from Kafka, and bytes of the columns stored in each database.",
        None,
    );
    layout.lines(
        "Lag in records",
        ("short", &[CALM]),
        vec![query("sum by (route, partition) (footprint_lag_records{ROUTES})", "{{route}} {{partition}}")],
        "Records of each partition that are not yet stored in every database. One partition alone: its lane, or its keys. All of them: the \
         slower database.",
        None,
    );
    layout.lines(
        "Age of the oldest record",
        ("s", &[CALM, Step("red", Some(300.0))]),
        vec![query("max by (route, partition) (footprint_lag_seconds{ROUTES})", "{{route}} {{partition}}")],
        "Age of each partition's oldest record that is not stored in every database. It grows by one a second: nothing is stored.",
        Some("FootprintLagOld"),
    );
    layout.lines(
        "Time without progress",
        ("s", &[CALM, Step("red", Some(120.0))]),
        vec![query("max by (route, partition) (footprint_progress_age_seconds{ROUTES})", "{{route}} {{partition}}")],
        "Time since something of the partition was stored, while there is lag. Above a minute: the partition is stuck.",
        Some("FootprintNoProgress"),
    );
    layout.lines(
        "Time until retention deletes",
        ("s", &[Step("red", None), Step("green", Some(3600.0))]),
        vec![query("min by (route, partition) (footprint_retention_left_seconds{ROUTES})", "{{route}} {{partition}}")],
        "Estimated time until Kafka deletes the oldest record that is not stored. No line: there is no lag, or no limit.",
        Some("FootprintRetentionAtRisk"),
    );
    layout.lines(
        "Records behind an open transaction",
        ("short", &[CALM]),
        vec![query(
            "max by (route, partition) (footprint_lag_open_transaction_records{ROUTES})",
            "{{route}} {{partition}}",
        )],
        "Records that nobody may read yet, because a producer has not ended its transaction. The lag does not count them.",
        Some("FootprintOpenTransaction"),
    );
    layout.lines(
        "Delay until stored in both",
        ("s", &[CALM]),
        quantiles("footprint_delay_seconds", "", ["half of all", "99 %"]),
        "Time from Kafka's timestamp until a record is stored in every database: what exactly once in both costs in time.",
        Some("FootprintLagOld"),
    );
    layout.lines(
        "Delay until stored",
        ("s", &[CALM]),
        quantiles("footprint_sink_delay_seconds", "sink", ["{{sink}}, half of all", "{{sink}}, 99 %"]),
        "Time from Kafka's timestamp until a record is stored in each database, for half and for 99 % of the batches. Producers' clocks are in \
         it, unless the topic has LogAppendTime.",
        None,
    );
}

fn sinks(layout: &mut Layout) {
    layout.row("Databases");
    layout.lines(
        "Why batches are closed",
        ("cps", &[CALM]),
        vec![query("sum by (reason) (rate(footprint_batch_cuts_total{ROUTES}[$__rate_interval])) > 0", "{{reason}}")],
        "Batches a second by what closed them. linger: little input. rows or bytes: a backlog, or much input.",
        None,
    );
    layout.lines(
        "Rows and dead letters of a batch",
        ("short", &[CALM]),
        quantiles("footprint_batch_rows", "", ["half of all", "99 %"]),
        "Records of a batch as it is cut, for half and for 99 % of the batches.",
        None,
    );
    layout.lines(
        "Write seconds",
        ("s", &[CALM]),
        quantiles("footprint_sink_write_seconds", "sink", ["{{sink}}, half of all", "{{sink}}, 99 %"]),
        "Time of one write. Slow and few rows: a busy server. Slow and many rows: the database is saturated.",
        Some("FootprintMemoryNearBudget"),
    );
    layout.lines(
        "Rows of a batch",
        ("short", &[CALM]),
        vec![query(
            "sum by (sink) (rate(footprint_sink_rows_total{ROUTES}[$__rate_interval])) \
             / sum by (sink) (rate(footprint_sink_batches_total{ROUTES}[$__rate_interval]))",
            "{{sink}}",
        )],
        "Rows stored with one batch. Few are normal without a backlog. During a backlog, batches grow until they are full.",
        None,
    );
    layout.lines(
        "Failed writes a second",
        ("cps", &[CALM]),
        vec![query(
            "sum by (sink, class) (rate(footprint_sink_errors_total{ROUTES}[$__rate_interval])) > 0",
            "{{sink}}: {{class}}",
        )],
        "Failed writes by class: retry (nothing landed), uncertain (it may have landed), unclear, stop (a person is needed). No line: none \
         has failed.",
        Some("FootprintComponentFailed"),
    );
    layout.lines(
        "Read-backs from ClickHouse a second",
        ("cps", &[CALM]),
        vec![
            query("sum by (result) (rate(footprint_clickhouse_read_backs_total{ROUTES}[$__rate_interval]))", "{{result}}"),
            query("sum(rate(footprint_clickhouse_doubled_total{ROUTES}[$__rate_interval]))", "doubled records found"),
        ],
        "Ranges that were read back because an insert was uncertain, by what was there: normal after a crash. Any doubled record is a fault.",
        Some("FootprintReadBackPartial"),
    );
    layout.lines(
        "Repaired rows a second",
        ("cps", &[CALM]),
        vec![query(
            "sum by (route) (rate(footprint_clickhouse_repaired_rows_total{ROUTES}[$__rate_interval]))",
            "{{route}}",
        )],
        "Rows that a read-back did not find in ClickHouse, and that were inserted then. Each is stored once.",
        Some("FootprintReadBackPartial"),
    );
    layout.lines(
        "Gaps",
        ("short", &[CALM]),
        vec![query(
            "sum by (route, reason) (increase(footprint_gap_offsets_total{ROUTES}[$__rate_interval])) > 0",
            "{{route}}: {{reason}}",
        )],
        "Offsets that were given up, by reason. They are in no database, and footprint_gap names them. No line: none.",
        Some("FootprintGap"),
    );
    layout.lines(
        "Dead letters a second",
        ("cps", &[CALM]),
        vec![query("sum by (reason) (rate(footprint_dead_letters_total{ROUTES}[$__rate_interval])) > 0", "{{reason}}")],
        "Records that could not become a row, by reason. A new reason, or a jump: a producer has changed.",
        Some("FootprintDeadLetters"),
    );
    layout.lines(
        "Unreadable records a second",
        ("cps", &[CALM]),
        vec![query("sum by (route) (rate(footprint_reader_unreadable_total{ROUTES}[$__rate_interval]))", "{{route}}")],
        "Errors that Kafka gave in place of records. Any: look at the log for the partition and the offset.",
        Some("FootprintUnreadable"),
    );
}

fn protocol(layout: &mut Layout) {
    layout.row("Group and ledger");
    layout.lines(
        "Partitions of each process",
        ("short", &[CALM]),
        vec![
            query("sum by (instance) (footprint_partitions_owned{ROUTES})", "{{instance}} owned"),
            query("sum by (instance) (footprint_partitions_assigned{ROUTES})", "{{instance}} assigned"),
        ],
        "More assigned than owned for long: a take-over does not succeed.",
        Some("FootprintPartitionNotOwned"),
    );
    layout.lines(
        "Take-overs and fenced writes a second",
        ("cps", &[CALM]),
        vec![
            query("sum(rate(footprint_ledger_takeovers_total{ROUTES}[$__rate_interval]))", "partitions taken over"),
            query("sum(rate(footprint_ledger_fenced_total{ROUTES}[$__rate_interval]))", "fenced claims and writes"),
        ],
        "Some with each rebalance. Steady growth of fenced writes: two groups share one ledger.",
        Some("FootprintFenced"),
    );
    layout.lines(
        "Rebalances",
        ("short", &[CALM]),
        vec![query("sum by (kind) (increase(footprint_group_rebalances_total{ROUTES}[$__rate_interval]))", "{{kind}}")],
        "How often the group gave partitions to a process or took them. Steady growth: members come and go.",
        Some("FootprintFenced"),
    );
    layout.lines(
        "Commits a second",
        ("cps", &[CALM]),
        vec![
            query("sum(rate(footprint_commits_total{ROUTES}[$__rate_interval]))", "accepted"),
            query("sum(rate(footprint_commit_failures_total{ROUTES}[$__rate_interval]))", "failed"),
        ],
        "Commits of offsets to Kafka. Failures lose nothing, because the ledger decides where reading goes on.",
        Some("FootprintCommitsRefused"),
    );
    layout.lines(
        "Age of the oldest claim",
        ("s", &[CALM]),
        vec![query("max by (route, partition) (footprint_claim_age_seconds{ROUTES})", "{{route}} {{partition}}")],
        "Age of each partition's oldest claim that is not stored everywhere. Above some seconds: a database does not answer.",
        Some("FootprintNoProgress"),
    );
    layout.lines(
        "Time of a commit",
        ("s", &[CALM]),
        quantiles("footprint_commit_seconds", "", ["half of all", "99 %"]),
        "Time of one commit to Kafka. Slow: the group's coordinator is busy, or far away.",
        None,
    );
    layout.lines(
        "Claims pending",
        ("short", &[CALM, Step("yellow", Some(64.0))]),
        vec![query("max by (route, partition) (footprint_claims_pending{ROUTES})", "{{route}} {{partition}}")],
        "Ranges of each partition that are claimed and not yet stored everywhere. At 64 the partition waits for the slower database.",
        None,
    );
    layout.lines(
        "Time of a claim statement",
        ("s", &[CALM]),
        quantiles("footprint_ledger_claim_seconds", "", ["half of all", "99 %"]),
        "Time of one claim in the ledger. Slow: PostgreSQL is busy, or far away.",
        None,
    );
}

fn memory(layout: &mut Layout) {
    layout.row("Memory");
    layout.lines(
        "Byte budget",
        ("bytes", &[CALM]),
        vec![
            query("sum by (instance) (footprint_budget_taken_bytes)", "{{instance}} in use"),
            query("max(footprint_budget_max_bytes)", "budget"),
        ],
        "Bytes of everything under way. Near the budget, reading waits: the databases are slower than the input.",
        Some("FootprintMemoryNearBudget"),
    );
    layout.lines(
        "Byte budget by holder",
        ("bytes", &[CALM]),
        vec![query("sum by (holder) (footprint_budget_held_bytes)", "{{holder}}")],
        "Who holds the bytes: reader (not decoded), open (decoded, not cut), batches (cut, not stored). Most in batches: a database is slow.",
        Some("FootprintMemoryNearBudget"),
    );
    layout.lines(
        "Share of time that a stage is blocked",
        ("percentunit", &[CALM]),
        vec![query("sum by (stage) (rate(footprint_blocked_seconds_sum{ROUTES}[$__rate_interval])) > 0", "{{stage}}")],
        "The stage behind the last blocked one is the slow one. Above 100 % with several processes or routes.",
        Some("FootprintMemoryNearBudget"),
    );
    layout.lines(
        "Reading waits",
        ("cps", &[CALM]),
        vec![query("sum by (route) (rate(footprint_reader_pauses_total{ROUTES}[$__rate_interval]))", "{{route}}")],
        "How often a second reading begins to wait because the byte budget is spent. Many: the budget is small for these records.",
        Some("FootprintMemoryNearBudget"),
    );
}

fn proof(layout: &mut Layout) {
    layout.row("Proof");
    layout.lines(
        "Records proven a second",
        ("cps", &[CALM]),
        vec![query("sum by (sink) (rate(footprint_audit_records_total{ROUTES}[$__rate_interval]))", "{{sink}}")],
        "Rows and dead letters that the audit has compared with Kafka or with the other database.",
        Some("FootprintAuditStale"),
    );
    layout.lines(
        "Age of the last proof",
        ("s", &[CALM, Step("red", Some(86_400.0))]),
        vec![query("max by (route, partition) (footprint_audit_proof_age_seconds{ROUTES})", "{{route}} {{partition}}")],
        "Time since a range of the partition was last proven. It grows while there is a lag, because the audit waits then.",
        Some("FootprintAuditStale"),
    );
}

fn kafka(layout: &mut Layout) {
    layout.row("Brokers, as librdkafka sees them");
    layout.lines(
        "Round trip",
        ("s", &[CALM]),
        vec![query("max by (broker) (footprint_kafka_round_trip_seconds{ROUTES})", "{{broker}}")],
        "Mean time of a request. Up to 0.1 s is normal without input, since a fetch waits for records. Compare the brokers.",
        None,
    );
    layout.lines(
        "Throttled",
        ("s", &[CALM]),
        vec![query("max by (broker) (footprint_kafka_throttle_seconds{ROUTES})", "{{broker}}")],
        "Time that the broker makes the client wait. Above 0: a quota of the cluster limits footprint.",
        None,
    );
    layout.lines(
        "Transport errors a second",
        ("cps", &[CALM]),
        vec![query(
            "sum by (broker) (rate(footprint_kafka_transport_errors_total{ROUTES}[$__rate_interval]))",
            "{{broker}}",
        )],
        "Errors and time-outs of the connection to the broker. Steady growth: the network, or a broker that restarts.",
        Some("FootprintComponentFailed"),
    );
}

fn process(layout: &mut Layout) {
    layout.row("Process");
    layout.lines(
        "Processor",
        ("short", &[CALM]),
        vec![query(r#"rate(process_cpu_seconds_total{job="footprint"}[$__rate_interval])"#, "{{instance}}")],
        "Cores that each process uses, user and system time together.",
        None,
    );
    layout.lines(
        "Memory",
        ("bytes", &[CALM]),
        vec![
            query(r#"process_resident_memory_bytes{job="footprint"}"#, "{{instance}} resident"),
            query("sum by (instance) (footprint_allocator_bytes{kind=\"allocated\"})", "{{instance}} allocated"),
        ],
        "Memory of each process: in RAM, and as the program asked for it. Bounded by the byte budget and about 100 MiB.",
        Some("FootprintMemoryNearBudget"),
    );
    layout.lines(
        "Open files and threads",
        ("short", &[CALM]),
        vec![
            query(r#"process_open_fds{job="footprint"}"#, "{{instance}} files"),
            query(r#"process_threads{job="footprint"}"#, "{{instance}} threads"),
        ],
        "Some for each core, route and broker. Steady growth: report it.",
        None,
    );
}
