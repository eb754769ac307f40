//! What the programs of footprint need and the protocol does not know: settings, the clients of the three servers, logs, metrics,
//! signals, printing.

// bounds and time
pub mod clock;
pub mod limits;
pub mod retry;
// how an error is printed
pub mod escape;
pub mod report;
// settings
pub mod config;
mod dotenv;
pub mod environment;
mod log_filter;
mod secret;
// servers
pub mod address;
pub mod clickhouse;
pub mod kafka;
pub mod postgres;
pub mod tls;
pub mod traffic;
// what people and machines see
pub mod console;
pub mod health;
pub mod metrics;
pub mod pages;
pub mod status;
pub mod telemetry;
// what stops the program
pub mod failpoint;
pub mod panics;
pub mod signals;
