//! The SQL of a route's first start on a source: written once, the first writer wins.

use footprint_protocol::first_start::Starts;
use footprint_protocol::ledger::SourceId;

use super::{Ledger, LedgerError};

impl Ledger {
    /// What the route's first start on a source has written down; none when nobody has yet.
    ///
    /// # Errors
    /// No answer.
    pub async fn starts(&self, source: SourceId) -> Result<Option<Starts>, LedgerError> {
        let rows = self
            .query(
                "select commits, ends from footprint_first_start where route = $1 and source = $2",
                &[&self.route, &source.0],
            )
            .await?;
        let read =
            |row: &tokio_postgres::Row| Ok(Starts { commits: row.try_get("commits")?, ends: row.try_get("ends")? });
        rows.first().map(read).transpose().map_err(|error| LedgerError::of(&error))
    }

    /// Writes the first start down, unless somebody has: read it again to know by which to go. Nor is it written where the
    /// ledger knows partitions of the source already: an older program started there, and the ends of then are not known.
    ///
    /// # Errors
    /// No answer: it may have been written.
    pub async fn write_starts(&self, source: SourceId, starts: &Starts) -> Result<(), LedgerError> {
        self.query(
            "insert into footprint_first_start (route, source, commits, ends) select $1, $2, $3, $4 \
             where not exists (select 1 from footprint_ledger where route = $1 and source = $2) on conflict do nothing",
            &[&self.route, &source.0, &starts.commits, &starts.ends],
        )
        .await?;
        Ok(())
    }
}
