//! `latency`: how long after its Kafka timestamp an event is visible in each database, under a steady load.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::bare::Sinks;
use super::check;
use super::parts::{Parts, rest};
use super::producer::Producer;
use super::site::{DEADLINE, Site};
use super::steady::{Consumer, until, wait_until_all_visible, wait_until_flowing};
use super::table::{Table, grouped, share};
use super::visible::{Sample, Sampler, Seen, Series, now_us};

/// The load flows for this long before anything is measured.
const WARM_UP: Duration = Duration::from_secs(3);
/// The time between two looks at PostgreSQL.
const LOOK_INTERVAL: Duration = Duration::from_millis(4);
/// The time between two looks at ClickHouse. An answer costs it milliseconds of a core: if it were asked as often as PostgreSQL, it would
/// do nothing else.
const COSTLY_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How late events are visible under a steady load.
#[derive(clap::Args, Debug)]
pub(super) struct LatencyArgs {
    /// Events a second
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: u64,
    /// Seconds that are measured, after three to warm up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) seconds: u64,
    /// Partitions of the topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) partitions: u16,
}

/// The measurements of one load.
pub(super) struct Measured {
    /// Milliseconds from each event's Kafka time until it was visible: in PostgreSQL, in ClickHouse, in both.
    pub(super) latencies_ms: [Vec<f64>; 3],
    /// Inserts into ClickHouse, a second.
    pub(super) inserts_per_second: f64,
    /// The looks at PostgreSQL and at ClickHouse.
    seen: [Seen; 2],
    span_seconds: f64,
    producer_late: Duration,
}

/// Runs the scenario.
pub(super) fn run(bench: &Bench, args: &LatencyArgs) -> Result<()> {
    let topic = "bench_latency";
    make_topic(bench, topic, args.partitions)?;
    let site = Site::new(bench, topic)?;
    let measured = measure(&site, args)?;
    site.drop_databases()?;
    let [in_postgres, in_clickhouse, in_both] = &measured.latencies_ms;
    println!(
        "latency: {} events a second wanted, {:.0} sent, {} partitions, {} events in {:.1} s",
        grouped(args.rate),
        in_both.len() as f64 / measured.span_seconds,
        args.partitions,
        grouped(in_both.len() as u64),
        measured.span_seconds
    );
    let headings = ["visible in", "p50\nms", "p99\nms", "max\nms", "a look every\nms, median", "\nms, longest"];
    let mut table = Table::new(&headings);
    let [postgres, clickhouse] = &measured.seen;
    table.line(line("PostgreSQL", in_postgres, Some(postgres)));
    table.line(line("ClickHouse", in_clickhouse, Some(clickhouse)));
    table.line(line("both", in_both, None));
    table.print();
    println!("ClickHouse inserts: {:.1} a second", measured.inserts_per_second);
    println!("the producer was {:.0} ms behind its rate at worst", measured.producer_late.as_secs_f64() * 1e3);
    Ok(())
}

/// Makes a topic whose records have the broker's time. So the time that the producer holds records back does not count against the
/// consumer.
pub(super) fn make_topic(bench: &Bench, topic: &str, partitions: u16) -> Result<()> {
    Ok(bench.stack.kafka()?.create_topic(topic, partitions, &[("message.timestamp.type", "LogAppendTime")])?)
}

/// Starts a consumer and a steady load on the site's topic, which is empty, and measures.
pub(super) fn measure(site: &Site<'_>, args: &LatencyArgs) -> Result<Measured> {
    rest(site.stack)?;
    let mut consumer = Consumer::start(site)?;
    let running = std::slice::from_mut(&mut consumer);
    let postgres = Sampler::postgres(site, LOOK_INTERVAL)?;
    let clickhouse = Sampler::clickhouse(site, args.partitions, COSTLY_LOOK_INTERVAL)?;
    until("the consumer owns every partition", || {
        Ok((running[0].owned()? == u64::from(args.partitions)).then_some(()))
    })?;
    let producer = Producer::start(site.stack.kafka()?.bootstrap(), &site.topic, args.partitions, args.rate)?;
    wait_until_flowing(&postgres, args.partitions, running)?;
    wait_until_flowing(&clickhouse, args.partitions, running)?;
    // this is the length of the load, not a wait for something to happen
    std::thread::sleep(WARM_UP);
    let (from_us, inserts) = (now_us(), Parts::of(site)?.inserts);
    std::thread::sleep(Duration::from_secs(args.seconds));
    let (to_us, inserts) = (now_us(), Parts::of(site)?.inserts - inserts);
    let sent = producer.finish()?;
    wait_until_all_visible(&postgres, site, running)?;
    wait_until_all_visible(&clickhouse, site, running)?;
    let seen = [postgres.finish()?, clickhouse.finish()?];
    consumer.process.drain(DEADLINE)?;
    let stored = check::topic(site, Sinks::BOTH)?;
    ensure!(stored == sent.records, "{stored} of {} events were stored", sent.records);
    let latencies_ms = latencies(site, &seen[0].series, &seen[1].series, from_us, to_us)?;
    let span_seconds = (to_us - from_us) as f64 / 1e6;
    let inserts_per_second = inserts as f64 / span_seconds;
    Ok(Measured { latencies_ms, inserts_per_second, seen, span_seconds, producer_late: sent.late })
}

fn line(name: &str, latencies_ms: &[f64], seen: Option<&Seen>) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    cells.extend([0.5, 0.99, 1.0].map(|part| format!("{:.0}", share(latencies_ms, part))));
    if let Some(seen) = seen {
        let mut intervals = seen.intervals_ms.clone();
        intervals.sort_by(f64::total_cmp);
        cells.extend([0.5, 1.0].map(|part| format!("{:.1}", share(&intervals, part))));
    }
    cells
}

/// Milliseconds from each event's Kafka time, in `from_us..to_us`, until it was seen: in PostgreSQL, in ClickHouse, in both. Each list is
/// sorted.
fn latencies(
    site: &Site<'_>,
    postgres: &Series,
    clickhouse: &Series,
    from_us: i64,
    to_us: i64,
) -> Result<[Vec<f64>; 3]> {
    let rows = site.postgres(&format!(
        "select kafka_partition, kafka_offset, (extract(epoch from received_at) * 1000000)::bigint from user_footprint \
         where received_at >= to_timestamp({from_us}::numeric / 1000000) \
         and received_at < to_timestamp({to_us}::numeric / 1000000)"
    ))?;
    let mut latencies = [Vec::new(), Vec::new(), Vec::new()];
    for row in rows {
        let [partition, offset, received_us] = row.as_slice() else { continue };
        let (partition, offset, received_us): (i32, i64, i64) =
            (partition.parse()?, offset.parse()?, received_us.parse()?);
        let postgres_us = seen_us(postgres, partition, offset).context("an event was never seen in PostgreSQL")?;
        let clickhouse_us = seen_us(clickhouse, partition, offset).context("an event was never seen in ClickHouse")?;
        let times = [postgres_us, clickhouse_us, postgres_us.max(clickhouse_us)];
        for (latencies, seen_us) in latencies.iter_mut().zip(times) {
            latencies.push((seen_us - received_us) as f64 / 1e3);
        }
    }
    ensure!(!latencies[0].is_empty(), "no event was measured");
    latencies.iter_mut().for_each(|latencies| latencies.sort_by(f64::total_cmp));
    Ok(latencies)
}

fn seen_us(series: &Series, partition: i32, offset: i64) -> Option<i64> {
    let samples: &Vec<Sample> = series.get(&partition)?;
    Some(samples.get(samples.partition_point(|sample| sample.next <= offset))?.at_us)
}
