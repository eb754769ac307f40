//! `footprint check`: asks every server for what exactly-once needs of it. Prints one line for each answer, and what to do about a
//! fault. Without `--probe`, it changes nothing. The servers are asked side by side, and every question has a deadline, so that three dead servers cost
//! the time of one. The order of the lines is always the same.

mod clickhouse;
mod clocks;
mod finding;
mod kafka;
mod postgres;

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use footprint_service::config::Config;
use footprint_service::console::Output;
use footprint_service::signals::Signals;
use tokio::time::timeout;

use self::finding::{Finding, Findings, Line, Report, Subject};
use crate::cli::Exit;
use crate::store::clickhouse::scratch::Scratch;

/// How long one question may take.
const QUESTION_MAX: Duration = Duration::from_secs(10);
/// How long all questions to one server may take, so that a server that becomes silent in between does not cost the time of many.
const SERVER_MAX: Duration = Duration::from_secs(60);

/// How long dropping a scratch table may take after an interrupt.
const CLEAN_MAX: Duration = Duration::from_secs(5);

/// Check that everything is in place for storing each event exactly once, without changing anything.
///
/// Asks Kafka for each route's topic, and PostgreSQL and ClickHouse for the tables, the rights and the settings that exactly-once
/// needs. Prints one line for each: "ok", "note" if events may be changed or refused on their way, or "FAULT", and what to do.
/// Exit status 3 if there is a fault.
#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// Print one JSON document instead of lines.
    #[arg(long)]
    pub json: bool,
    /// Also insert one block twice into a scratch table in ClickHouse, made like each route's table and dropped at once, and count
    /// its rows.
    #[arg(long)]
    pub probe: bool,
}

/// Runs the command. A signal ends it at once, but a scratch table is dropped first.
///
/// # Errors
/// It was interrupted. A server that does not answer is a fault, and no error.
pub async fn run(args: &CheckArgs, config: &Config, signals: &Signals, output: &mut Output) -> anyhow::Result<Exit> {
    let scratch = (args.probe && config.clickhouse.enabled).then(Scratch::named);
    let report = tokio::select! {
        biased;
        report = ask(config, scratch.as_ref()) => report,
        () = signals.wait() => {
            if let Some(scratch) = &scratch {
                let cleaned = timeout(CLEAN_MAX, clickhouse::clean(config, scratch)).await;
                // the next probe finds what is left
                let is_clean = matches!(cleaned, Ok(Ok(())));
                anyhow::ensure!(is_clean, "interrupted: a scratch table may be left; a probe an hour from now drops it");
            }
            anyhow::bail!("interrupted: `check` was stopped before its end and has no result");
        }
    };
    if args.json {
        output.line(serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, output);
    }
    Ok(if report.faults == 0 { Exit::Done } else { Exit::Fault })
}

async fn ask(config: &Config, scratch: Option<&Scratch>) -> Report {
    let (kafka, postgres, clickhouse) = tokio::join!(
        kafka::check(config),
        bounded(Line::PostgresAnswers, "postgresql", async |findings| postgres::check(config, findings).await),
        bounded(Line::ClickHouseAnswers, "clickhouse", async |findings| {
            clickhouse::check(config, scratch, findings).await;
        }),
    );
    Report::of([kafka, postgres, clickhouse])
}

/// The answers of a server, and a fault if it took too long. What it answered in time counts.
async fn bounded(line: Line, label: &str, ask: impl AsyncFnOnce(&mut Findings)) -> Findings {
    let mut findings = Findings::default();
    if timeout(SERVER_MAX, ask(&mut findings)).await.is_err() {
        let remedy = "what else is it doing? see its log";
        findings.wrong(line, &Subject::shared(label), format!("not all was answered in {SERVER_MAX:?}"), remedy);
    }
    findings
}

fn print(report: &Report, output: &mut Output) {
    report.findings.iter().for_each(|finding| print_line(finding, output));
    match report.faults {
        0 => {}
        1 => output.line("1 fault"),
        faults => output.line(format_args!("{faults} faults")),
    }
}

/// Prints one line. It is wrapped if the terminal is narrower; a pipe gets the whole line.
fn print_line(finding: &Finding, output: &mut Output) {
    let mut line = Table::new();
    line.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    line.add_row([format!("{:<5}", finding.word()), finding.to_string()]);
    if let Some(column) = line.column_mut(0) {
        column.set_padding((0, 1)).set_cell_alignment(CellAlignment::Left);
    }
    if let Some(column) = line.column_mut(1) {
        column.set_padding((0, 0));
    }
    output.line(line.trim_fmt());
}
