//! The bare load: prepared rows into a site's tables by the clients that `footprint` uses, one connection each, side by side,
//! and nothing else: no Kafka, no decoding, no ledger, no exactly-once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clickhouse::Client as ClickHouseClient;
use footprint::sink::clickhouse::native;
use footprint::sink::postgres::{connect, copy};
use futures::SinkExt;
use tokio::runtime::Runtime;
use tokio_postgres::Client as PostgresClient;

use crate::child::own_cpu;
use crate::prepared::Prepared;
use crate::site::{DEADLINE, Site};

/// Which databases take part.
#[derive(Clone, Copy, Debug)]
pub struct Sinks {
    /// Rows go to PostgreSQL.
    pub postgres: bool,
    /// Rows go to ClickHouse.
    pub clickhouse: bool,
}

impl Sinks {
    /// Both.
    pub const BOTH: Self = Self { postgres: true, clickhouse: true };
}

/// How long a bare load took.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Until the last row was stored in the slower database.
    pub elapsed: Duration,
    /// Until the last was in PostgreSQL.
    pub postgres: Option<Duration>,
    /// Until the last was in ClickHouse.
    pub clickhouse: Option<Duration>,
    /// CPU time of the sender: this process.
    pub cpu: Duration,
}

/// Loads `rows` rows into the databases of `site`. The connections are made before the clock starts.
pub fn load(runtime: &Runtime, site: &Site<'_>, prepared: &Prepared, rows: u64, sinks: Sinks) -> Result<Load> {
    let config = site.config()?;
    let route = config.routes[0].clone();
    let copies = if sinks.postgres { prepared.copies(rows)? } else { Vec::new() };
    let blocks = if sinks.clickhouse { prepared.blocks(rows)? } else { Vec::new() };
    runtime.block_on(async {
        let postgres = connect(&config.postgres, "bench").await?;
        let clickhouse = footprint::sink::clickhouse::client(&config.clickhouse);
        ensure!(clickhouse.query("select 1").fetch_all::<u8>().await? == [1], "ClickHouse cannot count to one");
        let (copy, insert) = (copy::rows_statement(&route), native::insert_statement(&route, &site.name));
        let (cpu, started) = (own_cpu(), Instant::now());
        let copying = tokio::spawn(load_postgres(postgres, copy, copies, started));
        let inserting = tokio::spawn(load_clickhouse(clickhouse, insert, blocks, started));
        let both = async { tokio::try_join!(copying, inserting) };
        let (copied, inserted) =
            tokio::time::timeout(DEADLINE, both).await.context("the bare load took too long")??;
        let (copied, inserted) = (copied.context("COPY")?, inserted.context("INSERT")?);
        Ok(Load {
            elapsed: copied.max(inserted),
            postgres: sinks.postgres.then_some(copied),
            clickhouse: sinks.clickhouse.then_some(inserted),
            cpu: own_cpu() - cpu,
        })
    })
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
    blocks: Vec<Bytes>,
    started: Instant,
) -> Result<Duration> {
    for (number, block) in blocks.into_iter().enumerate() {
        let mut insert = client
            .clone()
            .with_header("Content-Length", block.len().to_string())
            .with_setting("insert_deduplication_token", format!("bench-{number}"))
            .insert_formatted_with(statement.as_str());
        insert.send(block).await?;
        insert.end().await?;
    }
    Ok(started.elapsed())
}
