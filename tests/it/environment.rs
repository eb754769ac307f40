//! The environment and `.env`: what they mean, what is refused, and what is never printed. Most tests need no server: a refused
//! configuration ends the program before it connects, and an accepted one finds a port where nothing listens.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::databases::fresh_database;
use crate::support::{calm, stack};

/// An empty directory for one test, with a `.env` of these bytes.
fn directory(name: &str, file: &[u8]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("environment").join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(".env"), file).unwrap();
    directory
}

/// Runs the program there. Returns its status and all its output, which must contain no secret and no panic.
fn run(directory: &Path, arguments: &[&str], environment: &[(&str, &[u8])]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_footprint"));
    command.args(arguments).env_clear().current_dir(directory);
    for (name, value) in environment {
        command.env(name, OsString::from_vec(value.to_vec()));
    }
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(!text.contains("panicked") && !text.contains("secr") && !text.contains("p\u{fffd}ss"), "{text}");
    (output.status.code().unwrap(), text)
}

/// A command that asks PostgreSQL first, where nothing listens.
const NOBODY: [(&str, &[u8]); 2] = [("DB_HOST", b"127.0.0.1"), ("DB_PORT", b"1")];

#[test]
fn a_password_in_the_file_is_what_it_was_to_python() {
    let _up = calm();
    let databases = fresh_database("dotenv");
    let postgres = stack().postgres().unwrap();
    for (number, (written, password)) in [
        ("pa$word1", "pa$word1"),
        ("\"pa$word1\"", "pa$word1"),
        ("$ecret # the old one", "$ecret"),
        ("a$$b", "a$$b"),
        ("pa\\$word1", "pa\\$word1"),
        ("correct horse", "correct horse"),
        ("it's\nCH_PASSWORD='it\\'s'", "it's"),
        ("'${N:-a}b'", "ab"),
    ]
    .into_iter()
    .enumerate()
    {
        let role = format!("dotenv_{number}");
        postgres.create_role(&role, password).unwrap();
        let file = format!(
            "# the old consumer's\nTITLE=It's a shop\nJAVA_OPTS=-Xms1g -Xmx1g\nMY-KEY=x\nBROKEN='a' b\n\
             CH_HOST=127.0.0.1\nCH_PORT=1\nDB_HOST={}\nDB_PORT={}\nDB_NAME={}\nDB_USER={role}\nDB_PASSWORD={written}\n",
            postgres.host(),
            postgres.port(),
            databases.name
        );
        let directory = directory(&format!("password-{number}"), file.as_bytes());
        let (status, text) = run(&directory, &["verify"], &[]);
        // PostgreSQL has accepted the login: it is asked before ClickHouse
        assert!(status == 1 && text.contains("nothing was verified: clickhouse at 127.0.0.1:1"), "{written}: {text}");
        assert!(text.contains(".env line 5 (BROKEN): something follows the value"), "{text}");
        assert!(text.contains("/.env: 7 settings") || text.contains("/.env: 8 settings"), "{text}");
    }
}

