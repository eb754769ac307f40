//! `footprint top`: its figures are those of the ledger, and it leaves a terminal as it was.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::consumer::Consumer;
use crate::support::terminal::Terminal;
use crate::support::wait::{until, until_or};
use crate::support::world::{STORED, World};
use crate::support::{alone, calm, stack};

/// How long a key, a signal or a change of the consumer may take until it is seen.
const SEEN: Duration = Duration::from_secs(20);

/// A consumer that has stored everything, and its address.
fn caught_up(world: &mut World, count: usize) -> (Consumer, String, i64) {
    let source = world.send(count);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let address = consumer.address().unwrap();
    // the log's end is asked every five seconds
    let partitions = usize::from(world.partitions);
    until_or("the lag is known and 0", SEEN, || (no_lag(&consumer)? == partitions).then_some(()), || consumer.tail());
    (consumer, address, source)
}

/// How many partitions are known to have no lag.
fn no_lag(consumer: &Consumer) -> Option<usize> {
    let status: Value = serde_json::from_str(&consumer.page("/status")?.1).unwrap();
    let owned = status["routes"][0]["owned"].as_array()?;
    Some(owned.iter().filter(|partition| partition["lag_records"] == 0).count())
}

/// Waits until the program has ended.
fn end(terminal: &mut Terminal) -> Option<i32> {
    until("it ends", SEEN, || terminal.ended()).code()
}

fn sees(terminal: &Terminal, what: &str) {
    until_or(what, SEEN, || terminal.text().contains(what).then_some(()), || terminal.text());
}

