//! What the files in packaging/ say about the program: names of settings, ports, pages, time limits, memory and versions. A parser
//! reads them in `tools/manifests/`; this compares them with the program.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::{is_test, sources};

/// Files that name settings.
const NAMING: [&str; 8] = [
    "packaging/Containerfile",
    "packaging/README.md",
    "packaging/compose.yml",
    "packaging/footprint.service",
    "packaging/kubernetes/configmap.yaml",
    "packaging/kubernetes/migrate.yaml",
    "packaging/kubernetes/statefulset.yaml",
    "docs/migrating.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What follows each `before` in a text, up to a character that is not `wanted`.
fn all_after(text: &str, before: &str, wanted: fn(char) -> bool) -> Vec<String> {
    let rest = text.match_indices(before).map(|(at, _)| &text[at + before.len()..]);
    rest.map(|rest| rest.chars().take_while(|&next| wanted(next)).collect()).collect()
}

/// The one number after `before`.
fn number_after(name: &str, before: &str) -> u64 {
    let found = all_after(&read(name), before, |next| next.is_ascii_digit());
    assert_eq!(found.len(), 1, "{name} should hold {before:?} once: {found:?}");
    found[0].parse().unwrap_or_else(|_| panic!("{name}: no number follows {before:?}"))
}

/// The variables of every setting in config/footprint.toml: `FOOTPRINT_KAFKA__GROUP_ID`, and the old names in the comments.
fn variables() -> Vec<String> {
    let mut section = String::new();
    let mut names = vec!["TOPIC".to_owned()];
    for line in read("config/footprint.toml").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_uppercase();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with([' ', '#'])) {
            names.push(format!("FOOTPRINT_{section}__{}", key.to_uppercase()));
        }
    }
    names.extend(all_after(&read("crates/service/src/environment.rs"), "    (\"", |next| next != '"'));
    names
}

fn is_of_name(next: char) -> bool {
    next.is_ascii_uppercase() || next.is_ascii_digit() || next == '_'
}

#[test]
fn settings_that_packaging_names_exist() {
    let known = variables();
    assert!(known.len() > 50 && known.contains(&"CH_PORT".to_owned()), "settings were not found: {known:?}");
    let mut count = 0;
    for file in NAMING {
        let text = read(file);
        let words = text.split(|next: char| !is_of_name(next));
        // Grafana's own variables have one underscore
        let ours = |word: &&str| {
            let is_old =
                ["DB_", "CH_", "LOG_", "BOOTSTRAP_", "GROUP_", "OFFSET_"].iter().any(|start| word.starts_with(start));
            is_old || word.starts_with("FOOTPRINT_") && word.contains("__")
        };
        for word in words.filter(ours) {
            count += 1;
            assert!(
                known.iter().any(|name| name == word),
                "{file} names {word}, and config/footprint.toml has no such setting"
            );
        }
    }
    assert!(count > 35, "only {count} names were found");
    // a variable that is only misspelt in its beginning is not found above
    let data = read("packaging/kubernetes/configmap.yaml");
    let (_, data) = data.split_once("\ndata:\n").expect("the data of the ConfigMap");
    for key in data.lines().filter_map(|line| line.trim_start().split_once(": ")).map(|(key, _)| key) {
        let is_comment = key.starts_with('#');
        assert!(is_comment || known.iter().any(|name| name == key), "the ConfigMap holds {key}, which is no setting");
    }
}

#[test]
fn ports_and_pages_are_those_of_the_program() {
    let port = number_after("config/footprint.toml", "listen = \"127.0.0.1:").to_string();
    let is_digit = |next: char| next.is_ascii_digit();
    for (file, before) in [
        ("packaging/Containerfile", "FOOTPRINT_TELEMETRY__LISTEN=0.0.0.0:"),
        ("packaging/Containerfile", "EXPOSE "),
        ("packaging/prometheus.yml", "footprint:"),
        ("packaging/kubernetes/configmap.yaml", "FOOTPRINT_TELEMETRY__LISTEN: 0.0.0.0:"),
        ("packaging/kubernetes/statefulset.yaml", "prometheus.io/port: \""),
        ("packaging/kubernetes/statefulset.yaml", "containerPort: "),
        ("packaging/kubernetes/statefulset.yaml", "      port: "),
    ] {
        let found = all_after(&read(file), before, is_digit);
        let found: Vec<_> = found.iter().filter(|number| !number.is_empty()).collect();
        assert_eq!(found, [&port], "{file}: after {before:?}");
    }
    let compose = read("packaging/compose.yml");
    assert!(compose.contains(&format!("127.0.0.1:{port}:{port}")), "compose.yml does not publish {port}");
    let pages: String = sources().into_iter().filter(|(name, _)| !is_test(name)).map(|(_, text)| text).collect();
    let manifest = read("packaging/kubernetes/statefulset.yaml");
    for page in all_after(&manifest, "path: ", |next| !next.is_whitespace()) {
        assert!(
            pages.contains(&format!("\"{page}\"")),
            "statefulset.yaml asks for {page}, which the program does not serve"
        );
    }
}

