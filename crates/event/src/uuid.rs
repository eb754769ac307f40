//! The text of a UUID -> its 128 bits. One form is taken, the one that both databases print: 32 hexadecimal digits in either
//! case, with hyphens after the 8th, 12th, 16th and 20th (RFC 9562, section 4). Any 128 bits are good, whatever version and
//! variant they name, the nil and the max UUID included. Pure; no text makes it panic.
//!
//! PostgreSQL and ClickHouse also read other texts, each its own: braces, no hyphens, hyphens elsewhere, a text with an end that
//! is ignored. Such a text is mostly a fault of the producer, so it becomes a dead letter and is not repaired.

/// Bytes of the text.
const TEXT_BYTES: usize = 36;
/// Where the hyphens are.
const HYPHENS_AT: [usize; 4] = [8, 13, 18, 23];
/// Where each byte's two digits begin.
const DIGITS_AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
/// What [`DIGIT`] holds for a byte that is no hexadecimal digit: more than any digit.
const NO_DIGIT: u8 = 0xff;
/// The value of each byte as a hexadecimal digit.
const DIGIT: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        digits[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// The UUID that `text` is. Its first digit is the highest of the number.
///
/// # Errors
/// The text is not in the one form.
#[inline]
pub fn uuid_of_text(text: &[u8]) -> Result<u128, &'static str> {
    const WHY: &str = "is not a UUID such as 550e8400-e29b-41d4-a716-446655440000";
    let text: &[u8; TEXT_BYTES] = text.try_into().map_err(|_| WHY)?;
    let mut bytes = [0; 16];
    // all digits are looked at once, at the end, so that the loop has no branch
    let mut all = 0;
    for (byte, at) in bytes.iter_mut().zip(DIGITS_AT) {
        let (high, low) = (DIGIT[text[at] as usize], DIGIT[text[at + 1] as usize]);
        all |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    let has_hyphens = HYPHENS_AT.iter().all(|&at| text[at] == b'-');
    if all == NO_DIGIT || !has_hyphens {
        return Err(WHY);
    }
    Ok(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_first_digit_is_the_highest() {
        let value = 0x550e_8400_e29b_41d4_a716_4466_5544_0000;
        assert_eq!(uuid_of_text(b"550e8400-e29b-41d4-a716-446655440000"), Ok(value));
        assert_eq!(uuid_of_text(b"550E8400-E29B-41d4-A716-446655440000"), Ok(value), "in either case");
        assert_eq!(uuid_of_text(b"00000000-0000-0000-0000-000000000000"), Ok(0));
        assert_eq!(uuid_of_text(b"FFFFFFFF-ffff-FFFF-ffff-ffffffffffff"), Ok(u128::MAX));
    }

    #[test]
    fn no_other_form_is_taken() {
        for text in [
            "",
            "550e8400e29b41d4a716446655440000",
            "{550e8400-e29b-41d4-a716-446655440000}",
            "urn:uuid:550e8400-e29b-41d4-a716-446655440000",
            " 550e8400-e29b-41d4-a716-446655440000",
            "550e8400-e29b-41d4-a716-446655440000 ",
            "550e8400-e29b-41d4-a716-44665544000",
            "550e8400-e29b-41d4-a716-4466554400000",
            "550e840-0e29b-41d4-a716-446655440000",
            "550e8400 e29b 41d4 a716 446655440000",
            "550e8400-e29b-41d4-a716-44665544000g",
            "g50e8400-e29b-41d4-a716-446655440000",
            "550e8400-e29b-41d4-a716-44665544000\0",
            "550e8400-e29b-41d4-a716-4466554400é",
            "------------------------------------",
        ] {
            assert!(uuid_of_text(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn it_is_the_number_that_the_uuid_crate_reads(value: u128, upper: u64) {
            let text: Vec<u8> = Uuid::from_u128(value)
                .to_string()
                .bytes()
                .enumerate()
                .map(|(at, byte)| if upper >> at & 1 == 1 { byte.to_ascii_uppercase() } else { byte })
                .collect();
            prop_assert_eq!(uuid_of_text(&text), Ok(value));
        }

        /// The crate also takes texts of other lengths; of this length it takes exactly ours.
        #[test]
        fn one_changed_byte_is_refused_where_the_uuid_crate_refuses_it(value: u128, at in 0..TEXT_BYTES, byte: u8) {
            let mut text = Uuid::from_u128(value).to_string().into_bytes();
            text[at] = byte;
            prop_assert_eq!(uuid_of_text(&text).ok(), Uuid::try_parse_ascii(&text).ok().map(|uuid| uuid.as_u128()));
        }
    }
}
