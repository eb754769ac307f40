//! The panels that ask Prometheus: every query is expanded as Grafana does, and asked of a real Prometheus that scrapes a real consumer.
//! The answers must be what the records and the consumer's own counters imply.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::Utc;
use footprint_stack::{Progress, Prometheus, PrometheusOptions};
use footprint_trials::trial::{Loss, Proxy};
use serde_json::{Value, json};

use super::MINUTE_MS;
use super::expand::Asked;
use super::expand::prometheus::{ALL, prometheus};
use super::files::{self, MetricQuery};
use crate::support::consumer::Consumer;
use crate::support::wait::until_or;
use crate::support::world::World;
use crate::support::{calm, stack};

/// How often Prometheus scrapes. The data source's "Scrape interval" is the same.
const SCRAPE_MS: i64 = 1_000;
/// The interval of a panel. All that is counted happens within one.
const INTERVAL_MS: i64 = 2 * MINUTE_MS;
/// `$__rate_interval` for it.
const RATE_S: f64 = 121.0;
const SOON: Duration = Duration::from_secs(60);

/// What the last value of a series must be.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Exactly(f64),
    /// What `rate` and `increase` make of it: they add what may have happened in the second before the first and after the last scrape.
    About(f64),
    Between(f64, f64),
}

impl Wanted {
    fn takes(self, value: f64) -> bool {
        match self {
            Self::Exactly(wanted) => value == wanted,
            Self::About(wanted) => (0.99 * wanted..=1.3 * wanted).contains(&value),
            Self::Between(least, most) => (least..=most).contains(&value),
        }
    }
}

/// The series of an answer by their names, each a list of times and values.
type Series = BTreeMap<String, Vec<(f64, f64)>>;

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The name of a series: the legend with the values of its labels.
fn name(legend: &str, labels: &Value) -> String {
    let labels = labels.as_object().unwrap().iter();
    labels.fold(legend.to_owned(), |name, (label, value)| {
        name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap())
    })
}

/// Ten minutes until now, all routes.
fn asked() -> Asked<'static> {
    let to_s = Utc::now().timestamp();
    Asked { from_ms: (to_s - 600) * 1_000, to_ms: to_s * 1_000, interval_ms: INTERVAL_MS, variables: &[("route", ALL)] }
}

/// Asks as Grafana does.
fn answer(server: &Prometheus, query: &MetricQuery, asked: &Asked<'_>) -> Series {
    let expr = prometheus(&query.expr, asked, SCRAPE_MS).unwrap_or_else(|error| panic!("{}: {error}", query.panel));
    let expr = percent_encoded(&expr);
    let (from_s, to_s, step_s) = (asked.from_ms / 1_000, asked.to_ms / 1_000, asked.interval_ms / 1_000);
    let path = match query.is_range {
        true => format!("/api/v1/query_range?query={expr}&start={from_s}&end={to_s}&step={step_s}"),
        false => format!("/api/v1/query?query={expr}&time={to_s}"),
    };
    let answer = server.get(&path).unwrap_or_else(|error| panic!("{}: {error}", query.panel));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let mut found = Series::new();
    let number = |pair: &Value| (pair[0].as_f64().unwrap(), pair[1].as_str().unwrap().parse::<f64>().unwrap());
    for series in answer["data"]["result"].as_array().unwrap() {
        let values = match series["values"].as_array() {
            Some(values) => values.iter().map(number).collect(),
            None => vec![number(&series["value"])],
        };
        let name = name(&query.legend, &series["metric"]);
        assert!(found.insert(name.clone(), values).is_none(), "{}: two series are named {name}", query.panel);
    }
    found
}

/// What a panel shows now: the last value of each series.
pub fn shown(server: &Prometheus, title: &str) -> BTreeMap<String, f64> {
    let queries = files::metric_queries().into_iter().filter(|query| query.panel.ends_with(&format!(": {title}")));
    let series = queries.flat_map(|query| answer(server, &query, &asked()));
    series.map(|(name, values)| (name, values.last().unwrap().1)).collect()
}

