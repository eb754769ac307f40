//! Questions to ClickHouse: which offsets of a range it holds, and the highest offset of a partition. Also the drain: after it, no older
//! insert of a partition is under way.

use std::time::Duration;

use clickhouse::Client;
use footprint_event::route::Route;
use footprint_protocol::ledger::{Identity, LedgerId, SourceId};
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::clickhouse::error::ClickHouseError;
use footprint_service::clickhouse::settings::Pins;
use tokio::time::timeout;

use super::fence::{InsertId, drain};
use super::insert::insert_time_max;
use super::native;
use crate::store::sink::SinkError;
use crate::store::write_failure::WriteFailure;

/// How long the server waits for the next byte of a body, by default (http_receive_timeout).
const SILENT_CLIENT_MAX: Duration = Duration::from_secs(30);

/// What a read-back found.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadBack {
    /// Indices of the batch's rows that ClickHouse does not hold, in rising order.
    pub missing: Vec<usize>,
    /// The number of rows beyond one for each offset.
    pub surplus_rows: u64,
}

/// Compares the offsets of a batch (rising) with those read back (in any order).
pub fn missing_rows(offsets: &[Offset], mut present: Vec<Offset>) -> ReadBack {
    present.sort_unstable();
    let held = present.len();
    present.dedup();
    let surplus_rows = (held - present.len()) as u64;
    let missing =
        offsets.iter().enumerate().filter(|(_, offset)| present.binary_search(offset).is_err()).map(|(index, _)| index);
    ReadBack { missing: missing.collect(), surplus_rows }
}

/// Asks about one table.
#[derive(Clone)]
pub struct Questions {
    pins: Pins,
    /// The database and the table.
    place: (String, String),
    table: String,
    timeout: Duration,
}

impl Questions {
    /// Questions about the table of a route.
    pub fn new(client: &Client, route: &Route, database: &str, timeout: Duration) -> Self {
        let (own_database, own_table) = route.clickhouse_names(database);
        let place = (own_database.to_owned(), own_table.to_owned());
        Self { pins: Pins::questions(client, timeout), place, table: native::table(route, database), timeout }
    }

    /// The client with all settings of a question. The first call asks the server which of these settings it knows.
    async fn client(&self) -> Result<&Client, SinkError> {
        self.ask(self.pins.client()).await
    }

    async fn ask<T>(&self, answer: impl Future<Output = clickhouse::error::Result<T>>) -> Result<T, SinkError> {
        match timeout(self.timeout, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(ClickHouseError::from(error).into()),
            Err(_) => Err(SinkError::Uncertain(WriteFailure::NoAnswer { server: "clickhouse", waited: self.timeout })),
        }
    }

