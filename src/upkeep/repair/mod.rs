//! Inserts exactly the rows and dead letters that [`verify`] finds missing, and nothing else. A row comes from Kafka's record, or from the
//! other database if Kafka no longer has it. Nothing is removed or changed: [`statements`] only makes the statements for that.
//!
//! It may run beside a running consumer. It touches only offsets that every sink has passed: no claim is pending there, and no consumer
//! writes there. Right before each insert it reads by identity what is there. So a repair that was killed leaves a part of the rows
//! inserted, and the next one inserts the rest. A lock in PostgreSQL keeps a second repair of the same route away.
//!
//! It inserts at most [`REPAIR_MAX`] identities of a route. Then `verify` looks again, and its verdict is the verdict of the repair.

mod choice;
mod clickhouse;
mod error;
mod mend;
mod postgres;
mod records;
mod report;
mod row_binary;
pub mod statements;

use footprint_service::config::Config;

pub use self::error::RepairError;
use self::mend::Mender;
use self::postgres::Session;
pub use self::report::{Left, Repaired, RouteRepair};
use crate::limits::REPAIR_MAX;
use crate::upkeep::verify::{FindingKind, Options, selected, verify};

/// Inserts what is missing in the routes that `options` name, and verifies them again.
///
/// # Errors
/// Another repair of a route is running, or a server does not answer. What was inserted before stays, and the next repair finishes.
pub async fn repair(config: &Config, options: Options) -> Result<Repaired, RepairError> {
    let chosen = selected(config, &options.routes)?;
    let mut sessions = Vec::new();
    for route in &chosen {
        sessions.push(Session::open(config, route, options.scan).await?);
    }
    let found = verify(config, Options { show: REPAIR_MAX, ..options.clone() }).await?;
    let mut routes = Vec::new();
    for ((route, session), report) in chosen.into_iter().zip(&sessions).zip(&found.routes) {
        routes.push(Mender::open(config, route, session, options.scan).await?.mend(report).await?);
    }
    let report = match found.count(FindingKind::Missing) {
        0 => found,
        _ => verify(config, options).await?,
    };
    Ok(Repaired { routes, report })
}
