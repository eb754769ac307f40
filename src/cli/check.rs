//! `footprint check`: asks every server for what exactly-once needs of it. Prints one line for each item, and what to do about a
//! fault. It changes nothing. Every question has a deadline. If a server is down, only its own lines are faults.

mod clickhouse;
mod kafka;
mod postgres;

use std::fmt::Display;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use footprint_service::config::Config;
use footprint_service::console::Output;

use crate::cli::Exit;

/// Check that everything is in place for storing each event exactly once, without changing anything.
///
/// Asks Kafka for each route's topic, and PostgreSQL and ClickHouse for the tables, the rights and the settings that exactly-once
/// needs. Prints one line for each: "ok", "note" if events may be changed or refused on their way, or "FAULT" and what to do.
/// Exit status 3 if there is a fault.
#[derive(clap::Args, Debug)]
pub struct CheckArgs {}

/// Runs the command.
///
/// # Errors
/// Never: a server that does not answer is reported as a fault.
pub async fn run(_args: &CheckArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let mut report = Report { output, faults: 0 };
    report.ok(
        "configuration",
        format!("{} route{}", config.routes.len(), if config.routes.len() == 1 { "" } else { "s" }),
    );
    kafka::check(config, &mut report).await;
    postgres::check(config, &mut report).await;
    clickhouse::check(config, &mut report).await;
    Ok(report.end())
}

/// Prints lines as they come and counts the faults.
struct Report<'a> {
    output: &'a mut Output,
    faults: usize,
}

impl Report<'_> {
    fn ok(&mut self, what: &str, text: impl Display) {
        self.print("ok", what, &text);
    }

    /// Adds a note: no fault, but good to know. It does not change the exit status.
    fn note(&mut self, what: &str, text: impl Display) {
        self.print("note", what, &text);
    }

    fn fault(&mut self, what: &str, text: impl Display) {
        self.faults += 1;
        self.print("FAULT", what, &text);
    }

    /// Prints one line. It is wrapped if the terminal is narrower; a pipe gets the whole line.
    fn print(&mut self, status: &str, what: &str, text: &dyn Display) {
        let mut line = Table::new();
        line.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        line.add_row([format!("{status:<5}"), format!("{what}: {text}")]);
        if let Some(column) = line.column_mut(0) {
            column.set_padding((0, 1)).set_cell_alignment(CellAlignment::Left);
        }
        if let Some(column) = line.column_mut(1) {
            column.set_padding((0, 0));
        }
        self.output.line(line.trim_fmt());
    }

    fn end(self) -> Exit {
        match self.faults {
            0 => return Exit::Done,
            1 => self.output.line("1 fault"),
            faults => self.output.line(format_args!("{faults} faults")),
        }
        Exit::Fault
    }
}
