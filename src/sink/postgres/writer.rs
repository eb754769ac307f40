//! PostgreSQL's side of a batch: one transaction with the rows, the dead letters and, last and in one message with
//! `commit`, the fenced compare-and-set of the ledger. A stopped client therefore never sits on the ledger's row lock.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::SinkExt;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::copy;
use super::{connect, describe, is_passing_connect};
use crate::batch::Batch;
use crate::config::Postgres;
use crate::failpoint::{self, Point};
use crate::ledger::protocol::{Resolution, resolve};
use crate::ledger::{Ownership, SinkName};
use crate::limits::COPY_CHUNK_BYTES;
use crate::offset::{Offset, Range};
use crate::route::Route;
use crate::sink::{Sink, SinkError, Verdict};

/// One lane: one long-lived connection of its own.
pub struct PostgresSink {
    settings: Postgres,
    application_name: String,
    route: Arc<Route>,
    rows_statement: String,
    client: Option<Client>,
    group_rows_max: usize,
    timeout: Duration,
}

/// A partition's share of a transaction: consecutive batches that move the same frontiers.
struct Share<'a> {
    ownership: &'a Ownership,
    range: Range,
    rows: bool,
    dead_letters: bool,
}

impl Share<'_> {
    /// Whether nothing of it is left to do.
    fn is_done(&self) -> bool {
        !self.rows && !self.dead_letters
    }

    fn dead_letters_move(&self) -> (Offset, Offset) {
        let still = self.ownership.plan.nexts.dead_letters;
        if self.dead_letters { (self.range.start, self.range.end) } else { (still, still) }
    }

    fn postgres_move(&self) -> Option<(Offset, Offset)> {
        let still = self.ownership.plan.nexts.postgres?;
        Some(if self.rows { (self.range.start, self.range.end) } else { (still, still) })
    }
}

fn share_of(batch: &Batch) -> Share<'_> {
    let plan = &batch.ownership.plan;
    Share {
        ownership: &batch.ownership,
        range: batch.range,
        rows: plan.postgres_wants_rows(batch.range),
        dead_letters: plan.wants_dead_letters(batch.range),
    }
}

/// One share a partition, from a group whose batches of one partition are consecutive.
fn shares(group: &[Arc<Batch>]) -> Vec<Share<'_>> {
    let mut shares: Vec<Share<'_>> = Vec::new();
    for batch in group {
        let next = share_of(batch);
        match shares.iter_mut().find(|share| std::ptr::eq(share.ownership, next.ownership)) {
            Some(share) => {
                assert!(share.range.end == next.range.start, "batches of a partition are consecutive");
                share.range = Range::new(share.range.start, next.range.end);
            }
            None => shares.push(next),
        }
    }
    shares
}

impl PostgresSink {
    /// A lane that connects when the first batch comes.
    pub fn new(
        settings: &Postgres,
        application_name: &str,
        route: &Arc<Route>,
        group_rows_max: usize,
        timeout: Duration,
    ) -> Self {
        Self {
            settings: settings.clone(),
            application_name: application_name.to_owned(),
            route: Arc::clone(route),
            rows_statement: copy::rows_statement(route),
            client: None,
            group_rows_max,
            timeout,
        }
    }

    async fn client(&mut self) -> Result<Client, SinkError> {
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        failpoint::hit(Point::WriterConnect);
        let client = connect(&self.settings, &self.application_name).await.map_err(|error| {
            if is_passing_connect(&error) {
                SinkError::Retry { why: error.to_string(), uncertain: false }
            } else {
                SinkError::Stop { why: error.to_string(), remedy: "look at DB_USER, DB_PASSWORD and DB_NAME" }
            }
        })?;
        let session = format!(
            "set synchronous_commit = on; set lock_timeout = '5s'; set timezone = 'UTC'; set statement_timeout = {}; \
             set idle_in_transaction_session_timeout = '30s'",
            self.timeout.as_millis()
        );
        client.batch_execute(&session).await.map_err(|error| classify(&error))?;
        failpoint::hit(Point::WriterConnected);
        Ok(client)
    }

