//! The route's JSON fields by name, and what a payload holds of each.

/// A field's value, as either reader returns it.
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
    /// A number that fits neither a double nor a 64-bit integer.
    NumberTooLarge,
    /// `NaN`, `Infinity` or `-Infinity`: not JSON, and not a value of any kind.
    NotFinite,
    /// A text, unescaped. It is UTF-8, like all texts here.
    Text(&'a [u8]),
    /// A text, unescaped, that holds NUL.
    TextWithNul(&'a [u8]),
    /// A text with the escape of half a surrogate pair, which UTF-8 cannot hold.
    LoneSurrogate,
    /// An object or an array.
    Nested,
}

/// The names of the fields, and which of them was at each place of the last objects, because events of one producer look alike.
#[derive(Clone)]
pub(super) struct Names {
    fields: Vec<Name>,
    expected: Vec<usize>,
}

#[derive(Clone)]
struct Name {
    name: String,
    /// The name as it usually is in JSON, with quotes, colon and any escape.
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

    /// The field that was at place `member` last time, and its name in JSON.
    pub(super) fn expected(&self, member: usize) -> Option<(usize, &[u8])> {
        let &field = self.expected.get(member)?;
        Some((field, self.fields[field].token.as_bytes()))
    }

    /// The field called `name`, if there is one: the field that was at this place last time, or else the result of a search.
    pub(super) fn find(&mut self, member: usize, name: &[u8]) -> Option<usize> {
        if let Some(&guess) = self.expected.get(member)
            && self.fields[guess].name.as_bytes() == name
        {
            return Some(guess);
        }
        let found = self.fields.iter().position(|field| field.name.as_bytes() == name)?;
        // An object may have many members that no route asks for. Only as many places as fields are remembered.
        if member < self.fields.len() {
            if self.expected.len() <= member {
                self.expected.resize(member + 1, 0);
            }
            self.expected[member] = found;
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_field_is_remembered_for_as_many_places_as_fields() {
        let mut names = Names::new(["link".to_owned(), "a\"b".to_owned()]);
        assert_eq!(names.find(0, b"other"), None);
        assert_eq!(names.expected(0), None);
        assert_eq!(names.find(1, b"a\"b"), Some(1));
        assert_eq!(names.expected(1), Some((1, b"\"a\\\"b\":".as_slice())));
        assert_eq!(names.find(0, b"link"), Some(0));
        assert_eq!(names.expected(0), Some((0, b"\"link\":".as_slice())));
        // the next object has them in another order
        assert_eq!(names.find(1, b"link"), Some(0));
        assert_eq!(names.expected(1).unwrap().0, 0);
        assert_eq!(names.find(2, b"link"), Some(0));
        assert_eq!(names.expected(2), None);
    }
}
