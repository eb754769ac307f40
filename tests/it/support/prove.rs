//! The proof: every good record exactly once in PostgreSQL and in ClickHouse, every bad one exactly once among the dead
//! letters, each with the values the oracle expects, and nothing else anywhere.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio_postgres::Row;

use super::consumer::Consumer;
use super::oracle::{Expected, Oracle, Place};
use super::postgres::Eye;
use super::stack;
use super::world::{STORED, World};

/// Faults named in a message, at most.
const SHOWN: usize = 12;

/// The rows found in one table.
struct Seen<'a> {
    table: &'static str,
    oracle: &'a Oracle,
    /// One flag for each offset, by source and partition.
    seen: BTreeMap<(i64, i32), Vec<bool>>,
    faults: Vec<String>,
}

impl<'a> Seen<'a> {
    fn new(table: &'static str, oracle: &'a Oracle) -> Self {
        let seen = oracle.logs.iter().map(|(&key, log)| (key, vec![false; log.len()])).collect();
        Self { table, oracle, seen, faults: Vec::new() }
    }

    fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    /// Notes a row of `place`.
    fn found(&mut self, place: Place) -> bool {
        let (source, partition, offset) = place;
        let flag = self.seen.get_mut(&(source, partition)).and_then(|log| log.get_mut(usize::try_from(offset).ok()?));
        match flag {
            None => self.fault(format!("{place:?} was never sent")),
            Some(true) => self.fault(format!("{place:?} is there twice")),
            Some(seen) => {
                *seen = true;
                return true;
            }
        }
        false
    }

    fn row(&mut self, place: Place, row: &Expected) {
        if !self.found(place) {
            return;
        }
        let Some(sent) = self.oracle.sent(place) else { return };
        match sent.fault {
            Some(code) => self.fault(format!("{place:?} is bad ({code}) and there")),
            None if sent.row() != *row => self.fault(format!("{place:?} is {row:?}, not {:?}", sent.row())),
            None => {}
        }
    }

    /// Ends the check of a table that must hold exactly the places for which `belongs` is true.
    fn end(mut self, belongs: impl Fn(Place, bool) -> bool) {
        for (&(source, partition), log) in &self.oracle.logs {
            for (index, sent) in log.iter().enumerate() {
                let place = (source, partition, i64::try_from(index).unwrap());
                let Some(sent) = sent else { continue };
                let seen = self.seen[&(source, partition)][index];
                let belongs = belongs(place, sent.fault.is_some());
                let may_be_missing = !seen && self.oracle.destroyed.contains(&source);
                if belongs != seen && !may_be_missing {
                    self.faults.push(format!("{place:?} is {}", if seen { "there" } else { "missing" }));
                }
            }
        }
        let count = self.faults.len();
        self.faults.truncate(SHOWN);
        assert!(count == 0, "{}: {count} faults:\n{}", self.table, self.faults.join("\n"));
    }
}

/// Proves the present contents, while no consumer runs or all are idle.
pub fn prove_tables(world: &mut World) {
    prove_route(&mut world.eye, &world.database, &world.oracle, "user_footprint");
}

/// The same for one route, whose tables have its name.
pub fn prove_route(eye: &mut Eye, database: &str, oracle: &Oracle, route: &str) {
    prove_clickhouse(database, oracle, route);
    let rows = eye.query(&format!(
        "select kafka_source, kafka_partition, kafka_offset, request, link,
         (extract(epoch from footprint_time) * 1000000)::bigint, (extract(epoch from received_at) * 1000000)::bigint
         from {route} where kafka_source is not null"
    ));
    let mut seen = Seen::new("postgresql", oracle);
    for row in &rows {
        let values = Expected {
            request: row.get(3),
            link: row.get(4),
            footprint_time_us: row.get(5),
            received_at_us: row.get(6),
        };
        seen.row((row.get(0), row.get(1), row.get(2)), &values);
    }
    let Oracle { not_in_postgres, refused_by_postgres, refused_by_clickhouse, .. } = oracle;
    seen.end(|place, bad| !bad && !not_in_postgres.contains(&place) && !refused_by_postgres.contains(&place));
    let (postgres, clickhouse) = (refused_by_postgres.clone(), refused_by_clickhouse.clone());
    let mut prove_letters = |sink, code, belongs: &dyn Fn(Place, bool) -> bool| {
        let rows = eye.query(&format!(
            "select kafka_source, kafka_partition, kafka_offset, key, payload, coalesce(jsonb_array_length(headers), 0),
             reason, (extract(epoch from received_at) * 1000000)::bigint
             from dead_letters where sink = '{sink}' and route = '{route}'"
        ));
        prove_dead_letters(&rows, oracle, code, belongs);
    };
    prove_letters("both", None, &|_, bad| bad);
    prove_letters("postgres", Some("postgres_refused"), &|place, _| postgres.contains(&place));
    prove_letters("clickhouse", Some("clickhouse_refused"), &|place, _| clickhouse.contains(&place));
}

