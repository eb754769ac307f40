//! What ClickHouse made of the inserts: its parts, and how many inserts made them. Also the wait until both databases are at rest before
//! the next timing: ClickHouse has merged all that it wants to merge, and PostgreSQL has written its pages.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use footprint_stack::Stack;

use super::site::Site;

/// How long merges may continue before the next timing begins anyway.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// Merges are over if none was seen for this long.
const QUIET: Duration = Duration::from_millis(600);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The state of a site's table in ClickHouse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// Parts in use.
    pub(super) active: u64,
    /// Inserts that made a part, since the table was made.
    pub(super) inserts: u64,
}

impl Parts {
    /// Asks ClickHouse. Each insert of a block takes the next block number of its table partition; a merge takes none.
    pub(super) fn of(site: &Site<'_>) -> Result<Self> {
        let rows = site.clickhouse(
            "select sum(parts), sum(blocks) from (select count() as parts, max(max_block_number) as blocks \
             from system.parts where database = '{name}' and table = 'user_footprint' and active \
             group by partition_id)",
        )?;
        let number = |column: usize| -> Result<u64> {
            Ok(rows.first().and_then(|row| row.get(column)).context("no parts")?.parse()?)
        };
        Ok(Self { active: number(0)?, inserts: number(1)? })
    }
}

/// Waits until ClickHouse merges nothing, at most two minutes. False: it still merges.
pub(super) fn settle(stack: &Stack) -> Result<bool> {
    let started = Instant::now();
    let mut last_seen = started;
    while started.elapsed() < SETTLE_LIMIT {
        if stack.clickhouse()?.query("select count() from system.merges")?.trim() != "0" {
            last_seen = Instant::now();
        } else if last_seen.elapsed() >= QUIET {
            return Ok(true);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    eprintln!("note: ClickHouse still merges after {SETTLE_LIMIT:?}; what is timed next is disturbed");
    Ok(false)
}

/// Brings both databases to rest, so that no measurement pays for the work that the previous one left behind.
pub(super) fn rest(stack: &Stack) -> Result<()> {
    stack.postgres()?.execute("postgres", "checkpoint")?;
    settle(stack).map(drop)
}
