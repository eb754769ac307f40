//! A panic is a programmer's error, and no code may continue after one. A task that ended by it would be waited for, and a failed
//! assertion would protect nothing. So it ends the process, in whichever thread or task it is.
//!
//! The hook aborts in every profile. The release profile does not use `panic = "abort"`: the benches need unwinding, and would
//! then build every dependency a second time.

use std::backtrace::Backtrace;
use std::panic::{PanicHookInfo, set_hook};

use crate::console::complain;

/// Ends the process at the first panic, with a line that says where it was.
pub fn abort_on_panic() {
    set_hook(Box::new(|info| {
        complain(format_args!("{}", message(info)));
        // as the standard hook does, only if RUST_BACKTRACE asks for it
        let backtrace = Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            complain(format_args!("{backtrace}"));
        }
        std::process::abort();
    }));
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let what = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    format!(
        "a bug in footprint: {what} (at {place}, thread {name}); the process ends here, stored rows are safe, and the next \
         start finishes the rest; please report this line"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    /// Set for the process that must panic.
    const CHILD: &str = "FOOTPRINT_TEST_PANICS";

    /// The story: a panic in a task was swallowed by the code that joined the task, and its partition waited for an hour.
    #[test]
    fn a_panic_in_a_task_ends_the_process_and_says_where() {
        if std::env::var_os(CHILD).is_some() {
            abort_on_panic();
            let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
            let joined = runtime.block_on(async { tokio::spawn(async { assert_eq!(1, 2, "on purpose") }).await });
            panic!("continued after a panic: {joined:?}");
        }
        let this = "panics::tests::a_panic_in_a_task_ends_the_process_and_says_where";
        let program = std::env::current_exe().unwrap();
        let ended = Command::new(program).args(["--exact", this, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let text = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{text}");
        assert!(text.contains("a bug in footprint") && text.contains("on purpose"), "{text}");
        assert!(text.contains("panics.rs:") && !text.contains("went on"), "{text}");
    }
}
