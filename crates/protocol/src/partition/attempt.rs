//! The attempts to take a partition over. Only one is under way at a time. After a failed one, the next one waits.

use std::time::Instant;

/// The latest attempt to take the partition over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Attempt {
    /// None is under way, and the next one may begin at once.
    None,
    /// One is under way, so no other may begin. `is_wanted` says that the assignment under which it began still holds.
    UnderWay { is_wanted: bool },
    /// The next one may begin from this time on.
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

    /// The assignment under which the attempt began has ended.
    pub(super) fn mark_unwanted(&mut self) {
        if self.is_under_way() {
            *self = Self::UnderWay { is_wanted: false };
        }
    }

    /// The attempt has failed. The next one waits until `retry_at`, but only if the failed one was still wanted.
    pub(super) fn fail(&mut self, retry_at: Instant) {
        *self = if self.is_wanted() { Self::Waits(retry_at) } else { Self::None };
    }
}
