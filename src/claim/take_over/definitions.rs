//! The definition that finishes each pending claim: the one that made the claim, which the ledger keeps. This asks the ledger and both
//! tables, but only if a claim of another definition is pending, so hardly ever.

use std::sync::Arc;

use footprint_event::definition::Definition;
use footprint_protocol::offset::{Partition, Range};
use footprint_protocol::take_over::Plan;
use footprint_service::failpoint::{self, Point};
use footprint_service::report::{Cause, Remedy};
use tracing::{info, warn};

use super::{Context, TakeOverError};
use crate::ledger::ownership::Earlier;
use crate::ledger::statements::Ledger;
use crate::store::clickhouse::migrate::MigrateError;

/// A claim that cannot be finished, because a table no longer takes its rows.
#[derive(Debug, thiserror::Error)]
#[error("records {range} were claimed under an earlier definition of the route and must be finished by that")]
struct ClaimedEarlier {
    range: Range,
    source: Remedy,
}

/// The program cannot see whether a table takes the rows of an earlier definition.
#[derive(Debug, thiserror::Error)]
#[error("an earlier definition")]
struct TableUnseen(#[source] Remedy);

/// The claimed ranges that are not finished by the route's present definition, each with the definition that finishes it.
pub(super) async fn earlier(
    context: &Context,
    ledger: &Ledger,
    partition: Partition,
    plan: &Plan,
) -> Result<Vec<Earlier>, TakeOverError> {
    let others = plan.claims_of_others(context.definition.fingerprint());
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let mut fingerprints: Vec<i64> = others.iter().map(|&(_, fingerprint)| fingerprint).collect();
    fingerprints.dedup();
    failpoint::hit(Point::Definitions);
    let found = ledger.definitions(&fingerprints).await.map_err(|error| TakeOverError::of_ledger(error, partition))?;
    failpoint::hit(Point::DefinitionsAnswered);
    let mut earlier: Vec<Earlier> = Vec::new();
    for (range, fingerprint) in others {
        let known = earlier.iter().find(|earlier| earlier.definition.fingerprint() == fingerprint);
        if let Some(definition) = known.map(|known| Arc::clone(&known.definition)) {
            earlier.push(Earlier { range, definition });
            continue;
        }
        let text = found.iter().find(|(of, _)| *of == fingerprint).map(|(_, text)| text);
        match text.map(|text| Definition::kept(text, context.definition.route())) {
            Some(Ok(definition)) => {
                check_tables_fit(context, ledger, partition, range, &definition).await?;
                info!(partition, %range, "claimed under an earlier definition of the route: finished by that");
                earlier.push(Earlier { range, definition: Arc::new(definition) });
            }
            Some(Err(why)) => log_lost(plan, partition, range, &why.to_string()),
            None => log_lost(plan, partition, range, "the version of footprint that claimed them kept none"),
        }
    }
    Ok(earlier)
}

/// Logs that the definition of a claim is not available. If PostgreSQL has stored the range, its rows are the truth. Otherwise the present
/// definition decodes the range.
fn log_lost(plan: &Plan, partition: Partition, range: Range, why: &str) {
    if plan.frontiers.postgres.is_some() && !plan.postgres_wants_rows(range) {
        info!(partition, %range, "claimed under another definition, {why}: clickhouse gets the rows that postgresql holds");
    } else {
        warn!(
            partition, %range,
            "claimed under another definition, {why}: they are decoded by the present one, and the databases may differ in \
             them; `footprint verify` compares them"
        );
    }
}

/// Checks that both tables still take the rows of a definition. A column may have been dropped since, or a new column may demand a value.
async fn check_tables_fit(
    context: &Context,
    ledger: &Ledger,
    partition: Partition,
    range: Range,
    definition: &Definition,
) -> Result<(), TakeOverError> {
    let stop = |error: Cause| {
        let claimed = ClaimedEarlier { range, source: Remedy::new("then start again", error) };
        TakeOverError::stop(partition, claimed)
    };
    if context.switches.postgres.is_some() {
        let fits = ledger.check_table_fits(definition.route()).await;
        fits.map_err(|error| TakeOverError::of_ledger(error, partition))?.map_err(|error| stop(error.into()))?;
    }
    if let Some(tables) = &context.clickhouse_tables {
        match tables.check_fits(definition.route()).await {
            Ok(()) => {}
            Err(MigrateError::Shape(error)) => return Err(stop(error.into())),
            Err(MigrateError::TimedOut { .. }) => {
                return Err(TakeOverError::Passing("clickhouse: no answer to what the table is".into()));
            }
            Err(error) => {
                let what_to_do = "see that the user may see the table: grant it select on it";
                return Err(TakeOverError::Unclear(TableUnseen(Remedy::new(what_to_do, error)).into()));
            }
        }
    }
    Ok(())
}
