//! The ledger's SQL. Every statement that changes a row is fenced by epoch and owner, and its compare-and-set is the
//! statement's own `where`; what the answers mean is decided in `protocol.rs`.

mod claims;
mod definitions;
pub mod holder;
mod left_out;
mod starts;

use std::time::{Duration, Instant};

use footprint_protocol::first_start::FirstStart;
use footprint_protocol::ledger::{Claim, FORMAT, LedgerId, Nexts, Row, SinkName, SourceId};
use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::take_over::{Gap, Settled};
use footprint_service::config::Postgres;
use footprint_service::postgres::asked::LEDGER_TABLES;
use footprint_service::postgres::error::{Class, During, class, remedy};
use footprint_service::postgres::session::Purpose;
use footprint_service::postgres::{ConnectError, connect_to_write, describe};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};
use uuid::Uuid;

pub use self::claims::ClaimWanted;
use self::holder::Holder;

/// How long any one statement of the ledger may take before its connection is given up.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the ledger did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The connection is lost, or no answer came in time: every proof is void.
    #[error("ledger: connection lost: {0}")]
    Lost(String),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A row is locked by somebody who does not let go. Nothing of the statement landed.
    #[error("ledger: a row stayed locked: {0}")]
    Locked(String),
    /// PostgreSQL undid the statement, as the victim of a deadlock or of another transaction. Nothing of it landed.
    #[error("ledger: a statement was undone: {0}")]
    Undone(String),
    /// A passing refusal: shutting down, read-only, out of connections.
    #[error("ledger: {0}; trying again")]
    Passing(String),
    /// PostgreSQL refuses and will refuse again.
    #[error("ledger: {0}; {1}")]
    Refused(String, String),
    /// Two topics with one id.
    #[error(
        "source id {0} belongs to topic {1:?} already: a hash collision; recreate the topic to get another topic id"
    )]
    Collision(SourceId, String),
}

impl LedgerError {
    fn of(error: &Error) -> Self {
        let text = describe(error);
        let Some(code) = error.code() else {
            return Self::Lost(text);
        };
        match code.code() {
            "55P03" => Self::Locked(text),
            // 40003 says itself that nobody knows whether the statement landed
            code if code.starts_with("40") && code != "40003" => Self::Undone(text),
            _ if error.is_closed() => Self::Lost(text),
            code if code.starts_with("08") || code.starts_with("57P") => Self::Lost(text),
            _ if class(Some(code), During::Statement) == Class::Passing => Self::Passing(text),
            "42501" => Self::Refused(text, "run `footprint check`: it names each right that the user lacks".into()),
            _ => Self::Refused(text, remedy(error)),
        }
    }

    /// Whether trying again can help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Locked(_) | Self::Undone(_) | Self::Passing(_) => true,
            Self::Connect(error) => footprint_service::postgres::is_passing_connect(error),
            Self::Refused(..) | Self::Collision(..) => false,
        }
    }
}

/// Which PostgreSQL answers: its system identifier, timeline and start. A restored, failed-over or restarted one is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity(String);

/// The fence of one partition: key, epoch and owner.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// The source.
    pub source: SourceId,
    /// The partition.
    pub partition: Partition,
    /// The epoch.
    pub epoch: i64,
    /// The owner.
    pub owner: Uuid,
}

impl From<&crate::ledger::ownership::Ownership> for Fence {
    fn from(ownership: &crate::ledger::ownership::Ownership) -> Self {
        let crate::ledger::ownership::Ownership { source, partition, epoch, owner, .. } = *ownership;
        Self { source, partition, epoch, owner }
    }
}

/// A take-over's answer.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The row, epoch and owner new, all else as it was.
    pub row: Row,
    /// The PostgreSQL that runs now is not the one that the row's last owner settled it under. It is told from what the
    /// settling wrote alone: a write of a stale owner after a restore must not make the row look certain again.
    pub may_have_gone_back: bool,
    /// The row was settled under another system identifier, or made where its ledger had been lost and not settled since: inserts
    /// of older owners may have gone under other query ids.
    pub is_anothers: bool,
}

