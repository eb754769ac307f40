//! The ClickHouse sink. Each batch is one insert of one Native block, under a token that never depends on the attempt. If it is uncertain
//! whether an insert landed, the range is read back. `protocol/write.rs` decides each step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_event::route::Route;
use footprint_event::rows::Rows;
use footprint_protocol::ledger::{Identity, SinkName};
use footprint_protocol::offset::Offset;
use footprint_protocol::write::{Delivery, Repair, Step};
use footprint_service::clickhouse::gate::{Closed, Gate};
use footprint_service::clickhouse::gated_client;
use footprint_service::config::ClickHouse;
use footprint_service::failpoint::{self, Point};
use footprint_service::report::Remedy;
use tokio::time::sleep;
use tracing::error;

use super::fence::InsertId;
use super::insert::{Attempt, Inserters, NotInserted};
use super::native;
use super::readback::{Questions, missing_rows};
use super::refused::{DeadLetterWriter, Refusals, Refused, named};
use crate::batch::Batch;
use crate::ledger::ownership::Ownership;
use crate::ledger::proof::{Proofs, Sighting};
use crate::store::sink::{Sink, SinkError, Verdict};
use crate::store::write_failure::WriteFailure;

/// How long a repair waits for the end of an older insert of the partition. After that, the repair starts from the beginning. The limit
/// is longer than the 30 s that the server waits for a silent client.
const WAIT_OUT_TIMEOUT: Duration = Duration::from_secs(60);

/// The waits before an insert is sent again because another one had its query id. The server frees the id a moment after it has
/// answered the previous insert, which may have used another connection.
const TAKEN_WAITS: [Duration; 6] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
];

/// How many other inserts a repair ends because they have its query id. After that, the repair starts from the beginning.
const REFUSALS_MAX: u32 = 5;

/// If ClickHouse's last answer is younger than this, the connection is still open: the client drops idle ones after 2.5 s.
const CONNECTION_FRESH: Duration = Duration::from_secs(1);

/// What to do if rows that were just stored cannot be read. It names all that can hide rows, and the only other cause: two crashes have
/// lost the rows of a token.
const HIDDEN_REMEDY: &str = "look for what hides rows from this user: a row policy, additional_table_filters, a limit or a \
     query cache in its profile, a TTL of the table; or, when clickhouse has crashed twice meanwhile, set the table's \
     non_replicated_deduplication_window to 0 and then to 10000 again, which forgets its tokens. Then start again";

/// Reads the rows of a range that PostgreSQL holds. If another decoder claimed the range, ClickHouse must get the same rows.
pub trait StoredRows: Send + Sync {
    /// The rows of the batch's range, in offset order.
    fn stored(&self, batch: &Batch) -> impl Future<Output = Result<Rows, SinkError>> + Send;
}

/// A repair that has begun. It is only valid for one sighting of one ownership.
struct OpenRepair {
    identity: Identity,
    sighting: Sighting,
    repair: Repair,
}

/// The sink of one lane. It has its own keep-alive connection, because a repair inserts on the connection on which it has read.
pub struct ClickHouseSink<S> {
    route: Arc<Route>,
    gate: Gate,
    /// How many connections had been made at the last insert.
    connections: u64,
    /// When ClickHouse last answered on the connection.
    answered_at: Option<Instant>,
    inserters: Inserters,
    questions: Questions,
    proofs: Arc<Proofs>,
    stored_rows: S,
    timeout: Duration,
    open_repair: Option<OpenRepair>,
    refusals: Refusals,
    /// `database.table`, as in ClickHouse's errors.
    table: String,
    /// The row that the table refused in the last insert.
    refused: Option<Refused>,
}

/// The answer to an insert, if it is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InsertAnswer {
    /// The server answered OK.
    Stored,
    /// Another insert has its query id. This one was refused before any of it was read.
    QueryIdInUse,
}

fn identity_of(batch: &Batch) -> Identity {
    let Ownership { source, partition, .. } = *batch.ownership;
    Identity { source, partition, range: batch.range }
}

