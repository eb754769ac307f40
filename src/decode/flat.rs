//! The short way for what nearly every event is: one flat object of plain texts, integers, truth values and nulls. It only
//! says where each field's value lies. Whatever is not that plain (an escape, a fraction, something nested, a fault of any
//! kind) it leaves to the parser, whose word alone decides, so both ways make the same rows: a property test holds them
//! against each other. Measured beside the parser on page moves: see benches/README.md, `decode`.

/// What a field's value is, or where it lies in the payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// The field is not there.
    Missing,
    /// A text without escapes.
    Text {
        /// After the opening quote.
        start: usize,
        /// At the closing one.
        end: usize,
    },
    /// An integer of at most 18 digits.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
    /// An explicit null.
    Null,
}

/// Digits that always fit 64 bits.
const DIGITS_MAX: usize = 18;

/// Calls `member` with the number, the name and the value of each member of the object that `text` is, in order, until it
/// says false. False when the payload is not plain, or was not read to its end.
pub(super) fn read<'a>(text: &'a str, mut member: impl FnMut(usize, &'a str, Place) -> bool) -> bool {
    read_object(text, &mut member).is_some()
}

fn read_object<'a>(text: &'a str, member: &mut impl FnMut(usize, &'a str, Place) -> bool) -> Option<()> {
    let bytes = text.as_bytes();
    let mut at = token(bytes, 0);
    if bytes.get(at)? != &b'{' {
        return None;
    }
    for number in 0.. {
        at = token(bytes, at + 1);
        if bytes.get(at)? != &b'"' {
            return None;
        }
        let name_start = at + 1;
        let name_end = plain_text_end(bytes, name_start)?;
        at = token(bytes, name_end + 1);
        if bytes.get(at)? != &b':' {
            return None;
        }
        let (value, end) = read_value(bytes, token(bytes, at + 1))?;
        if !member(number, &text[name_start..name_end], value) {
            return None;
        }
        at = token(bytes, end);
        match bytes.get(at)? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    (token(bytes, at + 1) == bytes.len()).then_some(())
}

/// The value that starts at `at`, and where it ends.
fn read_value(bytes: &[u8], at: usize) -> Option<(Place, usize)> {
    match bytes.get(at)? {
        b'"' => {
            let end = plain_text_end(bytes, at + 1)?;
            Some((Place::Text { start: at + 1, end }, end + 1))
        }
        b'-' | b'0'..=b'9' => read_integer(bytes, at),
        b't' if bytes[at..].starts_with(b"true") => Some((Place::Boolean(true), at + 4)),
        b'f' if bytes[at..].starts_with(b"false") => Some((Place::Boolean(false), at + 5)),
        b'n' if bytes[at..].starts_with(b"null") => Some((Place::Null, at + 4)),
        _ => None,
    }
}

/// An integer; what follows its digits is for the caller, who takes no fraction and no exponent.
fn read_integer(bytes: &[u8], at: usize) -> Option<(Place, usize)> {
    let is_negative = bytes[at] == b'-';
    let start = at + usize::from(is_negative);
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    // JSON knows no leading zero; minus zero is a float to some
    let is_plain = (1..=DIGITS_MAX).contains(&digits) && (bytes[start] != b'0' || (digits == 1 && !is_negative));
    if !is_plain {
        return None;
    }
    let magnitude = bytes[start..start + digits].iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some((Place::Integer(if is_negative { -magnitude } else { magnitude }), start + digits))
}

/// The first byte from `at` on that is not white space.
fn token(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Where the text that starts at `at` has its closing quote; none when it has an escape, a control character or no end.
fn plain_text_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES * 0x80;
    // the highest bit of each byte that is zero, exact up to the first one
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\'))) | controls;
        if found != 0 {
            at += found.trailing_zeros() as usize / 8;
            return (bytes[at] == b'"').then_some(at);
        }
        at += 8;
    }
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' | 0..0x20 => return None,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Option<Vec<(String, Place)>> {
        let mut found = Vec::new();
        read(text, |_, name, place| {
            found.push((name.to_owned(), place));
            true
        })
        .then_some(found)
    }

    #[test]
    fn a_flat_object_is_read_and_its_texts_are_found() {
        let text = r#" { "link" : "/a/b", "count":-12,"on":true , "off":false,"none":null } "#;
        let found = members(text).unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["link", "count", "on", "off", "none"]);
        let Place::Text { start, end } = found[0].1 else { panic!("{found:?}") };
        assert_eq!(&text[start..end], "/a/b");
        let rest: Vec<Place> = found[1..].iter().map(|(_, place)| *place).collect();
        assert_eq!(rest, [Place::Integer(-12), Place::Boolean(true), Place::Boolean(false), Place::Null]);
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
        for text in [
            "",
            "{",
            "{}",
            "[]",
            "7",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1"#,
            r#"{"a":1}x"#,
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":-0}"#,
            r#"{"a":-}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":1234567890123456789}"#,
            r#"{"a":tru}"#,
            r#"{"a":"\n"}"#,
            r#"{"\u0061":1}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":"no end}"#,
            r#"{"a":{}}"#,
            r#"{"a":[]}"#,
            r#"{"a":nullx}"#,
            r#"{"a":"x"x}"#,
            r#"{a:1}"#,
            r#"{"a" 1}"#,
            r#"{"a":1 "b":2}"#,
        ] {
            assert_eq!(members(text), None, "{text}");
        }
    }

    #[test]
    fn a_text_ends_at_its_first_quote_wherever_that_stands() {
        for length in 0..40 {
            for tail in ["", "x", "\"\\\u{1}xxxxxxxxx"] {
                // bytes beyond ASCII, and the neighbours of what is looked for
                let body: String = "é!#[]^ \u{7f}~".chars().cycle().take(length).collect();
                let text = format!("{body}\"{tail}");
                assert_eq!(plain_text_end(text.as_bytes(), 0), Some(body.len()), "{text}");
                for stop in ['\\', '\n', '\u{1f}', '\0'] {
                    assert_eq!(plain_text_end(format!("{body}{stop}{text}").as_bytes(), 0), None);
                }
            }
        }
    }
}
