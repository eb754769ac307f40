//! A consumer group under a steady load, and the questions that its scenarios share.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::site::{DEADLINE, Site};
use super::visible::{Sample, Sampler, Series};
use crate::trial::Process;

/// Limit for anything that a group does: well above a session timeout and a drain.
pub(super) const LIMIT: Duration = Duration::from_secs(120);
const ASK_LIMIT: Duration = Duration::from_secs(5);
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// A running consumer and its page of metrics.
pub(super) struct Consumer {
    /// The process.
    pub(super) process: Process,
    address: Option<String>,
}

impl Consumer {
    /// Starts `footprint run`.
    pub(super) fn start(site: &Site<'_>) -> Result<Self> {
        Ok(Self { process: site.start(&["run"])?, address: None })
    }

    /// The sum of a metric's values whose labels contain `label`. 0 before there is any.
    pub(super) fn metric(&mut self, name: &str, label: &str) -> Result<f64> {
        self.process.must_run()?;
        let Some(page) = self.page("/metrics")? else { return Ok(0.0) };
        let values = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
        Ok(values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    /// Partitions that it owns; 0 until its ledger answers and it has joined the group.
    pub(super) fn owned(&mut self) -> Result<u64> {
        self.process.must_run()?;
        let Some(page) = self.page("/readyz")? else { return Ok(0) };
        // in JSON, and before that in words: builds of both kinds are compared
        let owned = page.split_once("partitions").map_or("", |(_, rest)| rest.trim_start_matches(['"', ':', ' ']));
        let owned = owned.split(|end: char| !end.is_ascii_digit()).next().unwrap_or_default();
        Ok(if page.starts_with("HTTP/1.1 200") { owned.parse().context("/readyz says no partitions")? } else { 0 })
    }

    /// A page of its HTTP server. None before the server listens.
    fn page(&mut self, path: &str) -> Result<Option<String>> {
        if self.address.is_none() {
            let log = self.process.stderr_text();
            self.address = log
                .split_once("metrics at http://")
                .and_then(|(_, rest)| Some(rest.split_once("/metrics")?.0.to_owned()));
        }
        let Some(address) = &self.address else { return Ok(None) };
        let mut stream = TcpStream::connect(address).context("footprint's metrics")?;
        stream.set_read_timeout(Some(ASK_LIMIT))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("footprint's metrics")?;
        Ok(Some(answer))
    }
}

/// Asks `question` until it has an answer.
pub(super) fn until<T>(what: &str, mut question: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        if started.elapsed() > LIMIT {
            bail!("not in {LIMIT:?}: {what}");
        }
        std::thread::sleep(ASK_INTERVAL);
    }
}

/// Waits until every partition has moved forward twice. Then the load flows everywhere.
pub(super) fn wait_until_flowing(sampler: &Sampler, partitions: u16, consumers: &mut [Consumer]) -> Result<()> {
    for _ in 0..2 {
        let before = sampler.latest();
        sampler.wait("every partition moves", LIMIT, |series| {
            must_run(consumers)?;
            Ok(moved(series, partitions, &before).then_some(()))
        })?;
    }
    Ok(())
}

fn moved(series: &Series, partitions: u16, before: &BTreeMap<i32, Sample>) -> bool {
    let next_before = |partition| before.get(partition).map_or(0, |sample| sample.next);
    series.len() == usize::from(partitions)
        && series.iter().all(|(partition, samples)| samples.last().is_some_and(|s| s.next > next_before(partition)))
}

/// Waits until everything that the topic holds is visible.
pub(super) fn wait_until_all_visible(sampler: &Sampler, site: &Site<'_>, consumers: &mut [Consumer]) -> Result<()> {
    let ends = site.stack.kafka()?.end_offsets(&site.topic)?;
    sampler.wait("everything is stored", DEADLINE, |series| {
        must_run(consumers)?;
        let next = |partition| series.get(partition).and_then(|samples| samples.last()).map_or(0, |sample| sample.next);
        Ok(ends.iter().all(|(partition, &end)| next(partition) >= end).then_some(()))
    })
}

/// Fails if one of the consumers has ended, because waiting is then useless. The error shows its log.
pub(super) fn must_run(consumers: &mut [Consumer]) -> Result<()> {
    consumers.iter_mut().try_for_each(|consumer| consumer.process.must_run())
}
