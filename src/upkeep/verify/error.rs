//! Why `verify` could not say whether exactly once held. None of these errors is a fault of the data.

use std::time::Duration;

use footprint_event::route::RouteError;
use footprint_service::clickhouse::error::ClickHouseError;
use footprint_service::kafka::AskError;
use footprint_service::postgres::{ConnectError, PostgresError};
use footprint_service::report::Cause;
use tokio::task::JoinError;

/// Why nothing could be verified. The caller reports it and exits with 1.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No route of that name or topic.
    #[error("no route or topic is called {0:?}; the configuration's [[routes]] name them")]
    NoRoute(String),
    /// The route cannot be decoded.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// PostgreSQL cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The ledger is not there, or a newer migration has not been run.
    #[error("postgresql has no ledger, or an older program's; run `footprint migrate` first, or look at DB_NAME")]
    NoLedger,
    /// PostgreSQL refused.
    #[error("postgresql: {what}")]
    Postgres {
        /// What was asked.
        what: &'static str,
        /// PostgreSQL's error.
        source: PostgresError,
    },
    /// ClickHouse refused or cannot be reached.
    #[error("clickhouse at {address}: {what}")]
    ClickHouse {
        /// `host:port`.
        address: String,
        /// What was asked.
        what: &'static str,
        /// ClickHouse's error, and what to do.
        source: ClickHouseError,
    },
    /// Kafka refused or cannot be reached.
    #[error("kafka at {bootstrap_servers}")]
    Kafka {
        /// The brokers that were asked.
        bootstrap_servers: String,
        /// The cause.
        source: AskError,
    },
    /// The log could not be read.
    #[error("kafka: reading {topic} partition {partition} at offset {offset}")]
    Log {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How far it was read.
        offset: i64,
        /// librdkafka's error, or its words.
        source: Cause,
    },
    /// A server was silent for too long.
    #[error("{what} did not answer in {waited:?}; is it up? --timeout waits longer")]
    Silent {
        /// Which server, and the question.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// An answer that cannot be read.
    #[error("{0} sent an answer that cannot be read")]
    Malformed(&'static str),
    /// Fewer rows came than were counted before.
    #[error(
        "{who} sent {rows} rows but had counted {counted}; rows were deleted meanwhile, or an answer was cut: verify again"
    )]
    Cut {
        /// Which server.
        who: &'static str,
        /// Rows received.
        rows: u64,
        /// Rows counted.
        counted: u64,
    },
    /// The offsets are so far apart that a list of their windows would have no bound.
    #[error("{0} holds offsets in more than {max} windows; they cannot all be Kafka's", max = crate::limits::VERIFY_WINDOWS_MAX)]
    Scattered(&'static str),
    /// The topic was deleted and created again while it was read.
    #[error("topic {0} was replaced by another of the same name while it was verified; verify again")]
    TopicReplaced(String),
    /// A thread ended without a result.
    #[error("a thread of verify ended without a result")]
    Thread(#[source] JoinError),
    /// The log's reader is gone with a thread that was given up.
    #[error("the log's reader was not given back")]
    NoReader,
}

#[cfg(test)]
mod tests {
    use footprint_service::report::printed_once;

    use super::*;

    #[test]
    fn each_error_tells_its_cause_once_and_what_to_do_last() {
        let refused = clickhouse::error::Error::BadResponse("Code: 60. DB::Exception: no table".into());
        let error = "port=none".parse::<tokio_postgres::Config>().unwrap_err();
        let cases = [
            (
                VerifyError::Postgres { what: "read rows", source: error.into() },
                "postgresql: read rows: invalid connection string: invalid value for option `port`",
            ),
            (
                VerifyError::ClickHouse { address: "db:8123".into(), what: "count rows", source: refused.into() },
                "clickhouse at db:8123: count rows: Code: 60. DB::Exception: no table; run `footprint migrate`: the table is \
                 missing",
            ),
            (
                VerifyError::Kafka {
                    bootstrap_servers: "db:9092".into(),
                    source: AskError::refused("watermarks", "no answer in time"),
                },
                "kafka at db:9092: kafka: watermarks: no answer in time",
            ),
            (
                VerifyError::Log {
                    topic: "visits".into(),
                    partition: 3,
                    offset: 7,
                    source: "no record came for 60s".into(),
                },
                "kafka: reading visits partition 3 at offset 7: no record came for 60s",
            ),
        ];
        for (error, told) in cases {
            assert_eq!(printed_once(&error), told);
        }
    }
}