impl<S: StoredRows> ClickHouseSink<S> {
    /// A sink that connects when the first batch comes.
    pub fn new(
        settings: &ClickHouse,
        route: &Arc<Route>,
        proofs: &Arc<Proofs>,
        stored_rows: S,
        timeout: Duration,
        refusals: Refusals,
    ) -> Self {
        let gate = Gate::new(1);
        let client = gated_client(settings, &gate);
        Self {
            route: Arc::clone(route),
            connections: 0,
            answered_at: None,
            inserters: Inserters::new(&client, gate.traffic(), settings, route, timeout),
            questions: Questions::new(&client, route, &settings.database, timeout),
            gate,
            proofs: Arc::clone(proofs),
            stored_rows,
            timeout,
            open_repair: None,
            refusals,
            table: route.clickhouse_full_name(&settings.database),
            refused: None,
        }
    }

    /// Makes sure that there is a connection. While the returned guard lives, no other connection can be made. A new connection voids every
    /// proof (R3). Otherwise a previous owner whose connection ended in a crash could insert what its successor has just stored.
    async fn connected(&mut self) -> Result<Closed, SinkError> {
        if self.answered_at.take().is_none_or(|at| at.elapsed() >= CONNECTION_FRESH) {
            self.questions.connected().await.inspect_err(|_| self.proofs.void())?;
            if self.gate.made() != self.connections {
                self.connections = self.gate.made();
                self.proofs.void();
            }
        }
        Ok(self.gate.close())
    }

    async fn insert(
        &mut self,
        batch: &Batch,
        rows: &Rows,
        selection: Option<&[usize]>,
        level: u32,
    ) -> Result<InsertAnswer, SinkError> {
        let identity = identity_of(batch);
        let block = native::block(batch.definition.route(), rows, identity.source, identity.partition, selection);
        let attempt = Attempt { route: &self.route.name, identity, birth: batch.ownership.plan.birth, level };
        let id = self.insert_id(batch);
        match self.inserters.of(&batch.definition).insert(&attempt, &id, block).await {
            Ok(()) => {
                self.answered_at = Some(Instant::now());
                Ok(InsertAnswer::Stored)
            }
            Err(NotInserted::Failed { error, .. }) if error.is_taken() => Ok(InsertAnswer::QueryIdInUse),
            Err(NotInserted::Failed { error, refused }) => {
                if error.is_broken() {
                    self.proofs.void();
                }
                let refused = refused.filter(|refused| refused.table == self.table);
                self.refused = refused.and_then(|refused| Refused::of(rows, selection, refused.nth, refused.why));
                Err(error.into())
            }
            Err(NotInserted::Silent(source)) => {
                self.proofs.void();
                Err(SinkError::Uncertain(WriteFailure::Silent { server: "clickhouse", source }))
            }
        }
    }

    fn insert_id(&self, batch: &Batch) -> InsertId {
        let Ownership { ledger, source, partition, .. } = *batch.ownership;
        self.questions.insert_id(ledger, source, partition)
    }

    /// The first insert of a batch. No part of the batch was ever sent before.
    async fn first_write(&mut self, batch: &Batch, rows: &Rows) -> Result<(), SinkError> {
        for wait in TAKEN_WAITS {
            let closed = self.connected().await?;
            batch.ownership.proof.good().await;
            failpoint::hit(Point::Insert);
            let sent = self.insert(batch, rows, None, 0).await?;
            failpoint::hit(Point::InsertAnswered);
            drop(closed);
            if sent == InsertAnswer::Stored {
                return Ok(());
            }
            sleep(wait).await;
        }
        // it is not our own previous insert, so what it stores is read back before anything is sent
        Err(self.query_id_in_use(batch))
    }

    fn query_id_in_use(&self, batch: &Batch) -> SinkError {
        SinkError::Uncertain(WriteFailure::QueryIdInUse { id: self.insert_id(batch).to_string() })
    }

