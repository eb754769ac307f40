//! Which process holds a partition: its group, machine and process number. Another process that wants the partition logs this.

use std::path::Path;
use std::time::Duration;

use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::Partition;

use super::{Ledger, LedgerError};

/// An owner renews its row at least every two seconds. If the last renewal is older than this, the owner counts as dead.
pub(super) const ALIVE: Duration = Duration::from_secs(10);

/// A process of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The consumer group.
    pub group: String,
    /// The machine's name.
    pub host: String,
    /// The process number.
    pub pid: i32,
}

impl Holder {
    /// This process, as a member of `group`.
    pub fn this_process(group: &str) -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        Self { group: group.to_owned(), host: this_host(), pid }
    }

    /// Whether the holder was a process of this machine and has ended. Then there is no need to wait for it.
    pub(super) fn has_ended(&self) -> bool {
        self.host == this_host() && !Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

/// This machine's name.
fn this_host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if host.trim().is_empty() { "an unknown host".to_owned() } else { host.trim().to_owned() }
}

/// What the ledger says about a partition before the take-over.
#[derive(Clone, Debug, PartialEq)]
pub enum PartitionState {
    /// There is no row.
    NoRow,
    /// There is a row.
    HasRow,
    /// A running process of another consumer group holds the partition.
    HeldByOtherGroup {
        /// The process.
        holder: Holder,
        /// Seconds since it renewed the row.
        renewed_s: f64,
    },
}

/// A session that holds the lock on a partition's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The session's application name.
    pub application: String,
    /// The process number of its server process.
    pub pid: i32,
    /// Whether its connection was ended, because it was a session of footprint.
    pub was_ended: bool,
}

impl Ledger {
    /// Asks whether the ledger has a row of the partition, and whether a running process of another group than `own_group` holds it.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn partition_state(
        &self,
        source: SourceId,
        partition: Partition,
        own_group: &str,
    ) -> Result<PartitionState, LedgerError> {
        let sql = "select holder_group, holder_host, holder_pid, \
                   extract(epoch from clock_timestamp() - updated_at)::float8 as renewed_s \
                   from footprint_ledger where route = $1 and source = $2 and partition = $3";
        let rows = self.query(sql, &[&self.route, &source.0, &partition]).await?;
        let Some(row) = rows.first() else { return Ok(PartitionState::NoRow) };
        let (group, host, pid): (Option<String>, Option<String>, Option<i32>) = (row.get(0), row.get(1), row.get(2));
        let renewed_s: f64 = row.get(3);
        let is_alive = renewed_s < ALIVE.as_secs_f64();
        Ok(match (group, host, pid) {
            (Some(group), Some(host), Some(pid)) if is_alive && group != own_group => {
                let holder = Holder { group, host, pid };
                if holder.has_ended() {
                    PartitionState::HasRow
                } else {
                    PartitionState::HeldByOtherGroup { holder, renewed_s }
                }
            }
            _ => PartitionState::HasRow,
        })
    }

    /// Finds the session that holds the lock on the partition's row. If it is a session of footprint, ends its connection; any other
    /// session is left alone.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn end_blocker(&self, source: SourceId, partition: Partition) -> Result<Option<Blocker>, LedgerError> {
        // the row's xmax is the transaction that locks or changes the row; the session that runs it holds a lock on that number
        let sql = "select coalesce(a.application_name, ''), a.pid, \
                   case when a.application_name like 'footprint %' then pg_terminate_backend(a.pid) else false end \
                   from footprint_ledger l join pg_locks k on k.locktype = 'transactionid' and k.granted \
                   and k.transactionid = l.xmax join pg_stat_activity a on a.pid = k.pid \
                   where l.route = $1 and l.source = $2 and l.partition = $3 and a.pid <> pg_backend_pid()";
        let rows = self.query(sql, &[&self.route, &source.0, &partition]).await?;
        Ok(rows.first().map(|row| Blocker { application: row.get(0), pid: row.get(1), was_ended: row.get(2) }))
    }
}
