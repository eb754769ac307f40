//! The alerts in a real Prometheus that scrapes a real consumer: a healthy consumer fires none, ClickHouse is killed and its alert fires,
//! ClickHouse comes back and the alert ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use footprint_stack::{Progress, Prometheus, PrometheusOptions};
use serde_json::Value;

use crate::grafana::operations;
use crate::support::prove::prove;
use crate::support::wait::{until, until_or};
use crate::support::world::World;
use crate::support::{alone, stack};

/// How long it may take until an alert fires, and until it ends. Prometheus takes new targets every five seconds.
const SOON: Duration = Duration::from_secs(20);

/// The rules as they are shipped, but for the patience of each alert: a second.
fn rules() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/footprint.rules.yml");
    let text = fs::read_to_string(path).unwrap();
    let shortened = text.lines().map(|line| match line.split_once("        for: ") {
        Some(("", _)) => "        for: 1s\n".to_owned(),
        _ => format!("{line}\n"),
    });
    shortened.collect()
}

fn data(prometheus: &Prometheus, path: &str) -> Value {
    let answer: Value = serde_json::from_str(&prometheus.get(path).unwrap()).unwrap();
    assert_eq!(answer["status"], "success", "{answer}");
    answer["data"].clone()
}

/// The alerts that fire: name, component (or nothing) and summary.
fn firing(prometheus: &Prometheus) -> BTreeSet<(String, String, String)> {
    let alerts = data(prometheus, "/api/v1/alerts");
    let firing = alerts["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    firing
        .map(|alert| {
            let labels = &alert["labels"];
            (text(&labels["alertname"]), text(&labels["component"]), text(&alert["annotations"]["summary"]))
        })
        .collect()
}

/// Every rule was evaluated, and none failed. Returns how many there are.
fn assert_rules_work(prometheus: &Prometheus) -> usize {
    let evaluated = || {
        let groups = data(prometheus, "/api/v1/rules")["groups"].as_array().unwrap().clone();
        let rules: Vec<Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    };
    let rules = until("every rule was evaluated", SOON, evaluated);
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    rules.len()
}

#[test]
fn clickhouse_killed_fires_its_alert_and_its_return_ends_it() {
    let _alone = alone();
    let mut world = World::new("alerts", 2, 0.0);
    let source = world.send(2_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, SOON, &mut [&mut consumer]);
    let targets = [consumer.address().unwrap()];
    let rules = rules();
    let interval = Duration::from_millis(200);
    let options = PrometheusOptions { targets: &targets, rules: &rules, interval };
    let prometheus = Prometheus::start(&options, &Progress::Lines).unwrap();
    let seen = || format!("{:?}\n{}", firing(&prometheus), prometheus.log_tail());

    // for longer than the patience of any alert, Prometheus saw a consumer that works: nothing fires, not even on the rows just stored
    let is_watched = || {
        let ups = data(&prometheus, "/api/v1/query?query=sum_over_time(up%5B1m%5D)");
        let value = ups["result"][0]["value"][1].as_str()?.parse::<f64>().ok()?;
        (value >= 15.0).then_some(())
    };
    until_or("it scrapes the consumer", SOON, is_watched, seen);
    assert_eq!(assert_rules_work(&prometheus), rules.matches("- alert: ").count());
    assert_eq!(firing(&prometheus), BTreeSet::new(), "a healthy consumer fires nothing");

    let clickhouse = stack().clickhouse().unwrap();
    clickhouse.kill().unwrap();
    let failed = (
        "FootprintComponentFailed".to_owned(),
        "clickhouse".to_owned(),
        "clickhouse of route user_footprint has failed".to_owned(),
    );
    let wanted = BTreeSet::from([failed]);
    until_or("the alert fires, and no other", SOON, || (firing(&prometheus) == wanted).then_some(()), seen);
    let shown = operations::shown(&prometheus, "Health of each component");
    let failed: Vec<&str> = shown.iter().filter(|(_, state)| **state == 3.0).map(|(name, _)| name.as_str()).collect();
    assert_eq!((shown.len(), failed), (7, vec!["user_footprint clickhouse"]), "{shown:?}");

    clickhouse.restart().unwrap();
    until_or("the alert ends", SOON, || firing(&prometheus).is_empty().then_some(()), seen);
    world.send(1_000);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}
