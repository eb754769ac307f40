//! The program: listens to signals, runs the command line, and turns its end into an exit status.

use std::process::ExitCode;

use footprint::cli::{self, Exit};
use footprint_service::console::complain;
use footprint_service::panics::abort_on_panic;
use footprint_service::signals::Signals;

/// Also of librdkafka, which takes and frees several pieces a message on different threads: beside glibc's 10 % less CPU and a
/// quarter less memory (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads at its start; the environment's `MALLOC_CONF` wins over it. Freed pages go back to the kernel after half a
/// second instead of ten: with 64 partitions that is some 80 MiB less at the peak (docs/performance.md).
#[allow(unsafe_code)]
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: Option<&u8> = Some(&b"dirty_decay_ms:500,muzzy_decay_ms:0\0"[0]);

/// Runs the command line and gives the exit status. `footprint-failpoints` calls it too.
pub fn main() -> ExitCode {
    abort_on_panic();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("no runtime: {error}"));
            return ExitCode::from(Exit::Failed as u8);
        }
    };
    let exit = runtime.block_on(async {
        match Signals::listen() {
            Ok(signals) => cli::main(&signals).await,
            Err(error) => {
                complain(format_args!("no signal handlers: {error}"));
                Exit::Failed
            }
        }
    });
    // threads that wait for an answer which no longer matters
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}
