//! *Operations*: what is slow, what is stuck and what is at risk, from Prometheus. The panels follow the way of the data.

use crate::dashboard::Dashboard;
use crate::look::{CALM, Look, State, Step};
use crate::metrics::{Query, quantiles, query, routes};
use crate::panel::{Asks, Panel, Place};

/// Grafana's grid.
const COLUMNS: u32 = 24;
/// The height of a panel with lines.
const HEIGHT: u32 = 8;

/// The states of a component, by the value that the panel's query gives each.
const STATES: &[State] =
    &[State("ok", "green", 0), State("paused", "blue", 1), State("degraded", "yellow", 2), State("failed", "red", 3)];

/// Panels from left to right, row by row.
#[derive(Default)]
struct Layout {
    panels: Vec<Panel>,
    x: u32,
    y: u32,
    height: u32,
}

impl Layout {
    /// Begins a group of panels.
    fn row(&mut self, title: &str) {
        self.panel(COLUMNS, 1, title, Look::Row, vec![], "", None);
    }

    #[allow(clippy::too_many_arguments, reason = "one line of a table")]
    fn panel(
        &mut self,
        width: u32,
        height: u32,
        title: &str,
        look: Look,
        queries: Vec<Query>,
        description: &'static str,
        runbook: Option<&'static str>,
    ) {
        if self.x + width > COLUMNS {
            (self.x, self.y, self.height) = (0, self.y + self.height, 0);
        }
        let place = Place { x: self.x, y: self.y, width, height };
        self.x += width;
        self.height = self.height.max(height);
        let asks = if queries.is_empty() { Asks::Nothing } else { Asks::Metrics(queries) };
        self.panels.push(Panel { title: title.to_owned(), description, place, look, asks, runbook });
    }

    /// A number for each query.
    fn stat(
        &mut self,
        title: &str,
        (unit, steps): (&'static str, &[Step]),
        queries: Vec<Query>,
        description: &'static str,
        runbook: Option<&'static str>,
    ) {
        self.panel(6, 4, title, Look::Stat { unit, steps: steps.to_vec() }, queries, description, runbook);
    }

    /// Lines, two panels side by side.
    fn lines(
        &mut self,
        title: &str,
        (unit, steps): (&'static str, &[Step]),
        queries: Vec<Query>,
        description: &'static str,
        runbook: Option<&'static str>,
    ) {
        self.panel(12, HEIGHT, title, Look::Lines { unit, steps: steps.to_vec() }, queries, description, runbook);
    }
}

/// The dashboard.
pub(crate) fn dashboard() -> Dashboard {
    let mut layout = Layout::default();
    now(&mut layout);
    way(&mut layout);
    sinks(&mut layout);
    protocol(&mut layout);
    memory(&mut layout);
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
        vec![query("sum(rate(footprint_reader_bytes_total{ROUTES}[$__rate_interval]))", "read")],
        "Bytes of keys and payloads read from Kafka.",
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
            query("sum(rate(footprint_clickhouse_repairs_total{ROUTES}[$__rate_interval]))", "ranges read back"),
            query("sum(rate(footprint_clickhouse_doubled_total{ROUTES}[$__rate_interval]))", "doubled records found"),
        ],
        "Ranges that were read back because an insert was uncertain: normal after a crash. Any doubled record is a fault.",
        Some("FootprintDoubled"),
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
        "Reading waits",
        ("cps", &[CALM]),
        vec![query("sum by (route) (rate(footprint_reader_pauses_total{ROUTES}[$__rate_interval]))", "{{route}}")],
        "How often a second reading begins to wait because the byte budget is spent. Many: the budget is small for these records.",
        Some("FootprintMemoryNearBudget"),
    );
}
