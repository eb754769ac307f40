//! Every statement for several rows of the ledger locks them in the order of their key, so no two of our statements deadlock. If
//! a deadlock with another program's transaction makes one the victim, it has written nothing, and every ownership stays.
//!
//! The story: a claim, a heartbeat and the compare-and-sets of the sinks locked rows in the order of the plan. The error of a
//! deadlock's victim ended every ownership.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint::batch::budget::Permit;
use footprint::batch::under_way::UnderWay;
use footprint::batch::{Batch, CutReason};
use footprint::ledger::identity::new_owner;
use footprint::ledger::ownership::{LeftOut, Ownership};
use footprint::ledger::proof::{Proof, Proofs};
use footprint::ledger::statements::holder::Holder;
use footprint::ledger::statements::{ClaimWanted, Fence, Ledger};
use footprint::store::postgres::writer::{PostgresSink, Refusals};
use footprint::store::sink::{Sink as _, Verdict};
use footprint_event::definition::Definition;
use footprint_event::route::Route;
use footprint_event::rows::Rows;
use footprint_protocol::first_start::FirstStart;
use footprint_protocol::ledger::{Frontiers, LedgerId, SourceId};
use footprint_protocol::offset::{Partition, Range};
use footprint_protocol::take_over::Plan;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::support::calm;
use crate::support::databases::{DEADLINE, Databases, fresh_database, runtime};
use crate::support::prove::prove;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};

const SOURCE: SourceId = SourceId(7);
const NAME: &str = "footprint-test-locks";

/// Two partitions that this test owns, and a session that locks the row of the first.
struct Crossing {
    ledger: Arc<Ledger>,
    fences: [Fence; 2],
    other: Client,
    onlooker: Client,
}

async fn owned(ledger: &Ledger, partition: Partition) -> Fence {
    let start = FirstStart { offset: 0, ledger_lost: false, why: "a test" };
    let owner = new_owner(1);
    let taken =
        ledger.take_over(SOURCE, partition, owner, &start, false, &Holder::this_process("locks")).await.unwrap();
    Fence { source: SOURCE, partition, epoch: taken.row.epoch, owner }
}

impl Crossing {
    async fn new(databases: &Databases) -> Self {
        let route = &databases.config.routes[0];
        let ledger = Ledger::connect(&databases.config.postgres, &route.name, NAME).await.unwrap();
        ledger.register_source(SOURCE, "cluster", "topic", "id").await.unwrap();
        let fences = [owned(&ledger, 0).await, owned(&ledger, 1).await];
        let claims = fences.map(|fence| wanted(fence, Range::new(0, 2)));
        assert_eq!(ledger.claim(&claims).await.unwrap().len(), 2);
        let (other, onlooker) = (databases.postgres().await, databases.postgres().await);
        Self { ledger: Arc::new(ledger), fences, other, onlooker }
    }

    /// Starts `work` while the first row is locked. When `work` waits, locks the second row, which `work` must not hold.
    async fn cross<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let lock = |partition: Partition| {
            let sql = format!("select 1 from footprint_ledger where partition = {partition} for update");
            async move { self.other.batch_execute(&sql).await }
        };
        // the second row comes first in the table and in the parameters, so a plan that follows either locks it first; the
        // planner reads such a small table, once analyzed, in its own order
        for partition in [1, 0] {
            let touch = format!("update footprint_ledger set updated_at = now() where partition = {partition}");
            self.other.batch_execute(&touch).await.unwrap();
        }
        self.other.batch_execute("analyze footprint_ledger").await.unwrap();
        self.other.batch_execute("begin").await.unwrap();
        lock(0).await.unwrap();
        let work = tokio::spawn(work);
        let waiting = "select count(*) from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock'";
        let until = Instant::now() + DEADLINE;
        while self.onlooker.query_one(waiting, &[&NAME]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(Instant::now() < until && !work.is_finished(), "it waits for the first row");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lock(1).await.expect("nobody has locked the second row");
        self.other.batch_execute("commit").await.unwrap();
        work.await.unwrap()
    }
}

fn wanted(fence: Fence, range: Range) -> ClaimWanted {
    ClaimWanted { fence, range, fingerprint: 1, clickhouse_next: None }
}

/// A batch without a record: its part of a transaction only moves the frontiers.
fn batch(route: &Arc<Route>, fence: Fence) -> Arc<Batch> {
    let proofs = Arc::new(Proofs::default());
    let proof = Proof::new(Arc::clone(&proofs), proofs.before_sending());
    let ownership = Ownership {
        ledger: LedgerId(1),
        source: fence.source,
        partition: fence.partition,
        epoch: fence.epoch,
        owner: fence.owner,
        plan: Plan {
            start: 0,
            read_from: 0,
            claimed: 0,
            cuts: Vec::new(),
            claims: Vec::new(),
            frontiers: Frontiers { dead_letters: 0, postgres: Some(0), clickhouse: Some(0) },
            uncertain_through: None,
            doubtful_below: None,
            birth: 1,
        },
        earlier: Vec::new(),
        skips: Vec::new(),
        left_out: LeftOut::default(),
        proof,
        ended: CancellationToken::new(),
    };
    Arc::new(Batch {
        ownership: Arc::new(ownership),
        range: Range::new(0, 2),
        reason: CutReason::Linger,
        definition: Arc::new(Definition::of(route).unwrap()),
        rows: Rows::empty(route).into(),
        dead_letters: Vec::new(),
        first_read_at: Instant::now(),
        read_at: Instant::now(),
        brokers: footprint_service::kafka::brokers::Brokers::default(),
        permit: Permit::default(),
        under_way: UnderWay::default().start(0),
    })
}

