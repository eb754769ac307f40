//! Waiting: for a condition, with a deadline, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Polls until `ready` gives something; panics with `what` and what `explain` says when that takes too long.
pub fn until_or<T>(
    what: &str,
    deadline: Duration,
    mut ready: impl FnMut() -> Option<T>,
    explain: impl FnOnce() -> String,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        if Instant::now() > end {
            let why = explain();
            panic!("waited {deadline:?} in vain: {what}\n{why}");
        }
        thread::sleep(INTERVAL);
    }
}

/// The same with nothing to explain.
pub fn until<T>(what: &str, deadline: Duration, ready: impl FnMut() -> Option<T>) -> T {
    until_or(what, deadline, ready, String::new)
}
