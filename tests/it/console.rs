//! The old consumer's environment names alone, and a topic written by Kafka's own console producer.

use std::process::{Command, Stdio};
use std::time::Duration;

use footprint_stack::{APPLICATION_DATABASE, APPLICATION_USER};

use crate::support::wait::until;
use crate::support::{calm, stack};

const EVENTS: usize = 50_000;
const TOPIC: &str = "console-events";

#[test]
fn the_old_environment_names_alone_drain_what_the_console_producer_wrote() {
    let _calm = calm();
    let (kafka, postgres, clickhouse) =
        (stack().kafka().unwrap(), stack().postgres().unwrap(), stack().clickhouse().unwrap());
    postgres.create_database(APPLICATION_DATABASE).unwrap();
    postgres.give_database(APPLICATION_DATABASE, APPLICATION_USER).unwrap();
    kafka.create_topic(TOPIC, 3, &[]).unwrap();
    let lines: Vec<String> = (0..EVENTS)
        .map(|n| {
            let (second, minute) = (n % 60, n / 60 % 60);
            format!(
                r#"{{"link":"/page/{}","method":"GET","footprint_time":"2026-01-02T03:{minute:02}:{second:02}+09:00"}}"#,
                n % 97
            )
        })
        .collect();
    kafka.console_producer(TOPIC, &lines.join("\n")).unwrap();

    // a directory of its own: no .env is found, and nothing else of the environment is given
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&directory).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_footprint"))
        .args(["run", "--migrate", "--until-caught-up"])
        .current_dir(&directory)
        .env_clear()
        .env("BOOTSTRAP_SERVER", kafka.bootstrap())
        .env("GROUP_ID", "console")
        .env("TOPIC", TOPIC)
        .env("OFFSET_RESET_CONFIG", "earliest")
        .env("DB_HOST", postgres.host())
        .env("DB_PORT", postgres.port().to_string())
        .env("DB_NAME", APPLICATION_DATABASE)
        .env("DB_USER", APPLICATION_USER)
        .env("DB_PASSWORD", stack().user_password())
        .env("CH_HOST", clickhouse.host())
        .env("CH_PORT", clickhouse.http_port().to_string())
        .env("CH_USER", APPLICATION_USER)
        .env("CH_PASSWORD", stack().user_password())
        .env("LOG_DIR", directory.join("logs"))
        // the one thing more: tests side by side must not share the default port
        .env("FOOTPRINT_TELEMETRY__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let status = until("the end of the run", Duration::from_secs(90), || child.try_wait().unwrap());
    assert!(status.success(), "{status}");

    let sql = "select count(*)::text, count(distinct (kafka_partition, kafka_offset))::text, \
               (extract(epoch from min(footprint_time)) * 1000000)::bigint::text from user_footprint";
    let found = postgres.query(APPLICATION_DATABASE, sql).unwrap();
    let found: Vec<&str> = found[0].iter().map(|value| value.as_deref().unwrap()).collect();
    // 2026-01-02T03:00:00+09:00
    assert_eq!(found, ["50000", "50000", "1767290400000000"]);
    let sql = format!(
        "select count(), uniqExact(kafka_partition, kafka_offset), toUnixTimestamp64Micro(min(footprint_time)) \
         from {APPLICATION_DATABASE}.user_footprint"
    );
    assert_eq!(clickhouse.query(&sql).unwrap().trim(), "50000\t50000\t1767290400000000");
    let log = std::fs::read_to_string(directory.join("logs/consumer.log")).unwrap();
    assert!(log.contains("caught up"), "{log}");
}