#[test]
fn the_figures_are_those_of_the_ledger() {
    let _calm = calm();
    let mut world = World::new("top_figures", 3, 0.02);
    let (mut consumer, address, source) = caught_up(&mut world, 5_000);
    let text = world.command(&["top", "--once", "--json", "--at", &address]);
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((text.lines().count(), &shown["ready"], &shown["address"]), (1, &true.into(), &address.as_str().into()));
    let route = &shown["routes"][0];
    let ledger = world.ledger(source);
    assert_eq!((route["partitions"].as_array().unwrap().len(), ledger.len()), (3, 3));
    for row in &ledger {
        let partitions = route["partitions"].as_array().unwrap();
        let partition = partitions.iter().find(|partition| partition["partition"] == row.partition).unwrap();
        assert_eq!(partition["postgres_next"].as_i64(), row.postgres_next, "{partition}");
        assert_eq!(partition["clickhouse_next"].as_i64(), row.clickhouse_next, "{partition}");
        assert_eq!((&partition["lag_records"], &partition["claims_pending"]), (&0.into(), &0.into()), "{partition}");
        assert_eq!(partition["log_end"].as_i64(), Some(row.lowest()), "{partition}");
    }
    assert_eq!((&route["lag"]["records"], &route["read"]["records"]), (&0.into(), &5_000.into()), "{route}");
    let in_postgres: i64 = world.eye.query("select count(*) from user_footprint")[0].get(0);
    let letters: i64 = world.eye.query("select count(*) from dead_letters")[0].get(0);
    for sink in ["postgres", "clickhouse"] {
        let sinks = route["sinks"].as_array().unwrap();
        let found = sinks.iter().find(|found| found["sink"] == sink).unwrap();
        assert_eq!((found["rows"].as_i64(), &found["retries"]), (Some(in_postgres), &0.into()), "{found}");
        assert!(found["rows_per_second"].as_f64().is_some(), "it asked twice: {found}");
    }
    let counted: i64 = route["dead_letters"].as_object().unwrap().values().map(|count| count.as_i64().unwrap()).sum();
    assert_eq!((counted, in_postgres + letters), (letters, 5_000));
    assert!(route["components"].as_array().unwrap().iter().all(|component| component["state"] == "ok"), "{route}");

    // a pipe gets text without an escape code, with and without --once
    for arguments in [&["top", "--once", "--at", &address][..], &["top", "--at", &address]] {
        let text = world.command(arguments);
        assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for what in ["READY", "0 records  oldest", "3 owned of 3 assigned", "Dead letters"] {
            assert!(text.contains(what), "{what}:\n{text}");
        }
    }
    consumer.stop();
    let (status, out, err) = world.outcome(&["top", "--once", "--at", &address]);
    assert_eq!((status, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("no consumer answers at") && err.contains("is it running"), "{err}");
    let kafka = stack().clickhouse().unwrap().http_port();
    let (status, _, err) = world.outcome(&["top", "--once", "--json", "--at", &format!("127.0.0.1:{kafka}")]);
    assert!(status == 1 && err.contains("is no footprint consumer"), "{err}");
}

#[test]
fn a_terminal_is_as_before_whatever_ends_the_view() {
    let _calm = calm();
    let mut world = World::new("top_terminal", 2, 0.0);
    let (mut consumer, address, _) = caught_up(&mut world, 1_000);
    for (what, keys, signal) in [
        ("q", "q", 0),
        ("Esc", "\u{1b}", 0),
        ("Ctrl-C", "\u{3}", 0),
        ("SIGTERM", "", libc::SIGTERM),
        ("SIGINT", "", libc::SIGINT),
    ] {
        let mut program = world.program(&["top", "--at", &address]);
        let (mut terminal, before) = Terminal::start(program.env("TERM", "xterm"), 80, 24);
        sees(&terminal, "2 owned of 2 assigned");
        assert_eq!((terminal.is_filled(), terminal.has_colours()), ((true, true), true));
        assert_ne!(terminal.modes(), before, "it reads keys");
        match signal {
            0 => terminal.press(keys),
            _ => terminal.signal(signal),
        }
        assert_eq!(end(&mut terminal), Some(0), "{what}");
        until("the screen is left", SEEN, || (terminal.is_filled() == (false, false)).then_some(()));
        assert_eq!(terminal.modes(), before, "{what}");
        assert_eq!(terminal.text().trim(), "", "{what} leaves nothing behind");
    }
    consumer.stop();
}

/// What a person sees of a bad day, in words alone.
#[test]
fn a_fault_and_a_consumer_that_goes_away_are_seen_until_they_end() {
    let _alone = alone();
    let mut world = World::new("top_fault", 2, 0.0);
    let (mut consumer, address, _) = caught_up(&mut world, 1_000);
    let mut program = world.program(&["top", "--at", &address]);
    let (mut terminal, _) = Terminal::start(program.env("TERM", "xterm").env("NO_COLOR", "1"), 80, 24);
    sees(&terminal, "OK  kafka  topic  ledger  postgres  clickhouse");
    println!("{}", terminal.text());
    let clickhouse = stack().clickhouse().unwrap();
    clickhouse.kill().unwrap();
    world.send(1_000);
    sees(&terminal, "FAILED  clickhouse  since");
    sees(&terminal, "To do:");
    sees(&terminal, "most lag:");
    println!("{}", terminal.text());
    clickhouse.restart().unwrap();
    sees(&terminal, "Past troubles");
    sees(&terminal, "OK  kafka  topic  ledger  postgres  clickhouse");

    consumer.kill();
    let killed = Instant::now();
    sees(&terminal, "NO ANSWER since");
    assert!(killed.elapsed() < SEEN && terminal.text().contains("no consumer answers at"), "{}", terminal.text());
    println!("{}", terminal.text());
    world.set_text("telemetry.listen", &address);
    let mut again = world.consumer();
    let is_back = || (!terminal.text().contains("NO ANSWER") && terminal.text().starts_with("READY")).then_some(());
    until_or("it is seen again", STORED, is_back, || terminal.text());
    let pid = format!("pid {}", again.pid());
    assert!(terminal.text().contains(&pid), "{}", terminal.text());

    terminal.resize(60, 20);
    let last = || terminal.text().lines().nth(19).is_some_and(|line| line.contains("q quit")).then_some(());
    until_or("it fills the smaller window", SEEN, last, || terminal.text());
    assert!(!terminal.has_colours());
    terminal.press("?");
    sees(&terminal, "sort the partitions");
    terminal.press("q");
    assert_eq!(end(&mut terminal), Some(0));
    again.stop();
}
