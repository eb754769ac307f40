//! The long way, for payloads that are not plain. It reads one JSON object (RFC 8259) from front to back, takes the values of the
//! fields asked for, and skips all others. Of a skipped value it checks only the structure: a number of any size, half of a
//! surrogate pair and any depth of nesting are skipped like anything else. So are `NaN`, `Infinity` and `-Infinity`, which are
//! not JSON, but which Python's `json` writes and reads. It never recurses. It needs memory of the payload's size at most, and
//! keeps it from record to record.

use super::Field;
use super::fields::{Found, Names};
use super::words;
use crate::reject::Reason;

/// The memory for reading.
#[derive(Clone)]
pub(super) struct Parser {
    /// Room for texts without their escapes, which are never longer than with them.
    texts: Vec<u8>,
    /// The closing byte of each open object and array in a value that is skipped.
    open: Vec<u8>,
}

/// Why no values were found.
pub(super) enum Fault {
    /// The payload as a whole.
    Payload(Reason),
    /// A field that appears twice.
    Duplicate { field: usize },
}

impl Fault {
    #[cold]
    pub(super) fn reason(self, fields: &[Field]) -> Reason {
        match self {
            Self::Payload(reason) => reason,
            Self::Duplicate { field } => Reason::Duplicate { field: fields[field].name.clone() },
        }
    }
}

impl Parser {
    /// Starts without memory.
    pub(super) fn new() -> Self {
        Self { texts: Vec::new(), open: Vec::new() }
    }

    /// Notes the value of each of `names` that the object `payload` holds. `found` must be empty before.
    pub(super) fn read<'a>(
        &'a mut self,
        payload: &'a [u8],
        names: &mut Names,
        found: &mut [Found<'a>],
    ) -> Result<(), Fault> {
        if std::str::from_utf8(payload).is_err() {
            return Err(Fault::Payload(Reason::NotUtf8));
        }
        if self.texts.len() < payload.len() {
            self.texts.resize(payload.len(), 0);
        }
        let mut reader = Reader { bytes: payload, at: 0, room: &mut self.texts, open: &mut self.open };
        let read = if reader.peek_token() == Some(b'{') {
            reader.members(names, found)
        } else {
            reader.skip().map(|()| Err(Fault::Payload(Reason::NotObject)))
        };
        match read.filter(|_| reader.peek_token().is_none()) {
            Some(outcome) => outcome,
            None => Err(Fault::Payload(Reason::NotJson)),
        }
    }
}

/// The text between its quotes. Its escapes are well formed.
#[derive(Clone, Copy)]
struct Escaped<'a> {
    bytes: &'a [u8],
    has_escapes: bool,
}

