//! One `footprint run --until-caught-up` from start to end, measured as a process of its own, and checked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::bare::Sinks;
use super::check;
use super::cpu::ServersCpu;
use super::parts::{Parts, settle};
use super::site::Site;

/// What a run stored, and what it took.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Records stored.
    pub(super) events: u64,
    /// From the process's start to its end.
    pub(super) whole: Duration,
    /// From the first record read to the last stored. Rates and ratios use this time.
    pub(super) storing: Duration,
    /// CPU time of the process.
    pub(super) cpu: Duration,
    /// CPU seconds of the servers, including merges until they settled.
    pub(super) servers: ServersCpu,
    /// Peak resident memory of the process.
    pub(super) peak_bytes: u64,
    /// ClickHouse's parts right after the run.
    pub(super) parts: Parts,
}

/// Runs until everything in the site's topic is stored, and checks that it is, once.
pub(super) fn run(site: &mut Site<'_>, sinks: Sinks) -> Result<Run> {
    site.set("FOOTPRINT_POSTGRES__ENABLED", if sinks.postgres { "true" } else { "false" });
    site.set("FOOTPRINT_CLICKHOUSE__ENABLED", if sinks.clickhouse { "true" } else { "false" });
    let inserts_before = Parts::of(site)?.inserts;
    let before = ServersCpu::now(site.stack)?;
    let (ended, output) = site.footprint(&["run", "--until-caught-up"])?;
    let mut parts = Parts::of(site)?;
    parts.inserts -= inserts_before;
    settle(site.stack)?;
    let servers = ServersCpu::now(site.stack)? - before;
    let events = check::topic(site, sinks)?;
    let (records, storing) = said(&output).with_context(|| format!("footprint says {output:?}"))?;
    ensure!(records == events, "footprint says that it stored {records} records; the topic holds {events}");
    Ok(Run { events, whole: ended.elapsed, storing, cpu: ended.cpu, servers, peak_bytes: ended.peak_bytes, parts })
}

/// Reads `caught up: 2000000 records, 2.913 s from the first record read to the last stored`.
fn said(output: &str) -> Result<(u64, Duration)> {
    let rest = output.lines().find_map(|line| line.strip_prefix("caught up: ")).context("not that it caught up")?;
    let (records, rest) = rest.split_once(" records, ").context("no number of records")?;
    let seconds = rest.strip_suffix(" s from the first record read to the last stored").context("no time")?;
    Ok((records.parse()?, Duration::from_secs_f64(seconds.parse()?)))
}
