//! Turns a tree of settings into the program's types, with serde. One pass finds every setting of the wrong type and every
//! unknown key: a refused value is replaced by the shipped one, and reading continues. Pure.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer as _, Unexpected, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::tree::{Node, Path, Step, Value, whole_number};

/// Faults of one configuration that are reported, at most.
const REFUSALS_MAX: usize = 100;

/// Why a setting is refused.
#[derive(Debug)]
pub(super) enum Kind {
    /// What was found, and what was expected.
    Type(&'static str, String),
    /// The same, but the value is out of range.
    Range(&'static str, String),
    /// The words known.
    Word(&'static [&'static str]),
    /// The known keys. The unknown key itself ends the path.
    Unknown(&'static [&'static str]),
    /// A key that must be there.
    Missing(&'static str),
    Other,
}

/// A refused setting. Its text never shows a value.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The path from the root after the reader returns it. Before that, the last step comes first.
    pub(super) path: Path,
    pub(super) kind: Kind,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Type(found, expected) => write!(f, "expected {expected}, found {found}"),
            Kind::Range(found, expected) => write!(f, "expected {expected}, found {found} that does not fit"),
            Kind::Word(known) => write!(f, "unknown word; use one of {}", known.join(", ")),
            Kind::Unknown(_) => f.write_str("unknown setting"),
            Kind::Missing(key) => write!(f, "{key} is missing"),
            Kind::Other => f.write_str("a value that cannot be used here; config/footprint.toml shows what can"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Kind> for Refusal {
    fn from(kind: Kind) -> Self {
        Self { path: Path::default(), kind }
    }
}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(_: T) -> Self {
        // serde's text may hold a value
        Kind::Other.into()
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Kind::Type(named(found), wanted(expected)).into()
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Kind::Range(named(found), wanted(expected)).into()
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Kind::Word(known).into()
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Kind::Unknown(known).into()
    }

    fn missing_field(field: &'static str) -> Self {
        Kind::Missing(field).into()
    }
}

fn named(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a number",
        Unexpected::Float(_) => "a number with a point",
        Unexpected::Char(_) | Unexpected::Str(_) => "text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table",
        Unexpected::Other(what) if what == DATE => DATE,
        _ => "something else",
    }
}

/// Translates what serde's own types expect into the words of the documentation.
fn wanted(expected: &dyn de::Expected) -> String {
    match expected.to_string().as_str() {
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number".into(),
        "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "path string" => "text".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        other if other.starts_with("struct ") => "a table".into(),
        _ => "something else".into(),
    }
}

const DATE: &str = "a date or a time";

/// Reads `tree`. `shipped` replaces whatever is refused. Returns no value if too much is refused.
pub(super) fn read<T: DeserializeOwned>(tree: &Node, shipped: &Node) -> (Option<T>, Vec<Refusal>) {
    let (mut tree, mut refusals) = (tree.clone(), Vec::new());
    while refusals.len() < REFUSALS_MAX {
        match T::deserialize(Reader(&tree)) {
            Ok(value) => return (Some(value), refusals),
            Err(mut refusal) => {
                refusal.path.0.reverse();
                let is_replaced = replace(&mut tree, &refusal, shipped);
                refusals.push(refusal);
                if !is_replaced {
                    break;
                }
            }
        }
    }
    (None, refusals)
}

/// Replaces a refused value by the shipped one, or removes it. False: neither is possible.
fn replace(tree: &mut Node, refusal: &Refusal, shipped: &Node) -> bool {
    let path = match refusal.kind {
        Kind::Missing(key) => Path([refusal.path.0.clone(), vec![Step::Key(key.to_owned())]].concat()),
        _ => refusal.path.clone(),
    };
    // each element of a list is like the first one
    let like = path.0.iter().map(|step| match step {
        Step::Index(_) => Step::Index(0),
        Step::Key(_) => step.clone(),
    });
    let stand_in = shipped.find(&Path(like.collect())).cloned();
    let Some((outer, Step::Key(key))) = path.split_last() else {
        return match (tree.find_mut(&path), stand_in) {
            (Some(place), Some(stand_in)) => {
                *place = stand_in;
                true
            }
            _ => false,
        };
    };
    match (tree.find_mut(&outer).map(|outer| &mut outer.value), stand_in) {
        (Some(Value::Table(table)), Some(stand_in)) => {
            table.insert(key.clone(), stand_in);
            true
        }
        (Some(Value::Table(table)), None) => table.remove(key).is_some(),
        _ => false,
    }
}