/// Reads a payload that is UTF-8 from front to back. Returns none if it is not JSON.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    room: &'a mut [u8],
    open: &'a mut Vec<u8>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next byte that is not white space. It is not taken.
    fn peek_token(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    fn next_token(&mut self) -> Option<u8> {
        let token = self.peek_token()?;
        self.at += 1;
        Some(token)
    }

    fn token(&mut self, wanted: u8) -> Option<()> {
        (self.next_token()? == wanted).then_some(())
    }

    /// Takes `token` if it comes next.
    fn takes(&mut self, token: u8) -> bool {
        let comes = self.peek_token() == Some(token);
        self.at += usize::from(comes);
        comes
    }

    /// Reads the object to its end. A field that comes twice is reported only when the rest is known to be JSON.
    fn members(&mut self, names: &mut Names, found: &mut [Found<'a>]) -> Option<Result<(), Fault>> {
        let mut twice = None;
        self.token(b'{')?;
        if self.takes(b'}') {
            return Some(Ok(()));
        }
        for member in 0.. {
            match self.name(member, names)? {
                Some(field) if found[field] == Found::Missing => found[field] = self.value()?,
                Some(field) => {
                    twice.get_or_insert(field);
                    self.skip()?;
                }
                None => self.skip()?,
            }
            match self.next_token()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        Some(match twice {
            Some(field) => Err(Fault::Duplicate { field }),
            None => Ok(()),
        })
    }

    /// A member's name and colon, and which field it is, if it is one.
    fn name(&mut self, member: usize, names: &mut Names) -> Option<Option<usize>> {
        self.token(b'"')?;
        let name = self.text()?;
        self.token(b':')?;
        if !name.has_escapes {
            return Some(names.find(member, name.bytes));
        }
        // no field name has half of a surrogate pair
        let length = unescape(name.bytes, self.room);
        Some(length.and_then(|length| names.find(member, &self.room[..length])))
    }

    /// A text after its first quote.
    fn text(&mut self) -> Option<Escaped<'a>> {
        let start = self.at;
        let mut has_escapes = false;
        loop {
            self.at += words::end_of_plain_text(&self.bytes[self.at..])?;
            match self.bytes[self.at] {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None, // a control character
            }
            has_escapes = true;
        }
        self.at += 1;
        Some(Escaped { bytes: &self.bytes[start..self.at - 1], has_escapes })
    }

    fn escape(&mut self) -> Option<()> {
        let length = match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' if self.bytes.get(self.at + 2..self.at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return None,
        };
        self.at += length;
        Some(())
    }

    /// A value of a field that was asked for.
    fn value(&mut self) -> Option<Found<'a>> {
        Some(match self.peek_token()? {
            b'"' => {
                self.at += 1;
                let text = self.text()?;
                self.unescaped(text)
            }
            b'{' | b'[' => self.skip().map(|()| Found::Nested)?,
            b't' => self.word("true").map(|()| Found::Boolean(true))?,
            b'f' => self.word("false").map(|()| Found::Boolean(false))?,
            b'n' => self.word("null").map(|()| Found::Null)?,
            _ => self.number()?.found(),
        })
    }

    /// A text without its escapes. It stays in the room until the payload is read.
    fn unescaped(&mut self, text: Escaped<'a>) -> Found<'a> {
        if !text.has_escapes {
            return Found::Text(text.bytes);
        }
        let Some(length) = unescape(text.bytes, self.room) else { return Found::LoneSurrogate };
        let (text, rest) = std::mem::take(&mut self.room).split_at_mut(length);
        self.room = rest;
        if text.contains(&0) { Found::TextWithNul(text) } else { Found::Text(text) }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.bytes[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<Number<'a>> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.word("Infinity").is_some() || (self.at == start && self.word("NaN").is_some()) {
            return Some(Number::NotFinite);
        }
        let length = self.digits()?;
        if length > 1 && self.bytes[self.at - length] == b'0' {
            return None; // JSON does not allow a leading zero
        }
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
            is_integer = false;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
            is_integer = false;
        }
        let text = &self.bytes[start..self.at];
        Some(if is_integer { Number::Integer(text) } else { Number::Float(text) })
    }

    /// The number of digits that come next. None: there is no digit.
    fn digits(&mut self) -> Option<usize> {
        let length = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += length;
        (length > 0).then_some(length)
    }

    /// Skips a value, whatever its nesting.
    fn skip(&mut self) -> Option<()> {
        self.open.clear();
        loop {
            match self.peek_token()? {
                b'"' => {
                    self.at += 1;
                    self.text()?;
                }
                b'{' => {
                    self.at += 1;
                    if !self.takes(b'}') {
                        self.open.push(b'}');
                        self.skip_name()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if !self.takes(b']') {
                        self.open.push(b']');
                        continue;
                    }
                }
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => {
                    self.number()?;
                }
            }
            if self.close()? {
                return Some(());
            }
        }
    }

    /// What comes after a skipped value. True: it was the last one.
    fn close(&mut self) -> Option<bool> {
        while let Some(&end) = self.open.last() {
            match self.next_token()? {
                b',' if end == b'}' => return self.skip_name().map(|()| false),
                b',' => return Some(false),
                byte if byte == end => {
                    self.open.pop();
                }
                _ => return None,
            }
        }
        Some(true)
    }

    fn skip_name(&mut self) -> Option<()> {
        self.token(b'"')?;
        self.text()?;
        self.token(b':')
    }
}

