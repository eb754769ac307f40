//! Standard output and standard error that are closed or full. Nothing panics, no verdict is lost, and the work continues to its
//! end.

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

use crate::support::calm;
use crate::support::prove::prove_tables;
use crate::support::world::World;

/// An output that nobody reads any more.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

/// An output that takes nothing more.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

fn status(command: &mut Command, stdout: Stdio) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.stdout(stdout).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{command:?}: {stderr}");
    (status.code(), stderr)
}

/// Runs it with both. The closed pipe must change nothing, and the full disk is reported in one line.
fn expect(make: impl Fn() -> Command, verdict: i32) {
    let (code, stderr) = status(&mut make(), closed());
    assert_eq!(code, Some(verdict), "{:?}: {stderr}", make());
    assert!(!stderr.contains("standard output"), "{stderr}");
    let (code, stderr) = status(&mut make(), full());
    assert_eq!(code, Some(1), "{:?}: {stderr}", make());
    let reported = stderr.lines().filter(|line| line.contains("standard output")).count();
    assert_eq!(reported, 1, "{stderr}");
}

#[test]
fn a_closed_or_full_output_loses_no_verdict_and_stops_no_work() {
    let _calm = calm();
    let mut world = World::new("printed", 1, 0.01);
    expect(|| world.program(&["--help"]), 0);
    expect(|| world.program(&["run", "--help"]), 0);
    expect(|| world.program(&["--version"]), 0);
    expect(|| world.program(&["check"]), 0);
    expect(|| world.program(&["migrate"]), 0);
    let source = world.send(2_000);
    expect(|| world.program(&["run", "--until-caught-up"]), 0);
    assert_eq!(world.stored(source), 2_000);
    prove_tables(&mut world);
    expect(|| world.program(&["verify"]), 0);
    expect(|| world.program(&["verify", "--json"]), 0);
    expect(|| world.program(&["generate", "--count", "10"]), 0);

    // the status still shows what is wrong
    world.eye.query("delete from user_footprint where kafka_offset = (select max(kafka_offset) from user_footprint)");
    world.eye.query("drop index user_footprint_received_at_idx");
    for arguments in [&["verify"][..], &["verify", "--json"], &["check"]] {
        let (code, stderr) = status(&mut world.program(arguments), closed());
        assert_eq!(code, Some(3), "{arguments:?}: {stderr}");
    }
}

/// The story: `run --migrate | true` created only half of the tables.
#[test]
fn tables_are_made_to_the_last_one_whoever_reads() {
    let _calm = calm();
    for (name, stdout, code) in [("made_closed", closed(), 0), ("made_full", full(), 1)] {
        let mut world = World::without_tables(name, 1, 0.0);
        let source = world.send(500);
        let mut command = world.program(&["run", "--migrate", "--until-caught-up"]);
        assert_eq!(status(&mut command, stdout).0, Some(code));
        assert_eq!(world.stored(source), 500);
        prove_tables(&mut world);
    }
}

#[test]
fn errors_and_logs_that_nobody_reads_change_nothing() {
    let _calm = calm();
    let mut world = World::new("unheard", 1, 0.01);
    let source = world.send(2_000);
    for stderr in [closed, full] {
        // the log is on standard error, at its most verbose
        let run = |arguments: &[&str]| {
            let mut command = world.program(&["--log", "trace"]);
            command.args(arguments).stdout(Stdio::piped()).stderr(stderr()).output().unwrap()
        };
        let output = run(&["run", "--until-caught-up"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(0) && text.starts_with("caught up"), "{:?} {text}", output.status);
        assert_eq!(run(&["run", "--no-such-flag"]).status.code(), Some(2));
        assert_eq!(run(&["--config", "/no/such/file", "run"]).status.code(), Some(2));
        assert_eq!(run(&["verify", "--topic", "no-such-topic"]).status.code(), Some(1));
    }
    assert_eq!(world.stored(source), 2_000);
}
