//! PostgreSQL's refusals, classed once for the whole program, by SQLSTATE and by the step in progress. The class alone tells the
//! caller what to do: a passing refusal is tried again with backoff, a wrong place stops the program with a remedy, and for a
//! refused row the batch is written by halves until the row is found (`store/postgres/halving.rs`).

use std::fmt;

use footprint_event::route::quoted;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::ConnectError;
use super::asked::Unfit;
use crate::tls;

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It passes by itself, or when a person repairs the server: busy, full, shutting down, a lost connection.
    Passing,
    /// It will be refused again, whatever is sent: a table, a right or a setting is missing.
    Place,
    /// The database refuses the values of a row that was sent.
    Row,
    /// The code alone does not say. If other rows beside it were taken, it is the row's fault, otherwise the place's.
    Unclear,
}

/// The step during which a refusal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum During {
    /// A statement, before any row of the batch was sent. PostgreSQL checks names and rights.
    Statement,
    /// The rows' COPY, or the checks that a table defers to the transaction's end.
    Rows,
}

/// The class of a SQLSTATE. A broken connection has none, and is passing.
pub fn class(code: Option<&SqlState>, during: During) -> Class {
    let Some(code) = code.map(SqlState::code) else { return Class::Passing };
    match (code, &code[..code.len().min(2)]) {
        // a standby, or a server in failover
        ("25006" | "25P03" | "25P04", _) => Class::Passing,
        // a lock, a deadlock, a timeout; away, starting, full
        ("55P03" | "55006", _) | (_, "08" | "40" | "53" | "57" | "58") => Class::Passing,
        // damage, and the binary form of another type or of another COPY
        ("XX001" | "XX002" | "22P03" | "22P04", _) => Class::Place,
        _ if during == During::Statement => Class::Place,
        (_, "22" | "23" | "38" | "39" | "44" | "54" | "P0" | "21") => Class::Row,
        (_, "0A" | "25" | "26" | "28" | "2B" | "2D" | "3B" | "3D" | "3F" | "42" | "55" | "F0" | "HV" | "XX") => {
            Class::Unclear
        }
        // a code that PostgreSQL does not know comes from a trigger of the site
        _ => Class::Row,
    }
}

/// The class of an error. `ours` are the columns that footprint fills.
pub fn class_of(error: &Error, during: During, ours: &[String]) -> Class {
    let class = class(error.code(), during);
    let Some(db) = error.as_db_error().filter(|_| class == Class::Row) else { return class };
    match db.code().code() {
        // a column that footprint does not know requires a value: no row will ever have one
        "23502" if db.column().is_some_and(|column| !ours.iter().any(|our| our == column)) => Class::Place,
        // "no partition of relation found for row" names no constraint: either one row has an odd time, or nobody has created the
        // month's partition
        "23514" if db.constraint().is_none() => Class::Unclear,
        _ => Class::Row,
    }
}

/// An error of PostgreSQL's client, in the server's own words: the client's text says only "db error".
#[derive(Debug)]
pub struct PostgresError {
    error: Error,
    /// Whether the text has the server's detail and hint.
    with_detail: bool,
}

impl PostgresError {
    /// Without the server's detail: it repeats the row's values, which must not be in a log.
    pub fn without_values(error: Error) -> Self {
        Self { error, with_detail: false }
    }

    /// The client's error.
    pub fn client(&self) -> &Error {
        &self.error
    }
}

impl From<Error> for PostgresError {
    fn from(error: Error) -> Self {
        Self { error, with_detail: true }
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&message(&self.error))?;
        let Some(db) = self.error.as_db_error().filter(|_| self.with_detail) else { return Ok(()) };
        for part in [db.detail(), db.hint()].into_iter().flatten() {
            write!(f, "; {part}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PostgresError {
    /// The text holds the words of a refusal. A broken connection has its own cause.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = std::error::Error::source(&self.error);
        source.filter(|_| self.error.as_db_error().is_none())
    }
}

/// PostgreSQL's message with only its code, which is the text of [`PostgresError::without_values`].
pub fn message(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        None => error.to_string(),
    }
}

/// What to do about a wrong place.
pub fn remedy(error: &Error) -> String {
    let db = error.as_db_error();
    match error.code().map(SqlState::code) {
        Some("42P01" | "42703" | "3F000") => {
            "run `footprint migrate`: it creates what is missing, or names the obstacle".into()
        }
        Some("42804" | "22P03" | "22P04") => {
            "run `footprint check`: it names the column whose type differs from the route's".into()
        }
        Some("23502") => {
            let column = db.and_then(tokio_postgres::error::DbError::column).unwrap_or("named above");
            format!("footprint does not fill the column {column}: give it a default, or let it be null")
        }
        Some("23514") => "no partition of the table takes these rows: create the missing one, or a default one".into(),
        Some("XX001" | "XX002") => "PostgreSQL found damage in its own files: see its log before you continue".into(),
        Some(code) if code.starts_with("28") => "look at DB_USER and DB_PASSWORD".into(),
        Some("3D000") => "create the database, or look at DB_NAME".into(),
        _ => "PostgreSQL will refuse it again: correct what its message names".into(),
    }
}

