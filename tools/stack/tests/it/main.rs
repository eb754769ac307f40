//! The stack against itself: real servers, killed, paused, restarted.
//!
//! Rules: the servers start once, in `support`; who kills or pauses one holds its lock; no sleeps, only polls with a
//! deadline; every test has names of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]
#![allow(unreachable_pub, reason = "nothing else uses it")]

mod clickhouse;
mod kafka;
mod parent;
mod postgres;
mod support;
