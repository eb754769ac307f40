//! The oracle: what was sent is stored, each identity once in each database, with the values it must have, and nothing else.
//! It knows what was sent from `site`, and asks the databases themselves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::life::Life;
use super::site::{BAD_EVERY, BAD_REMAINDER, EVENTS_BEGIN_S, REFUSED_REMAINDER, Site, Topic};

/// Everything that was sent must be stored within this of being asked for.
const STORED_LIMIT: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Whether a dead letter for one database is of a record that a table may refuse, with the record's own payload.
const REFUSED_FITS: &str = concat!(
    "(kafka_offset % 8 = 5 and reason like sink || '_refused: %' and payload = convert_to('{\"method\":\"' || ",
    "case when kafka_offset % 2 = 0 then 'GET' else 'POST' end || '\",\"link\":\"https://kills.example/' || ",
    "topic || '/' || kafka_partition || '/' || kafka_offset || '\",\"footprint_time\":' || ",
    "1714953600 + kafka_offset || '}', 'UTF8'))"
);
const _: () = assert!(BAD_EVERY == 8 && REFUSED_REMAINDER == 5 && EVENTS_BEGIN_S == 1_714_953_600);

/// What one database holds of one partition of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    count: i64,
    distinct: i64,
    first: i64,
    last: i64,
    /// Rows that are not what was sent there.
    wrong: i64,
}

impl Held {
    /// Of two tables that share no row: one that both hold is then doubled.
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.distinct += other.distinct;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.wrong += other.wrong;
    }
}

type Holdings = BTreeMap<(String, i32), Held>;

