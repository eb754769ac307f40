//! A point in time by which a wait must end. Every wait in this crate takes one. None sleeps without checking.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::StackError;

/// How long a poll sleeps between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    limit: Duration,
    end: Instant,
}

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self { limit, end: Instant::now() + limit }
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    pub(crate) fn passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Calls `look` again and again until it returns a value. An error of `look` ends the wait. `look` is called at least once,
    /// and once more after the deadline.
    pub(crate) fn poll<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, StackError>,
    ) -> Result<T, StackError> {
        loop {
            let last = self.passed();
            if let Some(found) = look()? {
                return Ok(found);
            }
            if last {
                return Err(StackError::Deadline { what: what.to_owned(), limit: self.limit });
            }
            thread::sleep(POLL_INTERVAL.min(self.remaining()));
        }
    }
}
