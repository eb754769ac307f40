//! PostgreSQL keeps its rows through a kill, a pause and a stop, and loses them when an older copy is restored.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use footprint_stack::{APPLICATION_DATABASE, APPLICATION_USER, Postgres};

use crate::support::{eventually, postgres, runs, stack};

fn count(postgres: &Postgres, database: &str) -> Option<String> {
    let rows = postgres.query(database, "select count(*) from t").expect("counted");
    rows.first()?.first()?.clone()
}

fn backends(postgres: &Postgres) -> Vec<u32> {
    let rows = postgres.query("postgres", "select pid from pg_stat_activity").expect("asked");
    rows.iter().filter_map(|row| row.first()?.as_ref()?.parse().ok()).collect()
}

/// PostgreSQL answers an SSLRequest with one byte (protocol documentation, "SSL Session Encryption").
fn answers(stream: &mut TcpStream, limit: Duration) -> bool {
    stream.set_read_timeout(Some(limit)).expect("a time-out");
    stream.read_exact(&mut [0]).is_ok()
}

#[test]
fn rows_survive_kill_pause_and_stop() {
    let postgres = postgres();
    postgres.create_database("life").expect("created");
    postgres.create_database("life").expect("twice is once");
    postgres.execute("life", "create table t (a int); insert into t values (1)").expect("filled");

    let all = backends(&postgres);
    assert!(all.len() > 3, "the postmaster has helpers: {all:?}");
    postgres.kill().expect("killed");
    assert!(all.iter().all(|pid| !runs(*pid)), "all backends are gone");
    postgres.restart().expect("restarted");
    assert_eq!(count(&postgres, "life").as_deref(), Some("1"), "after a kill");

    postgres.pause().expect("paused");
    let mut stream = TcpStream::connect((postgres.host(), postgres.port())).expect("the kernel accepts");
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).expect("sent");
    assert!(!answers(&mut stream, Duration::from_millis(500)), "while paused");
    postgres.resume().expect("resumed");
    assert!(answers(&mut stream, Duration::from_secs(20)), "after a pause");

    postgres.pause().expect("paused");
    postgres.stop().expect("a paused one is stopped cleanly, too");
    postgres.restart().expect("restarted");
    assert_eq!(count(&postgres, "life").as_deref(), Some("1"), "after a stop");
}

#[test]
fn a_busy_backend_is_paused_and_killed_as_well() {
    let postgres = postgres();
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| postgres.execute("postgres", "select pg_sleep(1000) /* busy */"));
        let find = "select pid from pg_stat_activity where query like '%busy%' and pid <> pg_backend_pid()";
        let mut found = None;
        eventually("the busy backend", || {
            found = postgres.query("postgres", find).expect("asked").first().cloned();
            found.is_some()
        });
        let pid: u32 = found.and_then(|row| row.first()?.as_ref()?.parse().ok()).expect("a number");
        postgres.pause().expect("paused");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
        assert!(stat.contains(") T "), "{stat}");
        postgres.kill().expect("killed");
        assert!(!runs(pid));
        busy.join().expect("no panic").expect_err("its connection broke");
    });
    postgres.restart().expect("restarted");
}

#[test]
fn put_back_to_an_older_copy() {
    let postgres = postgres();
    postgres.create_database("past").expect("created");
    postgres.execute("past", "create table t (a int); insert into t values (1)").expect("filled");
    let identity = "select system_identifier::text from pg_control_system()";
    let before = postgres.query("postgres", identity).expect("asked");
    let snapshot = postgres.snapshot().expect("copied");
    postgres.execute("past", "insert into t values (2)").expect("filled");
    assert_eq!(count(&postgres, "past").as_deref(), Some("2"));
    postgres.restore(&snapshot).expect("restored");
    assert_eq!(count(&postgres, "past").as_deref(), Some("1"));
    assert_eq!(postgres.query("postgres", identity).expect("asked"), before);
}

#[tokio::test]
async fn the_application_user_owns_its_database_and_nothing_else() {
    // Inside a runtime on purpose: the library must work with and without one.
    let postgres = postgres();
    let sql = "select rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls from pg_roles \
               where rolname = 'footprint'";
    assert_eq!(postgres.query("postgres", sql).expect("asked"), [[Some("f".to_owned())]]);
    let connect = |database: &'static str| {
        let mut config = tokio_postgres::Config::new();
        config.host(postgres.host()).port(postgres.port()).user(APPLICATION_USER);
        config.password(stack().user_password()).dbname(database);
        async move { config.connect(tokio_postgres::NoTls).await }
    };
    let (client, connection) = connect(APPLICATION_DATABASE).await.expect("its own database");
    let connection = tokio::spawn(connection);
    client.batch_execute("create table mine (a int); drop table mine").await.expect("its own schema");
    client.batch_execute("create database other").await.expect_err("not its right");
    client.batch_execute("select pg_reload_conf()").await.expect_err("not its right");
    drop(client);
    connection.await.expect("no panic").expect("a clean end");
}
