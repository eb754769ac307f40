//! All SQL of the ledger, including the compare-and-set of the PostgreSQL sink (`advance`). Every statement that changes a row
//! compares epoch and owner in its `where`: that is the fence. `footprint-protocol` decides what the answers mean.

pub mod advance;
pub mod by_hand;
mod claims;
mod definitions;
pub mod history;
pub mod holder;
mod left_out;
pub mod letters;
mod named;
pub mod pauses;
pub mod proofs;
pub mod replays;
pub mod routes;
mod starts;

use std::time::{Duration, Instant};

use footprint_protocol::first_start::FirstStart;
use footprint_protocol::ledger::{Claim, FORMAT, Frontiers, LedgerId, OwnerId, Row, SinkName, SourceId};
use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::take_over::{Gap, Settled};
use footprint_service::config::Postgres;
use footprint_service::postgres::asked::ledger_tables;
use footprint_service::postgres::connect_to_write;
use footprint_service::postgres::session::Purpose;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

pub use self::claims::ClaimWanted;
use self::holder::Holder;
use self::named::{Parameter, numbered};
pub use crate::ledger::error::LedgerError;
use crate::ledger::identity::{ledger_id, owner_of, uuid_of};

/// The time limit of one statement. After that, the connection is given up.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Which PostgreSQL answers: its system identifier, timeline and start time. A restore, a failover or a restart changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity(String);

/// What a statement compares with a partition's row: its key, and the epoch and owner that the row must have.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// Part of the key, with the route.
    pub source: SourceId,
    /// Part of the key.
    pub partition: Partition,
    /// The epoch that the take-over gave the row.
    pub epoch: i64,
    /// The owner that the take-over wrote.
    pub owner: OwnerId,
}

impl From<&crate::ledger::ownership::Ownership> for Fence {
    fn from(ownership: &crate::ledger::ownership::Ownership) -> Self {
        let crate::ledger::ownership::Ownership { source, partition, epoch, owner, .. } = *ownership;
        Self { source, partition, epoch, owner }
    }
}

/// The answer to a take-over.
#[derive(Clone, Debug)]
pub struct TakeOverAnswer {
    /// The row. Its epoch and owner are new; everything else is unchanged.
    pub row: Row,
    /// Whether the PostgreSQL that runs now is another than the one under which the last owner settled the row. Only what the settling
    /// wrote counts: after a restore, a write of a stale owner must not make the row look certain again.
    pub may_have_gone_back: bool,
    /// Whether the row was settled under another system identifier, or replaces a lost row and is not settled yet. Inserts of earlier
    /// owners may then have had other query ids.
    pub is_from_other_cluster: bool,
}

/// One connection to the ledger of one route. When the connection is lost, every proof is void.
pub struct Ledger {
    client: Client,
    route: String,
    identity: ServerIdentity,
    id: LedgerId,
    connected_at: Instant,
}

async fn within<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, LedgerError> {
    match timeout(STATEMENT_TIMEOUT, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(LedgerError::Silent(STATEMENT_TIMEOUT)),
    }
}

/// Written in place of the server's identity, if the row replaces a lost row and is not settled yet.
const LOST: &str = "lost";

const ROW: &str = "epoch, owner, claimed, dead_letters_next, postgres_next, clickhouse_next, postgres_stopped, \
                   clickhouse_stopped, claims, fingerprints, doubtful_below, birth, first_offset, format";

fn read_row(row: &tokio_postgres::Row) -> Result<Row, Error> {
    let ends: Vec<Offset> = row.try_get("claims")?;
    let fingerprints: Vec<i64> = row.try_get("fingerprints")?;
    Ok(Row {
        epoch: row.try_get("epoch")?,
        owner: owner_of(row.try_get("owner")?),
        claimed: row.try_get("claimed")?,
        frontiers: read_frontiers(row)?,
        postgres_stopped: row.try_get("postgres_stopped")?,
        clickhouse_stopped: row.try_get("clickhouse_stopped")?,
        claims: ends.into_iter().zip(fingerprints).map(|(end, fingerprint)| Claim { end, fingerprint }).collect(),
        doubtful_below: row.try_get("doubtful_below")?,
        birth: row.try_get("birth")?,
        first_offset: row.try_get("first_offset")?,
        format: row.try_get("format")?,
    })
}

fn read_frontiers(row: &tokio_postgres::Row) -> Result<Frontiers, Error> {
    Ok(Frontiers {
        dead_letters: row.try_get("dead_letters_next")?,
        postgres: row.try_get("postgres_next")?,
        clickhouse: row.try_get("clickhouse_next")?,
    })
}