/// The counters of a consumer, and how much they have grown.
struct Counted {
    before: String,
    after: String,
}

impl Counted {
    /// The sum of the lines of a metric that hold the text.
    fn sum(page: &str, metric: &str, holds: &str) -> f64 {
        let lines = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric) && line.contains(holds));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    fn grown(&self, metric: &str, holds: &str) -> f64 {
        Self::sum(&self.after, metric, holds) - Self::sum(&self.before, metric, holds)
    }

    /// What each value of a label must show as a rate.
    fn each(&self, metric: &str, label: &str, wanted: impl Fn(f64) -> Wanted) -> Vec<(String, Wanted)> {
        let lines = self.after.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
        let values: BTreeSet<&str> =
            lines.filter_map(|line| line.split(&format!("{label}=\"")).nth(1)?.split('"').next()).collect();
        let of_value = |value: &str| self.grown(metric, &format!("{label}=\"{value}\"")) / RATE_S;
        values.into_iter().map(|value| (value.to_owned(), wanted(of_value(value)))).collect()
    }

    /// The same for those that have grown: the others have no line.
    fn grown_each(&self, metric: &str, label: &str) -> Vec<(String, Wanted)> {
        let each = self.each(metric, label, Wanted::About);
        each.into_iter().filter(|(_, wanted)| matches!(wanted, Wanted::About(rate) if *rate > 0.0)).collect()
    }

    fn rate(&self, metric: &str, holds: &str) -> Wanted {
        Wanted::About(self.grown(metric, holds) / RATE_S)
    }
}