/// One connection to the ledger of one route. Its loss voids every proof.
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
        Ok(Err(error)) => Err(LedgerError::of(&error)),
        Err(_) => Err(LedgerError::Lost(format!("no answer in {STATEMENT_TIMEOUT:?}"))),
    }
}

/// In place of the server's identity: the row was made where its ledger had been lost, and is not settled yet.
const LOST: &str = "lost";

const ROW: &str = "epoch, owner, claimed, dead_letters_next, postgres_next, clickhouse_next, postgres_stopped, \
                   clickhouse_stopped, claims, fingerprints, doubtful_below, birth, first_offset, format";

fn read_row(row: &tokio_postgres::Row) -> Result<Row, Error> {
    let ends: Vec<Offset> = row.try_get("claims")?;
    let fingerprints: Vec<i64> = row.try_get("fingerprints")?;
    Ok(Row {
        epoch: row.try_get("epoch")?,
        owner: row.try_get("owner")?,
        claimed: row.try_get("claimed")?,
        nexts: read_nexts(row)?,
        postgres_stopped: row.try_get("postgres_stopped")?,
        clickhouse_stopped: row.try_get("clickhouse_stopped")?,
        claims: ends.into_iter().zip(fingerprints).map(|(end, fingerprint)| Claim { end, fingerprint }).collect(),
        doubtful_below: row.try_get("doubtful_below")?,
        birth: row.try_get("birth")?,
        first_offset: row.try_get("first_offset")?,
        format: row.try_get("format")?,
    })
}

fn read_nexts(row: &tokio_postgres::Row) -> Result<Nexts, Error> {
    Ok(Nexts {
        dead_letters: row.try_get("dead_letters_next")?,
        postgres: row.try_get("postgres_next")?,
        clickhouse: row.try_get("clickhouse_next")?,
    })
}

impl Ledger {
    /// Connects, and asks which PostgreSQL it is.
    ///
    /// # Errors
    /// No connection, no answer.
    pub async fn connect(postgres: &Postgres, route: &str, application_name: &str) -> Result<Self, LedgerError> {
        let client = connect_to_write(postgres, application_name, Purpose::Ledger, &LEDGER_TABLES, None).await?;
        let row = within(client.query_one(
            "select s.system_identifier::text || '/' || c.timeline_id::text || '/' || \
             (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint::text, \
             s.system_identifier::text, current_database()::text \
             from pg_control_system() s, pg_control_checkpoint() c",
            &[],
        ))
        .await?;
        let identity = ServerIdentity(row.get(0));
        let id = LedgerId::of(row.get(1), row.get(2));
        Ok(Self { client, route: route.to_owned(), identity, id, connected_at: Instant::now() })
    }

    /// Which PostgreSQL answers.
    pub fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// Which ledger it is.
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

    /// Registers a source. True when another life of the topic is known.
    ///
    /// # Errors
    /// A collision of ids.
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

    /// Takes a partition over: the row is made at `start` when there is none, else its epoch grows and its owner is new. A row
    /// that is made in place of a lost one says so until it is settled.
    ///
    /// # Errors
    /// No answer, or the row stays locked.
    pub async fn take_over(
        &self,
        source: SourceId,
        partition: Partition,
        owner: Uuid,
        start: &FirstStart,
        holder: &Holder,
    ) -> Result<Taken, LedgerError> {
        let sql = format!(
            "insert into footprint_ledger (route, source, partition, epoch, owner, claimed, dead_letters_next, postgres_next, \
             clickhouse_next, claims, fingerprints, postgres_identity, birth, first_offset, format, \
             holder_group, holder_host, holder_pid) \
             values ($1, $2, $3, 1, $4, $5, $5, $5, $5, '{{}}', '{{}}', $9, $7, $8, {FORMAT}, $10, $11, $12) \
             on conflict (route, source, partition) do update set epoch = footprint_ledger.epoch + 1, owner = excluded.owner, \
             holder_group = excluded.holder_group, holder_host = excluded.holder_host, holder_pid = excluded.holder_pid \
             returning {ROW}, (epoch > 1 and postgres_identity <> $6) as gone_back, \
             postgres_identity not in ('', $6) and split_part(postgres_identity, '/', 1) <> split_part($6, '/', 1) \
             as is_anothers"
        );
        let birth = rand::random_range(1..i64::MAX);
        let (offset, first_offset) = (start.offset, start.first_offset());
        let unsettled = if start.ledger_lost { LOST } else { "" };
        let Holder { group, host, pid } = holder;
        let row: [&(dyn ToSql + Sync); 12] = [
            &self.route,
            &source.0,
            &partition,
            &owner,
            &offset,
            &self.identity.0,
            &birth,
            &first_offset,
            &unsettled,
            group,
            host,
            pid,
        ];
        let rows = self.query(&sql, &row).await?;
        let lost = || LedgerError::Lost("the take-over returned no row".into());
        let row = rows.first().ok_or_else(lost)?;
        let (may_have_gone_back, is_anothers) = (row.get("gone_back"), row.get("is_anothers"));
        Ok(Taken { row: read_row(row).map_err(|error| LedgerError::of(&error))?, may_have_gone_back, is_anothers })
    }

