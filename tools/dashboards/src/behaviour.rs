//! The twins *Behaviour on PostgreSQL* and *Behaviour on ClickHouse*: the same panels, each with its own SQL.

use anyhow::Result;

use crate::dashboard::{Dashboard, link_prefix, time_zone};
use crate::database::Database;
use crate::look::{CALM, Column, Look};
use crate::panel::{Asks, Panel, Place};

/// The twin of one database.
pub(crate) fn dashboard(database: Database) -> Result<Dashboard> {
    let file = format!("footprint-behaviour-{}", database.key());
    let panel = |question, title: &str, place, look, description| Panel {
        title: title.to_owned(),
        description,
        place,
        look,
        asks: Asks::Question(question, vec![database]),
        runbook: None,
    };
    let at = |x, y, width, height| Place { x, y, width, height };
    let panels = vec![
        panel(
            "totals",
            "Totals",
            at(0, 0, 6, 8),
            Look::Stat { unit: "short", steps: vec![CALM] },
            "Views in the time range, and the number of distinct links that they went to. Both counts are exact.",
        ),
        panel(
            "views_over_time",
            "Views and distinct links",
            at(6, 0, 18, 8),
            Look::BarsAndLine { unit: "short", line: "Distinct links" },
            "Views in each interval, and distinct links as a dashed line. An interval without views has no bar. The first and the last interval are \
             cut by the time range.",
        ),
        panel(
            "views_a_minute",
            "Views a minute, and the same time last week",
            at(0, 8, 24, 8),
            Look::BarsAndLine { unit: "short", line: "A week earlier" },
            "The rate of each interval. The dashed line is the rate 168 hours earlier. The first and the last interval are cut by the \
             time range, so their rates are too low.",
        ),
        panel(
            "top_pages",
            "Top pages",
            at(0, 16, 12, 10),
            Look::Table {
                columns: vec![
                    Column::Filter("Page", file.clone()),
                    Column::Bar("Views", "short"),
                    Column::Unit("Share", "percentunit"),
                ],
            },
            "The 20 links with the most views, and their share of all views. Choose a link to count only links that begin with it.",
        ),
        panel(
            "methods",
            "Methods",
            at(12, 16, 12, 10),
            Look::Ranking { name: "Method", unit: "short" },
            "Views by method. Many methods other than GET mean that forms and scripts are counted too.",
        ),
        panel(
            "growing_pages",
            "Growing pages",
            at(0, 26, 12, 10),
            Look::Table { columns: changes(&file) },
            "The 15 links that gained the most views, compared with the period of the same length just before the time range.",
        ),
        panel(
            "shrinking_pages",
            "Shrinking pages",
            at(12, 26, 12, 10),
            Look::Table { columns: changes(&file) },
            "The 15 links that lost the most views, compared with the period of the same length just before the time range.",
        ),
        panel(
            "hour_by_weekday",
            "Hours and weekdays",
            at(0, 36, 24, 9),
            Look::Map { name: "Weekday" },
            "Views by hour and weekday in the chosen time zone. Choose a range of whole weeks: otherwise some weekdays are counted more \
             often than others.",
        ),
        panel(
            "latest_events",
            "Latest events",
            at(0, 45, 24, 12),
            Look::Table { columns: vec![Column::Time("Time"), Column::Time("Received by Kafka")] },
            "The 50 latest events of the time range. Partition and offset name the Kafka record. They are empty for rows that the old \
             consumer stored.",
        ),
    ];
    Ok(Dashboard {
        file,
        title: format!("Behaviour on {}", database.name()),
        description: "What visitors do on the site, from one of the two databases. The other one has a twin with the same panels.",
        time_from: "now-24h",
        refresh: "1m",
        variables: vec![time_zone(), link_prefix()],
        panels,
    })
}

fn changes(uid: &str) -> Vec<Column> {
    vec![
        Column::Filter("Page", uid.to_owned()),
        Column::Unit("Before", "short"),
        Column::Unit("Now", "short"),
        Column::Signed("Change"),
    ]
}
