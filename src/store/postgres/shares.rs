//! A partition's share of a transaction, and the two statements that fence it: the early look at epoch and owner, and the
//! compare-and-set that ends it. Only SQL is made here; `writer.rs` sends it.

use std::fmt::Write as _;
use std::sync::Arc;

use footprint_protocol::offset::{Offset, Range};

use crate::batch::Batch;
use crate::ledger::ownership::Ownership;

/// A partition's share of a transaction: consecutive batches that move the same frontiers.
pub(super) struct Share<'a> {
    pub(super) ownership: &'a Ownership,
    pub(super) range: Range,
    pub(super) rows: bool,
    pub(super) dead_letters: bool,
}

impl Share<'_> {
    /// Whether nothing of it is left to do.
    pub(super) fn is_done(&self) -> bool {
        !self.rows && !self.dead_letters
    }

    fn dead_letters_move(&self) -> (Offset, Offset) {
        let still = self.ownership.plan.nexts.dead_letters;
        if self.dead_letters { (self.range.start, self.range.end) } else { (still, still) }
    }

    fn postgres_move(&self) -> Option<(Offset, Offset)> {
        let still = self.ownership.plan.nexts.postgres?;
        Some(if self.rows { (self.range.start, self.range.end) } else { (still, still) })
    }
}

pub(super) fn share_of(batch: &Batch) -> Share<'_> {
    let plan = &batch.ownership.plan;
    Share {
        ownership: &batch.ownership,
        range: batch.range,
        rows: plan.postgres_wants_rows(batch.range),
        dead_letters: plan.wants_dead_letters(batch.range),
    }
}

/// One share a partition, from a group whose batches of one partition are consecutive.
pub(super) fn shares(group: &[Arc<Batch>]) -> Vec<Share<'_>> {
    let mut shares: Vec<Share<'_>> = Vec::new();
    for batch in group {
        let next = share_of(batch);
        match shares.iter_mut().find(|share| std::ptr::eq(share.ownership, next.ownership)) {
            Some(share) => {
                assert!(share.range.end == next.range.start, "batches of a partition are consecutive");
                share.range = Range::new(share.range.start, next.range.end);
            }
            None => shares.push(next),
        }
    }
    shares
}

/// A plain read of the fences: a loser fails before it sends its rows. Takes no lock.
pub(super) fn still_ours(route: &str, shares: &[Share<'_>]) -> String {
    let mut sql = String::from("select 1 from footprint_ledger l join (values ");
    for (index, share) in shares.iter().enumerate() {
        let Ownership { source, partition, epoch, owner, .. } = share.ownership;
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
pub(super) fn refusal_mark(shares: &[Share<'_>]) -> String {
    let owner = shares.first().map(|share| share.ownership.owner).unwrap_or_default();
    format!("footprint fenced {owner}")
}

/// The compare-and-set of every share. Unless all of them match it is an error, which [`refusal_mark`] tells from others: the
/// mark is read as a number, so `commit`, which follows in the same message, is never reached.
pub(super) fn advance(route: &str, shares: &[Share<'_>]) -> String {
    let mut sql = String::from(
        "with given (source, partition, epoch, owner, dead_from, dead_to, rows_from, rows_to, range_end) as (values ",
    );
    for (index, share) in shares.iter().enumerate() {
        let Ownership { source, partition, epoch, owner, .. } = share.ownership;
        let (dead_from, dead_to) = share.dead_letters_move();
        let (rows_from, rows_to) = match share.postgres_move() {
            Some((from, to)) => (from.to_string(), to.to_string()),
            None => ("null".into(), "null".into()),
        };
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(
            sql,
            "{comma}({source}::bigint, {partition}, {epoch}::bigint, '{owner}'::uuid, {dead_from}::bigint, \
             {dead_to}::bigint, {rows_from}::bigint, {rows_to}::bigint, {}::bigint)",
            share.range.end
        );
    }
    let _ = write!(
        sql,
        "), locked as (select l.source, l.partition from footprint_ledger l join given g \
         on l.source = g.source and l.partition = g.partition and l.epoch = g.epoch and l.owner = g.owner \
         where l.route = '{route}' order by l.source, l.partition for no key update of l), \
         moved as (update footprint_ledger l set dead_letters_next = g.dead_to, postgres_next = g.rows_to, \
         updated_at = clock_timestamp() from locked join given g using (source, partition) \
         where l.route = '{route}' and l.source = g.source and l.partition = g.partition and l.epoch = g.epoch \
         and l.owner = g.owner and l.dead_letters_next = g.dead_from and l.postgres_next is not distinct from g.rows_from \
         and g.range_end = any(l.claims) returning 1) \
         select case when count(*) = {} then 0 else ('{} ' || count(*))::int end from moved",
        shares.len(),
        refusal_mark(shares)
    );
    sql
}
