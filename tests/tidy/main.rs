//! The house rules as tests. They need no server. If a rule has to change, change it here, with its reason.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue panics")]
#![allow(unreachable_pub, reason = "nothing else uses it")]

mod alerts;
mod check;
mod errors;
mod layers;
mod manifests;
mod packaging;
mod size;
mod sources;

use std::fs;
use std::path::Path;

use crate::sources::{code, is_test, sources};

/// A rule: only files whose path begins with one of `allowed` may contain `needle`.
struct Only {
    needle: &'static str,
    allowed: &'static [&'static str],
    why: &'static str,
}

const ONLY: &[Only] = &[
    Only {
        needle: "rdkafka",
        // the description of the settings says what librdkafka's are
        allowed: &["service/kafka", "read/", "cli/generate", "upkeep/verify/log.rs", "service/config/described.rs"],
        why: "only code that talks to Kafka names Kafka's client",
    },
    Only {
        needle: "tokio_postgres",
        allowed: &[
            "service/postgres",
            "store/postgres",
            "ledger",
            "probes",
            "upkeep/offsets",
            "upkeep/repair",
            "upkeep/replay",
            "upkeep/verify",
            "cli",
        ],
        why: "only code with SQL names PostgreSQL's client",
    },
    Only {
        needle: "anyhow",
        allowed: &["cli", "main.rs"],
        why: "elsewhere, errors are classed by what the caller does",
    },
    Only {
        needle: "crate::store::clickhouse",
        allowed: &["store/clickhouse", "claim/take_over", "pipeline.rs", "probes", "upkeep", "cli"],
        why: "the files of one database do not import those of the other",
    },
];

/// The pure machines: no async, no own clock, no I/O.
const PURE: &[&str] = &[
    "protocol/",
    "event/",
    "service/health.rs",
    "batch/batcher.rs",
    "batch/batcher/pacing.rs",
    "read/event.rs",
    "read/reader/action.rs",
    "read/reader/deferred.rs",
    "read/reader/partitions.rs",
    "read/reader/readings.rs",
    "read/reader/room.rs",
    "store/postgres/copy.rs",
    "store/clickhouse/native.rs",
    "upkeep/repair/choice.rs",
    "upkeep/repair/row_binary.rs",
    "upkeep/repair/statements.rs",
    "upkeep/verify/window.rs",
];

fn is_pure(name: &str) -> bool {
    PURE.iter().any(|pure| name.starts_with(pure)) && !is_test(name)
}

#[test]
fn every_file_says_first_what_it_is() {
    for (name, text) in sources() {
        assert!(is_test(&name) || text.starts_with("//!"), "{name} does not start with //!");
    }
}

#[test]
fn clients_stay_where_they_belong() {
    for (name, text) in sources() {
        let code = code(&text);
        for only in ONLY {
            let allowed = is_test(&name) || only.allowed.iter().any(|prefix| name.starts_with(prefix));
            assert!(allowed || !code.contains(only.needle), "{name} names {}: {}", only.needle, only.why);
        }
    }
}

#[test]
fn pure_machines_do_no_io_and_have_no_clock() {
    for (name, text) in sources().into_iter().filter(|(name, _)| is_pure(name)) {
        let code = code(&text);
        for needle in ["async ", ".await", "Instant::now", "SystemTime", "tokio::", "std::fs", "std::net", "rand::"] {
            assert!(
                !code.contains(needle),
                "{name} holds {needle}: a pure machine receives time and data as parameters"
            );
        }
    }
}

#[test]
fn no_channel_is_unbounded() {
    for (name, text) in sources() {
        for needle in ["unbounded_channel", "mpsc::channel()"] {
            assert!(!code(&text).contains(needle), "{name} holds {needle}");
        }
    }
}

#[test]
fn every_failpoint_stands_somewhere() {
    let code: String = sources()
        .iter()
        .filter(|(name, _)| !name.starts_with("service/failpoint"))
        .map(|(_, text)| code(text))
        .collect();
    for point in footprint_service::failpoint::Point::ALL {
        // the exact spelling of the code: `Point::ClaimSent`, and nothing longer
        let name = format!("Point::{point:?}");
        let is_called = code
            .match_indices(&name)
            .any(|(at, _)| code[at + name.len()..].chars().next().is_none_or(|next| !next.is_alphanumeric()));
        assert!(is_called, "{name} is listed in failpoint/point.rs but no code calls it: no kill can happen there");
    }
}

#[test]
fn failpoints_stand_in_shells_alone() {
    for (name, text) in sources().into_iter().filter(|(name, _)| is_pure(name)) {
        assert!(!code(&text).contains("failpoint::"), "{name} is pure: none of its steps leaves the process");
    }
}

#[test]
fn metrics_are_counted_in_one_folder() {
    for (name, text) in sources() {
        let macros = ["counter!(", "gauge!(", "histogram!("];
        assert!(
            name.starts_with("service/metrics/") || !macros.iter().any(|m| code(&text).contains(m)),
            "{name} counts without service/metrics"
        );
    }
}

/// `println!` and `eprintln!` panic if nobody reads them, and so may a log's writer.
#[test]
fn only_the_console_prints() {
    for (name, text) in sources().into_iter().filter(|(name, _)| name != "service/console.rs") {
        for needle in ["print!(", "println!(", "io::stdout", "io::stderr", "dbg!("] {
            assert!(!code(&text).contains(needle), "{name} holds {needle}: all printing goes through console.rs");
        }
    }
}

/// A reader of docs/guarantees.md must be able to run the proofs that it names.
#[test]
fn every_proof_that_the_guarantees_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_else(|_| panic!("{name} is missing"));
    let guarantees = read("docs/guarantees.md");
    let (scenarios, points) = (read("tools/model/src/scenario.rs"), read("crates/service/src/failpoint/point.rs"));
    let mut tests = 0;
    for line in guarantees.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promised")) {
        let quoted = line.split('`').skip(1).step_by(2);
        let mut named = 0;
        for name in quoted {
            named += 1;
            match name.split_once("::") {
                Some((file, test)) => {
                    tests += 1;
                    assert!(read(file).contains(&format!("fn {test}(")), "{file} has no test {test}");
                }
                None if name.ends_with(".rs") => drop(read(name)),
                None if name.contains(' ') || name.contains('_') || name == "commit" => {}
                None => {
                    let quoted = format!("\"{name}\"");
                    assert!(
                        scenarios.contains(&quoted) || points.contains(&quoted),
                        "{name}: no such scenario or point"
                    );
                }
            }
        }
        assert!(named > 0, "this line names no proof: {line}");
    }
    assert!(tests > 20, "only {tests} tests were found");
}
