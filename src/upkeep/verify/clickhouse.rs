//! What ClickHouse holds: how many rows of each window and when they were received, and the rows themselves. ClickHouse has no
//! snapshot, so it is asked after the ledger was read: rows that the ledger calls acknowledged are there, and stay.

use std::collections::BTreeMap;
use std::time::Duration;

use ::clickhouse::Row;
use ::clickhouse::query::Query;
use footprint_event::route::{Kind, Route, quoted};
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::address::authority;
use footprint_service::clickhouse::client;
use footprint_service::clickhouse::error::ClickHouseError;
use footprint_service::clickhouse::settings::Pins;
use footprint_service::config::ClickHouse;
use serde::Deserialize;

use crate::limits::VERIFY_WINDOWS_MAX;
use crate::upkeep::verify::error::VerifyError;
use crate::upkeep::verify::stream::RowBinaryReader;
use crate::upkeep::verify::window::Tally;

/// How many rows a window holds, and their range of times, so that monthly partitions without any are not opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Rows.
    pub rows: u64,
    /// The lowest and highest `received_at`, microseconds; none when a row lacks it.
    received_at_us: Option<(i64, i64)>,
}

/// The windows of each partition that hold rows.
pub(super) type Extents = BTreeMap<(i64, Partition), BTreeMap<i64, Extent>>;

/// One route's table.
pub(in crate::upkeep) struct Table {
    pins: Pins,
    address: String,
    name: String,
    columns: String,
    kinds: Vec<Kind>,
    stall: Duration,
    scan: Duration,
}

const WHO: &str = "clickhouse";

impl Table {
    /// The table of `route`. Asks nothing yet. `stall` bounds a silence, `scan` a pass over the table.
    pub(in crate::upkeep) fn new(clickhouse: &ClickHouse, route: &Route, stall: Duration, scan: Duration) -> Self {
        let columns = route.columns.iter().map(|column| format!(", {}", nullable(&column.name, column.kind))).collect();
        Self {
            pins: Pins::questions(&client(clickhouse), scan),
            address: authority(&clickhouse.host, clickhouse.port),
            name: quoted(&route.clickhouse_table),
            columns,
            kinds: route.columns.iter().map(|column| column.kind).collect(),
            stall,
            scan,
        }
    }

    /// With one thread of the server, behind its other queries.
    pub(in crate::upkeep) fn gently(self) -> Self {
        let pins = self.pins.and("max_threads", "1".into()).and("priority", "10".into());
        Self { pins, ..self }
    }

    /// Asks whether the server answers.
    ///
    /// # Errors
    /// It does not answer, or refuses the user.
    pub(super) async fn ping(&self) -> Result<(), VerifyError> {
        let answer = self.within(self.stall.min(Duration::from_secs(10)), self.pins.client()).await?;
        answer.map(|_| ()).map_err(|error| self.refused("connect", error))
    }

    /// One pass over the identities: which windows of `1 << window_bits` offsets hold rows.
    ///
    /// # Errors
    /// ClickHouse refuses, is silent too long, or holds offsets that cannot be Kafka's.
    pub(super) async fn extents(&self, window_bits: u32) -> Result<Extents, VerifyError> {
        let query = format!(
            "select assumeNotNull(kafka_source) as source, assumeNotNull(kafka_partition) as partition, \
             bitShiftRight(assumeNotNull(kafka_offset), {window_bits}) as window, toUInt64(count()) as rows, \
             toUInt64(countIf(received_at is null)) as timeless, \
             ifNull(min({RECEIVED_AT_US}), 0) as first, ifNull(max({RECEIVED_AT_US}), 0) as last \
             from {} where kafka_source is not null and kafka_partition is not null and kafka_offset is not null \
             group by source, partition, window",
            self.name
        );
        let query = self.query(&query).await?;
        let asked = async {
            let mut counted = query.fetch::<Counted>()?;
            let mut extents = Extents::new();
            let mut windows = 0;
            while let Some(row) = counted.next().await? {
                windows += 1;
                if windows > VERIFY_WINDOWS_MAX {
                    return Ok(None);
                }
                let received_at_us = (row.timeless == 0).then_some((row.first, row.last));
                let extent = Extent { rows: row.rows, received_at_us };
                extents.entry((row.source, row.partition)).or_default().insert(row.window, extent);
            }
            Ok(Some(extents))
        };
        let answer = self.within(self.scan, asked).await?;
        answer.map_err(|error| self.refused("count rows", error))?.ok_or(VerifyError::Scattered(WHO))
    }