/// What to do about a missing right (42501): exactly the rights on `tables` that the user lacks, asked from the server. A right
/// that the user has is never named.
pub async fn missing_rights(client: &Client, tables: &[(&str, &[&str])]) -> String {
    let sql = "select has_table_privilege(to_regclass($1::text), $2::text)";
    let mut grants = Vec::new();
    for (table, rights) in tables {
        let mut lacking = Vec::new();
        for right in *rights {
            match client.query_one(sql, &[&quoted(table), right]).await.map(|row| row.get::<_, Option<bool>>(0)) {
                Ok(Some(false)) => lacking.push(*right),
                Ok(_) => {}
                Err(_) => return "grant what it names".into(),
            }
        }
        if !lacking.is_empty() {
            grants.push(format!("grant {} on {} to the user", lacking.join(", "), quoted(table)));
        }
    }
    if grants.is_empty() {
        "the user has every right on footprint's tables: the missing right is on what the message names, which a trigger, \
         a default, a policy or the schema needs"
            .into()
    } else {
        format!("as the tables' owner, {}", grants.join("; "))
    }
}

/// What to do if no connection to PostgreSQL can be made.
pub(super) fn connect_remedy(error: &Error) -> String {
    let remedy = match error.code().map(SqlState::code) {
        None => return tls_remedy(error).unwrap_or_else(|| "is it up, are DB_HOST and DB_PORT right?".into()),
        Some("28P01") => "look at DB_USER and DB_PASSWORD",
        // pg_hba.conf may require TLS, a client certificate, or another user
        Some(code) if code.starts_with("28") => {
            "look at DB_USER; where the server asks for encryption set postgres.tls = \"on\", where it asks for a client \
             certificate postgres.cert_file and postgres.key_file; else its pg_hba.conf does not let this user in"
        }
        Some("3D000") => "create the database, or look at DB_NAME",
        Some(_) => "see the server's log",
    };
    remedy.into()
}

/// What to do about a failed handshake that will fail again.
fn tls_remedy(error: &Error) -> Option<String> {
    use std::error::Error as _;
    // tokio-postgres's own words, for which it has no error kind
    if error.source().is_some_and(|cause| cause.to_string() == "server does not support TLS") {
        return Some("it has no TLS: set ssl = on in the server, or look at DB_HOST and DB_PORT".into());
    }
    tls::remedy(error, "postgres")
}

/// Whether it can help to connect again, after PostgreSQL's client gave this error.
pub(super) fn may_connect_later(error: &Error) -> bool {
    class(error.code(), During::Statement) == Class::Passing && tls_remedy(error).is_none()
}

