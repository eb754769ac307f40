//! The allowed dependencies, as data. A file imports only files of lower layers and of lower crates. A file and the files in the
//! folder of its name are one family, and may import each other.

use crate::sources::{code, is_test, sources};

/// A crate: how its files' names begin in this test, how its paths begin in other crates, and its layers, lowest first. Files of
/// one layer do not import each other.
struct Room {
    prefix: &'static str,
    path: &'static str,
    layers: &'static [&'static [&'static str]],
}

/// The crates, lowest first.
const ROOMS: [Room; 4] = [
    Room {
        prefix: "protocol/",
        path: "footprint_protocol",
        layers: &[
            &["offset"],
            &["ledger", "silence"],
            &["first_start", "take_over"],
            &["by_hand", "take_over/steps", "tracker", "write"],
            &["partition/attempt"],
            &["partition/questions", "partition/unreadable", "partition"],
        ],
    },
    Room {
        prefix: "event/",
        path: "footprint_event",
        layers: &[
            &["kind", "limits", "normalize", "record", "recycle", "uuid", "decode/fields", "decode/words"],
            &["generate", "reject", "route", "decode/plain"],
            &["rows", "decode/parsed"],
            &["decode"],
            &["definition"],
        ],
    },
    Room {
        prefix: "service/",
        path: "footprint_service",
        layers: &[
            &["escape", "report"],
            // values and plain tools
            &["address", "clock", "limits", "retry", "secret", "status", "dotenv", "log_filter", "tls", "traffic"],
            &[
                "environment",
                "config/described",
                "config/fault",
                "config/kafka_properties",
                "config/nearest",
                "config/settings",
            ],
            &["config/tree"],
            &["config/checks", "config/document", "config/schema", "config/typed"],
            &["config/shown"],
            &["config"],
            // what people and machines see, and what stops the program
            &["console", "health", "telemetry/line", "telemetry/log_file", "telemetry/repeats", "failpoint/point"],
            &["metrics/catalogue"],
            &["metrics/audit", "metrics/meters", "metrics/series", "metrics"],
            &["pages/ask", "pages/shape", "pages", "failpoint", "panics", "signals", "telemetry/logging"],
            &["telemetry"],
            // Kafka
            &[
                "kafka/brokers",
                "kafka/headers",
                "kafka/poller",
                "kafka/queue",
                "kafka/settings",
                "kafka/token",
                "kafka/trouble",
            ],
            &["kafka/events", "kafka/messages"],
            &["kafka/error", "kafka/fetched"],
            &["kafka/describe", "kafka/probe"],
            &["kafka/inquirer"],
            &["kafka/leaders", "kafka/members", "kafka/partitions", "kafka/reread", "kafka/retention"],
            &["kafka"],
            // the databases
            &["clickhouse/error", "clickhouse/gate", "postgres/asked"],
            &["clickhouse/reach", "clickhouse/settings", "postgres/error", "postgres/session"],
            &["clickhouse", "postgres", "postgres/pool", "postgres/socket"],
        ],
    },
    Room {
        prefix: "",
        path: "footprint",
        layers: &[
            &["allocator", "limits", "outcome", "paused", "ledger/error", "ledger/identity", "ledger/proof"],
            &["ledger/ownership"],
            // batches
            &["batch/batcher/months", "batch/batcher/pacing", "batch/budget", "batch/under_way"],
            &["read/chunk", "batch"],
            &["batch/batcher"],
            &["batch/assemble"],
            // reading
            &["read/commands", "read/event"],
            &["read/commit", "read/reader/action", "read/reader/group", "read/reader/room"],
            &["read/reader/fetching", "read/reader/readings"],
            &["read/reader/client", "read/reader/deferred", "read/reader/intake"],
            &["read/reader/partitions", "read/reader"],
            // the tables' form, and the encoders
            &["store/postgres/shape", "store/clickhouse/native/part"],
            &["store/clickhouse/native", "store/clickhouse/native/dictionary"],
            &["store/postgres/copy", "store/postgres/rights", "store/clickhouse/shape"],
            &["ledger/statements/history", "ledger/statements/proofs", "ledger/statements/routes"],
            &["store/postgres/migrate", "store/clickhouse/rights"],
            // the ledger's statements
            &[
                "ledger/statements/advance",
                "ledger/statements/claims",
                "ledger/statements/holder",
                "ledger/statements/left_out",
                "ledger/statements/named",
                "ledger/statements/pauses",
                "ledger/statements/starts",
                "ledger/statements",
            ],
            &[
                "ledger/statements/by_hand",
                "ledger/statements/definitions",
                "ledger/statements/letters",
                "ledger/statements/replays",
            ],
            // the sinks
            &["store/write_failure"],
            &["store/sink"],
            &["store/lanes", "store/refused_records", "store/writer"],
            &["store/postgres/identities"],
            &["store/postgres/halving", "store/postgres/observer", "store/postgres/shares", "store/postgres/stored"],
            &["store/clickhouse/fence", "store/clickhouse/migrate", "store/clickhouse/refused"],
            &["store/clickhouse/insert", "store/clickhouse/scratch", "store/clickhouse/views"],
            &["store/clickhouse/readback"],
            &["store/postgres/writer/transaction", "store/clickhouse/identities"],
            &["store/postgres/writer/refused_rows"],
            &["store/postgres/writer", "store/clickhouse/writer"],
            // claiming
            &["claim/take_over/definitions", "claim/take_over/first_start"],
            &["claim/take_over/shell", "claim/take_over"],
            &["claim/coordinator/error"],
            &[
                "claim/coordinator/connection",
                "claim/coordinator/log_history",
                "claim/coordinator/other_consumers",
                "claim/coordinator/pauses",
                "claim/coordinator/unstored",
            ],
            &["claim/coordinator/status"],
            &["claim/coordinator/claims", "claim/coordinator/release"],
            &["claim/coordinator/heartbeat"],
            &["claim/coordinator/events", "claim/coordinator/take_overs", "claim/coordinator/topic"],
            &["claim/coordinator/unreadable", "claim/coordinator"],
            &["pipeline"],
            &["supervisor"],
            &["probes/clickhouse", "probes/kafka", "probes/postgres", "probes"],
            // upkeep
            &["upkeep/offsets/error", "upkeep/offsets/report"],
            &["upkeep/offsets/topic"],
            &["upkeep/offsets/change", "upkeep/offsets"],
            &["upkeep/replay/batch", "upkeep/replay/error"],
            &["upkeep/replay/store", "upkeep/replay"],
            &["upkeep/verify/finding"],
            &["upkeep/verify/faults"],
            &["upkeep/migrate", "upkeep/verify/content", "upkeep/verify/report"],
            &["upkeep/verify/stream", "upkeep/verify/window/tally", "upkeep/verify/window", "upkeep/verify/error"],
            &["upkeep/verify/log", "upkeep/verify/postgres"],
            &["upkeep/verify/clickhouse", "upkeep/verify/expected"],
            &["upkeep/verify/record", "upkeep/verify/walk/count", "upkeep/verify/walk"],
            &["upkeep/verify"],
            &["upkeep/repair/choice", "upkeep/repair/error", "upkeep/repair/report", "upkeep/repair/statements"],
            &["upkeep/repair/records", "upkeep/repair/row_binary"],
            &["upkeep/repair/clickhouse", "upkeep/repair/postgres"],
            &["upkeep/repair/mend"],
            &["upkeep/repair"],
            &["upkeep/audit/pace", "upkeep/audit/schedule"],
            &["upkeep/audit/prover"],
            &["upkeep/audit/route", "upkeep/audit"],
            // commands
            &["cli/dead_letters/filter"],
            &["cli/dead_letters/list"],
            &["cli/dead_letters/add", "cli/dead_letters/purge", "cli/dead_letters/replay", "cli/dead_letters/show"],
            &["cli/check/finding", "cli/partition_table"],
            &["cli/check/clocks", "cli/check/kafka/topic"],
            &["cli/check/kafka/retention"],
            &[
                "cli/caught_up",
                "cli/check/kafka",
                "cli/check/postgres",
                "cli/check/clickhouse/host",
                "cli/check/clickhouse/probe",
                "cli/check/clickhouse/views",
                "cli/check/clickhouse",
            ],
            &[
                "cli/at",
                "cli/diagnose/archive",
                "cli/diagnose/parts",
                "cli/generate/acknowledgements",
                "cli/verify/repair",
            ],
            // top: what was asked, what it means, how it looks, the terminal
            &["cli/top/amounts", "cli/top/samples", "cli/top/view/lines"],
            &["cli/top/rates", "cli/top/snapshot"],
            &["cli/top/figures"],
            &["cli/top/troubles", "cli/top/view/partitions"],
            &["cli/top/view/sections"],
            &["cli/top/view"],
            &["cli/top/keys", "cli/top/watch"],
            &["cli/top/screen"],
            &[
                "cli/check",
                "cli/completions",
                "cli/config",
                "cli/dead_letters",
                "cli/generate",
                "cli/health",
                "cli/migrate",
                "cli/pause",
                "cli/top",
                "cli/offsets",
                "cli/verify",
            ],
            &["cli/diagnose", "cli/run"],
            &["cli"],
        ],
    },
];

/// Files that only list modules, or start a program.
const LISTS: [&str; 11] = [
    "lib",
    "main",
    "bin/footprint-failpoints",
    "protocol/lib",
    "event/lib",
    "service/lib",
    "read",
    "claim",
    "ledger",
    "store",
    "upkeep",
];
/// The same below `store`.
const SINKS: [&str; 2] = ["store/postgres", "store/clickhouse"];

/// `service/kafka/mod.rs` is `service/kafka`.
fn module(name: &str) -> &str {
    let name = name.strip_suffix(".rs").unwrap_or(name);
    name.strip_suffix("/mod").unwrap_or(name)
}

/// A module's layer: the larger, the higher.
fn layer_of(module: &str) -> Option<(usize, usize)> {
    ROOMS.iter().enumerate().find_map(|(index, room)| {
        let inner = module.strip_prefix(room.prefix)?;
        room.layers.iter().position(|layer| layer.contains(&inner)).map(|layer| (index, layer))
    })
}

fn room_of(module: &str) -> &'static Room {
    ROOMS.iter().find(|room| module.starts_with(room.prefix)).expect("the last one takes all")
}

