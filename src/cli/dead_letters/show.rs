//! Shows one record whole: where it was, why it is a dead letter, its key, headers and payload.

use anyhow::bail;
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::config::Config;
use footprint_service::console::Output;
use footprint_service::escape::{Keep, escaped};
use footprint_service::postgres::connect;
use footprint_service::postgres::session::Purpose;
use serde_json::{Value, json};

use super::list::object;
use super::{SCAN_TIMEOUT, answered};
use crate::cli::Exit;
use crate::ledger::statements::letters::{self, Filter, Whole};

/// Dead letters of one record that are shown, at most: one for each database and each life of the topic.
const SHOWN_MAX: i64 = 100;

/// Show one record whole: place, reason, key, headers and payload
///
/// Control characters are spelled out, so that nothing in the record can act on the terminal. Bytes that are no UTF-8 are printed
/// as hexadecimal digits.
#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    /// The record's partition
    #[arg(long, value_name = "P")]
    partition: Partition,
    /// The record's offset
    #[arg(long, value_name = "O")]
    offset: Offset,
    /// Only of this route
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Shows it.
///
/// # Errors
/// PostgreSQL does not answer, or there is no such dead letter.
pub(super) async fn run(args: &ShowArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let client = connect(&config.postgres, "footprint dead-letters", Purpose::Verify).await?;
    let filter = Filter {
        route: args.route.clone(),
        partition: Some(args.partition),
        from: Some(args.offset),
        to: args.offset.checked_add(1),
        ..Filter::default()
    };
    let found = answered(SCAN_TIMEOUT, letters::whole(&client, &filter, SHOWN_MAX)).await?;
    if found.is_empty() {
        bail!(
            "partition {} offset {} is no dead letter; `footprint dead-letters list` lists them",
            args.partition,
            args.offset
        );
    }
    for (index, letter) in found.iter().enumerate() {
        if args.json {
            output.line(whole_object(letter));
            continue;
        }
        if index > 0 {
            output.line("");
        }
        print(letter, output);
    }
    Ok(Exit::Done)
}

fn print(letter: &Whole, output: &mut Output) {
    let heading = &letter.heading;
    let lacking = match heading.database.as_str() {
        "both" => "both databases",
        "postgres" => "postgresql alone",
        _ => "clickhouse alone",
    };
    let place = format!("partition {} offset {} (source {})", heading.partition, heading.offset, heading.source);
    let (received, stored) = (&heading.received_at, &heading.stored_at);
    let headers = letter.headers.as_deref().unwrap_or("none");
    for (name, value) in [
        ("route", heading.route.as_str()),
        ("place", &place),
        ("missing in", lacking),
        ("reason", &heading.reason),
        ("received", received),
        ("stored", stored),
        ("key", &shown(letter.key.as_deref())),
        ("headers", headers),
    ] {
        output.line(format_args!("{name:<11}{}", escaped(value, Keep::Nothing)));
    }
    let bytes = letter.payload.as_ref().map_or_else(|| "none".to_owned(), |payload| format!("{} bytes", payload.len()));
    output.line(format_args!("{:<11}{bytes}", "payload"));
    if letter.payload.is_some() {
        output.line(shown(letter.payload.as_deref()));
    }
}

/// Bytes as text, or as hexadecimal digits if they are none.
fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(std::str::from_utf8) {
        None => "none".to_owned(),
        Some(Ok(text)) => text.to_owned(),
        Some(Err(_)) => format!("\\x{}", hexadecimal(bytes.unwrap_or_default())),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn whole_object(letter: &Whole) -> Value {
    let mut object = object(&letter.heading);
    object["headers"] =
        letter.headers.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    for (name, bytes) in [("key", &letter.key), ("payload", &letter.payload)] {
        match bytes.as_deref().map(std::str::from_utf8) {
            None => object[name] = Value::Null,
            Some(Ok(text)) => object[name] = json!(text),
            Some(Err(_)) => object[format!("{name}_hex")] = json!(hexadecimal(bytes.as_deref().unwrap_or_default())),
        }
    }
    object
}
