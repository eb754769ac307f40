//! One thing that is wrong: its kind, its place and its offset. Plain data.

use footprint_protocol::offset::{Offset, Partition};
use serde::Serialize;

/// Where something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// PostgreSQL's rows.
    Postgres,
    /// ClickHouse's rows.
    Clickhouse,
    /// The dead letters.
    DeadLetters,
    /// PostgreSQL or ClickHouse: they disagree, and Kafka no longer has the record to say which one is right.
    Either,
    /// Kafka's log.
    Log,
}

impl Place {
    /// Its name for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Clickhouse => "clickhouse",
            Self::DeadLetters => "dead_letters",
            Self::Either => "postgres or clickhouse",
            Self::Log => "kafka",
        }
    }
}

/// What is wrong. The first five break exactly once. The others are worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Below the frontier, and not there.
    Missing,
    /// There more than once, in any place: no retry and no race doubles a row even for a short time.
    Doubled,
    /// There with another content.
    Differing,
    /// There although it must not be: beyond what was claimed, both a row and a dead letter, or a bad record's row.
    Unexpected,
    /// A range that retention deleted before the sink had stored it.
    Lost,
    /// Both databases agree with each other, and not with today's decoder: another decoder made the claim, or both are wrong.
    DecodedOtherwise,
    /// Stored from an offset at which the log holds no committed record, although the log reaches that far back (compaction does
    /// this).
    NotInLog,
    /// The frontier is past the log's end: Kafka lost records that it had acknowledged.
    LogCut,
}

impl FindingKind {
    /// All of them, faults first.
    pub const ALL: [Self; 8] = [
        Self::Missing,
        Self::Doubled,
        Self::Differing,
        Self::Unexpected,
        Self::Lost,
        Self::DecodedOtherwise,
        Self::NotInLog,
        Self::LogCut,
    ];

    /// Whether it breaks exactly once. The rest are warnings, and faults only under `--strict`.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Missing | Self::Doubled | Self::Differing | Self::Unexpected | Self::Lost)
    }

    /// Its name in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Doubled => "doubled",
            Self::Differing => "differing",
            Self::Unexpected => "unexpected",
            Self::Lost => "lost",
            Self::DecodedOtherwise => "decoded_otherwise",
            Self::NotInLog => "not_in_log",
            Self::LogCut => "log_cut",
        }
    }
}

/// What is wrong with one identity, or with one range of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The kind of finding.
    pub kind: FindingKind,
    /// The place of the finding.
    pub place: Place,
    /// The identity's source.
    pub source: i64,
    /// The identity's partition.
    pub partition: Partition,
    /// The identity's offset, or the start of the range.
    pub offset: Offset,
    /// The end of the range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_offset: Option<Offset>,
}
