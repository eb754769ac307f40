//! The tries to take a partition over: one at a time, and a failed one is waited after.

use std::time::Instant;

/// The latest try to take the partition over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Attempt {
    /// There was none, or the next one may begin at once.
    None,
    /// One is under way, and no other begins. `is_wanted`: the assignment that it began under still holds.
    UnderWay { is_wanted: bool },
    /// The last one failed; the next one waits until then.
    Waits(Instant),
}

impl Attempt {
    /// Whether the next one may begin.
    pub(super) fn may_begin(self, now: Instant) -> bool {
        match self {
            Self::None => true,
            Self::UnderWay { .. } => false,
            Self::Waits(until) => until <= now,
        }
    }

    /// Whether one is under way.
    pub(super) fn is_under_way(self) -> bool {
        matches!(self, Self::UnderWay { .. })
    }

    /// Whether one is under way whose assignment still holds.
    pub(super) fn is_wanted(self) -> bool {
        self == Self::UnderWay { is_wanted: true }
    }

    /// The assignment that it began under is over.
    pub(super) fn disown(&mut self) {
        if self.is_under_way() {
            *self = Self::UnderWay { is_wanted: false };
        }
    }

    /// It has failed, and the next one waits. One that nobody wants leaves no wait behind.
    pub(super) fn fail(&mut self, retry_at: Instant) {
        *self = if self.is_wanted() { Self::Waits(retry_at) } else { Self::None };
    }
}
