//! Lists dead letters without their contents.

use footprint_service::config::Config;
use footprint_service::console::Output;
use footprint_service::escape::{Keep, escaped};
use footprint_service::postgres::connect;
use footprint_service::postgres::session::Purpose;
use serde_json::json;

use super::filter::FilterArgs;
use super::{SCAN_TIMEOUT, answered};
use crate::cli::Exit;
use crate::ledger::statements::letters::{self, Heading};

/// List dead letters, the newest first: place, database and reason, without payloads
#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// List at most this number
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Lists them.
///
/// # Errors
/// PostgreSQL does not answer.
pub(super) async fn run(args: &ListArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let filter = args.filter.filter(config)?;
    let client = connect(&config.postgres, "footprint dead-letters", Purpose::Verify).await?;
    let headings = answered(SCAN_TIMEOUT, letters::headings(&client, &filter, i64::from(args.limit))).await?;
    for heading in &headings {
        if args.json {
            output.line(object(heading));
            continue;
        }
        let Heading { route, partition, offset, database, reason, .. } = heading;
        // a database's words may have several lines
        let letter = format!("{route} partition {partition} offset {offset} {database}: {reason}");
        output.line(escaped(&letter, Keep::Nothing));
    }
    Ok(Exit::Done)
}

/// A dead letter without its contents, for programs.
pub(super) fn object(heading: &Heading) -> serde_json::Value {
    json!({
        "route": heading.route,
        "source": heading.source,
        "partition": heading.partition,
        "offset": heading.offset,
        "database": heading.database,
        "reason": heading.reason,
        "received_at": heading.received_at,
        "stored_at": heading.stored_at,
    })
}
