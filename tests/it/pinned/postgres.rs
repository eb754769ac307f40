//! PostgreSQL: `alter role ... set`, `alter database ...`, and what no session can set.

use std::time::Duration;

use footprint_service::postgres::connect;
use footprint_service::postgres::session::Purpose;
use footprint_service::report::Chain;

use crate::support::calm;
use crate::support::databases::{fresh_database, runtime};
use crate::support::prove::prove_within;
use crate::support::stack;
use crate::support::world::World;

/// A world whose PostgreSQL user is a separate role, so that its settings disturb no other test. Its tables exist.
fn world_with_role(name: &str, partitions: u16, bad_share: f64) -> (World, String) {
    let mut world = World::without_tables(name, partitions, bad_share);
    let role = format!("role_{}", world.database);
    let postgres = stack().postgres().unwrap();
    postgres.create_role(&role, stack().user_password()).unwrap();
    postgres.give_database(&world.database, &role).unwrap();
    world.set("postgres.user", &format!("{role:?}"));
    world.command(&["migrate"]);
    (world, role)
}

/// Stores `records` under a role with these settings. As without them, each partition is taken over once and no statement fails.
fn stores_under(name: &str, settings: &[&str], records: usize, batch_rows_max: u32) {
    let _calm = calm();
    let (mut world, role) = world_with_role(name, 2, 0.005);
    for setting in settings {
        stack().postgres().unwrap().execute("postgres", &format!("alter role {role} set {setting}")).unwrap();
    }
    world.set("pipeline.batch_rows_max", &batch_rows_max.to_string());
    world.send(records);
    let mut consumer = world.consumer();
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
    let log = consumer.log();
    let taken_over = log.matches(" taken over").count();
    assert_eq!(taken_over, 2, "one take-over a partition: {}", consumer.tail());
    assert!(!log.contains("SQLSTATE"), "no statement is refused: {}", consumer.tail());
    consumer.stop();
    // verify reads the same tables with the same role
    assert!(world.command(&["verify"]).contains("no fault"));
}

#[test]
fn a_role_with_repeatable_read_stores_as_without_it() {
    stores_under("repeatable", &["default_transaction_isolation = 'repeatable read'"], 60_000, 1_000);
}

#[test]
fn a_role_with_serializable_stores_as_without_it() {
    let settings = ["default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on"];
    stores_under("serializable", &settings, 60_000, 1_000);
}

#[test]
fn a_role_whose_transactions_may_last_a_moment_stores_a_large_batch() {
    stores_under("brief", &["transaction_timeout = '50ms'"], 200_000, 500_000);
}

#[test]
fn a_role_with_every_setting_against_us_stores_as_without_them() {
    let settings = [
        "search_path = 'nowhere'",
        "row_security = on",
        "statement_timeout = '20ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "idle_session_timeout = '300ms'",
        "exit_on_error = on",
        "synchronous_commit = off",
        "timezone = 'Asia/Seoul'",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'iso_8601'",
        "extra_float_digits = -15",
        "bytea_output = 'escape'",
        "standard_conforming_strings = off",
        "client_encoding = 'LATIN1'",
        "array_nulls = off",
        "transform_null_equals = on",
        "enable_tidscan = off",
        "restrict_nonsystem_relation_kind = 'view'",
    ];
    stores_under("hostile", &settings, 40_000, 2_000);
}

