//! `config`, `completions`, and the forms of the log. These tests need the program, but no server.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::terminal::ends;

/// An empty directory for one test.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("configuration").join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// The program there, without the caller's environment. A command that asks a server finds none.
fn footprint(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_footprint"));
    command.args(arguments).env_clear().current_dir(directory).stdin(Stdio::null());
    command.env("DB_PORT", "1").env("CH_PORT", "1");
    command
}

fn texts(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn config_show_names_where_each_setting_comes_from() {
    let directory = directory("shown");
    std::fs::write(directory.join(".env"), "# old\nDB_HOST=db.example\nDB_PASSWORD=geheim\n").unwrap();
    std::fs::write(directory.join("site.toml"), "[kafka]\ngroup_id = \"shop\"\n[postgres]\nuser = \"u\"\n").unwrap();
    let show = |more: &[&str]| {
        let arguments = [&["--config", "site.toml", "--log", "WARN", "config", "show"], more].concat();
        let mut command = footprint(&directory, &arguments);
        command.env("FOOTPRINT_PIPELINE__LANES", "3").env("FOOTPRINT_PIPELINE_LINGER_MS", "3");
        texts(&mut command)
    };
    let (status, text, warning) = show(&[]);
    for line in [
        "group_id = \"shop\"                         # site.toml:2",
        "user = \"u\"                                # site.toml:4",
        "host = \"db.example\"                       # DB_HOST (.env line 2)",
        "password = \"(hidden)\"                     # DB_PASSWORD (.env line 3)",
        "port = 1                                  # DB_PORT (environment)",
        "log = \"warn\"                              # --log",
        "database = \"prd\"                          # default",
    ] {
        let (setting, comment) = line.split_once('#').unwrap();
        let is_there = |shown: &str| {
            shown.split_once('#').is_some_and(|(left, right)| left.trim() == setting.trim() && right == comment)
        };
        assert!(text.lines().any(is_there), "{line}:\n{text}");
    }
    // too long for one line
    assert!(text.contains("\n# FOOTPRINT_PIPELINE__LANES (environment)\nlanes = 3\n"), "{text}");
    assert!(status == 0 && !text.contains("geheim") && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(
        warning.contains("FOOTPRINT_PIPELINE_LINGER_MS is no setting") && warning.lines().count() == 1,
        "{warning}"
    );
    let (status, json, _) = show(&["--json"]);
    let document: Value = serde_json::from_str(&json).unwrap();
    assert!(status == 0 && document["settings"].as_array().unwrap().len() > 60 && !json.contains("geheim"), "{json}");

    std::fs::write(directory.join("site.toml"), "[kafka]\ngrup_id = \"shop\"\n[pipeline]\nlinger_ms = \"x\"\n")
        .unwrap();
    let (status, text, faults) = show(&[]);
    assert_eq!((status, text.as_str()), (2, ""));
    assert!(faults.contains("site.toml line 2: setting kafka.grup_id: unknown setting; did you mean kafka.group_id?"));
    assert!(faults.contains("site.toml line 4: setting pipeline.linger_ms: expected a whole number"), "{faults}");
}

#[test]
fn schema_and_completions_need_no_configuration() {
    let directory = directory("schema");
    std::fs::write(directory.join(".env"), "DB_PORT=\"unclosed\n").unwrap();
    let (status, schema, _) = texts(&mut footprint(&directory, &["config", "schema"]));
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!((status, &schema["$schema"]), (0, &"https://json-schema.org/draft/2020-12/schema".into()));
    assert_eq!(schema["properties"]["pipeline"]["properties"]["lanes"]["maximum"], 16);
    for shell in ["bash", "zsh", "fish"] {
        let (status, script, _) = texts(&mut footprint(&directory, &["completions", shell]));
        assert!(status == 0 && ["verify", "dead-letters", "until-caught-up"].iter().all(|word| script.contains(word)));
        std::fs::write(directory.join(shell), script).unwrap();
    }
    assert_eq!(texts(&mut footprint(&directory, &["completions", "tcsh"])).0, 2);
    // as bash calls it after "footprint dead-" and a tab
    let mut bash = Command::new("bash");
    let asks = "source ./bash; COMP_WORDS=(footprint dead-); COMP_CWORD=1; _footprint footprint dead- footprint; echo ${COMPREPLY[@]}";
    assert_eq!(texts(bash.current_dir(&directory).args(["-c", asks])).1, "dead-letters\n");
}

/// Each line of the log, and not the program's own last line.
fn log_lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("footprint: ")).collect()
}

