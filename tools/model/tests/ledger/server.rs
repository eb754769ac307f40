//! PostgreSQL's side: the program's own ledger and sink, and a plain connection that reads the tables.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint::batch::budget::Permit;
use footprint::batch::under_way::UnderWay;
use footprint::batch::{Batch, CutReason};
use footprint::ledger::identity::owner_of;
use footprint::ledger::ownership::{LeftOut, Ownership};
use footprint::ledger::proof::{Proof, Proofs};
use footprint::ledger::statements::Ledger;
use footprint::store::postgres::migrate::Migrator;
use footprint::store::postgres::writer::{PostgresSink, Refusals};
use footprint_event::definition::Definition;
use footprint_event::reject::{DeadLetter, Reason};
use footprint_event::route::{Column, Kind, Presence, Route};
use footprint_event::rows::{ColumnData, Rows, Values};
use footprint_model::ledger::LedgerRow;
use footprint_protocol::ledger::{Claim, Frontiers, LedgerId, Row, SourceId};
use footprint_protocol::offset::{Offset, Partition, Range};
use footprint_protocol::take_over::Plan;
use footprint_service::config::{Config, Postgres};
use footprint_service::postgres::session::Purpose;
use footprint_stack::{APPLICATION_DATABASE, APPLICATION_USER, Stack};
use tokio_postgres::{Client, Statement};
use tokio_util::sync::CancellationToken;

use crate::operation::{PARTITIONS, Share};

/// How long a write may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The server's address, and the route whose tables are created.
#[derive(Clone)]
pub struct Settings {
    postgres: Postgres,
    route: Arc<Route>,
}

/// Creates the tables as `migrate` does.
pub async fn prepare(stack: &Stack) -> Settings {
    let server = stack.postgres().unwrap();
    let Config { mut postgres, mut routes, .. } = Config::load(None, &[]).unwrap();
    server.host().clone_into(&mut postgres.host);
    postgres.port = server.port();
    APPLICATION_DATABASE.clone_into(&mut postgres.database);
    APPLICATION_USER.clone_into(&mut postgres.user);
    postgres.password = stack.user_password().to_owned().into();
    let mut route = routes.remove(0);
    let (name, field) = ("number".to_owned(), String::new());
    route.columns =
        vec![Column { name, field, kind: Kind::Integer, presence: Presence::Required, low_cardinality: false }];
    let route = route.validated().unwrap();
    // nothing crashes here: no need to wait for the disk
    server.execute("postgres", "alter system set fsync = off").unwrap();
    server.execute("postgres", "select pg_reload_conf()").unwrap();
    let mut migrator = Migrator::connect(&postgres).await.unwrap();
    migrator.ledger().await.unwrap();
    migrator.route_table(&route).await.unwrap();
    migrator.register(&route, &route.clickhouse_table).await.unwrap();
    Settings { postgres, route: Arc::new(route) }
}

/// The program's connections, and a plain one that only reads.
pub struct Server {
    /// The ledger's statements.
    pub ledger: Ledger,
    /// The writes.
    pub sink: PostgresSink,
    /// Reads the tables.
    pub plain: Client,
    rows_statement: Statement,
    route: Arc<Route>,
    proofs: Arc<Proofs>,
}

impl Server {
    /// Connects.
    pub async fn connect(settings: &Settings) -> Self {
        let Settings { postgres, route } = settings;
        let name = "footprint-test";
        // this test has no broker, so no row may be refused
        let refusals = Refusals {
            kafka: Config::load(None, &[]).unwrap().kafka,
            share_max: 0.0,
            meters: footprint_service::metrics::Meters::new("visits"),
        };
        let plain = footprint_service::postgres::connect(postgres, name, Purpose::Check).await.unwrap();
        let rows_statement = plain.prepare(ROWS).await.unwrap();
        Self {
            ledger: Ledger::connect(postgres, &route.name, name).await.unwrap(),
            sink: PostgresSink::new(postgres, name, route, 1_000, TIMEOUT, refusals),
            plain,
            rows_statement,
            route: Arc::clone(route),
            proofs: Arc::new(Proofs::default()),
        }
    }

    /// The source's present rows.
    pub async fn rows(&self, source: SourceId) -> [Option<LedgerRow>; PARTITIONS] {
        let mut rows = [const { None }; PARTITIONS];
        for found in self.plain.query(&self.rows_statement, &[&self.route.name, &source.0]).await.unwrap() {
            let (ends, fingerprints): (Vec<Offset>, Vec<i64>) = (found.get(8), found.get(9));
            assert_eq!(ends.len(), fingerprints.len());
            let claims = ends.into_iter().zip(fingerprints).map(|(end, fingerprint)| Claim { end, fingerprint });
            let (identity, partition): (String, Partition) = (found.get(13), found.get(14));
            let row = Row {
                epoch: found.get(0),
                owner: owner_of(found.get(1)),
                claimed: found.get(2),
                frontiers: Frontiers { dead_letters: found.get(3), postgres: found.get(4), clickhouse: found.get(5) },
                postgres_stopped: found.get(6),
                clickhouse_stopped: found.get(7),
                claims: claims.collect(),
                doubtful_below: found.get(10),
                birth: found.get(11),
                first_offset: found.get(15),
                format: found.get(12),
            };
            let another = [ANOTHER, "lost"].contains(&identity.as_str());
            let fresh = !identity.is_empty() && !another;
            rows[usize::try_from(partition).unwrap()] = Some(LedgerRow { row, fresh, another });
        }
        rows
    }