#[test]
fn a_supervisor_waits_longer_than_a_drain() {
    let deadline_s = number_after("config/footprint.toml", "drain_deadline_ms = ") / 1_000;
    let drain_s = deadline_s + number_after("src/cli/run.rs", "const DRAIN_GRACE: Duration = Duration::from_secs(");
    for (file, before) in [
        ("packaging/footprint.service", "TimeoutStopSec="),
        ("packaging/compose.yml", "stop_grace_period: "),
        ("packaging/kubernetes/statefulset.yaml", "terminationGracePeriodSeconds: "),
    ] {
        let waits_s = number_after(file, before);
        assert!(waits_s > drain_s, "{file} kills after {waits_s} s, and a drain may take {drain_s} s");
    }
}

#[test]
fn memory_limits_have_room_for_what_is_promised() {
    let promised = number_after("docs/guarantees.md", "resident memory peaks under ");
    let compose = read("packaging/compose.yml");
    let (_, service) = compose.split_once("\n  footprint:\n").expect("the service footprint");
    let limits = [
        all_after(service, "mem_limit: ", |next| next.is_ascii_digit())[0].parse().expect("a number"),
        number_after("packaging/footprint.service", "MemoryMax="),
        number_after("packaging/kubernetes/statefulset.yaml", "limits: { memory: "),
    ];
    for limit in limits {
        // a record of 40 MiB was seen to cost 130 MiB more
        assert!(limit > promised + 130, "a limit of {limit} MiB, and {promised} MiB are promised");
    }
}

#[test]
fn versions_are_those_that_are_tested() {
    let toolchain = read("rust-toolchain.toml");
    let compiler = &all_after(&toolchain, "channel = \"", |next| next != '"')[0];
    let containerfile = read("packaging/Containerfile");
    assert!(containerfile.contains(&format!("/rust:{compiler}-")), "Containerfile does not build with Rust {compiler}");

    let compose = read("packaging/compose.yml");
    let version = |file: &str, before: &str| {
        let text = read(&format!("tools/stack/src/packages/{file}"));
        all_after(&text, before, |next| next.is_ascii_digit() || next == '.')[0].clone()
    };
    let kafka = version("kafka-pom.xml", "<artifactId>kafka_2.13</artifactId><version>");
    assert!(compose.contains(&format!("apache/kafka:{kafka}\n")), "compose.yml has another Kafka than {kafka}");
    // images are tagged with the first two numbers of these two
    let short = |version: String| version.rsplit_once('.').map(|(short, _)| short.to_owned()).expect("three numbers");
    let postgres = short(version("postgresql-pom.xml", "      <version>"));
    assert!(compose.contains(&format!("/postgres:{postgres}\n")), "compose.yml has another PostgreSQL than {postgres}");
    let clickhouse = short(version("clickhouse-package-lock.json", "\"version\": \""));
    assert!(
        compose.contains(&format!("/clickhouse-server:{clickhouse}\n")),
        "compose.yml has another ClickHouse than {clickhouse}"
    );
}

#[test]
fn grafana_gets_what_its_provisioning_asks_for() {
    let compose = read("packaging/compose.yml");
    let wanted = all_after(&read("grafana/provisioning/datasources/footprint.yaml"), "$FOOTPRINT_", is_of_name);
    assert!(wanted.len() > 9, "only {wanted:?} were found");
    for name in wanted {
        let is_set =
            compose.contains(&format!(" FOOTPRINT_{name}: ")) || compose.contains(&format!("FOOTPRINT_{name}=\""));
        assert!(is_set, "compose.yml does not set FOOTPRINT_{name}");
    }
    let folder =
        &all_after(&read("grafana/provisioning/dashboards/footprint.yaml"), "path: ", |next| !next.is_whitespace())[0];
    assert!(
        compose.contains(&format!("../grafana/dashboards:{folder}:ro")),
        "compose.yml mounts no dashboards at {folder}"
    );
    // the tests of the dashboards ask every query as a user with the rights that this file grants
    let tested = read("grafana/README.md");
    let statements = read("packaging/readers/postgres.sql") + &read("packaging/readers/clickhouse.sql");
    let rights =
        statements.lines().filter(|line| line.starts_with("grant ") || line.starts_with("alter role grafana set "));
    let rights: Vec<_> = rights.collect();
    assert!(rights.len() > 5, "only {rights:?} were found");
    for right in rights {
        assert!(tested.contains(right), "grafana/README.md does not have `{right}`");
    }
}

/// A reader must not take a file for tried that was only read by a parser.
#[test]
fn every_file_says_what_could_not_be_run() {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("packaging is there") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                // the rules of Prometheus are run
                true if path.ends_with("secrets") || path.ends_with("prometheus") => {}
                true => walk(&path, into),
                false => into.push(path),
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join("packaging"), &mut paths);
    let needed = |path: &&PathBuf| {
        let extension = path.extension().unwrap_or_default();
        path.ends_with("Containerfile") || ["yml", "yaml", "service"].iter().any(|known| extension == *known)
    };
    let needed: Vec<_> = paths.iter().filter(needed).collect();
    assert!(needed.len() > 9, "only {needed:?} were found");
    for path in needed {
        let text = fs::read_to_string(path).expect("a file");
        let head = text.lines().take_while(|line| line.starts_with('#')).collect::<Vec<_>>().join(" ");
        let head = head.replace("# ", "");
        assert!(head.contains("Not run"), "{}: its head does not say what could not be run", path.display());
    }
}
