use super::*;

fn status(uptime: u64, frontier: i64) -> String {
    format!(
        r#"{{"version": "0.1.0", "pid": 7, "started": "2026-02-03T04:05:06.789Z", "uptime_seconds": {uptime}, "ready": false, "routes": [
        {{"route": "visits", "ready": false, "joined": true, "partitions": 2, "seconds_since_stored": 1.5, "components": [
            {{"component": "kafka", "state": "ok"}}, {{"component": "postgres", "state": "ok"}},
            {{"component": "clickhouse", "state": "failed", "since": "2026-02-03T04:05:10Z", "why": "w", "what_to_do": "d"}}],
          "owned": [
            {{"partition": 10, "postgres_next": 50, "clickhouse_next": 40, "claims_pending": 2, "log_end": 90, "lag_records": 50}},
            {{"partition": 2, "postgres_next": {frontier}, "clickhouse_next": null, "claims_pending": 0, "log_end": 300, "lag_records": 4}}]}}]}}"#
    )
}

fn metrics(read: u32, rows: u32) -> String {
    format!(
        "footprint_reader_records_total{{route=\"visits\"}} {read}\nfootprint_reader_records_total{{route=\"orders\"}} 1\n\
         footprint_reader_paused{{route=\"visits\"}} 1\nfootprint_budget_taken_bytes 100\nfootprint_budget_max_bytes 400\n\
         footprint_budget_held_bytes{{holder=\"reader\"}} 60\n\
         footprint_sink_rows_total{{route=\"visits\",sink=\"postgres\"}} {rows}\n\
         footprint_sink_write_seconds_sum{{route=\"visits\",sink=\"postgres\"}} {rows}\n\
         footprint_sink_write_seconds_count{{route=\"visits\",sink=\"postgres\"}} {read}\n\
         footprint_sink_errors_total{{route=\"visits\",sink=\"clickhouse\",class=\"retry\"}} 3\n\
         footprint_dead_letters_total{{route=\"visits\",reason=\"bad_json\"}} 2\n\
         footprint_lag_seconds{{route=\"visits\",partition=\"10\"}} 7.5\nfootprint_lag_seconds{{route=\"visits\",partition=\"2\"}} 0.5\n\
         footprint_claim_age_seconds{{route=\"visits\",partition=\"10\"}} 9\n"
    )
}

#[test]
fn every_figure_is_the_routes_own_and_rates_are_between_the_two() {
    let before = Snapshot::parse(&status(10, 290), &metrics(100, 50)).unwrap();
    let now = Snapshot::parse(&status(14, 296), &metrics(500, 90)).unwrap();
    let figures = Figures::new(&now, Some((&before, 4.0)));
    assert_eq!(figures.at.as_deref(), Some("2026-02-03T04:05:20Z"));
    assert_eq!((figures.budget.taken_bytes, figures.budget.max_bytes), (Some(100), Some(400)));
    assert_eq!(figures.budget.by_holder["reader"], 60);
    let route = &figures.routes[0];
    assert_eq!((route.state, route.partitions_owned, route.partitions_assigned), ("not ready", 2, None));
    assert_eq!(
        (route.read.records, route.read.records_per_second, route.read.waits),
        (Some(500), Some(100.0), Some(true))
    );
    assert_eq!((route.lag.records, route.lag.seconds, route.lag.retention_left_seconds), (Some(54), Some(7.5), None));
    let [postgres, clickhouse] = &route.sinks[..] else { panic!("{:?}", route.sinks) };
    assert_eq!((postgres.rows, postgres.rows_per_second, postgres.write_seconds), (Some(90), Some(10.0), Some(0.1)));
    assert_eq!((clickhouse.sink.as_str(), clickhouse.rows, clickhouse.errors["retry"]), ("clickhouse", None, 3));
    assert_eq!((route.dead_letters["bad_json"], route.audit.is_none()), (2, true));
    let [two, ten] = &route.partitions[..] else { panic!("{:?}", route.partitions) };
    assert_eq!((two.partition, two.stored_per_second, two.lag_seconds), (2, Some(1.5), Some(0.5)));
    assert_eq!((ten.partition, ten.stored_per_second, ten.claim_age_seconds), (10, Some(0.0), Some(9.0)));
}

#[test]
fn one_snapshot_alone_has_totals_and_no_rates() {
    let now = Snapshot::parse(&status(14, 296), &metrics(500, 90)).unwrap();
    let route = &Figures::new(&now, None).routes[0];
    assert_eq!((route.read.records, route.read.records_per_second), (Some(500), None));
    assert_eq!((route.sinks[0].write_seconds, route.partitions[0].stored_per_second), (None, None));
}

#[test]
fn a_consumer_that_says_nothing_more_has_figures_too() {
    let status = r#"{"version": "9", "ready": true, "routes": [{"route": "a", "ready": true}]}"#;
    let figures = Figures::new(&Snapshot::parse(status, "").unwrap(), None);
    let json = serde_json::to_value(&figures).unwrap();
    assert_eq!(
        (&json["at"], &json["routes"][0]["lag"]["records"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
}

#[test]
fn a_frontier_that_moved_back_has_no_speed() {
    let [before, now] = [296, 290].map(|frontier| Snapshot::parse(&status(10, frontier), "").unwrap());
    assert_eq!(Figures::new(&now, Some((&before, 1.0))).routes[0].partitions[0].stored_per_second, None);
}
