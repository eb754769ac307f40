//! Stores every Kafka event exactly once in PostgreSQL and exactly once in ClickHouse. The modules stand in the order of
//! the data's way; ARCHITECTURE.md tells the story.

#![deny(clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
#![warn(missing_docs)]

// values
pub mod address;
pub mod batch;
pub mod budget;
pub mod chunk;
pub mod clock;
pub mod config;
pub mod console;
pub mod dotenv;
pub mod environment;
pub mod failpoint;
pub mod flight;
pub mod limits;
pub mod log_filter;
pub mod metrics;
pub mod offset;
pub mod outcome;
pub mod recycle;
pub mod reject;
pub mod route;
pub mod secret_file;
pub mod tls;
// the ledger's words and decisions
pub mod ledger;
// pure machines
pub mod batcher;
pub mod decode;
pub mod definition;
pub mod normalize;
pub mod tracker;
// services
pub mod kafka;
// the sinks
pub mod migrations;
pub mod sink;
// stages
pub mod commit;
pub mod coordinator;
pub mod pipeline;
pub mod reader;
pub mod takeover;
// the proof
pub mod verify;
// page moves to try it with
pub mod generate;
// commands
pub mod cli;
pub mod signals;
pub mod telemetry;
