//! `footprint config show`: every setting, its origin, and no secret.

use super::*;

/// Each setting of a configuration with all layers: its line, or its comment and its line.
fn shown(toml: &str, environment: &Environment, flags: &[(&str, &str)]) -> (String, serde_json::Value) {
    let name = format!("footprint-shown-{}-{:x}.toml", std::process::id(), rand::random::<u64>());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, toml).unwrap();
    let flags: Vec<(&str, String)> = flags.iter().map(|&(key, value)| (key, value.to_owned())).collect();
    let loaded = Config::load_shown(Some(&file), environment, &flags);
    std::fs::remove_file(&file).unwrap();
    let (_, shown) = loaded.unwrap();
    let path = file.display().to_string();
    let json = serde_json::to_string(&shown).unwrap().replace(&path, "FILE");
    (shown.text().replace(&path, "FILE"), serde_json::from_str(&json).unwrap())
}

/// Each line with its comment, which is on the line before if both are too long for one.
fn with_places(text: &str) -> Vec<String> {
    let mut comment = "";
    let mut settings = Vec::new();
    for line in text.lines() {
        if line.starts_with("# ") {
            comment = line;
        } else {
            let words: Vec<&str> = line.split_whitespace().chain(comment.split_whitespace()).collect();
            settings.push(words.join(" "));
            comment = "";
        }
    }
    settings
}

#[test]
fn each_value_has_its_origin_and_secrets_are_hidden() {
    let toml = "[kafka]\ngroup_id = \"shop\"\n[kafka.properties]\nsasl.password = \"geheim\"\nclient.rack = \"a\"\n\
                [clickhouse]\npassword = \"geheim\"\n[pipeline]\nlanes = 3\n";
    let environment = Environment::of_variables(&[
        ("DB_HOST", "db.example"),
        ("DB_PORT", "6000"),
        ("DB_PASSWORD", "geheim"),
        ("FOOTPRINT_PIPELINE__REFUSED_ROWS_SHARE_MAX", "0.5"),
        ("TOPIC", "clicks"),
    ]);
    let (text, json) = shown(toml, &environment, &[("telemetry.log", "WARNING")]);
    let settings = with_places(&text);
    for line in [
        "bootstrap_servers = \"127.0.0.1:9092\" # default",
        "group_id = \"shop\" # FILE:2",
        "\"client.rack\" = \"a\" # FILE:5",
        "\"sasl.password\" = \"(hidden)\" # FILE:4",
        "host = \"db.example\" # DB_HOST (environment)",
        "port = 6000 # DB_PORT (environment)",
        "password = \"(hidden)\" # DB_PASSWORD (environment)",
        "password = \"(hidden)\" # FILE:7",
        "lanes = 3 # FILE:9",
        "topic = \"clicks\" # TOPIC (environment)",
        "log = \"warn\" # --log",
        "timezone = \"UTC\" # default",
        "field = \"link\" # default",
        "presence = \"required\" # default",
        "[[routes.columns]]",
    ] {
        assert!(settings.iter().any(|shown| shown == line), "{line}:\n{text}");
    }
    let two_lines = "# FOOTPRINT_PIPELINE__REFUSED_ROWS_SHARE_MAX (environment)\nrefused_rows_share_max = 0.5\n";
    assert!(text.contains(two_lines), "{text}");
    assert!(!text.contains("geheim") && !json.to_string().contains("geheim"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let find =
        |key: &str| json["settings"].as_array().unwrap().iter().find(|entry| entry["key"] == key).unwrap().clone();
    assert_eq!(find("postgres.port")["value"], 6000);
    assert_eq!(find("postgres.port")["origin"], serde_json::json!({ "kind": "environment", "name": "DB_PORT" }));
    assert_eq!(find("pipeline.lanes")["origin"], serde_json::json!({ "kind": "file", "path": "FILE", "line": 9 }));
    assert_eq!((&find("postgres.password")["hidden"], &find("postgres.user")["hidden"]), (&true.into(), &false.into()));
    assert_eq!(find("routes[0].columns[1].field")["value"], "link");
}

#[test]
fn a_password_from_a_file_names_the_file_and_an_empty_one_is_no_secret() {
    let secret =
        std::env::temp_dir().join(format!("footprint-shown-{}-{:x}", std::process::id(), rand::random::<u64>()));
    std::fs::write(&secret, "geheim\n").unwrap();
    let path = secret.display().to_string();
    let environment = Environment::of_variables(&[("DB_PASSWORD_FILE", &path)]);
    let (text, json) = shown("", &environment, &[]);
    std::fs::remove_file(&secret).unwrap();
    let comment = format!("# read from {path}, named by DB_PASSWORD_FILE (environment)\npassword = \"(hidden)\"\n");
    assert!(text.contains(&comment) && !text.contains("geheim"), "{text}");
    assert!(text.contains("password = \"\""), "clickhouse has none: {text}");
    let entry = json["settings"].as_array().unwrap().iter().find(|entry| entry["key"] == "postgres.password").unwrap();
    assert_eq!((&entry["origin"]["kind"], &entry["origin"]["path"]), (&"password_file".into(), &path.as_str().into()));
}

/// What is shown, with its secrets put back, is the same configuration.
#[test]
fn the_shown_configuration_can_be_loaded_again() {
    let toml = "[kafka.properties]\nclient.rack = \"a \\\"b\\\"\"\n[[routes]]\nname = \"a\"\ntopic = \"a\"\npostgres_table = \"s.a\"\n\
                clickhouse_table = \"a\"\ncolumns = [{ name = \"c\", kind = \"integer\", presence = { default = 7 } }]\n\
                [[routes]]\nname = \"b\"\ntopic = \"b\"\npostgres_table = \"b\"\nclickhouse_table = \"b\"\n\
                columns = [{ name = \"c\", field = \"d e\", kind = \"text\" }, { name = \"e\", kind = \"uuid\", presence = \"optional\" }]\n";
    let (text, _) = shown(toml, &Environment::default(), &[]);
    let (one, other) =
        (load(toml, &[], &[]).unwrap(), load(&text, &[], &[]).unwrap_or_else(|error| panic!("{error}\n{text}")));
    assert_eq!(format!("{one:?}"), format!("{other:?}"), "{text}");
    assert_eq!(one.routes, other.routes);
}

#[test]
fn a_variable_that_only_looks_like_a_settings_is_named() {
    let environment = Environment::of_variables(&[
        ("FOOTPRINT_PIPELINE_LANES", "3"),
        ("FOOTPRINT_SERVICE_HOST", "10.0.0.1"),
        ("FOOTPRINT_PORT_9464_TCP", "tcp://10.0.0.1"),
        ("FOOTPRINT_PIPELINE__LINGER_MS", "3"),
    ]);
    let expected = "the variable FOOTPRINT_PIPELINE_LANES is no setting and has no effect; did you mean FOOTPRINT_PIPELINE__LANES?";
    assert_eq!(misspelt(&environment), [expected]);
    for (variable, message) in [
        ("FOOTPRINT_PIPELINE__LANE", "setting pipeline.lane: unknown setting; did you mean FOOTPRINT_PIPELINE__LANES?"),
        ("FOOTPRINT_PIPELIN__LANES", "setting pipelin: unknown setting; did you mean FOOTPRINT_PIPELINE__LANES?"),
        ("FOOTPRINT_KAFKA__LANES", "setting kafka.lanes: unknown setting; did you mean FOOTPRINT_PIPELINE__LANES?"),
    ] {
        assert_eq!(load("", &[(variable, "3")], &[]).unwrap_err(), format!("{variable}: {message}"));
    }
}