/// What the panels must show at the end: the series of each, by the panel's title.
fn expected(counted: &Counted, instance: &str) -> BTreeMap<&'static str, Vec<(String, Wanted)>> {
    use Wanted::{About, Between, Exactly};
    let one = |name: &str, wanted| (name.to_owned(), wanted);
    let sinks = ["postgres", "clickhouse"];
    let of_sinks = |name: &dyn Fn(&str) -> String, wanted: &dyn Fn(&str) -> Wanted| {
        sinks.map(|sink| (name(sink), wanted(sink))).to_vec()
    };
    let partitions = |wanted| vec![one("user_footprint 0", wanted), one("user_footprint 1", wanted)];
    let quantiles_of_sinks = || {
        let names = sinks.into_iter().flat_map(|sink| [format!("{sink}, half of all"), format!("{sink}, 99 %")]);
        names.map(|name| (name, Between(0.000_01, 60.0))).collect::<Vec<_>>()
    };
    let components = ["kafka", "topic", "ledger", "postgres", "clickhouse", "reader", "coordinator"];
    let mut records = vec![one("read", counted.rate("footprint_reader_records_total", ""))];
    records
        .extend(of_sinks(&|sink| format!("stored in {sink}"), &|sink| counted.rate("footprint_sink_rows_total", sink)));
    let mut bytes = vec![one("read", counted.rate("footprint_reader_bytes_total", ""))];
    bytes.extend(of_sinks(&|sink| format!("stored in {sink}"), &|sink| {
        counted.rate("footprint_sink_bytes_total", sink)
    }));
    let half_and_most = |least, most| vec![one("half of all", Between(least, most)), one("99 %", Between(least, most))];
    let of_instance = |what: &str, least, most| (format!("{instance}{what}"), Between(least, most));
    let mut read_backs = counted.each("footprint_clickhouse_read_backs_total", "result", About);
    read_backs.push(one("doubled records found", Exactly(0.0)));
    BTreeMap::from([
        ("Round trip", counted.each("footprint_kafka_round_trip_seconds", "broker", |_| Between(0.0, 10.0))),
        ("Throttled", counted.each("footprint_kafka_throttle_seconds", "broker", |_| Exactly(0.0))),
        (
            "Transport errors a second",
            counted.each("footprint_kafka_transport_errors_total", "broker", |_| Between(0.0, 10.0)),
        ),
        ("Records proven a second", of_sinks(&|sink| sink.to_owned(), &|_| Between(0.0, 1e6))),
        ("Age of the last proof", partitions(Between(0.0, 600.0))),
        ("Last proof", vec![one("oldest", Between(0.0, 600.0))]),
        ("Oldest record", vec![one("age", Exactly(0.0))]),
        ("Faults of stored rows", vec![one("ranges", Exactly(0.0))]),
        ("Parts in ClickHouse", vec![one("user_footprint", Between(1.0, 300.0))]),
        ("Version", vec![one(env!("CARGO_PKG_VERSION"), Exactly(1.0))]),
        ("Age of the oldest record", partitions(Exactly(0.0))),
        ("Time without progress", partitions(Exactly(0.0))),
        // the topic keeps its records for ever
        ("Time until retention deletes", vec![]),
        ("Records behind an open transaction", partitions(Exactly(0.0))),
        ("Delay until stored in both", half_and_most(0.000_01, 60.0)),
        ("Why batches are closed", counted.grown_each("footprint_batch_cuts_total", "reason")),
        ("Rows and dead letters of a batch", half_and_most(1.0, 22_000.0)),
        (
            "Repaired rows a second",
            vec![one("user_footprint", counted.rate("footprint_clickhouse_repaired_rows_total", ""))],
        ),
        ("Gaps", vec![]),
        ("Rebalances", ["assigned", "revoked", "lost"].map(|kind| one(kind, Exactly(0.0))).to_vec()),
        ("Commits a second", vec![one("accepted", Between(0.001, 10.0)), one("failed", Exactly(0.0))]),
        ("Age of the oldest claim", partitions(Exactly(0.0))),
        ("Time of a commit", half_and_most(0.000_01, 30.0)),
        ("Byte budget by holder", ["reader", "open", "batches"].map(|holder| one(holder, Exactly(0.0))).to_vec()),
        ("Share of time that a stage is blocked", counted.grown_each("footprint_blocked_seconds_sum", "stage")),
        ("Processor", vec![of_instance("", 0.001, 8.0)]),
        ("Memory", vec![of_instance(" resident", 1e6, 1e9), of_instance(" allocated", 1e6, 1e9)]),
        ("Open files and threads", vec![of_instance(" files", 5.0, 500.0), of_instance(" threads", 3.0, 200.0)]),
        ("Processes", vec![one("answer", Exactly(1.0)), one("known", Exactly(1.0))]),
        ("Partitions", vec![one("owned", Exactly(2.0)), one("assigned", Exactly(2.0))]),
        ("Lag", vec![one("records", Exactly(0.0))]),
        ("Dead letters", vec![one("in the range", About(counted.grown("footprint_dead_letters_total", "")))]),
        (
            "Health of each component",
            components.map(|component| (format!("user_footprint {component}"), Exactly(0.0))).to_vec(),
        ),
        ("Records a second", records),
        ("Bytes a second", bytes),
        ("Lag in records", partitions(Exactly(0.0))),
        ("Delay until stored", quantiles_of_sinks()),
        ("Write seconds", quantiles_of_sinks()),
        (
            "Rows of a batch",
            of_sinks(&|sink| sink.to_owned(), &|sink| {
                About(
                    counted.grown("footprint_sink_rows_total", sink)
                        / counted.grown("footprint_sink_batches_total", sink),
                )
            }),
        ),
        (
            "Failed writes a second",
            vec![one("clickhouse: uncertain", counted.rate("footprint_sink_errors_total", "class=\"uncertain\""))],
        ),
        ("Read-backs from ClickHouse a second", read_backs),
        ("Dead letters a second", counted.grown_each("footprint_dead_letters_total", "reason")),
        ("Unreadable records a second", vec![one("user_footprint", Exactly(0.0))]),
        (
            "Partitions of each process",
            vec![(format!("{instance} owned"), Exactly(2.0)), (format!("{instance} assigned"), Exactly(2.0))],
        ),
        (
            "Take-overs and fenced writes a second",
            vec![one("partitions taken over", Exactly(0.0)), one("fenced claims and writes", Exactly(0.0))],
        ),
        ("Claims pending", partitions(Exactly(0.0))),
        (
            "Time of a claim statement",
            vec![one("half of all", Between(0.000_01, 30.0)), one("99 %", Between(0.000_01, 30.0))],
        ),
        ("Byte budget", vec![(format!("{instance} in use"), Exactly(0.0)), one("budget", Exactly(134_217_728.0))]),
        ("Insert rate", of_sinks(&|sink| sink.to_owned(), &|sink| counted.rate("footprint_sink_rows_total", sink))),
        ("Lag of each database", of_sinks(&|sink| sink.to_owned(), &|_| Exactly(0.0))),
        ("Reading waits", vec![one("user_footprint", Exactly(0.0))]),
    ])
}

