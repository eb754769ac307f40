//! What PostgreSQL holds: where each window's rows are, and the rows themselves. The ledger's own rows are asked for by
//! [`history`]. No transaction lasts longer than one statement. A snapshot held for the whole walk would keep every old version of the ledger's rows, which are
//! rewritten several times a second, and would slow down the running consumer.
//!
//! There is no index on the identity, and `received_at` is the producer's clock, which may say anything. So rows are found again
//! by their place. One pass notes each window's first and last ctid, and a window is then a TID range scan (PostgreSQL 14 or
//! later). This is exact whatever the times say, because rows are appended in the order of arrival and never moved. If a person
//! moves one meanwhile, fewer rows are found than were counted. That is an error and no verdict.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use footprint_event::route::{Kind, Route, quoted};
use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::config::Postgres;
use footprint_service::postgres::pool::{Session, Sessions};
use footprint_service::postgres::session::Purpose;
use futures::{TryStreamExt as _, pin_mut};
use tokio_postgres::error::SqlState;

use crate::ledger::statements::history::{self, Gap, Key, Promised, Source};
use crate::ledger::statements::proofs::{self, Proof, Prover, Reached};
use crate::limits::VERIFY_WINDOWS_MAX;
use crate::upkeep::verify::error::VerifyError;
use crate::upkeep::verify::stream::{CopyReader, Fields};

/// A row's place in the heap: block, then item.
type Tid = (u32, u16);

/// Where a window's rows are, and how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Rows.
    pub rows: u64,
    first: Tid,
    last: Tid,
}

/// The windows of each partition that hold rows.
pub(super) type Extents = BTreeMap<Key, BTreeMap<i64, Extent>>;

/// Where rows are looked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::upkeep) enum Place {
    /// Between these places of the heap.
    Heap(Tid, Tid),
    /// Between these times of arrival, microseconds since 1970. The table has an index on them.
    Received(i64, i64),
    /// In the whole table.
    Anywhere,
}

impl Place {
    /// The condition that selects it.
    fn condition(self) -> String {
        match self {
            Self::Heap((first_block, first_item), (last_block, last_item)) => {
                format!("ctid >= '({first_block},{first_item})' and ctid <= '({last_block},{last_item})'")
            }
            Self::Received(first, last) => format!(
                "received_at >= timestamptz 'epoch' + interval '{first} microseconds' \
                 and received_at <= timestamptz 'epoch' + interval '{last} microseconds'"
            ),
            Self::Anywhere => "true".into(),
        }
    }
}

/// One of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upkeep) enum Table {
    /// The route's rows.
    Rows,
    /// Its dead letters for both databases.
    DeadLetters,
    /// Its dead letters for one database alone, which refused the row.
    Refused(SinkName),
}

/// Waits for `future`, at most `limit`.
pub(in crate::upkeep) async fn within<T>(
    what: &'static str,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, VerifyError> {
    tokio::time::timeout(limit, future).await.map_err(|_| VerifyError::Silent { what, waited: limit })
}

fn refused(what: &'static str) -> impl FnOnce(tokio_postgres::Error) -> VerifyError {
    move |error| VerifyError::Postgres { what, source: error.into() }
}

/// One route's tables.
pub(in crate::upkeep) struct Tables {
    sessions: Sessions,
    route: String,
    rows_table: String,
    columns: String,
    kinds: Vec<Kind>,
    stall: Duration,
    scan: Duration,
}

impl Tables {
    /// Connects. `stall` bounds a silence while rows stream, `scan` a pass over a whole table.
    ///
    /// # Errors
    /// PostgreSQL cannot be reached or refuses.
    pub(super) async fn open(
        postgres: &Postgres,
        route: &Route,
        stall: Duration,
        scan: Duration,
    ) -> Result<Self, VerifyError> {
        // one pass over a large table may take longer than a server's default allows; `scan` bounds it
        let sessions = Sessions::new(postgres, "footprint verify", Purpose::Verify);
        // connects once, so that an unreachable server is reported at once
        drop(sessions.get().await?);
        Ok(Self::new(sessions, route, stall, scan))
    }

    /// Takes its sessions from `sessions`. Connects only when it asks.
    pub(in crate::upkeep) fn new(sessions: Sessions, route: &Route, stall: Duration, scan: Duration) -> Self {
        let mut columns = String::new();
        for column in &route.columns {
            columns.push_str(&format!(", {}::{}", quoted(&column.name), column.kind.form().postgres_type));
        }
        Self {
            sessions,
            route: route.name.clone(),
            rows_table: quoted(&route.postgres_table),
            columns,
            kinds: route.columns.iter().map(|column| column.kind).collect(),
            stall,
            scan,
        }
    }

