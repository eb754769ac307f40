//! `footprint verify`: runs [`crate::upkeep::verify`], shows a progress bar meanwhile, and prints what was found. With `--repair` it runs
//! [`crate::upkeep::repair`], and prints what was done first.

mod repair;

use std::sync::Arc;
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use footprint_service::config::Config;
use footprint_service::console::{Output, errors_are_seen};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Exit, partition_table};
use crate::upkeep::verify::{
    Finding, FindingKind, Listener, Options, PartitionReport, Progress, Report, RouteReport, SinkReport, Step, Verdict,
    record, verify,
};

/// Prove that every record of Kafka is exactly once in PostgreSQL and exactly once in ClickHouse
///
/// Compares Kafka's log, both databases and the dead letters, identity by identity and by content, below the frontiers that the
/// ledger records. A record beyond a frontier is lag and no fault. If Kafka no longer holds the records, the databases are
/// compared with each other. Without --repair it writes nothing but its result, to the ledger's table
/// footprint_proof, if the user may. It may run beside a running consumer.
///
/// --repair inserts the rows and dead letters that are missing below the frontiers of both databases: from Kafka, or from the
/// other database if Kafka no longer has the record. Then it verifies again. It removes and changes nothing: for a doubled or a
/// changed row, the statement is shown that a person may run.
///
/// Exit status: 0 clean, 3 a fault was found (with --repair: the second look still finds one), 1 it could not be verified (a
/// server is down, there is nothing to compare, another repair is running), 2 bad usage.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// Only this route, by name; may be repeated
    #[arg(long = "route", value_name = "NAME")]
    pub routes: Vec<String>,
    /// Only the route of this topic; may be repeated
    #[arg(long = "topic", value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Name at most this number of identities of each kind of fault
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub show: usize,
    /// Print one JSON document instead of tables
    #[arg(long)]
    pub json: bool,
    /// Count warnings as faults: both databases agree but differ from today's decoder, rows of offsets that the log lacks
    #[arg(long)]
    pub strict: bool,
    /// Give up when a server is silent for this number of seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Insert what is missing, then verify again
    #[arg(long)]
    pub repair: bool,
}

/// Verifies and prints.
///
/// # Errors
/// Nothing could be verified: a server is down, or `migrate` has not been run.
pub async fn run(args: &VerifyArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let bar = errors_are_seen().then(bar);
    let options = Options {
        routes: args.routes.iter().chain(&args.topics).cloned().collect(),
        show: args.show,
        strict: args.strict,
        stall: Duration::from_secs(args.timeout),
        progress: bar.clone().map(|bar| Arc::new(move |progress: &Progress| show(&bar, progress)) as Listener),
        ..Options::default()
    };
    let done = match args.repair {
        true => repair::run(config, options).await,
        false => repair::Done::verified(config, verify(config, options).await),
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let mut done = done?;
    record(config, &mut done.report).await;
    let report = &done.report;
    if args.json {
        output.line(serde_json::to_string_pretty(&done)?);
    } else {
        let width = Table::new().width().map(usize::from);
        let text = [done.repaired_text(args.show), text(report, args.show, width), done.remedies_text(args.show)];
        output.line(text.concat().trim_end());
    }
    Ok(match report.verdict() {
        Verdict::Clean { .. } => Exit::Done,
        Verdict::Faults { .. } => Exit::Fault,
        Verdict::NothingCompared => Exit::Failed,
    })
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    bar.set_style(ProgressStyle::default_spinner());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    match progress.step {
        Step::Counting => bar.set_message(format!("{}: counting rows", progress.route)),
        Step::Comparing { partition, .. } => {
            if bar.length().is_none()
                && let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}")
            {
                bar.set_style(style);
            }
            bar.set_length(progress.total);
            bar.set_position(progress.read.min(progress.total));
            bar.set_message(format!("{}: partition {partition}", progress.route));
        }
    }
}

/// The report for people. `width` is the terminal's, if there is one.
fn text(report: &Report, show: usize, width: Option<usize>) -> String {
    let mut text = String::new();
    for route in &report.routes {
        text.push_str(&route_text(route, show, width));
    }
    text.push_str(&match report.verdict() {
        Verdict::Clean { warnings: 0 } => "exactly once held: no fault\n".to_owned(),
        Verdict::Clean { warnings } => format!("exactly once held: no fault, {warnings} warnings\n"),
        Verdict::Faults { faults: 0, warnings } => format!("{warnings} warnings, which --strict counts as faults\n"),
        Verdict::Faults { faults, warnings } => {
            format!("EXACTLY ONCE DID NOT HOLD: {faults} faults, {warnings} warnings\n")
        }
        Verdict::NothingCompared => format!(
            "nothing to compare of {}: nothing is stored yet, or this is not the intended topic\n",
            report.nothing_compared.join(", ")
        ),
    });
    text
}

fn route_text(route: &RouteReport, show: usize, width: Option<usize>) -> String {
    let mut text = format!("route {} (topic {})\n", route.route, route.topic);
    for note in &route.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    for source in &route.sources {
        let life = match (&source.topic_id, source.in_kafka) {
            (Some(id), true) => format!("topic id {id}"),
            (Some(id), false) => {
                format!("topic id {id}, no longer in Kafka: the databases are compared with each other")
            }
            (None, _) => "unknown to the ledger".to_owned(),
        };
        text.push_str(&format!("source {} ({life})\n{}\n", source.source, table(&source.partitions, width)));
        for partition in &source.partitions {
            for gap in &partition.gaps {
                text.push_str(&format!(
                    "  gap, no fault: partition {} [{}, {}) {}: {}\n",
                    partition.partition, gap.start_offset, gap.end_offset, gap.sink, gap.reason
                ));
            }
        }
    }
    for kind in FindingKind::ALL {
        let total: u64 =
            route.sources.iter().flat_map(|source| &source.partitions).map(|partition| partition.counts.of(kind)).sum();
        text.push_str(&kind_text(kind, total, &route.findings, show));
    }
    text
}