/// The last value of each series must be what is expected, and no other series may be there.
fn assert_shown(server: &Prometheus, asked: &Asked<'_>, expected: &BTreeMap<&'static str, Vec<(String, Wanted)>>) {
    let mut shown: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for query in files::metric_queries() {
        let (_, title) = query.panel.split_once(": ").unwrap();
        let panel = shown.entry(title.to_owned()).or_default();
        for (name, values) in answer(server, &query, asked) {
            let &(time, value) = values.last().unwrap();
            assert_eq!(time as i64 * 1_000, asked.to_ms, "{title}: {name} has no value at the end");
            assert!(panel.insert(name.clone(), value).is_none(), "{title}: two series are named {name}");
        }
    }
    let titles = |titles: &mut dyn Iterator<Item = &str>| titles.map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(titles(&mut shown.keys().map(String::as_str)), titles(&mut expected.keys().copied()));
    for (title, wanted) in expected {
        let shown = &shown[*title];
        let names: BTreeSet<&String> = wanted.iter().map(|(name, _)| name).collect();
        assert_eq!(shown.keys().collect::<BTreeSet<_>>(), names, "{title}");
        for (name, wanted) in wanted {
            assert!(wanted.takes(shown[name]), "{title}: {name} is {} and not {wanted:?}", shown[name]);
        }
    }
}

/// Waits until Prometheus has seen the consumer's counter at its present value for this number of seconds.
fn wait_scraped(server: &Prometheus, consumer: &Consumer, metric: &str, seconds: f64) {
    let value = consumer.metric(metric).unwrap();
    let path =
        format!("/api/v1/query?query={}", percent_encoded(&format!("count_over_time(({metric} == {value})[1m:1s])")));
    let is_seen = || {
        let answer: Value = serde_json::from_str(&server.get(&path).unwrap()).unwrap();
        let count = answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()?;
        (count >= seconds).then_some(())
    };
    until_or("Prometheus sees the counter", SOON, is_seen, || server.log_tail());
}

