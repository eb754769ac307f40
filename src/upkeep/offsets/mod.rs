//! Where the storing of each partition stands, and how a person changes it: records that are never stored, and a range that is stored
//! again. The ledger says where to continue, so Kafka's own tools cannot do this.
//!
//! Every change is one transaction under the lock of the ledger's row, and gives the row a new owner. A consumer that has the partition is
//! fenced by that, and takes it over again as the row is then. `protocol/by_hand.rs` decides, and says what a change keeps.

mod change;
mod error;
mod report;
mod topic;

use footprint_event::route::Route;
use footprint_protocol::ledger::Row;
use footprint_protocol::offset::Partition;
use footprint_service::config::Config;

pub use self::change::{accept_gap, rewind_to, skip_to};
pub use self::error::OffsetsError;
pub use self::report::{Change, Frontiers, PartitionOffsets, ShownGap};
use self::topic::{Log, topic};
use crate::ledger::statements::Ledger;
use crate::ledger::statements::by_hand::LastOwner;

/// The application name of its connections.
const NAME: &str = "footprint offsets";

/// Whether to do it, or only to say what would be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read only.
    DryRun,
    /// Change.
    Do,
}

/// Where the partitions of a route's topic stand that the ledger knows, in order.
///
/// # Errors
/// A server does not answer.
pub async fn offsets(
    config: &Config,
    route: &Route,
    only: Option<Partition>,
) -> Result<Vec<PartitionOffsets>, OffsetsError> {
    let topic = topic(&config.kafka, route, only).await?;
    let ledger = Ledger::connect(&config.postgres, &route.name, NAME).await?;
    let mut rows = ledger.rows(topic.source).await?;
    let owners = ledger.last_owners(topic.source).await?;
    let gaps = ledger.gaps_of(topic.source).await?;
    rows.retain(|(partition, _)| only.is_none_or(|only| only == *partition));
    rows.sort_by_key(|(partition, _)| *partition);
    let shown = rows.iter().map(|(partition, row)| {
        let gaps = gaps.iter().filter(|(of, ..)| of == partition);
        let gaps =
            gaps.map(|(_, database, start, end)| ShownGap { database: database.clone(), start: *start, end: *end });
        let owner = owners.iter().find(|owner| owner.partition == *partition);
        PartitionOffsets {
            route: route.name.clone(),
            source: topic.source.0,
            partition: *partition,
            gaps: gaps.collect(),
            ..shown(row, topic.logs.get(partition), owner)
        }
    });
    Ok(shown.collect())
}

fn shown(row: &Row, log: Option<&Log>, owner: Option<&LastOwner>) -> PartitionOffsets {
    let lowest = row.frontiers.lowest();
    PartitionOffsets {
        route: String::new(),
        source: 0,
        partition: 0,
        log_start: log.map(|log| log.start),
        log_end: log.map(|log| log.end),
        committed: log.and_then(|log| log.committed),
        postgres_next: row.frontiers.postgres,
        clickhouse_next: row.frontiers.clickhouse,
        postgres_stopped: row.postgres_stopped,
        clickhouse_stopped: row.clickhouse_stopped,
        dead_letters_next: row.frontiers.dead_letters,
        claimed: row.claimed,
        claims: row.claims.iter().map(|claim| claim.end).collect(),
        lag: log.map(|log| (log.end - lowest).max(0)),
        lost: log.map(|log| (log.start - lowest).max(0)),
        gaps: Vec::new(),
        epoch: row.epoch,
        owner: owner.map(ToString::to_string),
        owner_age_seconds: owner.map_or(0.0, |owner| owner.renewed_s),
    }
}
