use footprint_event::route::Presence;

use super::*;

fn column(name: &str, kind: Kind, presence: Presence) -> Column {
    Column { name: name.into(), field: name.into(), kind, presence, low_cardinality: false }
}

fn route() -> Route {
    Route {
        name: "visits".into(),
        topic: "visits".into(),
        postgres_table: "visits".into(),
        clickhouse_table: "visits".into(),
        timezone: "Asia/Seoul".into(),
        columns: vec![
            column("link", Kind::Text, Presence::Required),
            column("seen", Kind::Timestamp, Presence::Required),
            column("score", Kind::Float, Presence::Optional),
        ],
    }
}

fn have(name: &str, column_type: &str) -> FoundColumn {
    FoundColumn {
        name: name.into(),
        column_type: column_type.into(),
        nullable: true,
        has_default: false,
        generated: false,
    }
}

/// The table as the old system made it.
fn old() -> FoundTable {
    FoundTable {
        name: "public.visits".into(),
        kind: "r".into(),
        columns: vec![have("link", "character varying(255)"), have("seen", "timestamp without time zone")],
        ..FoundTable::default()
    }
}

fn sql(found: Option<&FoundTable>) -> Vec<String> {
    plan(&route(), found).unwrap().into_iter().map(|change| change.sql).collect()
}

#[test]
fn a_missing_table_is_made_whole() {
    let statements = sql(None);
    let columns = "    \"link\" text not null,\n    \"seen\" timestamp with time zone not null,\n    \"score\" double \
                   precision,\n";
    assert!(statements[0].contains("create table if not exists \"visits\" (") && statements[0].contains(columns));
    assert!(!statements[0].contains("{{"), "{}", statements[0]);
    assert_eq!(
        statements[1..],
        ["create index on \"visits\" using brin (\"seen\")", "create index on \"visits\" using brin (\"received_at\")"]
    );
}

#[test]
fn an_old_table_is_widened_and_loses_nothing() {
    assert_eq!(
        sql(Some(&old())),
        [
            "alter table \"visits\" alter column \"link\" type text",
            "alter table \"visits\" alter column \"seen\" type timestamp with time zone using \"seen\" at time zone \
             'Asia/Seoul'",
            "alter table \"visits\" add column if not exists \"score\" double precision",
            "alter table \"visits\" add column if not exists kafka_source bigint",
            "alter table \"visits\" add column if not exists kafka_partition integer",
            "alter table \"visits\" add column if not exists kafka_offset bigint",
            "alter table \"visits\" add column if not exists received_at timestamp with time zone",
            "create index on \"visits\" using brin (\"seen\")",
            "create index on \"visits\" using brin (\"received_at\")",
        ]
    );
}

#[test]
fn a_table_that_is_right_is_left_alone() {
    let mut found = old();
    found.columns =
        vec![have("link", "text"), have("seen", "timestamp with time zone"), have("score", "double precision")];
    found.columns.extend(IDENTITY_COLUMNS.into_iter().zip(IDENTITY_TYPES).map(|(name, kind)| have(name, kind)));
    found.indexed = vec!["seen".into(), "received_at".into()];
    assert_eq!(sql(Some(&found)), Vec::<String>::new());
}

#[test]
fn what_would_lose_something_is_refused() {
    let refused = |change: &dyn Fn(&mut FoundTable)| {
        let mut found = old();
        change(&mut found);
        plan(&route(), Some(&found)).unwrap_err().why
    };
    assert!(refused(&|found| found.columns[1].column_type = "date".into()).contains("is date"));
    assert!(refused(&|found| found.columns[0].column_type = "character(10)".into()).contains("is character(10)"));
    assert!(refused(&|found| found.kind = "v".into()).contains("a view"));
    assert!(refused(&|found| found.unlogged = true).contains("unlogged"));
    assert!(refused(&|found| found.columns[0].generated = true).contains("generated"));
    assert!(refused(&|found| found.columns.push(have("kafka_offset", "integer"))).contains("rename it"));
    assert!(refused(&|found| found.unique.push(("visits_link".into(), vec!["link".into()]))).contains("visits_link"));
    let needed = FoundColumn { nullable: false, ..have("session", "text") };
    assert!(refused(&move |found| found.columns.push(needed.clone())).contains("session"));
}

#[test]
fn a_uuid_is_in_its_own_type_alone() {
    let plan_of = |column_type: &str| {
        let route = Route { columns: vec![column("visitor", Kind::Uuid, Presence::Required)], ..route() };
        let mut found = FoundTable { columns: vec![have("visitor", column_type)], ..old() };
        found.columns.extend(IDENTITY_COLUMNS.into_iter().zip(IDENTITY_TYPES).map(|(name, kind)| have(name, kind)));
        found.indexed = vec!["received_at".into()];
        plan(&route, Some(&found))
    };
    assert_eq!(plan_of("uuid"), Ok(Vec::new()));
    for other in ["text", "character varying(36)", "character(36)", "bytea"] {
        assert!(plan_of(other).unwrap_err().why.contains(&format!("is {other}, the route's is uuid")), "{other}");
    }
}

#[test]
fn precision_is_widened_not_refused() {
    for (have, expected) in [("timestamp(3) with time zone", ""), ("timestamp(0) without time zone", " using")] {
        let mut found = old();
        found.columns[1].column_type = have.into();
        assert!(sql(Some(&found))[1].contains(&format!("type timestamp with time zone{expected}")), "{have}");
    }
}
