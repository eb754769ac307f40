//! One stack for the whole binary, one lock for each of its servers.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use footprint_stack::{ClickHouse, Kafka, Postgres, Progress, Stack, StackOptions};

pub fn stack() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        Stack::start(StackOptions { progress: Progress::Lines, ..StackOptions::default() }).expect("the stack starts")
    })
}

/// A server for one test at a time; a test that failed with it spoils it for no other.
pub struct Held<T: 'static>(&'static T, #[allow(dead_code)] MutexGuard<'static, ()>);

impl<T> std::ops::Deref for Held<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0
    }
}

fn hold<T>(server: &'static T, lock: &'static Mutex<()>) -> Held<T> {
    Held(server, lock.lock().unwrap_or_else(PoisonError::into_inner))
}

pub fn kafka() -> Held<Kafka> {
    static LOCK: Mutex<()> = Mutex::new(());
    hold(stack().kafka().expect("asked for"), &LOCK)
}

pub fn postgres() -> Held<Postgres> {
    static LOCK: Mutex<()> = Mutex::new(());
    hold(stack().postgres().expect("asked for"), &LOCK)
}

pub fn clickhouse() -> Held<ClickHouse> {
    static LOCK: Mutex<()> = Mutex::new(());
    hold(stack().clickhouse().expect("asked for"), &LOCK)
}

/// Asks `look` until it is true, for at most 30 s.
pub fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !look() {
        assert!(Instant::now() < end, "{what}: not within 30 s");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// True while a process of that number runs; a dead one that nobody has reaped does not run.
pub fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])))
}