fn truth(text: &str) -> Option<bool> {
    text.parse().ok()
}

fn float(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| is_plain && number.is_finite())
}

/// Gives one node to serde. The wanted type decides what a variable's text is.
struct Reader<'a>(&'a Node);

impl<'a> Reader<'a> {
    /// Text, even if it looks like a number or a truth value in the file, such as `12345` or `true`.
    fn text(&self) -> Option<std::borrow::Cow<'a, str>> {
        Some(match &self.0.value {
            Value::Word(text) | Value::Text(text) | Value::Float(text) => text.as_str().into(),
            Value::Integer(number) => number.to_string().into(),
            Value::Boolean(truth) => truth.to_string().into(),
            Value::Date | Value::List(_) | Value::Table(_) => return None,
        })
    }

    fn word(&self) -> Option<&'a str> {
        if let Value::Word(word) = &self.0.value { Some(word) } else { None }
    }

    fn visit_whole<V: Visitor<'a>>(number: i128, visitor: V) -> Result<V::Value, Refusal> {
        match (i64::try_from(number), u64::try_from(number)) {
            (Ok(number), _) => visitor.visit_i64(number),
            (_, Ok(number)) => visitor.visit_u64(number),
            _ => Err(Kind::Range("a number", wanted(&visitor)).into()),
        }
    }

    fn whole<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.word().and_then(whole_number) {
            Some(number) => Self::visit_whole(number, visitor),
            None => self.untyped(visitor),
        }
    }

    fn untyped<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.0.value {
            Value::Word(text) | Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => Self::visit_whole(*number, visitor),
            Value::Float(text) => visitor.visit_f64(text.parse().unwrap_or(f64::NAN)),
            Value::Boolean(truth) => visitor.visit_bool(*truth),
            Value::Date => Err(de::Error::invalid_type(Unexpected::Other(DATE), &visitor)),
            Value::List(elements) => visitor.visit_seq(Elements { elements: elements.iter().enumerate() }),
            Value::Table(table) => visitor.visit_map(Entries { entries: table.iter(), value: None }),
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            self.whole(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Refusal;

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let Some(word) = self.word() else { return self.untyped(visitor) };
        match (whole_number(word), truth(word), float(word)) {
            (Some(number), _, _) => Self::visit_whole(number, visitor),
            (_, Some(truth), _) => visitor.visit_bool(truth),
            (_, _, Some(number)) => visitor.visit_f64(number),
            _ => visitor.visit_borrowed_str(word),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.word().and_then(truth) {
            Some(truth) => visitor.visit_bool(truth),
            None => self.untyped(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.word().and_then(float) {
            Some(number) => visitor.visit_f64(number),
            None => self.untyped(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.text() {
            Some(text) => visitor.visit_str(&text),
            None => self.untyped(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match (&self.0.value, self.text()) {
            (Value::Table(table), _) => {
                let entries = Entries { entries: table.iter(), value: None };
                visitor.visit_enum(MapAccessDeserializer::new(entries))
            }
            (_, Some(text)) => {
                let word: StrDeserializer<'_, Refusal> = (*text).into_deserializer();
                visitor.visit_enum(word)
            }
            _ => Err(Kind::Word(known).into()),
        }
    }
}

/// The elements of a list.
struct Elements<'a> {
    elements: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'a> de::SeqAccess<'a> for Elements<'a> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        let Some((index, node)) = self.elements.next() else { return Ok(None) };
        seed.deserialize(Reader(node)).map(Some).map_err(|refusal| below(refusal, Step::Index(index)))
    }
}

/// The entries of a table. The value of the last key is not read yet.
struct Entries<'a> {
    entries: std::collections::btree_map::Iter<'a, String, Node>,
    value: Option<(&'a str, &'a Node)>,
}

impl<'a> de::MapAccess<'a> for Entries<'a> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, node));
        let reader: StrDeserializer<'_, Refusal> = key.as_str().into_deserializer();
        seed.deserialize(reader).map(Some).map_err(|refusal| below(refusal, Step::Key(key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let Some((key, node)) = self.value.take() else { return Err(Kind::Other.into()) };
        seed.deserialize(Reader(node)).map_err(|refusal| below(refusal, Step::Key(key.to_owned())))
    }
}

fn below(mut refusal: Refusal, step: Step) -> Refusal {
    refusal.path.0.push(step);
    refusal
}
