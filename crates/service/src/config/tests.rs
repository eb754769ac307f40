//! Tests of the whole configuration.

use super::*;
use crate::environment::Environment;

mod described;
mod shown;

/// The configuration from a file with this text, an environment and flags. `FILE` in place of the text names the file.
fn load(toml: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let name = format!("footprint-config-{}-{:x}.toml", std::process::id(), rand::random::<u64>());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, toml).unwrap();
    let flags: Vec<(&str, String)> = flags.iter().map(|&(key, value)| (key, value.to_owned())).collect();
    let loaded = Config::load_with(Some(&file), &Environment::of_variables(environment), &flags);
    std::fs::remove_file(&file).unwrap();
    loaded.map_err(|error| error.to_string().replace(&file.display().to_string(), "FILE"))
}

fn refused(toml: &str) -> String {
    load(toml, &[], &[]).unwrap_err()
}

#[test]
fn the_shipped_configuration_is_whole() {
    let config = Config::load_with(None, &Environment::default(), &[]).unwrap();
    assert_eq!(config.routes[0].columns[1].field, "link");
    assert_eq!(config.pipeline.batch_rows_max, 500_000);
}

#[test]
fn properties_may_be_dotted_or_quoted_keys_and_values() {
    let toml = "[kafka.properties]\nfetch.min.bytes = 7\n\"check.crcs\" = \"true\"\nssl.ca.location = \"a\"\n";
    let variables =
        [("FOOTPRINT_KAFKA__PROPERTIES__SSL__CA__LOCATION", "b"), ("FOOTPRINT_KAFKA__PROPERTIES__X", "0123")];
    let config = load(toml, &variables, &[]).unwrap();
    let properties: Vec<_> =
        config.kafka.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [("check.crcs", "true"), ("fetch.min.bytes", "7"), ("ssl.ca.location", "b"), ("x", "0123")];
    assert_eq!(properties, expected);
    let error = refused("[kafka.properties]\nfetch.min.bytes = 7\nx = \"secret\"\n\"fetch.min.bytes\" = 8\n");
    assert_eq!(
        error,
        "FILE line 4: kafka.properties: fetch.min.bytes is set twice, as nested keys and as one; take one out"
    );
}

/// Each layer also sets the settings of the layers below it, so what is left of each shows the order.
#[test]
fn a_stronger_layer_wins_over_a_weaker_one() {
    let toml = "[kafka]\nbootstrap_servers = \"file\"\ngroup_id = \"file\"\n[postgres]\nhost = \"file\"\nuser = \"file\"\n\
                [telemetry]\nlog = \"debug\"\n";
    let variables = [
        ("BOOTSTRAP_SERVER", "old"),
        ("DB_HOST", "old"),
        ("LOG_LEVEL", "WARNING"),
        ("TOPIC", "old"),
        ("FOOTPRINT_POSTGRES__HOST", "own"),
        ("FOOTPRINT_TELEMETRY__LOG", "error"),
        ("FOOTPRINT_OF_ANOTHER_PROGRAM", "x"),
        ("DB_USER", ""),
    ];
    let config = load(toml, &variables, &[("telemetry.log", "trace")]).unwrap();
    assert_eq!(config.kafka.group_id, "file", "over the shipped configuration");
    assert_eq!(config.kafka.bootstrap_servers, "old", "over the file");
    assert_eq!(config.routes[0].topic, "old", "over the shipped routes");
    assert_eq!(config.postgres.host, "own", "over the old names");
    assert_eq!(config.telemetry.log, "trace", "over the environment");
    assert_eq!(config.postgres.user, "file", "an old name without a value says nothing");
    assert_eq!(config.postgres.port, 5432, "the shipped value if no layer sets another");
}

#[test]
fn a_variable_is_what_its_setting_wants() {
    let variables = [
        ("DB_PORT", "6000"),
        ("DB_PASSWORD", "0123"),
        ("CH_PASSWORD", "true"),
        ("DB_NAME", "1e3"),
        ("GROUP_ID", "[a"),
        ("FOOTPRINT_CLICKHOUSE__ENABLED", "false"),
        ("FOOTPRINT_PIPELINE__REFUSED_ROWS_SHARE_MAX", "0.50"),
        ("FOOTPRINT_KAFKA__OFFSET_RESET", "smallest"),
    ];
    let config = load("[kafka]\ninstance_name = 7\n", &variables, &[]).unwrap();
    assert_eq!((config.postgres.port, config.postgres.password.reveal()), (6000, "0123"));
    assert_eq!((config.clickhouse.password.reveal(), config.clickhouse.enabled), ("true", false));
    assert_eq!((config.postgres.database.as_str(), config.kafka.group_id.as_str()), ("1e3", "[a"));
    assert!((config.pipeline.refused_rows_share_max - 0.5).abs() < f64::EPSILON);
    assert_eq!((config.kafka.offset_reset, config.kafka.instance_name.as_str()), (OffsetReset::Earliest, "7"));
    for (name, value) in [
        ("DB_PORT", "0123"),
        ("DB_PORT", "+1"),
        ("DB_PORT", "1.0"),
        ("FOOTPRINT_PIPELINE__REFUSED_ROWS_SHARE_MAX", "nan"),
        ("FOOTPRINT_POSTGRES__ENABLED", "yes"),
    ] {
        let error = load("", &[(name, value)], &[]).unwrap_err();
        assert!(error.starts_with(&format!("{name}: setting ")) && error.ends_with("found text"), "{error}");
    }
}

