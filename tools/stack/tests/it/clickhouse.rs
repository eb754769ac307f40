//! ClickHouse keeps its rows through a kill, a pause and a stop, and the users have exactly the rights that they need.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use footprint_stack::{APPLICATION_USER, ClickHouse, ClickHouseRights, ClickHouseUser, TEST_ADOPTER, TEST_USER};

use crate::support::{clickhouse, runs, stack};

fn answers_ping(clickhouse: &ClickHouse, limit: Duration) -> bool {
    let mut stream = TcpStream::connect((clickhouse.host(), clickhouse.http_port())).expect("the kernel accepts");
    stream.set_read_timeout(Some(limit)).expect("a time-out");
    stream.write_all(b"GET /ping HTTP/1.0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).is_ok() && answer.contains("Ok.")
}

#[test]
fn rows_survive_kill_pause_and_stop() {
    let clickhouse = clickhouse();
    clickhouse.create_database("life").expect("created");
    clickhouse
        .query("create table life.t (a UInt64) engine = MergeTree order by a settings fsync_after_insert = 1")
        .expect("created");
    clickhouse.query("insert into life.t values (1), (2)").expect("filled");
    let count = || clickhouse.query("select count() from life.t").expect("counted");

    let first = clickhouse.pid().expect("it runs");
    clickhouse.kill().expect("killed");
    assert!(!runs(first));
    clickhouse.query("select 1").expect_err("nobody listens");
    clickhouse.restart().expect("restarted");
    assert_eq!(count(), "2\n", "after a kill");

    clickhouse.pause().expect("paused");
    assert!(!answers_ping(&clickhouse, Duration::from_millis(500)), "while paused");
    clickhouse.resume().expect("resumed");
    assert!(answers_ping(&clickhouse, Duration::from_secs(20)), "after a pause");

    clickhouse.stop().expect("stopped cleanly");
    clickhouse.restart().expect("restarted");
    assert_eq!(count(), "2\n", "after a stop");
}

#[test]
fn the_native_port_tells_a_lost_http_client() {
    let clickhouse = clickhouse();
    let mut stream = TcpStream::connect((clickhouse.host(), clickhouse.tcp_port())).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("is for clickhouse-client program"), "{answer}");
}

#[test]
fn users_have_the_rights_of_the_first_users_site_and_no_more() {
    let clickhouse = clickhouse();
    let password = stack().user_password();
    for database in ["test_rights", "other_rights"] {
        clickhouse.create_database(database).expect("created");
    }
    let adopts = [
        "alter table DB.t modify setting non_replicated_deduplication_window = 100",
        "alter table DB.t add column b String",
        "alter table DB.t add index i o type minmax",
    ];
    for (user, database) in [(TEST_USER, "test_rights"), (APPLICATION_USER, "prd"), (TEST_ADOPTER, "test_rights")] {
        let ask = |sql: &str| clickhouse.query_as(user, password, &sql.replace("DB", database));
        let may = |sql: &str| ask(sql).unwrap_or_else(|error| panic!("{user}: {sql}: {error}"));
        let may_not = |sql: &str| {
            let error = ask(sql).expect_err(sql).to_string();
            assert!(error.contains("ACCESS_DENIED"), "{user}: {sql}: {error}");
        };
        for allowed in [
            "create table DB.t (a UInt64, o Int64) engine = MergeTree order by a",
            "insert into DB.t (a, o) values (1, 2)",
            "select uniq(_part) from DB.t",
            "select engine_full from system.tables where database = 'DB'",
            "select name from system.columns where database = 'DB'",
        ] {
            may(allowed);
        }
        for sql in adopts {
            if user == TEST_ADOPTER { drop(may(sql)) } else { may_not(sql) }
        }
        for refused in [
            "alter table DB.t modify column o Nullable(Int64)",
            "create database other_rights_more",
            "create table other_rights.t (a UInt64) engine = MergeTree order by a",
            "select query_id from system.processes",
            "kill query where query_id = 'x'",
            "select count() from system.parts",
            "system drop mark cache",
        ] {
            may_not(refused);
        }
        may("drop table DB.t sync");
    }
}

#[test]
fn a_user_can_be_added_later() {
    let clickhouse = clickhouse();
    let rights = ClickHouseRights::Site { databases: "later_database".into(), also: "" };
    let user = ClickHouseUser { name: "later".into(), password: "a&b<c".into(), rights };
    clickhouse.query_as("later", "a&b<c", "select 1").expect_err("nobody of that name");
    clickhouse.set_user(user).expect("added");
    assert_eq!(clickhouse.query_as("later", "a&b<c", "select 1").expect("it is there"), "1\n");
}
