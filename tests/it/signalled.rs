//! Signals work from the first moment: for each command, while it waits for a server that accepts and stays silent. These tests
//! need the program, but no server of the stack.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::wait::until;

/// A command of the program, with every server at one silent address.
fn start(listener: &TcpListener, arguments: &[&str], ignored: Option<i32>) -> Child {
    let port = listener.local_addr().unwrap().port().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_footprint"));
    command
        .args(arguments)
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env("BOOTSTRAP_SERVER", format!("127.0.0.1:{port}"))
        .env("DB_PORT", &port)
        .env("CH_PORT", &port)
        .env("FOOTPRINT_TELEMETRY__LISTEN", "")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: signal is async-signal-safe
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            // the tests may run under nohup
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            if let Some(ignored) = ignored {
                libc::signal(ignored, libc::SIG_IGN);
            }
            Ok(())
        });
    }
    command.spawn().unwrap()
}

#[allow(unsafe_code)]
fn send(child: &Child, signal: i32) {
    // SAFETY: the child was not waited for, so the number is still its own
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
}

/// Waits for its end. Returns its output.
fn end(child: &mut Child, deadline: Duration) -> (Option<i32>, String) {
    let status = until("the end", deadline, || child.try_wait().unwrap());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (status.code(), text)
}

#[test]
fn each_command_ends_when_it_is_told_to() {
    let commands: [&[&str]; 6] =
        [&["check"], &["verify"], &["generate"], &["migrate"], &["run", "--migrate"], &["run", "--until-caught-up"]];
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        for arguments in commands {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut child = start(&listener, arguments, None);
            let held = listener.accept().unwrap();
            send(&child, signal);
            let (code, text) = end(&mut child, Duration::from_secs(30));
            assert_eq!(code, Some(1), "{arguments:?}: {text}");
            assert!(text.contains("interrupted: "), "{arguments:?}: {text}");
            drop(held);
        }
    }
}

#[test]
fn a_second_signal_ends_a_migration_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = start(&listener, &["run", "--migrate"], None);
    let held = listener.accept().unwrap();
    send(&child, libc::SIGTERM);
    // two equal signals become one if they come together
    let at = Instant::now();
    let status = until("the end", Duration::from_secs(4), || {
        send(&child, libc::SIGTERM);
        child.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(1));
    assert!(end(&mut child, Duration::from_secs(1)).1.contains("second signal"), "{:?}", at.elapsed());
    drop(held);
}

/// `nohup footprint run` ignores it.
#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = start(&listener, &["check"], Some(libc::SIGHUP));
    let held = listener.accept().unwrap();
    send(&child, libc::SIGHUP);
    send(&child, libc::SIGTERM);
    let (code, text) = end(&mut child, Duration::from_secs(30));
    // if the first had counted, this second one would have ended the program at once
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("interrupted: ") && !text.contains("second signal"), "{text}");
    drop(held);
}
