//! The dead letters as commands see them: which ones there are, one of them whole, and their removal. The reader of many dead letters
//! first gets their places, without payloads, and then loads a few at a time: one payload may have 100 MB.

use footprint_protocol::ledger::{SinkName, SourceId};
use footprint_protocol::offset::{Offset, Partition};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};

use super::named::{Parameter, numbered};

/// Which dead letters are meant. A part that is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The route's name.
    pub route: Option<String>,
    /// The life of the topic.
    pub source: Option<i64>,
    /// The partition.
    pub partition: Option<Partition>,
    /// The lowest offset.
    pub from: Option<Offset>,
    /// The offset behind the highest one.
    pub to: Option<Offset>,
    /// Who lacks the row: `both`, `postgres` or `clickhouse`.
    pub database: Option<String>,
    /// The code of the reason: what is before its colon.
    pub reason: Option<String>,
    /// Kafka's time at the earliest, microseconds since the epoch.
    pub since_us: Option<i64>,
    /// Kafka's time must be earlier than this, microseconds since the epoch.
    pub until_us: Option<i64>,
}

/// The condition of a [`Filter`].
const MEANT: &str = "(:route::text is null or route = :route) and (:source::bigint is null or kafka_source = :source) \
                     and (:partition::integer is null or kafka_partition = :partition) \
                     and (:from::bigint is null or kafka_offset >= :from) and (:to::bigint is null or kafka_offset < :to) \
                     and (:database::text is null or sink = :database) \
                     and (:reason::text is null or split_part(reason, chr(58), 1) = :reason) \
                     and (:since::bigint is null or received_at >= timestamptz 'epoch' + :since::bigint * interval '1 microsecond') \
                     and (:until::bigint is null or received_at < timestamptz 'epoch' + :until::bigint * interval '1 microsecond')";

/// The columns of a [`Heading`].
const HEADING: &str = "route, kafka_source, kafka_partition, kafka_offset, sink, reason, to_json(received_at) #>> '{}', \
                       to_json(stored_at) #>> '{}'";

impl Filter {
    fn parameters(&self) -> Vec<Parameter<'_>> {
        vec![
            ("route", &self.route),
            ("source", &self.source),
            ("partition", &self.partition),
            ("from", &self.from),
            ("to", &self.to),
            ("database", &self.database),
            ("reason", &self.reason),
            ("since", &self.since_us),
            ("until", &self.until_us),
        ]
    }

    async fn query<'a>(
        &'a self,
        client: &Client,
        sql: &str,
        more: &[(&'static str, &'a (dyn ToSql + Sync))],
    ) -> Result<Vec<Row>, Error> {
        let mut parameters = self.parameters();
        parameters.extend_from_slice(more);
        let (sql, values) = numbered(sql, &parameters);
        client.query(&sql, &values).await
    }
}

/// A dead letter without its contents.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The route.
    pub route: String,
    /// The life of the topic.
    pub source: i64,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// Who lacks the row: `both`, `postgres` or `clickhouse`.
    pub database: String,
    /// Why.
    pub reason: String,
    /// When Kafka received the record, RFC 3339.
    pub received_at: String,
    /// When it became a dead letter, RFC 3339.
    pub stored_at: String,
}

impl From<&Row> for Heading {
    /// From a row that starts with `HEADING`.
    fn from(row: &Row) -> Self {
        Self {
            route: row.get(0),
            source: row.get(1),
            partition: row.get(2),
            offset: row.get(3),
            database: row.get(4),
            reason: row.get(5),
            received_at: row.get(6),
            stored_at: row.get(7),
        }
    }
}

/// A dead letter with its contents.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its place and reason.
    pub heading: Heading,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's payload.
    pub payload: Option<Vec<u8>>,
    /// The record's headers, JSON text.
    pub headers: Option<String>,
}

/// How many dead letters have one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The route.
    pub route: String,
    /// The code of the reason.
    pub reason: String,
    /// Who lacks the row.
    pub database: String,
    /// How many.
    pub letters: i64,
}

