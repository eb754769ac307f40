//! A route with UUIDs, in tables that existed before. Both databases hold the same bits. A text that is not a UUID becomes a dead
//! letter that says so.

use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// Good events: the members besides the time, and their row in both databases, as text.
const GOOD: [(&str, &str); 6] = [
    // a different byte at each place, so that swapped bytes are found
    (r#""visitor":"01234567-89ab-cdef-1032-547698badcfe""#, "01234567-89ab-cdef-1032-547698badcfe|∅"),
    (
        r#""visitor":"550E8400-E29B-41D4-A716-446655440000","session":"00000000-0000-0000-0000-000000000001""#,
        "550e8400-e29b-41d4-a716-446655440000|00000000-0000-0000-0000-000000000001",
    ),
    (
        r#""visitor":"\u0066fffffff-ffff-ffff-ffff-ffffffffffff","session":null"#,
        "ffffffff-ffff-ffff-ffff-ffffffffffff|∅",
    ),
    // neither the nil UUID nor a default is null
    (
        r#""session":"00000000-0000-0000-0000-000000000000""#,
        "00000000-0000-0000-0000-00000000000f|00000000-0000-0000-0000-000000000000",
    ),
    (r#""visitor":"80000000-0000-0000-0000-000000000000""#, "80000000-0000-0000-0000-000000000000|∅"),
    (r#""visitor":"00000000-0000-0000-8000-000000000000""#, "00000000-0000-0000-8000-000000000000|∅"),
];

/// Bad events, and the reasons of their dead letters.
const BAD: [(&str, &str); 7] = [
    (r#""visitor":"""#, "bad_uuid: \"visitor\" is not a UUID such as 550e8400-e29b-41d4-a716-446655440000"),
    (
        r#""visitor":"550e8400e29b41d4a716446655440000""#,
        "bad_uuid: \"visitor\" is not a UUID such as 550e8400-e29b-41d4-a716-446655440000",
    ),
    (
        r#""session":"{550e8400-e29b-41d4-a716-446655440000}""#,
        "bad_uuid: \"session\" is not a UUID such as 550e8400-e29b-41d4-a716-446655440000",
    ),
    (
        r#""session":"550e8400-e29b-41d4-a716-44665544000\u0000""#,
        "bad_uuid: \"session\" is not a UUID such as 550e8400-e29b-41d4-a716-446655440000",
    ),
    (r#""visitor":7"#, "wrong_type: \"visitor\" is not the text of a UUID"),
    (r#""visitor":"\ud83d""#, "lone_surrogate: \"visitor\" escapes half of a surrogate pair"),
    (r#""visitor":null"#, "missing_field: \"visitor\" is missing or null"),
];

fn event(members: &str) -> String {
    format!(r#"{{{members},"footprint_time":"2026-01-02T03:04:05Z"}}"#)
}

#[test]
fn uuids_are_the_same_in_both_databases_and_other_texts_are_dead_letters() {
    let _calm = calm();
    let mut world = World::without_tables("uuids", 1, 0.0);
    world.set_text("clickhouse.user", footprint_stack::TEST_ADOPTER);
    world.definition.columns = [
        r#"{ name = "visitor", kind = "uuid", presence = { default = "00000000-0000-0000-0000-00000000000F" } }"#,
        r#"{ name = "session", kind = "uuid", presence = "optional" }"#,
        r#"{ name = "footprint_time", kind = "timestamp" }"#,
    ];
    // PostgreSQL's table has a column that may not be null yet, ClickHouse's lacks it
    world.eye.query("create table user_footprint (visitor uuid, session uuid not null, footprint_time timestamptz)");
    world.eye.query(&format!("alter table user_footprint owner to {}", footprint_stack::APPLICATION_USER));
    world.eye.query("insert into user_footprint select uuid, uuid, now() from gen_random_uuid() as uuid");
    let clickhouse = |sql: &str| stack().clickhouse().unwrap().query(sql).unwrap();
    clickhouse(&format!(
        "create table {}.user_footprint (visitor UUID, footprint_time DateTime64(6, 'UTC')) engine MergeTree \
         order by visitor",
        world.database
    ));
    world.command(&["migrate"]);
    let events: Vec<String> = GOOD.iter().chain(&BAD).map(|(members, _)| event(members)).collect();
    let source = world.send_these(0, &events);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();

    let expected: Vec<&str> = GOOD.iter().map(|(_, row)| *row).collect();
    let sql = "select visitor::text || '|' || coalesce(session::text, '∅') from user_footprint \
               where kafka_source is not null order by kafka_offset";
    let rows: Vec<String> = world.eye.query(sql).iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, expected);
    let rows = clickhouse(&format!(
        "select toString(visitor) || '|' || ifNull(toString(session), '∅') from {}.user_footprint order by kafka_offset",
        world.database
    ));
    assert_eq!(rows.lines().collect::<Vec<_>>(), expected);
    let types = clickhouse(&format!(
        "select type from system.columns where database = '{}' and name in ('visitor', 'session') order by name desc",
        world.database
    ));
    assert_eq!(types.lines().collect::<Vec<_>>(), ["UUID", "Nullable(UUID)"]);

    let reasons = world.eye.query("select reason from dead_letters order by kafka_offset");
    let reasons: Vec<String> = reasons.iter().map(|row| row.get(0)).collect();
    assert_eq!(reasons, BAD.map(|(_, reason)| reason));
    world.command(&["check"]);
    world.command(&["verify", "--strict"]);
    // and verify sees one bit
    let (table, changed) = (&world.database, "550e8400-e29b-41d4-a716-446655440001");
    clickhouse(&format!(
        "alter table {table}.user_footprint update session = toUUID('{changed}') where kafka_offset = 1 \
         settings mutations_sync = 1"
    ));
    let (status, out, _) = world.outcome(&["verify"]);
    assert_eq!(status, 3, "{out}");
}
