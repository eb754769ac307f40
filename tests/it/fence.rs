//! The fence before a partition's inserts: one query id for all of them. A running insert is ended before another owner
//! continues. A second insert beside it is refused. Another ledger's inserts use another id.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint::ledger::identity::ledger_id;
use footprint::ledger::proof::Proofs;
use footprint::store::clickhouse::fence::InsertId;
use footprint::store::clickhouse::readback::Questions;
use footprint::store::clickhouse::writer::ClickHouseSink;
use footprint::store::sink::{SinkError, Verdict};
use footprint_protocol::ledger::{LedgerId, SourceId};
use footprint_protocol::offset::Range;
use footprint_service::report::Chain;
use footprint_stack::TEST_USER;

use crate::reconnected::{Found, Nothing, batch, write};
use crate::support::databases::{DEADLINE, fresh_database, runtime};
use crate::support::prove::{prove_tables, prove_within};
use crate::support::wait::until;
use crate::support::world::World;
use crate::support::{calm, stack};

/// An insert whose client has sent a part of its body and then nothing. It carries no token.
struct Held {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Held {
    /// Sends all but the last byte of one row's insert, and waits until the server knows of it.
    fn open(database: &str, id: &InsertId, source: i64, offset: i64) -> Self {
        let clickhouse = stack().clickhouse().unwrap();
        let statement = format!(
            "insert into {database}.user_footprint (link, request, footprint_time, kafka_source, kafka_partition, \
             kafka_offset, received_at) format TabSeparated"
        );
        let body = format!("/held\tGET\t2026-01-01 00:00:00\t{source}\t0\t{offset}\t2026-01-01 00:00:00\n");
        let head = format!(
            "POST /?query_id={id}&max_query_size={}&wait_end_of_query=1&query={} HTTP/1.1\r\nHost: x\r\n\
             X-ClickHouse-User: {TEST_USER}\r\nX-ClickHouse-Key: {}\r\nContent-Length: {}\r\n\r\n",
            statement.len() + 1,
            statement.replace(' ', "+"),
            stack().user_password(),
            body.len()
        );
        let (first, last) = body.as_bytes().split_at(body.len() - 1);
        // the insert of a killed consumer may run for a moment longer, and then this one is refused
        let stream = until("the insert runs", DEADLINE, || {
            let mut stream = TcpStream::connect((clickhouse.host(), clickhouse.http_port())).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(first).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let refused = stream.read(&mut [0; 256]).is_ok();
            (!refused && runs(id)).then_some(stream)
        });
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, rest: last.to_vec() }
    }

    /// Sends the rest. Returns the server's answer.
    fn finish(mut self) -> String {
        let mut answer = vec![0; 4_096];
        // the server may have closed the connection if it has given the insert up
        let sent = self.stream.write_all(&self.rest).and_then(|()| self.stream.read(&mut answer));
        String::from_utf8_lossy(&answer[..sent.unwrap_or(0)]).into_owned()
    }
}

fn runs(id: &InsertId) -> bool {
    let sql = format!("select count() from system.processes where query_id = '{id}'");
    stack().clickhouse().unwrap().query(&sql).unwrap().trim() == "1"
}

#[test]
fn an_insert_whose_client_has_stopped_is_ended_and_the_take_over_goes_on() {
    let _calm = calm();
    let mut world = World::new("fence", 1, 0.0);
    world.set("pipeline.batch_rows_max", "500");
    let source = world.send(40_000);
    let mut first = world.consumer();
    world.wait_some(source, 1_000, &first);
    world.wait_claimed(source, &first);
    first.kill();
    let row = world.ledger(source).remove(0);
    assert!(row.pending() > 0, "killed in mid-batch: {row:?}");

    let cluster = world.eye.query("select system_identifier::text from pg_control_system()");
    let ledger = ledger_id(cluster[0].get(0), &world.database);
    let id = InsertId::new(&world.database, "user_footprint", ledger, SourceId(source), 0);
    let held = Held::open(&world.database, &id, source, row.lowest());
    let mut second = world.consumer();
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut second]);
    assert!(!runs(&id));
    let answer = held.finish();
    assert!(!answer.contains("200 OK"), "{answer}");
    prove_tables(&mut world);
    second.stop();
}

#[test]
fn two_ledgers_do_not_end_each_others_inserts() {
    let _calm = calm();
    let databases = fresh_database("two_ledgers");
    let route = &databases.config.routes[0];
    let runtime = runtime();
    runtime.block_on(databases.migrate());
    let questions = Questions::new(&databases.clickhouse(), route, &databases.name, DEADLINE);
    let [one, other] = [1, 2].map(|ledger| questions.insert_id(LedgerId(ledger), SourceId(7), 0));
    let held = Held::open(&databases.name, &one, 7, 0);
    let other_held = Held::open(&databases.name, &other, 7, 1);
    let idle = questions.insert_id(LedgerId(2), SourceId(7), 1);
    runtime.block_on(questions.drain(&idle, DEADLINE)).unwrap();
    assert!(runs(&one) && runs(&other), "another partition's drain ends nothing");
    let started = Instant::now();
    // it answers when the server has given up the silent client
    runtime.block_on(questions.drain(&other, DEADLINE)).unwrap();
    assert!(!runs(&other), "after {:?}", started.elapsed());
    drop(other_held);
    // the first client was silent for as long, and had sent its part before
    drop(held);
    let mine = Held::open(&databases.name, &one, 7, 2);
    runtime.block_on(questions.drain(&other, DEADLINE)).unwrap();
    assert!(runs(&one), "another ledger's drain ends nothing");
    let answer = mine.finish();
    assert!(answer.contains("200 OK"), "{answer}");
    assert_eq!(databases.clickhouse_query("select kafka_offset from {db}.user_footprint"), ["2"]);
}

