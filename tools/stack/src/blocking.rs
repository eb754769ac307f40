//! Runs a future to its end from synchronous code, on its own thread and runtime. So a caller inside a tokio runtime does not get
//! "cannot start a runtime from within a runtime".

use std::future::Future;
use std::thread;
use std::time::Duration;

use crate::error::StackError;

/// Runs `future` for at most `limit`. `what` names it in messages.
pub(crate) fn run<T: Send>(
    what: &str,
    limit: Duration,
    future: impl Future<Output = Result<T, StackError>> + Send,
) -> Result<T, StackError> {
    let outside = |source| StackError::File { what: "start a runtime for", path: what.into(), source };
    thread::scope(|scope| {
        let runner = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(outside)?;
            runtime.block_on(async {
                tokio::time::timeout(limit, future)
                    .await
                    .unwrap_or_else(|_| Err(StackError::Deadline { what: what.to_owned(), limit }))
            })
        });
        runner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
