//! The program against real Kafka, PostgreSQL and ClickHouse.
//!
//! Rules: the servers start once, in `support`. Every test has its own topic and databases, and consumers that are real
//! processes. A test that disturbs a server holds `support::alone`, and every other one `support::calm`. There are no sleeps,
//! only waits with a deadline. Each scenario asserts that its fault really struck. Then `prove` asks the oracle. If a server is
//! missing, a test fails and never skips.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue panics")]
#![allow(unreachable_pub, reason = "nothing else uses it")]

mod support;

mod adopted;
mod alerts;
mod asked;
mod audit;
mod bad;
mod brokers;
mod check;
mod committed;
mod configuration;
mod definition;
mod diagnose;
mod encoders;
mod encrypted;
mod ended;
mod environment;
mod escaped;
mod fence;
mod first_site;
mod first_start;
mod grafana;
mod group;
mod grown;
mod killed;
mod lanes;
mod locks;
mod memory;
mod metrics;
mod migrations;
mod months;
mod narrow;
mod offsets;
mod outage;
mod paused;
mod pinned;
mod pooled;
mod printed;
mod reconnected;
mod refused;
mod repair;
mod replaced;
mod replayed;
mod restarted;
mod restored;
mod retention;
mod rights;
mod routes;
mod secured;
mod signalled;
mod slow;
mod slow_ledger;
mod status;
mod steady;
mod switched;
mod takeover;
mod top;
mod transactions;
mod two_groups;
mod unreadable;
mod uuids;
mod verify;
