//! What becomes an instant, and what never does.

use super::*;

fn utc(text: &str) -> Result<i64, Why> {
    instant_of_text(text, Zone::UTC)
}

#[test]
fn every_spelling_of_an_instant_is_the_same_instant() {
    let expected = Ok(1_714_979_289_123_000);
    for text in [
        "2024-05-06T07:08:09.123Z",
        "2024-05-06t07:08:09.123z",
        "2024-05-06 07:08:09.123Z",
        "2024-05-06T07:08:09.123",
        "2024-05-06T16:08:09.123+09:00",
        "2024-05-06T16:08:09.123+0900",
        "2024-05-06T03:38:09.123-03:30",
        "2024-05-06T03:38:09.123000999-0330",
    ] {
        assert_eq!(utc(text), expected, "{text}");
    }
}
