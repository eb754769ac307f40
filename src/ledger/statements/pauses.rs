//! What a person has paused: a route, or one of its sinks.

use std::fmt;
use std::time::Duration;

use footprint_protocol::ledger::SinkName;

use super::{Ledger, LedgerError};

/// One pause.
#[derive(Clone, Debug, PartialEq)]
pub struct Pause {
    /// The sink. None: the whole route.
    pub sink: Option<SinkName>,
    /// Why, in a person's words.
    pub reason: String,
    /// User and machine.
    pub by: String,
    /// When, as text in UTC.
    pub at: String,
    /// How long ago.
    pub age: Duration,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, by, at, .. } = self;
        write!(f, "paused by {by} at {at}: {reason}")
    }
}

fn name(sink: Option<SinkName>) -> &'static str {
    sink.map_or("", SinkName::as_str)
}

impl Ledger {
    /// What is paused of the route, the route itself first.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn pauses(&self) -> Result<Vec<Pause>, LedgerError> {
        let sql = "select sink, reason, paused_by, to_char(paused_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS \"UTC\"'), \
                   greatest(extract(epoch from clock_timestamp() - paused_at), 0)::float8 \
                   from footprint_pause where route = $1 order by sink";
        let rows = self.query(sql, &[&self.route]).await?;
        let sink =
            |name: &str| [SinkName::Postgres, SinkName::ClickHouse].into_iter().find(|sink| sink.as_str() == name);
        Ok(rows
            .iter()
            .map(|row| Pause {
                sink: sink(row.get(0)),
                reason: row.get(1),
                by: row.get(2),
                at: row.get(3),
                age: Duration::try_from_secs_f64(row.get(4)).unwrap_or_default(),
            })
            .collect())
    }

    /// Pauses the route or one of its sinks. False: it is paused already, and nothing changes.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn pause(&self, sink: Option<SinkName>, reason: &str, by: &str) -> Result<bool, LedgerError> {
        let sql = "insert into footprint_pause (route, sink, reason, paused_by) values ($1, $2, $3, $4) \
                   on conflict do nothing returning 1";
        Ok(!self.query(sql, &[&self.route, &name(sink), &reason, &by]).await?.is_empty())
    }

    /// Ends a pause. False: there is none.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn resume(&self, sink: Option<SinkName>) -> Result<bool, LedgerError> {
        let sql = "delete from footprint_pause where route = $1 and sink = $2 returning 1";
        Ok(!self.query(sql, &[&self.route, &name(sink)]).await?.is_empty())
    }
}
