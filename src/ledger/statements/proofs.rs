//! What was proven of each partition: by the audit, and by `verify`. No statement of the protocol reads it.

use std::collections::BTreeMap;

use footprint_protocol::offset::{Offset, Partition};
use tokio_postgres::{Client, Error, GenericClient};

/// Who proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prover {
    /// The audit, while `run` works.
    Audit,
    /// `footprint verify`.
    Verify,
}

impl Prover {
    fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Verify => "verify",
        }
    }
}

/// One row: a partition, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The source and the partition.
    pub key: (i64, Partition),
    /// Every offset from here on was compared,
    pub start: Offset,
    /// up to here.
    pub end: Offset,
    /// Rows compared: PostgreSQL's with the dead letters, ClickHouse's.
    pub rows: [u64; 2],
    /// Faults that are there now, of PostgreSQL and of ClickHouse: lost, doubled, changed.
    pub faults: [[u64; 3]; 2],
    /// The first of them, in words.
    pub example: Option<String>,
    /// Where the audit's ranges with a fault begin.
    pub faulty_ranges: Vec<Offset>,
}

/// How far the audit has come in a partition, by its last row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Every offset from here on was compared,
    pub start: Offset,
    /// up to here.
    pub end: Offset,
    /// Where ranges with a fault begin.
    pub faulty_ranges: Vec<Offset>,
}

/// How far the audit has come in the partitions of a source.
///
/// # Errors
/// PostgreSQL refuses, or the table is not there.
pub async fn reached(client: &Client, route: &str, source: i64) -> Result<BTreeMap<Partition, Reached>, Error> {
    let sql = "select partition, start_offset, end_offset, faulty_ranges from footprint_proof \
               where route = $1 and source = $2 and proven_by = 'audit'";
    let rows = client.query(sql, &[&route, &source]).await?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), Reached { start: row.get(1), end: row.get(2), faulty_ranges: row.get(3) }))
        .collect())
}

/// Writes one row in place of the last one.
///
/// # Errors
/// PostgreSQL refuses, or the table is not there.
pub async fn save(client: &impl GenericClient, route: &str, prover: Prover, proof: &Proof) -> Result<(), Error> {
    let sql = "insert into footprint_proof values ($1, $2, $3, $4, $5, $6, clock_timestamp(), $7, $8, $9, $10, $11, $12, $13, $14, \
               $15, $16) on conflict (route, source, partition, proven_by) do update set start_offset = excluded.start_offset, \
               end_offset = excluded.end_offset, proven_at = excluded.proven_at, postgres_rows = excluded.postgres_rows, \
               clickhouse_rows = excluded.clickhouse_rows, postgres_lost = excluded.postgres_lost, \
               postgres_doubled = excluded.postgres_doubled, postgres_changed = excluded.postgres_changed, \
               clickhouse_lost = excluded.clickhouse_lost, clickhouse_doubled = excluded.clickhouse_doubled, \
               clickhouse_changed = excluded.clickhouse_changed, example = excluded.example, \
               faulty_ranges = excluded.faulty_ranges";
    let (source, partition) = proof.key;
    let [postgres_rows, clickhouse_rows] = proof.rows.map(count);
    let [postgres, clickhouse] = proof.faults.map(|faults| faults.map(count));
    let statement = client.prepare(sql).await?;
    client
        .execute(
            &statement,
            &[
                &route,
                &source,
                &partition,
                &prover.as_str(),
                &proof.start,
                &proof.end,
                &postgres_rows,
                &clickhouse_rows,
                &postgres[0],
                &postgres[1],
                &postgres[2],
                &clickhouse[0],
                &clickhouse[1],
                &clickhouse[2],
                &proof.example,
                &proof.faulty_ranges,
            ],
        )
        .await
        .map(|_| ())
}

/// A count as PostgreSQL's bigint.
fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
