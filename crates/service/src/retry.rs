//! Exponential backoff with full jitter: how long to wait before the next attempt.

use std::time::Duration;

/// The first wait, at most.
const WAIT_FIRST: Duration = Duration::from_millis(50);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How long to wait after this many attempts. The waits double, and each is drawn from the upper half of its step.
pub fn wait_after(tries: u32) -> Duration {
    WAIT_FIRST.saturating_mul(1 << tries.min(20)).min(WAIT_MAX).mul_f64(rand::random_range(0.5..1.0))
}

/// The waits between attempts: see [`wait_after`].
#[derive(Debug)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// No attempt was made yet.
    pub fn new() -> Self {
        Self { tries: 0 }
    }

    /// Attempts so far.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let wait = wait_after(self.tries);
        self.tries = self.tries.saturating_add(1);
        wait
    }

    /// Starts again from the first wait, after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        let mut backoff = Backoff::new();
        for _ in 0..100 {
            assert!(backoff.next_wait() <= Duration::from_secs(5));
        }
        assert!(backoff.next_wait() >= Duration::from_millis(2_500));
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(50));
    }
}
