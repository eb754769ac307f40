//! ClickHouse's refusals, classed once for the whole program: the variant alone tells the caller what to do. The code is parsed
//! from the text (`Code: N.`), because the client hides the HTTP status. A text without a code is uncertain.
//!
//! The client's error is no `source`: ClickHouse repeats values of rows in its text, and they must not be in a log. What is kept is the
//! first line of the text, without values, and the cause of a network error.

use ::clickhouse::error::Error;
use hyper_util::client::legacy;

use crate::report::{Cause, Chain, Remedy, causes};
use crate::tls;

/// "A query with this id is already running": refused before anything was read, so nothing was written.
pub const QUERY_ID_IS_TAKEN: u32 = 216;
/// "Not enough privileges": the server's text names the missing grant.
const ACCESS_DENIED: u32 = 497;

/// "Constraint is violated": refused before anything of the block was written.
const VIOLATED_CONSTRAINT: u32 = 469;

/// ClickHouse's error code in a text such as `Code: 60. DB::Exception: ...`.
pub fn code_of(text: &str) -> Option<u32> {
    let rest = text.split("Code: ").nth(1)?;
    let digits: &str = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
    digits.parse().ok()
}

/// Whether the connection was never made: nothing was sent.
fn never_connected(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
}

/// Whether the answer is no HTTP, such as from a port that speaks TLS.
fn is_no_http(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse))
}

/// Why ClickHouse did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    /// It passes by itself, or when a person repairs the server.
    #[error("{text}")]
    Passing {
        /// The server's words, or the client's.
        text: String,
        /// What broke the connection.
        source: Option<Cause>,
        /// Whether an insert may have landed.
        is_uncertain: bool,
        /// Whether the connection broke.
        is_broken: bool,
    },
    /// Nobody has classed the code, so it may pass. An insert may have landed.
    #[error("{text}")]
    Unclear {
        /// The server's words.
        text: String,
        /// What to do if it lasts.
        source: Remedy,
    },
    /// It will be refused again, whatever is sent: a table, a right or a setting is missing.
    #[error("{text}")]
    Place {
        /// The server's words, or the client's.
        text: String,
        /// What to do, and what broke the connection.
        source: Option<Remedy>,
        /// Whether the connection broke.
        is_broken: bool,
    },
}

impl ClickHouseError {
    /// The words.
    pub fn text(&self) -> &str {
        let (Self::Passing { text, .. } | Self::Unclear { text, .. } | Self::Place { text, .. }) = self;
        text
    }

    /// ClickHouse's error code.
    pub fn code(&self) -> Option<u32> {
        code_of(self.text())
    }

    /// Whether the connection broke, which voids every proof (R3).
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Passing { is_broken: true, .. } | Self::Place { is_broken: true, .. })
    }

    /// Whether another query runs under the same id. Then this one was refused as a whole.
    pub fn is_taken(&self) -> bool {
        self.code() == Some(QUERY_ID_IS_TAKEN)
    }

    /// For `migrate`, `check` and `verify`: without the remedy if that is to run `check`: the words say which right is missing.
    pub fn of_command(mut self) -> Self {
        if self.code() == Some(ACCESS_DENIED)
            && let Self::Place { source, .. } = &mut self
        {
            *source = None;
        }
        self
    }
}

impl From<Error> for ClickHouseError {
    fn from(error: Error) -> Self {
        match error {
            Error::Network(cause) => broken(cause),
            Error::BadResponse(text) => refused(first_line(&text)),
            other => {
                Self::Passing { text: Chain(&other).to_string(), source: None, is_uncertain: true, is_broken: true }
            }
        }
    }
}

