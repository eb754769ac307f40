//! Text of outside origin never reaches a terminal or a log raw. A visitor chooses the link of an event, and a server repeats it in
//! its errors.

use std::process::Command;

use crate::support::calm;
use crate::support::world::{STORED, World};

/// Renames the window, moves the cursor and turns the direction of writing; in one byte and in two.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{7f}\r\u{8}\u{202e}";

/// Every byte that a terminal may act on, except line feeds and tabs.
fn assert_harmless(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap();
    let harmful = |c: char| (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!text.contains(harmful), "{what}: {text:?}");
}

fn all(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    [output.stdout, output.stderr].concat()
}

#[test]
fn no_event_and_no_setting_can_act_on_a_terminal() {
    let _calm = calm();
    let mut world = World::new("escaped", 1, 0.0);
    // PostgreSQL's words hold the link
    for change in [
        "create function raise() returns trigger language plpgsql as $$ begin \
         if new.request = 'BAD' then raise exception 'no % here', new.link; end if; return new; end $$",
        "create trigger raise before insert on user_footprint for each row execute function raise()",
    ] {
        world.eye.query(change);
    }
    let link = serde_json::to_string(HOSTILE).unwrap();
    let event =
        |method: &str| format!(r#"{{"link":{link},"method":{method},"footprint_time":"2026-01-02T03:04:05Z"}}"#);
    let events = [event("\"GET\""), event("\"BAD\""), event(&link), format!("{{{link}:1}}")];
    let logs = world.file("logs", "");
    std::fs::remove_file(&logs).unwrap();
    world.set_text("telemetry.log_dir", logs.display());
    for (round, form) in ["text", "json"].into_iter().enumerate() {
        world.set_text("telemetry.log_format", form);
        let source = world.send_these(0, &events);
        world.oracle.refused_by_postgres.insert((source, 0, 4 * round as i64 + 1));
        let mut consumer = world.consumer();
        world.wait_stored(source, STORED, &mut [&mut consumer]);
        consumer.stop();
        assert_harmless(form, consumer.log().as_bytes());
    }
    for arguments in
        [&["verify"][..], &["verify", "--json"], &["check"], &["dead-letters", "list"], &["config", "show"]]
    {
        assert_harmless(arguments[0], &all(&mut world.program(arguments)));
    }
    // it was there
    let listed = world.command(&["dead-letters", "list"]);
    assert!(listed.contains(r"no \u001b]0;owned\u0007\u001b[2J\u009b31m\u007f\r\u0008\u202e here"), "{listed}");
    assert_harmless("consumer.log", &std::fs::read(logs.join("consumer.log")).unwrap());
}

#[test]
fn no_setting_and_no_flag_can_act_on_a_terminal() {
    let _calm = calm();
    let world = World::new("escaped_settings", 1, 0.0);
    for (arguments, variable) in [
        (&["check"][..], "TOPIC"),
        (&["config", "show"], "TOPIC"),
        (&["config", "show", "--json"], "TOPIC"),
        (&["check"], "FOOTPRINT_CLICKHOUSE__HOST"),
        (&["check", HOSTILE], "X"),
    ] {
        let printed = all(world.program(arguments).env(variable, format!("a{HOSTILE}")));
        assert_harmless(&format!("{arguments:?} {variable}"), &printed);
        let text = String::from_utf8_lossy(&printed);
        // the C1 character is the one that nothing below takes away
        assert!(text.contains("\\u009b31m"), "{arguments:?} {variable}: {text}");
    }
}
