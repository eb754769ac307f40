//! What happens to the servers, and to their data, when the program that started them ends.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::support::{eventually, runs, stack};

/// The `stack` program after it says that it is ready: its standard error so far, and its settings.
struct Program {
    child: Child,
    pids: Vec<u32>,
    logs: Vec<String>,
    settings: HashMap<String, String>,
    errors: BufReader<ChildStderr>,
}

fn start(arguments: &[&str]) -> Program {
    // The downloads, if there are any, belong to one process.
    stack();
    let mut child = Command::new(env!("CARGO_BIN_EXE_stack"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut errors = BufReader::new(child.stderr.take().expect("piped"));
    let (mut pids, mut logs, mut said) = (Vec::new(), Vec::new(), String::new());
    for line in errors.by_ref().lines() {
        let line = line.expect("text");
        said += &format!("{line}\n");
        if let Some((_, rest)) = line.split_once(": pid ") {
            let (pid, log) = rest.split_once(", log ").expect("both");
            pids.push(pid.parse().expect("a number"));
            logs.push(log.to_owned());
        }
        if line.starts_with("Ready") {
            break;
        }
    }
    assert_eq!(pids.len(), 3, "{said}");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let lines = output.lines().take(13).map(|line| line.expect("text"));
    let settings = lines
        .map(|line| {
            let (name, value) = line.strip_prefix("export ").expect("an export").split_once('=').expect("a value");
            (name.to_owned(), value.to_owned())
        })
        .collect();
    Program { child, pids, logs, settings, errors }
}

#[test]
fn children_die_when_the_parent_is_killed() {
    let mut program = start(&["--topic", "mine", "--partitions", "2"]);
    assert!(program.pids.iter().all(|pid| runs(*pid)));
    assert_eq!(program.settings["TOPIC"], "mine");
    program.child.kill().expect("SIGKILL");
    program.child.wait().expect("reaped");
    eventually("the servers' end", || program.pids.iter().all(|pid| !runs(*pid)));

    // The next stack removes what the killed one has left behind.
    let left = Path::new(&program.logs[0]).parent().and_then(Path::parent).expect("a run directory");
    assert!(left.is_dir());
    drop(footprint_stack::Stack::start(footprint_stack::StackOptions::none()).expect("an empty stack"));
    assert!(!left.exists());
}

#[test]
fn data_is_kept_where_asked_and_removed_otherwise() {
    let directory = std::env::temp_dir().join(format!("footprint-stack-test-{}", std::process::id()));
    let env_file = directory.with_extension("env");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let arguments = ["--data", &text(&directory), "--env-file", &text(&env_file)];
    let mut password = None;
    for _ in 0..2 {
        let mut program = start(&arguments);
        let written = std::fs::read_to_string(&env_file).expect("the file");
        for (name, value) in &program.settings {
            assert!(written.contains(&format!("{name}={value}\n")), "{name} in {written}");
        }
        let known = password.get_or_insert_with(|| program.settings["DB_PASSWORD"].clone());
        assert_eq!(*known, program.settings["DB_PASSWORD"], "kept with the data");
        terminate(&mut program);
    }
    assert!(directory.join("postgresql/data/PG_VERSION").is_file());
    std::fs::remove_dir_all(&directory).expect("removed");
    std::fs::remove_file(&env_file).expect("removed");

    let mut temporary = start(&[]);
    terminate(&mut temporary);
    assert!(!Path::new(&temporary.logs[0]).exists());
}

fn terminate(program: &mut Program) {
    let pid = program.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    let mut said = String::new();
    program.errors.read_to_string(&mut said).expect("text");
    let status = program.child.wait().expect("reaped");
    assert!(status.success(), "{status}: {said}");
    assert!(program.pids.iter().all(|pid| !runs(*pid)));
}

#[test]
fn a_dead_server_ends_the_program_with_its_log() {
    let mut program = start(&[]);
    let kafka = program.pids[0].to_string();
    assert!(Command::new("kill").args(["-KILL", &kafka]).status().expect("kill runs").success());
    let mut status = None;
    eventually("the program's end", || {
        status = program.child.try_wait().expect("asked");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(1));
    assert!(program.pids.iter().all(|pid| !runs(*pid)));
}
