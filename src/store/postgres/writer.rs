//! PostgreSQL's side of a batch: one transaction with the rows, the dead letters and, last and in one message with
//! `commit`, the fenced compare-and-set of the ledger. A stopped client therefore never sits on the ledger's row lock.
//!
//! Where PostgreSQL refuses a row, the transaction is written once more by halves, each under a savepoint: what is refused
//! then becomes a dead letter for PostgreSQL in the same transaction, and all else is stored. A batch that is taken at once
//! costs nothing of that.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use footprint_event::reject::DeadLetter;
use footprint_event::route::{IDENTITY_COLUMNS, Route};
use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::Offset;
use footprint_protocol::write::{Resolution, resolve};
use footprint_service::config::{Kafka, Postgres};
use footprint_service::failpoint::{self, Point};
use footprint_service::metrics;
use footprint_service::postgres::asked::DEAD_LETTERS;
use footprint_service::postgres::error::{Class, During, class_of, describe, message, remedy};
use footprint_service::postgres::{ConnectError, backend, connect_writer, is_passing_connect};
use footprint_service::traffic::{Silent, Traffic, unless_silent};
use futures::SinkExt;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, CopyInSink, Error, Statement, ToStatement};
use tracing::warn;

use super::onlooker::Onlooker;
use super::refused::{Halving, Hopeless, Piece, Refused};
use super::shares::{Share, advance, refusal_mark, share_of, shares, still_ours};
use crate::batch::Batch;
use crate::ledger::ownership::Ownership;
use crate::limits::{COPY_CHUNK_BYTES, DEAD_LETTER_OVERHEAD_BYTES};
use crate::store::letters::Letters;
use crate::store::postgres::copy;
use crate::store::sink::{Sink, SinkError, Verdict};

/// Tries in a row that may end in a passing refusal while rows are taken (a lock, a deadlock, a time-out): after these it is
/// the rows that are looked at, because a trigger may raise any code for one row for ever.
const PASSING_TRIES_MAX: u32 = 10;

/// What is done about rows that PostgreSQL refuses.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// Where a refused record is read again.
    pub kafka: Kafka,
    /// Of a batch's rows that may be refused: [`footprint_service::config::Pipeline::refused_rows_share_max`].
    pub share_max: f64,
}

/// One lane: one long-lived connection of its own.
pub struct PostgresSink {
    settings: Postgres,
    application_name: String,
    onlooker: Onlooker,
    route: Arc<Route>,
    client: Option<Client>,
    group_rows_max: usize,
    /// How long PostgreSQL may be silent.
    silence_max: Duration,
    traffic: Traffic,
    /// The number of the server process that serves the connection.
    backend: i32,
    refusals: Refusals,
    /// Tries in a row that ended in a passing refusal while rows were taken.
    passing_tries: u32,
}

/// Why a transaction did not commit.
enum Store {
    /// Some share's compare-and-set found another value.
    Fenced,
    /// PostgreSQL refused, or the connection broke.
    Failed { error: Error, during: During },
    /// COPY counts fewer rows than were sent: the table drops some.
    Short { table: String, sent: u64, copied: u64 },
    /// No answer, and no sign of life.
    Silent(Silent),
    /// What else ends a try.
    Other(SinkError),
}

impl Store {
    fn statement(error: Error) -> Self {
        Self::Failed { error, during: During::Statement }
    }

    fn rows(error: Error) -> Self {
        Self::Failed { error, during: During::Rows }
    }
}

impl PostgresSink {
    /// A lane that connects when the first batch comes.
    pub fn new(
        settings: &Postgres,
        application_name: &str,
        route: &Arc<Route>,
        group_rows_max: usize,
        silence_max: Duration,
        refusals: Refusals,
    ) -> Self {
        Self {
            settings: settings.clone(),
            application_name: application_name.to_owned(),
            onlooker: Onlooker::new(settings, application_name, silence_max),
            route: Arc::clone(route),
            client: None,
            group_rows_max,
            silence_max,
            traffic: Traffic::default(),
            backend: 0,
            refusals,
            passing_tries: 0,
        }
    }

