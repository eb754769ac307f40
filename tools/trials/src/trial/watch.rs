//! Questions to both databases about what they hold. PostgreSQL is asked often, so its connection stays open.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use footprint_stack::{APPLICATION_USER, Stack};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::fixture::Fixture;

/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_secs(120);

/// One partition's row of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// Kafka's partition.
    pub partition: i32,
    /// Grows with every take-over.
    pub epoch: i64,
    /// Offset below which PostgreSQL holds everything.
    pub postgres_next: i64,
    /// Offset below which ClickHouse is recorded to hold everything; it may hold more.
    pub clickhouse_next: i64,
    /// Claims that not every database has acknowledged.
    pub claim_count: i32,
}

/// The numbers of rows that are really stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCounts {
    /// In PostgreSQL's table.
    pub postgres: u64,
    /// In ClickHouse's table.
    pub clickhouse: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Asks the databases of one fixture.
pub struct Watch<'a> {
    stack: &'a Stack,
    database: String,
    runtime: Runtime,
    client: Client,
}

impl<'a> Watch<'a> {
    /// Connects to PostgreSQL.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn connect(fixture: &Fixture<'a>) -> Result<Self> {
        let (stack, database) = (fixture.stack, fixture.database.clone());
        let postgres = stack.postgres()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut config = tokio_postgres::Config::new();
        config.host(postgres.host()).port(postgres.port()).dbname(&database);
        config.user(postgres.superuser()).password(postgres.superuser_password());
        let connected = runtime.block_on(async { tokio::time::timeout(ASK_LIMIT, config.connect(NoTls)).await });
        let (client, connection) =
            connected.context("PostgreSQL is silent")?.context("cannot connect to PostgreSQL")?;
        // The task ends with the client. Its error is also the client's error.
        runtime.spawn(connection);
        Ok(Self { stack, database, runtime, client })
    }

    /// The database's name in both servers.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The ledger, a row for each partition taken over so far.
    ///
    /// # Errors
    /// PostgreSQL does not answer, or `migrate` has not been run.
    pub fn ledger(&self) -> Result<Vec<LedgerRow>> {
        // Not prepared: the tables may be dropped and made again between two questions.
        let asked = self.client.query_typed(
            "select partition, epoch, coalesce(postgres_next, 0), coalesce(clickhouse_next, 0), cardinality(claims) \
             from footprint_ledger order by partition",
            &[],
        );
        let rows = self.runtime.block_on(async { tokio::time::timeout(ASK_LIMIT, asked).await });
        let rows = rows.context("PostgreSQL is silent")?.context("cannot read the ledger")?;
        let row = |row: &tokio_postgres::Row| -> Result<LedgerRow, tokio_postgres::Error> {
            Ok(LedgerRow {
                partition: row.try_get(0)?,
                epoch: row.try_get(1)?,
                postgres_next: row.try_get(2)?,
                clickhouse_next: row.try_get(3)?,
                claim_count: row.try_get(4)?,
            })
        };
        rows.iter().map(row).collect::<Result<_, _>>().context("the ledger has another layout than this program knows")
    }

    /// The rows that a query returns in PostgreSQL, as text, over the connection that stays open. A null is an empty text.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub fn ask(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let asked = self.client.simple_query(sql);
        let messages = self.runtime.block_on(async { tokio::time::timeout(ASK_LIMIT, asked).await });
        let messages = messages.context("PostgreSQL is silent")?.with_context(|| format!("cannot ask {sql:?}"))?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|index| row.get(index).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// Counts the rows in both tables, and the dead letters.
    ///
    /// # Errors
    /// A database does not answer.
    pub fn stored(&self) -> Result<StoredCounts> {
        let postgres = self.postgres("select count(*) from user_footprint")?;
        let dead_letters = self.postgres("select count(*) from dead_letters")?;
        let clickhouse = self.clickhouse(&format!("select count() from {}.user_footprint", self.database))?;
        Ok(StoredCounts {
            postgres: number(&postgres)?,
            clickhouse: number(&clickhouse)?,
            dead_letters: number(&dead_letters)?,
        })
    }

    /// The rows that a query returns in PostgreSQL, as text. A null is an empty text.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub fn postgres(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let rows = self.stack.postgres()?.query(&self.database, sql)?;
        Ok(rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect())
    }

    /// The rows that a query returns in ClickHouse, as text.
    ///
    /// # Errors
    /// ClickHouse refuses.
    pub fn clickhouse(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let answer = self.stack.clickhouse()?.query(sql)?;
        Ok(answer.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// Empties both databases, as if nothing had ever been there.
    ///
    /// # Errors
    /// A database refuses.
    pub fn reset(&self) -> Result<()> {
        self.postgres(&format!("drop owned by {APPLICATION_USER} cascade"))?;
        self.stack.postgres()?.give_database(&self.database, APPLICATION_USER)?;
        let tables = format!("select name from system.tables where database = '{}'", self.database);
        for table in self.clickhouse(&tables)?.concat() {
            self.clickhouse(&format!("drop table {}.`{table}` sync", self.database))?;
        }
        Ok(())
    }
}

/// The one number that a query returned.
fn number(rows: &[Vec<String>]) -> Result<u64> {
    let cells = rows.concat();
    ensure!(cells.len() == 1, "expected one number, found {cells:?}");
    cells[0].parse().with_context(|| format!("{:?} is no number", cells[0]))
}