impl Ledger {
    /// Connects, and asks which PostgreSQL answers.
    ///
    /// # Errors
    /// No connection, or no answer.
    pub async fn connect(postgres: &Postgres, route: &str, application_name: &str) -> Result<Self, LedgerError> {
        let client = connect_to_write(postgres, application_name, Purpose::Ledger, &ledger_tables(), None).await?;
        let row = within(client.query_one(
            "select s.system_identifier::text || '/' || c.timeline_id::text || '/' || \
             (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint::text, \
             s.system_identifier::text, current_database()::text \
             from pg_control_system() s, pg_control_checkpoint() c",
            &[],
        ))
        .await?;
        let identity = ServerIdentity(row.get(0));
        let id = ledger_id(row.get(1), row.get(2));
        Ok(Self { client, route: route.to_owned(), identity, id, connected_at: Instant::now() })
    }

    /// Which PostgreSQL answered when the connection was made.
    pub fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// The ledger's id, which query ids of ClickHouse contain.
    pub fn id(&self) -> LedgerId {
        self.id
    }

    /// When the connection was made.
    pub fn connected_at(&self) -> Instant {
        self.connected_at
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, LedgerError> {
        within(self.client.query(sql, parameters)).await
    }

    /// Does the same as [`Self::query`], for a statement whose parameters have names.
    async fn query_named(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, LedgerError> {
        let (sql, values) = numbered(sql, parameters);
        self.query(&sql, &values).await
    }

    /// Registers a source. True: the ledger knows another topic of the same name.
    ///
    /// # Errors
    /// No answer, or the id belongs to another topic.
    pub async fn register_source(
        &self,
        source: SourceId,
        cluster_id: &str,
        topic: &str,
        topic_id: &str,
    ) -> Result<bool, LedgerError> {
        self.query(
            "insert into footprint_source (id, cluster_id, topic, topic_id) values ($1, $2, $3, $4) on conflict do nothing",
            &[&source.0, &cluster_id, &topic, &topic_id],
        )
        .await?;
        let rows = self
            .query(
                "select id, cluster_id = $2 and topic_id = $3, topic from footprint_source where id = $1 or topic = $4",
                &[&source.0, &cluster_id, &topic_id, &topic],
            )
            .await?;
        let mut others = false;
        for row in rows {
            let (id, same, known_topic): (i64, bool, String) = (row.get(0), row.get(1), row.get(2));
            if id == source.0 && !same {
                return Err(LedgerError::Collision(source, known_topic));
            }
            others |= id != source.0;
        }
        Ok(others)
    }

    /// Takes a partition over. If there is no row, this makes one at `start`. Otherwise the row's epoch grows by one, and the row gets the
    /// new owner. A row that replaces a lost row says so until it is settled. With `has_row`, a row was there a moment ago, and no row is
    /// made: nobody has looked for where a new one would have to start.
    ///
    /// # Errors
    /// No answer, the row stays locked, or the row that was there has vanished.
    pub async fn take_over(
        &self,
        source: SourceId,
        partition: Partition,
        owner: OwnerId,
        start: &FirstStart,
        has_row: bool,
        holder: &Holder,
    ) -> Result<TakeOverAnswer, LedgerError> {
        let sql = format!(
            "insert into footprint_ledger (route, source, partition, epoch, owner, claimed, dead_letters_next, postgres_next, \
             clickhouse_next, claims, fingerprints, postgres_identity, birth, first_offset, format, \
             holder_group, holder_host, holder_pid) \
             select :route, :source, :partition, 1, :owner, :start, :start, :start, :start, '{{}}', '{{}}', :unsettled, :birth, \
             :first_offset, {FORMAT}, :group, :host, :pid \
             where not :has_row or exists (select from footprint_ledger \
             where route = :route and source = :source and partition = :partition) \
             on conflict (route, source, partition) do update set epoch = footprint_ledger.epoch + 1, owner = excluded.owner, \
             holder_group = excluded.holder_group, holder_host = excluded.holder_host, holder_pid = excluded.holder_pid \
             returning {ROW}, (epoch > 1 and postgres_identity <> :identity) as gone_back, \
             postgres_identity not in ('', :identity) \
             and split_part(postgres_identity, '/', 1) <> split_part(:identity, '/', 1) \
             as is_anothers"
        );
        let birth = rand::random_range(1..i64::MAX);
        let (offset, first_offset) = (start.offset, start.first_offset());
        let unsettled = if start.ledger_lost { LOST } else { "" };
        let Holder { group, host, pid } = holder;
        let rows = self
            .query_named(
                &sql,
                &[
                    ("route", &self.route),
                    ("source", &source.0),
                    ("partition", &partition),
                    ("owner", &uuid_of(owner)),
                    ("start", &offset),
                    ("identity", &self.identity.0),
                    ("birth", &birth),
                    ("first_offset", &first_offset),
                    ("unsettled", &unsettled),
                    ("has_row", &has_row),
                    ("group", group),
                    ("host", host),
                    ("pid", pid),
                ],
            )
            .await?;
        let row =
            rows.first().ok_or(LedgerError::Unexpected("the row of a partition vanished before it was taken over"))?;
        let (may_have_gone_back, is_from_other_cluster) = (row.get("gone_back"), row.get("is_anothers"));
        Ok(TakeOverAnswer { row: read_row(row).map_err(LedgerError::from)?, may_have_gone_back, is_from_other_cluster })
    }

    /// Writes what the new owner decided: switches, H (`doubtful_below`), gaps and the server's identity. False: fenced.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn settle(&self, fence: Fence, settled: &Settled) -> Result<bool, LedgerError> {
        let row = &settled.row;
        let ends: Vec<Offset> = row.claims.iter().map(|claim| claim.end).collect();
        let fingerprints: Vec<i64> = row.claims.iter().map(|claim| claim.fingerprint).collect();
        let (sinks, starts, gap_ends, reasons) = gap_columns(&settled.gaps);
        let sql = "with settled as (update footprint_ledger set claimed = :claimed, postgres_next = :postgres_next, \
                   clickhouse_next = :clickhouse_next, postgres_stopped = :postgres_stopped, \
                   clickhouse_stopped = :clickhouse_stopped, claims = :claims, fingerprints = :fingerprints, \
                   doubtful_below = :doubtful_below, format = :format, postgres_identity = :identity, \
                   updated_at = clock_timestamp() \
                   where route = :route and source = :source and partition = :partition and epoch = :epoch and owner = :owner \
                   returning 1), \
                   noted as (insert into footprint_gap (route, source, partition, sink, start_offset, end_offset, reason) \
                   select :route, :source, :partition, g.sink, g.start_offset, g.end_offset, g.reason from settled, \
                   unnest(:gap_sinks::text[], :gap_starts::bigint[], :gap_ends::bigint[], :gap_reasons::text[]) \
                   as g (sink, start_offset, end_offset, reason)) \
                   select 1 from settled";
        let rows = self
            .query_named(
                sql,
                &[
                    ("route", &self.route),
                    ("source", &fence.source.0),
                    ("partition", &fence.partition),
                    ("epoch", &fence.epoch),
                    ("owner", &uuid_of(fence.owner)),
                    ("claimed", &row.claimed),
                    ("postgres_next", &row.frontiers.postgres),
                    ("clickhouse_next", &row.frontiers.clickhouse),
                    ("postgres_stopped", &row.postgres_stopped),
                    ("clickhouse_stopped", &row.clickhouse_stopped),
                    ("claims", &ends),
                    ("fingerprints", &fingerprints),
                    ("doubtful_below", &row.doubtful_below),
                    ("format", &row.format),
                    ("identity", &self.identity.0),
                    ("gap_sinks", &sinks),
                    ("gap_starts", &starts),
                    ("gap_ends", &gap_ends),
                    ("gap_reasons", &reasons),
                ],
            )
            .await?;
        Ok(!rows.is_empty())
    }

    /// The rows of all partitions of a source, whichever process owns them.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn rows(&self, source: SourceId) -> Result<Vec<(Partition, Row)>, LedgerError> {
        let sql = format!("select partition, {ROW} from footprint_ledger where route = $1 and source = $2");
        let found = self.query(&sql, &[&self.route, &source.0]).await?;
        let read = |row: &tokio_postgres::Row| Ok((row.try_get("partition")?, read_row(row)?));
        found.iter().map(read).collect::<Result<_, Error>>().map_err(LedgerError::from)
    }
}

fn gap_columns(gaps: &[Gap]) -> (Vec<&'static str>, Vec<Offset>, Vec<Offset>, Vec<&'static str>) {
    (
        gaps.iter().map(|gap| gap.sink.map_or("both", SinkName::as_str)).collect(),
        gaps.iter().map(|gap| gap.range.start).collect(),
        gaps.iter().map(|gap| gap.range.end).collect(),
        gaps.iter().map(|gap| gap.reason).collect(),
    )
}
