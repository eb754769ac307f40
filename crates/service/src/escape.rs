//! Makes text of outside origin harmless for a terminal: topic names, errors of servers that repeat values, file names, links. A
//! control character in it could move the cursor, rename the window or hide a line. So could a character that turns the
//! direction of writing. Each is printed as JSON spells it (`\u001b`), so a JSON text stays JSON and means the same. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: the text is one line.
    Nothing,
    /// Line feeds and tabs.
    Lines,
    /// Line feeds, tabs and the sequences of colours and bold letters (`ESC [ 1 ; 31 m`).
    Styles,
}

/// Whether a terminal may act on it instead of showing it.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text without any character that a terminal may act on.
pub fn escaped(text: &str, keep: Keep) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let style = if keep == Keep::Styles { style_bytes(rest) } else { 0 };
        if style > 0 {
            out.push_str(&rest[..style]);
            rest = &rest[style..];
            continue;
        }
        match character {
            '\n' | '\t' if keep != Keep::Nothing => out.push(character),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // all of them have at most four digits; writing to a String does not fail
            harmful if is_harmful(harmful) => drop(write!(out, "\\u{:04x}", u32::from(harmful))),
            other => out.push(other),
        }
        rest = &rest[character.len_utf8()..];
    }
    out.into()
}

/// The bytes of the style sequence that the text begins with. 0: it begins with none.
fn style_bytes(text: &str) -> usize {
    let Some(inner) = text.strip_prefix("\u{1b}[") else { return 0 };
    let digits = inner.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if inner.as_bytes().get(digits) == Some(&b'm') { "\u{1b}[".len() + digits + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_harmful_character_is_spelled_out() {
        for (text, nothing, lines) in [
            ("/page/7 é 漢字 🦀", "/page/7 é 漢字 🦀", "/page/7 é 漢字 🦀"),
            ("\u{1b}]0;title\u{7}", "\\u001b]0;title\\u0007", "\\u001b]0;title\\u0007"),
            ("a\nb\tc\r", "a\\nb\\tc\\r", "a\nb\tc\\r"),
            ("\u{9b}31m\u{7f}\0", "\\u009b31m\\u007f\\u0000", "\\u009b31m\\u007f\\u0000"),
            ("a\u{202e}b\u{2066}c\u{2028}", "a\\u202eb\\u2066c\\u2028", "a\\u202eb\\u2066c\\u2028"),
        ] {
            assert_eq!((&*escaped(text, Keep::Nothing), &*escaped(text, Keep::Lines)), (nothing, lines));
        }
        let styled = "\u{1b}[1;31mred\u{1b}[0m \u{1b}[2J\u{1b}]0;x\u{1b}[";
        assert_eq!(escaped(styled, Keep::Styles), "\u{1b}[1;31mred\u{1b}[0m \\u001b[2J\\u001b]0;x\\u001b[");
    }

    proptest! {
        #[test]
        fn no_control_character_is_left_and_json_means_the_same(text in any::<String>()) {
            let one = escaped(&text, Keep::Nothing);
            prop_assert!(!one.contains(is_harmful));
            let lines = escaped(&text, Keep::Lines);
            prop_assert!(!lines.contains(|c| is_harmful(c) && c != '\n' && c != '\t'));
            let json = serde_json::to_string(&text).unwrap();
            let read: String = serde_json::from_str(&escaped(&json, Keep::Nothing)).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}
