//! The route's JSON fields by their names, and what a payload was found to hold of each.

/// What a field's value is, as either reader gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// The field is not there.
    Missing,
    /// An explicit null.
    Null,
    /// A truth value.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// An integer beyond `i64`.
    Unsigned(u64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// A number that neither a double nor a 64-bit integer holds.
    NumberTooLarge,
    /// `NaN`, `Infinity` or `-Infinity`: no JSON, and no value of any kind.
    NotFinite,
    /// A text, unescaped: UTF-8, as all texts here.
    Text(&'a [u8]),
    /// A text, unescaped, that holds NUL.
    TextWithNul(&'a [u8]),
    /// A text that escapes half of a surrogate pair: no UTF-8 holds it.
    LoneSurrogate,
    /// An object or an array.
    Nested,
}

/// The names of the fields, and which stood at each place of an object lately: events of one producer look alike.
#[derive(Clone)]
pub(super) struct Names {
    fields: Vec<Name>,
    expected: Vec<usize>,
}

#[derive(Clone)]
struct Name {
    name: String,
    /// The name as it mostly stands in JSON, quotes and colon included; where it needs an escape, with that.
    token: String,
}

impl Names {
    /// The fields in the order of the route's columns.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let fields = names
            .into_iter()
            .map(|name| Name { token: format!("{}:", serde_json::Value::from(name.as_str())), name })
            .collect();
        Self { fields, expected: Vec::new() }
    }

    /// The field that stood at place `member` last time, and how it stands in JSON.
    pub(super) fn expected(&self, member: usize) -> Option<(usize, &[u8])> {
        let &field = self.expected.get(member)?;
        Some((field, self.fields[field].token.as_bytes()))
    }

    /// Which field `name` is, if any: the one that stood at this place last time, or else searched for.
    pub(super) fn find(&mut self, member: usize, name: &[u8]) -> Option<usize> {
        if let Some(&guess) = self.expected.get(member)
            && self.fields[guess].name.as_bytes() == name
        {
            return Some(guess);
        }
        let found = self.fields.iter().position(|field| field.name.as_bytes() == name)?;
        // An object may have many members nobody asked for; only as many places as fields are remembered.
        if member < self.fields.len() {
            if self.expected.len() <= member {
                self.expected.resize(member + 1, 0);
            }
            self.expected[member] = found;
        }
        Some(found)
    }
}
