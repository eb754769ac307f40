//! Why a record cannot become a row. Every reason has a fixed code for metrics and a sentence for people.

use std::fmt;

use footprint_protocol::ledger::SinkName;

use crate::limits::REFUSAL_CHARS_MAX;

/// Why a record becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The message has no payload.
    NullPayload,
    /// The payload is larger than a record may be.
    TooLarge {
        /// Its size, bytes.
        bytes: usize,
    },
    /// The payload is not UTF-8.
    NotUtf8,
    /// The payload is not one JSON value.
    NotJson,
    /// The payload is JSON, but not an object.
    NotObject,
    /// A field is not there, or null.
    Missing {
        /// The JSON field.
        field: String,
    },
    /// A field appears twice, and nobody can say which one counts.
    Duplicate {
        /// The JSON field.
        field: String,
    },
    /// A field holds another JSON type.
    WrongType {
        /// The JSON field.
        field: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A number that fits neither a double nor a 64-bit integer.
    NumberTooLarge {
        /// The JSON field.
        field: String,
    },
    /// A text has the escape of half a surrogate pair, which UTF-8 cannot hold.
    LoneSurrogate {
        /// The JSON field.
        field: String,
    },
    /// A text holds NUL, which PostgreSQL cannot store.
    NulInText {
        /// The JSON field.
        field: String,
    },
    /// A time that is not valid, or that a database cannot hold.
    BadTime {
        /// The JSON field.
        field: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A text that is no UUID.
    BadUuid {
        /// The JSON field.
        field: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A number that the column cannot hold.
    OutOfRange {
        /// The JSON field.
        field: String,
    },
    /// One database refuses the row; the other keeps it.
    Refused {
        /// The database that refuses it.
        sink: SinkName,
        /// Its words, with its code.
        why: String,
        /// Kafka no longer has the record, so neither key, payload nor headers could be kept.
        is_gone: bool,
    },
}

impl Reason {
    /// Every code, in the order of the variants.
    pub const CODES: [&str; 16] = [
        "null_payload",
        "too_large",
        "not_utf8",
        "not_json",
        "not_object",
        "missing_field",
        "duplicate_field",
        "wrong_type",
        "number_too_large",
        "lone_surrogate",
        "nul_in_text",
        "bad_time",
        "bad_uuid",
        "out_of_range",
        "postgres_refused",
        "clickhouse_refused",
    ];

    /// The one database that lacks the row. None: both.
    pub fn sink(&self) -> Option<SinkName> {
        match self {
            Self::Refused { sink, .. } => Some(*sink),
            _ => None,
        }
    }

    /// A fixed code, one word, for metrics and for counting dead letters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NullPayload => "null_payload",
            Self::TooLarge { .. } => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotObject => "not_object",
            Self::Missing { .. } => "missing_field",
            Self::Duplicate { .. } => "duplicate_field",
            Self::WrongType { .. } => "wrong_type",
            Self::NumberTooLarge { .. } => "number_too_large",
            Self::LoneSurrogate { .. } => "lone_surrogate",
            Self::NulInText { .. } => "nul_in_text",
            Self::BadTime { .. } => "bad_time",
            Self::BadUuid { .. } => "bad_uuid",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Refused { sink: SinkName::Postgres, .. } => "postgres_refused",
            Self::Refused { sink: SinkName::ClickHouse, .. } => "clickhouse_refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NullPayload => write!(f, "null_payload: the message has no payload"),
            Self::TooLarge { bytes } => write!(f, "too_large: the payload has {bytes} bytes"),
            Self::NotUtf8 => write!(f, "not_utf8: the payload is not UTF-8"),
            Self::NotJson => write!(f, "not_json: the payload is not one JSON value"),
            Self::NotObject => write!(f, "not_object: the payload is JSON, but not an object"),
            Self::Missing { field } => write!(f, "missing_field: {field:?} is missing or null"),
            Self::Duplicate { field } => write!(f, "duplicate_field: {field:?} appears twice"),
            Self::WrongType { field, expected } => write!(f, "wrong_type: {field:?} is not {expected}"),
            Self::NumberTooLarge { field } => {
                write!(f, "number_too_large: {field:?} holds a number that fits no 64-bit type")
            }
            Self::LoneSurrogate { field } => write!(f, "lone_surrogate: {field:?} escapes half of a surrogate pair"),
            Self::NulInText { field } => write!(f, "nul_in_text: {field:?} holds a NUL character"),
            Self::BadTime { field, why } => write!(f, "bad_time: {field:?} {why}"),
            Self::BadUuid { field, why } => write!(f, "bad_uuid: {field:?} {why}"),
            Self::OutOfRange { field } => write!(f, "out_of_range: {field:?} does not fit its column"),
            Self::Refused { why, is_gone, .. } => {
                let cut = why.char_indices().nth(REFUSAL_CHARS_MAX).map_or(why.len(), |(index, _)| index);
                // PostgreSQL's text cannot hold NUL
                write!(f, "{}: {}", self.code(), why[..cut].replace('\0', ""))?;
                if *is_gone {
                    write!(f, "; kafka no longer had the record when it was read again")?;
                }
                Ok(())
            }
        }
    }
}