#[test]
fn an_unknown_key_is_refused_and_the_nearest_one_is_named() {
    for (toml, message) in [
        (
            "[pipeline]\nlingr_ms = 5",
            "FILE line 2: setting pipeline.lingr_ms: unknown setting; did you mean pipeline.linger_ms?",
        ),
        (
            "[kafka]\nlinger_ms = 5",
            "FILE line 2: setting kafka.linger_ms: unknown setting; did you mean pipeline.linger_ms?",
        ),
        ("\n[pipelin]\nlanes = 5", "FILE line 2: setting pipelin: unknown setting; did you mean pipeline?"),
        (
            "[telemetry]\nretention = 5",
            "FILE line 2: setting telemetry.retention: unknown setting; known are listen, log, log_format, log_dir, \
             log_file_bytes_max, log_file_hours_max, log_old_files_max",
        ),
        (
            "[[routes]]\nname = \"a\"\ntopic = \"a\"\npostgres_table = \"a\"\nclickhouse_table = \"a\"\ncolumns = [\n  \
             { name = \"a\", kind = \"text\", presense = \"optional\" },\n]",
            "FILE line 7: setting routes[0].columns[0].presense: unknown setting; did you mean routes[0].columns[0].presence?",
        ),
    ] {
        assert_eq!(refused(toml), message);
    }
    let error = load("", &[], &[("pipeline.lingr_ms", "5")]).unwrap_err();
    assert_eq!(error, "--lingr-ms: setting pipeline.lingr_ms: unknown setting; did you mean pipeline.linger_ms?");
}

#[test]
fn an_error_names_where_the_value_came_from_and_not_the_value() {
    for (toml, message) in [
        ("[postgres]\npassword = [\"secret\"]", "FILE line 2: setting postgres.password: expected text, found a list"),
        ("[postgres]\npassword = \"secret", "FILE line 2: it is not TOML: "),
        ("[postgres]\npasword = \"secret\"", "FILE line 2: setting postgres.pasword: unknown setting"),
        (
            "[postgres]\nport = \"secret\"",
            "FILE line 2: setting postgres.port: expected a whole number from 0 to 65535, found text",
        ),
        (
            "[clickhouse]\nport = 654321",
            "FILE line 2: setting clickhouse.port: expected a whole number from 0 to 65535, found a number",
        ),
        ("[postgres]\nport = 99999999999999999999", "FILE line 2: "),
        (
            "[postgres]\nport = 6543-01-01",
            "FILE line 2: setting postgres.port: expected a whole number from 0 to 65535, found a date",
        ),
        ("[kafka]\noffset_reset = \"secret\"", "FILE line 2: setting kafka.offset_reset: unknown word; use one of"),
        ("[kafka]\noffset_reset = [\"secret\"]", "FILE line 2: setting kafka.offset_reset: unknown word; use one of"),
        ("kafka = \"secret\"", "FILE line 1: setting kafka: expected a table, found text"),
        ("routes = \"secret\"", "FILE line 1: setting routes: expected a list, found text"),
        (
            "[kafka.properties]\na.b = [\"secret\"]",
            "FILE line 2: setting kafka.properties.a.b: expected text, found a list",
        ),
        ("[pipeline]\nlanes = 0", "FILE line 2: pipeline.lanes must be 1 to"),
    ] {
        let error = refused(toml);
        assert!(error.starts_with(message) && error.lines().count() == 1, "{error}");
        assert!(!error.contains("secret") && !error.contains("654321"), "{error}");
    }
    let error = load("", &[], &[("telemetry.log", "verbose")]).unwrap_err();
    assert!(error.starts_with("--log: telemetry.log is wrong: \"verbose\" is no level; use error, warn"), "{error}");
}