    /// Reads back which rows are missing. `left_out`: offsets that ClickHouse must never hold.
    async fn missing(&self, identity: Identity, rows: &Rows, left_out: &[Offset]) -> Result<Vec<usize>, SinkError> {
        failpoint::hit(Point::ReadBack);
        let present = self.questions.read_back(identity).await.inspect_err(|_| self.proofs.void())?;
        failpoint::hit(Point::ReadBackAnswered);
        if let Some(offset) = present.iter().find(|offset| left_out.contains(offset)) {
            error!(
                partition = identity.partition,
                offset, "clickhouse holds a record that has a dead letter for clickhouse; run `footprint verify`"
            );
        }
        let mut found = missing_rows(&rows.offsets, present);
        found.missing.retain(|&row| left_out.binary_search(&rows.offsets[row]).is_err());
        self.refusals.meters.read_back(rows.len().saturating_sub(left_out.len()), found.missing.len());
        if found.surplus_rows > 0 {
            self.refusals.meters.doubled(found.surplus_rows);
            error!(
                partition = identity.partition,
                range = %identity.range,
                doubled = found.surplus_rows,
                "clickhouse holds some records more than once; run `footprint verify`"
            );
        }
        Ok(found.missing)
    }

    async fn repair(&mut self, batch: &Batch, rows: &Rows, after_ok: bool) -> Result<(), SinkError> {
        let identity = identity_of(batch);
        let mut first = Some(if after_ok { Repair::after_ok() } else { Repair::new() });
        loop {
            let sighting = batch.ownership.proof.good().await;
            let mut repair = match self.open_repair.take() {
                Some(open) if open.identity == identity && batch.ownership.proof.is_good(open.sighting) => open.repair,
                _ => first.take().unwrap_or_default(),
            };
            if self.repair_under(batch, rows, sighting, &mut repair).await? {
                return Ok(());
            }
        }
    }

    /// The steps of a repair under one sighting. False: the sighting has expired, and the repair starts again under a new one.
    async fn repair_under(
        &mut self,
        batch: &Batch,
        rows: &Rows,
        sighting: Sighting,
        repair: &mut Repair,
    ) -> Result<bool, SinkError> {
        let identity = identity_of(batch);
        let mut refusals = 0;
        loop {
            // no other connection is made from here to the end of the insert. If ClickHouse crashed and restarted between the read-back and
            // the insert, rows that were under way could be there although the read-back did not find them
            let closed = self.connected().await?;
            let left_out = batch.ownership.left_out.of(SinkName::ClickHouse, identity.range);
            let missing = self.missing(identity, rows, &left_out).await?;
            match repair.read_back(missing.len()) {
                Step::Done => return Ok(true),
                Step::ReadBack => {}
                Step::WaitOut => {
                    drop(closed);
                    failpoint::hit(Point::WaitOut);
                    failpoint::sent(Point::WaitOutSent, self.questions.drain(&self.insert_id(batch), WAIT_OUT_TIMEOUT))
                        .await?;
                    failpoint::hit(Point::WaitOutAnswered);
                }
                Step::Contradicted => return Err(stored_rows_unreadable(identity, missing.len())),
                Step::Insert { level } => {
                    if !batch.ownership.proof.is_good(sighting) {
                        return Ok(false);
                    }
                    failpoint::hit(Point::Repair);
                    let answer = self.insert(batch, rows, Some(&missing), level).await;
                    failpoint::hit(Point::RepairAnswered);
                    match answer {
                        Ok(InsertAnswer::Stored) => {
                            self.refusals.meters.repaired(missing.len() as u64);
                            repair.inserted(true);
                        }
                        Ok(InsertAnswer::QueryIdInUse) if refusals < REFUSALS_MAX => {
                            refusals += 1;
                            repair.refused();
                        }
                        Ok(InsertAnswer::QueryIdInUse) => return Err(self.query_id_in_use(batch)),
                        Err(error) => {
                            repair.inserted(false);
                            self.open_repair = Some(OpenRepair { identity, sighting, repair: *repair });
                            return Err(error);
                        }
                    }
                }
            }
        }
    }

