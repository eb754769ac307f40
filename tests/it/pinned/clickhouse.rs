//! ClickHouse: the settings of a profile, which a proxy adds to every request.

use std::time::Duration;

use footprint_service::clickhouse::settings::Pins;

use crate::support::calm;
use crate::support::databases::{DEADLINE, fresh_database, runtime};
use crate::support::profile::Profile;
use crate::support::prove::prove_within;
use crate::support::stack;
use crate::support::world::World;

/// A world whose ClickHouse user has a profile with these settings. Its tables exist.
fn world_with_profile(name: &str, settings: &[(&str, &str)]) -> (World, Profile) {
    let profile = Profile::start(stack().clickhouse().unwrap().http_port(), settings);
    let mut world = World::without_tables(name, 1, 0.005);
    world.set("clickhouse.port", &profile.port().to_string());
    world.command(&["migrate"]);
    (world, profile)
}

/// Kills consumers with pending claims, so that ranges are read back under the profile. Then everything must be stored once, and
/// the settings must not mislead `check` and `verify` either.
fn stores_under(name: &str, settings: &[(&str, &str)]) {
    let _calm = calm();
    let (mut world, _profile) = world_with_profile(name, settings);
    world.set("pipeline.batch_rows_max", "2000");
    let source = world.send(60_000);
    for _ in 0..3 {
        let before = world.stored(source);
        let mut consumer = world.consumer();
        world.wait_some(source, before + 1, &consumer);
        world.wait_claimed(source, &consumer);
        consumer.kill();
    }
    assert!(world.stored(source) < 60_000, "killed in the middle");
    let mut consumer = world.consumer();
    prove_within(&mut world, Duration::from_secs(60), &mut [&mut consumer]);
    consumer.stop();
    assert!(!world.command(&["check"]).contains("FAULT"));
    assert!(world.command(&["verify"]).contains("no fault"));
}

/// The story: a read-back saw only 1,000 rows of a range, so the others were inserted once more: 252,164 rows of 20,000.
#[test]
fn a_limit_on_every_answer_doubles_nothing() {
    stores_under("limit", &[("limit", "1000"), ("offset", "3")]);
}

/// The story: the answer to a read-back was older than the insert: 1,960,000 rows of 80,000.
#[test]
fn cached_answers_double_nothing() {
    let settings = [
        ("use_query_cache", "1"),
        ("query_cache_ttl", "60"),
        ("query_cache_system_table_handling", "save"),
        ("query_cache_nondeterministic_function_handling", "save"),
    ];
    stores_under("cached", &settings);
}

#[test]
fn a_filter_of_the_profile_doubles_nothing() {
    let filter = [
        ("additional_table_filters", "{'user_footprint':'kafka_offset % 2 = 0'}"),
        ("additional_result_filter", "1 = 1"),
    ];
    stores_under("filtered", &filter);
}

/// The story: with each of these settings no take-over ended.
#[test]
fn limits_and_forced_indices_keep_no_take_over_from_its_end() {
    let settings = [
        ("force_primary_key", "1"),
        ("force_index_by_date", "1"),
        ("force_optimize_projection", "1"),
        ("max_rows_to_read", "100"),
        ("max_bytes_to_read", "1000"),
        ("max_rows_to_read_leaf", "100"),
        ("max_bytes_to_read_leaf", "1000"),
        ("max_result_rows", "10"),
        ("max_result_bytes", "100"),
        ("max_columns_to_read", "1"),
        ("max_partitions_to_read", "0"),
        ("max_rows_to_group_by", "1"),
        ("max_execution_time", "0.001"),
        ("max_estimated_execution_time", "0.001"),
        ("timeout_before_checking_execution_speed", "0"),
        ("min_execution_speed", "1000000000"),
    ];
    stores_under("limits", &settings);
}

/// Answers that are silently cut, types that are not expected, inserts that are split, delayed or not deduplicated.
#[test]
fn what_bends_answers_and_inserts_bends_ours_not() {
    let settings = [
        ("max_rows_to_read", "100"),
        ("read_overflow_mode", "break"),
        ("max_result_rows", "10"),
        ("result_overflow_mode", "break"),
        ("group_by_overflow_mode", "any"),
        ("max_rows_to_group_by", "1"),
        ("timeout_overflow_mode", "break"),
        ("partial_result_on_first_cancel", "1"),
        ("aggregate_functions_null_for_empty", "1"),
        ("empty_result_for_aggregation_by_empty_set", "1"),
        ("group_by_use_nulls", "1"),
        ("cast_keep_nullable", "1"),
        ("data_type_default_nullable", "1"),
        ("transform_null_in", "1"),
        ("prefer_column_name_to_alias", "1"),
        ("session_timezone", "Asia/Seoul"),
        ("extremes", "1"),
        ("send_progress_in_http_headers", "1"),
        ("http_headers_progress_interval_ms", "0"),
        ("discard_query_data", "1"),
        ("apply_deleted_mask", "0"),
        ("compatibility", "21.3"),
        ("async_insert", "1"),
        ("wait_for_async_insert", "0"),
        ("insert_deduplicate", "0"),
        ("deduplicate_insert", "disable"),
        ("max_insert_block_size", "100"),
        ("max_insert_block_size_bytes", "1000"),
        ("use_strict_insert_block_limits", "1"),
        ("min_insert_block_size_rows", "1"),
        ("max_partitions_per_insert_block", "1"),
        ("replace_running_query", "1"),
        ("input_format_native_decode_types_in_binary_format", "1"),
        ("input_format_native_allow_types_conversion", "0"),
        ("low_cardinality_allow_in_native_format", "0"),
    ];
    stores_under("bent", &settings);
}

#[test]
fn a_profile_that_forbids_to_set_is_named() {
    let _calm = calm();
    for (readonly, word) in [("1", "readonly"), ("2", "readonly = 0")] {
        let mut world = World::new("forbids", 1, 0.0);
        let profile = Profile::start(stack().clickhouse().unwrap().http_port(), &[("readonly", readonly)]);
        world.set("clickhouse.port", &profile.port().to_string());
        world.send(100);
        let (status, out, _) = world.outcome(&["check"]);
        let named = |line: &&str| line.starts_with("FAULT clickhouse settings") && line.contains(word);
        assert!(status == 3 && out.lines().any(|line| named(&line)), "{out}");
        let (status, out, err) = world.outcome(&["run", "--until-caught-up"]);
        assert!(status == 1 && err.contains("readonly"), "{status}: {out}{err}");
    }
}

#[test]
fn everything_that_is_pinned_is_known_and_needs_no_right() {
    let _calm = calm();
    let client = fresh_database("pins").clickhouse();
    runtime().block_on(async {
        Pins::all(&client, DEADLINE).client().await.unwrap();
        // only settings on its own lists may be left out: any other would be a mistake
        let refused = Pins::all(&client, DEADLINE).and("limit_of_tomorrow", "1".into()).client().await.unwrap_err();
        assert!(refused.to_string().contains("limit_of_tomorrow"), "{refused}");
    });
}