    /// Makes the row look as if it had been settled under another PostgreSQL.
    pub async fn forget(&self, source: SourceId, partition: Partition) {
        let sql =
            "update footprint_ledger set postgres_identity = $4 where route = $1 and source = $2 and partition = $3";
        self.plain.execute(sql, &[&self.route.name, &source.0, &partition, &ANOTHER]).await.unwrap();
    }

    /// The places of a table's rows, in order.
    pub async fn places(&self, table: Table, source: SourceId) -> Vec<(Partition, Offset)> {
        let table = match table {
            Table::Rows => &self.route.postgres_table,
            Table::DeadLetters => "dead_letters",
        };
        let sql = format!("select kafka_partition, kafka_offset from {table} where kafka_source = $1 order by 1, 2");
        let rows = self.plain.query(&sql, &[&source.0]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// The recorded gaps of a source, in no order: partition, sink, start, end.
    pub async fn gaps(&self, source: SourceId) -> Vec<(Partition, String, Offset, Offset)> {
        let sql =
            "select partition, sink, start_offset, end_offset from footprint_gap where route = $1 and source = $2";
        let rows = self.plain.query(sql, &[&self.route.name, &source.0]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
    }

    /// The batches of a share: rows at even offsets, dead letters at odd ones.
    pub fn batches(&self, source: SourceId, partition: Partition, share: &Share) -> Vec<Arc<Batch>> {
        let Share { fence, frontiers, range, split } = *share;
        let ownership = Arc::new(Ownership {
            ledger: LedgerId(1),
            left_out: LeftOut::default(),
            source,
            partition,
            epoch: fence.epoch,
            owner: fence.owner,
            plan: plan(frontiers),
            proof: Proof::new(Arc::clone(&self.proofs), self.proofs.before_sending()),
            earlier: Vec::new(),
            skips: Vec::new(),
            ended: CancellationToken::new(),
        });
        let ranges = match split {
            Some(middle) => vec![Range::new(range.start, middle), Range::new(middle, range.end)],
            None => vec![range],
        };
        let definition = Arc::new(Definition::of(&self.route).unwrap());
        ranges.into_iter().map(|range| Arc::new(batch(&definition, &ownership, range))).collect()
    }
}

const ANOTHER: &str = "another";

const ROWS: &str = "select epoch, owner, claimed, dead_letters_next, postgres_next, clickhouse_next, postgres_stopped, \
                    clickhouse_stopped, claims, fingerprints, doubtful_below, birth, format, postgres_identity, partition, \
                    first_offset \
                    from footprint_ledger where route = $1 and source = $2";

/// The tables that the sink writes.
#[derive(Clone, Copy, Debug)]
pub enum Table {
    Rows,
    DeadLetters,
}

/// A plan with the parts that the PostgreSQL sink uses.
pub fn plan(frontiers: Frontiers) -> Plan {
    Plan {
        start: frontiers.lowest(),
        read_from: frontiers.lowest(),
        claimed: frontiers.highest(),
        cuts: Vec::new(),
        claims: Vec::new(),
        frontiers,
        uncertain_through: None,
        doubtful_below: None,
        birth: 1,
    }
}

fn batch(definition: &Arc<Definition>, ownership: &Arc<Ownership>, range: Range) -> Batch {
    let of = |remainder: i64| (range.start..range.end).filter(move |offset| offset % 2 == remainder);
    let offsets: Vec<Offset> = of(0).collect();
    Batch {
        reason: CutReason::Linger,
        ownership: Arc::clone(ownership),
        range,
        definition: Arc::clone(definition),
        rows: Rows {
            received_at_us: vec![0; offsets.len()],
            columns: vec![ColumnData { values: Values::Integer(offsets.clone()), validity: None }],
            offsets,
        }
        .into(),
        dead_letters: of(1).map(letter).collect(),
        first_read_at: Instant::now(),
        read_at: Instant::now(),
        brokers: footprint_service::kafka::brokers::Brokers::default(),
        permit: Permit::default(),
        under_way: UnderWay::default().start(0),
    }
}

fn letter(offset: Offset) -> DeadLetter {
    DeadLetter { offset, received_at_us: 0, key: None, payload: None, headers: Vec::new(), reason: Reason::NullPayload }
}
