//! The ledger's connection: its loss ends every ownership (R4).

use std::sync::Arc;
use std::time::Instant;

use footprint_service::failpoint::{self, Point};
use footprint_service::health::Severity;
use footprint_service::report::Chain;
use tracing::{info, warn};

use super::{Coordinator, PipelineError};
use crate::ledger::identity::application_name;
use crate::ledger::statements::{Ledger, LedgerError};

impl Coordinator {
    pub(super) async fn connect(&mut self) -> Result<(), PipelineError> {
        if self.ledger.as_ref().is_some_and(|ledger| ledger.is_closed()) {
            self.lose_ledger("ledger: its connection was closed");
        }
        if self.ledger.is_some() || Instant::now() < self.ledger_retry_at {
            return Ok(());
        }
        failpoint::hit(Point::LedgerConnect);
        match self.ledger_with_definition().await {
            Ok(ledger) => {
                if self.ledger_identity.as_ref().is_some_and(|before| before != ledger.identity()) {
                    warn!("postgresql was restarted, restored or failed over: every partition is taken over again");
                }
                self.ledger_identity = Some(ledger.identity().clone());
                self.ledger = Some(Arc::new(ledger));
                self.ledger_backoff.reset();
                self.ledger_health.good();
                info!("ledger connected");
            }
            Err(error) if error.is_passing() => {
                let wait = self.ledger_backoff.next_wait();
                self.ledger_health.bad(Severity::Passing, &error, Instant::now());
                warn!(wait_ms = wait.as_millis(), "{}", Chain(&error));
                self.ledger_retry_at = Instant::now() + wait;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Connects to the ledger and stores the route's definition there: nothing may be claimed under a definition that the ledger does not
    /// keep. Every new connection does this, because a restored ledger may have lost the definition.
    async fn ledger_with_definition(&self) -> Result<Ledger, LedgerError> {
        let name = application_name(self.context.instance);
        let ledger = Ledger::connect(&self.settings.postgres, &self.context.route, &name).await?;
        failpoint::hit(Point::LedgerConnected);
        failpoint::hit(Point::KeepDefinition);
        failpoint::sent(Point::KeepDefinitionSent, ledger.keep_definition(&self.context.definition)).await?;
        failpoint::hit(Point::KeepDefinitionAnswered);
        Ok(ledger)
    }

    /// Drops the lost connection and ends every ownership (R4).
    pub(super) fn lose_ledger(&mut self, why: &str) {
        if self.ledger.take().is_some() {
            warn!("{why}: every partition is taken over again");
            self.context.proofs.void();
            let what_to_do = "footprint connects again by itself; if this lasts, look at PostgreSQL's log";
            self.ledger_health.says(Severity::Passing, why, what_to_do, Instant::now());
            self.ledger_retry_at = Instant::now() + self.ledger_backoff.next_wait();
            self.end_all("the ledger's connection was lost");
        }
    }

    /// Reacts to an error of the ledger. A lost connection ends every ownership. So does a passing error, unless it is certain that nothing
    /// was written. An error that does not pass ends the pipeline.
    pub(super) fn on_ledger_error(&mut self, error: LedgerError) -> Result<(), PipelineError> {
        match error {
            error if error.is_lost() || matches!(error, LedgerError::Connect(_)) => {
                self.lose_ledger(&Chain(&error).to_string());
            }
            // nothing was written: the work is tried again, and every ownership continues
            error @ (LedgerError::Locked(_) | LedgerError::Undone(_)) => warn!("{}; trying again", Chain(&error)),
            error if error.is_passing() => {
                // the statement may have landed: the next take-over finds out
                warn!("{}; trying again", Chain(&error));
                self.lose_ledger("ledger: a statement was refused");
            }
            error => return Err(error.into()),
        }
        Ok(())
    }
}