fn kind_text(kind: FindingKind, total: u64, findings: &[Finding], show: usize) -> String {
    if total == 0 {
        return String::new();
    }
    let label = if kind.is_fault() { "fault" } else { "warning" };
    let mut text = format!("{label}: {} ({total})\n", kind.name());
    for finding in findings.iter().filter(|finding| finding.kind == kind).take(show) {
        let place = finding.place.in_words();
        let offsets = match finding.end_offset {
            Some(end) => format!("[{}, {end})", finding.offset),
            None => finding.offset.to_string(),
        };
        text.push_str(&format!(
            "  {place}: source {} partition {} offset {offsets}\n",
            finding.source, finding.partition
        ));
    }
    if total > show as u64 {
        text.push_str(&format!("  and {} more\n", total - show as u64));
    }
    text
}

const HEADINGS: [&str; 14] = [
    "part",
    "log start",
    "pg next",
    "ch next",
    "records",
    "pg rows",
    "ch rows",
    "dead",
    "miss",
    "dbl",
    "diff",
    "unexp",
    "lost",
    "lag",
];

/// One line for each partition, or one line for each number if the terminal is too narrow.
fn table(partitions: &[PartitionReport], width: Option<usize>) -> String {
    let rows: Vec<_> = partitions.iter().map(cells).collect();
    partition_table::table(&HEADINGS, &rows, width, CellAlignment::Right)
}

fn cells(partition: &PartitionReport) -> [String; HEADINGS.len()] {
    let counts = &partition.counts;
    let next = |sink: &SinkReport| match sink.on {
        true => sink.compared_below.to_string(),
        false => format!("off {}", sink.compared_below),
    };
    [
        partition.partition.to_string(),
        partition.log_start.map_or_else(|| "-".to_owned(), |start| start.to_string()),
        next(&partition.postgres),
        next(&partition.clickhouse),
        partition.records.to_string(),
        partition.postgres.rows.to_string(),
        partition.clickhouse.rows.to_string(),
        partition.dead_letters.rows.to_string(),
        counts.missing.to_string(),
        counts.doubled.to_string(),
        counts.differing.to_string(),
        counts.unexpected.to_string(),
        counts.lost.to_string(),
        partition.lag.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upkeep::verify::{Counts, Place, SourceReport};

    fn report(counts: Counts, strict: bool) -> Report {
        let sink = |rows| SinkReport { on: true, compared_below: 1_000_000, rows };
        let partition = PartitionReport {
            log_start: Some(10),
            log_end: Some(1_000_100),
            records: 999_990,
            claimed: 1_000_000,
            postgres: sink(999_989),
            clickhouse: SinkReport { on: false, ..sink(999_990) },
            dead_letters: sink(0),
            lag: 100,
            counts,
            ..PartitionReport::default()
        };
        let finding = |kind, offset, end_offset| Finding {
            kind,
            place: Place::Postgres,
            source: 7,
            partition: 0,
            offset,
            end_offset,
        };
        let route = RouteReport {
            route: "user_footprint".into(),
            topic: "web-logs-topic".into(),
            sources: vec![SourceReport {
                source: 7,
                topic: Some("web-logs-topic".into()),
                topic_id: Some("abc".into()),
                in_kafka: true,
                partitions: vec![partition],
            }],
            findings: vec![finding(FindingKind::Missing, 20, None), finding(FindingKind::Lost, 30, Some(40))],
            notes: vec![],
        };
        Report::new(vec![route], strict)
    }

    #[test]
    fn faults_are_named_and_what_is_not_shown_is_counted() {
        let text = text(&report(Counts { missing: 3, lost: 1, ..Counts::default() }, false), 1, None);
        assert!(
            text.contains("fault: missing (3)\n  postgres: source 7 partition 0 offset 20\n  and 2 more\n"),
            "{text}"
        );
        assert!(text.contains("fault: lost (1)\n  postgres: source 7 partition 0 offset [30, 40)\n"), "{text}");
        assert!(text.ends_with("EXACTLY ONCE DID NOT HOLD: 4 faults, 0 warnings\n"), "{text}");
        assert!(text.contains("off 1000000"), "{text}");
    }

    #[test]
    fn warnings_are_faults_only_when_strict() {
        let counts = Counts { decoded_otherwise: 2, ..Counts::default() };
        assert!(text(&report(counts, false), 9, None).ends_with("exactly once held: no fault, 2 warnings\n"));
        let strict = report(counts, true);
        assert!(!strict.clean && text(&strict, 9, None).ends_with("2 warnings, which --strict counts as faults\n"));
    }

    #[test]
    fn a_narrow_terminal_gets_a_narrow_table() {
        for width in [40, 80, 200] {
            let text = text(&report(Counts::default(), false), 9, Some(width));
            let widest = text.lines().filter(|line| line.contains('│')).map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= width), "{width}:\n{text}");
        }
    }
}
