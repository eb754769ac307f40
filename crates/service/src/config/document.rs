//! Turns TOML text into a tree of settings, each with its line. Reports every error of the text, without the text itself. Pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path as File;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};
use super::tree::{Node, Value};

/// A text, and the file that its places name.
struct Document<'a> {
    text: &'a str,
    /// The file. None: the shipped configuration.
    file: Option<Arc<File>>,
}

/// Reads the text of `file`, or of the shipped configuration.
///
/// # Errors
/// Everything in it that is not TOML.
pub(super) fn parse(text: &str, file: Option<&File>) -> Result<Node, Vec<Fault>> {
    let document = Document { text, file: file.map(Arc::from) };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node { value: document.table(table.into_inner()), origin: document.origin(&(0..0)) });
    }
    // the message consists of fixed words; `Display` would show the line
    let fault = |error: &toml::de::Error| Fault {
        origin: document.origin(&error.span().unwrap_or_default()),
        text: format!("it is not TOML: {}", error.message()),
    };
    Err(errors.iter().map(fault).collect())
}

impl Document<'_> {
    fn origin(&self, span: &Range<usize>) -> Origin {
        let Some(file) = &self.file else { return Origin::Shipped };
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Origin::File(Arc::clone(file), line)
    }

    /// An entry's place is its key's, because a value begins in the same line.
    fn table(&self, table: DeTable<'_>) -> Value {
        let entries = table.into_iter().map(|(key, value)| {
            let origin = self.origin(&key.span());
            (key.into_inner().into_owned(), Node { value: self.value(value.into_inner()), origin })
        });
        Value::Table(entries.collect::<BTreeMap<_, _>>())
    }

    fn element(&self, value: Spanned<DeValue<'_>>) -> Node {
        let origin = self.origin(&value.span());
        Node { value: self.value(value.into_inner()), origin }
    }

    fn value(&self, value: DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.into_owned()),
            // no setting is so large that the difference matters
            DeValue::Integer(number) => {
                Value::Integer(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
            }
            DeValue::Float(number) => Value::Float(number.as_str().to_owned()),
            DeValue::Boolean(truth) => Value::Boolean(truth),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(elements) => Value::List(elements.into_iter().map(|value| self.element(value)).collect()),
            DeValue::Table(table) => self.table(table),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Path;
    use super::*;

    fn line(node: &Node, path: &Path) -> String {
        node.origin_of(path).to_string()
    }

    #[test]
    fn each_value_knows_its_line() {
        let text = "a.b = 1\n\n[c]\nd = [\n  { e = 1 },\n  { e = 2 },\n]\n[[f]]\ng = 1\n[[f]]\nh.i = 0x10\n";
        let tree = parse(text, Some(File::new("FILE"))).map_err(|_| "not TOML").unwrap();
        for (path, expected) in [
            ("a.b", 1),
            ("c", 3),
            ("c.d", 4),
            ("c.d.0.e", 5),
            ("c.d.1.e", 6),
            ("f.0.g", 9),
            ("f.1", 10),
            ("f.1.h.i", 11),
        ] {
            let steps = path.split('.').map(|part| match part.parse() {
                Ok(index) => super::super::tree::Step::Index(index),
                Err(_) => super::super::tree::Step::Key(part.to_owned()),
            });
            assert_eq!(line(&tree, &Path(steps.collect())), format!("FILE line {expected}: "), "{path}");
        }
    }

    #[test]
    fn every_error_is_given_with_its_line_and_without_the_text() {
        let text = "[postgres]\npassword = \"secret\nport = secret\n\n[kafka\ngroup_id = \"a\"\n";
        let Err(faults) = parse(text, Some(File::new("FILE"))) else { panic!("it is not TOML") };
        let messages: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for line in [2, 3, 5] {
            assert!(
                messages.iter().any(|fault| fault.starts_with(&format!("FILE line {line}: it is not TOML"))),
                "{messages:?}"
            );
        }
        assert!(!messages.concat().contains("secret"), "{messages:?}");
    }
}
