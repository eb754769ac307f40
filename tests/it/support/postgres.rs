//! A superuser's view of one test's PostgreSQL database, on one connection that is opened again if it breaks.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, NoTls, Row};

use super::stack;

/// Reads the ledger and the tables.
pub struct Eye {
    runtime: Runtime,
    database: String,
    client: Option<Client>,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    pub source: i64,
    pub partition: i32,
    pub epoch: i64,
    pub owner: uuid::Uuid,
    pub claimed: i64,
    pub dead_letters_next: i64,
    pub postgres_next: Option<i64>,
    pub clickhouse_next: Option<i64>,
    pub claims: Vec<i64>,
}

impl LedgerRow {
    /// The offset below which every sink that is on has stored all records, as far as the ledger knows.
    pub fn lowest(&self) -> i64 {
        let sinks = [Some(self.dead_letters_next), self.postgres_next, self.clickhouse_next];
        sinks.into_iter().flatten().min().unwrap_or(0)
    }

    /// Ranges that are claimed and not stored in every sink.
    pub fn pending(&self) -> usize {
        self.claims.iter().filter(|&&end| end > self.lowest()).count()
    }
}

impl Eye {
    pub fn new(database: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, database: database.to_owned(), client: None }
    }

    /// All rows of one statement. After an error of the connection, opens a new one and tries again.
    pub fn query(&mut self, sql: &str) -> Vec<Row> {
        for _ in 0..600 {
            match self.try_query(sql) {
                Ok(rows) => return rows,
                Err(error)
                    if error.is_closed() || error.code().is_none() || error.code().unwrap().code() == "57P03" =>
                {
                    self.client = None;
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) => match error.code().map(|code| code.code()) {
                    Some(code) if code.starts_with("57P") => self.client = None,
                    _ => panic!("{sql}: {error:?}"),
                },
            }
        }
        panic!("postgresql does not answer: {sql}");
    }

    /// The rows of a table.
    pub fn count(&mut self, table: &str) -> i64 {
        self.query(&format!("select count(*) from {table}"))[0].get(0)
    }

    fn try_query(&mut self, sql: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let postgres = stack().postgres().unwrap();
            let mut config = Config::new();
            config
                .host(postgres.host())
                .port(postgres.port())
                .user(postgres.superuser())
                .password(postgres.superuser_password())
                .dbname(&self.database)
                .connect_timeout(Duration::from_secs(10));
            let (client, connection) = self.runtime.block_on(config.connect(NoTls))?;
            self.runtime.spawn(connection);
            self.client = Some(client);
        }
        let client = self.client.as_ref().expect("connected above");
        self.runtime.block_on(client.query(sql, &[]))
    }

    /// The ledger, all sources, in order.
    pub fn ledger(&mut self) -> Vec<LedgerRow> {
        self.query(
            "select source, partition, epoch, owner, claimed, dead_letters_next, postgres_next, clickhouse_next, claims
             from footprint_ledger order by source, partition",
        )
        .iter()
        .map(|row| LedgerRow {
            source: row.get(0),
            partition: row.get(1),
            epoch: row.get(2),
            owner: row.get(3),
            claimed: row.get(4),
            dead_letters_next: row.get(5),
            postgres_next: row.get(6),
            clickhouse_next: row.get(7),
            claims: row.get(8),
        })
        .collect()
    }
}