/// The story: a later search_path of the role led to another schema's tables, or to none.
#[test]
fn where_the_ledger_is_does_not_follow_the_roles_search_path() {
    let _calm = calm();
    let databases = fresh_database("pinned_path");
    let runtime = runtime();
    runtime.block_on(databases.migrate());
    let path = runtime.block_on(async {
        let client = databases.postgres().await;
        client.query_one("select current_setting('search_path')", &[]).await.unwrap().get::<_, String>(0)
    });
    assert_eq!(path, "public, pg_temp");
    databases.postgres_query(
        "create schema other; create table other.footprint_ledger (route text); grant usage on schema other to public",
    );
    let refused = runtime.block_on(connect(&databases.config.postgres, "footprint-test", Purpose::Check)).unwrap_err();
    let refused = Chain(&refused).to_string();
    assert!(refused.contains("in the schemas other, public") && refused.contains("postgres.schema"), "{refused}");
    let mut settings = databases.config.postgres.clone();
    settings.schema = "public".into();
    runtime.block_on(connect(&settings, "footprint-test", Purpose::Check)).unwrap();
    settings.schema = "nowhere".into();
    let refused = runtime.block_on(connect(&settings, "footprint-test", Purpose::Check)).unwrap_err();
    let refused = Chain(&refused).to_string();
    assert!(refused.contains("there is no schema \"nowhere\""), "{refused}");
}

#[test]
fn a_read_only_role_is_named_and_may_still_verify() {
    let _calm = calm();
    let (mut world, role) = world_with_role("readonly", 1, 0.0);
    let source = world.send(1_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, Duration::from_secs(30), &mut [&mut consumer]);
    consumer.stop();
    stack()
        .postgres()
        .unwrap()
        .execute("postgres", &format!("alter role {role} set default_transaction_read_only = on"))
        .unwrap();
    world.is_named("default_transaction_read_only");
    world.command(&["verify"]);
}

/// The story: with row-level security on the table, the program tried for ever, with a wrong remedy. The same happened with it on
/// the ledger. And `verify` called 500 rows "missing" that were there.
#[test]
fn row_level_security_is_named_and_no_lie_of_verify() {
    let _calm = calm();
    for table in ["user_footprint", "footprint_ledger", "dead_letters"] {
        let (mut world, role) = world_with_role("rls", 1, 0.0);
        let source = world.send(1_000);
        let mut consumer = world.consumer();
        world.wait_stored(source, Duration::from_secs(30), &mut [&mut consumer]);
        consumer.stop();
        world.send(1_000);
        let sql = format!(
            "alter table {table} enable row level security; alter table {table} force row level security; \
             create policy half on {table} using (false)"
        );
        stack().postgres().unwrap().execute(&world.database, &sql).unwrap();
        world.is_named("row-level security");
        let (status, out, err) = world.outcome(&["verify"]);
        assert!(status == 1 && err.contains("row-level security policy"), "{status}: {out}{err}");
        stack().postgres().unwrap().execute("postgres", &format!("alter role {role} bypassrls")).unwrap();
        let mut consumer = world.consumer();
        prove_within(&mut world, Duration::from_secs(60), &mut [&mut consumer]);
    }
}

#[test]
fn a_database_of_another_encoding_is_refused_by_every_command() {
    let _calm = calm();
    let mut world = World::without_tables("encoding", 1, 0.0);
    let (postgres, korean) = (stack().postgres().unwrap(), format!("{}_kr", world.database));
    let sql = format!("create database {korean} encoding 'EUC_KR' locale_provider libc locale 'C' template template0");
    postgres.execute("postgres", &sql).unwrap();
    postgres.give_database(&korean, footprint_stack::APPLICATION_USER).unwrap();
    world.set("postgres.database", &format!("{korean:?}"));
    world.is_named("UTF8 is needed");
    for command in ["migrate", "verify"] {
        let (status, out, err) = world.outcome(&[command]);
        assert!(status == 1 && err.contains("EUC_KR") && err.contains("UTF8 is needed"), "{status}: {out}{err}");
    }
    let made = postgres.query(&korean, "select count(*) from pg_class where relname like 'footprint%'").unwrap();
    assert_eq!(made[0][0].as_deref(), Some("0"), "migrate refuses before it makes anything");
}

#[test]
fn a_table_that_a_crash_empties_is_named() {
    let _calm = calm();
    let world = World::new("unlogged", 1, 0.0);
    stack().postgres().unwrap().execute(&world.database, "alter table dead_letters set unlogged").unwrap();
    let (status, out, _) = world.outcome(&["check"]);
    assert!(status == 3 && out.contains("alter table dead_letters set logged"), "{out}");
}