    /// What became of each partition's share after an answer was lost or refused.
    async fn resolve(&self, client: &Client, shares: &[Share<'_>]) -> Result<Vec<Resolution>, SinkError> {
        let sql = "select dead_letters_next, postgres_next from footprint_ledger \
                   where route = $1 and source = $2 and partition = $3 and epoch = $4 and owner = $5 for update";
        let mut resolutions = Vec::with_capacity(shares.len());
        failpoint::hit(Point::Resolve);
        for share in shares {
            let Ownership { source, partition, epoch, owner, .. } = share.ownership;
            let row = client
                .query_opt(sql, &[&self.route.name, &source.0, partition, epoch, owner])
                .await
                .map_err(|error| classify(&error))?;
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

    /// The transaction of a group, none of whose shares is done.
    async fn store(&self, client: &Client, group: &[&Arc<Batch>], shares: &[Share<'_>]) -> Result<(), Store> {
        failpoint::hit(Point::Begin);
        client.batch_execute("begin").await?;
        failpoint::hit(Point::EpochRead);
        let ours = client.query(&self.still_ours(shares), &[]).await?.len();
        failpoint::hit(Point::EpochReadAnswered);
        if ours != shares.len() {
            return Err(Store::Fenced);
        }
        let advance = self.advance(shares);
        if failpoint::compares_first() {
            client.batch_execute(&advance).await?;
        }
        if group.iter().any(|batch| !batch.rows.is_empty() && batch.ownership.plan.postgres_wants_rows(batch.range)) {
            failpoint::hit(Point::Copy);
            self.copy_rows(client, group).await?;
            failpoint::hit(Point::CopyAnswered);
        }
        if group
            .iter()
            .any(|batch| !batch.dead_letters.is_empty() && batch.ownership.plan.wants_dead_letters(batch.range))
        {
            failpoint::hit(Point::DeadLetters);
            self.copy_dead_letters(client, group).await?;
            failpoint::hit(Point::DeadLettersAnswered);
        }
        // in one message: a client that is stopped in COPY, or before this, does not sit on the row's lock
        let last = if failpoint::compares_first() { "commit".into() } else { format!("{advance}; commit") };
        failpoint::hit(Point::Commit);
        failpoint::sent(Point::CommitSent, client.batch_execute(&last)).await?;
        failpoint::hit(Point::CommitAnswered);
        Ok(())
    }

    async fn copy_rows(&self, client: &Client, group: &[&Arc<Batch>]) -> Result<(), Store> {
        let sink = client.copy_in(&self.rows_statement).await?;
        futures::pin_mut!(sink);
        let mut buffer = BytesMut::with_capacity(COPY_CHUNK_BYTES);
        copy::header(&mut buffer);
        for batch in group.iter().filter(|batch| batch.ownership.plan.postgres_wants_rows(batch.range)) {
            let Ownership { source, partition, .. } = *batch.ownership;
            let mut next = 0;
            while next < batch.rows.len() {
                next = copy::rows(&batch.rows, next, source, partition, &mut buffer, COPY_CHUNK_BYTES);
                if buffer.len() >= COPY_CHUNK_BYTES {
                    sink.send(buffer.split().freeze()).await?;
                }
            }
        }
        if failpoint::is_armed(Point::CopySent) {
            sink.send(buffer.split().freeze()).await?;
            failpoint::hit_soon(Point::CopySent).await;
        }
        copy::trailer(&mut buffer);
        sink.send(buffer.freeze()).await?;
        sink.close().await?;
        Ok(())
    }

    async fn copy_dead_letters(&self, client: &Client, group: &[&Arc<Batch>]) -> Result<(), Store> {
        let sink = client.copy_in(copy::dead_letters_statement()).await?;
        futures::pin_mut!(sink);
        let mut buffer = BytesMut::with_capacity(COPY_CHUNK_BYTES);
        copy::header(&mut buffer);
        for batch in group.iter().filter(|batch| batch.ownership.plan.wants_dead_letters(batch.range)) {
            let Ownership { source, partition, .. } = *batch.ownership;
            let letters = &batch.dead_letters;
            let mut next = 0;
            while next < letters.len() {
                next = copy::dead_letters(&self.route, letters, next, source, partition, &mut buffer, COPY_CHUNK_BYTES);
                if buffer.len() >= COPY_CHUNK_BYTES {
                    sink.send(buffer.split().freeze()).await?;
                }
            }
        }
        if failpoint::is_armed(Point::DeadLettersSent) {
            sink.send(buffer.split().freeze()).await?;
            failpoint::hit_soon(Point::DeadLettersSent).await;
        }
        copy::trailer(&mut buffer);
        sink.send(buffer.freeze()).await?;
        sink.close().await?;
        Ok(())
    }

    /// A plain read of the fences: a loser fails before it sends its rows. Takes no lock.
    fn still_ours(&self, shares: &[Share<'_>]) -> String {
        let mut sql = String::from("select 1 from footprint_ledger l join (values ");
        for (index, share) in shares.iter().enumerate() {
            let Ownership { source, partition, epoch, owner, .. } = share.ownership;
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(sql, "{comma}({source}::bigint, {partition}, {epoch}::bigint, '{owner}'::uuid)");
        }
        let _ = write!(
            sql,
            ") as g (source, partition, epoch, owner) using (source, partition, epoch, owner) where l.route = '{}'",
            self.route.name
        );
        sql
    }

    /// The compare-and-set of every share, an error unless all of them match.
    fn advance(&self, shares: &[Share<'_>]) -> String {
        let mut sql = String::from(
            "with given (source, partition, epoch, owner, dead_from, dead_to, rows_from, rows_to, range_end) as (values ",
        );
        for (index, share) in shares.iter().enumerate() {
            let Ownership { source, partition, epoch, owner, .. } = share.ownership;
            let (dead_from, dead_to) = share.dead_letters_move();
            let (rows_from, rows_to) = match share.postgres_move() {
                Some((from, to)) => (from.to_string(), to.to_string()),
                None => ("null".into(), "null".into()),
            };
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(
                sql,
                "{comma}({source}::bigint, {partition}, {epoch}::bigint, '{owner}'::uuid, {dead_from}::bigint, \
                 {dead_to}::bigint, {rows_from}::bigint, {rows_to}::bigint, {}::bigint)",
                share.range.end
            );
        }
        let _ = write!(
            sql,
            "), moved as (update footprint_ledger l set dead_letters_next = g.dead_to, postgres_next = g.rows_to, \
             updated_at = clock_timestamp() from given g \
             where l.route = '{}' and l.source = g.source and l.partition = g.partition and l.epoch = g.epoch \
             and l.owner = g.owner and l.dead_letters_next = g.dead_from and l.postgres_next is not distinct from g.rows_from \
             and g.range_end = any(l.claims) returning 1) \
             select 1 / (count(*) = {})::int from moved",
            self.route.name,
            shares.len()
        );
        sql
    }

    async fn write_on(
        &self,
        client: &Client,
        group: &[Arc<Batch>],
        uncertain: bool,
    ) -> Result<Result<Vec<Verdict>, Store>, SinkError> {
        let shares = shares(group);
        let mut resolutions: Vec<Resolution> = if uncertain {
            let _ = client.batch_execute("rollback").await;
            self.resolve(client, &shares).await?
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
            if let Err(error) = self.store(client, &left, &left_shares).await {
                return Ok(Err(error));
            }
        }
        Ok(Ok(verdicts))
    }
}

/// Why a transaction did not commit.
enum Store {
    Fenced,
    Failed(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Store {
    fn from(error: tokio_postgres::Error) -> Self {
        if error.code() == Some(&crate::ledger::postgres::FENCED) { Self::Fenced } else { Self::Failed(error) }
    }
}

impl Sink for PostgresSink {
    fn name(&self) -> SinkName {
        SinkName::Postgres
    }

    fn joins(&self, group: &[Arc<Batch>], next: &Batch) -> bool {
        let rows: usize = group.iter().map(|batch| batch.rows.len()).sum();
        let share = share_of(next);
        rows + next.rows.len() <= self.group_rows_max
            && group.iter().rfind(|batch| Arc::ptr_eq(&batch.ownership, &next.ownership)).is_none_or(|batch| {
                let before = share_of(batch);
                (before.rows, before.dead_letters) == (share.rows, share.dead_letters)
            })
    }

    async fn write(&mut self, group: &[Arc<Batch>], uncertain: bool) -> Result<Vec<Verdict>, SinkError> {
        let client = self.client().await?;
        let budget = self.timeout;
        let answer = timeout(budget, self.write_on(&client, group, uncertain)).await;
        match answer {
            Err(_) => Err(SinkError::Retry { why: format!("postgresql: no answer in {budget:?}"), uncertain: true }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Ok(verdicts))) => {
                self.client = Some(client);
                Ok(verdicts)
            }
            // A refused compare says only that some share did not match: which one, the row itself tells.
            Ok(Ok(Err(Store::Fenced))) => {
                let _ = timeout(budget, client.batch_execute("rollback")).await;
                self.client = Some(client);
                Err(SinkError::Retry {
                    why: "postgresql: the compare-and-set found another value".into(),
                    uncertain: true,
                })
            }
            Ok(Ok(Err(Store::Failed(error)))) => Err(classify(&error)),
        }
    }
}

/// What to do about PostgreSQL's refusal.
fn classify(error: &tokio_postgres::Error) -> SinkError {
    let why = format!("postgresql: {}", describe(error));
    let Some(code) = error.code() else {
        return SinkError::Retry { why, uncertain: true };
    };
    let stop = |remedy| SinkError::Stop { why: why.clone(), remedy };
    match code.code() {
        "42P01" | "42703" | "42804" | "22P03" | "3F000" | "42883" => {
            stop("run `footprint migrate`, then `footprint check`: the table is missing or of another shape")
        }
        "42501" => stop(
            "grant the user insert on the route's table and dead_letters, and select, insert, update on footprint_ledger",
        ),
        "28P01" | "28000" => stop("look at DB_USER and DB_PASSWORD"),
        "3D000" => stop("create the database, or look at DB_NAME"),
        "23502" | "23514" | "23503" | "23505" | "22001" | "22021" | "22008" => {
            stop("the table refuses a row that footprint made; take constraints off it that events cannot meet")
        }
        _ => SinkError::Retry { why, uncertain: true },
    }
}
