//! The sections of a route's view but its partitions. Each takes figures and the width, and gives lines. Pure.

use std::collections::BTreeMap;

use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};

use super::lines::{Column, labelled, paragraph, piece, plain, table};
use crate::cli::top::amounts::{UNKNOWN, between, bytes, clock, count, or_dash, rate, time};
use crate::cli::top::figures::{Audit, Brokers, Budget, Component, Ledger, Process, Route};
use crate::cli::top::troubles::Ended;

/// Troubles that have ended, shown of a route at most.
const ENDED_MAX: usize = 5;
/// Characters of the budget's bar.
const BAR: usize = 16;

/// A state in words, so that it is plain without colours, too.
pub(super) fn state(state: &str) -> Span<'static> {
    let style = match state {
        "ok" | "ready" => Style::new().fg(Color::Green),
        "paused" => Style::new().fg(Color::Cyan),
        "degraded" | "draining" => Style::new().fg(Color::Yellow).bold(),
        _ => Style::new().fg(Color::Red).bold(),
    };
    piece(state.to_uppercase(), style)
}

/// `a 1`, `b 2`: what was counted at least once.
fn each(counts: &BTreeMap<String, u64>) -> Vec<Span<'static>> {
    let counted = counts.iter().filter(|(_, number)| **number > 0);
    counted.map(|(name, number)| plain(format!("{name} {}", count(*number)))).collect()
}

/// What must be zero is bold and red when it is not.
fn fault(text: String, is_fault: bool) -> Span<'static> {
    if is_fault { piece(text, Style::new().fg(Color::Red).bold()) } else { plain(text) }
}

/// The components: those that do not work first, with since, why and what to do.
pub(super) fn health(route: &Route, at: Option<&str>, width: usize) -> Vec<Line<'static>> {
    let (good, bad): (Vec<&Component>, Vec<&Component>) =
        route.components.iter().partition(|component| component.state == "ok");
    let mut lines = Vec::new();
    for component in bad {
        let label = if lines.is_empty() { "Health" } else { "" };
        let since = component.since.as_deref();
        let mut pieces = vec![state(&component.state), piece(&component.component, Style::new().bold())];
        pieces.extend(since.map(|since| plain(format!("since {}", clock(since, at)))));
        pieces.extend(since.zip(at).and_then(|(since, at)| between(since, at)).map(|age| plain(format!("for {age}"))));
        lines.extend(labelled(label, pieces, width));
        if !component.why.is_empty() {
            lines.extend(paragraph(&component.why, Style::new(), width));
        }
        if !component.what_to_do.is_empty() {
            lines.extend(paragraph(&format!("To do: {}", component.what_to_do), Style::new().bold(), width));
        }
    }
    if !good.is_empty() {
        let label = if lines.is_empty() { "Health" } else { "" };
        let mut pieces = vec![state("ok")];
        pieces.extend(good.into_iter().map(|component| plain(&component.component)));
        lines.extend(labelled(label, pieces, width));
    }
    lines
}

/// What comes from Kafka, and what is not stored yet.
pub(super) fn flow(route: &Route, width: usize) -> Vec<Line<'static>> {
    let (read, lag) = (&route.read, &route.lag);
    let mut pieces = vec![
        plain(format!("{} records/s", or_dash(read.records_per_second, rate))),
        plain(format!("{}/s", or_dash(read.bytes_per_second, bytes))),
        plain(format!("{} in all", or_dash(read.records, count))),
        plain(or_dash(read.bytes.map(|size| size as f64), bytes)),
    ];
    if read.waits == Some(true) {
        pieces.push(piece("WAITS for the budget", Style::new().fg(Color::Cyan)));
    }
    let mut lines = labelled("Read", pieces, width);
    let mut pieces = vec![
        plain(format!("{} records", or_dash(lag.records.map(i64::unsigned_abs), count))),
        plain(format!("oldest {}", or_dash(lag.seconds, time))),
        plain(format!("stored {} ago", or_dash(read.seconds_since_stored, time))),
    ];
    pieces.extend(lag.delay_seconds.map(|delay| plain(format!("delay {}", time(delay)))));
    if let Some(age) = lag.progress_age_seconds.filter(|age| *age > 0.0) {
        pieces.push(plain(format!("no progress for {}", time(age))));
    }
    if let Some(records) = lag.open_transaction_records.filter(|records| *records > 0) {
        pieces.push(plain(format!("{} behind open transactions", count(records))));
    }
    if let Some(left) = lag.retention_left_seconds {
        pieces.push(fault(format!("retention deletes in {}", time(left)), left < 3_600.0));
    }
    lines.extend(labelled("Lag", pieces, width));
    lines
}

/// The brokers and the group.
pub(super) fn brokers(brokers: &Brokers, width: usize) -> Vec<Line<'static>> {
    let refused = brokers.commits_refused;
    let mut pieces = vec![
        plain(format!("round trip {}", or_dash(brokers.round_trip_seconds, time))),
        plain(format!("errors {}", or_dash(brokers.errors, count))),
        plain(format!("refused commits {}", or_dash(refused, count))),
    ];
    if let Some(throttle) = brokers.throttle_seconds.filter(|throttle| *throttle > 0.0) {
        pieces.push(piece(format!("THROTTLED for {}", time(throttle)), Style::new().fg(Color::Yellow).bold()));
    }
    // rebalances: partitions assigned, revoked or lost
    pieces.extend(each(&brokers.rebalances));
    labelled("Kafka", pieces, width)
}

