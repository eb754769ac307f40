//! The changes. `protocol/by_hand.rs` decides what becomes of the ledger's row. Here is what must be asked before.

use std::time::Duration;

use footprint_event::route::Route;
use footprint_protocol::by_hand::{NotChanged, rewind, skip};
use footprint_protocol::ledger::{Row, SourceId};
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::clickhouse::client as clickhouse_client;
use footprint_service::config::Config;
use footprint_service::postgres::connect;
use footprint_service::postgres::session::Purpose;
use footprint_service::report::Remedy;
use tokio_postgres::{Client, Error};

use super::topic::{Log, topic};
use super::{Change, Mode, NAME, OffsetsError};
use crate::ledger::identity::new_owner;
use crate::ledger::proof::PROOF_LIFETIME;
use crate::ledger::statements::by_hand::{self, Changed};
use crate::ledger::statements::{Fence, Ledger, replays};
use crate::store::clickhouse::readback::Questions;

/// How long the lock of the route may take.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one pass over a table may take.
const SCAN_TIMEOUT: Duration = Duration::from_secs(1_800);
/// How long the insert of a consumer that was stopped may take to end: longer than the 30 s that ClickHouse waits for a silent client.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The partition, as Kafka and the ledger know it.
struct Known {
    ledger: Ledger,
    source: SourceId,
    log: Log,
    row: Row,
}

impl Known {
    async fn ask(config: &Config, route: &Route, partition: Partition) -> Result<Self, OffsetsError> {
        let unknown = || OffsetsError::UnknownPartition { route: route.name.clone(), partition };
        let topic = topic(&config.kafka, route, Some(partition)).await?;
        let log = topic.logs.get(&partition).copied().ok_or_else(unknown)?;
        let ledger = Ledger::connect(&config.postgres, &route.name, NAME).await?;
        let rows = ledger.rows(topic.source).await?;
        let (_, row) = rows.into_iter().find(|(known, _)| *known == partition).ok_or_else(unknown)?;
        Ok(Self { ledger, source: topic.source, log, row })
    }
}

/// Never stores the records below `to` that are not stored yet.
///
/// # Errors
/// There is nothing to skip, or a server does not answer.
pub async fn skip_to(
    config: &Config,
    route: &Route,
    partition: Partition,
    to: Offset,
    mode: Mode,
) -> Result<Change, OffsetsError> {
    let known = Known::ask(config, route, partition).await?;
    known.skip(route, partition, to, mode, "skipped by an operator").await
}

/// Gives up the records that retention deleted before they were stored.
///
/// # Errors
/// Nothing is lost, or a server does not answer.
pub async fn accept_gap(
    config: &Config,
    route: &Route,
    partition: Partition,
    mode: Mode,
) -> Result<Change, OffsetsError> {
    let known = Known::ask(config, route, partition).await?;
    let (log_start, stored_below) = (known.log.start, known.row.frontiers.lowest());
    if log_start <= stored_below {
        return Err(OffsetsError::NothingLost { partition, log_start, stored_below });
    }
    let reason = "deleted by retention before it was stored; accepted by an operator";
    known.skip(route, partition, log_start, mode, reason).await
}

impl Known {
    async fn skip(
        &self,
        route: &Route,
        partition: Partition,
        to: Offset,
        mode: Mode,
        reason: &'static str,
    ) -> Result<Change, OffsetsError> {
        let decide = |row: &Row| {
            let (row, gaps) = skip(row, to, self.log.end, reason)?;
            Ok(by_hand::Change { row, gaps, again_from: None })
        };
        self.change(route, partition, to, mode, None, decide).await
    }

    /// Does what `decide` says, or only says what would be done.
    async fn change(
        &self,
        route: &Route,
        partition: Partition,
        to: Offset,
        mode: Mode,
        fence: Option<Fence>,
        decide: impl Fn(&Row) -> Result<by_hand::Change, NotChanged>,
    ) -> Result<Change, OffsetsError> {
        let not_changed = |source| OffsetsError::NotChanged { partition, to, source };
        let (before, change) = match mode {
            Mode::DryRun => (self.row.clone(), decide(&self.row).map_err(not_changed)?),
            Mode::Do => {
                let owner = new_owner(rand::random());
                match self.ledger.change_by_hand((self.source, partition), owner, fence, decide).await? {
                    Changed::Done(done) => *done,
                    Changed::Refused(source) => return Err(not_changed(source)),
                    Changed::NoRow => {
                        return Err(OffsetsError::TakenOver { route: route.name.clone(), partition });
                    }
                }
            }
        };
        Ok(Change {
            route: route.name.clone(),
            partition,
            done: mode == Mode::Do,
            before: (&before).into(),
            after: (&change.row).into(),
            gaps: change.gaps.iter().map(Into::into).collect(),
        })
    }
}

