//! The proof that exactly once held. It compares what Kafka's log, PostgreSQL, ClickHouse and the dead letters hold of every
//! route, source and partition, identity by identity and by content. It takes a configuration and returns a [`Report`]. It writes
//! nothing anywhere, commits no offset, and may run beside a running consumer. [`record`] writes the report to the ledger.
//!
//! ```text
//! ledger, gaps  (read first)                                    what must be there: postgres, expected (pure)
//!      |
//! extents       (one pass over each table)                      which windows hold rows, and where: postgres, clickhouse
//!      |
//! window by window, 1,048,576 offsets of one partition each:
//!      log --------\
//!      postgres ----+--> tallies: a count and a content number an offset --> compare (window, pure) --> findings (report)
//!      clickhouse --/
//! ```
//!
//! Why no record in flight is taken for a fault: rows are due only below the frontiers that were read first, and acknowledged
//! rows stay. A row past a frontier is unexpected only if the ledger, read again after the row was seen, still does not cover it.
//! PostgreSQL's rows are committed together with their frontier, and ClickHouse's rows come after their claim.

use std::sync::Arc;
use std::time::Duration;

use footprint_event::route::Route;
use footprint_protocol::offset::Partition;
use footprint_service::config::Config;

use crate::limits::VERIFY_WINDOW_BITS;

pub(in crate::upkeep) mod clickhouse;
pub(in crate::upkeep) mod content;
pub(in crate::upkeep) mod error;
pub(in crate::upkeep) mod expected;
pub mod faults;
mod finding;
pub(in crate::upkeep) mod log;
pub(in crate::upkeep) mod postgres;
pub(in crate::upkeep) mod record;
pub(in crate::upkeep) mod report;
pub mod stream;
mod walk;
pub(in crate::upkeep) mod window;

pub use error::VerifyError;
pub use record::record;
pub use report::{
    Counts, Finding, FindingKind, GapReport, PartitionReport, Place, Report, RouteReport, SinkReport, SourceReport,
    Verdict,
};

/// How far the walk has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The present step.
    pub step: Step,
    /// The route.
    pub route: String,
    /// Rows and records read so far, in this route.
    pub read: u64,
    /// Rows and records to read. It grows as partitions are opened.
    pub total: u64,
}

/// The steps of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Counting the rows of each table.
    Counting,
    /// Comparing a partition.
    Comparing {
        /// The source.
        source: i64,
        /// The partition.
        partition: Partition,
    },
}

/// Receives how far the walk has come.
pub type Listener = Arc<dyn Fn(&Progress) + Send + Sync>;

/// What to verify, and how.
#[derive(Clone)]
pub struct Options {
    /// Routes by name or topic. Empty: all routes.
    pub routes: Vec<String>,
    /// How many identities of each kind are named, for each route.
    pub show: usize,
    /// Whether warnings count as faults.
    pub strict: bool,
    /// How long a server may be silent.
    pub stall: Duration,
    /// How long one counting pass over a whole table may take.
    pub scan: Duration,
    /// The offsets of a window, as a power of two. It bounds memory (40 bytes an offset).
    pub window_bits: u32,
    /// Receives how far the walk has come.
    pub progress: Option<Listener>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            show: 20,
            strict: false,
            stall: Duration::from_secs(60),
            scan: Duration::from_secs(1_800),
            window_bits: VERIFY_WINDOW_BITS,
            progress: None,
        }
    }
}

/// Compares everything that `options` name.
///
/// # Errors
/// A server cannot be reached or is silent too long, the ledger is not there, or a route of that name is not configured. Then
/// nothing is known, and the report claims nothing.
pub async fn verify(config: &Config, options: Options) -> Result<Report, VerifyError> {
    let mut routes = Vec::new();
    for route in selected(config, &options.routes)? {
        routes.push(walk::walk(config, route, &options).await?);
    }
    Ok(Report::new(routes, options.strict))
}

/// The routes of these names or topics; of no name, all.
///
/// # Errors
/// No route is called so.
pub(in crate::upkeep) fn selected<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Route>, VerifyError> {
    let is_called = |route: &Route, name: &String| route.name == *name || route.topic == *name;
    if let Some(unknown) = names.iter().find(|name| !config.routes.iter().any(|route| is_called(route, name))) {
        return Err(VerifyError::NoRoute(unknown.clone()));
    }
    let wanted = |route: &&Route| names.is_empty() || names.iter().any(|name| is_called(route, name));
    Ok(config.routes.iter().filter(wanted).collect())
}