    /// Writes what the new owner decided: switches, H, gaps and the server's identity. False: fenced.
    ///
    /// # Errors
    /// No answer.
    pub async fn settle(&self, fence: Fence, settled: &Settled) -> Result<bool, LedgerError> {
        let row = &settled.row;
        let ends: Vec<Offset> = row.claims.iter().map(|claim| claim.end).collect();
        let fingerprints: Vec<i64> = row.claims.iter().map(|claim| claim.fingerprint).collect();
        let (sinks, starts, gap_ends, reasons) = gap_columns(&settled.gaps);
        let sql = "with settled as (update footprint_ledger set claimed = $6, postgres_next = $7, clickhouse_next = $8, \
                   postgres_stopped = $9, clickhouse_stopped = $10, claims = $11, fingerprints = $12, doubtful_below = $13, \
                   format = $14, postgres_identity = $15, updated_at = clock_timestamp() \
                   where route = $1 and source = $2 and partition = $3 and epoch = $4 and owner = $5 returning 1), \
                   noted as (insert into footprint_gap (route, source, partition, sink, start_offset, end_offset, reason) \
                   select $1, $2, $3, g.sink, g.start_offset, g.end_offset, g.reason from settled, \
                   unnest($16::text[], $17::bigint[], $18::bigint[], $19::text[]) as g (sink, start_offset, end_offset, reason)) \
                   select 1 from settled";
        let rows = self
            .query(
                sql,
                &[
                    &self.route,
                    &fence.source.0,
                    &fence.partition,
                    &fence.epoch,
                    &fence.owner,
                    &row.claimed,
                    &row.nexts.postgres,
                    &row.nexts.clickhouse,
                    &row.postgres_stopped,
                    &row.clickhouse_stopped,
                    &ends,
                    &fingerprints,
                    &row.doubtful_below,
                    &row.format,
                    &self.identity.0,
                    &sinks,
                    &starts,
                    &gap_ends,
                    &reasons,
                ],
            )
            .await?;
        Ok(!rows.is_empty())
    }

    /// The row of every partition of a source, whoever owns it.
    ///
    /// # Errors
    /// No answer.
    pub async fn rows(&self, source: SourceId) -> Result<Vec<(Partition, Row)>, LedgerError> {
        let sql = format!("select partition, {ROW} from footprint_ledger where route = $1 and source = $2");
        let found = self.query(&sql, &[&self.route, &source.0]).await?;
        let read = |row: &tokio_postgres::Row| Ok((row.try_get("partition")?, read_row(row)?));
        found.iter().map(read).collect::<Result<_, Error>>().map_err(|error| LedgerError::of(&error))
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

/// An owner: the process's instance in the upper half, chance in the lower, so that a take-over can find the backends of
/// the owner before it by their application name.
pub fn fresh_owner(instance: u64) -> Uuid {
    Uuid::from_u64_pair(instance, rand::random())
}

/// The application name of every connection of an instance: what [`Ledger::end_blocker`] looks for.
pub fn application_name(instance: u64) -> String {
    format!("footprint {}", &Uuid::from_u64_pair(instance, 0).to_string()[..18])
}
