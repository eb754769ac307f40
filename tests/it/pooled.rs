//! The pool of sessions: never more than the setting says, each pinned, and used again.

use std::time::Duration;

use footprint_service::postgres::pool::Sessions;
use footprint_service::postgres::session::Purpose;
use footprint_stack::APPLICATION_USER;

use crate::support::calm;
use crate::support::databases::{fresh_database, runtime};
use crate::support::world::{STORED, World};

const NAME: &str = "footprint-test-pool";

#[test]
fn a_pool_has_no_more_sessions_than_the_setting_says_and_each_is_pinned() {
    let _calm = calm();
    let mut databases = fresh_database("pooled");
    databases.config.postgres.pool_connections_max = 2;
    let set = format!("alter role {APPLICATION_USER} in database {} set default_transaction_isolation", databases.name);
    databases.postgres_query(&format!("{set} = 'serializable'"));
    runtime().block_on(async {
        let sessions = Sessions::new(&databases.config.postgres, NAME, Purpose::Check);
        let (first, second) = (sessions.get().await.unwrap(), sessions.get().await.unwrap());
        let mut backends = Vec::new();
        for session in [&first, &second] {
            let row = session.query_one("select pg_backend_pid(), current_setting('transaction_isolation')", &[]);
            let row = row.await.unwrap();
            assert_eq!(row.get::<_, String>(1), "read committed", "whatever the role says");
            backends.push(row.get::<_, i32>(0));
        }
        assert_ne!(backends[0], backends[1]);

        let mut third = Box::pin(sessions.get());
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut third).await.is_err(), "there are two already");
        drop(first);
        let third = third.await.unwrap();
        let again: i32 = third.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
        assert_eq!(again, backends[0], "the one that is free is used again");
        let sql = format!("select count(*) from pg_stat_activity where application_name = '{NAME}'");
        assert_eq!(databases.postgres_query(&sql), ["2"]);

        databases.postgres_query(&format!("select pg_terminate_backend({again})"));
        let ended = async {
            while !third.is_closed() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(STORED, ended).await.expect("the end of a session is noticed");
        drop(third);
        let next = sessions.get().await.unwrap();
        let next: i32 = next.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
        assert!(!backends.contains(&next), "a session that has ended is not used again");
    });
}

#[test]
fn verify_and_check_do_with_one_session() {
    let _calm = calm();
    let mut world = World::new("one_session", 2, 0.01);
    world.set("postgres.pool_connections_max", "1");
    let source = world.send(1_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    world.command(&["verify", "--strict"]);
    world.command(&["check"]);
}
