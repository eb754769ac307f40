//! Prometheus scrapes, evaluates a rule, and keeps its data through a kill.

use std::time::{Duration, Instant};

use footprint_stack::{Progress, Prometheus, PrometheusOptions};

/// Asks until the answer holds the text.
fn until(prometheus: &Prometheus, path: &str, text: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = prometheus.get(path).expect("an answer");
        if answer.contains(text) {
            return;
        }
        assert!(Instant::now() < end, "{path} never said {text}: {answer}\n{}", prometheus.log_tail());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn it_scrapes_and_evaluates_and_a_kill_loses_nothing() {
    // a port where nobody listens: a target that is down is a series, too
    let options = PrometheusOptions {
        targets: &["127.0.0.1:9".to_owned()],
        rules: "groups: [{ name: g, rules: [{ alert: Gone, expr: up == 0 }] }]",
        interval: Duration::from_millis(200),
    };
    let prometheus = Prometheus::start(&options, &Progress::Lines).expect("it starts");
    until(&prometheus, "/api/v1/alerts", "\"alertname\":\"Gone\"");
    prometheus.kill().expect("killed");
    prometheus.get("/api/v1/alerts").expect_err("nobody listens");
    prometheus.restart().expect("restarted");
    until(&prometheus, "/api/v1/query?query=count_over_time(up%5B1h%5D)", "\"instance\":\"127.0.0.1:9\"");
    let said = prometheus.get("/api/v1/query?query=up%7B").expect_err("no expression").to_string();
    assert!(said.contains("parse error"), "{said}");
}
