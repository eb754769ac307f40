//! The program with failpoints, for `cargo kills`: under a name of its own, so that it never takes the real one's place.

use std::process::ExitCode;

#[path = "../main.rs"]
mod program;

fn main() -> ExitCode {
    program::main()
}
