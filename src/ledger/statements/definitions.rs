//! The definitions of a route. Each is stored before anything is claimed under it, and is found by the fingerprint of a claim.

use footprint_event::definition::Definition;
use footprint_event::route::Route;

use super::{Ledger, LedgerError};
use crate::store::postgres::migrate::find;
use crate::store::postgres::shape::{ShapeError, check_fits};

impl Ledger {
    /// Stores a definition, unless it is stored already.
    ///
    /// # Errors
    /// No answer: it may be stored.
    pub async fn keep_definition(&self, definition: &Definition) -> Result<(), LedgerError> {
        self.query(
            "insert into footprint_definition (route, fingerprint, definition) values ($1, $2, $3) on conflict do nothing",
            &[&self.route, &definition.fingerprint(), &definition.text()],
        )
        .await?;
        Ok(())
    }

    /// The fingerprint and text of each given definition that the ledger knows.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn definitions(&self, fingerprints: &[i64]) -> Result<Vec<(i64, String)>, LedgerError> {
        let sql = "select fingerprint, definition from footprint_definition where route = $1 and fingerprint = any($2)";
        let rows = self.query(sql, &[&self.route, &fingerprints]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Checks that the table in PostgreSQL takes the rows of a route without a change.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn check_table_fits(&self, route: &Route) -> Result<Result<(), ShapeError>, LedgerError> {
        let found = super::within(find(&self.client, &route.postgres_table)).await?;
        Ok(check_fits(route, found.as_ref()))
    }
}
