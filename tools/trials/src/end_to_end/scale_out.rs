//! `scale-out`: one, two and four consumers of one group, and the pause that a take-over costs a partition.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::bare::Sinks;
use super::check;
use super::parts::rest;
use super::producer::Producer;
use super::site::{DEADLINE, Site};
use super::steady::{Consumer, until, wait_until_all_visible, wait_until_flowing};
use super::table::{Table, grouped, share};
use super::visible::{Sample, Sampler, Series, now_us};

/// The time between two looks while throughput is measured. Such looks cost hardly anything.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// The time between two looks while pauses are measured.
const PAUSE_LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// The load flows for this long before a consumer joins, to show the usual gaps.
const USUAL: Duration = Duration::from_secs(3);

/// What more consumers of one group bring, and what their joining and leaving costs.
#[derive(clap::Args, Debug)]
pub(super) struct ScaleOutArgs {
    /// Events that the consumers find
    #[arg(long, default_value_t = 4_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) events: u64,
    /// Partitions of the topic
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(2..))]
    pub(super) partitions: u16,
    /// Numbers of consumers
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4])]
    pub(super) consumers: Vec<usize>,
    /// Events a second while consumers join and leave
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: u64,
}

/// Runs the scenario.
pub(super) fn run(bench: &Bench, args: &ScaleOutArgs) -> Result<()> {
    let topic = "bench_scale_out";
    bench.fill(topic, args.partitions, args.events)?;
    println!("scale-out: {} events, {} partitions", grouped(args.events), args.partitions);
    let headings = ["consumers", "start to end\ns", "stored\nk/s", "x", "rows in PostgreSQL by each, thousands"];
    let mut table = Table::new(&headings);
    let mut first = None;
    for &count in &args.consumers {
        let (whole, rate, rows) = together(bench, topic, args, count)?;
        let first = *first.get_or_insert(rate);
        let each: Vec<String> = rows.iter().map(|rows| format!("{:.0}", rows / 1e3)).collect();
        table.line(vec![
            count.to_string(),
            format!("{whole:.2}"),
            format!("{:.0}", rate / 1e3),
            format!("{:.2}", rate / first),
            each.join(" "),
        ]);
        if rows.contains(&0.0) {
            println!("note: of {count} consumers one came too late to store anything; take more --events");
        }
    }
    table.print();
    println!();
    pauses(bench, args)
}

/// Starts `count` consumers at once on a full topic. Returns the seconds in all, the rows a second from the first rows seen to the last,
/// and the rows that each consumer stored.
fn together(bench: &Bench, topic: &str, args: &ScaleOutArgs, count: usize) -> Result<(f64, f64, Vec<f64>)> {
    let site = Site::new(bench, topic)?;
    rest(&bench.stack)?;
    let sampler = Sampler::postgres(&site, LOOK_INTERVAL)?;
    let other = Sampler::clickhouse(&site, args.partitions, LOOK_INTERVAL)?;
    let started_us = now_us();
    let mut consumers = (0..count).map(|_| Consumer::start(&site)).collect::<Result<Vec<_>>>()?;
    wait_until_all_visible(&sampler, &site, &mut consumers)?;
    wait_until_all_visible(&other, &site, &mut consumers)?;
    let (seen, other) = (sampler.finish()?.series, other.finish()?.series);
    let label = r#"sink="postgres""#;
    let rows = consumers.iter_mut().map(|consumer| consumer.metric("footprint_sink_rows_total", label));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    // all are asked at once: if one drained alone, the others would first take its partitions over
    for consumer in &consumers {
        consumer.process.ask_to_end();
    }
    for mut consumer in consumers {
        consumer.process.succeed(DEADLINE)?;
    }
    check::topic(&site, Sinks::BOTH)?;
    let end_us = last_us(&seen).max(last_us(&other));
    // rows that the first look found were stored before that look
    let first_us = seen.values().flatten().filter(|sample| sample.next > 0).map(|sample| sample.at_us).min();
    let first_us = first_us.context("nothing was stored")?;
    let before: i64 =
        seen.values().filter_map(|samples| samples.iter().rfind(|s| s.at_us <= first_us)).map(|s| s.next).sum();
    let rate = (args.events as f64 - before as f64) / ((end_us - first_us) as f64 / 1e6);
    site.drop_databases()?;
    Ok(((end_us - started_us) as f64 / 1e6, rate, rows))
}

