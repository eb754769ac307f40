//! The SQL that PostgreSQL's sink ends its transaction with: the early look at the fences, the compare-and-set, and the look at a
//! row after an answer that was refused or lost. The sink sends it on its own connection, inside its transaction.

use std::fmt::Write as _;

use footprint_protocol::offset::Offset;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::Fence;
use crate::ledger::identity::uuid_of;

/// How the frontiers of one partition move.
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    /// Whose.
    pub fence: Fence,
    /// Where the range ends: it must be a claim's end.
    pub range_end: Offset,
    /// The dead letters' frontier: as it must be, and as it becomes.
    pub dead_letters: (Offset, Offset),
    /// That of the rows; none while they are switched off.
    pub rows: Option<(Offset, Offset)>,
}

/// Where PostgreSQL's frontiers of a partition are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontiers {
    /// Of the dead letters.
    pub dead_letters: Offset,
    /// Of the rows; none while they are switched off.
    pub rows: Option<Offset>,
}

/// A plain read of the fences: a loser fails before it sends its rows. Takes no lock. One row for each partition that is ours.
pub fn still_ours(route: &str, advances: &[Advance]) -> String {
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

/// What the message of a refused compare-and-set holds, and no other: the owner's number, which nobody else knows. A row may
/// raise the same SQLSTATE, as when a column is computed from a text, but not with this text.
fn refusal_mark(advances: &[Advance]) -> String {
    let owner = advances.first().map(|advance| advance.fence.owner).unwrap_or_default();
    format!("footprint fenced {}", uuid_of(owner))
}

/// Whether an error is the compare-and-set's own refusal.
pub fn is_refusal(error: &Error, advances: &[Advance]) -> bool {
    error.code() == Some(&SqlState::INVALID_TEXT_REPRESENTATION)
        && error.as_db_error().is_some_and(|db| db.message().contains(&refusal_mark(advances)))
}

/// The compare-and-set of all partitions. Unless all of them match it is an error, which [`is_refusal`] tells from others: the
/// mark is read as a number, so `commit`, which follows in the same message, is never reached.
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

/// Reads a partition's frontiers `for update`, so that no statement of ours is still on its way past it. None: no longer ours.
///
/// # Errors
/// No answer.
pub async fn frontiers(client: &Client, route: &str, fence: Fence) -> Result<Option<Frontiers>, Error> {
    let sql = "select dead_letters_next, postgres_next from footprint_ledger \
               where route = $1 and source = $2 and partition = $3 and epoch = $4 and owner = $5 for update";
    let Fence { source, partition, epoch, owner } = fence;
    let owner = uuid_of(owner);
    let row = client.query_opt(sql, &[&route, &source.0, &partition, &epoch, &owner]).await?;
    Ok(row.map(|row| Frontiers { dead_letters: row.get(0), rows: row.get(1) }))
}