#[test]
fn the_log_is_json_where_nobody_looks_and_text_by_choice() {
    let directory = directory("forms");
    for arguments in [&["verify"][..], &["--log-format", "json", "verify"]] {
        let (_, _, log) = texts(&mut footprint(&directory, arguments));
        assert!(!log_lines(&log).is_empty());
        for line in log_lines(&log) {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let is_text = |key: &str| line[key].as_str().is_some_and(|text| !text.is_empty());
            assert!(["timestamp", "level", "message", "target"].into_iter().all(is_text), "{line}");
            assert!(line["fields"].is_object(), "{line}");
        }
    }
    let (_, _, log) = texts(&mut footprint(&directory, &["--log-format", "text", "verify"]));
    assert!(log_lines(&log)[0].contains("Z  INFO no .env in "), "{log}");
    let (status, _, refusal) = texts(&mut footprint(&directory, &["--log-format", "yaml", "verify"]));
    assert!(status == 2 && refusal.starts_with("footprint: --log-format: setting telemetry.log_format"), "{refusal}");
}

/// Everything that the program prints on a terminal.
fn on_terminal(command: &mut Command) -> String {
    let (mut ours, theirs) = ends();
    let mut child = command.stdout(theirs.try_clone().unwrap()).stderr(theirs).spawn().unwrap();
    // the command would keep the terminal open
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut text = Vec::new();
    // the terminal's last reader gets an error when the program has ended
    let _ = ours.read_to_end(&mut text);
    child.wait().unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_terminal_gets_text_with_colours_unless_they_are_not_wanted() {
    let directory = directory("terminal");
    let logged = |name: &str, value: &str| on_terminal(footprint(&directory, &["verify"]).env(name, value));
    assert!(logged("TERM", "xterm").contains("\u{1b}[32m INFO\u{1b}[0m no .env in "), "{:?}", logged("TERM", "xterm"));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let log = logged(name, value);
        assert!(log.contains("Z  INFO no .env in ") && !log.contains("[32m"), "{log:?}");
    }
    let help = |name: &str| on_terminal(footprint(&directory, &["--help"]).env(name, "1"));
    assert!(help("X").contains("\u{1b}[") && !help("NO_COLOR").contains("\u{1b}["));
}

#[test]
fn the_log_file_is_its_owners_and_one_that_cannot_be_written_is_told_and_ends_nothing() {
    let directory = directory("files");
    let logged = |folder: &str| texts(footprint(&directory, &["verify"]).env("LOG_DIR", folder));
    let (status, _, good) = logged("logs");
    let file = directory.join("logs/consumer.log");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written.lines().count(), log_lines(&good).len(), "the same lines: {written}");
    assert!(written.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{written}");

    std::fs::write(directory.join("a-file"), "").unwrap();
    std::fs::create_dir(directory.join("full")).unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.join("full/consumer.log")).unwrap();
    for (folder, why) in
        [("a-file", "a-file/consumer.log cannot be written: "), ("full", "full/consumer.log cannot be written: ")]
    {
        let (other, _, log) = logged(folder);
        assert_eq!(other, status, "{log}");
        assert!(log.lines().filter(|line| line.contains(why)).count() == 1, "{log}");
        assert!(log_lines(&log).len() > log_lines(&good).len(), "standard error has every line: {log}");
    }
}
