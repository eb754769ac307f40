//! Starts child processes that cannot outlive this one.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, not the process. A child forked on a test's thread
//! would die with that test, so every fork happens on one thread that lives as long as the process.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// The spawner's queue. Callers wait for the answer, so room for one job is enough.
static SPAWNER: OnceLock<SyncSender<Job>> = OnceLock::new();

/// The account of the servers when we are root: `nobody`, whose number is the same on every Linux.
const NOBODY: u32 = 65_534;

/// Whether this process is root. Then the servers run as `nobody` (initdb refuses root).
#[allow(unsafe_code)]
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Makes `command` run as `nobody` if we are root. An ordinary user stays that user.
pub(crate) fn as_server_user(command: &mut Command) -> &mut Command {
    if is_root() {
        command.gid(NOBODY).uid(NOBODY);
    }
    command
}

/// Bytes of a small disk.
const SMALL_DISK_BYTES: u32 = 32 << 20;

/// A command that runs `command` as the server user, with an own small disk in memory at `directory`. Only the server and its children
/// see the disk, and it ends with them. Only root can make one.
pub(crate) fn with_small_disk(command: &Command, directory: &Path) -> Command {
    let script = format!(
        "mount -t tmpfs -o size={SMALL_DISK_BYTES},mode=0700,uid={NOBODY},gid={NOBODY} small-disk \"$0\" && \
         exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --pdeathsig=KILL \"$@\""
    );
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "--", "sh", "-c", &script]).arg(directory);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    wrapped
}

/// Gives `path` to the account that the servers run as.
pub(crate) fn give_to_server_user(path: &Path) -> io::Result<()> {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

/// Starts `command` in its own process group, so that a Ctrl-C in our terminal goes only to us. The kernel kills it when this
/// process ends, however it ends. `nohup` concerns only us: SIGHUP has its default action in the child.
///
/// # Errors
/// The command does not start.
#[allow(unsafe_code)]
pub fn spawn(mut command: Command) -> io::Result<Child> {
    let parent = std::process::id();
    command.process_group(0);
    // SAFETY: the closure runs between fork and exec and makes only async-signal-safe calls. The standard library
    // runs it after setuid, which would have cleared the death signal.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            // The parent may have died before the signal was armed.
            if libc::getppid() as u32 != parent {
                libc::_exit(1);
            }
            Ok(())
        });
    }
    let (answer, answered) = sync_channel(1);
    let job: Job = Box::new(move || {
        // The caller cannot be gone, because it waits on the other end.
        let _ = answer.send(command.spawn());
    });
    let gone = || io::Error::other("the spawner thread has ended");
    SPAWNER.get_or_init(start).send(job).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

fn start() -> SyncSender<Job> {
    let (sender, jobs) = sync_channel::<Job>(1);
    let started = thread::Builder::new().name("stack-spawner".into()).spawn(move || {
        for job in jobs {
            job();
        }
    });
    // Without the thread, the other end of the sender is dropped, and `spawn` reports that.
    drop(started);
    sender
}