/// An error of the network, or of what stands in place of a server.
fn broken(cause: Cause) -> ClickHouseError {
    let text = "network error".to_owned();
    let of_file = causes(&*cause).any(|cause| cause.is::<tls::FileError>());
    let remedy = if of_file {
        // its cause may be a fault of our certificate, which must not pass for one of the server's
        Some("set the file right, or the setting that names it".to_owned())
    } else {
        let no_http = "what answers there does not speak HTTP: look at CH_PORT; is it an HTTPS port? then set clickhouse.tls = \"on\"";
        tls::remedy(&*cause, "clickhouse").or_else(|| is_no_http(&*cause).then(|| no_http.to_owned()))
    };
    if let Some(remedy) = remedy {
        return ClickHouseError::Place { text, source: Some(Remedy::new(remedy, cause)), is_broken: true };
    }
    let is_uncertain = !never_connected(&*cause);
    ClickHouseError::Passing { text, source: Some(cause), is_uncertain, is_broken: true }
}

/// A refusal, by the code in its text.
fn refused(text: &str) -> ClickHouseError {
    let retry =
        |is_uncertain| ClickHouseError::Passing { text: text.to_owned(), source: None, is_uncertain, is_broken: false };
    let stop = |remedy: &'static str| ClickHouseError::Place {
        text: text.to_owned(),
        source: Some(Remedy::only(remedy)),
        is_broken: false,
    };
    if text.contains("clickhouse-client program") {
        return stop("CH_PORT is the native port; set it to the HTTP port, 8123 by default");
    }
    match code_of(text) {
        Some(60) => stop("run `footprint migrate`: the table is missing"),
        Some(81) => stop("create the database, or look at clickhouse.database"),
        Some(16 | 47 | 53 | 44 | 117 | 27 | 6 | 8 | 10 | 70) => {
            stop("run `footprint migrate`, then `footprint check`: the table is of another shape")
        }
        Some(192 | 193 | 194 | 516) => stop("look at CH_USER and CH_PASSWORD"),
        // the text names the missing right; `check` prints the rights that footprint needs as one statement
        Some(ACCESS_DENIED) => stop("run `footprint check`: it prints the statement that grants what is missing"),
        Some(115) => {
            stop("the server does not know a setting that exactly-once needs; ClickHouse 24.8 or later is needed")
        }
        Some(452) => stop("the user's profile forbids a setting that exactly-once needs; take the constraint off"),
        Some(277) => stop("take force_data_skipping_indices out of the user's profile; it cannot be set to nothing"),
        Some(164) => stop("the user is read-only; set readonly = 0 in its profile"),
        // too many parts, too many queries, table read-only, table locked for a moment: refused before anything is written
        Some(252 | 202 | 242 | 473 | QUERY_ID_IS_TAKEN) => retry(false),
        // these pass by themselves or when the server is well again: time-outs, full memory, disk or pool, a cut body, a network
        // or a keeper that is away, a query that was ended
        Some(
            3 | 33 | 74 | 75 | 159 | 160 | 198 | 201 | 203 | 209 | 210 | 225 | 236 | 243 | 279 | 285 | 286 | 319 | 394
            | 425 | 439 | 499 | 571 | 745 | 999,
        ) => retry(true),
        Some(241) if !text.contains("for query") && !text.contains("Query memory") => retry(true),
        None => retry(true),
        // a code that nobody has classed: it may pass, and it is not tried for ever
        Some(code) => ClickHouseError::Unclear {
            text: without_values(text).to_owned(),
            source: Remedy::only(format!(
                "see what ClickHouse's error {code} is about: it refuses what footprint sends"
            )),
        },
    }
}

/// A row that ClickHouse refuses, so that nothing was written. The text names a constraint of the table that is written to, and
/// the row, counted from 1 in the block. A constraint of another table (behind a materialized view) gives no such row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// The table of the constraint, `database.table`.
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

