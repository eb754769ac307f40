//! *Both*: the figures of the two databases side by side.

use anyhow::Result;

use crate::dashboard::{Dashboard, link_prefix};
use crate::database::Database::{ClickHouse, PostgreSql};
use crate::look::{CALM, Column, Look, Step};
use crate::metrics::query;
use crate::panel::{Asks, Panel, Place};

/// The dashboard.
pub(crate) fn dashboard() -> Result<Dashboard> {
    let at = |x, y, width, height| Place { x, y, width, height };
    let mut panels = Vec::new();
    for (database, x) in [(PostgreSql, 0), (ClickHouse, 12)] {
        let panel = |question, title: &str, place, look, description| Panel {
            title: format!("{title} in {}", database.name()),
            description,
            place,
            look,
            asks: Asks::Question(question, vec![database]),
            runbook: None,
        };
        panels.push(panel(
            "totals",
            "Totals",
            at(x, 0, 7, 5),
            Look::Stat { unit: "short", steps: vec![CALM] },
            "Views and distinct links in the time range. The other database must show the same figures; while events arrive, one may be a \
             few seconds ahead.",
        ));
        panels.push(panel(
            "newest_event",
            "Age of the newest event",
            at(x + 7, 0, 5, 5),
            Look::Stat { unit: "s", steps: vec![CALM, Step("yellow", Some(60.0)), Step("red", Some(600.0))] },
            "Time from Kafka's receipt of the newest stored event to the end of the time range. Red in one database alone: that database \
             is behind. Red in both: no events arrive, or footprint does not run.",
        ));
        let columns = match database {
            PostgreSql => vec![
                Column::Unit("Rows", "short"),
                Column::Unit("Data", "bytes"),
                Column::Unit("Indexes", "bytes"),
                Column::Unit("Total", "bytes"),
            ],
            ClickHouse => vec![
                Column::Unit("Rows", "short"),
                Column::Unit("Uncompressed", "bytes"),
                Column::Unit("Total", "bytes"),
            ],
        };
        panels.push(panel(
            "storage",
            "Storage",
            at(x, 5, 8, 4),
            Look::Table { columns },
            "Disk that the table needs, with its indexes. PostgreSQL's row count is the estimate of the last vacuum or analyze.",
        ));
        panels.push(panel(
            "query_time",
            "Query time",
            at(x + 8, 5, 4, 4),
            Look::Stat { unit: "s", steps: vec![CALM] },
            "Time that the database itself needs to count the views and the distinct links of the time range. The way to Grafana is not in it.",
        ));
    }
    let together = |question, title: &str, place, look, description| Panel {
        title: title.to_owned(),
        description,
        place,
        look,
        asks: Asks::Question(question, vec![PostgreSql, ClickHouse]),
        runbook: None,
    };
    panels.push(together(
        "views_in_both",
        "Views",
        at(0, 9, 24, 9),
        Look::Lines { unit: "short", steps: vec![CALM] },
        "Views in each interval by the events' own time, from both databases. The lines must cover each other.",
    ));
    panels.push(together(
        "arrivals_in_both",
        "Stored events a second",
        at(0, 18, 24, 9),
        Look::Lines { unit: "short", steps: vec![CALM] },
        "Stored events a second by the time at which Kafka received them, from both databases. Where one line is lower, that database \
         does not hold these events yet.",
    ));
    panels.extend(from_prometheus());
    Ok(Dashboard {
        file: "footprint-both".to_owned(),
        title: "Both databases".to_owned(),
        description: "The same figures from PostgreSQL and from ClickHouse, side by side, and what they cost.",
        time_from: "now-24h",
        refresh: "1m",
        variables: vec![link_prefix()],
        panels,
    })
}

/// How far each database is, as footprint itself counts. All routes together.
fn from_prometheus() -> Vec<Panel> {
    let panel = |title: &str, x, look, (expr, legend), description, runbook| Panel {
        title: title.to_owned(),
        description,
        place: Place { x, y: 27, width: 8, height: 8 },
        look,
        asks: Asks::Metrics(vec![query(expr, legend)]),
        runbook,
    };
    vec![
        panel(
            "Insert rate",
            0,
            Look::Lines { unit: "cps", steps: vec![CALM] },
            ("sum by (sink) (rate(footprint_sink_rows_total[$__rate_interval]))", "{{sink}}"),
            "Rows that footprint stores in each database, a second. During a backlog, the slower database decides for both.",
            None,
        ),
        panel(
            "Lag of each database",
            8,
            Look::Lines { unit: "short", steps: vec![CALM] },
            (
                "clamp_min(-1 * (sum by (sink) (footprint_frontier_offset) - on () group_left sum(footprint_log_end_offset)), 0)",
                "{{sink}}",
            ),
            "Records in Kafka that the database does not hold yet. One line above the other: that database is slower, or away.",
            Some("FootprintComponentFailed"),
        ),
        panel(
            "Last proof",
            16,
            Look::Stat { unit: "s", steps: vec![CALM, Step("red", Some(86_400.0))] },
            ("max(footprint_audit_proof_age_seconds)", "oldest"),
            "Time since the audit last proved a range, of the partition that was proven longest ago: each row once in each database, with \
             Kafka's values.",
            Some("FootprintAuditStale"),
        ),
    ]
}
