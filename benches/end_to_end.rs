//! How fast events go from a full topic into both databases, beside the bare load of the same rows, already encoded, into the
//! same migrated tables: side by side, in one run, in turn. `benches/README.md` says how to read it.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use footprint::batch::Rows;
use footprint::chunk::Record;
use footprint::config::Config;
use footprint::decode::Decoder;
use footprint::generate::{GenerateOptions, Generator};
use footprint::ledger::SourceId;
use footprint::limits::COPY_CHUNK_BYTES;
use footprint::route::Route;
use footprint::sink::clickhouse::native;
use footprint::sink::postgres::{connect, copy};
use footprint_stack::{APPLICATION_USER, Stack, StackOptions, TEST_USER};
use futures::SinkExt;

const TOPIC: &str = "bench";
const PARTITIONS: u16 = 4;
/// Rows of a COPY transaction of the bare load.
const COPY_ROWS: usize = 50_000;
/// Rows of a Native block of the bare load.
const BLOCK_ROWS: usize = 100_000;
// a block is a whole number of transactions
const _: () = assert!(BLOCK_ROWS.is_multiple_of(COPY_ROWS));
const DEADLINE: Duration = Duration::from_secs(600);

/// Rows as the two servers take them.
struct Prepared {
    rows: usize,
    copies: Vec<Vec<Bytes>>,
    blocks: Vec<Bytes>,
}

/// A pair of empty, migrated databases, and the environment by which the program finds them.
struct Site<'a> {
    stack: &'a Stack,
    name: String,
    environment: BTreeMap<&'static str, String>,
}

impl<'a> Site<'a> {
    fn new(stack: &'a Stack, name: &str) -> Result<Self> {
        let (postgres, clickhouse) = (stack.postgres()?, stack.clickhouse()?);
        let name = format!("test_{name}");
        postgres.create_database(&name)?;
        postgres.give_database(&name, APPLICATION_USER)?;
        clickhouse.create_database(&name)?;
        let environment = BTreeMap::from([
            ("BOOTSTRAP_SERVER", stack.kafka()?.bootstrap().to_owned()),
            ("GROUP_ID", name.clone()),
            ("TOPIC", TOPIC.to_owned()),
            ("DB_HOST", postgres.host().to_owned()),
            ("DB_PORT", postgres.port().to_string()),
            ("DB_NAME", name.clone()),
            ("DB_USER", APPLICATION_USER.to_owned()),
            ("DB_PASSWORD", stack.user_password().to_owned()),
            ("CH_HOST", clickhouse.host().to_owned()),
            ("CH_PORT", clickhouse.http_port().to_string()),
            ("CH_USER", TEST_USER.to_owned()),
            ("CH_PASSWORD", stack.user_password().to_owned()),
            ("FOOTPRINT_CLICKHOUSE__DATABASE", name.clone()),
            ("FOOTPRINT_TELEMETRY__LISTEN", String::new()),
            ("FOOTPRINT_TELEMETRY__LOG", "warn".to_owned()),
        ]);
        let site = Self { stack, name, environment };
        site.footprint(&["migrate"])?;
        Ok(site)
    }

    fn footprint(&self, arguments: &[&str]) -> Result<Duration> {
        let started = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_footprint"))
            .args(arguments)
            .envs(&self.environment)
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "footprint {arguments:?} ended with {status}");
        Ok(started.elapsed())
    }

    /// Rows in each database, and distinct identities where there are any.
    fn counts(&self) -> Result<(usize, usize)> {
        let sql = "select count(*)::text from user_footprint";
        let rows = self.stack.postgres()?.query(&self.name, sql)?;
        let postgres = rows.first().and_then(|row| row.first().cloned().flatten()).context("no count")?;
        let clickhouse =
            self.stack.clickhouse()?.query(&format!("select count() from {}.user_footprint", self.name))?;
        Ok((postgres.parse()?, clickhouse.trim().parse()?))
    }
}

fn prepare(route: &Route, events: usize) -> Result<Prepared> {
    let mut generator = Generator::new(1, GenerateOptions { bad_share: 0.0, ..GenerateOptions::default() });
    let mut decoder = Decoder::new(route)?;
    let mut prepared = Prepared { rows: events, copies: Vec::new(), blocks: Vec::new() };
    let mut rows = Rows::empty(route);
    for offset in 0..events {
        let event = generator.generate();
        let record = Record {
            offset: i64::try_from(offset)?,
            timestamp_ms: 1_760_000_000_000,
            key: event.key,
            payload: event.payload,
            headers: &[],
        };
        if let Err(reason) = decoder.decode(record, &mut rows) {
            bail!("a generated event is bad: {reason}");
        }
        if rows.len() == BLOCK_ROWS || offset + 1 == events {
            let mut block = Vec::new();
            native::block(route, &rows, SourceId(1), 0, None, &mut block);
            prepared.blocks.push(Bytes::from(block));
            for from in (0..rows.len()).step_by(COPY_ROWS) {
                prepared.copies.push(copy_chunks(&rows, from, (from + COPY_ROWS).min(rows.len())));
            }
            rows = Rows::empty(route);
        }
    }
    Ok(prepared)
}

