//! One line of the log: its parts, and how each form of the log spells them. Text of outside origin is escaped here. Pure.

use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::escape::{Keep, escaped};

/// How lines are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Text {
        /// Whether the level has a colour.
        colours: bool,
        /// Whether the part of the program is named.
        target: bool,
    },
    /// One JSON object a line.
    Json,
}

/// The parts of a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    level: Level,
    target: String,
    message: String,
    fields: Map<String, Value>,
    /// The same, for people: ` partition=7 range=[0, 4) sink="postgres"`.
    fields_text: String,
    /// How many lines like this one were not shown.
    pub(super) repeated: Option<u64>,
}

/// A line in JSON. The order of the fields is the order in the log.
#[derive(Serialize)]
struct Document<'a> {
    timestamp: &'a str,
    level: &'a str,
    message: &'a str,
    fields: &'a Map<String, Value>,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<u64>,
}

impl Line {
    /// The line of an event.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut line = Self::new(*event.metadata().level(), String::new());
        event.metadata().target().clone_into(&mut line.target);
        event.record(&mut line);
        line
    }

    /// A line of the log itself.
    pub(super) fn new(level: Level, message: String) -> Self {
        Self {
            level,
            target: "footprint".to_owned(),
            message,
            fields: Map::new(),
            fields_text: String::new(),
            repeated: None,
        }
    }

    /// Whether a person should look at it.
    pub(super) fn is_trouble(&self) -> bool {
        self.level <= Level::WARN
    }

    /// The message and the fields: `taken over partition=7`.
    pub(super) fn content(&self) -> String {
        format!("{}{}", self.message, self.fields_text).trim_start().to_owned()
    }

    /// The whole line, with its line feed.
    pub(super) fn spelled(&self, form: Form, timestamp: &str) -> String {
        match form {
            Form::Json => {
                let (level, repeated) = (self.level.as_str(), self.repeated);
                let Self { message, fields, target, .. } = self;
                let document = Document { timestamp, level, message, fields, target, repeated };
                // a map whose keys are texts is always JSON
                let json = serde_json::to_string(&document).unwrap_or_default();
                format!("{}\n", escaped(&json, Keep::Nothing))
            }
            Form::Text { colours, target } => {
                let mut content = if target { format!("{}: {}", self.target, self.content()) } else { self.content() };
                if let Some(count) = self.repeated {
                    content.push_str(&format!(" ({count} more since the last)"));
                }
                let (level, content) = (self.level.as_str(), escaped(&content, Keep::Nothing));
                if colours {
                    format!("\x1b[2m{timestamp}\x1b[0m \x1b[{}m{level:>5}\x1b[0m {content}\n", colour(self.level))
                } else {
                    format!("{timestamp} {level:>5} {content}\n")
                }
            }
        }
    }

    /// Adds a field. `text` is its value for people.
    fn add(&mut self, name: &str, value: Value, text: &dyn fmt::Display) {
        match (name, value) {
            ("message", Value::String(text)) => self.message = text,
            // lines of the `log` crate: their real target, and the place of the call, which is of no use to the reader
            ("log.target", Value::String(text)) => self.target = text,
            (name, _) if name.starts_with("log.") => {}
            (name, value) => {
                // writing to a String does not fail
                let _ = write!(self.fields_text, " {name}={text}");
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.add(field.name(), text.as_str().into(), &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.into(), &format_args!("{value:?}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value.into(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value.into(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value.into(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value.into(), &value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Form = Form::Text { colours: false, target: false };

    fn line() -> Line {
        let mut line = Line::new(Level::WARN, "topic \u{1b}]0;x\u{7} is gone\n2026 ERROR a line of another".into());
        line.add("link", "/a\u{9b}31m\r".into(), &"/a\u{9b}31m\r");
        line.add("range", "[0, 4)".into(), &"[0, 4)");
        line.add("partition", 7.into(), &7);
        line
    }

    #[test]
    fn an_event_is_one_line_and_cannot_speak_to_the_terminal() {
        let text = line().spelled(PLAIN, "T");
        let expected = "T  WARN topic \\u001b]0;x\\u0007 is gone\\n2026 ERROR a line of another link=/a\\u009b31m\\r range=[0, 4) partition=7\n";
        assert_eq!(text, expected);
        let coloured = line().spelled(Form::Text { colours: true, target: true }, "T");
        let bare = coloured.replace("\x1b[2m", "").replace("\x1b[33m", "").replace("\x1b[0m", "");
        assert_eq!(bare, expected.replace("WARN topic", "WARN footprint: topic"));
    }

    #[test]
    fn json_has_each_part_under_its_name() {
        let mut line = line();
        line.repeated = Some(3);
        let json = line.spelled(Form::Json, "T");
        let start = r#"{"timestamp":"T","level":"WARN","message":"topic \u001b]0;x"#;
        assert!(json.starts_with(start) && json.lines().count() == 1, "{json}");
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["fields"]["link"], "/a\u{9b}31m\r");
        assert_eq!(
            (&read["fields"]["partition"], &read["target"], &read["repeated"]),
            (&7.into(), &"footprint".into(), &3.into())
        );
        assert!(!json.contains('\u{9b}'), "{json}");
    }
}