fn lists(module: &str) -> bool {
    LISTS.contains(&module) || SINKS.contains(&module)
}

/// Whether one module is the head of the other's folder.
fn one_family(one: &str, other: &str) -> bool {
    let heads = |head: &str, child: &str| child.strip_prefix(head).is_some_and(|rest| rest.starts_with('/'));
    heads(one, other) || heads(other, one)
}

/// Every path in a file's code, with groups in braces split up.
fn paths(code: &str) -> Vec<Vec<String>> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let starts =
        ["crate::", "super::", "footprint_protocol::", "footprint_event::", "footprint_service::", "footprint::"];
    for start in starts {
        for (at, _) in code.match_indices(start) {
            if code[..at].ends_with(|c: char| is_path(c)) {
                continue;
            }
            let rest = &code[at..];
            let end = rest.find(|c: char| !is_path(c)).unwrap_or(rest.len());
            let stem: Vec<String> =
                rest[..end].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
            match rest[end..].strip_prefix('{').and_then(|group| group.split_once('}')) {
                Some((group, _)) if rest[..end].ends_with("::") => {
                    for member in group.split(',').map(str::trim).filter(|member| !member.is_empty()) {
                        let parts = member.split("::").map(str::to_owned);
                        found.push(stem.iter().cloned().chain(parts).collect());
                    }
                }
                _ => found.push(stem),
            }
        }
    }
    found
}

