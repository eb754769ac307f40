//! What a repair did. Plain data, which `--json` serialises unchanged.

use footprint_protocol::offset::{Offset, Partition};
use serde::Serialize;

use crate::upkeep::verify::{Place, Report};

/// What was inserted for one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteRepair {
    /// The route.
    pub route: String,
    /// Rows inserted into PostgreSQL.
    pub postgres: u64,
    /// Rows inserted into ClickHouse.
    pub clickhouse: u64,
    /// Dead letters inserted.
    pub dead_letters: u64,
    /// Rows that were taken from the other database, because Kafka no longer has the record.
    pub from_other: u64,
    /// What is missing and was not inserted.
    pub left: Vec<Left>,
}

/// One identity that is missing and was not inserted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Where it is missing.
    pub place: Place,
    /// The identity's source.
    pub source: i64,
    /// The identity's partition.
    pub partition: Partition,
    /// The identity's offset.
    pub offset: Offset,
    /// Why it was not inserted.
    pub why: String,
}

/// A whole repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// What was done for each route.
    pub routes: Vec<RouteRepair>,
    /// What `verify` found afterwards.
    pub report: Report,
}

impl RouteRepair {
    pub(super) fn new(route: &str) -> Self {
        let (postgres, clickhouse, dead_letters, from_other) = (0, 0, 0, 0);
        Self { route: route.to_owned(), postgres, clickhouse, dead_letters, from_other, left: Vec::new() }
    }
}
