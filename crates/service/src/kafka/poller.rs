//! A thread that does something at an interval until it is dropped. It serves the events of a client that is seldom used.
//! Otherwise they would pile up in librdkafka, errors would not be noticed, and tokens would expire.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The interval. A token is renewed after four fifths of its lifetime, so even one of a few seconds is renewed in time.
const INTERVAL: Duration = Duration::from_millis(250);

/// On drop, it ends the thread and waits for it.
pub(super) struct Poller {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    /// Calls `poll`, which must not block, at an interval.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(super) fn start(mut poll: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stopped);
        let thread = thread::Builder::new().name("kafka-poller".into()).spawn(move || {
            while !is_stopped.load(Ordering::SeqCst) {
                poll();
                thread::park_timeout(INTERVAL);
            }
        })?;
        Ok(Self { stopped, thread: Some(thread) })
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join(); // the hook has reported a panic of the thread
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_polls_until_it_is_dropped() {
        let (sender, polled) = mpsc::sync_channel(1);
        let poller = Poller::start(move || {
            let _ = sender.try_send(());
        })
        .unwrap();
        for _ in 0..2 {
            polled.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        drop(poller);
        let left = polled.try_iter().count();
        assert!(left <= 1);
        assert_eq!(polled.recv(), Err(mpsc::RecvError), "its thread has ended, and released what it held");
    }
}
