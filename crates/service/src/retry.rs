//! Exponential backoff with full jitter: how long to wait before the next attempt.

use std::time::Duration;

/// The waits between attempts. They double from `first` to `last`, and each is drawn from the upper half of its step.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    tries: u32,
}

impl Backoff {
    /// For a sink or the ledger: 50 ms to 5 s.
    pub fn new() -> Self {
        Self { first: Duration::from_millis(50), last: Duration::from_secs(5), tries: 0 }
    }

    /// Attempts so far.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.first.saturating_mul(1 << self.tries.min(20)).min(self.last);
        self.tries = self.tries.saturating_add(1);
        step.mul_f64(rand::random_range(0.5..1.0))
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
