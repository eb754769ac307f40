//! What a person changes about a partition, in one transaction that locks the ledger's row. `protocol/by_hand.rs` decides. The row gets a
//! new owner, so a consumer that has the partition is fenced, and takes it over again as the row is then.

use std::fmt;

use footprint_event::route::quoted;
use footprint_protocol::ledger::{OwnerId, Row, SourceId};
use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::take_over::Gap;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::holder::{ALIVE, Holder};
use super::{Fence, Ledger, LedgerError, ROW, gap_columns, read_row};
use crate::ledger::identity::uuid_of;

/// What is to become of a row.
#[derive(Clone, Debug)]
pub struct Change {
    /// The row as it is written. Its epoch and owner do not count.
    pub row: Row,
    /// Gaps to record.
    pub gaps: Vec<Gap>,
    /// Records from this offset on are stored again: their dead letters and gaps are deleted.
    pub again_from: Option<Offset>,
}

/// How a change ended.
#[derive(Clone, Debug)]
pub enum Changed<E> {
    /// The ledger has no row of the partition, or another owner has taken it.
    NoRow,
    /// It was not changed.
    Refused(E),
    /// It was changed. Holds the row as it was before, and what it is now.
    Done(Box<(Row, Change)>),
}

/// The consumer that has a partition, or had it last.
#[derive(Clone, Debug)]
pub struct LastOwner {
    /// The partition.
    pub partition: Partition,
    /// The process. None: an older program took the partition over.
    pub holder: Option<Holder>,
    /// Seconds since the row was renewed.
    pub renewed_s: f64,
}

impl LastOwner {
    /// Whether the consumer may still have the partition. A living owner renews its row at least every two seconds.
    pub fn is_alive(&self) -> bool {
        self.renewed_s < ALIVE.as_secs_f64() && !self.holder.as_ref().is_some_and(Holder::has_ended)
    }
}

impl fmt::Display for LastOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Some(Holder { group, host, pid }) => write!(f, "process {pid} on {host} of group {group}"),
            None => write!(f, "a consumer of an older version"),
        }
    }
}

impl Ledger {
    /// Changes the row of a partition as `decide` says, and ends its present ownership. With `fence`, the row must still be that owner's.
    ///
    /// # Errors
    /// PostgreSQL refuses, and nothing was changed. Or it does not answer: then the change may have been made.
    pub async fn change_by_hand<E>(
        &self,
        (source, partition): (SourceId, Partition),
        owner: OwnerId,
        fence: Option<Fence>,
        decide: impl FnOnce(&Row) -> Result<Change, E>,
    ) -> Result<Changed<E>, LedgerError> {
        super::within(self.client.batch_execute("begin")).await?;
        let sql = format!(
            "select {ROW} from footprint_ledger where route = $1 and source = $2 and partition = $3 \
             and ($4::bigint is null or (epoch = $4 and owner = $5)) for update"
        );
        let (epoch, ours) = (fence.map(|fence| fence.epoch), fence.map(|fence| uuid_of(fence.owner)));
        let changing = async {
            let rows = self.query(&sql, &[&self.route, &source.0, &partition, &epoch, &ours]).await?;
            let Some(row) = rows.first() else { return Ok(Changed::NoRow) };
            let row = read_row(row).map_err(LedgerError::from)?;
            let change = match decide(&row) {
                Ok(change) => change,
                Err(refused) => return Ok(Changed::Refused(refused)),
            };
            self.write_change((source, partition), owner, &change).await?;
            Ok(Changed::Done(Box::new((row, change))))
        };
        let changed: Result<Changed<E>, LedgerError> = changing.await;
        let last = if matches!(changed, Ok(Changed::Done(_))) { "commit" } else { "rollback" };
        match changed {
            Err(error) if error.is_lost() => Err(error),
            changed => {
                super::within(self.client.batch_execute(last)).await?;
                changed
            }
        }
    }