/// Whether it can help to connect again: the server is away, starting or full, and does not refuse this client as such.
pub fn is_passing_connect(error: &ConnectError) -> bool {
    match error {
        ConnectError::TimedOut { .. }
        | ConnectError::Unreachable { .. }
        | ConnectError::Unknown { .. }
        | ConnectError::Away { .. } => true,
        ConnectError::Unfit { source, .. } => matches!(**source, Unfit::Standby(_)),
        ConnectError::Refused { .. } | ConnectError::Files(_) | ConnectError::Session { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::super::session::SessionError;
    use super::super::socket::ReachError;
    use super::*;
    use crate::address::Unreached;
    use crate::report::{causes, printed_once};

    /// What PostgreSQL's client makes of a server that lets nobody in and says these fields.
    async fn refusal(fields: &[(u8, &str)]) -> Error {
        let (near, mut far) = tokio::io::duplex(1_024);
        let mut body = Vec::new();
        for (field, text) in fields {
            body.push(*field);
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        far.write_all(&[b"E".as_slice(), &length, &body].concat()).await.unwrap();
        let connecting = tokio_postgres::Config::new().user("web").connect_raw(near, tokio_postgres::NoTls).await;
        connecting.err().unwrap()
    }

    const FIELDS: [(u8, &str); 5] = [
        (b'S', "ERROR"),
        (b'C', "22003"),
        (b'M', "value out of range"),
        (b'D', "failing row contains (secret)"),
        (b'H', "look at the column"),
    ];

    #[tokio::test]
    async fn a_refusal_is_printed_once_and_its_values_only_where_they_may_be() {
        let whole = PostgresError::from(refusal(&FIELDS).await);
        let told = "value out of range (SQLSTATE 22003); failing row contains (secret); look at the column";
        assert_eq!(printed_once(&whole), told);
        let error = PostgresError::without_values(refusal(&FIELDS).await);
        assert_eq!(printed_once(&error), "value out of range (SQLSTATE 22003)");
        assert_eq!(error.client().code(), Some(&SqlState::NUMERIC_VALUE_OUT_OF_RANGE));
        assert_eq!(causes(&error).count(), 1, "the text says all that the error under it does");
    }

    #[tokio::test]
    async fn why_a_connection_broke_is_told_by_its_cause() {
        let (near, far) = tokio::io::duplex(1_024);
        drop(far);
        let broken = tokio_postgres::Config::new().user("web").connect_raw(near, tokio_postgres::NoTls).await;
        let error = PostgresError::from(broken.err().unwrap());
        assert_eq!(causes(&error).count(), 2);
        assert_eq!(printed_once(&error), "error communicating with the server: broken pipe");
    }

    #[tokio::test]
    async fn why_there_is_no_connection_is_told_with_the_place_first_and_what_to_do_last() {
        let address = || "db:5432/visits".to_owned();
        let of = |code, text: &'static str| async move {
            let fields = [(b'S', "FATAL"), (b'C', code), (b'M', text)];
            ConnectError::of("db:5432/visits".to_owned(), refusal(&fields).await)
        };
        let (near, far) = tokio::io::duplex(1_024);
        drop(far);
        let broken = tokio_postgres::Config::new().user("web").connect_raw(near, tokio_postgres::NoTls).await;
        let unreached = |error| ConnectError::unreached("db:5432/visits".to_owned(), Unreached::Failed(error));
        let io = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let standby = ConnectError::Unfit { address: address(), source: Box::new(Unfit::standby()) };
        let no_schema = ConnectError::Session { address: address(), source: SessionError::no_default_schema() };
        let cases = [
            (
                of("28P01", "password authentication failed").await,
                false,
                "password authentication failed (SQLSTATE 28P01); look at DB_USER and DB_PASSWORD",
            ),
            (
                of("57P03", "the database system is starting up").await,
                true,
                "the database system is starting up (SQLSTATE 57P03); see the server's log",
            ),
            (
                ConnectError::of(address(), broken.err().unwrap()),
                true,
                "error communicating with the server: broken pipe; is it up, are DB_HOST and DB_PORT right?",
            ),
            (
                unreached(ReachError::Io(io())),
                true,
                "error connecting to server: connection refused; is it up, are DB_HOST and DB_PORT right?",
            ),
            (unreached(ReachError::Unknown(io())), true, "connection refused; is DB_HOST right?"),
            (standby, true, "it is a standby and takes no writes; set DB_HOST to the primary"),
            (no_schema, false, "the role's search_path names no schema that is there; set postgres.schema"),
        ];
        for (error, passes, told) in cases {
            assert_eq!(printed_once(&error), format!("postgresql at db:5432/visits: {told}"));
            assert_eq!(is_passing_connect(&error), passes, "{told}");
        }
        let silent = ConnectError::timed_out(address());
        assert_eq!(
            printed_once(&silent),
            "postgresql at db:5432/visits did not answer in 10s; is it up, is DB_HOST right?"
        );
    }

    fn class_of_code(code: &str, during: During) -> Class {
        class(Some(&SqlState::from_code(code)), during)
    }

    #[test]
    fn a_missing_table_is_the_place_and_a_triggers_missing_table_is_unclear() {
        for code in ["42P01", "42501", "42703", "3D000", "28P01", "0A000"] {
            assert_eq!(class_of_code(code, During::Statement), Class::Place, "{code}");
        }
        for code in ["42P01", "42501", "42883", "XX000", "55000"] {
            assert_eq!(class_of_code(code, During::Rows), Class::Unclear, "{code}");
        }
    }

    #[test]
    fn a_rows_own_values_are_the_row_whatever_raises() {
        for code in ["22012", "22001", "22P02", "23505", "23514", "54000", "P0001", "P0002", "44000", "FP001", "99999"]
        {
            assert_eq!(class_of_code(code, During::Rows), Class::Row, "{code}");
        }
    }

    #[test]
    fn what_passes_passes_wherever_it_comes() {
        for code in ["40001", "40P01", "55P03", "57014", "57P01", "53100", "53300", "08006", "25006", "58030"] {
            for during in [During::Statement, During::Rows] {
                assert_eq!(class_of_code(code, during), Class::Passing, "{code}");
            }
        }
        assert_eq!(class(None, During::Rows), Class::Passing, "a broken connection");
    }

    #[test]
    fn damage_and_another_binary_form_stop_at_once() {
        for code in ["XX001", "XX002", "22P03", "22P04"] {
            assert_eq!(class_of_code(code, During::Rows), Class::Place, "{code}");
        }
    }
}
