//! Claims and heartbeats: statements that serve many partitions at once. Also the read of one row after an answer was refused or lost.

use footprint_protocol::ledger::Progress;
use footprint_protocol::offset::{Offset, Partition, Range};
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::{Fence, Ledger, LedgerError, read_frontiers};
use crate::ledger::identity::uuid_of;

/// Locks the rows of `given` that are still ours, in the order of their key. Every statement that changes several rows of the ledger begins
/// with it; otherwise two such statements could deadlock. `:route` is the route. The statement uses only the count of the locked rows, and
/// does not join with them. If a writer commits a row in between, PostgreSQL checks that row again, and a join would then lose it.
const LOCKED: &str = "locked as (select l.source, l.partition from footprint_ledger l join given g \
                      on l.source = g.source and l.partition = g.partition and l.epoch = g.epoch and l.owner = g.owner \
                      where l.route = :route order by l.source, l.partition for no key update of l)";

fn read_progress(row: &Row) -> Result<Progress, Error> {
    Ok(Progress {
        partition: row.try_get("partition")?,
        claimed: row.try_get("claimed")?,
        frontiers: read_frontiers(row)?,
    })
}

/// A range to claim.
#[derive(Clone, Copy, Debug)]
pub struct ClaimWanted {
    /// The partition, and its ownership.
    pub fence: Fence,
    /// The range. It starts where the last claim ended.
    pub range: Range,
    /// The fingerprint of the definition that decodes the range.
    pub fingerprint: i64,
    /// ClickHouse's frontier, which the same statement records.
    pub clickhouse_next: Option<Offset>,
}

struct FenceColumns {
    sources: Vec<i64>,
    partitions: Vec<Partition>,
    epochs: Vec<i64>,
    owners: Vec<Uuid>,
}

impl FenceColumns {
    fn of(fences: &[Fence]) -> Self {
        Self {
            sources: fences.iter().map(|fence| fence.source.0).collect(),
            partitions: fences.iter().map(|fence| fence.partition).collect(),
            epochs: fences.iter().map(|fence| fence.epoch).collect(),
            owners: fences.iter().map(|fence| uuid_of(fence.owner)).collect(),
        }
    }
}

impl Ledger {
    /// Claims one range of each given partition in one statement, and records ClickHouse's frontiers. Returns the partitions whose
    /// claim was made.
    ///
    /// # Errors
    /// No answer: the claims may have been made.
    pub async fn claim(&self, wanted: &[ClaimWanted]) -> Result<Vec<Progress>, LedgerError> {
        let fences: Vec<Fence> = wanted.iter().map(|claim| claim.fence).collect();
        let columns = FenceColumns::of(&fences);
        let starts: Vec<Offset> = wanted.iter().map(|claim| claim.range.start).collect();
        let ends: Vec<Offset> = wanted.iter().map(|claim| claim.range.end).collect();
        let fingerprints: Vec<i64> = wanted.iter().map(|claim| claim.fingerprint).collect();
        let clickhouse: Vec<Option<Offset>> = wanted.iter().map(|claim| claim.clickhouse_next).collect();
        let sql = format!(
            "with given as (select * from unnest(:sources::bigint[], :partitions::integer[], :epochs::bigint[], \
             :owners::uuid[], :starts::bigint[], :ends::bigint[], :fingerprints::bigint[], :clickhouse::bigint[]) as g (source, partition, epoch, owner, range_start, range_end, \
             fingerprint, clickhouse)), {LOCKED} \
             update footprint_ledger l set claimed = g.range_end, \
             clickhouse_next = greatest(l.clickhouse_next, g.clickhouse), \
             claims = array(select c from unnest(l.claims) c where c > least(l.dead_letters_next, l.postgres_next, \
             greatest(l.clickhouse_next, g.clickhouse)) order by c) || g.range_end, \
             fingerprints = array(select f from unnest(l.claims, l.fingerprints) as p (c, f) where c > \
             least(l.dead_letters_next, l.postgres_next, greatest(l.clickhouse_next, g.clickhouse)) order by c) \
             || g.fingerprint, updated_at = clock_timestamp() \
             from given g \
             where (select count(*) from locked) >= 0 and l.route = :route and l.source = g.source \
             and l.partition = g.partition and l.epoch = g.epoch \
             and l.owner = g.owner and l.claimed = g.range_start \
             returning l.partition, l.claimed, l.dead_letters_next, l.postgres_next, l.clickhouse_next"
        );
        let rows = self
            .query_named(
                &sql,
                &[
                    ("route", &self.route),
                    ("sources", &columns.sources),
                    ("partitions", &columns.partitions),
                    ("epochs", &columns.epochs),
                    ("owners", &columns.owners),
                    ("starts", &starts),
                    ("ends", &ends),
                    ("fingerprints", &fingerprints),
                    ("clickhouse", &clickhouse),
                ],
            )
            .await?;
        rows.iter().map(|row| read_progress(row).map_err(LedgerError::from)).collect()
    }