    /// Stores a batch. A row that the table refuses becomes a dead letter for ClickHouse, and the others are sent again.
    async fn store_accepted_rows(&mut self, batch: &Batch, mut uncertain: bool) -> Result<(), SinkError> {
        let mut dead_letters = DeadLetterWriter::default();
        loop {
            self.refused = None;
            let answer = self.store(batch, uncertain).await;
            let Some(refused) = self.refused.take() else {
                return answer.map_err(|error| named(&self.route, batch, error));
            };
            // the server may not have read the whole body, so the connection cannot be used again
            self.gate.hang_up();
            self.answered_at = None;
            dead_letters.leave_out(&self.refusals, &self.route, batch, &refused, self.timeout).await?;
            uncertain = true;
        }
    }

    async fn store(&mut self, batch: &Batch, uncertain: bool) -> Result<(), SinkError> {
        let plan = &batch.ownership.plan;
        let delivery = match plan.clickhouse_delivery(batch.range) {
            Delivery::Skip => return Ok(()),
            // an insert of this range may have been refused before; the read-back does not look for the records that are left out
            _ if !batch.ownership.left_out.of(SinkName::ClickHouse, batch.range).is_empty() => Delivery::ReadBackFirst,
            delivery if uncertain && delivery != Delivery::ReadBackFirst => Delivery::ReadBackFirst,
            delivery => delivery,
        };
        let postgres_rows;
        let rows = if plan.postgres_is_truth(batch.range, batch.definition.fingerprint()) {
            // PostgreSQL lacks the rows that only PostgreSQL refused; ClickHouse must get them
            let refused = batch.ownership.left_out.of(SinkName::Postgres, batch.range);
            postgres_rows = self.stored_rows.stored(batch).await?.with(&batch.rows, &refused);
            &postgres_rows
        } else {
            &batch.rows
        };
        if rows.is_empty() {
            return Ok(());
        }
        if delivery == Delivery::ReadBackFirst {
            return self.repair(batch, rows, false).await;
        }
        self.first_write(batch, rows).await?;
        if delivery == Delivery::InsertThenReadBack {
            // any error is uncertain, even before the repair sends anything, because the first insert was sent
            return self.repair(batch, rows, true).await.map_err(left_uncertain);
        }
        Ok(())
    }
}

impl<S: StoredRows> Sink for ClickHouseSink<S> {
    fn name(&self) -> SinkName {
        SinkName::ClickHouse
    }

    fn joins(&self, _group: &[Arc<Batch>], _next: &Batch) -> bool {
        false
    }

    async fn write(&mut self, group: &[Arc<Batch>], uncertain: bool) -> Result<Vec<Verdict>, SinkError> {
        let mut verdicts = Vec::with_capacity(group.len());
        for batch in group {
            let ended = batch.ownership.ended.clone();
            let stored = tokio::select! {
                biased;
                () = ended.cancelled() => None,
                stored = self.store_accepted_rows(batch, uncertain) => Some(stored),
            };
            if !matches!(stored, Some(Ok(()))) {
                // given up or refused: a request that is still under way must not keep the lane's only connection
                self.gate.hang_up();
                self.answered_at = None;
            }
            match stored {
                Some(stored) => stored?,
                None => return Ok(vec![Verdict::Fenced; group.len()]),
            }
            verdicts.push(Verdict::Stored);
        }
        Ok(verdicts)
    }
}

/// The error if ClickHouse answered OK twice and the rows cannot be read.
fn stored_rows_unreadable(identity: Identity, missing: usize) -> SinkError {
    let Identity { partition, range, .. } = identity;
    let source = Remedy::only(HIDDEN_REMEDY);
    SinkError::Stop(WriteFailure::StoredRowsUnreadable { partition, range, missing, source })
}

fn left_uncertain(error: SinkError) -> SinkError {
    match error {
        SinkError::Retry(failure) => SinkError::Uncertain(failure),
        // uncertain already, or final
        other => other,
    }
}
