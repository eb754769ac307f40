//! Leaves one record out of one database because a person decides so.

use anyhow::{Context as _, bail, ensure};
use footprint_event::decode::Decoder;
use footprint_event::normalize::received_at_us;
use footprint_event::record::Record;
use footprint_event::reject::{DeadLetter, Reason};
use footprint_event::route::Route;
use footprint_event::rows::Rows;
use footprint_protocol::ledger::{Identity, SinkName, SourceId};
use footprint_protocol::offset::{Offset, Partition, Range};
use footprint_service::clickhouse::client;
use footprint_service::config::Config;
use footprint_service::console::Output;
use footprint_service::kafka::Inquirer;
use footprint_service::kafka::reread::{Parts, Rereader};

use super::ASK_TIMEOUT;
use crate::cli::Exit;
use crate::ledger::identity::new_owner;
use crate::ledger::proof::PROOF_LIFETIME;
use crate::ledger::statements::Ledger;
use crate::store::clickhouse::readback::Questions;

/// Make one record a dead letter for one database; the other keeps its row
///
/// Stop the consumers of the route first. A running consumer takes the partition back; the command then says so and changes
/// nothing. The record must not be stored in that database yet.
#[derive(clap::Args, Debug)]
pub(super) struct AddArgs {
    /// The route
    #[arg(long, value_name = "NAME")]
    route: String,
    /// The record's partition
    #[arg(long, value_name = "P")]
    partition: Partition,
    /// The record's offset
    #[arg(long, value_name = "O")]
    offset: Offset,
    /// The database that must not get the record
    #[arg(long, value_name = "DATABASE")]
    database: Database,
    /// The reason in one sentence; it is stored with the record
    #[arg(long, value_name = "TEXT", default_value = "left out by hand")]
    reason: String,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(super) enum Database {
    Postgres,
    Clickhouse,
}

impl Database {
    fn sink(self) -> SinkName {
        match self {
            Self::Postgres => SinkName::Postgres,
            Self::Clickhouse => SinkName::ClickHouse,
        }
    }
}

/// Leaves the record out.
///
/// # Errors
/// A server does not answer, or the record cannot be left out.
pub(super) async fn run(args: &AddArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let Some(route) = config.routes.iter().find(|route| route.name == args.route) else {
        bail!("no route is called {}; see [[routes]] of the configuration", args.route);
    };
    let (source, parts) = read(args, config, route).await?;
    let letter = letter(args, route, parts)?;
    let ledger = Ledger::connect(&config.postgres, &route.name, "footprint dead-letters").await?;
    let sink = args.database.sink();
    refuse_stored(args, &ledger, source).await?;
    // the partition's owner is fenced from here on
    let Some((fence, ..)) = ledger.interrupt(source, args.partition, new_owner(rand::random())).await? else {
        bail!(
            "the ledger does not know partition {} of route {}: nothing has been read of it",
            args.partition,
            route.name
        );
    };
    refuse_stored(args, &ledger, source).await?;
    if sink == SinkName::ClickHouse {
        // an owner that does not know yet may send as long as its last proof holds
        tokio::time::sleep(PROOF_LIFETIME).await;
        let questions = Questions::new(&client(&config.clickhouse), route, &config.clickhouse.database, ASK_TIMEOUT);
        let range = Range::new(args.offset, args.offset + 1);
        let found = questions.read_back(Identity { source, partition: args.partition, range }).await?;
        ensure!(found.is_empty(), "clickhouse holds offset {} already; nothing was changed", args.offset);
    }
    let is_ours = ledger.leave_out(fence, sink, &letter).await?;
    ensure!(
        is_ours,
        "a consumer has taken partition {} over meanwhile; stop the consumers of route {}, then do this again",
        args.partition,
        route.name
    );
    output.line(format!(
        "route {} partition {} offset {} is a dead letter for {}; start the consumers again",
        route.name,
        args.partition,
        args.offset,
        sink.as_str()
    ));
    Ok(Exit::Done)
}

/// The source, and the record.
async fn read(args: &AddArgs, config: &Config, route: &Route) -> anyhow::Result<(SourceId, Parts)> {
    let (kafka, route) = (config.kafka.clone(), route.clone());
    let (partition, offset) = (args.partition, args.offset);
    tokio::task::spawn_blocking(move || {
        let (start, end) = Inquirer::new(&kafka)?.watermarks(&route.topic, partition, ASK_TIMEOUT)?;
        ensure!(
            (start..end).contains(&offset),
            "the log of partition {partition} holds offsets {start} to {end}, and offset {offset} is none of them"
        );
        let mut reader = Rereader::new(&kafka, &route)?;
        let parts = reader.read(partition, offset, ASK_TIMEOUT)?;
        let source = reader.source(ASK_TIMEOUT)?;
        Ok((source, parts.with_context(|| format!("partition {partition} has no record at offset {offset}"))?))
    })
    .await
    .context("asking kafka")?
}

/// The dead letter, if the record would otherwise be a row.
fn letter(args: &AddArgs, route: &Route, parts: Parts) -> anyhow::Result<DeadLetter> {
    let record = Record {
        offset: args.offset,
        timestamp_ms: parts.timestamp_ms,
        key: parts.key.as_deref(),
        payload: parts.payload.as_deref(),
        headers: None,
    };
    if let Err(reason) = Decoder::new(route)?.decode(record, &mut Rows::empty(route)) {
        bail!("no database can hold this record ({reason}): it becomes a dead letter for both by itself");
    }
    let reason = Reason::Refused { sink: args.database.sink(), why: args.reason.clone(), is_gone: false };
    let received_at_us = received_at_us(parts.timestamp_ms);
    let Parts { key, payload, headers, .. } = parts;
    Ok(DeadLetter { offset: args.offset, received_at_us, key, payload, headers, reason })
}

/// Refuses to leave out a record that the database has stored, or will not get.
async fn refuse_stored(args: &AddArgs, ledger: &Ledger, source: SourceId) -> anyhow::Result<()> {
    let rows = ledger.rows(source).await?;
    let Some((_, row)) = rows.iter().find(|(partition, _)| *partition == args.partition) else {
        bail!(
            "the ledger does not know partition {} of route {}: nothing has been read of it",
            args.partition,
            args.route
        );
    };
    let (next, name) = match args.database {
        Database::Postgres => (row.frontiers.postgres, "postgres"),
        Database::Clickhouse => (row.frontiers.clickhouse, "clickhouse"),
    };
    match next {
        None => bail!("{name} is switched off; switch it on first"),
        Some(next) if args.offset < next => {
            bail!("{name} has stored everything below offset {next} already; nothing was changed")
        }
        Some(_) => Ok(()),
    }
}
