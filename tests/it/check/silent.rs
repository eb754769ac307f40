//! Servers that accept connections and never answer.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::found::check;
use super::ready;
use crate::support::calm;

/// How long one question may take: `QUESTION_MAX` of src/cli/check.rs, and the clients' own limits.
const DEADLINE: Duration = Duration::from_secs(10);

/// The story: three dead servers cost ten seconds each, one after the other, and ClickHouse twenty.
#[test]
fn three_silent_servers_cost_the_time_of_one() {
    let _up = calm();
    let mut databases = ready("check_silent");
    let silent: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    let port = |index: usize| silent[index].local_addr().unwrap().port();
    databases.config.kafka.bootstrap_servers = format!("127.0.0.1:{}", port(0));
    databases.config.postgres.port = port(1);
    databases.config.clickhouse.port = port(2);
    let began = Instant::now();
    let found = check(&databases.config);
    let elapsed = began.elapsed();
    assert_eq!(found.ids("fault"), ["kafka_answers", "postgres_answers", "clickhouse_answers"], "always in this order");
    assert!(elapsed < DEADLINE + Duration::from_secs(2), "{elapsed:?}");
    for (id, setting) in [("postgres_answers", "DB_HOST"), ("clickhouse_answers", "CH_HOST")] {
        let finding = found.fault(id);
        assert!(finding.text.contains("answer") && finding.remedy.contains(setting), "{finding:?}");
    }
}
