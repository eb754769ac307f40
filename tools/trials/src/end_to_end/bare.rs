//! The bare load sends rows that are already encoded into a site's tables, in both databases side by side. Nothing else happens: no Kafka,
//! no decoding, no ledger, no exactly-once. It shows what the two databases can take.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clickhouse::Client as ClickHouseClient;
use footprint_service::config::Compression;
use footprint_service::postgres::connect;
use footprint_service::postgres::session::Purpose;
use futures::SinkExt;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_postgres::Client as PostgresClient;

use super::encode::{copy_statement, insert_statement};
use super::prepared::Prepared;
use super::site::{DEADLINE, Site};
use crate::trial::own_cpu;

/// Which databases take part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sinks {
    /// Rows go to PostgreSQL.
    pub(super) postgres: bool,
    /// Rows go to ClickHouse.
    pub(super) clickhouse: bool,
}

impl Sinks {
    /// Both databases.
    pub(super) const BOTH: Self = Self { postgres: true, clickhouse: true };
}

/// How the rows are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    /// Connections to each database; the pieces of the load are dealt out to them in turn.
    pub(super) connections: usize,
    /// Whether blocks are compressed on their way to ClickHouse.
    pub(super) lz4: bool,
}

impl Sending {
    /// By this number of connections, uncompressed: as `footprint` sends on one machine.
    pub(super) const fn by(connections: usize) -> Self {
        Self { connections, lz4: false }
    }
}

/// How long a bare load took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Until the last row was stored in the slower database.
    pub(super) elapsed: Duration,
    /// Until the last row was in PostgreSQL.
    pub(super) postgres: Option<Duration>,
    /// Until the last row was in ClickHouse.
    pub(super) clickhouse: Option<Duration>,
    /// CPU time of this process, which sends the rows.
    pub(super) cpu: Duration,
}

/// Loads `rows` rows into the databases of `site`. The connections are made before the clock starts.
pub(super) fn load(
    runtime: &Runtime,
    site: &Site<'_>,
    prepared: &Prepared,
    rows: u64,
    sinks: Sinks,
    sending: Sending,
) -> Result<Load> {
    let mut config = site.config()?;
    config.clickhouse.compression = if sending.lz4 { Compression::Lz4 } else { Compression::Off };
    let route = config.routes[0].clone();
    let copies = if sinks.postgres { prepared.copies(rows)? } else { Vec::new() };
    let blocks = if sinks.clickhouse { prepared.blocks(rows)? } else { Vec::new() };
    // each block has its own token, whichever connection sends it
    let blocks: Vec<(usize, Bytes)> = blocks.into_iter().enumerate().collect();
    runtime.block_on(async {
        let (mut postgres, mut clickhouse) = (Vec::new(), Vec::new());
        for number in 0..sending.connections {
            let client = connect(&config.postgres, "bench", Purpose::Check).await?;
            postgres.push((client, pieces_of(&copies, number, sending.connections)));
            let client = footprint_service::clickhouse::client(&config.clickhouse);
            ensure!(client.query("select 1").fetch_all::<u8>().await? == [1], "ClickHouse cannot count to one");
            clickhouse.push((client, pieces_of(&blocks, number, sending.connections)));
        }
        let (copy, insert) = (copy_statement(&route), insert_statement(&route, &site.name));
        let (cpu, started) = (own_cpu(), Instant::now());
        let mut copying = JoinSet::new();
        for (client, copies) in postgres {
            copying.spawn(load_postgres(client, copy.clone(), copies, started));
        }
        let mut inserting = JoinSet::new();
        for (client, blocks) in clickhouse {
            inserting.spawn(load_clickhouse(client, insert.clone(), blocks, sending.lz4, started));
        }
        let both = async { (copying.join_all().await, inserting.join_all().await) };
        let (copied, inserted) = tokio::time::timeout(DEADLINE, both).await.context("the bare load took too long")?;
        let (copied, inserted) = (latest(copied).context("COPY")?, latest(inserted).context("INSERT")?);
        Ok(Load {
            elapsed: copied.max(inserted),
            postgres: sinks.postgres.then_some(copied),
            clickhouse: sinks.clickhouse.then_some(inserted),
            cpu: own_cpu() - cpu,
        })
    })
}

/// The pieces that connection `number` of `connections` sends.
fn pieces_of<T: Clone>(pieces: &[T], number: usize, connections: usize) -> Vec<T> {
    pieces.iter().skip(number).step_by(connections).cloned().collect()
}

fn latest(ends: Vec<Result<Duration>>) -> Result<Duration> {
    ends.into_iter().try_fold(Duration::ZERO, |latest, end| Ok(latest.max(end?)))
}

async fn load_postgres(
    client: PostgresClient,
    statement: String,
    copies: Vec<Vec<Bytes>>,
    started: Instant,
) -> Result<Duration> {
    for chunks in copies {
        client.batch_execute("begin").await?;
        let sink = client.copy_in(&statement).await?;
        futures::pin_mut!(sink);
        for chunk in chunks {
            sink.send(chunk).await?;
        }
        sink.close().await?;
        client.batch_execute("commit").await?;
    }
    Ok(started.elapsed())
}

async fn load_clickhouse(
    client: ClickHouseClient,
    statement: String,
    blocks: Vec<(usize, Bytes)>,
    lz4: bool,
    started: Instant,
) -> Result<Duration> {
    for (number, block) in blocks {
        let mut client = client.clone().with_setting("insert_deduplication_token", format!("bench-{number}"));
        if !lz4 {
            client = client.with_header("Content-Length", block.len().to_string());
        }
        let mut insert = client.insert_formatted_with(statement.as_str());
        insert.send(block).await?;
        insert.end().await?;
    }
    Ok(started.elapsed())
}
