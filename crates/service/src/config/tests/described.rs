//! The table of settings, the JSON schema and docs/configuration.md agree with what the program takes. The program itself is asked:
//! it names the keys it knows, the type that it expects, and the words that it knows.

use std::collections::BTreeSet;

use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use super::super::described::{
    COLUMN, COLUMNS, PROPERTIES, ROUTE, ROUTES, SECTIONS, SETTINGS, Setting, Type, of_section,
};
use super::super::schema::{json_of, route_default};
use super::*;
use crate::environment::OLD_NAMES;

/// Whether a configuration is valid, as the schema says.
fn validator() -> impl Fn(&Value) -> Result<(), String> {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("footprint.json", schema().unwrap()).unwrap();
    let index = compiler.compile("footprint.json", &mut schemas).unwrap();
    move |value| schemas.validate(value, index).map_err(|error| error.to_string())
}

fn json(toml: &str) -> Value {
    json_of(&document::parse(toml, None).map_err(|_| "not TOML").unwrap())
}

/// A file with one setting of a section, or of the first route or its first column.
fn file(place: &str, key: &str, value: &str) -> String {
    let column = |own: &str| format!("columns = [{{ name = \"c\", kind = \"text\"{own} }}]\n");
    let route = "[[routes]]\nname = \"a\"\ntopic = \"a\"\npostgres_table = \"a\"\nclickhouse_table = \"a\"\n";
    let others = |named: &str| -> String {
        route.lines().filter(|line| !line.starts_with(&format!("{named} = "))).map(|line| format!("{line}\n")).collect()
    };
    match place {
        "route" => format!("{}{key} = {value}\n{}", others(key), column("")),
        "column" if key == "name" => format!("{route}columns = [{{ name = {value}, kind = \"text\" }}]\n"),
        "column" if key == "kind" => format!("{route}columns = [{{ name = \"c\", kind = {value} }}]\n"),
        "column" => format!("{route}{}", column(&format!(", {key} = {value}"))),
        section => format!("[{section}]\n{key} = {value}\n"),
    }
}

fn places() -> impl Iterator<Item = (&'static str, &'static str, Setting)> {
    let sections =
        SECTIONS.iter().flat_map(|(section, _)| of_section(section).map(|(name, setting)| (*section, name, *setting)));
    let routes = ROUTE.iter().map(|setting| ("route", setting.key, *setting));
    let columns = COLUMN.iter().map(|setting| ("column", setting.key, *setting));
    sections.chain(routes).chain(columns)
}

#[test]
fn each_key_that_the_program_knows_is_described_and_no_other() {
    let tables: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).chain(["route", "column"]).collect();
    for place in tables {
        let error = refused(&file(place, "zzzzzzzzzzzzzzzz", "1"));
        let known = error.split("known are ").nth(1).unwrap_or_else(|| panic!("{place}: {error}"));
        let known: BTreeSet<&str> = known.split(", ").collect();
        let mut described: BTreeSet<&str> = places().filter(|(at, ..)| *at == place).map(|(_, key, _)| key).collect();
        described.extend(match place {
            "kafka" => Some("properties"),
            "route" => Some("columns"),
            _ => None,
        });
        assert_eq!(known, described, "{place}");
    }
    let sections: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).chain(["routes"]).collect();
    let error = refused("zzzzzzzzzzzzzzzz = 1");
    assert_eq!(error.split("known are ").nth(1).unwrap().split(", ").collect::<Vec<_>>(), sections);
}

/// The program's refusal of a value of a wrong type names the type that it expects.
#[test]
fn each_key_has_the_type_that_the_program_expects() {
    for (place, key, setting) in places() {
        let error = refused(&file(place, key, "[[1]]"));
        let expected = match setting.kind {
            Type::Text | Type::Secret | Type::Path => "expected text".to_owned(),
            Type::Boolean => "expected true or false".to_owned(),
            Type::Whole { .. } => "expected a whole number".to_owned(),
            Type::Share => "expected a number".to_owned(),
            Type::Words(_) | Type::Presence => "unknown word; use one of ".to_owned(),
        };
        let what = format!("{place} {key}");
        assert!(error.contains(&expected), "{what}: {error}");
        if let Type::Words(words) = setting.kind {
            let known: BTreeSet<&str> = error.split("use one of ").nth(1).unwrap().split(", ").collect();
            // the aliases of other programs' words are taken, and not advertised
            let advertised: BTreeSet<&str> = known.into_iter().filter(|word| !ALIASES.contains(word)).collect();
            assert_eq!(advertised, words.iter().copied().collect(), "{what}");
        }
    }
}

const ALIASES: [&str; 4] = ["smallest", "beginning", "largest", "end"];

#[test]
fn each_key_has_the_default_of_the_shipped_configuration() {
    let (schema, shipped) = (schema().unwrap(), json(DEFAULT));
    for (section, _) in SECTIONS {
        for (name, setting) in of_section(section) {
            let default = &schema["properties"][section]["properties"][name]["default"];
            assert!(!default.is_null() && *default == shipped[section][name], "{}: {default}", setting.key);
        }
    }
    // what a route need not say
    let config = load(&file("route", "timezone", "\"UTC\""), &[], &[]).unwrap();
    let config_without = load(&file("route", "topic", "\"a\""), &[], &[]).unwrap();
    assert_eq!((config.routes, route_default("timezone")), (config_without.routes.clone(), Some("UTC")));
    let column = &schema["properties"]["routes"]["items"]["properties"]["columns"]["items"]["properties"];
    let read = serde_json::to_value(&config_without.routes[0].columns[0]).unwrap();
    for key in ["presence", "low_cardinality"] {
        assert_eq!(column[key]["default"], read[key], "{key}");
    }
    assert_eq!(read["field"], "c", "the column's name");
}