#[test]
fn statements_lock_the_ledgers_rows_in_one_order() {
    let _calm = calm();
    let databases = fresh_database("locks");
    runtime().block_on(async {
        databases.migrate().await;
        let crossing = Crossing::new(&databases).await;
        let [first, second] = crossing.fences;

        let ledger = Arc::clone(&crossing.ledger);
        let beats = crossing.cross(async move { ledger.heartbeat(&[(second, None), (first, None)]).await }).await;
        assert_eq!(beats.expect("the heartbeat is no deadlock's victim").len(), 2);

        let ledger = Arc::clone(&crossing.ledger);
        let claims = [second, first].map(|fence| wanted(fence, Range::new(2, 4)));
        let claimed = crossing.cross(async move { ledger.claim(&claims).await }).await;
        assert_eq!(claimed.expect("the claim is no deadlock's victim").len(), 2);

        let route = Arc::new(databases.config.routes[0].clone());
        let refusals = Refusals {
            kafka: databases.config.kafka.clone(),
            share_max: 0.0,
            meters: footprint_service::metrics::Meters::new("visits"),
        };
        let mut sink = PostgresSink::new(&databases.config.postgres, NAME, &route, 1_000, DEADLINE, refusals);
        let group = [batch(&route, second), batch(&route, first)];
        let stored = crossing.cross(async move { sink.write(&group, false).await }).await;
        assert_eq!(stored.expect("the compare-and-set is no deadlock's victim"), [Verdict::Stored; 2]);
    });
}

/// The ledger refuses with `code` for a while. The partitions stay ours and everything is stored.
fn keeps_ownership(name: &str, code: &str, says: &str) {
    let _calm = calm();
    let mut world = World::new(name, 2, 0.0);
    let mut consumer = world.consumer();
    let source = world.send(100);
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let before = world.ledger(source);
    world.eye.query(&format!(
        "create function refuse() returns trigger language plpgsql as $$ begin \
         raise exception 'not now' using errcode = '{code}'; end $$"
    ));
    world.eye.query("create trigger refuse before update on footprint_ledger for each row execute function refuse()");
    until_or("the ledger refuses", STORED, || consumer.log().contains(says).then_some(()), || consumer.tail());
    let source = world.send(100);
    world.eye.query("drop trigger refuse on footprint_ledger");
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let owners = |rows: &[crate::support::postgres::LedgerRow]| -> Vec<_> {
        rows.iter().map(|row| (row.partition, row.epoch, row.owner)).collect()
    };
    assert_eq!(
        owners(&world.ledger(source)),
        owners(&before),
        "no partition was taken over again: {}",
        consumer.tail()
    );
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

#[test]
fn a_deadlocks_victim_keeps_every_ownership() {
    keeps_ownership("victim", "40P01", "a statement was undone: not now (SQLSTATE 40P01)");
}

#[test]
fn a_row_that_stays_locked_costs_no_ownership() {
    keeps_ownership("locked", "55P03", "a row stayed locked: not now (SQLSTATE 55P03)");
}

/// The story: somebody deletes a row of the ledger while its partition is taken over. A new row at offset 0 would store everything twice.
#[test]
fn a_row_that_vanishes_before_its_take_over_is_not_created() {
    let databases = fresh_database("locks_vanished");
    runtime().block_on(async {
        databases.migrate().await;
        let route = &databases.config.routes[0];
        let ledger = Ledger::connect(&databases.config.postgres, &route.name, NAME).await.unwrap();
        ledger.register_source(SOURCE, "cluster", "topic", "id").await.unwrap();
        let start = FirstStart { offset: 0, ledger_lost: false, why: "a test" };
        let (owner, holder) = (new_owner(1), Holder::this_process("locks"));
        let vanished = ledger.take_over(SOURCE, 0, owner, &start, true, &holder).await.unwrap_err();
        assert!(vanished.is_passing(), "{vanished}");
        assert!(vanished.to_string().contains("vanished"), "{vanished}");
        let onlooker = databases.postgres().await;
        let count = onlooker.query_one("select count(*) from footprint_ledger", &[]).await.unwrap();
        assert_eq!(count.get::<_, i64>(0), 0);
        // without a row, one is created; with it, it is taken over
        for (has_row, epoch) in [(false, 1), (true, 2)] {
            let taken = ledger.take_over(SOURCE, 0, owner, &start, has_row, &holder).await.unwrap();
            assert_eq!(taken.row.epoch, epoch);
        }
    });
}
