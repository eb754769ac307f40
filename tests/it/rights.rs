//! The rights of the first user's site, and no more: what footprint does with them, and what it says if they are not enough.

use footprint_stack::{ADOPTION_RIGHTS, APPLICATION_USER, TEST_USER};

use crate::support::databases::{Databases, fresh_database, told_by_environment};
use crate::support::prove::prove_tables;
use crate::support::world::World;
use crate::support::{calm, stack};

/// Tables that the old system made, three columns each, with a row.
fn old_tables(databases: &Databases, owner: &str) {
    databases.postgres_query(&format!(
        "create table user_footprint (request varchar(10), link varchar, footprint_time timestamptz); \
         alter table user_footprint owner to {owner}; \
         insert into user_footprint values ('GET', '/a', '2024-03-01 12:00:00.123456+00')"
    ));
    databases.clickhouse_query(
        "create table {db}.user_footprint (link String, request LowCardinality(String), \
         footprint_time DateTime64(6, 'UTC')) engine MergeTree order by (request, footprint_time)",
    );
    databases.clickhouse_query("insert into {db}.user_footprint values ('/a', 'GET', '2024-03-01 12:00:00.123456')");
}

/// Both databases' tables, columns and rows.
fn everything(databases: &Databases) -> Vec<String> {
    let mut all = databases.postgres_query(
        "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod) from pg_class c \
         join pg_attribute a on a.attrelid = c.oid where c.relnamespace = 'public'::regnamespace and a.attnum > 0 \
         order by c.relname, a.attnum",
    );
    all.extend(databases.postgres_query("select * from user_footprint"));
    all.extend(
        databases.clickhouse_query("select name, create_table_query from system.tables where database = '{db}'"),
    );
    all.extend(databases.clickhouse_query("select * from {db}.user_footprint"));
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_first_users_rights_suffice_for_fresh_tables() {
    let _calm = calm();
    let clickhouse = stack().clickhouse().unwrap();
    let grants = clickhouse.query_as(TEST_USER, stack().user_password(), "show grants").unwrap();
    assert!(grants.lines().all(|line| line.contains(" ON test_*.* TO ")), "{grants}");
    assert!(!grants.contains("ALTER ADD") && !grants.contains("KILL"), "{grants}");

    let mut world = World::without_tables("rights", 1, 0.0);
    world.command(&["migrate"]);
    let found = world.command(&["check"]);
    assert!(!found.contains("FAULT"), "{found}");
    let source = world.send(1_000);
    world.command(&["run", "--until-caught-up"]);
    assert_eq!(world.stored(source), 1_000);
    prove_tables(&mut world);
    world.command(&["verify"]);
}

/// The story: PostgreSQL's table was changed, and then ClickHouse refused its own change without saying what to grant.
#[test]
fn what_is_lacking_for_an_old_table_is_said_before_anything_is_changed() {
    let _calm = calm();
    let databases = fresh_database("rights_old");
    databases.create_topic(1);
    old_tables(&databases, APPLICATION_USER);
    let before = everything(&databases);
    let wanted = format!("GRANT {ADOPTION_RIGHTS} ON {}.user_footprint TO {TEST_USER}", databases.name);

    let refused = told_by_environment(&databases.config, "migrate").output().unwrap();
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("nothing was changed") && said.lines().any(|line| line.ends_with(&wanted)), "{said}");
    assert_eq!(said.matches("GRANT").count(), 1, "{said}");
    assert!(!said.contains("in postgresql:"), "{said}");
    assert_eq!(everything(&databases), before);

    let checked = told_by_environment(&databases.config, "check").output().unwrap();
    let said = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(3), "{said}");
    assert!(said.lines().any(|line| line.starts_with("FAULT") && line.ends_with(&wanted)), "{said}");
}

#[test]
fn what_is_lacking_in_postgresql_is_said_as_statements_that_help() {
    let _calm = calm();
    let databases = fresh_database("rights_postgres");
    databases.create_topic(1);
    let superuser = stack().postgres().unwrap().superuser();
    old_tables(&databases, superuser);
    databases.clickhouse_query("drop table {db}.user_footprint sync");
    databases.postgres_query(&format!(
        "alter database {} owner to {superuser}; alter schema public owner to {superuser}; \
         revoke all on schema public from public; grant usage on schema public to {APPLICATION_USER}",
        databases.name
    ));
    let refused = told_by_environment(&databases.config, "migrate").output().unwrap();
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert_eq!(databases.clickhouse_query("show tables from {db}"), Vec::<String>::new(), "nothing was changed");
    assert_eq!(databases.postgres_query("select to_regclass('footprint_ledger')"), ["∅"]);
    let statements: Vec<&str> = said.lines().filter_map(|line| line.trim().strip_prefix("in postgresql: ")).collect();
    assert_eq!(
        statements,
        ["grant usage, create on schema public to footprint", "alter table \"user_footprint\" owner to footprint"],
        "{said}"
    );
    let found = text(&told_by_environment(&databases.config, "check").output().unwrap().stdout);
    for statement in &statements {
        assert!(found.lines().any(|line| line.starts_with("FAULT") && line.contains(statement)), "{found}");
        databases.postgres_query(statement);
    }
    let done = told_by_environment(&databases.config, "migrate").output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
}