#[test]
fn every_panel_of_prometheus_shows_what_the_records_imply() {
    let _calm = calm();
    let mut world = World::new("operations", 2, 0.1);
    let proxy = Proxy::start(stack().clickhouse().unwrap().http_port()).unwrap();
    world.set("clickhouse.port", &proxy.port().to_string());
    let source = world.send(2_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, SOON, &mut [&mut consumer]);
    let instance = consumer.address().unwrap();
    let targets = [instance.clone()];
    let options = PrometheusOptions { targets: &targets, rules: "", interval: Duration::from_secs(1) };
    let server = Prometheus::start(&options, &Progress::Lines).unwrap();
    let stored = "footprint_sink_rows_total{route=\"user_footprint\",sink=\"postgres\"}";
    let lag = "footprint_lag_records{route=\"user_footprint\",partition=\"1\"}";
    // the more scrapes, the less is added
    wait_scraped(&server, &consumer, stored, 6.0);
    // the client's statistics, the parts and the first proofs come every few seconds
    let is_counted = || {
        let (_, page) = consumer.page("/metrics")?;
        let metrics = ["footprint_kafka_round_trip_seconds", "footprint_clickhouse_active_parts"];
        let has_all = metrics.iter().all(|metric| page.contains(&format!("\n{metric}{{")));
        let is_proven = page.matches("\nfootprint_audit_proof_age_seconds{").count() == 2;
        (has_all && is_proven).then_some(())
    };
    until_or("everything is counted", SOON, is_counted, || consumer.page("/metrics").unwrap().1);

    let (_, before) = consumer.page("/metrics").unwrap();
    proxy.lose(Loss { marks: &[b"insert_deduplication_token="], withhold: false });
    world.send(20_000);
    world.wait_stored(source, SOON, &mut [&mut consumer]);
    assert!(proxy.has_lost(), "an insert's answer is lost");
    let is_idle =
        || (consumer.metric(lag)? == 0.0 && consumer.metric("footprint_budget_taken_bytes")? == 0.0).then_some(());
    until_or("nothing is under way", SOON, is_idle, || consumer.tail());
    wait_scraped(&server, &consumer, stored, 2.0);
    wait_scraped(&server, &consumer, lag, 1.0);
    let (_, after) = consumer.page("/metrics").unwrap();
    let counted = Counted { before, after };
    let count = |sql: &str, world: &mut World| world.eye.query(sql)[0].get::<_, i64>(0) as f64;
    let rows = count("select count(*) from user_footprint", &mut world);
    let dead = count("select count(*) from dead_letters", &mut world);
    assert_eq!(rows + dead, 22_000.0);
    for sink in ["postgres", "clickhouse"] {
        assert_eq!(Counted::sum(&counted.after, "footprint_sink_rows_total", sink), rows, "{sink}");
    }
    assert_eq!(Counted::sum(&counted.after, "footprint_dead_letters_total", ""), dead);

    let asked = asked();
    assert_shown(&server, &asked, &expected(&counted, &instance));
    play_for_picture(&mut world, &proxy, &server);
    consumer.stop();
}

/// For `tools/dashboards/render.py`, if a person asks for it: five minutes with a load that changes, and half a minute without ClickHouse.
fn play_for_picture(world: &mut World, proxy: &Proxy, server: &Prometheus) {
    const ROUNDS: usize = 300;
    let Some(path) = std::env::var_os("FOOTPRINT_GRAFANA_METRICS") else { return };
    for round in 0..ROUNDS {
        match round {
            150 => proxy.hold(),
            180 => proxy.release(),
            _ => {}
        }
        // a wave of a minute; one in a hundred is bad
        let wave = (round as f64 / 60.0 * std::f64::consts::TAU).sin();
        let now_ms = Utc::now().timestamp_millis();
        let payload = |number: usize| match number % 100 {
            0 => "{}".to_owned(),
            _ => json!({ "link": format!("/{}", number % 40), "method": "GET", "footprint_time": now_ms * 1_000 })
                .to_string(),
        };
        let payloads: Vec<String> = (0..(750.0 + 500.0 * wave) as usize).map(payload).collect();
        for partition in 0..2 {
            world.feed.send_at(partition, &payloads, |_| now_ms);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let asked = Asked { from_ms: asked().to_ms - 300_000, interval_ms: 5_000, ..asked() };
    let mut answers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for query in files::metric_queries() {
        let series = answer(server, &query, &asked);
        answers
            .entry(query.panel)
            .or_default()
            .push(json!({ "series": series, "range": [asked.from_ms / 1_000, asked.to_ms / 1_000], "step": 5 }));
    }
    std::fs::write(path, serde_json::to_string(&answers).unwrap()).unwrap();
}