fn last_us(series: &Series) -> i64 {
    series.values().filter_map(|samples| Some(samples.last()?.at_us)).max().unwrap_or(0)
}

/// Measures the pauses of one consumer under a steady load, when a second one joins and then leaves.
fn pauses(bench: &Bench, args: &ScaleOutArgs) -> Result<()> {
    let topic = "bench_pauses";
    let kafka = bench.stack.kafka()?;
    kafka.create_topic(topic, args.partitions, &[])?;
    let site = Site::new(bench, topic)?;
    rest(&bench.stack)?;
    let all = u64::from(args.partitions);
    let mut first = Consumer::start(&site)?;
    let sampler = Sampler::postgres(&site, PAUSE_LOOK_INTERVAL)?;
    until("the first consumer owns every partition", || Ok((first.owned()? == all).then_some(())))?;
    let producer = Producer::start(kafka.bootstrap(), topic, args.partitions, args.rate)?;
    wait_until_flowing(&sampler, args.partitions, std::slice::from_mut(&mut first))?;
    let usual_us = now_us();
    // this is the length of the load, not a wait for something to happen
    std::thread::sleep(USUAL);

    let join_us = now_us();
    let mut second = Consumer::start(&site)?;
    until("the second consumer has its share", || {
        let owned = second.owned()?;
        Ok((owned > 0 && owned + first.owned()? == all).then_some(()))
    })?;
    wait_until_flowing(&sampler, args.partitions, std::slice::from_mut(&mut first))?;
    let leave_us = now_us();
    second.process.drain(DEADLINE)?;
    until("the first consumer owns every partition again", || Ok((first.owned()? == all).then_some(())))?;
    wait_until_flowing(&sampler, args.partitions, std::slice::from_mut(&mut first))?;
    let end_us = now_us();

    let sent = producer.finish()?;
    wait_until_all_visible(&sampler, &site, std::slice::from_mut(&mut first))?;
    let mut seen = sampler.finish()?;
    seen.intervals_ms.sort_by(f64::total_cmp);
    let series = seen.series;
    first.process.drain(DEADLINE)?;
    let stored = check::topic(&site, Sinks::BOTH)?;
    ensure!(stored == sent.records, "{stored} of {} events were stored", sent.records);

    println!("pauses in storing, a partition, at {} events a second", grouped(args.rate));
    let mut table = Table::new(&["", "partitions", "median\nms", "longest\nms"]);
    let spans =
        [("before", usual_us, join_us), ("a second joins", join_us, leave_us), ("the second leaves", leave_us, end_us)];
    for (name, from_us, to_us) in spans {
        for (kind, of_moved) in [("moved", true), ("stayed", false)] {
            let mut longest: Vec<f64> = series
                .values()
                .filter(|samples| moved(samples, from_us, to_us) == of_moved)
                .map(|samples| longest_pause_ms(samples, from_us, to_us))
                .collect();
            longest.sort_by(f64::total_cmp);
            if !longest.is_empty() {
                let [median, max] = [0.5, 1.0].map(|part| format!("{:.0}", share(&longest, part)));
                table.line(vec![format!("{name}: partitions that {kind}"), longest.len().to_string(), median, max]);
            }
        }
    }
    table.print();
    let [median, max] = [0.5, 1.0].map(|part| share(&seen.intervals_ms, part));
    println!("looked at every {median:.1} ms (median), {max:.1} ms (longest)");
    site.drop_databases()
}

/// Whether the partition was taken over in that time.
fn moved(samples: &[Sample], from_us: i64, to_us: i64) -> bool {
    let epoch_at = |time_us| samples.iter().rfind(|sample| sample.at_us <= time_us).map(|sample| sample.epoch);
    epoch_at(from_us) != epoch_at(to_us)
}

/// The longest time without new rows that ended in the given time. A pause that began before a consumer joined may still be due to its
/// joining.
fn longest_pause_ms(samples: &[Sample], from_us: i64, to_us: i64) -> f64 {
    let mut longest_us = 0;
    let mut last = None;
    // a take-over alone changes the epoch and stores nothing
    for sample in samples {
        match last {
            Some(Sample { next, .. }) if sample.next <= next => {}
            Some(Sample { at_us, .. }) if sample.at_us > from_us && sample.at_us <= to_us => {
                longest_us = longest_us.max(sample.at_us - at_us);
                last = Some(*sample);
            }
            _ => last = Some(*sample),
        }
    }
    longest_us as f64 / 1e3
}
