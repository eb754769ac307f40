//! The stack against itself: real servers, killed, paused, restarted.
//!
//! Rules: the servers start once, in `support`; who kills or pauses one holds its lock; no sleeps, only polls with a
//! deadline; every test has names of its own.

mod clickhouse;
mod kafka;
mod parent;
mod postgres;
mod support;