    /// Makes sure that there is a connection, and that the server answers on it. It reads the answer to its end. If a client stops before
    /// that, as `fetch_one` does, the connection is closed, unless the rest has arrived by chance.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn connected(&self) -> Result<(), SinkError> {
        self.ask(self.client().await?.query("select 1").fetch_all::<u8>()).await.map(|_| ())
    }

    /// The offsets of a range that ClickHouse holds, in any order. An offset that is stored twice is returned twice.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn read_back(&self, identity: Identity) -> Result<Vec<Offset>, SinkError> {
        let Identity { source, partition, range } = identity;
        let sql = format!(
            "select assumeNotNull(kafka_offset) from {} where kafka_source = ? and kafka_partition = ? \
             and kafka_offset >= ? and kafka_offset < ?",
            self.table
        );
        let query = self.client().await?.query(&sql).bind(source.0).bind(partition).bind(range.start).bind(range.end);
        self.ask(query.fetch_all::<i64>()).await
    }

    /// Those of these offsets that ClickHouse holds, in any order. An offset that is stored twice is returned twice.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn held(
        &self,
        source: SourceId,
        partition: Partition,
        offsets: &[Offset],
    ) -> Result<Vec<Offset>, SinkError> {
        let (Some(first), Some(last)) = (offsets.iter().min(), offsets.iter().max()) else { return Ok(Vec::new()) };
        let listed: Vec<String> = offsets.iter().map(Offset::to_string).collect();
        let sql = format!(
            "select assumeNotNull(kafka_offset) from {} where kafka_source = ? and kafka_partition = ? \
             and kafka_offset >= ? and kafka_offset <= ? and kafka_offset in ({})",
            self.table,
            listed.join(", ")
        );
        let query = self.client().await?.query(&sql).bind(source.0).bind(partition).bind(first).bind(last);
        self.ask(query.fetch_all::<i64>()).await
    }

    /// The highest offset of a partition that ClickHouse holds at or above `from`.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn highest(
        &self,
        source: SourceId,
        partition: Partition,
        from: Offset,
    ) -> Result<Option<Offset>, SinkError> {
        Ok(self.rows_from(source, partition, from).await?.1)
    }

    /// How many rows of a partition ClickHouse holds at or above `from`, and the highest offset.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn rows_from(
        &self,
        source: SourceId,
        partition: Partition,
        from: Offset,
    ) -> Result<(i64, Option<Offset>), SinkError> {
        let sql = format!(
            "select max(assumeNotNull(kafka_offset)), count() from {} where kafka_source = ? and kafka_partition = ? \
             and kafka_offset >= ?",
            self.table
        );
        let query = self.client().await?.query(&sql).bind(source.0).bind(partition).bind(from);
        let (highest, count) = self.ask(query.fetch_one::<(i64, u64)>()).await?;
        Ok((i64::try_from(count).unwrap_or(i64::MAX), (count > 0).then_some(highest)))
    }

    /// The highest offset of a partition that ClickHouse holds in `[from, to)`.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn highest_below(
        &self,
        source: SourceId,
        partition: Partition,
        from: Offset,
        to: Offset,
    ) -> Result<Option<Offset>, SinkError> {
        let sql = format!(
            "select max(assumeNotNull(kafka_offset)), count() from {} where kafka_source = ? and kafka_partition = ? \
             and kafka_offset >= ? and kafka_offset < ?",
            self.table
        );
        let query = self.client().await?.query(&sql).bind(source.0).bind(partition).bind(from).bind(to);
        let (highest, count) = self.ask(query.fetch_one::<(i64, u64)>()).await?;
        Ok((count > 0).then_some(highest))
    }

    /// The query id that all inserts of a partition have.
    pub fn insert_id(&self, ledger: LedgerId, source: SourceId, partition: Partition) -> InsertId {
        let (database, table) = &self.place;
        InsertId::new(database, table, ledger, source, partition)
    }

    /// The query id that all inserts of a partition's replayed dead letters have.
    pub fn replay_id(&self, ledger: LedgerId, source: SourceId, partition: Partition) -> InsertId {
        let (database, table) = &self.place;
        InsertId::of_replay(database, table, ledger, source, partition)
    }

    /// Ends the insert that runs under `id`, if there is one, and waits until it is gone.
    ///
    /// # Errors
    /// The insert still runs at the deadline, or ClickHouse refuses or does not answer.
    pub async fn drain(&self, id: &InsertId, deadline: Duration) -> Result<(), SinkError> {
        drain(self.client().await?, id, deadline).await
    }

    /// The longest life of an insert whose query id is no longer known: the time limit of one insert, and the time that the server waits
    /// for the rest of a body whose client is gone.
    pub fn insert_lifetime_max(&self) -> Duration {
        insert_time_max(self.timeout) + SILENT_CLIENT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_doubled_rows_are_told_apart() {
        let found = missing_rows(&[3, 5, 8, 9], vec![9, 3, 9, 4]);
        assert_eq!(found, ReadBack { missing: vec![1, 2], surplus_rows: 1 });
    }
}
