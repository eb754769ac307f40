//! PostgreSQL's side of a batch: one transaction with the rows, the dead letters and, last and in one message with
//! `commit`, the fenced compare-and-set of the ledger. A stopped client therefore never sits on the ledger's row lock.
//!
//! Where PostgreSQL refuses a row, the transaction is written once more by halves, each under a savepoint: what is refused
//! then becomes a dead letter for PostgreSQL in the same transaction, and all else is stored. A batch that is taken at once
//! costs nothing of that.

mod halves;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use footprint_event::route::{IDENTITY_COLUMNS, Route};
use footprint_protocol::ledger::SinkName;
use footprint_protocol::write::Resolution;
use footprint_service::config::{Kafka, Postgres};
use footprint_service::failpoint::{self, Point};
use footprint_service::postgres::asked::DEAD_LETTERS;
use footprint_service::postgres::error::{Class, During, class_of, describe, message, remedy};
use footprint_service::postgres::{ConnectError, backend, connect_writer, is_passing_connect};
use footprint_service::traffic::{Traffic, unless_silent};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use self::transaction::Store;
use super::onlooker::Onlooker;
use super::shares::{Share, share_of, shares};
use crate::batch::Batch;
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
                        (DEAD_LETTERS, &["insert"]),
                        ("footprint_ledger", &["select", "update"]),
                    ];
                    stop(message(&error), self.onlooker.missing_rights(&tables).await)
                }
                _ => stop(message(&error), remedy(&error)),
            },
        }
    }
}

/// The columns that footprint fills.
fn columns(batch: &Batch) -> Vec<String> {
    let named = batch.definition.route().columns.iter().map(|column| column.name.clone());
    named.chain(IDENTITY_COLUMNS.map(str::to_owned)).collect()
}

/// Whether the server itself refused something of the transaction: not the connection, and not its own end.
fn is_the_servers(error: &Error) -> bool {
    let code = error.code().map_or("", SqlState::code);
    code.starts_with("40") || code.starts_with("55") || code == SqlState::QUERY_CANCELED.code()
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
