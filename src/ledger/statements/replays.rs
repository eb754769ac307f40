//! The ledger's part of a replay of dead letters: the lock that one replay of a route holds, and the batch that is being stored.

use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::{Offset, Partition};
use tokio_postgres::{Client, Error, Row};
use xxhash_rust::xxh3::xxh3_64;

/// A batch of dead letters that is being stored again. Its letters are of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The life of the topic.
    pub source: SourceId,
    /// The partition.
    pub partition: Partition,
    /// A random number, which is in the token of the batch's insert.
    pub number: i64,
    /// The fingerprint of the definition that decodes the batch.
    pub fingerprint: i64,
    /// The offsets of its dead letters.
    pub offsets: Vec<Offset>,
    /// The column `sink` of each.
    pub sinks: Vec<String>,
}

/// The advisory lock of a route's rows: who stores records again, or what a database lacks, holds it. Only the pipeline does not, which
/// never writes below its frontiers.
pub fn lock_key(route: &str) -> i64 {
    xxh3_64(format!("footprint repair\n{route}").as_bytes()).cast_signed()
}

/// Takes the lock of a route's rows. The session holds it until it ends. False: another session holds it.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn lock(client: &Client, route: &str) -> Result<bool, Error> {
    Ok(client.query_one("select pg_try_advisory_lock($1)", &[&lock_key(route)]).await?.get(0))
}

/// Writes that a batch begins.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn begin(client: &Client, route: &str, replay: &Replay) -> Result<(), Error> {
    let Replay { source, partition, number, fingerprint, offsets, sinks } = replay;
    let sql = "insert into footprint_replay (route, source, partition, number, fingerprint, offsets, sinks) \
               values ($1, $2, $3, $4, $5, $6, $7)";
    client.execute(sql, &[&route, &source.0, &partition, &number, &fingerprint, &offsets, &sinks]).await.map(drop)
}

/// Writes that a batch is stored. Returns the number of rows that said that it had begun.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn end(client: &Client, route: &str, replay: &Replay) -> Result<u64, Error> {
    let Replay { source, partition, number, .. } = replay;
    let sql = "delete from footprint_replay where route = $1 and source = $2 and partition = $3 and number = $4";
    client.execute(sql, &[&route, &source.0, &partition, &number]).await
}

/// The batches that have begun and not ended.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn begun(client: &Client, route: &str) -> Result<Vec<Replay>, Error> {
    let sql = "select source, partition, number, fingerprint, offsets, sinks from footprint_replay where route = $1 \
               order by source, partition";
    let replay = |row: &Row| Replay {
        source: SourceId(row.get(0)),
        partition: row.get(1),
        number: row.get(2),
        fingerprint: row.get(3),
        offsets: row.get(4),
        sinks: row.get(5),
    };
    Ok(client.query(sql, &[&route]).await?.iter().map(replay).collect())
}
