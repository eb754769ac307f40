//! Who holds a partition, by name: for the log of another process that wants it.

use std::path::Path;
use std::time::Duration;

use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::Partition;

use super::{Ledger, LedgerError};

/// A row that was renewed this long ago is of a living owner: one renews it at least every two seconds.
const ALIVE: Duration = Duration::from_secs(10);

/// A process of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The consumer group.
    pub group: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: i32,
}

impl Holder {
    /// This process, as a member of `group`.
    pub fn this_process(group: &str) -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        Self { group: group.to_owned(), host: this_host(), pid }
    }

    /// Whether it was a process of this machine that has ended: there is nobody to wait for.
    fn has_ended(&self) -> bool {
        self.host == this_host() && !Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

/// This machine's name.
fn this_host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if host.trim().is_empty() { "an unknown host".to_owned() } else { host.trim().to_owned() }
}

/// What the ledger says of a partition before its take-over.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// It has no row of it.
    No,
    /// It has a row.
    Row,
    /// A living process of another consumer group has it.
    OfAnotherGroup {
        /// Who.
        holder: Holder,
        /// How long ago it renewed the row, seconds.
        renewed_s: f64,
    },
}

/// Somebody who keeps a partition's row locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The application's name.
    pub application: String,
    /// PostgreSQL's process.
    pub pid: i32,
    /// It was footprint's, and its connection was ended.
    pub was_ended: bool,
}

impl Ledger {
    /// Whether the ledger knows the partition, and whether a living process of another group than `own_group` has it.
    ///
    /// # Errors
    /// No answer.
    pub async fn knows(&self, source: SourceId, partition: Partition, own_group: &str) -> Result<Known, LedgerError> {
        let sql = "select holder_group, holder_host, holder_pid, \
                   extract(epoch from clock_timestamp() - updated_at)::float8 as renewed_s \
                   from footprint_ledger where route = $1 and source = $2 and partition = $3";
        let rows = self.query(sql, &[&self.route, &source.0, &partition]).await?;
        let Some(row) = rows.first() else { return Ok(Known::No) };
        let (group, host, pid): (Option<String>, Option<String>, Option<i32>) = (row.get(0), row.get(1), row.get(2));
        let renewed_s: f64 = row.get(3);
        let is_alive = renewed_s < ALIVE.as_secs_f64();
        Ok(match (group, host, pid) {
            (Some(group), Some(host), Some(pid)) if is_alive && group != own_group => {
                let holder = Holder { group, host, pid };
                if holder.has_ended() { Known::Row } else { Known::OfAnotherGroup { holder, renewed_s } }
            }
            _ => Known::Row,
        })
    }

    /// Ends the connection that keeps the partition's row locked, where it is footprint's, and no other. Who it is.
    ///
    /// # Errors
    /// No answer.
    pub async fn end_blocker(&self, source: SourceId, partition: Partition) -> Result<Option<Blocker>, LedgerError> {
        // the row's xmax is the transaction that locks or changes it, and who runs that holds a lock on its number
        let sql = "select coalesce(a.application_name, ''), a.pid, \
                   case when a.application_name like 'footprint %' then pg_terminate_backend(a.pid) else false end \
                   from footprint_ledger l join pg_locks k on k.locktype = 'transactionid' and k.granted \
                   and k.transactionid = l.xmax join pg_stat_activity a on a.pid = k.pid \
                   where l.route = $1 and l.source = $2 and l.partition = $3 and a.pid <> pg_backend_pid()";
        let rows = self.query(sql, &[&self.route, &source.0, &partition]).await?;
        Ok(rows.first().map(|row| Blocker { application: row.get(0), pid: row.get(1), was_ended: row.get(2) }))
    }
}
