//! Logs.

mod line;
mod log_file;
pub mod logging;
mod repeats;
