//! Stores dead letters again that have become good.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use footprint_event::route::Route;
use footprint_service::config::Config;
use footprint_service::console::Output;

use super::filter::FilterArgs;
use crate::cli::Exit;
use crate::upkeep::replay::{Mode, Report, Waiting, replay};

/// Store dead letters again that are good now; without --yes, only say what would happen
///
/// Each is decoded by the route's present definition. One that is good becomes a row, once, in each database that lacks it, and its dead
/// letter is deleted. One that is still bad stays. Run it after the route's settings were changed, after an update of footprint, or
/// after a database was taught to take what it refused. Consumers may run meanwhile. If it is interrupted, run it again: it finishes
/// first what it had begun.
#[derive(clap::Args, Debug)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Store them
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Stores them.
///
/// # Errors
/// A server does not answer, or another replay runs.
pub(super) async fn run(args: &ReplayArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let filter = args.filter.filter(config)?;
    let route = route(args, config)?;
    let mode = if args.yes { Mode::Do } else { Mode::DryRun };
    let mut so_far = None;
    let report = replay(config, &route, &filter, mode, |report| so_far = Some(report.stored())).await;
    let report = report.with_context(|| match so_far {
        Some(stored) if args.yes => format!("{stored} dead letters were stored before the replay ended"),
        _ => "no dead letter was stored".to_owned(),
    })?;
    if args.json {
        output.line(serde_json::to_string(&report)?);
    } else {
        text(&report).iter().for_each(|line| output.line(line));
    }
    Ok(Exit::Done)
}

fn route(args: &ReplayArgs, config: &Config) -> anyhow::Result<Arc<Route>> {
    match (&args.filter.route, config.routes.as_slice()) {
        (None, [route]) => Ok(Arc::new(route.clone())),
        (None, _) => bail!("there are several routes: name one with --route"),
        (Some(name), routes) => {
            let route = routes.iter().find(|route| route.name == *name);
            Ok(Arc::new(route.with_context(|| format!("no route is called {name}"))?.clone()))
        }
    }
}

fn text(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let (stored, would) = if report.done { ("became rows", "") } else { ("would become rows", "would be ") };
    if report.begun > 0 {
        lines.push(format!("{} dead letters of an interrupted replay {would}finished first", report.begun));
    }
    lines.push(format!(
        "{} dead letters {stored}: {} in both databases, {} in postgresql alone, {} in clickhouse alone",
        report.stored(),
        report.both,
        report.postgres,
        report.clickhouse
    ));
    let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    if !report.refused.is_empty() {
        lines.push(format!("{} rows are refused by a database now:", sum(&report.refused)));
        lines.extend(report.refused.iter().map(|(code, count)| format!("  {code}: {count}")));
    }
    lines.push(format!("{} remain bad", sum(&report.bad)));
    lines.extend(report.bad.iter().map(|(code, count)| format!("  {code}: {count}")));
    for (why, count) in &report.waiting {
        let why = match why {
            Waiting::NotStoredYet => "a consumer still stores the records around them: run it again later",
            Waiting::SinkIsOff => "a database is switched off: switch it on first",
            Waiting::UnknownPartition => "the ledger does not know their partition",
        };
        lines.push(format!("{count} must wait: {why}"));
    }
    if !report.done {
        lines.push("nothing was changed; add --yes to do it".into());
    }
    lines
}