/// The sinks, and their errors by class.
pub(super) fn sinks(route: &Route, width: usize) -> Vec<Line<'static>> {
    let sinks = &route.sinks;
    let column =
        |head, rank, cell: &dyn Fn(usize) -> String| Column { head, rank, cells: (0..sinks.len()).map(cell).collect() };
    let columns = vec![
        column("Sinks", 0, &|at| sinks[at].sink.clone()),
        column("rows/s", 0, &|at| or_dash(sinks[at].rows_per_second, rate)),
        column("rows", 1, &|at| or_dash(sinks[at].rows, count)),
        column("bytes/s", 6, &|at| or_dash(sinks[at].bytes_per_second, bytes)),
        column("batches/s", 5, &|at| or_dash(sinks[at].batches_per_second, rate)),
        column("write", 2, &|at| or_dash(sinks[at].write_seconds, time)),
        column("delay", 3, &|at| or_dash(sinks[at].delay_seconds, time)),
        column("retries", 4, &|at| or_dash(sinks[at].retries, count)),
        column("errors", 0, &|at| count(sinks[at].errors.values().sum())),
    ];
    let mut lines = table(columns, width);
    let errors: Vec<Span<'static>> = sinks
        .iter()
        .flat_map(|sink| sink.errors.iter().map(move |(class, number)| (sink, class, *number)))
        .filter(|&(_, _, number)| number > 0)
        .map(|(sink, class, number)| plain(format!("{} {class} {}", sink.sink, count(number))))
        .collect();
    if !errors.is_empty() {
        lines.extend(labelled("  by class", errors, width));
    }
    lines
}

/// Dead letters by reason.
pub(super) fn dead_letters(letters: &BTreeMap<String, u64>, width: usize) -> Vec<Line<'static>> {
    let mut pieces = vec![plain(count(letters.values().sum()))];
    pieces.extend(each(letters));
    labelled("Dead letters", pieces, width)
}

/// Ownership and repairs since the consumer's start.
pub(super) fn ledger(ledger: &Ledger, width: usize) -> Vec<Line<'static>> {
    let mut pieces = vec![
        plain(format!("take-overs {}", or_dash(ledger.takeovers, count))),
        plain(format!("fenced {}", or_dash(ledger.fenced, count))),
        fault(format!("doubled {}", or_dash(ledger.doubled, count)), ledger.doubled.is_some_and(|number| number > 0)),
    ];
    if let Some(parts) = ledger.clickhouse_parts {
        pieces.push(plain(format!("ClickHouse parts {}", count(parts))));
    }
    let read_backs = each(&ledger.read_backs);
    pieces.extend((!read_backs.is_empty()).then(|| plain("read-backs:")));
    pieces.extend(read_backs);
    let gaps = ledger.gap_offsets.iter().filter(|(_, number)| **number > 0);
    pieces.extend(gaps.map(|(kind, number)| fault(format!("never stored ({kind}) {}", count(*number)), true)));
    labelled("Ledger", pieces, width)
}

/// What the audit has proven. A consumer without an audit says nothing.
pub(super) fn audit(audit: Option<&Audit>, width: usize) -> Vec<Line<'static>> {
    let Some(audit) = audit else { return labelled("Audit", vec![plain(UNKNOWN)], width) };
    let faults: u64 = audit.faults.values().sum();
    let faulty = audit.faulty_ranges.unwrap_or(faults);
    let mut pieces = vec![
        fault(format!("faulty ranges {}", or_dash(audit.faulty_ranges, count)), faulty > 0),
        plain(format!("rows proven {}", count(audit.records))),
        plain(format!("oldest proof {}", or_dash(audit.proof_age_seconds, time))),
    ];
    if faults > 0 {
        pieces.push(plain("found:"));
        pieces.extend(each(&audit.faults));
    }
    labelled("Audit", pieces, width)
}

/// The byte budget, which all routes share, and the process.
pub(super) fn budget(budget: &Budget, process: &Process, width: usize) -> Vec<Line<'static>> {
    let size = |size: u64| bytes(size as f64);
    let share = budget.taken_bytes.zip(budget.max_bytes.filter(|max| *max > 0));
    let share = share.map(|(taken, max)| (taken as f64 / max as f64).clamp(0.0, 1.0));
    let mut pieces = Vec::new();
    if let Some(share) = share {
        let full = (share * BAR as f64).round() as usize;
        pieces.push(plain(format!("[{}{}] {:.0} %", "#".repeat(full), ".".repeat(BAR - full), share * 100.0)));
    }
    pieces.push(plain(format!("{} of {}", or_dash(budget.taken_bytes, size), or_dash(budget.max_bytes, size))));
    pieces.extend(budget.by_holder.iter().map(|(holder, held)| plain(format!("{holder} {}", size(*held)))));
    let mut lines = labelled("Budget", pieces, width);
    let pieces = vec![
        plain(format!("memory {}", or_dash(process.resident_bytes, size))),
        plain(format!("cores {}", or_dash(process.cpu_cores, |cores| format!("{cores:.2}")))),
        plain(format!("open files {}", or_dash(process.open_files, count))),
    ];
    lines.extend(labelled("Process", pieces, width));
    lines
}

/// Troubles that have ended while `top` looked on.
pub(super) fn ended<'a>(ended: impl Iterator<Item = &'a Ended>, at: Option<&str>, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for Ended { component, until, .. } in ended.take(ENDED_MAX) {
        let label = if lines.is_empty() { "Past troubles" } else { "" };
        let shown = |time: &Option<String>| time.as_deref().map_or_else(|| UNKNOWN.to_owned(), |time| clock(time, at));
        let mut pieces = vec![plain(format!("{} to {}", shown(&component.since), shown(until)))];
        pieces.push(plain(format!("{} was {}", component.component, component.state)));
        lines.extend(labelled(label, pieces, width));
        lines.extend(paragraph(&component.why, Style::new(), width));
    }
    lines
}
