//! What of a route a person has paused, as the stages see it.

use footprint_protocol::ledger::SinkName;

/// What is paused. Nothing, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paused {
    /// The route: nothing is read, and nothing new is claimed.
    pub route: bool,
    /// PostgreSQL's writers wait.
    pub postgres: bool,
    /// ClickHouse's writers wait.
    pub clickhouse: bool,
}

impl Paused {
    /// Whether the writers of a sink wait.
    pub fn sink(self, sink: SinkName) -> bool {
        match sink {
            SinkName::Postgres => self.postgres,
            SinkName::ClickHouse => self.clickhouse,
        }
    }

    /// Whether any writer waits.
    pub fn any_sink(self) -> bool {
        self.postgres || self.clickhouse
    }
}