/// The newest dead letters, at most `limit`.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn headings(client: &Client, filter: &Filter, limit: i64) -> Result<Vec<Heading>, Error> {
    let sql = format!(
        "select {HEADING} from dead_letters where {MEANT} order by stored_at desc, kafka_partition, kafka_offset limit :limit"
    );
    let rows = filter.query(client, &sql, &[("limit", &limit)]).await?;
    Ok(rows.iter().map(Heading::from).collect())
}

/// Dead letters with their contents, in the order of their place, at most `limit`.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn whole(client: &Client, filter: &Filter, limit: i64) -> Result<Vec<Whole>, Error> {
    let sql = format!(
        "select {HEADING}, key, payload, headers::text from dead_letters where {MEANT} \
         order by route, kafka_source, kafka_partition, kafka_offset, sink limit :limit"
    );
    let rows = filter.query(client, &sql, &[("limit", &limit)]).await?;
    let whole =
        |row: &Row| Whole { heading: Heading::from(row), key: row.get(8), payload: row.get(9), headers: row.get(10) };
    Ok(rows.iter().map(whole).collect())
}

/// How many dead letters there are, by route, reason and database.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn counts(client: &Client, filter: &Filter) -> Result<Vec<Count>, Error> {
    let sql = format!(
        "select route, split_part(reason, chr(58), 1), sink, count(*) from dead_letters where {MEANT} \
         group by 1, 2, 3 order by 1, 4 desc, 2, 3"
    );
    let rows = filter.query(client, &sql, &[]).await?;
    let count = |row: &Row| Count { route: row.get(0), reason: row.get(1), database: row.get(2), letters: row.get(3) };
    Ok(rows.iter().map(count).collect())
}

/// Deletes at most `limit` dead letters in one transaction, and records their offsets in footprint_gap, so that `verify` does not miss
/// them. Returns how many were deleted.
///
/// # Errors
/// PostgreSQL refuses. Then nothing was deleted.
pub async fn purge(client: &Client, filter: &Filter, limit: i64) -> Result<i64, Error> {
    let sql = format!(
        "with gone as (delete from dead_letters where ctid = any(array(select ctid from dead_letters where {MEANT} limit :limit)) \
         returning route, kafka_source as source, kafka_partition as partition, kafka_offset as offset_, sink), \
         numbered as (select *, offset_ - dense_rank() over (partition by route, source, partition, sink order by offset_) as run \
         from gone), \
         noted as (insert into footprint_gap (route, source, partition, sink, start_offset, end_offset, reason) \
         select route, source, partition, sink, min(offset_), max(offset_) + 1, 'dead letter purged by an operator' \
         from numbered group by route, source, partition, sink, run) \
         select count(*) from gone"
    );
    let rows = filter.query(client, &sql, &[("limit", &limit)]).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

/// Where a dead letter is, and how large.
#[derive(Clone, Debug)]
pub struct Place {
    /// The life of the topic.
    pub source: SourceId,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// The one database that lacks the row. None: both.
    pub sink: Option<SinkName>,
    /// Its place in the table.
    ctid: String,
    /// The bytes of its key and payload.
    pub bytes: i64,
}

/// The columns of a [`Place`].
const PLACE: &str = "kafka_source, kafka_partition, kafka_offset, sink, ctid::text, \
                     (coalesce(octet_length(key), 0) + coalesce(octet_length(payload), 0))::bigint";

impl From<&Row> for Place {
    /// From a row that starts with `PLACE`.
    fn from(row: &Row) -> Self {
        Self {
            source: SourceId(row.get(0)),
            partition: row.get(1),
            offset: row.get(2),
            sink: sink(row.get(3)),
            ctid: row.get(4),
            bytes: row.get(5),
        }
    }
}

/// The database that a dead letter's column `sink` names. None: both.
fn sink(name: &str) -> Option<SinkName> {
    [SinkName::Postgres, SinkName::ClickHouse].into_iter().find(|sink| sink.as_str() == name)
}

/// The column `sink` of a dead letter.
pub fn sink_column(sink: Option<SinkName>) -> &'static str {
    sink.map_or("both", SinkName::as_str)
}

/// What a replay decodes.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where it is.
    pub place: Place,
    /// When Kafka received the record, microseconds since the epoch.
    pub received_at_us: i64,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's payload.
    pub payload: Option<Vec<u8>>,
}

