//! The program with failpoints, for `cargo kills`: under a name of its own, so that it never takes the real one's place.

use std::process::ExitCode;

/// The program as it is shipped. It is public, so that its exported symbols are reachable here too.
#[path = "../main.rs"]
pub mod program;

fn main() -> ExitCode {
    program::main()
}
