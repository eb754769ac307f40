//! The fence around a partition's inserts. All inserts of a partition have the same query id: first writes and repairs, from every process.
//! While one insert runs, the server refuses every other one (error 216) before it reads any of its data. To end a running insert, a
//! process asks a question under the same id that replaces the running query. The server answers it when the insert is gone. The fence
//! needs no rights.
//!
//! Only the question of [`drain`] replaces an insert; an insert never replaces another one. The server knows of an insert as soon as it has
//! the first byte of its block, because `insert.rs` sets `max_query_size` for that.

use std::fmt;
use std::time::Duration;

use clickhouse::Client;
use footprint_protocol::ledger::{LedgerId, SourceId};
use footprint_protocol::offset::Partition;
use footprint_service::clickhouse::error::{ClickHouseError, QUERY_ID_IS_TAKEN};
use footprint_service::report::Cause;
use footprint_service::retry::Backoff;
use footprint_service::traffic::Standing;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use xxhash_rust::xxh3::xxh3_64;

use crate::store::sink::SinkError;
use crate::store::write_failure::WriteFailure;

/// How long the server waits for the end of the insert, for each question. If the client of an insert has stopped in the middle of the
/// body, the insert ends after the server's http_receive_timeout, 30 s by default. Until then [`drain`] asks again.
const REPLACE_WAIT: Duration = Duration::from_secs(10);
/// How much longer than that the server's answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// "The query was cancelled": another drain has ended this question.
const QUERY_WAS_CANCELLED: u32 = 394;

/// The query id of every insert of one partition, as an operator sees it in system.processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertId(String);

impl InsertId {
    /// The query id for one partition of a source, in one table and one ledger. The readable parts are for people. The hash differs when
    /// any part differs, so two ledgers on one server do not end each other's inserts.
    pub fn new(database: &str, table: &str, ledger: LedgerId, source: SourceId, partition: Partition) -> Self {
        let all = format!("{database}\n{table}\n{ledger}\n{source}\n{partition}");
        Self(format!("footprint-{table}-{partition}-{:016x}", xxh3_64(all.as_bytes())))
    }

    /// The query id for the dead letters of one partition that are stored again. It differs from that of the partition's own inserts, so a
    /// replay and a running consumer do not end each other's inserts: they never store the same record.
    pub fn of_replay(database: &str, table: &str, ledger: LedgerId, source: SourceId, partition: Partition) -> Self {
        let all = format!("{database}\n{table}\n{ledger}\n{source}\n{partition}\nreplay");
        Self(format!("footprint-{table}-{partition}-replay-{:016x}", xxh3_64(all.as_bytes())))
    }

    /// The id as text, for the setting `query_id`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InsertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Ends the insert that runs under `id`, if there is one, and waits until it is gone. After that, none of its rows can land.
///
/// # Errors
/// The insert still runs after `within`, or the server refuses.
pub async fn drain(client: &Client, id: &InsertId, within: Duration) -> Result<(), SinkError> {
    let until = Instant::now() + within;
    let mut backoff = Backoff::new();
    loop {
        let wait = REPLACE_WAIT.min(until.saturating_duration_since(Instant::now()));
        let question = client
            .query("select 1")
            .with_setting("query_id", id.as_str())
            .with_setting("replace_running_query", "1")
            .with_setting("replace_running_query_max_wait_ms", wait.as_millis().max(1).to_string());
        let cause: Cause = match timeout(wait + ANSWER_WAIT, question.fetch_all::<u8>()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => match ClickHouseError::from(error) {
                error if matches!(error.code(), Some(QUERY_ID_IS_TAKEN | QUERY_WAS_CANCELLED)) => error.into(),
                error => return Err(error.into()),
            },
            Err(_) => format!("no answer in {:?}", wait + ANSWER_WAIT).into(),
        };
        if Instant::now() >= until {
            let failure = WriteFailure::NotDrained { id: id.to_string(), waited: within, source: cause };
            return Err(SinkError::Uncertain(failure));
        }
        let _ = timeout_at(until, sleep(backoff.next_wait())).await;
    }
}

/// Whether an insert runs under `id`. While one runs, the server refuses a question under the same id. Asking needs no rights and ends no
/// insert. None: the server's answer does not say.
pub async fn is_running(client: &Client, id: &InsertId) -> Option<Standing> {
    match client.query("select 1").with_setting("query_id", id.as_str()).fetch_all::<u8>().await {
        Ok(_) => Some(Standing::Waits(0)),
        Err(error) => ClickHouseError::from(error).is_taken().then_some(Standing::AtWork),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_of_one_partition_table_and_ledger() {
        let id = |database, table, ledger, source, partition| {
            InsertId::new(database, table, LedgerId(ledger), SourceId(source), partition)
        };
        let one = id("prd", "user_footprint", 1, 2, 3);
        assert_eq!(one, id("prd", "user_footprint", 1, 2, 3), "the same in every process");
        assert!(one.as_str().starts_with("footprint-user_footprint-3-"), "{one}");
        for other in [
            id("stg", "user_footprint", 1, 2, 3),
            id("prd", "comments", 1, 2, 3),
            id("prd", "user_footprint", 9, 2, 3),
            id("prd", "user_footprint", 1, 9, 3),
            id("prd", "user_footprint", 1, 2, 9),
        ] {
            assert_ne!(one, other);
        }
    }
}