/// At each bound, and one beyond it.
#[test]
fn the_bounds_of_the_schema_are_those_of_the_program() {
    let is_valid = validator();
    for setting in SETTINGS {
        let (section, name) = setting.key.split_once('.').unwrap();
        let (valid, wrong) = match setting.kind {
            Type::Whole { min, max } => {
                let below = i128::from(min) - 1;
                (vec![min.to_string(), max.to_string()], vec![below.to_string(), (max + 1).to_string(), "1.5".into()])
            }
            Type::Share => (vec!["0.0".into(), "1".into()], vec!["-0.1".into(), "1.1".into()]),
            Type::Words(words) => (words.iter().map(|word| format!("{word:?}")).collect(), vec!["\"zzz\"".into()]),
            Type::Boolean => (vec!["true".into()], vec!["\"yes\"".into()]),
            Type::Text | Type::Secret | Type::Path | Type::Presence => continue,
        };
        for value in valid {
            let toml = file(section, name, &value);
            assert!(load(&toml, &[], &[]).is_ok(), "{toml}: {:?}", load(&toml, &[], &[]));
            assert_eq!(is_valid(&json(&toml)), Ok(()), "{toml}");
        }
        for value in wrong {
            let toml = file(section, name, &value);
            let error = load(&toml, &[], &[]).unwrap_err();
            assert!(error.contains(setting.key) && error.lines().count() == 1, "{toml}: {error}");
            assert!(is_valid(&json(&toml)).is_err(), "{toml}");
        }
    }
}

#[test]
fn the_schema_takes_what_the_program_takes_and_refuses_what_it_refuses() {
    let is_valid = validator();
    assert_eq!(is_valid(&json(DEFAULT)), Ok(()));
    for toml in [
        "",
        "[kafka.properties]\nsasl.username = \"a\"\n\"fetch.min.bytes\" = 7\n",
        &file("column", "presence", "{ default = 1.5 }"),
    ] {
        assert_eq!(is_valid(&json(toml)), Ok(()), "{toml}");
    }
    for wrong in [
        "[pipelin]\nlanes = 1".to_owned(),
        "[pipeline]\nlane = 1".to_owned(),
        "[postgres]\nport = \"x\"".to_owned(),
        "[postgres]\npassword = [\"x\"]".to_owned(),
        "kafka = 1".to_owned(),
        "routes = []".to_owned(),
        "[[routes]]\nname = \"a\"".to_owned(),
        "[kafka.properties]\na.b = [1]".to_owned(),
        file("column", "presence", "{ value = 1 }"),
        file("column", "presence", "\"sometimes\""),
        file("column", "kind", "\"txt\""),
        file("route", "timezon", "\"UTC\""),
    ] {
        assert!(is_valid(&json(&wrong)).is_err(), "{wrong}");
        assert!(load(&wrong, &[], &[]).is_err(), "{wrong}");
    }
    // the validator itself works
    assert!(is_valid(&json!({ "kafka": { "zzz": 1 } })).is_err());
}

/// `FOOTPRINT_TEST_WRITE=1 cargo test -p footprint-service configuration_page` writes the page again.
#[test]
fn the_configuration_page_is_not_stale() {
    let page = page();
    let file = File::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("FOOTPRINT_TEST_WRITE").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is stale: run this test with FOOTPRINT_TEST_WRITE=1 and look at the difference"
    );
}

/// docs/configuration.md.
fn page() -> String {
    let shipped = json(DEFAULT);
    let mut page = include_str!("page.md").to_owned();
    for (section, text) in SECTIONS {
        page.push_str(&format!("\n## [{section}]\n\n{text}\n\n"));
        for (name, setting) in of_section(section) {
            let old = OLD_NAMES.iter().find(|(_, key)| *key == setting.key).map(|(old, _)| format!(", `{old}`"));
            let kind =
                format!("{}, default `{}`{}", kind_text(setting.kind), shipped[section][name], old.unwrap_or_default());
            page.push_str(&format!("- **`{name}`** ({kind}). {}\n", setting.text));
        }
        if section == "kafka" {
            page.push_str(&format!("- **`[kafka.properties]`** (a table). {PROPERTIES}\n"));
        }
    }
    page.push_str(&format!("\n## [[routes]]\n\n{ROUTES} `TOPIC` in the environment is the first route's topic.\n\n"));
    for setting in ROUTE {
        let default =
            route_default(setting.key).map_or("required".to_owned(), |default| format!("default `\"{default}\"`"));
        page.push_str(&format!("- **`{}`** ({}, {default}). {}\n", setting.key, kind_text(setting.kind), setting.text));
    }
    page.push_str(&format!("- **`columns`** (a list of tables, required). {COLUMNS}\n"));
    for setting in COLUMN {
        page.push_str(&format!("  - **`{}`** ({}). {}\n", setting.key, kind_text(setting.kind), setting.text));
    }
    page
}

fn kind_text(kind: Type) -> String {
    match kind {
        Type::Text => "text".into(),
        Type::Secret => "text, a secret".into(),
        Type::Path => "a path".into(),
        Type::Boolean => "true or false".into(),
        Type::Words(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or "),
        Type::Whole { min, max } => format!("{min} to {max}"),
        Type::Share => "0 to 1".into(),
        Type::Presence => "`\"required\"`, `\"optional\"` or a table; default `\"required\"`".into(),
    }
}