fn copy_chunks(rows: &Rows, from: usize, to: usize) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut buffer = BytesMut::new();
    copy::header(&mut buffer);
    let mut next = from;
    while next < to {
        // one row at a time past the last whole chunk, so that the transaction ends where it must
        let bound = if to - next > 4_096 { COPY_CHUNK_BYTES } else { 1 };
        next = copy::rows(rows, next, SourceId(1), 0, &mut buffer, bound);
        if buffer.len() >= COPY_CHUNK_BYTES {
            chunks.push(buffer.split().freeze());
        }
    }
    copy::trailer(&mut buffer);
    chunks.push(buffer.freeze());
    chunks
}

async fn load_postgres(config: &Config, route: &Route, copies: Vec<Vec<Bytes>>) -> Result<()> {
    let client = connect(&config.postgres, "bench").await?;
    for chunks in copies {
        client.batch_execute("begin").await?;
        let sink = client.copy_in(&copy::rows_statement(route)).await?;
        futures::pin_mut!(sink);
        for chunk in chunks {
            sink.send(chunk).await?;
        }
        sink.close().await?;
        client.batch_execute("commit").await?;
    }
    Ok(())
}

async fn load_clickhouse(config: &Config, route: &Route, blocks: Vec<Bytes>) -> Result<()> {
    let client = footprint::sink::clickhouse::client(&config.clickhouse);
    let statement = native::insert_statement(route, &config.clickhouse.database);
    for (number, block) in blocks.into_iter().enumerate() {
        let mut insert = client
            .clone()
            .with_header("Content-Length", block.len().to_string())
            .with_setting("insert_deduplication_token", format!("bench-{number}"))
            .insert_formatted_with(statement.as_str());
        insert.send(block).await?;
        insert.end().await?;
    }
    Ok(())
}

/// The bare load of the prepared rows: one connection each, side by side.
fn bare(runtime: &tokio::runtime::Runtime, site: &Site<'_>, prepared: &Prepared) -> Result<Duration> {
    let mut config = Config::load(None, &[])?;
    config.postgres.host = site.environment["DB_HOST"].clone();
    config.postgres.port = site.environment["DB_PORT"].parse()?;
    config.postgres.database.clone_from(&site.name);
    config.postgres.user = APPLICATION_USER.to_owned();
    config.postgres.password = site.stack.user_password().to_owned().into();
    config.clickhouse.host = site.environment["CH_HOST"].clone();
    config.clickhouse.port = site.environment["CH_PORT"].parse()?;
    config.clickhouse.database.clone_from(&site.name);
    config.clickhouse.user = TEST_USER.to_owned();
    config.clickhouse.password = site.stack.user_password().to_owned().into();
    let route = config.routes[0].clone();
    let (copies, blocks) = (prepared.copies.clone(), prepared.blocks.clone());
    let started = Instant::now();
    runtime.block_on(async {
        let both = async {
            tokio::try_join!(load_postgres(&config, &route, copies), load_clickhouse(&config, &route, blocks))
        };
        tokio::time::timeout(DEADLINE, both).await.context("the bare load took too long")?
    })?;
    Ok(started.elapsed())
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> Result<()> {
    // `cargo test --benches` only asks whether it builds
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let (events, rounds) = (number("FOOTPRINT_BENCH_EVENTS", 1_000_000), number("FOOTPRINT_BENCH_ROUNDS", 3));
    let runtime = tokio::runtime::Runtime::new()?;
    let stack = Stack::start(StackOptions::default())?;
    stack.kafka()?.create_topic(TOPIC, PARTITIONS, &[])?;
    let filling = Site::new(&stack, "filling")?;
    filling.footprint(&["generate", "--count", &events.to_string(), "--bad-share", "0", "--seed", "1"])?;
    let route = Config::load(None, &[])?.routes[0].clone();
    let prepared = prepare(&route, events)?;

    println!("{events} events, {PARTITIONS} partitions, {rounds} rounds; seconds, and thousand events a second");
    println!("round   bare load          footprint run (whole process)   ratio");
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let site = Site::new(&stack, &format!("bare_{round}"))?;
        let bare = bare(&runtime, &site, &prepared)?;
        ensure!(site.counts()? == (prepared.rows, prepared.rows), "the bare load stored {:?}", site.counts()?);
        let site = Site::new(&stack, &format!("run_{round}"))?;
        let run = site.footprint(&["run", "--until-caught-up"])?;
        ensure!(site.counts()? == (events, events), "footprint stored {:?}", site.counts()?);
        let rate = |elapsed: Duration| events as f64 / elapsed.as_secs_f64() / 1_000.0;
        let ratio = bare.as_secs_f64() / run.as_secs_f64();
        println!(
            "{round:>5}   {:>6.2} s {:>7.0} k/s   {:>6.2} s {:>7.0} k/s              {ratio:>6.2}",
            bare.as_secs_f64(),
            rate(bare),
            run.as_secs_f64(),
            rate(run)
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2} (start-up, joining the group and leaving it included)", ratios[ratios.len() / 2]);
    Ok(())
}
