//! The PostgreSQL sink. One transaction holds the rows, the dead letters and, at its end, the fenced compare-and-set of the ledger.
//! The compare-and-set is in one message with `commit`, so a client that is suspended never keeps a row of the ledger locked.
//!
//! If PostgreSQL refuses a row, the transaction is written again by halves, each under a savepoint. The refused rows become dead
//! letters for PostgreSQL in the same transaction, and all other rows are stored. A batch without a refused row costs nothing more.

mod refused_rows;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use footprint_event::route::{IDENTITY_COLUMNS, Route};
use footprint_protocol::ledger::SinkName;
use footprint_protocol::write::Resolution;
use footprint_service::config::{Kafka, Postgres};
use footprint_service::failpoint::{self, Point};
use footprint_service::metrics::Meters;
use footprint_service::postgres::asked::DEAD_LETTERS;
use footprint_service::postgres::error::{Class, During, class_of, remedy};
use footprint_service::postgres::{ConnectError, PostgresError, backend, connect_writer, is_passing_connect};
use footprint_service::report::Remedy;
use footprint_service::traffic::{Traffic, unless_silent};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use self::transaction::NotCommitted;
use super::observer::Observer;
use super::shares::{Share, share_of, shares};
use crate::batch::Batch;
use crate::store::sink::{Sink, SinkError, Verdict};
use crate::store::write_failure::WriteFailure;

/// How many times in a row PostgreSQL may refuse the rows with a passing code (a lock, a deadlock, a time-out). After that, the sink looks
/// for a refused row, because a trigger may raise any code for one row, every time.
const PASSING_TRIES_MAX: u32 = 10;

/// What the sink needs to deal with rows that PostgreSQL refuses.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// The connection to Kafka, from which a refused record is read again.
    pub kafka: Kafka,
    /// The share of a batch's rows that may be refused: [`footprint_service::config::Pipeline::refused_rows_share_max`].
    pub share_max: f64,
    /// The counters of the route.
    pub meters: Meters,
}

/// The sink of one lane, with a connection of its own.
pub struct PostgresSink {
    settings: Postgres,
    application_name: String,
    observer: Observer,
    route: Arc<Route>,
    client: Option<Client>,
    group_rows_max: usize,
    /// How long PostgreSQL may give no sign of life.
    silence_max: Duration,
    traffic: Traffic,
    /// The process number of the server process that serves the connection.
    backend: i32,
    refusals: Refusals,
    /// Tries in a row in which PostgreSQL refused the rows with a passing code.
    passing_tries: u32,
}

impl PostgresSink {
    /// A sink that connects when the first batch comes.
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
            observer: Observer::new(settings, application_name, silence_max),
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
            let class = if is_passing_connect(&error) { SinkError::Retry } else { SinkError::Stop };
            class(error.into())
        })?;
        self.backend = backend;
        failpoint::hit(Point::WriterConnected);
        Ok(client)
    }

    /// Waits for one step of a transaction, as long as PostgreSQL gives signs of life.
    async fn within<T>(&self, step: impl Future<Output = Result<T, NotCommitted>>) -> Result<T, NotCommitted> {
        let answer =
            unless_silent(&self.traffic, self.silence_max, || self.observer.standing(self.backend), step).await;
        answer.unwrap_or_else(|silent| Err(NotCommitted::Silent(silent)))
    }

    async fn write_on(
        &self,
        client: &Client,
        group: &[Arc<Batch>],
        uncertain: bool,
    ) -> Result<Vec<Verdict>, NotCommitted> {
        let shares = shares(group);
        let mut resolutions: Vec<Resolution> = if uncertain {
            let resolving = async {
                let _ = client.batch_execute("rollback").await;
                self.resolve(client, &shares).await.map_err(NotCommitted::statement)
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
                Err(NotCommitted::Failed { error, during: During::Rows })
                    if self.may_be_a_row(&error, &columns(left[0])) =>
                {
                    self.store_by_halves(client, &left, &left_shares).await?;
                }
                answer => answer?,
            }
        }
        Ok(verdicts)
    }

    /// Whether one row may be the reason. Then the sink must look for refused rows.
    fn may_be_a_row(&self, error: &Error, columns: &[String]) -> bool {
        match class_of(error, During::Rows, columns) {
            Class::Row | Class::Unclear => true,
            Class::Place => false,
            Class::Passing => is_the_servers(error) && self.passing_tries >= PASSING_TRIES_MAX,
        }
    }

    /// What the writer must do about a transaction that was not committed.
    async fn sink_error(&self, error: NotCommitted, columns: &[String]) -> SinkError {
        let stop = |error, what_to_do: String| {
            let source = Remedy::new(what_to_do, PostgresError::without_values(error));
            SinkError::Stop(WriteFailure::Postgres(source.into()))
        };
        match error {
            NotCommitted::Other(error) => *error,
            NotCommitted::Silent(source) => SinkError::Uncertain(WriteFailure::Silent { server: "postgresql", source }),
            // the error says only that some share did not match; the next try reads the ledger's rows to find out which
            NotCommitted::Fenced => SinkError::Uncertain(WriteFailure::Fenced),
            NotCommitted::Short { table, sent, copied } => {
                let dropper = self.observer.droppers(&table).await;
                let what_to_do =
                    "a row that is dropped is neither stored nor a dead letter: let the table take every row";
                SinkError::Stop(WriteFailure::Dropped {
                    table,
                    sent,
                    copied,
                    dropper,
                    source: Remedy::only(what_to_do),
                })
            }
            NotCommitted::Failed { error, during } => match class_of(&error, during, columns) {
                Class::Passing => {
                    SinkError::Uncertain(WriteFailure::Postgres(PostgresError::without_values(error).into()))
                }
                _ if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    let tables: [(&str, &[&str]); 3] = [
                        (&self.route.postgres_table, &["insert"]),
                        (DEAD_LETTERS, &["insert"]),
                        ("footprint_ledger", &["select", "update"]),
                    ];
                    let missing = self.observer.missing_rights(&tables).await;
                    stop(error, missing)
                }
                _ => {
                    let what_to_do = remedy(&error);
                    stop(error, what_to_do)
                }
            },
        }
    }
}

/// The columns that footprint fills.
fn columns(batch: &Batch) -> Vec<String> {
    let named = batch.definition.route().columns.iter().map(|column| column.name.clone());
    named.chain(IDENTITY_COLUMNS.map(str::to_owned)).collect()
}

/// Whether the server refused the transaction. Otherwise the connection broke, or the server shuts down.
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
        let failed = match self.write_on(&client, group, uncertain).await {
            Ok(verdicts) => {
                self.passing_tries = 0;
                self.client = Some(client);
                return Ok(verdicts);
            }
            Err(error) => error,
        };
        if matches!(&failed, NotCommitted::Failed { error, during: During::Rows } if is_the_servers(error)) {
            self.passing_tries = self.passing_tries.saturating_add(1);
        }
        let is_fenced = matches!(failed, NotCommitted::Fenced);
        let error = self.sink_error(failed, &columns(&group[0])).await;
        if is_fenced {
            let _ = timeout(self.silence_max, client.batch_execute("rollback")).await;
            self.client = Some(client);
        }
        Err(error)
    }
}
