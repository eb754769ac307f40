//! `migrate` on real servers: new tables, the old system's tables, run twice, by two processes at once, and what it must refuse.

use crate::support::calm;
use crate::support::databases::{Databases, fresh_database, runtime};

/// The tables of the old system, three columns each, with one visit.
fn old_tables(databases: &Databases) {
    databases.postgres_query(
        "create table user_footprint (request varchar(10), link varchar, footprint_time timestamp); \
         alter table user_footprint owner to footprint; \
         insert into user_footprint values ('GET', '/a', '2024-03-01 12:00:00.123456')",
    );
    databases.clickhouse_query(
        "create table {db}.user_footprint (link String, request LowCardinality(String), \
         footprint_time DateTime64(6, 'UTC')) engine MergeTree order by (request, footprint_time) \
         partition by toYYYYMM(footprint_time)",
    );
    databases.clickhouse_query("insert into {db}.user_footprint values ('/a', 'GET', '2024-03-01 12:00:00.123456')");
}

#[test]
fn fresh_tables_are_made_once() {
    let _up = calm();
    let databases = fresh_database("fresh");
    runtime().block_on(async {
        assert!(databases.migrate().await.iter().any(|line| line == "registered route user_footprint"));
        assert_eq!(databases.migrate().await, Vec::<String>::new());
    });
    let create = databases.clickhouse_query("show create {db}.user_footprint format TSVRaw").join("\n");
    for part in
        ["PARTITION BY toYYYYMM(received_at)", "ORDER BY footprint_time", "TYPE minmax", "fsync_after_insert = 1"]
    {
        assert!(create.contains(part), "{part} is not in {create}");
    }
}

#[test]
fn old_tables_are_adopted_without_losing_a_row() {
    let _up = calm();
    let mut databases = fresh_database("adopted").for_adopter();
    databases.config.routes[0].timezone = "Asia/Seoul".into();
    old_tables(&databases);
    runtime().block_on(async {
        let lines = databases.migrate().await;
        assert!(lines.iter().any(|line| line.contains("taken as times of Asia/Seoul")), "{lines:?}");
        assert_eq!(databases.migrate().await, Vec::<String>::new());
    });
    let rows = databases.postgres_query("select *, footprint_time at time zone 'UTC' from user_footprint");
    assert_eq!(rows.len(), 1);
    assert!(rows[0].starts_with("GET|/a|") && rows[0].ends_with("|∅|∅|∅|∅|2024-03-01 03:00:00.123456"), "{rows:?}");
    assert_eq!(
        databases.clickhouse_query("select * from {db}.user_footprint"),
        ["/a\tGET\t2024-03-01 12:00:00.123456\t\\N\t\\N\t\\N\t\\N"]
    );
    let create = databases.clickhouse_query("show create {db}.user_footprint format TSVRaw").join("\n");
    assert!(create.contains("ORDER BY (request, footprint_time)"), "an adopted table keeps its keys: {create}");
}

#[test]
fn two_at_once_do_the_work_of_one() {
    let _up = calm();
    for adopt in [false, true] {
        let databases = fresh_database("two_at_once").for_adopter();
        if adopt {
            old_tables(&databases);
        }
        let (first, second) = runtime().block_on(async { tokio::join!(databases.migrate(), databases.migrate()) });
        assert!(first.is_empty() != second.is_empty(), "one does it, one finds it done: {first:?} {second:?}");
        assert_eq!(databases.postgres_query("select count(*) from footprint_route"), ["1"]);
    }
}

#[test]
fn a_route_that_gains_a_column_gains_it_in_both_tables() {
    let _up = calm();
    let mut databases = fresh_database("gains").for_adopter();
    runtime().block_on(async {
        databases.migrate().await;
        let mut column = databases.config.routes[0].columns[1].clone();
        (column.name, column.field) = ("referrer".into(), "referrer".into());
        databases.config.routes[0].columns.push(column);
        assert_eq!(
            databases.migrate().await,
            [
                "postgresql: added column referrer to user_footprint",
                "clickhouse: added column referrer to user_footprint"
            ]
        );
    });
}

#[test]
fn tables_of_another_route_are_not_touched() {
    let _up = calm();
    let mut databases = fresh_database("taken");
    runtime().block_on(async {
        databases.migrate().await;
        databases.config.routes[0].name = "comments".into();
        let refused =
            footprint::upkeep::migrate::migrate(&databases.config, |line| panic!("did {line}")).await.unwrap_err();
        assert!(refused.to_string().contains("belong to route user_footprint"), "{refused}");
    });
}

#[test]
fn a_table_that_cannot_be_adopted_is_left_as_it_is() {
    let _up = calm();
    let databases = fresh_database("unfit");
    databases.postgres_query(
        "create table user_footprint (request varchar, link varchar, footprint_time date); \
         alter table user_footprint owner to footprint",
    );
    let refused = runtime().block_on(footprint::upkeep::migrate::migrate(&databases.config, |_| {})).unwrap_err();
    assert!(refused.to_string().contains("footprint_time is date"), "{refused}");
    assert_eq!(
        databases.postgres_query(
            "select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ',' order by attnum) from pg_attribute \
             where attrelid = 'user_footprint'::regclass and attnum > 0"
        ),
        ["request character varying,link character varying,footprint_time date"]
    );
}
