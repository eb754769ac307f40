//! The repair's one session with PostgreSQL. It holds the lock that keeps a second repair of the route away, reads what the ledger and the
//! table hold, and inserts. If the session is lost, the lock is lost, and the repair ends.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use footprint_event::reject::DeadLetter;
use footprint_event::route::{Route, quoted};
use footprint_event::rows::Rows;
use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::Offset;
use footprint_service::config::Config;
use footprint_service::failpoint::{self, Point};
use footprint_service::postgres::asked::{DEAD_LETTERS, ledger_tables};
use footprint_service::postgres::session::Purpose;
use footprint_service::postgres::{PostgresError, connect_to_write};
use futures::{SinkExt as _, pin_mut};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use crate::ledger::statements::history::{self, Key};
use crate::ledger::statements::replays::lock_key;
use crate::limits::COPY_CHUNK_BYTES;
use crate::store::postgres::copy;
use crate::store::postgres::stored::rows_where;
use crate::upkeep::repair::error::RepairError;
use crate::upkeep::verify::Place;

/// What is inserted.
#[derive(Clone, Copy)]
pub(super) enum Missing<'a> {
    /// Rows, with the route of the definition that made them.
    Rows(&'a Route, &'a Rows),
    /// Dead letters for both databases.
    Letters(&'a [DeadLetter]),
}

/// Why nothing was inserted.
#[derive(Debug)]
pub(super) enum NotInserted {
    /// PostgreSQL refuses a row.
    Refused(PostgresError),
    /// The repair cannot go on.
    Ended(Box<RepairError>),
}

impl From<RepairError> for NotInserted {
    fn from(error: RepairError) -> Self {
        Self::Ended(Box::new(error))
    }
}

/// The session.
pub(super) struct Session {
    client: Client,
    route: Route,
    /// How long one statement may take: it may have to look at a whole table.
    scan: Duration,
}

fn refused(what: &'static str) -> impl FnOnce(Error) -> RepairError {
    move |error| RepairError::Postgres { what, source: error.into() }
}

/// The offset below which a place may be repaired: every sink that is on has passed it, so no claim is pending there, and no consumer
/// writes there. If the place's own sink is off, that is where it stopped.
fn bound(place: Place) -> String {
    let own = match place {
        Place::Postgres => "case when postgres_next is null then coalesce(postgres_stopped, 0) end",
        Place::Clickhouse => "case when clickhouse_next is null then coalesce(clickhouse_stopped, 0) end",
        Place::DeadLetters | Place::Either | Place::Log => "dead_letters_next",
    };
    // `least` passes over nulls
    format!("least(dead_letters_next, postgres_next, clickhouse_next, {own})")
}

impl Session {
    /// Connects, and takes the route's lock.
    ///
    /// # Errors
    /// Another repair has the lock, or PostgreSQL refuses.
    pub(super) async fn open(config: &Config, route: &Route, scan: Duration) -> Result<Self, RepairError> {
        let mut tables = ledger_tables();
        tables.push(DEAD_LETTERS);
        let table = config.postgres.enabled.then_some(route);
        let client =
            connect_to_write(&config.postgres, "footprint verify --repair", Purpose::Writer, &tables, table).await?;
        let session = Self { client, route: route.clone(), scan };
        let key = lock_key(&route.name);
        let what = "lock the repair of the route";
        let row = session.within(session.client.query_one("select pg_try_advisory_lock($1)", &[&key])).await?;
        if row.map_err(refused(what))?.get(0) {
            return Ok(session);
        }
        let sql = "select pid from pg_locks where locktype = 'advisory' and granted and objsubid = 1 \
                   and (classid::bigint << 32) | objid::bigint = $1 and database = \
                   (select oid from pg_database where datname = current_database())";
        let holder = session.within(session.client.query_opt(sql, &[&key])).await?.map_err(refused(what))?;
        let backend = holder.map_or(0, |row| row.get(0));
        Err(RepairError::Held { route: route.name.clone(), backend })
    }

    async fn within<T>(&self, answer: impl Future<Output = T>) -> Result<T, RepairError> {
        let silent = |_| RepairError::Silent { who: "postgresql", waited: self.scan };
        tokio::time::timeout(self.scan, answer).await.map_err(silent)
    }

    /// The texts of the definitions that the ledger keeps.
    pub(super) async fn definitions(&self) -> Result<Vec<String>, RepairError> {
        let found = self.within(history::definitions(&self.client, &self.route.name)).await?;
        found.map_err(refused("read the definitions"))
    }

    /// The offset below which `place` may be repaired, as the ledger says now.
    pub(super) async fn bound(&self, place: Place, (source, partition): Key) -> Result<Offset, RepairError> {
        let bound = bound(place);
        let sql = format!("select {bound} from footprint_ledger where route = $1 and source = $2 and partition = $3");
        let row = self.within(self.client.query_opt(&sql, &[&self.route.name, &source, &partition])).await?;
        Ok(row.map_err(refused("read the ledger"))?.map_or(0, |row| row.get(0)))
    }