/// Stores everything from `to` on again, if neither database holds any of it.
///
/// # Errors
/// A database holds such rows, a consumer has the partition, the records are gone from Kafka, or a server does not answer.
pub async fn rewind_to(
    config: &Config,
    route: &Route,
    partition: Partition,
    to: Offset,
    mode: Mode,
) -> Result<Change, OffsetsError> {
    let known = Known::ask(config, route, partition).await?;
    let birth = rand::random_range(1..i64::MAX);
    let decide = |row: &Row| {
        let row = rewind(row, to, known.log.start, birth)?;
        Ok(by_hand::Change { row, gaps: Vec::new(), again_from: Some(to) })
    };
    // the same refusals as under the lock, before anybody is disturbed
    decide(&known.row).map_err(|source| OffsetsError::NotChanged { partition, to, source })?;
    let owners = known.ledger.last_owners(known.source).await?;
    if let Some(owner) = owners.iter().find(|owner| owner.partition == partition && owner.is_alive()) {
        return Err(OffsetsError::InUse { route: route.name.clone(), partition, owner: owner.to_string() });
    }
    let session = lock(config, route, (known.source, partition)).await?;
    let timeout = Duration::from_millis(config.pipeline.sink_timeout_ms);
    let questions = Questions::new(&clickhouse_client(&config.clickhouse), route, &config.clickhouse.database, timeout);
    let fence = match mode {
        Mode::DryRun => None,
        Mode::Do => Some(known.interrupt(route, partition, &questions).await?),
    };
    let place = (known.source, partition);
    if known.row.frontiers.postgres.or(known.row.postgres_stopped).is_some() {
        let what = "count the rows of the table";
        let asking = by_hand::rows_from(&session, &route.postgres_table, place, to);
        let counted = tokio::time::timeout(SCAN_TIMEOUT, asking).await;
        let counted = counted.map_err(|_| OffsetsError::Silent { what, waited: SCAN_TIMEOUT })?;
        let counted = counted.map_err(|source| OffsetsError::Postgres { what, source: source.into() })?;
        refuse_held("postgresql", route, place, to, counted)?;
    }
    if known.has_clickhouse() {
        refuse_held("clickhouse", route, place, to, questions.rows_from(known.source, partition, to).await?)?;
    }
    known.change(route, partition, to, mode, fence, decide).await
}

/// A session that keeps replays and repairs of the route away.
async fn lock(config: &Config, route: &Route, place: (SourceId, Partition)) -> Result<Client, OffsetsError> {
    let session = connect(&config.postgres, NAME, Purpose::Verify).await?;
    let locking = async {
        let is_ours = replays::lock(&session, &route.name).await?;
        let begun = replays::begun(&session, &route.name).await?;
        Ok(is_ours && !begun.iter().any(|replay| (replay.source, replay.partition) == place))
    };
    let what = "lock the route's rows";
    let is_free: Result<bool, Error> = tokio::time::timeout(LOCK_TIMEOUT, locking)
        .await
        .map_err(|_| OffsetsError::Silent { what, waited: LOCK_TIMEOUT })?;
    match is_free.map_err(|source| OffsetsError::Postgres { what, source: source.into() })? {
        true => Ok(session),
        false => Err(OffsetsError::Busy(route.name.clone())),
    }
}

impl Known {
    /// Ends the partition's ownership. After that, no insert of the partition is in flight.
    async fn interrupt(
        &self,
        route: &Route,
        partition: Partition,
        questions: &Questions,
    ) -> Result<Fence, OffsetsError> {
        let taken = self.ledger.interrupt(self.source, partition, new_owner(rand::random())).await?;
        let Some((fence, ..)) = taken else {
            return Err(OffsetsError::UnknownPartition { route: route.name.clone(), partition });
        };
        if self.has_clickhouse() {
            // a consumer that does not know yet may insert as long as its last proof holds
            tokio::time::sleep(PROOF_LIFETIME).await;
            questions.drain(&questions.insert_id(self.ledger.id(), self.source, partition), DRAIN_TIMEOUT).await?;
        }
        Ok(fence)
    }

    /// Whether ClickHouse is on, or was.
    fn has_clickhouse(&self) -> bool {
        self.row.frontiers.clickhouse.or(self.row.clickhouse_stopped).is_some()
    }
}

/// Refuses to store rows a second time.
fn refuse_held(
    database: &'static str,
    route: &Route,
    (source, partition): (SourceId, Partition),
    to: Offset,
    (rows, last): (i64, Option<Offset>),
) -> Result<(), OffsetsError> {
    let Some(last) = last.filter(|_| rows > 0) else { return Ok(()) };
    let table = if database == "postgresql" { &route.postgres_table } else { &route.clickhouse_table };
    let what_to_do = format!(
        "if only some rows are missing, run `footprint verify --repair`; to store all of them again, delete them first, in both \
         databases: delete from {table} where kafka_source = {source} and kafka_partition = {partition} and kafka_offset >= {to}"
    );
    let rows = rows.unsigned_abs();
    Err(OffsetsError::Held { database, partition, to, rows, last, source: Remedy::only(what_to_do) })
}
