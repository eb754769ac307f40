//! One stack for the whole binary.

use std::sync::OnceLock;

use footprint_stack::{Progress, Stack, StackOptions};

/// The servers; started by the first test that asks, ended with the process.
pub fn stack() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        Stack::start(StackOptions { progress: Progress::Lines, ..StackOptions::default() }).expect("the stack starts")
    })
}
