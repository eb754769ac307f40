//! The first start of a route on a source. It is written once; the first writer wins.

use footprint_protocol::first_start::FirstStarts;
use footprint_protocol::ledger::SourceId;

use super::{Ledger, LedgerError};

impl Ledger {
    /// What the route's first start on a source wrote down. None if there was no start yet.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn starts(&self, source: SourceId) -> Result<Option<FirstStarts>, LedgerError> {
        let rows = self
            .query(
                "select commits, ends from footprint_first_start where route = $1 and source = $2",
                &[&self.route, &source.0],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(FirstStarts { commits: row.try_get("commits")?, ends: row.try_get("ends")? }))
    }

    /// Writes down the first start, unless another process has done so. The caller then reads it again, to see which one counts. Nothing is
    /// written if the ledger has partitions of the source already: an older program started there, and the ends of that time are not known.
    ///
    /// # Errors
    /// No answer: it may have been written.
    pub async fn write_starts(&self, source: SourceId, starts: &FirstStarts) -> Result<(), LedgerError> {
        self.query(
            "insert into footprint_first_start (route, source, commits, ends) select $1, $2, $3, $4 \
             where not exists (select 1 from footprint_ledger where route = $1 and source = $2) on conflict do nothing",
            &[&self.route, &source.0, &starts.commits, &starts.ends],
        )
        .await?;
        Ok(())
    }
}
