//! The ledger's statements as PostgreSQL executes them, one row at a time: the same as the SQL of `footprint::ledger::statements`
//! and of the PostgreSQL sink. `tests/ledger` compares the two on a real server.

use footprint_protocol::first_start::{FirstStart, FirstStarts};
use footprint_protocol::ledger::{Claim, FORMAT, Frontiers, OwnerId, Progress, Row};
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::take_over::Settled;

use crate::guard::{Guard, Guards};

/// The right to write a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The epoch.
    pub epoch: i64,
    /// The owner.
    pub owner: OwnerId,
}

/// A row, and whether it was settled under the PostgreSQL that runs now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LedgerRow {
    /// The row.
    pub row: Row,
    /// The take-over that settled it met the PostgreSQL that runs now: the same lineage and the same start.
    pub fresh: bool,
    /// It was settled under another cluster, or created in place of a lost row and not settled yet.
    pub another: bool,
}

/// A claim in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimWanted {
    /// The owner's right.
    pub fence: Fence,
    /// The range to claim.
    pub range: Range,
    /// The fingerprint of the definition.
    pub fingerprint: i64,
    /// ClickHouse's frontier.
    pub clickhouse_next: Option<Offset>,
}

/// The compare-and-set at the end of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Advance {
    /// The owner's right.
    pub fence: Fence,
    /// The dead letters' frontier: from, to.
    pub dead_letters: (Offset, Offset),
    /// The rows' frontier: from, to. None: the rows are off.
    pub rows: Option<(Offset, Offset)>,
    /// The range's end.
    pub end: Offset,
}

/// Records a route's first start on a source, unless one is recorded, or the source has rows already. True: written.
pub fn write_starts(slot: &mut Option<FirstStarts>, has_rows: bool, starts: &FirstStarts) -> bool {
    let writes = slot.is_none() && !has_rows;
    if writes {
        *slot = Some(starts.clone());
    }
    writes
}

/// The result of a take-over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeOverAnswer {
    /// The row.
    pub row: Row,
    /// The ledger may have gone back in time.
    pub gone_back: bool,
    /// Inserts of older owners may have used other query ids.
    pub another: bool,
}

/// Takes the row over, or creates it at `start` with `birth`.
pub fn take_over(slot: &mut Option<LedgerRow>, owner: OwnerId, start: &FirstStart, birth: i64) -> TakeOverAnswer {
    let ledger_lost = start.ledger_lost;
    let (start, first_offset) = (start.offset, start.first_offset());
    let found = slot.get_or_insert_with(|| LedgerRow {
        row: Row {
            epoch: 0,
            owner,
            claimed: start,
            frontiers: Frontiers { dead_letters: start, postgres: Some(start), clickhouse: Some(start) },
            postgres_stopped: None,
            clickhouse_stopped: None,
            claims: Vec::new(),
            doubtful_below: None,
            birth,
            first_offset,
            format: FORMAT,
        },
        fresh: false,
        another: ledger_lost,
    });
    found.row.epoch += 1;
    found.row.owner = owner;
    let gone_back = found.row.epoch > 1 && !found.fresh;
    TakeOverAnswer { row: found.row.clone(), gone_back, another: found.another }
}

fn owned<'a>(slot: &'a mut Option<LedgerRow>, fence: &Fence, epoch: bool, owner: bool) -> Option<&'a mut LedgerRow> {
    slot.as_mut()
        .filter(|found| (!epoch || found.row.epoch == fence.epoch) && (!owner || found.row.owner == fence.owner))
}

fn progress(found: &LedgerRow) -> Progress {
    Progress { partition: 0, claimed: found.row.claimed, frontiers: found.row.frontiers }
}

/// Writes what the new owner decided. False: fenced.
pub fn settle(slot: &mut Option<LedgerRow>, fence: &Fence, settled: &Settled) -> bool {
    let Some(found) = owned(slot, fence, true, true) else { return false };
    let Row { epoch, owner, birth, first_offset, frontiers: Frontiers { dead_letters, .. }, .. } = found.row;
    let frontiers = Frontiers { dead_letters, ..settled.row.frontiers };
    found.row = Row { epoch, owner, birth, first_offset, frontiers, ..settled.row.clone() };
    (found.fresh, found.another) = (true, false);
    true
}

/// Claims a range and records ClickHouse's frontier. None: refused.
pub fn claim(slot: &mut Option<LedgerRow>, wanted: &ClaimWanted, guards: Guards) -> Option<Progress> {
    let (epoch, owner) = (guards.hold(Guard::ClaimEpoch), guards.hold(Guard::ClaimOwner));
    let found = owned(slot, &wanted.fence, epoch, owner)?;
    if guards.hold(Guard::ClaimStart) && found.row.claimed != wanted.range.start {
        return None;
    }
    record(&mut found.row, wanted.clickhouse_next);
    found.row.claimed = wanted.range.end;
    found.row.claims.push(Claim { end: wanted.range.end, fingerprint: wanted.fingerprint });
    Some(progress(found))
}

/// Records ClickHouse's frontier, drops claims that all sinks have acknowledged, and returns the row. None: fenced.
pub fn heartbeat(
    slot: &mut Option<LedgerRow>,
    fence: &Fence,
    clickhouse_next: Option<Offset>,
    guards: Guards,
) -> Option<Progress> {
    let fenced = guards.hold(Guard::HeartbeatFence);
    let found = owned(slot, fence, fenced, fenced)?;
    record(&mut found.row, clickhouse_next);
    Some(progress(found))
}

fn record(row: &mut Row, clickhouse_next: Option<Offset>) {
    // greatest() ignores null
    row.frontiers.clickhouse = row.frontiers.clickhouse.max(clickhouse_next);
    let lowest = row.frontiers.lowest();
    row.claims.retain(|claim| claim.end > lowest);
}

/// The row as its owner finds it. None: the row is no longer its own.
pub fn reread(slot: &mut Option<LedgerRow>, fence: &Fence) -> Option<Progress> {
    owned(slot, fence, true, true).map(|found| progress(found))
}

/// Whether a dead letter of `offset` for ClickHouse alone may be written: the writer owns the partition, and ClickHouse has not
/// stored the record.
pub fn may_leave_out(slot: &mut Option<LedgerRow>, fence: &Fence, offset: Offset) -> bool {
    owned(slot, fence, true, true)
        .is_some_and(|found| found.row.frontiers.clickhouse.is_some_and(|next| offset >= next))
}

/// The compare-and-set of a write. False: it is refused, and so is the transaction.
pub fn advance(slot: &mut Option<LedgerRow>, advance: &Advance, guards: Guards) -> bool {
    let (epoch, owner) = (guards.hold(Guard::WriteEpoch), guards.hold(Guard::WriteOwner));
    let Some(found) = owned(slot, &advance.fence, epoch, owner) else { return false };
    let row = &mut found.row;
    let claimed = !guards.hold(Guard::EndIsClaimed) || row.claims.iter().any(|claim| claim.end == advance.end);
    let is_current = row.frontiers.dead_letters == advance.dead_letters.0
        && row.frontiers.postgres == advance.rows.map(|(from, _)| from);
    if !claimed || !is_current {
        return false;
    }
    row.frontiers.dead_letters = advance.dead_letters.1;
    row.frontiers.postgres = advance.rows.map(|(_, to)| to);
    true
}