#[test]
fn a_line_that_is_ours_and_cannot_be_read_is_named_and_help_works() {
    for (name, file, message) in [
        ("unclosed", &b"A=b\nDB_PASSWORD=\"secret\n"[..], ".env line 2 (DB_PASSWORD): its quote is not closed"),
        ("rest", b"CH_PASSWORD='secret' s\n", ".env line 1 (CH_PASSWORD): something follows the value"),
        ("swallowed", b"T='It\nDB_PASSWORD='secret'\n", ".env line 1 (DB_PASSWORD)"),
        (
            "latin",
            b"DB_PASSWORD=secr\xe4t\n",
            ".env line 1 (DB_PASSWORD): it is not UTF-8 text; save the file as UTF-8",
        ),
        ("utf16", b"\xff\xfeD\0B\0", ".env: it is no UTF-8 text"),
    ] {
        let directory = directory(name, file);
        let (status, text) = run(&directory, &["verify"], &NOBODY);
        assert!(status == 2 && text.contains(message), "{name}: {status} {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
            assert_eq!(run(&directory, arguments, &[]).0, 0);
        }
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named_and_a_folder_is_none() {
    // the tests may run as root, who may read everything, but nobody can follow a circular link
    let circle = directory("circle", b"");
    std::fs::remove_file(circle.join(".env")).unwrap();
    std::os::unix::fs::symlink(".env", circle.join(".env")).unwrap();
    let (status, text) = run(&circle, &["verify"], &NOBODY);
    assert!(status == 2 && text.contains("/circle/.env: ") && text.contains("let the user read it"), "{text}");
    assert_eq!(run(&circle, &["--help"], &[]).0, 0);

    let folder = directory("folder", b"");
    std::fs::remove_file(folder.join(".env")).unwrap();
    std::fs::create_dir(folder.join(".env")).unwrap();
    let (status, text) = run(&folder, &["verify"], &NOBODY);
    assert!(status == 1 && text.contains("/folder/.env is not a file and was not read"), "{text}");
}

#[test]
fn only_the_file_of_the_working_directory_is_read_and_the_log_says_which() {
    let parent = directory("parent", b"DB_PASSWORD='secret' s\nLOG_LEVEL=nonsense\n");
    let child = parent.join("child");
    std::fs::create_dir(&child).unwrap();
    let (status, text) = run(&child, &["verify"], &NOBODY);
    assert!(status == 1 && text.contains("no .env in ") && text.contains("/parent/child"), "{text}");
    std::fs::write(child.join(".env"), "DB_HOST=127.0.0.1\nDB_PORT=1\nGROUP_ID=a\n").unwrap();
    let (status, text) = run(&child, &["verify"], &[("GROUP_ID", b"b")]);
    assert!(status == 1 && text.contains("/parent/child/.env: 2 settings"), "{text}");
}

#[test]
fn variables_that_are_not_text_are_ignored_or_named() {
    let directory = directory("bytes", b"");
    let foreign: &[(&str, &[u8])] = &[("FOO", b"\xff"), NOBODY[0], NOBODY[1]];
    assert_eq!(run(&directory, &["verify"], foreign).0, 1);
    for name in ["DB_PASSWORD", "FOOTPRINT_POSTGRES__PASSWORD", "TOPIC"] {
        let (status, text) = run(&directory, &["verify"], &[(name, b"p\xe4ss")]);
        assert!(status == 2 && text.contains(name) && text.contains("not UTF-8"), "{text}");
        assert_eq!(run(&directory, &["--help"], &[(name, b"p\xe4ss")]).0, 0);
    }
}

#[test]
fn the_old_words_of_log_levels_mean_what_they_meant() {
    // a line that is not ours causes one warning
    let directory = directory("levels", b"A b\n");
    for (word, info, warn) in [
        ("WARNING", false, true),
        ("warn ", false, true),
        ("CRITICAL", false, false),
        ("Error", false, false),
        ("info", true, true),
        ("NOTSET", true, true),
        ("footprint=debug,warn", true, true),
    ] {
        for flag in [false, true] {
            let variable = [("LOG_LEVEL", word.as_bytes()), NOBODY[0], NOBODY[1]];
            let arguments: &[&str] = if flag { &["--log", word, "verify"] } else { &["verify"] };
            let (status, text) = run(&directory, arguments, if flag { &variable[1..] } else { &variable });
            assert!(status == 1 && text.contains("footprint: nothing was verified"), "{word}: {text}");
            assert_eq!((text.contains("settings"), text.contains("line 1")), (info, warn), "{word}: {text}");
        }
    }
    for word in ["verbose", "footprint=debgu", "footprint", "20"] {
        let (status, text) = run(&directory, &["verify"], &[("LOG_LEVEL", word.as_bytes())]);
        assert!(status == 2 && text.starts_with("footprint: LOG_LEVEL: telemetry.log is wrong: "), "{text}");
        assert!(text.contains("use error, warn, info, debug, trace or off"), "{text}");
        let (status, text) = run(&directory, &["--log", word, "verify"], &[]);
        assert!(status == 2 && text.starts_with("footprint: --log: "), "{text}");
    }
}

#[test]
fn an_error_of_a_value_names_the_variable() {
    let empty = directory("values", b"");
    for (name, value, message) in [
        ("DB_PORT", "secret", "DB_PORT: setting postgres.port: expected a whole number from 0 to 65535"),
        ("CH_PORT", "81230", "CH_PORT: setting clickhouse.port: expected a whole number from 0 to 65535"),
        ("OFFSET_RESET_CONFIG", "secret", "OFFSET_RESET_CONFIG: setting kafka.offset_reset: unknown word; use one of"),
        ("FOOTPRINT_PIPELINE__LANES", "0", "FOOTPRINT_PIPELINE__LANES: pipeline.lanes must be 1 to"),
        ("FOOTPRINT_POSTGRES__PASSWORD__X", "secret", "FOOTPRINT_POSTGRES__PASSWORD__X: setting postgres.password"),
        ("FOOTPRINT_POSTGRES__PASWORD", "secret", "FOOTPRINT_POSTGRES__PASWORD: setting postgres.pasword: unknown"),
    ] {
        let (status, text) = run(&empty, &["verify"], &[(name, value.as_bytes())]);
        assert!(status == 2 && text.starts_with(&format!("footprint: {message}")), "{text}");
    }
    let directory = directory("values-file", b"A=b\nDB_PORT=secret\n");
    let (status, text) = run(&directory, &["verify"], &[]);
    assert!(status == 2 && text.starts_with("footprint: DB_PORT (.env line 2): setting postgres.port: "), "{text}");
}

#[test]
fn every_fault_is_told_in_one_run() {
    let directory = directory("several", b"A=b\nDB_PASSWORD='secret' s\nCH_PORT=secret\n");
    std::fs::write(directory.join("site.toml"), "[pipeline]\nlanes = 0\n[postgres]\npasword = \"secret\"\n").unwrap();
    let (status, text) = run(&directory, &["--config", "site.toml", "verify"], &[("DB_USER", b"secr\xff")]);
    let begins = [
        "the variable DB_USER is not UTF-8 text",
        ".env line 2 (DB_PASSWORD): something follows the value",
        "site.toml line 2: pipeline.lanes must be 1 to 16",
        "site.toml line 4: setting postgres.pasword: unknown setting; did you mean postgres.password?",
        "CH_PORT (.env line 3): setting clickhouse.port: expected a whole number",
    ];
    let lines: Vec<&str> = text.lines().collect();
    assert!(status == 2 && lines.len() == begins.len(), "{status} {text}");
    for begin in begins {
        assert!(text.contains(begin), "{begin}: {text}");
    }
}
