//! Each macro of both data sources, and the traps.

use super::{Asked, clickhouse, postgresql, variables};

/// 2026-03-29T00:00:00Z to 2026-03-30T12:00:00.5Z.
const ASKED: Asked<'_> = Asked {
    from_ms: 1_774_742_400_000,
    to_ms: 1_774_872_000_500,
    interval_ms: 300_000,
    variables: &[("prefix", "/it's \"a\""), ("tz", "UTC"), ("table", "t"), ("all", "")],
};

fn every(interval_ms: i64) -> Asked<'static> {
    Asked { interval_ms, ..ASKED }
}

fn assert_all(expand: fn(&str, &Asked<'_>) -> Result<String, String>, cases: &[(&str, &str)]) {
    for (sql, expanded) in cases {
        assert_eq!(expand(sql, &ASKED).as_deref(), Ok(*expanded), "{sql}");
    }
}

#[test]
fn variables_come_first_and_must_be_known() {
    assert_all(
        variables,
        &[
            ("a = ${prefix:sqlstring} and ${tz:sqlstring}", r#"a = '/it''s \"a\"' and 'UTC'"#),
            ("from ${table:raw}, $__interval", "from t, $__interval"),
        ],
    );
    for bad in ["${other:raw}", "${tz}", "${tz:csv}", "${tz:raw"] {
        assert!(variables(bad, &ASKED).is_err(), "{bad}");
    }
}

#[test]
fn every_macro_of_postgresql() {
    assert_all(
        postgresql,
        &[
            ("$__time(c)", r#"c AS "time""#),
            ("$__timeEpoch(c)", r#"extract(epoch from c) as "time""#),
            ("$__timeFilter(c)", "c BETWEEN '2026-03-29T00:00:00Z' AND '2026-03-30T12:00:00.5Z'"),
            (
                "$__timeFrom()::timestamptz - $__timeTo()",
                "'2026-03-29T00:00:00Z'::timestamptz - '2026-03-30T12:00:00.5Z'",
            ),
            ("$__timeGroup(c, '5m') as t", "floor(extract(epoch from c)/300)*300 as t"),
            ("$__timeGroupAlias(c,$__interval)", r#"floor(extract(epoch from c)/300)*300 AS "time""#),
            ("$__unixEpochFilter(c)", "c >= 1774742400 AND c <= 1774872000"),
            ("$__unixEpochFrom() $__unixEpochTo()", "1774742400 1774872000"),
            ("$__unixEpochNanoFilter(c)", "c >= 1774742400000000000 AND c <= 1774872000500000000"),
            ("$__unixEpochNanoFrom() $__unixEpochNanoTo()", "1774742400000000000 1774872000500000000"),
            ("$__unixEpochGroup(c,'1h')", "floor((c)/3600)*3600"),
            ("$__unixEpochGroupAlias(c,'1d')", r#"floor((c)/86400)*86400 AS "time""#),
            ("$__interval_ms $__interval", "300000 5m"),
            ("a $ b $1 c$", "a $ b $1 c$"),
        ],
    );
}

#[test]
fn the_traps_of_postgresql() {
    // a comma behind the macro makes it the column "time"
    assert_all(
        postgresql,
        &[
            ("$__timeGroup(c,'5m'), 1", r#"floor(extract(epoch from c)/300)*300 AS "time", 1"#),
            ("$__unixEpochGroup(c,'5m'), 1", r#"floor((c)/300)*300 AS "time", 1"#),
            // arguments end at the first bracket
            ("$__timeFilter(lower(c))", "lower(c BETWEEN '2026-03-29T00:00:00Z' AND '2026-03-30T12:00:00.5Z')"),
            // comments are not skipped
            ("-- $__timeFrom()", "-- '2026-03-29T00:00:00Z'"),
        ],
    );
    // of 90 seconds the data source keeps a minute
    for (interval_ms, text) in [(90_000, "1m"), (3_600_000, "1h"), (86_400_000, "1d"), (200, "200ms"), (0, "1ms")] {
        assert_eq!(postgresql("$__interval", &every(interval_ms)).as_deref(), Ok(text));
    }
    assert_eq!(
        postgresql("$__timeGroup(c,$__interval)", &every(200)).as_deref(),
        Ok("floor(extract(epoch from c)/0.2)*0.2")
    );
    for bad in ["$__timeFiltre(c)", "$other(c)", "$__timeGroup(c,'1M')", "$__timeGroup(c)", "$__timeFilter()"] {
        assert!(postgresql(bad, &ASKED).is_err(), "{bad}");
    }
}

#[test]
fn every_macro_of_clickhouse() {
    assert_all(
        clickhouse,
        &[
            ("$__fromTime $__toTime", "toDateTime(1774742400) toDateTime(1774872000)"),
            (
                "$__fromTime_ms $__toTime_ms",
                "fromUnixTimestamp64Milli(1774742400000) fromUnixTimestamp64Milli(1774872000500)",
            ),
            ("$__timeFilter(c)", "c >= toDateTime(1774742400) AND c <= toDateTime(1774872000)"),
            (
                "$__timeFilter_ms(c)",
                "c >= fromUnixTimestamp64Milli(1774742400000) AND c <= fromUnixTimestamp64Milli(1774872000500)",
            ),
            ("$__dateFilter(d)", "d >= toDate('2026-03-29') AND d <= toDate('2026-03-30')"),
            (
                "$__dateTimeFilter(d, t)",
                "(d >= toDate('2026-03-29') AND d <= toDate('2026-03-30')) AND \
                 (t >= toDateTime(1774742400) AND t <= toDateTime(1774872000))",
            ),
            (
                "$__dt(d, t)",
                "(d >= toDate('2026-03-29') AND d <= toDate('2026-03-30')) AND \
                 (t >= toDateTime(1774742400) AND t <= toDateTime(1774872000))",
            ),
            ("$__timeFrom(c) $__timeTo(c)", "c >= toDateTime(1774742400) c <= toDateTime(1774872000)"),
            ("$__timeInterval(c)", "toStartOfInterval(toDateTime(c), INTERVAL 300 second)"),
            ("$__timeInterval_ms(c)", "toStartOfInterval(toDateTime64(c, 3), INTERVAL 300000 millisecond)"),
            ("$__timeGroup(c, 5m)", "toStartOfInterval(toDateTime(c), INTERVAL 300 second)"),
            ("$__interval_s", "300"),
            ("$__conditionalAll(a = 1, ${all:raw})", "1=1"),
            ("$__conditionalAll(a in (1, 2), ${tz:raw})", "a in (1, 2)"),
        ],
    );
}

#[test]
fn the_traps_of_clickhouse() {
    assert_all(
        clickhouse,
        &[
            // comments are blanked, quotes respected
            ("1 -- $__timeFilter()\n/* $__fromTime */ 2", "1  \n  2"),
            (r"'-- $__fromTime \' it' $__interval_s", r"'-- $__fromTime \' it' 300"),
            // an unknown macro stays
            ("$__unknown(c) $x", "$__unknown(c) $x"),
            (
                "$__timeFilter(if(a, ',', b))",
                "if(a, ',', b) >= toDateTime(1774742400) AND if(a, ',', b) <= toDateTime(1774872000)",
            ),
        ],
    );
    assert_eq!(
        clickhouse("$__interval_s $__timeInterval(c)", &every(200)).as_deref(),
        Ok("1 toStartOfInterval(toDateTime(c), INTERVAL 1 second)")
    );
    for bad in ["$__timeFilter()", "$__timeFilter(a, b)", "$__timeFrom()", "$__dt(d)", "$__timeFilter(a"] {
        assert!(clickhouse(bad, &ASKED).is_err(), "{bad}");
    }
}
