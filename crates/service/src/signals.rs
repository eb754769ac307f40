//! The signals that ask the program to end. SIGTERM, SIGINT and SIGHUP mean the same. The first one asks, and each command says
//! what it does then. The second one exits at once. The program listens for them before it does anything else.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::console::complain;

/// When a terminal closes, both the kernel and the shell send SIGHUP. A second SIGHUP within this time after the first signal
/// does not count as another.
const HANGUP_ECHO: Duration = Duration::from_secs(1);
/// The exit status of a second signal: a failure at run time.
const AT_ONCE: i32 = 1;

/// Whether the program was asked to end.
#[derive(Clone, Debug)]
pub struct Signals(watch::Receiver<bool>);

impl Signals {
    /// Listens from now on, until the process ends. Must be called within the runtime.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        // `nohup` ignores SIGHUP on purpose
        let hangup = if is_ignored(libc::SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) };
        let (asked, receiver) = watch::channel(false);
        // nobody joins this task: it ends with the process
        tokio::spawn(hear(terminate, interrupt, hangup, asked));
        Ok(Self(receiver))
    }

    /// Whether a signal has come.
    pub fn have_come(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the first signal. Returns at once if it has come.
    pub async fn wait(&self) {
        // the sender lives as long as the process
        let _ = self.0.clone().wait_for(|&asked| asked).await;
    }
}

async fn hear(mut terminate: Signal, mut interrupt: Signal, mut hangup: Option<Signal>, asked: watch::Sender<bool>) {
    let mut first: Option<Instant> = None;
    loop {
        let is_hangup = tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            () = hung_up(&mut hangup) => true,
        };
        match first {
            None => {
                first = Some(Instant::now());
                asked.send_replace(true);
            }
            Some(at) if is_hangup && at.elapsed() < HANGUP_ECHO => {}
            Some(_) => {
                complain("second signal: exiting at once; nothing is lost, the next start finishes the claims");
                #[expect(clippy::disallowed_methods, reason = "a second signal waits for nothing")]
                std::process::exit(AT_ONCE);
            }
        }
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether the process was started with `signal` ignored.
#[allow(unsafe_code)]
fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, sigaction only writes the present one to `action`
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroed is a valid value, and sigaction has overwritten it when it succeeded
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}