#[test]
fn an_insert_that_meets_another_is_refused_and_what_that_brings_is_read_back() {
    let _calm = calm();
    let mut databases = fresh_database("met");
    // the one column that `batch` fills besides the identity
    databases.config.routes[0].columns.retain(|column| column.name == "footprint_time");
    databases.clickhouse_query(
        "create table {db}.user_footprint (link String, request String, footprint_time DateTime64(6, 'UTC'), \
         kafka_source Int64, kafka_partition Int32, kafka_offset Int64, received_at DateTime64(6, 'UTC')) \
         engine MergeTree order by footprint_time settings non_replicated_deduplication_window = 0",
    );
    let stored = || databases.clickhouse_query("select kafka_offset from {db}.user_footprint order by 1").join(" ");
    let route = Arc::new(databases.config.routes[0].clone());
    let proofs = Arc::new(Proofs::default());
    let id = InsertId::new(&databases.name, &route.clickhouse_table, LedgerId(3), SourceId(7), 0);
    let mut sink =
        ClickHouseSink::new(&databases.config.clickhouse, &route, &proofs, Nothing, DEADLINE, databases.refusals());
    let runtime = runtime();
    // a first write: nothing was read back, so the rows of the other insert must be found before this one is sent again
    let first = batch(&route, &proofs, Range::new(0, 3), Found::Nothing);
    let held = Held::open(&databases.name, &id, 7, 1);
    let (refused, _) = runtime.block_on(write(&mut sink, &proofs, &first, false));
    assert!(matches!(&refused, Err(SinkError::Uncertain(why)) if why.to_string().contains(id.as_str())), "{refused:?}");
    assert_eq!(stored(), "", "nothing was sent besides it");
    assert!(held.finish().contains("200 OK"), "no insert ends another");
    let (written, _) = runtime.block_on(write(&mut sink, &proofs, &first, true));
    assert_eq!((written.unwrap(), stored().as_str()), (vec![Verdict::Stored], "0 1 2"));

    // a repair: the other insert is ended, and the range is read back after that
    let second = batch(&route, &proofs, Range::new(3, 6), Found::Claimed);
    let held = Held::open(&databases.name, &id, 7, 4);
    let (written, _) = runtime.block_on(write(&mut sink, &proofs, &second, false));
    assert_eq!((written.unwrap(), stored().as_str()), (vec![Verdict::Stored], "0 1 2 3 4 5"));
    assert!(!held.finish().contains("200 OK"), "it was ended");
    assert_eq!(stored(), "0 1 2 3 4 5");
}
/// The story: a profile's limit hid stored rows, and they were stored again and again: 252,164 rows of 20,000. Here the table's
/// own type changes the offsets.
#[test]
fn rows_that_are_answered_ok_and_cannot_be_read_stop_the_route_at_the_second_time() {
    let _calm = calm();
    let mut databases = fresh_database("hidden");
    databases.config.routes[0].columns.retain(|column| column.name == "footprint_time");
    databases.clickhouse_query(
        "create table {db}.user_footprint (footprint_time DateTime64(6, 'UTC'), kafka_source Int64, \
         kafka_partition Int32, kafka_offset Int8, received_at DateTime64(6, 'UTC')) \
         engine MergeTree order by footprint_time settings non_replicated_deduplication_window = 100",
    );
    let route = Arc::new(databases.config.routes[0].clone());
    let proofs = Arc::new(Proofs::default());
    let mut sink =
        ClickHouseSink::new(&databases.config.clickhouse, &route, &proofs, Nothing, DEADLINE, databases.refusals());
    let batch = batch(&route, &proofs, Range::new(1_000, 1_003), Found::Claimed);
    let runtime = runtime();
    for _start in 0..3 {
        let (stopped, _) = runtime.block_on(write(&mut sink, &proofs, &batch, false));
        let Err(SinkError::Stop(failure)) = stopped else { panic!("{stopped:?}") };
        let why = Chain(&failure).to_string();
        assert!(why.contains("partition 0, range [1000, 1003)") && why.contains("3 of their rows"), "{why}");
        assert!(why.contains("row policy"), "{why}");
        // once under each token, however often the program is started again
        assert_eq!(databases.clickhouse_query("select count() from {db}.user_footprint"), ["6"]);
    }
}