/// The text up to where ClickHouse repeats the row's values, which must not be in a log.
fn without_values(text: &str) -> &str {
    text.split(" Column values: ").next().unwrap_or(text)
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or("an empty answer");
    let end = line.char_indices().nth(500).map_or(line.len(), |(index, _)| index);
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::printed_once;

    #[test]
    fn an_unknown_text_is_uncertain() {
        let error = ClickHouseError::from(Error::BadResponse("something else".into()));
        assert!(matches!(error, ClickHouseError::Passing { is_uncertain: true, .. }));
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
        let error = ClickHouseError::from(error);
        assert!(matches!(&error, ClickHouseError::Unclear { text, .. } if !text.contains("secret")));
    }

    /// What the client makes of a server that is not there.
    async fn unreachable() -> Error {
        let client = ::clickhouse::Client::default().with_url("http://127.0.0.1:1");
        client.query("select 1").execute().await.unwrap_err()
    }

    #[tokio::test]
    async fn each_error_tells_its_cause_once_and_what_to_do_last() {
        let bad = |text: &str| Error::BadResponse(text.to_owned());
        let denied = bad("Code: 497. DB::Exception: not enough privileges\nand more");
        let cases = [
            (bad("Code: 252. DB::Exception: too many parts"), "Code: 252. DB::Exception: too many parts"),
            (
                bad("Code: 60. DB::Exception: no table"),
                "Code: 60. DB::Exception: no table; run `footprint migrate`: the table is missing",
            ),
            (
                bad("Code: 395. DB::Exception: no such thing. Column values: secret"),
                "Code: 395. DB::Exception: no such thing.; see what ClickHouse's error 395 is about: it refuses what footprint \
                 sends",
            ),
            (Error::TimedOut, "timeout expired"),
            (Error::Decompression("no LZ4".into()), "decompression error: no LZ4"),
            (
                unreachable().await,
                "network error: client error (Connect): tcp connect error: Connection refused (os error 111)",
            ),
        ];
        for (error, told) in cases {
            assert_eq!(printed_once(&ClickHouseError::from(error)), told);
        }
        let network = ClickHouseError::from(unreachable().await);
        assert_eq!(causes(&network).count(), 4, "every cause is there");
        assert!(matches!(network, ClickHouseError::Passing { is_uncertain: false, is_broken: true, .. }));
        let command = ClickHouseError::from(denied).of_command();
        assert_eq!(printed_once(&command), "Code: 497. DB::Exception: not enough privileges");
    }

    /// The story: an authority's file that broke under `run` was reported as a certificate that the server must replace.
    #[test]
    fn a_fault_of_a_file_of_ours_is_not_one_of_the_server() {
        let path = std::env::temp_dir().join(format!("footprint-authority-{}.pem", std::process::id()));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let none = std::path::Path::new("");
        let files = tls::Files { section: "clickhouse", ca_file: &path, cert_file: none, key_file: none };
        let fault = tls::client_config(files).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(causes(&fault).any(|cause| cause.is::<rustls::Error>()), "{fault:?}");
        let cause = Error::Network(Box::new(super::super::gate::ConnectError::Unreachable(Box::new(fault))));
        let text = printed_once(&ClickHouseError::from(cause));
        assert!(
            text.contains("clickhouse.ca_file: ")
                && text.ends_with("; set the file right, or the setting that names it"),
            "{text}"
        );
    }

    #[test]
    fn a_constraint_without_a_row_is_no_row() {
        let text = VIOLATED.replace(" at row 2", "");
        assert_eq!(refused_row(&Error::BadResponse(text)), None);
    }

    #[test]
    fn a_code_that_nobody_has_classed_is_not_tried_for_ever() {
        let error = ClickHouseError::from(Error::BadResponse("Code: 395. DB::Exception: no such thing".into()));
        assert!(matches!(error, ClickHouseError::Unclear { .. }));
    }

    #[test]
    fn too_many_parts_is_known_to_come_before_any_write() {
        let error = ClickHouseError::from(Error::BadResponse("Code: 252. DB::Exception: Too many parts".into()));
        assert!(matches!(error, ClickHouseError::Passing { is_uncertain: false, is_broken: false, .. }));
    }

    #[test]
    fn the_code_is_read_from_the_text() {
        assert_eq!(code_of("Code: 252. DB::Exception: Too many parts"), Some(252));
        assert_eq!(code_of("bad response: Code: 60"), Some(60));
        assert_eq!(code_of("upstream timed out"), None);
    }
}
