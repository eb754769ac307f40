//! ClickHouse's error codes, as its answers spell them.

/// "A query with this id is already running": refused before anything was read, so nothing was written.
pub const QUERY_ID_IS_TAKEN: u32 = 216;

/// ClickHouse's error code in a text such as `Code: 60. DB::Exception: ...`.
pub fn code_of(text: &str) -> Option<u32> {
    let rest = text.split("Code: ").nth(1)?;
    let digits: &str = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_read_from_the_text() {
        assert_eq!(code_of("Code: 252. DB::Exception: Too many parts"), Some(252));
        assert_eq!(code_of("bad response: Code: 60"), Some(60));
        assert_eq!(code_of("upstream timed out"), None);
    }
}