    async fn write_change(
        &self,
        (source, partition): (SourceId, Partition),
        owner: OwnerId,
        change: &Change,
    ) -> Result<(), LedgerError> {
        let row = &change.row;
        let ends: Vec<Offset> = row.claims.iter().map(|claim| claim.end).collect();
        let fingerprints: Vec<i64> = row.claims.iter().map(|claim| claim.fingerprint).collect();
        let key: [(&'static str, &(dyn ToSql + Sync)); 3] =
            [("route", &self.route), ("source", &source.0), ("partition", &partition)];
        let mut parameters = key.to_vec();
        let owner = uuid_of(owner);
        parameters.extend_from_slice(&[
            ("owner", &owner),
            ("claimed", &row.claimed),
            ("dead_letters_next", &row.frontiers.dead_letters),
            ("postgres_next", &row.frontiers.postgres),
            ("clickhouse_next", &row.frontiers.clickhouse),
            ("postgres_stopped", &row.postgres_stopped),
            ("clickhouse_stopped", &row.clickhouse_stopped),
            ("claims", &ends),
            ("fingerprints", &fingerprints),
            ("birth", &row.birth),
            ("first_offset", &row.first_offset),
        ]);
        // postgres_identity stays: only a take-over may say that the row was not restored
        self.query_named(
            "update footprint_ledger set epoch = epoch + 1, owner = :owner, claimed = :claimed, \
             dead_letters_next = :dead_letters_next, postgres_next = :postgres_next, clickhouse_next = :clickhouse_next, \
             postgres_stopped = :postgres_stopped, clickhouse_stopped = :clickhouse_stopped, claims = :claims, \
             fingerprints = :fingerprints, birth = :birth, first_offset = :first_offset \
             where route = :route and source = :source and partition = :partition",
            &parameters,
        )
        .await?;
        if let Some(from) = change.again_from {
            let mut parameters = key.to_vec();
            parameters.push(("from", &from));
            for sql in [
                "delete from dead_letters where route = :route and kafka_source = :source \
                 and kafka_partition = :partition and kafka_offset >= :from",
                "delete from footprint_gap where route = :route and source = :source and partition = :partition \
                 and start_offset >= :from",
                "update footprint_gap set end_offset = :from where route = :route and source = :source \
                 and partition = :partition and end_offset > :from",
            ] {
                self.query_named(sql, &parameters).await?;
            }
        }
        if !change.gaps.is_empty() {
            let (sinks, starts, gap_ends, reasons) = gap_columns(&change.gaps);
            let mut parameters = key.to_vec();
            parameters.extend_from_slice(&[
                ("sinks", &sinks),
                ("starts", &starts),
                ("ends", &gap_ends),
                ("reasons", &reasons),
            ]);
            self.query_named(
                "insert into footprint_gap (route, source, partition, sink, start_offset, end_offset, reason) \
                 select :route::text, :source::bigint, :partition::integer, g.* from \
                 unnest(:sinks::text[], :starts::bigint[], :ends::bigint[], :reasons::text[]) as g",
                &parameters,
            )
            .await?;
        }
        Ok(())
    }

    /// The last owner of each partition of a source.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn last_owners(&self, source: SourceId) -> Result<Vec<LastOwner>, LedgerError> {
        let sql = "select partition, holder_group, holder_host, holder_pid, \
                   extract(epoch from clock_timestamp() - updated_at)::float8 \
                   from footprint_ledger where route = $1 and source = $2 order by partition";
        let rows = self.query(sql, &[&self.route, &source.0]).await?;
        let owner = |row: &tokio_postgres::Row| {
            let holder: (Option<String>, Option<String>, Option<i32>) = (row.get(1), row.get(2), row.get(3));
            let holder = match holder {
                (Some(group), Some(host), Some(pid)) => Some(Holder { group, host, pid }),
                _ => None,
            };
            LastOwner { partition: row.get(0), holder, renewed_s: row.get(4) }
        };
        Ok(rows.iter().map(owner).collect())
    }

    /// The gaps of a source: partition, sink, start and end.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn gaps_of(&self, source: SourceId) -> Result<Vec<(Partition, String, Offset, Offset)>, LedgerError> {
        let sql = "select partition, sink, start_offset, end_offset from footprint_gap where route = $1 and source = $2 \
                   and start_offset < end_offset order by partition, start_offset";
        let rows = self.query(sql, &[&self.route, &source.0]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect())
    }
}

/// How many rows of a partition the route's table holds from an offset on, and the highest offset. It is one pass over the table.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn rows_from(
    client: &Client,
    table: &str,
    (source, partition): (SourceId, Partition),
    from: Offset,
) -> Result<(i64, Option<Offset>), Error> {
    let sql = format!(
        "select count(*), max(kafka_offset) from {} where kafka_source = $1 and kafka_partition = $2 and kafka_offset >= $3",
        quoted(table)
    );
    let row = client.query_one(&sql, &[&source.0, &partition, &from]).await?;
    Ok((row.get(0), row.get(1)))
}
