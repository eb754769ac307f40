//! The program against real Kafka, PostgreSQL and ClickHouse.
//!
//! Rules: the servers start once, in `support`; every test has a topic and databases of its own; no sleeps, only waits with a
//! deadline; a missing server fails, never skips.

mod support;
mod verify;
