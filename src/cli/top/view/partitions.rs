//! The partitions of a route as a table. Pure.

use ratatui::text::Line;

use super::lines::{Column, labelled, plain, table};
use crate::cli::top::amounts::{count, or_dash, rate, time};
use crate::cli::top::figures::{Partition, Route};

/// All of them, by number or the largest lag first.
pub(super) fn partitions(route: &Route, is_by_lag: bool, width: usize) -> Vec<Line<'static>> {
    let mut sorted: Vec<&Partition> = route.partitions.iter().collect();
    if is_by_lag {
        sorted.sort_by_key(|partition| std::cmp::Reverse(partition.lag_records));
    }
    let assigned = or_dash(route.partitions_assigned, count);
    let mut pieces = vec![plain(format!("{} owned of {assigned} assigned", count(route.partitions_owned)))];
    let furthest = sorted.iter().filter(|partition| partition.lag_records > Some(0));
    if let Some(furthest) = furthest.max_by_key(|partition| partition.lag_records) {
        pieces.push(plain(format!("most lag: {}", furthest.partition)));
    }
    pieces.push(plain(if is_by_lag { "sorted by lag" } else { "sorted by number" }));
    let mut lines = labelled("Partitions", pieces, width);
    if !sorted.is_empty() {
        lines.extend(table(columns(&sorted), width));
    }
    lines
}

fn columns(sorted: &[&Partition]) -> Vec<Column> {
    let column = |head, rank, cell: &dyn Fn(&Partition) -> String| Column {
        head,
        rank,
        cells: sorted.iter().map(|partition| cell(partition)).collect(),
    };
    // offsets have no separators, so that they can be copied into a command
    let offset = |offset: Option<i64>| or_dash(offset, |offset| offset.to_string());
    vec![
        column("partition", 0, &|partition| partition.partition.to_string()),
        column("lag", 0, &|partition| or_dash(partition.lag_records.map(i64::unsigned_abs), count)),
        column("oldest", 1, &|partition| or_dash(partition.lag_seconds, time)),
        column("postgres", 2, &|partition| offset(partition.postgres_next)),
        column("clickhouse", 3, &|partition| offset(partition.clickhouse_next)),
        column("log end", 4, &|partition| offset(partition.log_end)),
        column("stored/s", 5, &|partition| or_dash(partition.stored_per_second, rate)),
        column("claims", 6, &|partition| or_dash(partition.claims_pending, count)),
        column("oldest claim", 7, &|partition| or_dash(partition.claim_age_seconds, time)),
        column("last proof", 8, &|partition| or_dash(partition.proof_age_seconds, time)),
    ]
}