    async fn client(&mut self) -> Result<Client, SinkError> {
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        failpoint::hit(Point::WriterConnect);
        let route = self.settings.enabled.then_some(&*self.route);
        let name = &self.application_name;
        let connecting = async {
            let client = connect_writer(&self.settings, name, &[DEAD_LETTERS], route, &self.traffic).await?;
            let backend = backend(&client, &self.settings).await?;
            Ok((client, backend))
        };
        let (client, backend) = connecting.await.map_err(|error: ConnectError| {
            if is_passing_connect(&error) {
                SinkError::Retry { why: error.to_string(), uncertain: false }
            } else {
                // the error says what to do itself
                SinkError::Stop { why: error.to_string(), remedy: String::new() }
            }
        })?;
        self.backend = backend;
        failpoint::hit(Point::WriterConnected);
        Ok(client)
    }

    /// Waits for one step of a transaction, as long as there are signs that PostgreSQL is at it.
    async fn within<T>(&self, step: impl Future<Output = Result<T, Store>>) -> Result<T, Store> {
        let answer =
            unless_silent(&self.traffic, self.silence_max, || self.onlooker.standing(self.backend), step).await;
        answer.unwrap_or_else(|silent| Err(Store::Silent(silent)))
    }

    /// What became of each partition's share after an answer was lost or refused.
    async fn resolve(&self, client: &Client, shares: &[Share<'_>]) -> Result<Vec<Resolution>, Error> {
        let sql = "select dead_letters_next, postgres_next from footprint_ledger \
                   where route = $1 and source = $2 and partition = $3 and epoch = $4 and owner = $5 for update";
        let mut resolutions = Vec::with_capacity(shares.len());
        failpoint::hit(Point::Resolve);
        for share in shares {
            let Ownership { source, partition, epoch, owner, .. } = share.ownership;
            let row = client.query_opt(sql, &[&self.route.name, &source.0, partition, epoch, owner]).await?;
            let value: Option<Offset> = match &row {
                Some(row) if share.dead_letters => row.get(0),
                Some(row) => row.get(1),
                None => None,
            };
            resolutions.push(resolve(row.is_some(), value, share.range));
        }
        failpoint::hit(Point::ResolveAnswered);
        Ok(resolutions)
    }

    async fn begin(&self, client: &Client, shares: &[Share<'_>]) -> Result<(), Store> {
        failpoint::hit(Point::Begin);
        client.batch_execute("begin").await.map_err(Store::statement)?;
        failpoint::hit(Point::EpochRead);
        let ours = client.query(&still_ours(&self.route.name, shares), &[]).await.map_err(Store::statement)?.len();
        failpoint::hit(Point::EpochReadAnswered);
        if ours == shares.len() { Ok(()) } else { Err(Store::Fenced) }
    }

    /// The transaction of a group, none of whose shares is done.
    async fn store(&self, client: &Client, group: &[&Arc<Batch>], shares: &[Share<'_>]) -> Result<(), Store> {
        self.begin(client, shares).await?;
        if failpoint::compares_first() {
            let advance = advance(&self.route.name, shares);
            client.batch_execute(&advance).await.map_err(|error| of_last(error, shares, false))?;
        }
        let pieces = pieces(group);
        if !pieces.is_empty() {
            failpoint::hit(Point::Copy);
            self.copy_rows(client, rows_statement(group).as_str(), group, &pieces).await?;
            failpoint::hit(Point::CopyAnswered);
        }
        self.copy_dead_letters(client, group).await?;
        self.end(client, shares, !pieces.is_empty()).await
    }

    /// The same once more, by halves: what PostgreSQL refuses alone becomes a dead letter for PostgreSQL.
    async fn store_by_halves(&self, client: &Client, group: &[&Arc<Batch>], shares: &[Share<'_>]) -> Result<(), Store> {
        failpoint::hit(Point::Halve);
        self.within(async { client.batch_execute("rollback").await.map_err(Store::statement) }).await?;
        self.within(self.begin(client, shares)).await?;
        let rows = group.iter().map(|batch| batch.rows.len()).collect();
        let mut halving = Halving::new(pieces(group), rows, self.refusals.share_max);
        let prepare = async {
            let statement = client.prepare(&rows_statement(group)).await?;
            client.batch_execute("savepoint piece").await.map(|()| statement)
        };
        let statement = self.within(async { prepare.await.map_err(Store::statement) }).await?;
        let columns = columns(group[0]);
        while let Some(piece) = halving.next() {
            if group.iter().any(|batch| batch.ownership.has_ended()) {
                let why = "postgresql: an ownership ended while refused rows were looked for".into();
                return Err(Store::Other(SinkError::Retry { why, uncertain: false }));
            }
            match self.within(self.try_piece(client, &statement, group, &piece)).await {
                Ok(()) => halving.took(&piece),
                Err(Store::Failed { error, during: During::Rows }) if self.may_be_a_row(&error, &columns) => {
                    let back = client.batch_execute("rollback to savepoint piece");
                    self.within(async { back.await.map_err(Store::statement) }).await?;
                    let class = class_of(&error, During::Rows, &columns);
                    halving
                        .refused(piece, class, &message(&error))
                        .map_err(|hopeless| self.hopeless(group, hopeless))?;
                }
                Err(other) => return Err(other),
            }
        }
        let refused = halving.end().map_err(|hopeless| self.hopeless(group, hopeless))?;
        failpoint::hit(Point::HalveAnswered);
        self.within(self.copy_dead_letters(client, group)).await?;
        self.copy_refused(client, group, &refused).await?;
        self.within(self.end(client, shares, true)).await?;
        log_refused(group, &refused);
        Ok(())
    }

    /// One piece under the savepoint, which then stands behind it. What the table checks only at the transaction's end is
    /// checked here.
    async fn try_piece(
        &self,
        client: &Client,
        statement: &Statement,
        group: &[&Arc<Batch>],
        piece: &Piece,
    ) -> Result<(), Store> {
        self.copy_rows(client, statement, group, std::slice::from_ref(piece)).await?;
        let behind = "set constraints all immediate; release savepoint piece; savepoint piece";
        client.batch_execute(behind).await.map_err(Store::rows)
    }

    async fn copy_rows(
        &self,
        client: &Client,
        statement: &(impl ToStatement + ?Sized),
        group: &[&Arc<Batch>],
        pieces: &[Piece],
    ) -> Result<(), Store> {
        let sink = client.copy_in(statement).await.map_err(Store::statement)?;
        futures::pin_mut!(sink);
        let mut buffer = BytesMut::with_capacity(COPY_CHUNK_BYTES);
        copy::header(&mut buffer);
        let mut sent = 0;
        for Piece { batch, rows } in pieces {
            let batch = &group[*batch];
            let Ownership { source, partition, .. } = *batch.ownership;
            let mut next = rows.start;
            while next < rows.end {
                next = copy::rows_of(&batch.rows, next..rows.end, source, partition, &mut buffer, COPY_CHUNK_BYTES);
                if buffer.len() >= COPY_CHUNK_BYTES {
                    sink.send(buffer.split().freeze()).await.map_err(Store::rows)?;
                }
            }
            sent += rows.len() as u64;
        }
        let copied = self.end_copy(&mut sink, buffer, Point::CopySent).await.map_err(Store::rows)?;
        if copied != sent {
            return Err(Store::Short { table: self.route.postgres_table.clone(), sent, copied });
        }
        Ok(())
    }

    /// Sends the last of a COPY; how many rows PostgreSQL has counted.
    async fn end_copy(
        &self,
        sink: &mut std::pin::Pin<&mut CopyInSink<bytes::Bytes>>,
        mut buffer: BytesMut,
        point: Point,
    ) -> Result<u64, Error> {
        if failpoint::is_armed(point) {
            sink.send(buffer.split().freeze()).await?;
            failpoint::hit_soon(point).await;
        }
        copy::trailer(&mut buffer);
        sink.send(buffer.freeze()).await?;
        sink.as_mut().finish().await
    }

    /// The records that no database can hold.
    async fn copy_dead_letters(&self, client: &Client, group: &[&Arc<Batch>]) -> Result<(), Store> {
        let wanting = |batch: &&&Arc<Batch>| {
            !batch.dead_letters.is_empty() && batch.ownership.plan.wants_dead_letters(batch.range)
        };
        let parts: Vec<_> =
            group.iter().filter(wanting).map(|batch| (&*batch.ownership, batch.dead_letters.as_slice())).collect();
        if parts.is_empty() {
            return Ok(());
        }
        failpoint::hit(Point::DeadLetters);
        self.copy_letters(client, &parts).await?;
        failpoint::hit(Point::DeadLettersAnswered);
        Ok(())
    }

    async fn copy_letters(&self, client: &Client, parts: &[(&Ownership, &[DeadLetter])]) -> Result<(), Store> {
        let sink = client.copy_in(copy::dead_letters_statement()).await.map_err(Store::statement)?;
        futures::pin_mut!(sink);
        let mut buffer = BytesMut::with_capacity(COPY_CHUNK_BYTES);
        copy::header(&mut buffer);
        let mut sent = 0;
        for (ownership, letters) in parts {
            let Ownership { source, partition, .. } = **ownership;
            let mut next = 0;
            while next < letters.len() {
                next = copy::dead_letters(&self.route, letters, next, source, partition, &mut buffer, COPY_CHUNK_BYTES);
                if buffer.len() >= COPY_CHUNK_BYTES {
                    sink.send(buffer.split().freeze()).await.map_err(Store::statement)?;
                }
            }
            sent += letters.len() as u64;
        }
        let copied = self.end_copy(&mut sink, buffer, Point::DeadLettersSent).await.map_err(Store::statement)?;
        if copied != sent {
            return Err(Store::Short { table: "dead_letters".into(), sent, copied });
        }
        Ok(())
    }

    /// The rows that PostgreSQL refuses, as dead letters: their records are read again, some at a time.
    async fn copy_refused(&self, client: &Client, group: &[&Arc<Batch>], refused: &[Refused]) -> Result<(), Store> {
        if refused.is_empty() {
            return Ok(());
        }
        failpoint::hit(Point::Reread);
        let mut letters =
            Letters::open(&self.refusals.kafka, &self.route, self.silence_max).await.map_err(Store::Other)?;
        for of_batch in refused.chunk_by(|one, other| one.batch == other.batch) {
            let batch = group[of_batch[0].batch];
            let (mut taken, mut bytes) = (Vec::new(), 0);
            for refused in of_batch {
                let place = (batch.rows.offsets[refused.row], batch.rows.received_at_us[refused.row]);
                let partition = batch.ownership.partition;
                let letter = letters.letter(partition, place, SinkName::Postgres, &refused.why).await;
                let letter = letter.map_err(Store::Other)?;
                bytes += DEAD_LETTER_OVERHEAD_BYTES + letter.byte_len();
                taken.push(letter);
                if bytes >= COPY_CHUNK_BYTES {
                    self.within(self.copy_letters(client, &[(&*batch.ownership, &taken)])).await?;
                    taken.clear();
                    bytes = 0;
                }
            }
            if !taken.is_empty() {
                self.within(self.copy_letters(client, &[(&*batch.ownership, &taken)])).await?;
            }
            letters.check_life(&batch.ownership).await.map_err(Store::Other)?;
        }
        failpoint::hit(Point::RereadAnswered);
        Ok(())
    }

    /// The compare-and-set and `commit`, in one message: a client that is stopped in COPY, or before this, does not sit on the
    /// row's lock. `rows`: there are any, so checks put off to the end may refuse one.
    async fn end(&self, client: &Client, shares: &[Share<'_>], rows: bool) -> Result<(), Store> {
        let last = if failpoint::compares_first() {
            "commit".into()
        } else {
            format!("{}; commit", advance(&self.route.name, shares))
        };
        failpoint::hit(Point::Commit);
        let answer = failpoint::sent(Point::CommitSent, client.batch_execute(&last)).await;
        answer.map_err(|error| of_last(error, shares, rows))?;
        failpoint::hit(Point::CommitAnswered);
        Ok(())
    }

    async fn write_on(&self, client: &Client, group: &[Arc<Batch>], uncertain: bool) -> Result<Vec<Verdict>, Store> {
        let shares = shares(group);
        let mut resolutions: Vec<Resolution> = if uncertain {
            let resolving = async {
                let _ = client.batch_execute("rollback").await;
                self.resolve(client, &shares).await.map_err(Store::statement)
            };
            self.within(resolving).await?
        } else {
            vec![Resolution::SendAgain; shares.len()]
        };
        for (resolution, share) in resolutions.iter_mut().zip(&shares) {
            if share.is_done() {
                *resolution = Resolution::Landed;
            }
        }
        let of = |batch: &Batch| {
            let place = shares.iter().position(|share| std::ptr::eq(share.ownership, &raw const *batch.ownership));
            resolutions[place.unwrap_or_default()]
        };
        let verdicts = group
            .iter()
            .map(|batch| if of(batch) == Resolution::TakeOver { Verdict::Fenced } else { Verdict::Stored })
            .collect();
        let left: Vec<&Arc<Batch>> = group.iter().filter(|batch| of(batch) == Resolution::SendAgain).collect();
        if !left.is_empty() {
            let left_shares: Vec<Share<'_>> = shares
                .into_iter()
                .zip(&resolutions)
                .filter_map(|(share, resolution)| (*resolution == Resolution::SendAgain).then_some(share))
                .collect();
            match self.within(self.store(client, &left, &left_shares)).await {
                Err(Store::Failed { error, during: During::Rows }) if self.may_be_a_row(&error, &columns(left[0])) => {
                    self.store_by_halves(client, &left, &left_shares).await?;
                }
                answer => answer?,
            }
        }
        Ok(verdicts)
    }

    /// Rows are refused, and not as rows: the first of them is named.
    fn hopeless(&self, group: &[&Arc<Batch>], hopeless: Hopeless) -> Store {
        let (Hopeless::TooMany(first, _) | Hopeless::Unclear(first)) = &hopeless;
        let batch = group[first.batch];
        let (partition, offset, range) = (batch.ownership.partition, batch.rows.offsets[first.row], batch.range);
        let record = format!("partition {partition} offset {offset}: {}", first.why);
        let (why, remedy) = match &hopeless {
            Hopeless::TooMany(_, count) => (
                format!("{count} of {} rows of {range} are refused, the first is {record}", batch.rows.len()),
                "let the table take such rows, or raise pipeline.refused_rows_share_max: each refused row then becomes a \
                 dead letter"
                    .to_owned(),
            ),
            Hopeless::Unclear(_) => (
                format!("no row of {range} is taken, the first is {record}"),
                format!(
                    "set right what the message names; if it is this record alone, leave it out: footprint dead-letters add \
                     --route {} --partition {partition} --offset {offset} --database postgres",
                    self.route.name
                ),
            ),
        };
        Store::Other(SinkError::Stop { why: format!("postgresql: {why}"), remedy })
    }

    /// Whether the refused rows are to be looked for.
    fn may_be_a_row(&self, error: &Error, columns: &[String]) -> bool {
        match class_of(error, During::Rows, columns) {
            Class::Row | Class::Unclear => true,
            Class::Place => false,
            Class::Passing => is_the_servers(error) && self.passing_tries >= PASSING_TRIES_MAX,
        }
    }

    /// What the writer is to do about a transaction that did not commit.
    async fn sink_error(&self, store: Store, columns: &[String]) -> SinkError {
        let retry = |why: String, uncertain| SinkError::Retry { why: format!("postgresql: {why}"), uncertain };
        let stop = |why: String, remedy| SinkError::Stop { why: format!("postgresql: {why}"), remedy };
        match store {
            Store::Other(error) => error,
            Store::Silent(silent) => retry(silent.to_string(), true),
            // A refused compare says only that some share did not match: which one, the row itself tells.
            Store::Fenced => retry("the compare-and-set found another value".into(), true),
            Store::Short { table, sent, copied } => stop(
                format!("{copied} of {sent} rows copied into {table}: {}", self.onlooker.droppers(&table).await),
                "a row that is dropped is neither stored nor a dead letter: let the table take every row".into(),
            ),
            Store::Failed { error, during } => match class_of(&error, during, columns) {
                Class::Passing => retry(describe(&error), true),
                _ if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    let tables: [(&str, &[&str]); 3] = [
                        (&self.route.postgres_table, &["insert"]),
                        ("dead_letters", &["insert"]),
                        ("footprint_ledger", &["select", "update"]),
                    ];
                    stop(message(&error), self.onlooker.missing_rights(&tables).await)
                }
                _ => stop(message(&error), remedy(&error)),
            },
        }
    }
}

/// The statement that takes a group's rows: all are of one definition.
fn rows_statement(group: &[&Arc<Batch>]) -> String {
    copy::rows_statement(group[0].definition.route())
}

/// The columns that footprint fills.
fn columns(batch: &Batch) -> Vec<String> {
    let named = batch.definition.route().columns.iter().map(|column| column.name.clone());
    named.chain(IDENTITY_COLUMNS.map(str::to_owned)).collect()
}

/// All that PostgreSQL is to get of a group: whole batches, but for records that are left out.
fn pieces(group: &[&Arc<Batch>]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (batch, of) in group.iter().enumerate() {
        if !of.ownership.plan.postgres_wants_rows(of.range) {
            continue;
        }
        let mut start = 0;
        for offset in of.ownership.left_out.of(SinkName::Postgres, of.range) {
            if let Ok(row) = of.rows.offsets.binary_search(&offset) {
                pieces.push(Piece { batch, rows: start..row });
                start = row + 1;
            }
        }
        pieces.push(Piece { batch, rows: start..of.rows.len() });
    }
    pieces.retain(|piece| !piece.rows.is_empty());
    pieces
}

/// Of the last message: the compare-and-set's own refusal, or that of a check which the table puts off to the end.
fn of_last(error: Error, shares: &[Share<'_>], rows: bool) -> Store {
    let mark = refusal_mark(shares);
    let is_compare = error.code() == Some(&SqlState::INVALID_TEXT_REPRESENTATION)
        && error.as_db_error().is_some_and(|db| db.message().contains(&mark));
    match rows {
        _ if is_compare => Store::Fenced,
        true => Store::rows(error),
        false => Store::statement(error),
    }
}

/// Whether the server itself refused something of the transaction: not the connection, and not its own end.
fn is_the_servers(error: &Error) -> bool {
    let code = error.code().map_or("", SqlState::code);
    code.starts_with("40") || code.starts_with("55") || code == SqlState::QUERY_CANCELED.code()
}

/// One line for each batch that has refused rows. The values of a row are in its dead letter, and in no log.
fn log_refused(group: &[&Arc<Batch>], refused: &[Refused]) {
    metrics::refused(SinkName::Postgres, refused.len());
    for of_batch in refused.chunk_by(|one, other| one.batch == other.batch) {
        let batch = group[of_batch[0].batch];
        warn!(
            partition = batch.ownership.partition,
            range = %batch.range,
            rows = of_batch.len(),
            first_offset = batch.rows.offsets[of_batch[0].row],
            "postgresql refused rows: they are dead letters for postgres, clickhouse keeps them: {}", of_batch[0].why
        );
    }
}

impl Sink for PostgresSink {
    fn name(&self) -> SinkName {
        SinkName::Postgres
    }

    fn joins(&self, group: &[Arc<Batch>], next: &Batch) -> bool {
        let rows: usize = group.iter().map(|batch| batch.rows.len()).sum();
        let share = share_of(next);
        let is_alike = |batch: &Arc<Batch>| batch.definition.fingerprint() == next.definition.fingerprint();
        rows + next.rows.len() <= self.group_rows_max
            && group.iter().all(is_alike)
            && group.iter().rfind(|batch| Arc::ptr_eq(&batch.ownership, &next.ownership)).is_none_or(|batch| {
                let before = share_of(batch);
                (before.rows, before.dead_letters) == (share.rows, share.dead_letters)
            })
    }

    async fn write(&mut self, group: &[Arc<Batch>], uncertain: bool) -> Result<Vec<Verdict>, SinkError> {
        let client = self.client().await?;
        let store = match self.write_on(&client, group, uncertain).await {
            Ok(verdicts) => {
                self.passing_tries = 0;
                self.client = Some(client);
                return Ok(verdicts);
            }
            Err(store) => store,
        };
        if matches!(&store, Store::Failed { error, during: During::Rows } if is_the_servers(error)) {
            self.passing_tries = self.passing_tries.saturating_add(1);
        }
        let is_fenced = matches!(store, Store::Fenced);
        let error = self.sink_error(store, &columns(&group[0])).await;
        if is_fenced {
            let _ = timeout(self.silence_max, client.batch_execute("rollback")).await;
            self.client = Some(client);
        }
        Err(error)
    }
}
