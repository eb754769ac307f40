//! Questions about bytes, answered eight at a time: eight bytes are one number, and all its lanes are compared at once. This
//! costs about two instructions a byte on every processor, and no call. The two tricks are from Warren's "Hacker's Delight",
//! chapter 6, "Find First 0-Byte": subtracting one from every lane sets the highest bit of each lane that was 0, and perhaps of
//! lanes above it.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);

/// Marks the lowest lane that is below `bound` (at most 0x80) by its highest bit. Lanes above it may be marked too.
fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(bound)) & !word & HIGHEST
}

/// The same for the lowest lane that equals `byte`.
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// The first index of `byte` in `bytes`.
pub(super) fn position(bytes: &[u8], byte: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks();
    for (number, &word) in words.iter().enumerate() {
        let found = equal(u64::from_le_bytes(word), byte);
        if found != 0 {
            return Some(number * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&other| other == byte).map(|place| words.len() * 8 + place)
}

/// The index at which a JSON text stops being plain: at its quote, a backslash, or a control character, whichever comes first.
pub(super) fn end_of_plain_text(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks();
    for (number, &word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(word);
        let found = below(word, b' ') | equal(word, b'"') | equal(word, b'\\');
        if found != 0 {
            return Some(number * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let ends = |&byte: &u8| byte < b' ' || byte == b'"' || byte == b'\\';
    rest.iter().position(ends).map(|place| words.len() * 8 + place)
}

/// Whether `bytes` start with `token`. Four at a time, because a call for a comparison costs more than comparing a name.
pub(super) fn start_with(bytes: &[u8], token: &[u8]) -> bool {
    let Some(head) = bytes.get(..token.len()) else { return false };
    match (head.last_chunk::<4>(), token.last_chunk::<4>()) {
        // the last four bytes once more, together with the remainder
        (Some(one), Some(other)) => one == other && head.as_chunks::<4>().0.iter().eq(token.as_chunks::<4>().0),
        _ => head == token,
    }
}

/// The kinds of bytes in a payload.
#[derive(Debug, PartialEq)]
pub(super) struct Bytes {
    /// It holds a backslash or a control character (which includes the white space of JSON except the space).
    pub(super) odd: bool,
    /// It holds only ASCII.
    pub(super) ascii: bool,
}

impl Bytes {
    pub(super) fn of(payload: &[u8]) -> Self {
        let look = |(odd, all): (u64, u64), &bytes: &[u8; 8]| {
            let word = u64::from_le_bytes(bytes);
            (odd | below(word, b' ') | equal(word, b'\\'), all | word)
        };
        let (words, rest) = payload.as_chunks();
        let found = words.iter().fold((0, 0), look);
        let (odd, all) = match payload.last_chunk() {
            // the last eight bytes once more, together with the remainder
            Some(last) => look(found, last),
            None => {
                let mut padded = [b' '; 8];
                padded[..rest.len()].copy_from_slice(rest);
                look(found, &padded)
            }
        };
        Self { odd: odd != 0, ascii: all & HIGHEST == 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_byte_is_seen_wherever_it_stands() {
        for length in 0..70 {
            let plain = vec![b'~'; length];
            assert_eq!(Bytes::of(&plain), Bytes { odd: false, ascii: true });
            for place in 0..length {
                for odd in [0, 0x1f, b'\\'] {
                    let mut payload = plain.clone();
                    payload[place] = odd;
                    assert!(Bytes::of(&payload).odd, "{place} of {length}");
                }
                for plain_byte in [b' ', b'[', b']', 0x7f, 0x80, 0xff_u8] {
                    let mut payload = plain.clone();
                    payload[place] = plain_byte;
                    let ascii = plain_byte < 0x80;
                    assert_eq!(Bytes::of(&payload), Bytes { odd: false, ascii }, "{place} of {length}");
                }
            }
        }
    }

    /// Tested beside its neighbours in number, where a wrong borrow would show.
    #[test]
    fn the_first_of_a_byte_is_found_wherever_it_stands() {
        for length in 0..40 {
            for other in [0, b'!', b'#', 0x7f, 0x80, 0xa2, 0xff] {
                let mut bytes = vec![other; length];
                assert_eq!(position(&bytes, b'"'), None);
                for place in (0..length).rev() {
                    bytes[place] = b'"';
                    assert_eq!(position(&bytes, b'"'), Some(place), "of {length} beside {other}");
                }
            }
        }
    }

    #[test]
    fn a_plain_text_ends_where_it_does() {
        for length in 0..40 {
            for other in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xff] {
                let plain = vec![other; length];
                assert_eq!(end_of_plain_text(&plain), None);
                for place in 0..length {
                    for end in [b'"', b'\\', 0, b'\n', 0x1f] {
                        let mut bytes = plain.clone();
                        bytes[place..].fill(end);
                        assert_eq!(end_of_plain_text(&bytes), Some(place), "{end} of {length} after {other}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_token_is_known_by_every_byte_of_it() {
        let text = b"\"footprint_time\":1";
        for length in 0..=text.len() {
            let mut token = text[..length].to_vec();
            assert!(start_with(text, &token));
            assert_eq!(start_with(&text[..length / 2], &token), length == 0, "{length}: the text is shorter");
            for place in 0..length {
                token[place] ^= 1;
                assert!(!start_with(text, &token), "{place} of {length}");
                token[place] ^= 1;
            }
        }
    }
}
