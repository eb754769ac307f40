//! What the ledger says about a route's past, for those who only read it: what was promised for each partition, which topics
//! the records came from, and which offsets were given up.

use std::collections::BTreeMap;

use footprint_protocol::offset::{Offset, Partition};
use tokio_postgres::{Client, Error, Row};

/// A partition's key: source and partition.
pub type Key = (i64, Partition);

/// One row of the ledger.
#[derive(Clone, Debug, Default)]
pub struct Promised {
    /// Every batch that was ever sent to a sink ends at or below it.
    pub claimed: Offset,
    /// Frontier of the dead letters.
    pub dead_letters_next: Offset,
    /// Frontier of PostgreSQL's rows. None: off.
    pub postgres_next: Option<Offset>,
    /// Frontier of ClickHouse's rows. None: off.
    pub clickhouse_next: Option<Offset>,
    /// Where PostgreSQL was switched off.
    pub postgres_stopped: Option<Offset>,
    /// Where ClickHouse was switched off.
    pub clickhouse_stopped: Option<Offset>,
    /// Where the partition first started. Rows below it are not footprint's. None: not known.
    pub first_offset: Option<Offset>,
}

const PROMISED: &str = "claimed, dead_letters_next, postgres_next, clickhouse_next, postgres_stopped, clickhouse_stopped, \
                        first_offset";

impl From<&Row> for Promised {
    /// From a row that starts with `PROMISED`.
    fn from(row: &Row) -> Self {
        Self {
            claimed: row.get(0),
            dead_letters_next: row.get(1),
            postgres_next: row.get(2),
            clickhouse_next: row.get(3),
            postgres_stopped: row.get(4),
            clickhouse_stopped: row.get(5),
            first_offset: row.get(6),
        }
    }
}

/// A source as the ledger knows it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its number.
    pub id: i64,
    /// The cluster's id.
    pub cluster_id: String,
    /// The topic's name.
    pub topic: String,
    /// Kafka's id of this life.
    pub topic_id: String,
}

/// A recorded gap.
#[derive(Clone, Debug)]
pub struct Gap {
    /// `both`, `postgres` or `clickhouse`.
    pub sink: String,
    /// Its start.
    pub start: Offset,
    /// Its end.
    pub end: Offset,
    /// Why.
    pub reason: String,
}

/// All of the ledger's rows of one route.
///
/// # Errors
/// PostgreSQL refuses, or the ledger is not there.
pub async fn promises(client: &Client, route: &str) -> Result<BTreeMap<Key, Promised>, Error> {
    let query = format!("select {PROMISED}, source, partition from footprint_ledger where route = $1");
    let rows = client.query(&query, &[&route]).await?;
    Ok(rows.iter().map(|row| ((row.get(7), row.get(8)), Promised::from(row))).collect())
}

/// The ledger's row of one partition, as it is now. None: there is none.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn promise(client: &Client, route: &str, (source, partition): Key) -> Result<Option<Promised>, Error> {
    let query = format!("select {PROMISED} from footprint_ledger where route = $1 and source = $2 and partition = $3");
    let row = client.query_opt(&query, &[&route, &source, &partition]).await?;
    Ok(row.as_ref().map(Promised::from))
}

/// All sources known, the oldest first.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn sources(client: &Client) -> Result<Vec<Source>, Error> {
    let query = "select id, cluster_id, topic, topic_id from footprint_source order by first_seen, id";
    let rows = client.query(query, &[]).await?;
    let source = |row: &Row| Source { id: row.get(0), cluster_id: row.get(1), topic: row.get(2), topic_id: row.get(3) };
    Ok(rows.iter().map(source).collect())
}

/// The route's recorded gaps by partition, in the order of their offsets.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn gaps(client: &Client, route: &str) -> Result<BTreeMap<Key, Vec<Gap>>, Error> {
    let query = "select source, partition, sink, start_offset, end_offset, reason from footprint_gap \
                 where route = $1 and start_offset < end_offset order by start_offset";
    let mut gaps = BTreeMap::<Key, Vec<Gap>>::new();
    for row in client.query(query, &[&route]).await? {
        let gap = Gap { sink: row.get(2), start: row.get(3), end: row.get(4), reason: row.get(5) };
        gaps.entry((row.get(0), row.get(1))).or_default().push(gap);
    }
    Ok(gaps)
}

/// The texts of the route's definitions that the ledger keeps, the newest first.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn definitions(client: &Client, route: &str) -> Result<Vec<String>, Error> {
    let query = "select definition from footprint_definition where route = $1 order by noted_at desc, fingerprint";
    let rows = client.query(query, &[&route]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
