use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use footprint_service::panics::abort_on_panic;
use footprint_trials::trial::terminal_ends;

use super::*;

/// Set for the process that must panic.
const CHILD: &str = "FOOTPRINT_TEST_PANICS_ON_SCREEN";

/// Whether the terminal gives whole lines and shows what is typed, as a shell needs it.
#[allow(unsafe_code)]
fn is_cooked(end: &File) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: tcgetattr only writes to `found`
    assert_eq!(unsafe { libc::tcgetattr(end.as_raw_fd(), found.as_mut_ptr()) }, 0);
    // SAFETY: zeroed is a valid value, and tcgetattr has overwritten it
    let flags = unsafe { found.assume_init() }.c_lflag;
    flags & libc::ICANON != 0 && flags & libc::ECHO != 0
}

/// The program aborts at a panic, so no destructor of its runs.
#[test]
fn a_panic_leaves_the_terminal_as_it_was_and_its_message_on_it() {
    if std::env::var_os(CHILD).is_some() {
        abort_on_panic();
        let _modes = Modes::enter().unwrap();
        assert!(ratatui::crossterm::terminal::is_raw_mode_enabled().unwrap());
        panic!("on purpose");
    }
    let (mut ours, theirs) = terminal_ends().unwrap();
    let stream = || Stdio::from(theirs.try_clone().unwrap());
    let this = "cli::top::screen::tests::a_panic_leaves_the_terminal_as_it_was_and_its_message_on_it";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env(CHILD, "1")
        .env_remove("RUST_BACKTRACE")
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap();
    let ended = child.wait().unwrap();
    assert!(is_cooked(&theirs));
    // the last end of the program's side, so that reading ends
    drop(theirs);
    let mut text = Vec::new();
    // an error is how a terminal says that its other side is closed
    let _ = ours.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    assert_eq!(ended.signal(), Some(libc::SIGABRT), "{text}");
    let (_, after) = text.split_once("\u{1b}[?1049h").unwrap();
    let (_, after) = after.split_once("\u{1b}[?1049l").unwrap();
    assert!(after.contains("\u{1b}[?25h") && after.contains("a bug in footprint: on purpose"), "{text:?}");
}