/// A dead letter: the whole record, and the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Its offset.
    pub offset: i64,
    /// When Kafka received it, microseconds since the epoch.
    pub received_at_us: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its payload, untouched.
    pub payload: Option<Vec<u8>>,
    /// Its headers as JSON text, see [`Headers`](crate::record::Headers), or empty.
    pub headers: Vec<u8>,
    /// Why it is a dead letter.
    pub reason: Reason,
}

impl DeadLetter {
    /// The bytes of its key, payload and headers.
    pub fn byte_len(&self) -> usize {
        self.key.as_ref().map_or(0, Vec::len) + self.payload.as_ref().map_or(0, Vec::len) + self.headers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(key: Option<&[u8]>, payload: Option<&[u8]>, headers: &[u8]) -> DeadLetter {
        DeadLetter {
            offset: 7,
            received_at_us: 0,
            key: key.map(<[u8]>::to_vec),
            payload: payload.map(<[u8]>::to_vec),
            headers: headers.to_vec(),
            reason: Reason::NullPayload,
        }
    }

    #[test]
    fn bytes_are_those_of_key_payload_and_headers() {
        assert_eq!(letter(Some(b"ab"), Some(b"cde"), b"[123]").byte_len(), 10);
        assert_eq!(letter(None, None, b"").byte_len(), 0);
    }

    #[test]
    fn every_code_is_listed() {
        let field = String::new;
        let refused = |sink| Reason::Refused { sink, why: String::new(), is_gone: false };
        let all = [
            Reason::NullPayload,
            Reason::TooLarge { bytes: 1 },
            Reason::NotUtf8,
            Reason::NotJson,
            Reason::NotObject,
            Reason::Missing { field: field() },
            Reason::Duplicate { field: field() },
            Reason::WrongType { field: field(), expected: "" },
            Reason::NumberTooLarge { field: field() },
            Reason::LoneSurrogate { field: field() },
            Reason::NulInText { field: field() },
            Reason::BadTime { field: field(), why: "" },
            Reason::BadUuid { field: field(), why: "" },
            Reason::OutOfRange { field: field() },
            refused(SinkName::Postgres),
            refused(SinkName::ClickHouse),
        ];
        assert_eq!(all.map(|reason| reason.code()), Reason::CODES);
    }

    #[test]
    fn only_a_refused_row_is_in_the_other_database() {
        for sink in [SinkName::Postgres, SinkName::ClickHouse] {
            let refused = Reason::Refused { sink, why: "no".into(), is_gone: false };
            assert_eq!(refused.sink(), Some(sink));
        }
        assert_eq!(Reason::NotJson.sink(), None);
    }
}
