//! ClickHouse's errors, classed by what the caller does. The code is parsed from the text (`Code: N.`): the client hides
//! the HTTP status. A text without a code is uncertain.

use clickhouse::error::Error;
use footprint_service::clickhouse::error::{QUERY_ID_IS_TAKEN, code_of};
use footprint_service::tls;
use hyper_util::client::legacy;

use crate::store::sink::SinkError;

/// "Constraint is violated": refused before anything of the block was written.
const VIOLATED_CONSTRAINT: u32 = 469;

/// Whether the connection was never made: nothing was sent.
fn never_connected(error: &Error) -> bool {
    let Error::Network(source) = error else { return false };
    source.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
}

/// An error and what caused it.
fn causes_of<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// Whether what came in place of an answer is no HTTP, as from a port that speaks TLS.
fn is_no_http(error: &(dyn std::error::Error + 'static)) -> bool {
    causes_of(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse))
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
    if let Error::Network(source) = error {
        if let Some(remedy) = tls::remedy(source.as_ref(), "clickhouse") {
            return (stop(&remedy), true);
        }
        if causes_of(source.as_ref()).any(|cause| cause.is::<tls::FileError>()) {
            return (stop("set the file right, or the setting that names it"), true);
        }
        if is_no_http(source.as_ref()) {
            return (
                stop(
                    "what answers there does not speak HTTP: look at CH_PORT; is it an HTTPS port? then set clickhouse.tls = \"on\"",
                ),
                true,
            );
        }
    }
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
        // what passes by itself or with the server's health: time-outs, full memory, disk or pool, a cut body, a network or a
        // keeper that is away, a query that was ended
        Some(
            3 | 33 | 74 | 75 | 159 | 160 | 198 | 201 | 203 | 209 | 210 | 225 | 236 | 243 | 279 | 285 | 286 | 319 | 394
            | 425 | 439 | 499 | 571 | 745 | 999,
        ) => retry(true),
        Some(241) if !text.contains("for query") && !text.contains("Query memory") => retry(true),
        None => retry(true),
        // a code that nobody has classed: it may pass, and it is not tried for ever
        Some(code) => SinkError::Unclear {
            why: without_values(&text).to_owned(),
            remedy: format!("see what ClickHouse's error {code} is about: it refuses what footprint sends"),
        },
    };
    (error, false)
}

/// A row that ClickHouse refuses, and nothing was written: the text names a constraint of the table that is written to, and
/// the row, counted from 1 in the block. A constraint of another table (behind a materialized view) says nothing of the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// The table whose constraint it is, `database.table`.
    pub table: String,
    /// Its place in the block, from 0.
    pub nth: usize,
    /// ClickHouse's words, without the row's values.
    pub why: String,
}

/// Reads a violated constraint (469).
pub fn refused_row(error: &Error) -> Option<RefusedRow> {
    let Error::BadResponse(text) = error else { return None };
    if code_of(text) != Some(VIOLATED_CONSTRAINT) {
        return None;
    }
    let rest = text.split(" for table ").nth(1)?;
    let named = rest.split_once(" is violated at row ")?;
    let table = named.0.split(" (").next()?.replace('`', "");
    let nth: usize = named.1[..named.1.find(|c: char| !c.is_ascii_digit())?].parse().ok()?;
    let why = text.split("DB::Exception: ").nth(1).unwrap_or(text);
    Some(RefusedRow {
        table,
        nth: nth.checked_sub(1)?,
        why: format!("{} (code 469)", without_values(first_line(why)).trim_end()),
    })
}

/// What to do about ClickHouse's refusal, and whether the connection broke.
pub struct Failed {
    /// What to do.
    pub error: SinkError,
    /// Whether the connection broke.
    pub connection_broke: bool,
    /// Another query runs under the insert's id: it was refused whole.
    pub is_taken: bool,
    /// The row that a table's constraint refuses: nothing was written.
    pub refused: Option<RefusedRow>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let refused = refused_row(&error);
        let (error, connection_broke) = classify(&error);
        let is_taken =
            matches!(&error, SinkError::Retry { why, uncertain: false } if code_of(why) == Some(QUERY_ID_IS_TAKEN));
        Self { error, connection_broke, is_taken, refused }
    }
}

/// A text up to where ClickHouse repeats the row's values, which belong into no log.
fn without_values(text: &str) -> &str {
    text.split(" Column values: ").next().unwrap_or(text)
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
    fn an_unknown_text_is_uncertain() {
        let (error, _) = classify(&Error::BadResponse("something else".into()));
        assert!(matches!(error, SinkError::Retry { uncertain: true, .. }));
    }

    const VIOLATED: &str = "Code: 469. DB::Exception: Constraint `short` for table prd.visits \
        (0f5dbb0c-7a41-4f0e-8a4e-64dd0e4a0ab0) is violated at row 2. Expression: (length(link) < 200). Column values: \
        link = 'secret'. (VIOLATED_CONSTRAINT) (version 26.7.3.1)";

    #[test]
    fn a_violated_constraint_names_the_row_and_keeps_its_values_out() {
        let error = Error::BadResponse(VIOLATED.into());
        let refused = refused_row(&error).unwrap();
        assert_eq!((refused.table.as_str(), refused.nth), ("prd.visits", 1));
        assert!(refused.why.starts_with("Constraint `short` for table prd.visits"), "{}", refused.why);
        assert!(refused.why.contains("length(link) < 200") && !refused.why.contains("secret"), "{}", refused.why);
        assert!(matches!(classify(&error).0, SinkError::Unclear { why, .. } if !why.contains("secret")));
    }

    #[test]
    fn a_constraint_without_a_row_is_no_row() {
        let text = VIOLATED.replace(" at row 2", "");
        assert_eq!(refused_row(&Error::BadResponse(text)), None);
    }

    #[test]
    fn a_code_that_nobody_has_classed_is_not_tried_for_ever() {
        let (error, _) = classify(&Error::BadResponse("Code: 395. DB::Exception: no such thing".into()));
        assert!(matches!(error, SinkError::Unclear { .. }));
    }

    #[test]
    fn too_many_parts_is_known_to_come_before_any_write() {
        let (error, broke) = classify(&Error::BadResponse("Code: 252. DB::Exception: Too many parts".into()));
        assert!(matches!(error, SinkError::Retry { uncertain: false, .. }) && !broke);
    }
}
