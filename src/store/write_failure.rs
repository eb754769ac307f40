//! The reasons why a batch is not stored. [`super::sink::SinkError`] says what the writer does about each.

use std::time::Duration;

use footprint_protocol::offset::{Offset, Partition, Range};
use footprint_service::clickhouse::error::ClickHouseError;
use footprint_service::kafka::AskError;
use footprint_service::postgres::ConnectError;
use footprint_service::report::{Cause, Remedy};
use footprint_service::traffic::Silent;
use tokio::task::JoinError;

use crate::ledger::error::LedgerError;

/// What to do about [`WriteFailure::TooManyRefused`].
pub const REFUSED_ROWS_REMEDY: &str = "let the table take such rows, or raise pipeline.refused_rows_share_max: each refused row \
                                       then becomes a dead letter";

/// Why a batch is not stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteFailure {
    /// No connection to PostgreSQL.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The ledger did not take the dead letter of a refused row.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Kafka did not answer when a refused record was read again.
    #[error(transparent)]
    Kafka(#[from] AskError),
    /// PostgreSQL refused, or the connection broke.
    #[error("postgresql")]
    Postgres(#[source] Cause),
    /// ClickHouse refused, or the connection broke.
    #[error("clickhouse")]
    ClickHouse(#[source] ClickHouseError),
    /// A database gave no sign of life.
    #[error("{server}")]
    Silent {
        /// The database.
        server: &'static str,
        /// How long it was silent.
        source: Silent,
    },
    /// A database did not answer a question.
    #[error("{server}: no answer in {waited:?} (pipeline.sink_timeout_ms)")]
    NoAnswer {
        /// The database.
        server: &'static str,
        /// How long it had.
        waited: Duration,
    },
    /// The ledger row of some partition is not what the writer expects. The next try reads the rows to find out which one.
    #[error("postgresql: the ledger row has changed since it was read")]
    Fenced,
    /// This process no longer owns a partition of the group.
    #[error("postgresql: an ownership ended during the search for refused rows")]
    OwnershipEnded,
    /// PostgreSQL dropped rows without an error.
    #[error("postgresql: {copied} of {sent} rows copied into {table}: {dropper}")]
    Dropped {
        /// The table.
        table: String,
        /// Rows sent.
        sent: u64,
        /// Rows that PostgreSQL counted.
        copied: u64,
        /// What drops them.
        dropper: String,
        /// What to do.
        source: Remedy,
    },
    /// More rows of a batch are refused than may become dead letters.
    #[error("{server}: {count} of {rows} rows of {range} are refused, such as partition {partition} offset {offset}")]
    TooManyRefused {
        /// Which database refuses them.
        server: &'static str,
        /// Rows refused.
        count: usize,
        /// Rows of the batch.
        rows: usize,
        /// The batch's partition.
        partition: Partition,
        /// The batch's range.
        range: Range,
        /// A refused record.
        offset: Offset,
        /// The server's words about it, and what to do.
        source: Remedy,
    },
    /// PostgreSQL takes no row of a batch, and its errors do not say that the rows are at fault.
    #[error("postgresql: no row of {range} is taken, the first is partition {partition} offset {offset}")]
    NoRowTaken {
        /// The batch's partition.
        partition: Partition,
        /// The batch's range.
        range: Range,
        /// The first record.
        offset: Offset,
        /// PostgreSQL's words about it, and what to do.
        source: Remedy,
    },
    /// ClickHouse runs another insert of the partition.
    #[error("clickhouse: another insert of the partition runs under query id {id}")]
    QueryIdInUse {
        /// The query id of all inserts of the partition.
        id: String,
    },
    /// Another insert of the partition could not be ended.
    #[error("clickhouse: the insert under query id {id} did not end in {waited:?}")]
    NotDrained {
        /// Its query id.
        id: String,
        /// How long it had.
        waited: Duration,
        /// The last answer.
        source: Cause,
    },
    /// ClickHouse answered OK twice, and some of the rows cannot be read.
    #[error(
        "clickhouse: partition {partition}, range {range}: inserts were answered ok under two tokens, and {missing} of their rows \
         cannot be read back"
    )]
    StoredRowsUnreadable {
        /// The batch's partition.
        partition: Partition,
        /// The batch's range.
        range: Range,
        /// Rows that cannot be read.
        missing: usize,
        /// What to do.
        source: Remedy,
    },
    /// A refused row could not be left out.
    #[error("clickhouse: a refused row could not be left out: the partition is another's")]
    NotLeftOut,
    /// A batch is refused as a whole.
    #[error("partition {partition}, offsets {range}")]
    Batch {
        /// Its partition.
        partition: Partition,
        /// Its range.
        range: Range,
        /// Why, and what to do about one record.
        source: Remedy,
    },
    /// A refusal that may pass came too many times.
    #[error("refused {tries} times in a row")]
    Repeated {
        /// The number of tries.
        tries: u32,
        /// The last refusal.
        source: Box<WriteFailure>,
    },
    /// The reader of refused records is gone, because an earlier question was given up.
    #[error("kafka: an earlier question was given up")]
    GivenUp,
    /// The thread that asks Kafka ended without an answer.
    #[error("the thread that asks kafka ended early")]
    Thread(#[source] JoinError),
    /// Refused records cannot be read again: the topic was deleted and made again.
    #[error("the topic was replaced while refused records were read again")]
    Replaced,
}

#[cfg(test)]
mod tests {
    use footprint_service::postgres::PostgresError;
    use footprint_service::report::{causes, printed_once};

    use super::*;

    fn postgres_error() -> PostgresError {
        "port=none".parse::<tokio_postgres::Config>().unwrap_err().into()
    }

    #[test]
    fn each_failure_tells_its_cause_once_and_what_to_do_last() {
        let refused =
            || ClickHouseError::from(clickhouse::error::Error::BadResponse("Code: 395. DB::Exception: no".into()));
        let (partition, range, offset) = (3, Range::new(10, 20), 12);
        let unclear = "clickhouse: Code: 395. DB::Exception: no; see what ClickHouse's error 395 is about: it refuses what \
                       footprint sends";
        let whole = WriteFailure::Batch {
            partition,
            range,
            source: Remedy::new("leave it out", WriteFailure::ClickHouse(refused())),
        };
        let cases = [
            (
                WriteFailure::Postgres(Remedy::new("look at DB_PORT", postgres_error()).into()),
                "postgresql: invalid connection string: invalid value for option `port`; look at DB_PORT".to_owned(),
            ),
            (WriteFailure::ClickHouse(refused()), unclear.to_owned()),
            (
                WriteFailure::Repeated { tries: 5, source: Box::new(whole) },
                format!("refused 5 times in a row: partition 3, offsets [10, 20): {unclear}; leave it out"),
            ),
            (
                WriteFailure::Silent { server: "postgresql", source: Silent::Still(Duration::from_secs(60)) },
                "postgresql: no answer: nothing has moved on its connection in 60s (pipeline.sink_timeout_ms)".to_owned(),
            ),
            (
                WriteFailure::TooManyRefused {
                    server: "postgresql",
                    count: 101,
                    rows: 1_000,
                    partition,
                    range,
                    offset,
                    source: Remedy::new("let the table take such rows", "value too long (SQLSTATE 22001)"),
                },
                "postgresql: 101 of 1000 rows of [10, 20) are refused, such as partition 3 offset 12: value too long \
                 (SQLSTATE 22001); let the table take such rows"
                    .to_owned(),
            ),
            (
                WriteFailure::NotDrained {
                    id: "footprint-visits-3".into(),
                    waited: Duration::from_secs(60),
                    source: refused().into(),
                },
                "clickhouse: the insert under query id footprint-visits-3 did not end in 60s: Code: 395. DB::Exception: no; see \
                 what ClickHouse's error 395 is about: it refuses what footprint sends"
                    .to_owned(),
            ),
            (
                WriteFailure::from(LedgerError::Locked(postgres_error())),
                "ledger: a row stayed locked: invalid connection string: invalid value for option `port`".to_owned(),
            ),
        ];
        for (failure, told) in cases {
            assert_eq!(printed_once(&failure), told);
        }
        let deep = WriteFailure::Postgres(Remedy::new("look at DB_PORT", postgres_error()).into());
        assert_eq!(causes(&deep).count(), 4, "the server, what to do, the client's error and its cause");
    }
}