    /// One fenced statement for all given partitions: it records ClickHouse's frontiers, removes the claims that every sink has
    /// acknowledged, and returns the rows. A partition that is not returned is no longer ours.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn heartbeat(&self, beats: &[(Fence, Option<Offset>)]) -> Result<Vec<Progress>, LedgerError> {
        let fences: Vec<Fence> = beats.iter().map(|(fence, _)| *fence).collect();
        let columns = FenceColumns::of(&fences);
        let clickhouse: Vec<Option<Offset>> = beats.iter().map(|(_, next)| *next).collect();
        let sql = format!(
            "with given as (select * from unnest(:sources::bigint[], :partitions::integer[], :epochs::bigint[], \
             :owners::uuid[], :clickhouse::bigint[]) as g (source, partition, epoch, owner, clickhouse)), {LOCKED} \
             update footprint_ledger l set clickhouse_next = greatest(l.clickhouse_next, g.clickhouse), \
             claims = array(select c from unnest(l.claims) c where c > least(l.dead_letters_next, l.postgres_next, \
             greatest(l.clickhouse_next, g.clickhouse)) order by c), \
             fingerprints = array(select f from unnest(l.claims, l.fingerprints) as p (c, f) where c > \
             least(l.dead_letters_next, l.postgres_next, greatest(l.clickhouse_next, g.clickhouse)) order by c), \
             updated_at = clock_timestamp() \
             from given g \
             where (select count(*) from locked) >= 0 and l.route = :route and l.source = g.source \
             and l.partition = g.partition and l.epoch = g.epoch \
             and l.owner = g.owner \
             returning l.partition, l.claimed, l.dead_letters_next, l.postgres_next, l.clickhouse_next"
        );
        let rows = self
            .query_named(
                &sql,
                &[
                    ("route", &self.route),
                    ("sources", &columns.sources),
                    ("partitions", &columns.partitions),
                    ("epochs", &columns.epochs),
                    ("owners", &columns.owners),
                    ("clickhouse", &clickhouse),
                ],
            )
            .await?;
        rows.iter().map(|row| read_progress(row).map_err(LedgerError::from)).collect()
    }

    /// Reads a row `for update`, so it waits for any statement of ours that still runs. None: the partition is no longer ours.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn reread(&self, fence: Fence) -> Result<Option<Progress>, LedgerError> {
        let rows = self
            .query(
                "select partition, claimed, dead_letters_next, postgres_next, clickhouse_next from footprint_ledger \
                 where route = $1 and source = $2 and partition = $3 and epoch = $4 and owner = $5 for update",
                &[&self.route, &fence.source.0, &fence.partition, &fence.epoch, &uuid_of(fence.owner)],
            )
            .await?;
        rows.first().map(|row| read_progress(row).map_err(LedgerError::from)).transpose()
    }
}