    /// Adds the rows of one window, `[base, base + offsets)`, to `tally`.
    ///
    /// # Errors
    /// ClickHouse refuses, is silent too long, or sends fewer rows than it had counted.
    pub(super) async fn read(
        &self,
        (source, partition): (i64, Partition),
        (base, offsets): (Offset, i64),
        extent: &Extent,
        tally: &mut Tally,
    ) -> Result<(), VerifyError> {
        let place = (base, offsets);
        self.read_within((source, partition), place, extent.received_at_us, tally).await?;
        // more rows are no surprise: a window at the frontier grows while a consumer runs
        if tally.rows() < extent.rows {
            return Err(VerifyError::Cut { who: WHO, rows: tally.rows(), counted: extent.rows });
        }
        Ok(())
    }

    /// The lowest and highest `received_at` of the rows of `[base, base + offsets)`, microseconds. None: there are no rows, or none has
    /// a time.
    ///
    /// # Errors
    /// ClickHouse refuses, or is silent too long.
    pub(in crate::upkeep) async fn received(
        &self,
        (source, partition): (i64, Partition),
        (base, offsets): (Offset, i64),
    ) -> Result<Option<(i64, i64)>, VerifyError> {
        let query = format!(
            "select toUInt64(countIf(received_at is not null)), ifNull(min({RECEIVED_AT_US}), 0), ifNull(max({RECEIVED_AT_US}), 0) \
             from {} where kafka_source = {source} and kafka_partition = {partition} \
             and kafka_offset >= {base} and kafka_offset <= {}",
            self.name,
            base.saturating_add(offsets - 1)
        );
        let query = self.query(&query).await?;
        let answer = self.within(self.stall, query.fetch_one::<(u64, i64, i64)>()).await?;
        let (rows, first, last) = answer.map_err(|error| self.refused("look for times", error))?;
        Ok((rows > 0).then_some((first, last)))
    }

    /// Adds the rows of `[base, base + offsets)` that were received within these times, microseconds, to `tally`.
    ///
    /// # Errors
    /// ClickHouse refuses, or is silent too long.
    pub(in crate::upkeep) async fn read_within(
        &self,
        (source, partition): (i64, Partition),
        (base, offsets): (Offset, i64),
        received_at_us: Option<(i64, i64)>,
        tally: &mut Tally,
    ) -> Result<(), VerifyError> {
        let received = received_at_us.map_or(String::new(), |(first, last)| {
            format!(
                " and received_at >= fromUnixTimestamp64Micro(toInt64({first}), 'UTC') \
                 and received_at <= fromUnixTimestamp64Micro(toInt64({last}), 'UTC')"
            )
        });
        let query = format!(
            "select assumeNotNull(kafka_offset), cast({RECEIVED_AT_US}, 'Nullable(Int64)'){} from {} \
             where kafka_source = {source} and kafka_partition = {partition} \
             and kafka_offset >= {base} and kafka_offset <= {}{received}",
            self.columns,
            self.name,
            base.saturating_add(offsets - 1)
        );
        let failed = |error| self.refused("read rows", error);
        let mut cursor = self.query(&query).await?.fetch_bytes("RowBinary").map_err(failed)?;
        let mut reader = RowBinaryReader::new(self.kinds.clone());
        while let Some(chunk) = self.within(self.stall, cursor.next()).await?.map_err(failed)? {
            reader.feed(&chunk, |row| tally.add(row.offset, row.number)).map_err(|_| VerifyError::Malformed(WHO))?;
        }
        if !reader.is_whole() { Err(VerifyError::Malformed(WHO)) } else { Ok(()) }
    }

    /// A query under settings that do not let a profile shorten an answer silently.
    async fn query(&self, sql: &str) -> Result<Query, VerifyError> {
        // `?` would be taken for a placeholder; names are plain, and none of our literals contains it
        debug_assert!(!sql.contains('?'));
        let client = self.within(self.stall, self.pins.client()).await?;
        Ok(client.map_err(|error| self.refused("set the session up", error))?.query(sql))
    }

    async fn within<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, VerifyError> {
        super::postgres::within(WHO, limit, future).await
    }

    fn refused(&self, what: &'static str, error: ::clickhouse::error::Error) -> VerifyError {
        let source = ClickHouseError::from(error).of_command();
        VerifyError::ClickHouse { address: self.address.clone(), what, source }
    }
}

/// The record's Kafka time in microseconds, whatever the column's precision.
const RECEIVED_AT_US: &str = "toUnixTimestamp64Micro(toDateTime64(received_at, 6, 'UTC'))";

#[derive(Row, Deserialize)]
struct Counted {
    source: i64,
    partition: i32,
    window: i64,
    rows: u64,
    timeless: u64,
    first: i64,
    last: i64,
}

/// A column in the one wire form that the reader expects.
fn nullable(name: &str, kind: Kind) -> String {
    kind.form().clickhouse_value.replace("{}", &quoted(name))
}