/// Opens a cursor over the places of all dead letters that are meant, in the order of their place. It outlives its transaction, so no
/// transaction stays open. A session has one such cursor.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn open(client: &Client, filter: &Filter) -> Result<(), Error> {
    client.batch_execute("close all").await?;
    let sql = format!(
        "declare letters no scroll cursor with hold for select {PLACE} from dead_letters where {MEANT} \
         order by kafka_source, kafka_partition, kafka_offset, sink"
    );
    let (sql, values) = numbered(&sql, &filter.parameters());
    client.execute(&sql, &values).await.map(drop)
}

/// The next places of the cursor, at most `count`.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn next(client: &Client, count: usize) -> Result<Vec<Place>, Error> {
    let rows = client.query(&format!("fetch {count} from letters"), &[]).await?;
    Ok(rows.iter().map(Place::from).collect())
}

/// The places of a route's dead letters with these offsets and columns `sink`, in the order of their offsets.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn find(
    client: &Client,
    route: &str,
    (source, partition): (SourceId, Partition),
    (offsets, sinks): (&[Offset], &[String]),
) -> Result<Vec<Place>, Error> {
    let sql = format!(
        "select {PLACE} from dead_letters where route = $1 and kafka_source = $2 and kafka_partition = $3 \
         and (kafka_offset, sink) in (select * from unnest($4::bigint[], $5::text[])) order by kafka_offset, sink"
    );
    let rows = client.query(&sql, &[&route, &source.0, &partition, &offsets, &sinks]).await?;
    Ok(rows.iter().map(Place::from).collect())
}

fn ctids(places: &[Place]) -> Vec<&str> {
    places.iter().map(|place| place.ctid.as_str()).collect()
}

/// The contents of the dead letters at these places, of one partition and in the order of their offsets. One that is gone is missing.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn load(client: &Client, route: &str, places: &[Place]) -> Result<Vec<Letter>, Error> {
    let Some(first) = places.first() else { return Ok(Vec::new()) };
    let sql = format!(
        "select {PLACE}, (extract(epoch from received_at) * 1000000)::bigint, key, payload from dead_letters \
         where ctid = any($1::text[]::tid[]) and route = $2 and kafka_source = $3 and kafka_partition = $4 \
         order by kafka_offset, sink"
    );
    let rows = client.query(&sql, &[&ctids(places), &route, &first.source.0, &first.partition]).await?;
    let letter = |row: &Row| Letter {
        place: Place::from(row),
        received_at_us: row.get(6),
        key: row.get(7),
        payload: row.get(8),
    };
    let is_meant = |letter: &Letter| {
        let of = &letter.place;
        places.iter().any(|place| (place.offset, place.sink) == (of.offset, of.sink))
    };
    Ok(rows.iter().map(letter).filter(is_meant).collect())
}

/// Deletes the dead letters at these places. Returns how many there were.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn delete(client: &Client, places: &[Place]) -> Result<u64, Error> {
    client.execute("delete from dead_letters where ctid = any($1::text[]::tid[])", &[&ctids(places)]).await
}

/// Makes a dead letter one for `sink` alone, with a new reason. Returns how many there were.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn narrow(client: &Client, place: &Place, sink: SinkName, reason: &str) -> Result<u64, Error> {
    let sql = "update dead_letters set sink = $2, reason = $3 where ctid = $1::text::tid";
    client.execute(sql, &[&place.ctid, &sink.as_str(), &reason]).await
}

/// Writes another dead letter of the same record, for `sink` alone. Returns how many were written.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn copy(client: &Client, place: &Place, sink: SinkName, reason: &str) -> Result<u64, Error> {
    let sql = "insert into dead_letters (route, kafka_source, kafka_partition, kafka_offset, sink, key, payload, headers, reason, \
               received_at) select route, kafka_source, kafka_partition, kafka_offset, $2, key, payload, headers, $3, received_at \
               from dead_letters where ctid = $1::text::tid";
    client.execute(sql, &[&place.ctid, &sink.as_str(), &reason]).await
}
