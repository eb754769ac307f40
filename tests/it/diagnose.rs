//! `footprint diagnose`: one archive with all parts, readable by its owner alone, without a secret. What is away is a text that says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;

use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// The longest deadline of a part, and some time to start.
const WRITTEN: Duration = Duration::from_secs(100);

/// The files of an archive, by their names in its folder.
fn files(path: &Path) -> BTreeMap<String, String> {
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "for its owner alone");
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(entry.header().mode().unwrap(), 0o600);
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name, text);
    }
    files
}

const PARTS: [&str; 11] = [
    "README.txt",
    "check.txt",
    "config.toml",
    "consumer.log",
    "dead-letters.txt",
    "ledger.json",
    "machine.txt",
    "metrics.txt",
    "readyz.json",
    "status.json",
    "versions.txt",
];

#[test]
fn one_archive_has_all_that_explains_a_problem_and_no_secret() {
    let _calm = calm();
    let mut world = World::new("diagnosed", 2, 0.05);
    let logs = world.file("logs", "").with_file_name("log-folder");
    std::fs::create_dir(&logs).unwrap();
    world.set_text("telemetry.log_dir", logs.display());
    world.set("kafka.properties", r#"{ "sasl.password" = "a-secret-of-kafka" }"#);
    let source = world.send(500);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    // the page's list of partitions is made twice a second
    let is_shown = || {
        let status: serde_json::Value = serde_json::from_str(&consumer.page("/status")?.1).ok()?;
        (status["routes"][0]["owned"].as_array()?.len() == 2).then_some(())
    };
    until_or("both partitions are shown", STORED, is_shown, || consumer.tail());
    // whatever brings a password into the log, it does not come into the archive
    let mut log = std::fs::OpenOptions::new().append(true).open(logs.join("consumer.log")).unwrap();
    std::io::Write::write_all(&mut log, format!("slip: {}\n", stack().user_password()).as_bytes()).unwrap();

    let path = logs.with_file_name("archive.tar.gz");
    let (file, at) = (path.to_str().unwrap(), consumer.address().unwrap());
    let out = world.command(&["diagnose", "--output", file, "--at", &at]);
    let files = files(&path);
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), PARTS);
    for (name, text) in &files {
        for secret in [stack().user_password(), "a-secret-of-kafka"] {
            assert!(!text.contains(secret), "{name} has a secret");
        }
        assert!(name == "README.txt" || out.contains(name.as_str()), "{name} is not listed: {out}");
    }
    assert!(out.contains(&format!("all of it is in {file}")) && !out.contains("not available"), "{out}");
    let has = |name: &str, part: &str| assert!(files[name].contains(part), "{name} lacks {part}: {}", files[name]);
    has("config.toml", &world.database);
    has("config.toml", "password = \"(hidden)\"");
    has("consumer.log", "slip: (hidden)");
    has("consumer.log", "metrics at http://");
    has("check.txt", "exit status: 0");
    has("metrics.txt", "footprint_component_health{");
    has("versions.txt", &format!("footprint {}", env!("CARGO_PKG_VERSION")));
    for server in ["librdkafka 2", "postgresql: PostgreSQL ", "clickhouse: 2", "kafka: cluster "] {
        has("versions.txt", server);
    }
    has("machine.txt", "Max open files");
    has("machine.txt", "MemTotal:");
    has("dead-letters.txt", "user_footprint both ");
    let ready: serde_json::Value = serde_json::from_str(&files["readyz.json"]).unwrap();
    let status: serde_json::Value = serde_json::from_str(&files["status.json"]).unwrap();
    assert_eq!((&ready["routes"][0]["route"], ready["ready"].as_bool()), (&"user_footprint".into(), Some(true)));
    assert!(status["routes"][0]["owned"].as_array().is_some_and(|list| list.len() == 2), "{status}");
    let ledger: serde_json::Value = serde_json::from_str(&files["ledger.json"]).unwrap();
    let rows = ledger["footprint_ledger"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["claimed"].as_i64().unwrap()).sum::<i64>(), 500);
    assert!(ledger["footprint_source"].as_array().is_some_and(|list| list.len() == 1), "{ledger}");

    let (status, _, err) = world.outcome(&["diagnose", "--output", file, "--at", &at]);
    assert!(status == 1 && err.contains("cannot be written to"), "an archive is never overwritten: {err}");
    consumer.stop();
}

#[test]
fn what_is_away_is_said_and_the_rest_is_there() {
    let _calm = calm();
    let mut world = World::new("away", 1, 0.0);
    world.set("clickhouse.port", "1");
    world.set("postgres.port", "1");
    world.set_text("telemetry.listen", "127.0.0.1:1");
    let path = world.file("away", "").with_file_name("away.tar.gz");
    let begun = Instant::now();
    let out = world.command(&["diagnose", "--output", path.to_str().unwrap()]);
    assert!(begun.elapsed() < WRITTEN);
    let files = files(&path);
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), PARTS);
    for name in ["consumer.log", "ledger.json", "dead-letters.txt", "status.json", "readyz.json", "metrics.txt"] {
        assert!(files[name].starts_with("not available: "), "{name}: {}", files[name]);
        assert!(files["README.txt"].contains(files[name].trim_end()), "{}", files["README.txt"]);
    }
    assert!(out.contains("no consumer answers at 127.0.0.1:1"), "{out}");
    assert!(
        files["check.txt"].contains("FAULT") && files["check.txt"].contains("exit status: 3"),
        "{}",
        files["check.txt"]
    );
    assert!(files["versions.txt"].contains("clickhouse: not available: "), "{}", files["versions.txt"]);
    assert!(files["versions.txt"].contains("kafka: cluster "), "{}", files["versions.txt"]);
}
