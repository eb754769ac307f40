use footprint_event::route::Presence;

use super::*;

fn route() -> Route {
    let column = |name: &str, kind, presence, low_cardinality| Column {
        name: name.into(),
        field: name.into(),
        kind,
        presence,
        low_cardinality,
    };
    Route {
        name: "visits".into(),
        topic: "visits".into(),
        postgres_table: "visits".into(),
        clickhouse_table: "visits".into(),
        timezone: "UTC".into(),
        columns: vec![
            column("request", Kind::Text, Presence::Required, true),
            column("seen", Kind::Timestamp, Presence::Required, false),
            column("agent", Kind::Text, Presence::Optional, true),
        ],
    }
}

fn have(name: &str, column_type: &str) -> FoundColumn {
    FoundColumn {
        name: name.into(),
        column_type: column_type.into(),
        default_kind: String::new(),
        in_key: name == "seen",
    }
}

/// The table as the old system made it.
fn old() -> FoundTable {
    FoundTable {
        engine: "MergeTree".into(),
        engine_full: "MergeTree ORDER BY seen SETTINGS index_granularity = 8192".into(),
        sorting_key: "seen".into(),
        columns: vec![have("request", "LowCardinality(String)"), have("seen", "DateTime64(6, 'UTC')")],
        ..FoundTable::default()
    }
}

fn sql(found: Option<&FoundTable>) -> Vec<String> {
    plan(&route(), "prd", found).unwrap().into_iter().map(|change| change.sql).collect()
}

#[test]
fn a_missing_table_is_made_whole() {
    let statements = sql(None);
    assert_eq!(statements.len(), 1);
    for part in [
        "create table if not exists \"prd\".\"visits\" (",
        "    \"request\" LowCardinality(String),\n    \"seen\" DateTime64(6, 'UTC'),\n    \"agent\" \
         LowCardinality(Nullable(String)),\n",
        "order by \"seen\"",
        "settings non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1",
    ] {
        assert!(statements[0].contains(part), "{part} is not in {}", statements[0]);
    }
    assert!(!statements[0].contains("{{"));
}

#[test]
fn an_old_table_gains_what_it_lacks_and_keeps_its_keys() {
    assert_eq!(
        sql(Some(&old())),
        [
            "alter table \"prd\".\"visits\" add column if not exists \"agent\" LowCardinality(Nullable(String))",
            "alter table \"prd\".\"visits\" add column if not exists kafka_source Nullable(Int64)",
            "alter table \"prd\".\"visits\" add column if not exists kafka_partition Nullable(Int32)",
            "alter table \"prd\".\"visits\" add column if not exists kafka_offset Nullable(Int64)",
            "alter table \"prd\".\"visits\" add column if not exists received_at Nullable(DateTime64(6, 'UTC'))",
            "alter table \"prd\".\"visits\" add index if not exists kafka_offset_minmax kafka_offset type minmax \
             granularity 1",
            "alter table \"prd\".\"visits\" modify setting non_replicated_deduplication_window = 10000, \
             fsync_after_insert = 1, fsync_part_directory = 1",
        ]
    );
}

#[test]
fn a_setting_above_the_least_is_kept() {
    let mut found = old();
    found.engine_full = "MergeTree ORDER BY seen SETTINGS non_replicated_deduplication_window = 50000, \
                         fsync_after_insert = 1, index_granularity = 8192"
        .into();
    assert_eq!(
        sql(Some(&found)).pop().unwrap(),
        "alter table \"prd\".\"visits\" modify setting fsync_part_directory = 1"
    );
}

#[test]
fn a_column_added_to_a_table_with_rows_is_nullable() {
    let mut found = old();
    found.columns.remove(0);
    assert_eq!(
        sql(Some(&found))[0],
        "alter table \"prd\".\"visits\" add column if not exists \"request\" LowCardinality(Nullable(String))"
    );
}

#[test]
fn what_would_lose_something_is_refused() {
    let refused = |change: &dyn Fn(&mut FoundTable)| {
        let mut found = old();
        change(&mut found);
        plan(&route(), "prd", Some(&found)).unwrap_err().why
    };
    assert!(refused(&|found| found.engine = "ReplacingMergeTree".into()).contains("ReplacingMergeTree"));
    assert!(refused(&|found| found.columns[1].column_type = "DateTime".into()).contains("of a key"));
    assert!(refused(&|found| found.columns[0].column_type = "FixedString(4)".into()).contains("FixedString(4)"));
    assert!(refused(&|found| found.columns[0].default_kind = "ALIAS".into()).contains("computed"));
    assert!(refused(&|found| found.columns.push(have("kafka_offset", "String"))).contains("rename it"));
}

#[test]
fn a_uuid_is_in_its_own_type_alone() {
    let column = |presence| Column { kind: Kind::Uuid, presence, low_cardinality: false, ..route().columns[0].clone() };
    let first = |column_type: &str, presence| {
        let mut found = old();
        found.columns[0].column_type = column_type.into();
        let changes = plan(&Route { columns: vec![column(presence)], ..route() }, "prd", Some(&found))?;
        Ok::<_, ShapeError>(changes[0].sql.clone())
    };
    for same in ["UUID", "Nullable(UUID)", "LowCardinality(UUID)", "LowCardinality(Nullable(UUID))"] {
        let sql = first(same, Presence::Required).unwrap();
        assert!(sql.contains("add column if not exists kafka_source"), "{same} stays as it is: {sql}");
    }
    assert!(first("UUID", Presence::Optional).unwrap().ends_with("modify column \"request\" Nullable(UUID)"));
    for other in ["String", "FixedString(36)", "FixedString(16)", "UInt128"] {
        assert!(first(other, Presence::Required).unwrap_err().why.contains(&format!("is {other}")), "{other}");
    }
}

#[test]
fn a_narrow_column_outside_the_key_is_widened() {
    let mut found = old();
    found.columns[1].column_type = "DateTime64(3, 'UTC')".into();
    found.columns[1].in_key = false;
    assert_eq!(sql(Some(&found))[0], "alter table \"prd\".\"visits\" modify column \"seen\" DateTime64(6, 'UTC')");
}

#[test]
fn minmax_indexes_are_read_from_the_definition() {
    let definition = "CREATE TABLE prd.visits (`seen` DateTime64(6, 'UTC'), `kafka_offset` Int64, \
                      INDEX kafka_offset_minmax kafka_offset TYPE minmax GRANULARITY 1, \
                      INDEX words link TYPE bloom_filter GRANULARITY 1) ENGINE = MergeTree ORDER BY seen";
    assert_eq!(minmax_columns(definition), ["kafka_offset"]);
}