/// A number as written in the payload.
enum Number<'a> {
    /// Without a fraction or an exponent.
    Integer(&'a [u8]),
    Float(&'a [u8]),
    /// `NaN` and the like.
    NotFinite,
}

impl<'a> Number<'a> {
    fn found(&self) -> Found<'a> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        match *self {
            Self::Integer(bytes) => match (text(bytes).parse(), text(bytes).parse()) {
                (Ok(integer), _) => Found::Integer(integer),
                (_, Ok(integer)) => Found::Unsigned(integer),
                _ => Found::NumberTooLarge,
            },
            Self::Float(bytes) => match text(bytes).parse::<f64>() {
                Ok(float) if float.is_finite() => Found::Float(float),
                _ => Found::NumberTooLarge,
            },
            Self::NotFinite => Found::NotFinite,
        }
    }
}

/// Writes `text` without its escapes to the start of `room`, and returns the length. The escapes must be well formed, and `room`
/// as long as `text`. None: the text has the escape of half a surrogate pair, which UTF-8 cannot hold.
fn unescape(text: &[u8], room: &mut [u8]) -> Option<usize> {
    let (mut at, mut length) = (0, 0);
    while let Some(plain) = words::position(&text[at..], b'\\') {
        room[length..length + plain].copy_from_slice(&text[at..at + plain]);
        (at, length) = (at + plain + 1, length + plain);
        let character = match text[at] {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = code_unit(text, at)?;
                at += 4;
                let second = if text[at + 1..].starts_with(b"\\u") { code_unit(text, at + 2) } else { None };
                let units = [first, second.unwrap_or_default()];
                let character = char::decode_utf16(units).next()?.ok()?;
                at += if character.len_utf16() == 2 { 6 } else { 0 };
                character
            }
            other => char::from(other),
        };
        at += 1;
        length += character.encode_utf8(&mut room[length..]).len();
    }
    let rest = &text[at..];
    room[length..length + rest.len()].copy_from_slice(rest);
    Some(length + rest.len())
}

/// The four hexadecimal digits after the `u` at `at`.
fn code_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at + 1..at + 5)?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(text: &str) -> Option<String> {
        let mut room = vec![0; text.len()];
        unescape(text.as_bytes(), &mut room).map(|length| String::from_utf8(room[..length].to_vec()).unwrap())
    }

    #[test]
    fn escapes_are_what_they_stand_for() {
        for (text, expected) in [
            ("", Some("")),
            ("/a/ü", Some("/a/ü")),
            (r#"\"\\\/\b\f\n\r\t"#, Some("\"\\/\u{8}\u{c}\n\r\t")),
            (r"a\u00e9b\u0000c", Some("aéb\0c")),
            (r"\ud83d\ude00!", Some("😀!")),
            (r"\uD83D\uDE00", Some("😀")),
            (r"\uffff\uE000", Some("\u{ffff}\u{e000}")),
            (r"\ud83d", None),
            (r"\ud83d ", None),
            (r"\ud83d\n", None),
            (r"\ud83d\u0041", None),
            (r"\ud83d\ud83d\ude00", None),
            (r"\ude00", None),
            (r"\ude00\ud83d", None),
        ] {
            assert_eq!(unescaped(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_was_kept_for_one_record_does_not_show_in_the_next() {
        let (mut parser, mut names) = (Parser::new(), Names::new(["a".to_owned(), "b".to_owned()]));
        for (payload, expected) in [
            (r#"{"a":"\u0041\n","b":"x\ty","c":[[{"a":1}"#, None),
            (r#"{"a":"\u0042","b":"\u0043\u0044"}"#, Some(["B", "CD"])),
            (r#"{"b":"\u0045","a":"F"}"#, Some(["F", "E"])),
        ] {
            let mut found = [Found::Missing; 2];
            let outcome = parser.read(payload.as_bytes(), &mut names, &mut found);
            assert_eq!(outcome.is_ok(), expected.is_some(), "{payload}");
            if let Some(expected) = expected {
                assert_eq!(found, expected.map(|text| Found::Text(text.as_bytes())), "{payload}");
            }
        }
    }
}