/// The dead letters for one database, or for both.
fn prove_dead_letters(rows: &[Row], oracle: &Oracle, code: Option<&str>, belongs: impl Fn(Place, bool) -> bool) {
    let mut seen = Seen::new("dead_letters", oracle);
    for row in rows {
        let place = (row.get(0), row.get(1), row.get(2));
        if !seen.found(place) {
            continue;
        }
        let Some(sent) = seen.oracle.sent(place) else { continue };
        let (key, payload): (Option<&[u8]>, Option<&[u8]>) = (row.get(3), row.get(4));
        let (headers, reason, received_at_us): (i32, &str, i64) = (row.get(5), row.get(6), row.get(7));
        let wanted = code.or(sent.fault);
        let same = key == sent.key.as_deref()
            && payload == sent.payload.as_deref()
            && usize::try_from(headers) == Ok(sent.header_count)
            && reason.split(':').next() == wanted
            && received_at_us == sent.timestamp_ms * 1_000;
        if !same {
            let text = |bytes: Option<&[u8]>| {
                bytes.map(|bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned())
            };
            let what = format!(
                "{place:?} is {reason:?}, {:?}, {headers} headers, {received_at_us}; sent was {:?}, {:?}, {}, {}",
                text(payload),
                wanted,
                text(sent.payload.as_deref()),
                sent.header_count,
                sent.timestamp_ms
            );
            seen.fault(what);
        }
    }
    seen.end(belongs);
}

fn prove_clickhouse(database: &str, oracle: &Oracle, route: &str) {
    let server = stack().clickhouse().unwrap();
    let client = clickhouse::Client::default()
        .with_url(format!("http://{}:{}", server.host(), server.http_port()))
        .with_user(server.admin_user())
        .with_password(server.admin_password())
        .with_database(database);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut seen = Seen::new("clickhouse", oracle);
    runtime.block_on(async {
        let sql = format!(
            "select assumeNotNull(kafka_source), assumeNotNull(kafka_partition), assumeNotNull(kafka_offset),
            toString(request), link, toUnixTimestamp64Micro(footprint_time), toUnixTimestamp64Micro(assumeNotNull(received_at))
            from {route} where isNotNull(kafka_source)"
        );
        let mut rows = client.query(&sql).fetch::<(i64, i32, i64, String, String, i64, i64)>().unwrap();
        while let Some((source, partition, offset, request, link, footprint_time_us, received_at_us)) =
            rows.next().await.unwrap()
        {
            seen.row((source, partition, offset), &Expected { request, link, footprint_time_us, received_at_us });
        }
    });
    let Oracle { not_in_clickhouse, refused_by_clickhouse, .. } = oracle;
    seen.end(|place, bad| !bad && !not_in_clickhouse.contains(&place) && !refused_by_clickhouse.contains(&place));
}

/// Proves that exactly the records sent are stored, and that new records still arrive.
pub fn prove(world: &mut World, consumers: &mut [&mut Consumer]) {
    // enough to reach every partition
    let fresh = 50 * usize::from(world.partitions);
    let source = world.send(fresh);
    world.wait_stored(source, STORED, consumers);
    prove_tables(world);
    let committed_past_end: HashSet<i32> = world
        .committed()
        .into_iter()
        .filter(|(partition, (offset, _))| *offset > world.oracle.end(source, *partition))
        .map(|(partition, _)| partition)
        .collect();
    assert!(committed_past_end.is_empty(), "committed past the end: {committed_past_end:?}");
}

/// The same within `deadline`.
pub fn prove_within(world: &mut World, deadline: Duration, consumers: &mut [&mut Consumer]) {
    let source = world.source();
    world.wait_stored(source, deadline, consumers);
    prove(world, consumers);
}
