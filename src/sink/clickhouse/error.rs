//! ClickHouse's errors, classed by what the caller does. The code is parsed from the text (`Code: N.`): the client hides
//! the HTTP status. A text without a code is uncertain.

use clickhouse::error::Error;
use hyper_util::client::legacy;

use crate::sink::SinkError;

/// "A query with this id is already running": refused before anything was read, so nothing was written.
pub const QUERY_ID_IS_TAKEN: u32 = 216;

/// ClickHouse's error code in a text such as `Code: 60. DB::Exception: ...`.
pub fn code_of(text: &str) -> Option<u32> {
    let rest = text.split("Code: ").nth(1)?;
    let digits: &str = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
    digits.parse().ok()
}

/// Whether the connection was never made: nothing was sent.
fn never_connected(error: &Error) -> bool {
    let Error::Network(source) = error else { return false };
    source.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
}

/// What to do about a refusal; whether the connection broke, which voids every proof (R3).
pub fn classify(error: &Error) -> (SinkError, bool) {
    let text = match error {
        Error::Network(source) => format!("clickhouse: {error}{}", causes(source.as_ref())),
        Error::BadResponse(text) => format!("clickhouse: {}", first_line(text)),
        other => format!("clickhouse: {other}"),
    };
    let retry = |uncertain| SinkError::Retry { why: text.clone(), uncertain };
    let stop = |remedy: &str| SinkError::Stop { why: text.clone(), remedy: remedy.to_owned() };
    if never_connected(error) {
        return (retry(false), true);
    }
    let Error::BadResponse(_) = error else {
        return (retry(true), true);
    };
    if text.contains("clickhouse-client program") {
        return (stop("CH_PORT is the native port; set it to the HTTP port, 8123 by default"), false);
    }
    let error = match code_of(&text) {
        Some(60) => stop("run `footprint migrate`: the table is missing"),
        Some(81) => stop("create the database, or look at clickhouse.database"),
        Some(16 | 47 | 53 | 44 | 117 | 27 | 6 | 8 | 10 | 70) => {
            stop("run `footprint migrate`, then `footprint check`: the table is of another shape")
        }
        Some(192 | 193 | 194 | 516) => stop("look at CH_USER and CH_PASSWORD"),
        // the text names the right that is missing; which of them footprint needs `check` tells, as one statement
        Some(497) => stop("run `footprint check`: it prints the statement that grants what is missing"),
        Some(115) => {
            stop("the server does not know a setting that exactly-once needs; ClickHouse 24.8 or later is needed")
        }
        Some(452) => stop("the user's profile forbids a setting that exactly-once needs; take the constraint off"),
        Some(277) => stop("take force_data_skipping_indices out of the user's profile; it cannot be set to nothing"),
        Some(164) => stop("the user is read-only; set readonly = 0 in its profile"),
        // too many parts, too many queries, table read-only, table locked for a moment: refused before anything is written
        Some(252 | 202 | 242 | 473 | QUERY_ID_IS_TAKEN) => retry(false),
        _ => retry(true),
    };
    (error, false)
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or("an empty answer");
    let end = line.char_indices().nth(500).map_or(line.len(), |(index, _)| index);
    &line[..end]
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
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

    #[test]
    fn an_unknown_text_is_uncertain() {
        let (error, _) = classify(&Error::BadResponse("something else".into()));
        assert!(matches!(error, SinkError::Retry { uncertain: true, .. }));
    }

    #[test]
    fn too_many_parts_is_known_to_come_before_any_write() {
        let (error, broke) = classify(&Error::BadResponse("Code: 252. DB::Exception: Too many parts".into()));
        assert!(matches!(error, SinkError::Retry { uncertain: false, .. }) && !broke);
    }
}
