//! Deletes dead letters.

use anyhow::ensure;
use footprint_service::config::Config;
use footprint_service::console::Output;
use footprint_service::escape::{Keep, escaped};
use footprint_service::postgres::connect;
use footprint_service::postgres::session::Purpose;
use serde_json::json;

use super::filter::FilterArgs;
use super::{ASK_TIMEOUT, SCAN_TIMEOUT, answered};
use crate::cli::Exit;
use crate::ledger::statements::letters;
use crate::ledger::statements::replays;
use crate::limits::PURGE_LETTERS_MAX;

/// Delete dead letters for good; without --yes, only say how many there are
///
/// A dead letter may be the only copy of its record. The deleted offsets are recorded in footprint_gap, so that `verify` does not miss
/// them.
#[derive(clap::Args, Debug)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Delete them
    #[arg(long)]
    yes: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Deletes them.
///
/// # Errors
/// PostgreSQL does not answer, or a replay works on them.
pub(super) async fn run(args: &PurgeArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let filter = args.filter.filter(config)?;
    let client = connect(&config.postgres, "footprint dead-letters", Purpose::Verify).await?;
    let counts = answered(SCAN_TIMEOUT, letters::counts(&client, &filter)).await?;
    for count in &counts {
        if args.json {
            output.line(json!({
                "route": count.route, "reason": count.reason, "database": count.database, "dead_letters": count.letters,
                "deleted": args.yes,
            }));
        } else {
            let line = format!("{} {} ({}): {}", count.route, count.reason, count.database, count.letters);
            output.line(escaped(&line, Keep::Nothing));
        }
    }
    let total: i64 = counts.iter().map(|count| count.letters).sum();
    if !args.yes {
        if !args.json {
            output.line(format_args!("{total} dead letters would be deleted; nothing was changed; add --yes to do it"));
        }
        return Ok(Exit::Done);
    }
    let mut routes: Vec<&str> = counts.iter().map(|count| count.route.as_str()).collect();
    routes.dedup();
    for route in routes {
        let is_ours = answered(ASK_TIMEOUT, replays::lock(&client, route)).await?;
        ensure!(
            is_ours,
            "another `dead-letters replay` or `purge`, or `verify --repair`, of route {route} runs; wait for its end"
        );
        let begun = answered(ASK_TIMEOUT, replays::begun(&client, route)).await?;
        ensure!(
            begun.is_empty(),
            "a replay of route {route} was interrupted; finish it first: footprint dead-letters replay --route {route} --yes"
        );
    }
    let mut deleted = 0;
    while deleted < total {
        let page = answered(SCAN_TIMEOUT, letters::purge(&client, &filter, PURGE_LETTERS_MAX)).await?;
        deleted += page;
        if page == 0 {
            break;
        }
    }
    if !args.json {
        output.line(format_args!("{deleted} dead letters were deleted"));
    }
    Ok(Exit::Done)
}
