//! The ledger's part of the PostgreSQL sink's transaction: an early check of the fences, the compare-and-set at its end, and a read
//! of the row after an answer was refused or lost. The sink sends these statements on its own connection.

use std::fmt::Write as _;

use footprint_protocol::offset::Offset;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::Fence;
use crate::ledger::identity::uuid_of;

/// How one transaction moves the frontiers of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    /// The partition, and its ownership.
    pub fence: Fence,
    /// The end of the range. It must be the end of a claim.
    pub range_end: Offset,
    /// The frontier of the dead letters: the value it must have, and the value it gets.
    pub dead_letters: (Offset, Offset),
    /// The same for the rows. None while PostgreSQL is switched off.
    pub rows: Option<(Offset, Offset)>,
}

/// The frontiers of one partition in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostgresFrontiers {
    /// The frontier of the dead letters.
    pub dead_letters: Offset,
    /// The frontier of the rows. None while PostgreSQL is switched off.
    pub rows: Option<Offset>,
}

/// The query that reads the fences without a lock. It lets an owner that was fenced stop before it sends rows. It returns one row for each
/// partition that is still ours.
pub fn fence_query(route: &str, advances: &[Advance]) -> String {
    let mut sql = String::from("select 1 from footprint_ledger l join (values ");
    for (index, Advance { fence, .. }) in advances.iter().enumerate() {
        let (Fence { source, partition, epoch, .. }, owner) = (fence, uuid_of(fence.owner));
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(sql, "{comma}({source}::bigint, {partition}, {epoch}::bigint, '{owner}'::uuid)");
    }
    let _ = write!(
        sql,
        ") as g (source, partition, epoch, owner) using (source, partition, epoch, owner) where l.route = '{route}'"
    );
    sql
}

/// A text that only the message of a refused compare-and-set contains, because no other process knows the owner's number. A row may raise
/// the same SQLSTATE (a computed column that reads a text as a number does), but not with this text.
fn refusal_mark(advances: &[Advance]) -> String {
    let owner = advances.first().map(|advance| advance.fence.owner).unwrap_or_default();
    format!("footprint fenced {}", uuid_of(owner))
}

/// Whether the compare-and-set itself caused this error.
pub fn is_refusal(error: &Error, advances: &[Advance]) -> bool {
    error.code() == Some(&SqlState::INVALID_TEXT_REPRESENTATION)
        && error.as_db_error().is_some_and(|db| db.message().contains(&refusal_mark(advances)))
}

/// The compare-and-set of all partitions. If one of them does not match, the statement fails, because it reads the mark as a number. So the
/// `commit` that follows in the same message is not executed. [`is_refusal`] recognizes this error.
pub fn compare_and_set(route: &str, advances: &[Advance]) -> String {
    let mut sql = String::from(
        "with given (source, partition, epoch, owner, dead_from, dead_to, rows_from, rows_to, range_end) as (values ",
    );
    for (index, Advance { fence, range_end, dead_letters, rows }) in advances.iter().enumerate() {
        let (Fence { source, partition, epoch, .. }, owner) = (fence, uuid_of(fence.owner));
        let (dead_from, dead_to) = dead_letters;
        let (rows_from, rows_to) = match rows {
            Some((from, to)) => (from.to_string(), to.to_string()),
            None => ("null".into(), "null".into()),
        };
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(
            sql,
            "{comma}({source}::bigint, {partition}, {epoch}::bigint, '{owner}'::uuid, {dead_from}::bigint, \
             {dead_to}::bigint, {rows_from}::bigint, {rows_to}::bigint, {range_end}::bigint)"
        );
    }
    let _ = write!(
        sql,
        "), locked as (select l.source, l.partition from footprint_ledger l join given g \
         on l.source = g.source and l.partition = g.partition and l.epoch = g.epoch and l.owner = g.owner \
         where l.route = '{route}' order by l.source, l.partition for no key update of l), \
         moved as (update footprint_ledger l set dead_letters_next = g.dead_to, postgres_next = g.rows_to, \
         updated_at = clock_timestamp() from given g \
         where (select count(*) from locked) >= 0 and l.route = '{route}' and l.source = g.source \
         and l.partition = g.partition and l.epoch = g.epoch \
         and l.owner = g.owner and l.dead_letters_next = g.dead_from and l.postgres_next is not distinct from g.rows_from \
         and g.range_end = any(l.claims) returning 1) \
         select case when count(*) = {} then 0 else ('{} ' || count(*))::int end from moved",
        advances.len(),
        refusal_mark(advances)
    );
    sql
}

/// Reads the frontiers of a partition `for update`, so it waits for any statement of ours that still runs. None: the partition is no longer
/// ours.
///
/// # Errors
/// PostgreSQL refuses or does not answer.
pub async fn postgres_frontiers(
    client: &Client,
    route: &str,
    fence: Fence,
) -> Result<Option<PostgresFrontiers>, Error> {
    let sql = "select dead_letters_next, postgres_next from footprint_ledger \
               where route = $1 and source = $2 and partition = $3 and epoch = $4 and owner = $5 for update";
    let Fence { source, partition, epoch, owner } = fence;
    let owner = uuid_of(owner);
    let row = client.query_opt(sql, &[&route, &source.0, &partition, &epoch, &owner]).await?;
    Ok(row.map(|row| PostgresFrontiers { dead_letters: row.get(0), rows: row.get(1) }))
}
