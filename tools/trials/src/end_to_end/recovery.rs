//! `recovery`: how soon rows are stored again after a kill, how soon after a start, and how a backlog is caught up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use footprint_service::config::Config;

use super::Bench;
use super::bare::Sinks;
use super::caught_up;
use super::check;
use super::parts::rest;
use super::producer::{Producer, Sender};
use super::site::{DEADLINE, Site};
use super::steady::{Consumer, LIMIT, until, wait_until_all_visible, wait_until_flowing};
use super::table::{Spread, Table, grouped, thousands_per_second};
use super::visible::{Sample, Sampler, now_us};

const LOOK_INTERVAL: Duration = Duration::from_millis(4);
/// Records sent one by one to an idle consumer.
const LONE_RECORDS: u32 = 20;
/// The shortest session timeout that the broker of `tools/stack` allows.
const BROKER_SESSION_MIN_MS: u32 = 1_000;

/// How soon rows are stored after a kill, after a start, and after a long pause.
#[derive(clap::Args, Debug)]
pub(super) struct RecoveryArgs {
    /// Events that wait for the consumer that catches up
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) backlog: u64,
    /// Events a second while the consumer is killed
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: u64,
    /// Partitions of the topics
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) partitions: u16,
}

/// Runs the scenario.
pub(super) fn run(bench: &Bench, args: &RecoveryArgs) -> Result<()> {
    let session_ms = Config::load(None, &[])?.kafka.session_timeout_ms;
    println!("recovery: {} partitions; killed under {} events a second", args.partitions, grouped(args.rate));
    println!(
        "(kafka.session_timeout_ms {}; the broker of the stack allows {} and more)",
        grouped(session_ms.into()),
        grouped(BROKER_SESSION_MIN_MS.into())
    );
    let mut table =
        Table::new(&["from the kill -9, another started at once", "first\npartition, s", "last\npartition, s"]);
    for (name, instance) in [("default settings", ""), ("an instance name, the same again", "bench")] {
        let [first, last] = kill(bench, args, instance)?;
        table.line(vec![format!("stored again: {name}"), format!("{first:.2}"), format!("{last:.2}")]);
    }
    table.print();
    println!();
    starts(bench, args)?;
    println!();
    backlog(bench, args)
}

/// Seconds from the kill until the first and the last partition have new rows of the next consumer.
fn kill(bench: &Bench, args: &RecoveryArgs, instance: &str) -> Result<[f64; 2]> {
    let topic = format!("bench_kill_{instance}");
    let kafka = bench.stack.kafka()?;
    kafka.create_topic(&topic, args.partitions, &[])?;
    let mut site = Site::new(bench, &topic)?;
    site.set("FOOTPRINT_KAFKA__INSTANCE_NAME", instance);
    rest(&bench.stack)?;
    let sampler = Sampler::postgres(&site, LOOK_INTERVAL)?;
    let mut consumer = Consumer::start(&site)?;
    let producer = Producer::start(kafka.bootstrap(), &topic, args.partitions, args.rate)?;
    wait_until_flowing(&sampler, args.partitions, std::slice::from_mut(&mut consumer))?;
    let before = sampler.latest();
    let killed_us = now_us();
    consumer.process.kill()?;
    let mut next = Consumer::start(&site)?;
    let again = |samples: &[Sample], epoch: i64| -> Option<i64> {
        // this counts neither the take-over itself nor rows that a transaction of the dead consumer still stored
        let taken = samples.iter().find(|sample| sample.epoch > epoch)?;
        Some(samples.iter().find(|sample| sample.epoch > epoch && sample.next > taken.next)?.at_us)
    };
    let mut times_us = sampler.wait("rows are stored again in every partition", LIMIT, |series| {
        next.process.must_run()?;
        Ok(before
            .iter()
            .map(|(partition, sample)| again(series.get(partition)?, sample.epoch))
            .collect::<Option<Vec<_>>>())
    })?;
    times_us.sort_unstable();
    let sent = producer.finish()?;
    wait_until_all_visible(&sampler, &site, std::slice::from_mut(&mut next))?;
    sampler.finish()?;
    next.process.drain(DEADLINE)?;
    let stored = check::topic(&site, Sinks::BOTH)?;
    ensure!(stored == sent.records, "{stored} of {} events were stored", sent.records);
    site.drop_databases()?;
    let seconds = |time_us: Option<&i64>| time_us.map_or(f64::NAN, |time_us| (time_us - killed_us) as f64 / 1e6);
    Ok([seconds(times_us.first()), seconds(times_us.last())])
}

