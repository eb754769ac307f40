//! The configuration as a JSON schema (draft 2020-12), for editors and for checks before a file is on its machine. It describes one
//! file, which needs only what differs from the defaults. Pure.

use footprint_event::limits::ROUTE_COLUMNS_MAX;
use serde_json::{Map, Value, json};

use super::described::{
    COLUMN, COLUMN_REQUIRED, COLUMNS, PROPERTIES, ROUTE, ROUTE_DEFAULTS, ROUTES, SECTIONS, Setting, Type, of_section,
};
use super::tree::{self, Node, Path};

/// The dialect of the schema.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema. Its defaults are those of the shipped configuration.
pub(super) fn schema(shipped: &Node) -> Value {
    let mut sections = Map::new();
    for (section, text) in SECTIONS {
        let mut properties: Map<String, Value> = of_section(section)
            .map(|(name, setting)| {
                (name.to_owned(), described(setting, shipped.find(&Path::of(setting.key)).map(json_of)))
            })
            .collect();
        if section == "kafka" {
            properties.insert("properties".into(), json!({ "description": PROPERTIES, "$ref": "#/$defs/properties" }));
        }
        sections.insert(section.into(), table(text, properties, &[]));
    }
    let column = COLUMN.iter().map(|setting| (setting.key.to_owned(), described(setting, column_default(setting.key))));
    let column = table("One column.", column.collect(), &COLUMN_REQUIRED);
    let mut route: Map<String, Value> = ROUTE
        .iter()
        .map(|setting| (setting.key.to_owned(), described(setting, route_default(setting.key).map(Value::from))))
        .collect();
    route.insert(
        "columns".into(),
        json!({ "description": COLUMNS, "type": "array", "minItems": 1, "maxItems": ROUTE_COLUMNS_MAX, "items": column }),
    );
    let required: Vec<&str> =
        ROUTE.iter().map(|setting| setting.key).filter(|key| route_default(key).is_none()).chain(["columns"]).collect();
    let route = table("One topic and its two tables.", route, &required);
    sections.insert("routes".into(), json!({ "description": ROUTES, "type": "array", "minItems": 1, "items": route }));
    let mut schema = table("The settings of footprint.", sections, &[]);
    schema["$schema"] = DIALECT.into();
    schema["title"] = "footprint".into();
    // a dotted key of TOML is a table in a table
    schema["$defs"] = json!({ "properties": {
        "type": "object",
        "additionalProperties": { "anyOf": [{ "type": ["string", "number", "boolean"] }, { "$ref": "#/$defs/properties" }] },
    } });
    schema
}

fn table(text: &str, properties: Map<String, Value>, required: &[&str]) -> Value {
    json!({
        "description": text,
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required,
    })
}

/// The default of a route's setting.
pub(super) fn route_default(key: &str) -> Option<&'static str> {
    ROUTE_DEFAULTS.iter().find(|(name, _)| *name == key).map(|&(_, default)| default)
}

/// The default of a column's setting. That of `field` is the name.
pub(super) fn column_default(key: &str) -> Option<Value> {
    match key {
        "presence" => Some("required".into()),
        "low_cardinality" => Some(false.into()),
        _ => None,
    }
}

fn described(setting: &Setting, default: Option<Value>) -> Value {
    let mut schema = match setting.kind {
        Type::Text | Type::Path => json!({ "type": "string" }),
        Type::Secret => json!({ "type": "string", "writeOnly": true }),
        Type::Boolean => json!({ "type": "boolean" }),
        Type::Words(words) => json!({ "enum": words }),
        Type::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Type::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Type::Presence => json!({ "oneOf": [
            { "enum": ["required", "optional"] },
            {
                "type": "object",
                "properties": { "default": { "type": ["boolean", "integer", "number", "string"] } },
                "required": ["default"],
                "additionalProperties": false,
            },
        ] }),
    };
    schema["description"] = setting.text.into();
    if let Some(default) = default {
        schema["default"] = default;
    }
    schema
}

/// A value of a file as JSON.
pub(super) fn json_of(node: &Node) -> Value {
    match &node.value {
        tree::Value::Word(text) | tree::Value::Text(text) => text.as_str().into(),
        // no setting holds a number that JSON does not
        tree::Value::Integer(number) => i64::try_from(*number).map_or(Value::Null, Value::from),
        tree::Value::Float(text) => text.parse::<f64>().map_or(Value::Null, Value::from),
        tree::Value::Boolean(truth) => (*truth).into(),
        tree::Value::Date => Value::Null,
        tree::Value::List(list) => list.iter().map(json_of).collect(),
        tree::Value::Table(table) => {
            Value::Object(table.iter().map(|(key, node)| (key.clone(), json_of(node))).collect())
        }
    }
}
