//! The program. It listens for signals, runs the command line, and turns the result into an exit status.

use std::process::ExitCode;

use footprint::cli::{self, Exit};
use footprint_service::console::complain;
use footprint_service::panics::abort_on_panic;
use footprint_service::signals::Signals;

/// librdkafka uses it too. It allocates several pieces for each message and frees them on other threads. Compared with glibc this
/// takes 10 % less CPU and a quarter less memory (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc reads this at its start. The environment's `MALLOC_CONF` wins over it. Freed pages return to the kernel after half a
/// second instead of ten. With 64 partitions this saves about 80 MiB at the peak (docs/performance.md).
#[allow(unsafe_code)]
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: Option<&u8> = Some(&b"dirty_decay_ms:500,muzzy_decay_ms:0\0"[0]);

/// Runs the command line and returns the exit status. `footprint-failpoints` calls it too.
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
    // does not wait for threads whose answers no longer matter
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}