/// The module that a path in `module` leads to. None: it stays in the module, or leads to a list.
fn target(module: &str, path: &[String], all: &[String]) -> Option<String> {
    let own = room_of(module);
    let (room, mut parts) = match path[0].as_str() {
        "crate" => (own, path[1..].to_vec()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let inner: Vec<&str> = module[own.prefix.len()..].split('/').collect();
            let kept = inner.get(..inner.len().checked_sub(ups)?)?;
            (own, kept.iter().map(|part| (*part).to_owned()).chain(path[ups..].iter().cloned()).collect())
        }
        other => (ROOMS.iter().find(|room| room.path == other)?, path[1..].to_vec()),
    };
    while !parts.is_empty() {
        let name = format!("{}{}", room.prefix, parts.join("/"));
        if all.contains(&name) {
            return (name != module && !lists(&name)).then_some(name);
        }
        parts.pop();
    }
    None
}

#[test]
fn every_file_is_in_the_table_once() {
    let all: Vec<String> = sources().iter().map(|(name, _)| module(name).to_owned()).collect();
    for name in all.iter().filter(|name| !is_test(name) && !lists(name)) {
        assert!(layer_of(name).is_some(), "{name} is in no layer of tests/tidy/layers.rs");
    }
    for room in &ROOMS {
        let named: Vec<String> =
            room.layers.iter().flat_map(|layer| layer.iter().map(|name| format!("{}{name}", room.prefix))).collect();
        for name in &named {
            assert!(all.contains(name), "{name} is in tests/tidy/layers.rs, but there is no such file");
            assert!(named.iter().filter(|other| *other == name).count() == 1, "{name} is in two layers");
        }
    }
}

#[test]
fn every_import_points_down() {
    let sources = sources();
    let all: Vec<String> = sources.iter().map(|(name, _)| module(name).to_owned()).collect();
    let (mut wrong, mut imports) = (Vec::new(), 0);
    for (name, text) in sources.iter().filter(|(name, _)| !is_test(name) && !lists(module(name))) {
        let from = module(name);
        for path in paths(&code(text)) {
            let Some(to) = target(from, &path, &all) else { continue };
            imports += 1;
            if !one_family(from, &to) && layer_of(&to) >= layer_of(from) {
                wrong.push(format!("{from} names {to}"));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "these imports do not point down: {wrong:#?}");
    assert!(imports > 500, "only {imports} imports were found");
}