    /// A session of the pool. If all are in use, it waits until a pass has ended.
    pub(in crate::upkeep) async fn session(&self) -> Result<Session, VerifyError> {
        Ok(within("postgresql", self.scan, self.sessions.get()).await??)
    }

    /// Whether the route's table is there.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub(super) async fn has_rows_table(&self) -> Result<bool, VerifyError> {
        let query = "select to_regclass($1) is not null";
        let row = within("postgresql", self.stall, self.session().await?.query_one(query, &[&self.rows_table])).await?;
        Ok(row.map_err(refused("look for the table"))?.get(0))
    }

    /// The ledger's rows of the route.
    ///
    /// # Errors
    /// PostgreSQL refuses, or the ledger is not there.
    pub(in crate::upkeep) async fn ledger(&self) -> Result<BTreeMap<Key, Promised>, VerifyError> {
        let session = self.session().await?;
        let rows = within("postgresql", self.stall, history::promises(&session, &self.route)).await?;
        let is_old = |error: &tokio_postgres::Error| {
            [Some(&SqlState::UNDEFINED_TABLE), Some(&SqlState::UNDEFINED_COLUMN)].contains(&error.code())
        };
        if rows.as_ref().is_err_and(is_old) {
            return Err(VerifyError::NoLedger);
        }
        rows.map_err(refused("read the ledger"))
    }

    /// The ledger's row of one partition, as it is now.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub(in crate::upkeep) async fn promised(&self, key: Key) -> Result<Option<Promised>, VerifyError> {
        let session = self.session().await?;
        within("postgresql", self.stall, history::promise(&session, &self.route, key))
            .await?
            .map_err(refused("read the ledger"))
    }

    /// All sources known, the oldest first.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub(in crate::upkeep) async fn sources(&self) -> Result<Vec<Source>, VerifyError> {
        let session = self.session().await?;
        within("postgresql", self.stall, history::sources(&session)).await?.map_err(refused("read the sources"))
    }

    /// The route's recorded gaps.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub(in crate::upkeep) async fn gaps(&self) -> Result<BTreeMap<Key, Vec<Gap>>, VerifyError> {
        let session = self.session().await?;
        within("postgresql", self.stall, history::gaps(&session, &self.route)).await?.map_err(refused("read the gaps"))
    }

    /// How far the audit has come in the partitions of a source.
    ///
    /// # Errors
    /// PostgreSQL refuses, or the table is not there.
    pub(in crate::upkeep) async fn reached(&self, source: i64) -> Result<BTreeMap<Partition, Reached>, VerifyError> {
        let session = self.session().await?;
        let asked = proofs::reached(&session, &self.route, source);
        within("postgresql", self.stall, asked).await?.map_err(refused("read earlier proofs"))
    }

    /// Writes what was proven of a partition. The audit's sessions are read-only, except here.
    ///
    /// # Errors
    /// PostgreSQL refuses, or the table is not there.
    pub(in crate::upkeep) async fn save(&self, prover: Prover, proof: &Proof) -> Result<(), VerifyError> {
        let mut session = self.session().await?;
        let saving = async {
            let transaction = match prover {
                Prover::Audit => session.build_transaction().read_only(false).start().await?,
                // a role that may not write has its reason
                Prover::Verify => session.build_transaction().start().await?,
            };
            proofs::save(&*transaction, &self.route, prover, proof).await?;
            transaction.commit().await
        };
        within("postgresql", self.stall, saving).await?.map_err(refused("write the proof"))
    }

    /// One pass over a table: which windows of `1 << window_bits` offsets hold rows, and where these are.
    ///
    /// # Errors
    /// PostgreSQL refuses, is silent too long, or holds offsets that cannot be Kafka's.
    pub(super) async fn extents(&self, table: Table, window_bits: u32) -> Result<Extents, VerifyError> {
        let (from, whose) = self.from(table);
        let query = format!(
            "select kafka_source::bigint, kafka_partition::integer, kafka_offset::bigint >> {window_bits}, count(*), \
             min(ctid)::text, max(ctid)::text from {from} where {whose} and kafka_source is not null \
             and kafka_partition is not null and kafka_offset is not null group by 1, 2, 3"
        );
        let asked = async {
            let no_parameters: [&str; 0] = [];
            // the session returns to the pool when the last row was read
            let session = self.session().await?;
            let rows = session.query_raw(&query, no_parameters).await.map_err(refused("count rows"))?;
            pin_mut!(rows);
            let mut extents = Extents::new();
            let mut windows = 0;
            while let Some(row) = rows.try_next().await.map_err(refused("count rows"))? {
                windows += 1;
                if windows > VERIFY_WINDOWS_MAX {
                    return Err(VerifyError::Scattered("postgresql"));
                }
                let extent = Extent {
                    rows: row.get::<_, i64>(3).unsigned_abs(),
                    first: tid(row.get(4))?,
                    last: tid(row.get(5))?,
                };
                extents.entry((row.get(0), row.get(1))).or_default().insert(row.get(2), extent);
            }
            Ok(extents)
        };
        within("postgresql, asked to count its rows,", self.scan, asked).await?
    }

    /// Gives the offset and content of each row of one window, `[base, base + offsets)`, to `add`.
    ///
    /// # Errors
    /// PostgreSQL refuses, is silent too long, or sends fewer rows than it had counted.
    pub(super) async fn read(
        &self,
        table: Table,
        (source, partition): Key,
        (base, offsets): (Offset, i64),
        extent: &Extent,
        add: impl FnMut(Offset, u64),
    ) -> Result<(), VerifyError> {
        let rows = self
            .read_at(table, (source, partition), (base, offsets), Place::Heap(extent.first, extent.last), add)
            .await?;
        // more rows are no surprise: rows appended meanwhile may be among the others
        if rows < extent.rows {
            return Err(VerifyError::Cut { who: "postgresql", rows, counted: extent.rows });
        }
        Ok(())
    }

    /// Gives the offset and content of each row of `[base, base + offsets)` that is at `place` to `add`. Returns their number.
    ///
    /// # Errors
    /// PostgreSQL refuses, or is silent too long.
    pub(in crate::upkeep) async fn read_at(
        &self,
        table: Table,
        (source, partition): Key,
        (base, offsets): (Offset, i64),
        place: Place,
        mut add: impl FnMut(Offset, u64),
    ) -> Result<u64, VerifyError> {
        let (from, whose) = self.from(table);
        let (columns, fields) = match table {
            Table::Rows => (self.columns.as_str(), Fields::Columns(self.kinds.clone())),
            Table::DeadLetters | Table::Refused(_) => (", key, payload", Fields::DeadLetter),
        };
        let last = base.saturating_add(offsets - 1);
        let copy = format!(
            "copy (select kafka_offset::bigint, received_at::timestamptz{columns} from {from} where {whose} \
             and {} and kafka_source = {source} and kafka_partition = {partition} \
             and kafka_offset >= {base} and kafka_offset <= {last}) to stdout (format binary)",
            place.condition()
        );
        const WHO: &str = "postgresql, asked for rows,";
        // in a whole table, the first row may be far away
        let stall = if matches!(place, Place::Anywhere) { self.scan } else { self.stall };
        let stream = within(WHO, stall, self.session().await?.copy_out(&copy)).await?.map_err(refused("read rows"))?;
        pin_mut!(stream);
        let mut reader = CopyReader::new(fields);
        let mut rows = 0;
        while let Some(chunk) = within(WHO, stall, stream.try_next()).await?.map_err(refused("read rows"))? {
            reader
                .feed(&chunk, |row| {
                    rows += 1;
                    add(row.offset, row.number);
                })
                .map_err(|_| VerifyError::Malformed("postgresql"))?;
        }
        if !reader.is_whole() {
            return Err(VerifyError::Malformed("postgresql"));
        }
        Ok(rows)
    }

    /// The table, and the condition that selects the route's rows.
    fn from(&self, table: Table) -> (&str, String) {
        match table {
            Table::Rows => (&self.rows_table, "true".into()),
            // a route's name is a plain identifier (Route::validated), so it cannot end its quotes
            Table::DeadLetters => ("dead_letters", format!("route = '{}' and sink = 'both'", self.route)),
            Table::Refused(sink) => {
                ("dead_letters", format!("route = '{}' and sink = '{}'", self.route, sink.as_str()))
            }
        }
    }
}

/// `(12,3)`.
fn tid(text: &str) -> Result<Tid, VerifyError> {
    text.strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .and_then(|text| text.split_once(','))
        .and_then(|(block, item)| Some((block.parse().ok()?, item.parse().ok()?)))
        .ok_or(VerifyError::Malformed("postgresql"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ctid_is_read() {
        assert_eq!(tid("(4294967294,291)").unwrap(), (4_294_967_294, 291));
        assert!(tid("12,3").is_err());
    }
}
