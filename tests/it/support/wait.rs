//! Waits for a condition, with a deadline, and never just for a time.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is checked.
const INTERVAL: Duration = Duration::from_millis(20);

/// Polls until `ready` returns a value. If that takes too long, panics with `what` and the text of `explain`.
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

/// The same without `explain`.
pub fn until<T>(what: &str, deadline: Duration, ready: impl FnMut() -> Option<T>) -> T {
    until_or(what, deadline, ready, String::new)
}
