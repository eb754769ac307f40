//! footprint against real servers.
//!
//! The suite's rules: the servers start once, in `support`, and a server that does not start fails the test; nobody skips.
//! Every test has a database and a topic of its own, from `support::fresh_database`. Who kills or pauses a server does it in
//! a scenario that takes `support::whole_stack` for writing; all others take it for reading. No sleeps: a wait is armed
//! before the act and has a deadline. No retries. A bug's test opens with its story.

mod encoders;
mod migrations;
mod support;