#[test]
fn all_faults_are_given_at_once_each_with_its_line() {
    let toml = r#"
[kafka]
grup_id = "a"
offset_reset = "never"

[kafka.properties]
enable.auto.commit = true
isolation.level = "read_uncommitted"

[postgres]
port = "secret"
tls = "yes"
ca_file = "/nowhere"
password = "secret"
password_file = "/nowhere"

[clickhouse]
cert_file = "/nowhere"

[pipeline]
lanes = 0
drain_deadline_ms = 0
linger_ms = 1.5

[[routes]]
name = "a"
topic = "a"
postgres_table = "a b"
clickhouse_table = "a.b.c"
columns = [
    { name = "a", kind = "text" },
    { name = "kafka_offset", kind = "text" },
    { name = "b", kind = "text", presence = { default = 1 } },
]

[[routes]]
name = "b"
topic = "b"
postgres_table = "b"
columns = [
    { name = "a", kind = "txt" },
    { name = "b", kind = "text", presence = { default = [1] } },
]
"#;
    let variables = [("CH_PORT", "secret"), ("FOOTPRINT_TELEMETRY__LOGFORMAT", "json")];
    let error = load(toml, &variables, &[("telemetry.log", "verbose")]).unwrap_err();
    assert!(!error.contains("secret"), "{error}");
    let message = |line: &str| line.split(": ").take(2).collect::<Vec<_>>().join(": ");
    let expected = [
        "FILE line 3: setting kafka.grup_id",
        "FILE line 4: setting kafka.offset_reset",
        "FILE line 7: kafka.properties",
        "FILE line 8: kafka.properties",
        "FILE line 11: setting postgres.port",
        "FILE line 12: setting postgres.tls",
        "FILE line 15: postgres.password and postgres.password_file are both set; take one out",
        "FILE line 18: clickhouse.cert_file and clickhouse.key_file belong together; set both",
        "FILE line 21: pipeline.lanes must be 1 to 16",
        "FILE line 22: pipeline.drain_deadline_ms must be 1 to 3600000",
        "FILE line 23: setting pipeline.linger_ms",
        "FILE line 28: route a",
        "FILE line 29: route a",
        "FILE line 32: route a",
        "FILE line 33: route a",
        "FILE line 36: setting routes[1]",
        "FILE line 41: setting routes[1].columns[0].kind",
        "FILE line 42: setting routes[1].columns[1].presence.default",
        "CH_PORT: setting clickhouse.port",
        "FOOTPRINT_TELEMETRY__LOGFORMAT: setting telemetry.logformat",
        "--log: telemetry.log is wrong",
    ];
    assert_eq!(error.lines().map(message).collect::<Vec<_>>(), expected, "{error}");
}

#[test]
fn a_file_that_is_not_toml_hides_no_fault_of_the_environment() {
    let error = load("[postgres]\nhost = \n[kafka\n", &[("DB_PORT", "secret")], &[]).unwrap_err();
    let places: Vec<&str> = error.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(places, ["FILE line 2", "FILE line 3", "DB_PORT"], "{error}");
    // the file may switch tls on, so a certificate that is unused without tls is no fault here
    let files = [("FOOTPRINT_POSTGRES__CA_FILE", "/nowhere")];
    let error = load("[postgres]\ntls = \"on\"\nhost = \n", &files, &[]).unwrap_err();
    assert!(error.starts_with("FILE line 3: it is not TOML") && error.lines().count() == 1, "{error}");
    let flags = [("pipeline.lanes", "x".to_owned())];
    let error =
        Config::load_with(Some(File::new("/nowhere")), &Environment::default(), &flags).unwrap_err().to_string();
    assert!(error.starts_with("there is no configuration file /nowhere\n--lanes: setting pipeline.lanes: "), "{error}");
}

#[test]
fn routes_that_share_a_table_are_named() {
    let route = |name: &str| {
        format!(
            "[[routes]]\nname = \"{name}\"\ntopic = \"{name}\"\npostgres_table = \"t\"\nclickhouse_table = \"{name}\"\n\
             columns = [{{ name = \"a\", kind = \"text\" }}]\n"
        )
    };
    let error = refused(&(route("a") + &route("b")));
    assert_eq!(error, "FILE line 7: routes a and b share a name, a topic or a table; each needs its own");
    assert_eq!(refused("routes = []"), "FILE line 1: no [[routes]]: say how a topic's events become rows");
}

#[test]
fn the_group_protocol_and_its_properties_go_together() {
    let own = "[kafka]\ngroup_protocol = \"consumer\"\n[kafka.properties]\nheartbeat.interval.ms = 5\n";
    assert!(refused(own).starts_with("FILE line 4: kafka.properties: heartbeat.interval.ms is the broker's"));
    let eager = "[kafka.properties]\npartition.assignment.strategy = \"range\"\n";
    assert!(refused(eager).contains("must be cooperative-sticky"));
}

#[test]
fn sinks_that_are_all_switched_off_are_refused() {
    let error = refused("[postgres]\nenabled = false\n[clickhouse]\nenabled = false\n");
    assert_eq!(error, "FILE line 4: both sinks are switched off; enable postgres or clickhouse");
}

#[test]
fn faults_have_a_bound() {
    let toml: String = (0..1_000).map(|number| format!("[a{number}]\n")).collect();
    assert_eq!(refused(&toml).lines().count(), 100);
}

#[test]
fn a_secret_is_not_shown() {
    let toml = "[postgres]\npassword = \"12345\"\n[kafka.properties]\nsasl.password = \"12345\"\n";
    let config = load(toml, &[("CH_PASSWORD", "12345")], &[]).unwrap();
    assert_eq!((config.postgres.password.reveal(), config.clickhouse.password.reveal()), ("12345", "12345"));
    assert!(!format!("{config:?}").contains("12345"));
}
