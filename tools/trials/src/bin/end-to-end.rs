//! `cargo end-to-end`: measures the real program against real servers.

use std::process::ExitCode;

use clap::Parser;
use footprint_trials::end_to_end::{Arguments, run};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("end-to-end: {error:#}");
            ExitCode::FAILURE
        }
    }
}