/// Measures how long a start takes, and how long a lone record takes.
fn starts(bench: &Bench, args: &RecoveryArgs) -> Result<()> {
    let topic = "bench_starts";
    let kafka = bench.stack.kafka()?;
    bench.fill(topic, args.partitions, 1_000)?;
    let mut site = Site::new(bench, topic)?;
    // after this, everything is stored and committed
    caught_up::run(&mut site, Sinks::BOTH)?;
    rest(&bench.stack)?;
    let postgres = Sampler::postgres(&site, LOOK_INTERVAL)?;
    let clickhouse = Sampler::clickhouse(&site, args.partitions, LOOK_INTERVAL)?;
    let mut table = Table::new(&["starts and lone records", "ready\ns", "in PostgreSQL\ns", "in ClickHouse\ns"]);
    wait_until_all_visible(&postgres, &site, &mut [])?;
    wait_until_all_visible(&clickhouse, &site, &mut [])?;

    let started = Instant::now();
    let mut consumer = Consumer::start(&site)?;
    let all = u64::from(args.partitions);
    let ready = until("the consumer is ready", || Ok((consumer.owned()? == all).then(|| started.elapsed())))?;
    let cell = |seconds: f64| format!("{seconds:.3}");
    table.line(vec!["from its start, nothing to read, all partitions owned".into(), cell(ready.as_secs_f64())]);
    let spreads = lone_records(&site, &postgres, &clickhouse)?.map(Spread::of);
    let [medians, longest] = [spreads.map(|spread| spread.median), spreads.map(|spread| spread.max)];
    for (name, seconds) in [("median", medians), ("longest", longest)] {
        let mut cells = vec![format!("from a lone record's Kafka time, {name} of {LONE_RECORDS}"), String::new()];
        cells.extend(seconds.map(cell));
        table.line(cells);
    }
    consumer.process.drain(DEADLINE)?;

    Sender::connect(kafka.bootstrap())?.send(topic, 0)?;
    let started_us = now_us();
    let mut consumer = Consumer::start(&site)?;
    let [in_postgres, in_clickhouse] = seen_after(&site, &postgres, &clickhouse, started_us)?;
    table.line(vec!["from its start, one record waiting".into(), "".into(), cell(in_postgres), cell(in_clickhouse)]);
    consumer.process.drain(DEADLINE)?;
    check::topic(&site, Sinks::BOTH)?;
    postgres.finish()?;
    clickhouse.finish()?;
    table.print();
    site.drop_databases()
}

/// Seconds from a record's Kafka time until it is visible in each database, for each of [`LONE_RECORDS`]. The next one is sent when the
/// last one is stored.
fn lone_records(site: &Site<'_>, postgres: &Sampler, clickhouse: &Sampler) -> Result<[Vec<f64>; 2]> {
    let sender = Sender::connect(site.stack.kafka()?.bootstrap())?;
    let mut seconds = [Vec::new(), Vec::new()];
    // the first one does not count: it also waits for its sender to reach the broker
    for number in 0..=LONE_RECORDS {
        sender.send(&site.topic, 0)?;
        let seen = seen_after(site, postgres, clickhouse, 0)?;
        let sql = "select extract(epoch from received_at) from user_footprint where kafka_partition = 0 \
                   order by kafka_offset desc limit 1";
        let rows = site.postgres(sql)?;
        let received: f64 = rows.concat().first().context("the record has no time")?.parse()?;
        if number > 0 {
            seconds.iter_mut().zip(seen).for_each(|(seconds, seen)| seconds.push(seen - received));
        }
    }
    Ok(seconds)
}

/// Seconds from `from_us` until everything in partition 0 is visible in each database.
fn seen_after(site: &Site<'_>, postgres: &Sampler, clickhouse: &Sampler, from_us: i64) -> Result<[f64; 2]> {
    let end = site.stack.kafka()?.end_offsets(&site.topic)?.get(&0).copied().unwrap_or(0);
    let seen = |sampler: &Sampler| {
        sampler.wait("the record is stored", LIMIT, |series| {
            let samples = series.get(&0).map_or(&[][..], Vec::as_slice);
            Ok(samples.iter().find(|sample| sample.next >= end).map(|sample| sample.at_us))
        })
    };
    Ok([seen(postgres)?, seen(clickhouse)?].map(|at_us| (at_us - from_us) as f64 / 1e6))
}

/// Measures how a backlog is caught up.
fn backlog(bench: &Bench, args: &RecoveryArgs) -> Result<()> {
    let topic = "bench_backlog";
    bench.fill(topic, args.partitions, args.backlog)?;
    let mut site = Site::new(bench, topic)?;
    rest(&bench.stack)?;
    let run = caught_up::run(&mut site, Sinks::BOTH)?;
    let headings =
        ["a backlog caught up, events", "start to end\ns", "first read to\nlast stored, s", "k/s", "peak\nMiB"];
    let mut table = Table::new(&headings);
    table.line(vec![
        grouped(run.events),
        format!("{:.2}", run.whole.as_secs_f64()),
        format!("{:.2}", run.storing.as_secs_f64()),
        format!("{:.0}", thousands_per_second(run.events, run.storing)),
        format!("{:.0}", run.peak_bytes as f64 / f64::from(1 << 20)),
    ]);
    table.print();
    site.drop_databases()
}