    /// The rows of the route's table at these offsets.
    pub(super) async fn rows(&self, (source, partition): Key, offsets: &[Offset]) -> Result<Rows, RepairError> {
        let parameters: [&(dyn ToSql + Sync); 3] = [&source, &partition, &offsets];
        // a row without it is none of ours
        let condition = "kafka_offset = any($3) and received_at is not null";
        let asked = rows_where(&self.client, &self.route, condition, &parameters);
        self.within(asked).await?.map_err(refused("read rows"))
    }

    /// Which of these offsets the route's table holds.
    pub(super) async fn held(
        &self,
        (source, partition): Key,
        offsets: &[Offset],
    ) -> Result<BTreeSet<Offset>, RepairError> {
        let sql = format!(
            "select kafka_offset from {} where kafka_source = $1 and kafka_partition = $2 and kafka_offset = any($3)",
            quoted(&self.route.postgres_table)
        );
        let rows = self.within(self.client.query(&sql, &[&source, &partition, &offsets])).await?;
        Ok(rows.map_err(refused("read rows"))?.iter().map(|row| row.get(0)).collect())
    }

    /// Which of these offsets have a dead letter that excuses a missing row in `place`, or are one.
    pub(super) async fn letters(
        &self,
        place: Place,
        (source, partition): Key,
        offsets: &[Offset],
    ) -> Result<BTreeSet<Offset>, RepairError> {
        let sink = match place {
            Place::Postgres => "postgres",
            Place::Clickhouse => "clickhouse",
            _ => "both",
        };
        let sql = "select kafka_offset from dead_letters where route = $1 and kafka_source = $2 and kafka_partition = $3 \
                   and kafka_offset = any($4) and sink in ('both', $5)";
        let parameters: [&(dyn ToSql + Sync); 5] = [&self.route.name, &source, &partition, &offsets, &sink];
        let rows = self.within(self.client.query(sql, &parameters)).await?.map_err(refused("read dead letters"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Inserts, in one transaction that also checks the bound at its end. The caller has just seen that none of it is there.
    pub(super) async fn insert(&self, place: Place, key: Key, missing: Missing<'_>) -> Result<u64, NotInserted> {
        match self.within(self.transaction(place, key, missing)).await? {
            Ok(count) => Ok(count),
            Err(error) if error.code().is_some() && !self.client.is_closed() => {
                let rolled_back = self.within(self.client.batch_execute("rollback")).await?;
                rolled_back.map_err(refused("roll back"))?;
                Err(NotInserted::Refused(PostgresError::without_values(error)))
            }
            Err(error) => Err(refused("insert what is missing")(error).into()),
        }
    }

    async fn transaction(&self, place: Place, (source, partition): Key, missing: Missing<'_>) -> Result<u64, Error> {
        let statement = match missing {
            Missing::Rows(route, _) => copy::rows_statement(route),
            Missing::Letters(_) => copy::dead_letters_statement().to_owned(),
        };
        self.client.batch_execute("begin").await?;
        failpoint::hit(Point::Copy);
        let sink = self.client.copy_in(&statement).await?;
        pin_mut!(sink);
        let mut buffer = BytesMut::with_capacity(COPY_CHUNK_BYTES);
        copy::header(&mut buffer);
        let (mut next, count) = (0, missing.len());
        while next < count {
            let id = SourceId(source);
            next = match missing {
                Missing::Rows(_, rows) => copy::rows(rows, next, id, partition, &mut buffer, COPY_CHUNK_BYTES),
                Missing::Letters(letters) => {
                    copy::dead_letters(&self.route, letters, next, id, partition, &mut buffer, COPY_CHUNK_BYTES)
                }
            };
            sink.send(buffer.split().freeze()).await?;
        }
        copy::trailer(&mut buffer);
        sink.send(buffer.freeze()).await?;
        let copied = sink.finish().await?;
        failpoint::hit(Point::Commit);
        // the check and `commit` are one message, so a suspended repair never keeps the ledger's row locked
        let last = format!(
            "do $$ begin perform 1 from footprint_ledger where route = '{}' and source = {source} and partition = {partition} \
             and {} > {} for share; if not found then raise exception 'the ledger has changed meanwhile'; end if; end $$; commit",
            self.route.name,
            bound(place),
            missing.last_offset()
        );
        failpoint::sent(Point::CommitSent, self.client.batch_execute(&last)).await?;
        failpoint::hit(Point::CommitAnswered);
        Ok(copied)
    }
}

impl Missing<'_> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Rows(_, rows) => rows.len(),
            Self::Letters(letters) => letters.len(),
        }
    }

    fn last_offset(&self) -> Offset {
        let last = match self {
            Self::Rows(_, rows) => rows.offsets.iter().copied().max(),
            Self::Letters(letters) => letters.iter().map(|letter| letter.offset).max(),
        };
        last.unwrap_or(Offset::MAX)
    }
}