#[test]
fn triggers_and_constraints_that_may_drop_or_refuse_an_event_are_noted() {
    let _calm = calm();
    let world = World::new("trigger", 1, 0.0);
    let sql = "create function drop_it() returns trigger language plpgsql as 'begin return null; end';
               create trigger dropper before insert on user_footprint for each row execute function drop_it();
               alter table user_footprint add constraint short check (length(link) < 200)";
    stack().postgres().unwrap().execute(&world.database, sql).unwrap();
    let (status, out, _) = world.outcome(&["check"]);
    assert_eq!(status, 0, "a note is no fault: {out}");
    let noted = |word: &str| out.lines().any(|line| line.starts_with("note") && line.contains(word));
    assert!(noted("trigger dropper") && noted("constraint short"), "{out}");
}

/// A table of the same name in an earlier schema must not take the place of the one that the ledger counts.
#[test]
fn another_table_of_the_same_name_is_named() {
    let _calm = calm();
    let mut world = World::without_tables("shadow", 1, 0.0);
    let user = footprint_stack::APPLICATION_USER;
    let postgres = stack().postgres().unwrap();
    let sql = format!(
        "create schema app authorization {user}; create table public.user_footprint (request text, link text, \
         footprint_time timestamptz); alter table public.user_footprint owner to {user}; \
         alter role {user} in database {0} set search_path = app, public; \
         alter role postgres in database {0} set search_path = app, public",
        world.database
    );
    postgres.execute(&world.database, &sql).unwrap();
    world.command(&["migrate"]);
    let source = world.send(500);
    let mut consumer = world.consumer();
    world.wait_stored(source, Duration::from_secs(30), &mut [&mut consumer]);
    consumer.stop();
    let sql = format!("alter role {user} in database {} reset search_path", world.database);
    postgres.execute(&world.database, &sql).unwrap();
    let mut consumer = world.consumer();
    world.send(500);
    world.wait_stored(source, Duration::from_secs(30), &mut [&mut consumer]);
    consumer.stop();

    let sql = format!(
        "create table app.user_footprint (like public.user_footprint); alter table app.user_footprint owner to {user}"
    );
    postgres.execute(&world.database, &sql).unwrap();
    world.send(500);
    world.is_named("public.user_footprint");
}

/// The settings that the protocol relies on, asked from the sessions themselves: a test that stores rows cannot see that a commit
/// was not on disk.
#[test]
fn a_session_has_what_exactly_once_rests_on_whatever_the_role_says() {
    let _calm = calm();
    let (world, role) = world_with_role("rests_on", 1, 0.0);
    let wanted = [
        ("synchronous_commit", "on", "off"),
        ("default_transaction_isolation", "read committed", "serializable"),
        ("row_security", "off", "on"),
        ("client_encoding", "UTF8", "latin1"),
    ];
    for (name, _, against) in wanted {
        let sql = format!("alter role {role} set {name} = {}", format_args!("'{against}'"));
        stack().postgres().unwrap().execute("postgres", &sql).unwrap();
    }
    let mut config = footprint_service::config::Config::load(None, &[]).unwrap().postgres;
    let postgres = stack().postgres().unwrap();
    (config.host, config.port) = (postgres.host().to_owned(), postgres.port());
    (config.database, config.user) = (world.database.clone(), role);
    config.password = stack().user_password().to_owned().into();
    let purposes = [
        Purpose::Ledger,
        Purpose::Writer,
        Purpose::StoredRows(Duration::from_secs(5)),
        Purpose::Migrate,
        Purpose::Check,
        Purpose::Verify,
    ];
    for purpose in purposes {
        for (name, value, _) in wanted {
            let held: String = runtime().block_on(async {
                let client = connect(&config, "footprint test", purpose).await.unwrap();
                client.query_one(&format!("show {name}"), &[]).await.unwrap().get(0)
            });
            assert_eq!(held, value, "{name} of {purpose:?}");
        }
    }
}
