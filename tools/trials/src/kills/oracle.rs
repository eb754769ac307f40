//! Checks what is stored of the records that `site` has sent. Each identity must be in each database once, with the values that follow from
//! its place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::member::Member;
use super::site::{BAD_EVERY, BAD_REMAINDER, EVENTS_BEGIN_S, REFUSED_REMAINDER, Site, Topic};
use crate::trial::oracle::{RowConditions, Scope, judge};

/// Everything that was sent must be stored within this time.
const STORED_LIMIT: Duration = Duration::from_secs(90);
/// The time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The condition that a dead letter for one database is of a record that a table may refuse, and has the record's own payload.
const REFUSED_FITS: &str = concat!(
    "(kafka_offset % 8 = 5 and reason like sink || '_refused: %' and payload = convert_to('{\"method\":\"' || ",
    "case when kafka_offset % 2 = 0 then 'GET' else 'POST' end || '\",\"link\":\"https://kills.example/' || ",
    "topic || '/' || kafka_partition || '/' || kafka_offset || '\",\"footprint_time\":' || ",
    "1714953600 + kafka_offset || '}', 'UTF8'))"
);
const _: () = assert!(BAD_EVERY == 8 && REFUSED_REMAINDER == 5 && EVENTS_BEGIN_S == 1_714_953_600);

impl Site<'_> {
    /// Waits until everything sent to the topic that is read is stored, while all of `members` run.
    pub(super) fn wait_stored(&self, members: &mut [&mut Member]) -> Result<()> {
        let topic = self.topic()?;
        let end = Instant::now() + STORED_LIMIT;
        loop {
            let [behind, unrecorded] = self.behind(topic)?;
            // ClickHouse holds rows before the ledger knows of them. If the ledger knows of rows that ClickHouse does not hold, they are
            // lost, and `judge` finds that
            if behind == 0 && (self.held_by_clickhouse()? >= good(topic) || unrecorded == 0) {
                return Ok(());
            }
            for member in &mut *members {
                member.must_run().with_context(|| format!("{behind} records to go"))?;
            }
            ensure!(
                Instant::now() < end,
                "after {} s {behind} records are not in PostgreSQL, {unrecorded} not known to be in ClickHouse",
                STORED_LIMIT.as_secs()
            );
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Records that the ledger does not count among PostgreSQL's, and those it does not count among ClickHouse's.
    fn behind(&self, topic: &Topic) -> Result<[i64; 2]> {
        let rows = self.watch.ask(&format!(
            "select l.postgres_next, l.clickhouse_next from footprint_ledger l join footprint_source s on s.id = l.source \
             where s.topic = '{}'",
            topic.name
        ))?;
        let mut behind = [topic.ends.iter().sum::<i64>(); 2];
        for row in rows {
            for (cell, behind) in row.iter().zip(&mut behind) {
                *behind -= cell.parse::<i64>().context("a ledger row without a number")?;
            }
        }
        Ok(behind)
    }

    fn held_by_clickhouse(&self) -> Result<i64> {
        let Some(source) = self.source()? else { return Ok(0) };
        let sql = format!(
            "select uniqExact(kafka_partition, kafka_offset) from prd.user_footprint where kafka_source = {source}"
        );
        self.watch.clickhouse(&sql)?.concat().concat().parse().context("a count that is no number")
    }

    /// Compares the topic that is read, or all of them, row by row.
    pub(super) fn judge(&self, all: bool) -> Result<()> {
        let topics = if all { &self.topics[..] } else { self.topics.last().map_or(&[][..], std::slice::from_ref) };
        let sources = self.sources(topics)?;
        let mut ends = BTreeMap::new();
        for (id, topic) in &sources {
            for (partition, &end) in topic.ends.iter().enumerate() {
                ends.insert((id.clone(), i32::try_from(partition)?), end);
            }
        }
        let ids: Vec<&str> = sources.iter().map(|(id, _)| id.as_str()).collect();
        let limit = if all { "true".to_owned() } else { format!("kafka_source in ({})", ids.join(", ")) };
        let scope = Scope { sources: &limit, counts_offsets: true };
        judge(&self.watch, &ends, scope, &self.conditions(&sources))?.must_be_clean()
    }

    fn sources<'t>(&self, topics: &'t [Topic]) -> Result<Vec<(String, &'t Topic)>> {
        let rows = self.watch.ask("select id, topic from footprint_source")?;
        topics
            .iter()
            .map(|topic| {
                let row = rows.iter().find(|row| row.get(1) == Some(&topic.name));
                let id = row.and_then(|row| row.first()).with_context(|| format!("{} is unknown", topic.name))?;
                Ok((id.clone(), topic))
            })
            .collect()
    }

    /// The conditions that rows and dead letters hold what was sent to their places.
    fn conditions(&self, sources: &[(String, &Topic)]) -> RowConditions {
        let began_ms = self.began_ms;
        let ids: Vec<String> = sources.iter().map(|(id, _)| format!("toInt64({id})")).collect();
        let topics: Vec<String> = sources.iter().map(|(_, topic)| format!("'{}'", topic.name)).collect();
        let received = format!("(extract(epoch from received_at) * 1000)::bigint = {began_ms} + kafka_offset");
        let postgres_row = format!(
            "link = 'https://kills.example/' || topic || '/' || kafka_partition || '/' || kafka_offset \
             and request = case when kafka_offset % 2 = 0 then 'GET' else 'POST' end \
             and footprint_time = to_timestamp({EVENTS_BEGIN_S} + kafka_offset) and {received} \
             and kafka_offset % {BAD_EVERY} <> {BAD_REMAINDER}"
        );
        let clickhouse_row = format!(
            "link = concat('https://kills.example/', transform(kafka_source, [{}], [{}], '?'), '/', \
             toString(kafka_partition), '/', toString(kafka_offset)) \
             and toString(request) = if(kafka_offset % 2 = 0, 'GET', 'POST') \
             and toUnixTimestamp64Micro(footprint_time) = ({EVENTS_BEGIN_S} + kafka_offset) * 1000000 \
             and toUnixTimestamp64Micro(received_at) = ({began_ms} + kafka_offset) * 1000 \
             and kafka_offset % {BAD_EVERY} <> {BAD_REMAINDER}",
            ids.join(", "),
            topics.join(", ")
        );
        let letter = format!(
            "{received} and case sink when 'both' then kafka_offset % {BAD_EVERY} = {BAD_REMAINDER} \
             and payload = convert_to('no event: ' || topic || '/' || kafka_partition || '/' || kafka_offset, 'UTF8') \
             else {REFUSED_FITS} end"
        );
        RowConditions { postgres_row, clickhouse_row, letter }
    }
}

/// Offsets below `end` whose records can be stored.
fn good_below(end: i64) -> i64 {
    end - (end + BAD_EVERY - 1 - BAD_REMAINDER) / BAD_EVERY
}

fn good(topic: &Topic) -> i64 {
    topic.ends.iter().map(|&end| good_below(end)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_offsets_are_counted() {
        for end in 0..100 {
            let good = (0..end).filter(|offset| offset % BAD_EVERY != BAD_REMAINDER).count();
            assert_eq!(good_below(end), good as i64, "{end}");
        }
    }
}
