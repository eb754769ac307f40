//! The settings in force, each with the place that it comes from, for `footprint config show`. Secrets are hidden. As text it is a
//! configuration file again, with the places as comments. Pure.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::Config;
use super::described::{COLUMN, ROUTE, SECTIONS, Type, of_section};
use super::fault::Origin;
use super::kafka_properties::is_secret;
use super::schema::{column_default, json_of, route_default};
use super::tree::{self, Node, Path, Step};

/// In place of a secret.
const HIDDEN: &str = "(hidden)";
/// Columns of the terminal that a line should fit into.
const WIDTH: usize = 80;
/// Where the comments begin, if the settings before them are short enough.
const COMMENT_AT: usize = 44;

/// The settings in force.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    settings: Vec<Entry>,
}

/// One setting.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    /// The table that it is in, as a heading of TOML.
    #[serde(skip)]
    heading: String,
    #[serde(skip)]
    name: String,
    /// The whole key.
    key: String,
    value: Value,
    /// Whether the value is a secret, and not shown.
    hidden: bool,
    origin: Value,
    /// The origin for people.
    #[serde(skip)]
    place: String,
}

impl Shown {
    pub(super) fn of(config: &Config, tree: &Node) -> Self {
        let mut settings = Vec::new();
        for (section, _) in SECTIONS {
            for (name, setting) in of_section(section) {
                if let Some(node) = tree.find(&Path::of(setting.key)) {
                    settings.push(entry(
                        format!("[{section}]"),
                        setting.key.to_owned(),
                        name,
                        setting.kind,
                        node,
                        tree,
                    ));
                }
            }
            if section == "kafka" {
                settings.extend(properties(tree));
            }
        }
        for entry in settings.iter_mut().filter(|entry| entry.key == "telemetry.log") {
            // as the log understands it
            entry.value = config.telemetry.log.as_str().into();
        }
        for (index, route) in config.routes.iter().enumerate() {
            let at = Path(vec![Step::Key("routes".into()), Step::Index(index)]);
            for setting in ROUTE {
                let default = route_default(setting.key).map(Value::from);
                settings.extend(below("[[routes]]", &at, setting.key, setting.kind, default, tree));
            }
            for (index, column) in route.columns.iter().enumerate() {
                let at = Path([at.0.clone(), vec![Step::Key("columns".into()), Step::Index(index)]].concat());
                for setting in COLUMN {
                    let default = column_default(setting.key).or_else(|| Some(column.name.as_str().into()));
                    settings.extend(below("[[routes.columns]]", &at, setting.key, setting.kind, default, tree));
                }
            }
        }
        Self { settings }
    }

    /// As a configuration file, with a comment at each setting.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut heading = "";
        for entry in &self.settings {
            // each element of a list has its own heading, and begins with its name
            let begins = entry.heading.starts_with("[[") && entry.name == "name";
            if entry.heading != heading || begins {
                heading = &entry.heading;
                let gap = if text.is_empty() { "" } else { "\n" };
                // writing to a String does not fail
                let _ = writeln!(text, "{gap}{heading}");
            }
            let setting = format!("{} = {}", entry.name, toml(&entry.value));
            let length = setting.chars().count();
            let comment = format!("# {}", entry.place);
            let at = COMMENT_AT.max(length + 2);
            let _ = if at + comment.chars().count() <= WIDTH {
                writeln!(text, "{setting:<at$}{comment}")
            } else {
                writeln!(text, "{comment}\n{setting}")
            };
        }
        text
    }
}

/// A value as TOML spells it. JSON's text is TOML's too.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let entries: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

fn entry(heading: String, key: String, name: &str, kind: Type, node: &Node, tree: &Node) -> Entry {
    let (mut origin, mut place) = (origin_json(&node.origin), origin_text(&node.origin));
    let mut value = typed(node, kind);
    let file =
        key.strip_suffix(".password").and_then(|section| tree.find(&Path::of(&format!("{section}.password_file"))));
    let mut hidden = kind == Type::Secret && value != "";
    if let Some(node) = file.filter(|node| json_of(node) != "") {
        let path = json_of(node);
        place = format!("read from {}, named by {}", path.as_str().unwrap_or_default(), origin_text(&node.origin));
        origin = json!({ "kind": "password_file", "path": path, "named_by": origin_json(&node.origin) });
        hidden = true;
    }
    if hidden {
        value = HIDDEN.into();
    }
    Entry { heading, name: name.to_owned(), key, value, hidden, origin, place }
}

/// The properties of librdkafka.
fn properties(tree: &Node) -> Vec<Entry> {
    let Some(Node { value: tree::Value::Table(table), .. }) = tree.find(&Path::of("kafka.properties")) else {
        return Vec::new();
    };
    let shown = table.iter().map(|(name, node)| {
        let kind = if is_secret(name) { Type::Secret } else { Type::Text };
        let quoted = Value::from(name.as_str()).to_string();
        entry("[kafka.properties]".into(), format!("kafka.properties.{name}"), &quoted, kind, node, tree)
    });
    shown.collect()
}

/// A setting of an element of a list, or its default.
fn below(heading: &str, at: &Path, name: &str, kind: Type, default: Option<Value>, tree: &Node) -> Option<Entry> {
    let path = Path([at.0.clone(), vec![Step::Key(name.to_owned())]].concat());
    let (heading, key) = (heading.to_owned(), path.to_string());
    if let Some(node) = tree.find(&path) {
        return Some(entry(heading, key, name, kind, node, tree));
    }
    let (origin, place) = (origin_json(&Origin::Shipped), origin_text(&Origin::Shipped));
    Some(Entry { heading, name: name.to_owned(), key, value: default?, hidden: false, origin, place })
}

/// A variable's text as the type that its setting has.
fn typed(node: &Node, kind: Type) -> Value {
    let value = json_of(node);
    let Value::String(text) = &value else {
        // a number that stands for a text
        return if matches!(kind, Type::Text | Type::Secret | Type::Path) { value.to_string().into() } else { value };
    };
    match kind {
        Type::Whole { .. } | Type::Share | Type::Boolean => text.parse().unwrap_or(value),
        _ => value,
    }
}

fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::Shipped => "default".to_owned(),
        Origin::File(path, line) => format!("{}:{line}", path.display()),
        Origin::Variable(name, Some(line)) => format!("{name} (.env line {line})"),
        Origin::Variable(name, None) => format!("{name} (environment)"),
        Origin::Flag(flag) => flag.clone(),
    }
}

fn origin_json(origin: &Origin) -> Value {
    match origin {
        Origin::Shipped => json!({ "kind": "default" }),
        Origin::File(path, line) => json!({ "kind": "file", "path": path.display().to_string(), "line": line }),
        Origin::Variable(name, Some(line)) => json!({ "kind": ".env", "name": name, "line": line }),
        Origin::Variable(name, None) => json!({ "kind": "environment", "name": name }),
        Origin::Flag(flag) => json!({ "kind": "flag", "name": flag }),
    }
}
