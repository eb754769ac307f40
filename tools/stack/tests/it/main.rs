//! Tests of the stack itself: real servers, killed, paused, restarted.
//!
//! Rules: the servers start once, in `support`. A test that kills or pauses one holds its lock. There are no sleeps, only polls
//! with a deadline. Every test uses its own names.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue panics")]
#![allow(unreachable_pub, reason = "nothing else uses it")]

mod clickhouse;
mod kafka;
mod parent;
mod postgres;
mod prometheus;
mod support;
