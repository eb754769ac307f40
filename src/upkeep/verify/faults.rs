//! Faults of one partition by database and kind, as metrics and the ledger's table of proofs count them. Pure.

use serde::Serialize;

use super::finding::{FindingKind, Place};

/// What has happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is not there.
    Lost,
    /// It is there more than once.
    Doubled,
    /// It has another content, or is there although it must not be.
    Changed,
}

impl Kind {
    /// All of them, in the order of [`Faults`].
    pub const ALL: [Self; 3] = [Self::Lost, Self::Doubled, Self::Changed];

    /// Its name as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Changed => "changed",
        }
    }

    /// The kind of a finding. None: it is only a warning.
    pub fn of(kind: FindingKind) -> Option<Self> {
        match kind {
            FindingKind::Missing | FindingKind::Lost => Some(Self::Lost),
            FindingKind::Doubled => Some(Self::Doubled),
            FindingKind::Differing | FindingKind::Unexpected => Some(Self::Changed),
            FindingKind::DecodedOtherwise | FindingKind::NotInLog | FindingKind::LogCut => None,
        }
    }
}

/// How many faults: lost, doubled, changed. Dead letters are in PostgreSQL. If nobody can say which database is wrong, the fault counts for
/// both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Of PostgreSQL.
    pub postgres: [u64; 3],
    /// Of ClickHouse.
    pub clickhouse: [u64; 3],
}

impl Faults {
    /// Counts a finding.
    pub(super) fn count(&mut self, kind: FindingKind, place: Place) {
        let Some(kind) = Kind::of(kind) else { return };
        let (postgres, clickhouse) = match place {
            Place::Postgres | Place::DeadLetters => (1, 0),
            Place::Clickhouse => (0, 1),
            Place::Either => (1, 1),
            // a shortened log is a warning
            Place::Log => (0, 0),
        };
        self.postgres[kind as usize] += postgres;
        self.clickhouse[kind as usize] += clickhouse;
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The sums of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let sum = |one: [u64; 3], other: [u64; 3]| std::array::from_fn(|kind| one[kind] + other[kind]);
        Self { postgres: sum(self.postgres, other.postgres), clickhouse: sum(self.clickhouse, other.clickhouse) }
    }

    /// Those that `known` does not have yet.
    #[must_use]
    pub fn beyond(self, known: Self) -> Self {
        let more = |one: [u64; 3], other: [u64; 3]| std::array::from_fn(|kind| one[kind].saturating_sub(other[kind]));
        Self { postgres: more(self.postgres, known.postgres), clickhouse: more(self.clickhouse, known.clickhouse) }
    }
}