impl Site<'_> {
    /// Waits until everything sent to the topic that is read is stored, while all of `lives` live.
    pub(super) fn wait_stored(&self, lives: &mut [&mut Life]) -> Result<()> {
        let topic = self.topic()?;
        let end = Instant::now() + STORED_LIMIT;
        loop {
            let [behind, unrecorded] = self.behind(topic)?;
            // ClickHouse's rows come before the ledger knows of them; where it does and they are not there, they are lost:
            // the judgement will say so
            if behind == 0 && (self.held_by_clickhouse()? >= good(topic) || unrecorded == 0) {
                return Ok(());
            }
            for life in &mut *lives {
                if let Some(status) = life.ended()? {
                    bail!("footprint run ended by itself ({status}) with {behind} records to go");
                }
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
        let limit = |column: &str| {
            let ids: Vec<&str> = sources.iter().map(|(id, _)| id.as_str()).collect();
            if all { "true".to_owned() } else { format!("{column} in ({})", ids.join(", ")) }
        };
        let postgres = self.postgres(&limit("kafka_source"))?;
        let mut clickhouse = self.clickhouse(&sources, &limit("kafka_source"))?;
        for (place, letters) in self.clickhouse_letters(&limit("kafka_source"))? {
            clickhouse.entry(place).and_modify(|held| held.add(letters)).or_insert(letters);
        }
        let mut faults = Vec::new();
        for (id, topic) in &sources {
            for (partition, &end) in topic.ends.iter().enumerate() {
                let place = (id.clone(), i32::try_from(partition)?);
                let good = good_below(end);
                for (database, holdings, wanted) in [("PostgreSQL", &postgres, end), ("ClickHouse", &clickhouse, good)]
                {
                    let held = holdings.get(&place).copied().unwrap_or_default();
                    let (lost, doubled) = (wanted - held.distinct, held.count - held.distinct);
                    if (lost, doubled, held.wrong) != (0, 0, 0) || (wanted > 0 && (held.first < 0 || held.last >= end))
                    {
                        faults.push(format!(
                            "{database}, {} partition {partition}: {lost} lost, {doubled} doubled, {} not as sent, of \
                             {wanted}; offsets {} to {} of [0, {end})",
                            topic.name, held.wrong, held.first, held.last
                        ));
                    }
                }
            }
        }
        let known: Vec<&String> = sources.iter().map(|(id, _)| id).collect();
        for (database, holdings) in [("PostgreSQL", &postgres), ("ClickHouse", &clickhouse)] {
            for (source, partition) in holdings.keys().filter(|(source, _)| !known.contains(&source)) {
                faults.push(format!("{database} holds rows of source {source}, partition {partition}: never sent"));
            }
        }
        ensure!(faults.is_empty(), "the oracle found faults:\n{}", faults.join("\n"));
        Ok(())
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

    /// Dead letters for ClickHouse alone: they stand in its rows' place.
    fn clickhouse_letters(&self, limit: &str) -> Result<Holdings> {
        let began_ms = self.began_ms;
        let rows = self.watch.ask(&format!(
            "select kafka_source, kafka_partition, count(*), count(distinct kafka_offset), min(kafka_offset), \
             max(kafka_offset), count(*) filter (where ({REFUSED_FITS} \
             and (extract(epoch from received_at) * 1000)::bigint = {began_ms} + kafka_offset) is not true) \
             from dead_letters left join footprint_source s on s.id = kafka_source where sink = 'clickhouse' and {limit} \
             group by 1, 2"
        ))?;
        holdings(&rows)
    }

    /// Rows and dead letters.
    fn postgres(&self, limit: &str) -> Result<Holdings> {
        let began_ms = self.began_ms;
        let rows = self.watch.ask(&format!(
            "select kafka_source, kafka_partition, count(*), count(distinct kafka_offset), min(kafka_offset), \
             max(kafka_offset), count(*) filter (where fits is not true) from ( \
             select kafka_source, kafka_partition, kafka_offset, \
             link = 'https://kills.example/' || topic || '/' || kafka_partition || '/' || kafka_offset \
             and request = case when kafka_offset % 2 = 0 then 'GET' else 'POST' end \
             and footprint_time = to_timestamp({EVENTS_BEGIN_S} + kafka_offset) \
             and (extract(epoch from received_at) * 1000)::bigint = {began_ms} + kafka_offset \
             and kafka_offset % {BAD_EVERY} <> {BAD_REMAINDER} as fits \
             from user_footprint left join footprint_source s on s.id = kafka_source where {limit} \
             union all select kafka_source, kafka_partition, kafka_offset, \
             (extract(epoch from received_at) * 1000)::bigint = {began_ms} + kafka_offset \
             and case sink when 'both' then kafka_offset % {BAD_EVERY} = {BAD_REMAINDER} \
             and payload = convert_to('no event: ' || topic || '/' || kafka_partition || '/' || kafka_offset, 'UTF8') \
             else {REFUSED_FITS} and sink = 'postgres' end \
             from dead_letters left join footprint_source s on s.id = kafka_source where sink <> 'clickhouse' and {limit}) r \
             group by 1, 2"
        ))?;
        holdings(&rows)
    }

    fn clickhouse(&self, sources: &[(String, &Topic)], limit: &str) -> Result<Holdings> {
        let began_ms = self.began_ms;
        let ids: Vec<String> = sources.iter().map(|(id, _)| format!("toInt64({id})")).collect();
        let topics: Vec<String> = sources.iter().map(|(_, topic)| format!("'{}'", topic.name)).collect();
        let rows = self.watch.clickhouse(&format!(
            "select kafka_source, kafka_partition, count(), uniqExact(kafka_offset), min(kafka_offset), \
             max(kafka_offset), countIf(not (link = concat('https://kills.example/', \
             transform(kafka_source, [{}], [{}], '?'), '/', toString(kafka_partition), '/', toString(kafka_offset)) \
             and toString(request) = if(kafka_offset % 2 = 0, 'GET', 'POST') \
             and toUnixTimestamp64Micro(footprint_time) = ({EVENTS_BEGIN_S} + kafka_offset) * 1000000 \
             and toUnixTimestamp64Micro(received_at) = ({began_ms} + kafka_offset) * 1000 \
             and kafka_offset % {BAD_EVERY} <> {BAD_REMAINDER})) \
             from prd.user_footprint where {limit} group by 1, 2",
            ids.join(", "),
            topics.join(", ")
        ))?;
        holdings(&rows)
    }
}

/// Offsets below `end` whose records can be stored.
fn good_below(end: i64) -> i64 {
    end - (end + BAD_EVERY - 1 - BAD_REMAINDER) / BAD_EVERY
}

fn good(topic: &Topic) -> i64 {
    topic.ends.iter().map(|&end| good_below(end)).sum()
}

fn holdings(rows: &[Vec<String>]) -> Result<Holdings> {
    let mut holdings = Holdings::new();
    for row in rows {
        let number = |column: usize| -> Result<i64> {
            row.get(column).and_then(|cell| cell.parse().ok()).with_context(|| format!("no number in {row:?}"))
        };
        let held =
            Held { count: number(2)?, distinct: number(3)?, first: number(4)?, last: number(5)?, wrong: number(6)? };
        holdings.insert((number(0)?.to_string(), i32::try_from(number(1)?)?), held);
    }
    Ok(holdings)
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
