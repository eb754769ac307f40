use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::cli::top::snapshot::Snapshot;

/// The components of a route where all is well.
const GOOD: &str = r#"{"component": "kafka", "state": "ok"}, {"component": "topic", "state": "ok"}, {"component": "ledger", "state": "ok"},
    {"component": "postgres", "state": "ok"}, {"component": "reader", "state": "ok"}, {"component": "coordinator", "state": "ok"}"#;
const BAD: &str = r#", {"component": "clickhouse", "state": "failed", "since": "2026-02-03T04:05:10Z",
    "why": "no answer from 127.0.0.1:8123 in 5 s: connection refused (os error 111)",
    "what_to_do": "start ClickHouse, or set CH_HOST and CH_PORT"}, {"component": "reader", "state": "paused",
    "since": "2026-02-03T04:06:00Z", "why": "the byte budget is spent"}"#;

fn status(routes: &[(&str, bool, usize)]) -> String {
    let routes: Vec<String> = routes
        .iter()
        .map(|(name, is_good, partitions)| {
            let components = if *is_good {
                format!(r#"{GOOD}, {{"component": "clickhouse", "state": "ok"}}"#)
            } else {
                format!("{GOOD}{BAD}")
            };
            let partitions: Vec<String> = (0..*partitions)
                .map(|number| {
                    let (low, high) = (1_000 + number, 5_000 + number * 3);
                    format!(
                        r#"{{"partition": {number}, "postgres_next": {high}, "clickhouse_next": {low}, "claims_pending": {number},
                            "log_end": {high}, "lag_records": {}}}"#,
                        high - low
                    )
                })
                .collect();
            format!(
                r#"{{"route": "{name}", "ready": {is_good}, "joined": true, "seconds_since_stored": 0.4, "components": [{components}],
                    "owned": [{}]}}"#,
                partitions.join(",")
            )
        })
        .collect();
    format!(
        r#"{{"version": "0.1.0", "pid": 4242, "started": "2026-02-03T04:05:00Z", "uptime_seconds": 100, "ready": false,
            "routes": [{}]}}"#,
        routes.join(",")
    )
}

fn metrics(scale: u32) -> String {
    let mut text = format!(
        "footprint_budget_taken_bytes 67108864\nfootprint_budget_max_bytes 268435456\nprocess_resident_memory_bytes 90000000\n\
         footprint_budget_held_bytes{{holder=\"reader\"}} 20971520\nfootprint_budget_held_bytes{{holder=\"batches\"}} 46137344\n\
         footprint_reader_records_total{{route=\"visits\"}} {}\nfootprint_reader_bytes_total{{route=\"visits\"}} {}\n\
         footprint_partitions_assigned{{route=\"visits\"}} 3\nfootprint_ledger_takeovers_total{{route=\"visits\"}} 3\n\
         footprint_ledger_fenced_total{{route=\"visits\"}} 0\nfootprint_clickhouse_doubled_total{{route=\"visits\"}} 0\n\
         footprint_dead_letters_total{{route=\"visits\",reason=\"bad_json\"}} 10\n\
         footprint_dead_letters_total{{route=\"visits\",reason=\"bad_time\"}} 2\n\
         footprint_dead_letters_total{{route=\"visits\",reason=\"too_large\"}} 0\n\
         footprint_sink_errors_total{{route=\"visits\",sink=\"clickhouse\",class=\"retry\"}} 3\n\
         footprint_sink_errors_total{{route=\"visits\",sink=\"clickhouse\",class=\"uncertain\"}} 1\n\
         footprint_lag_seconds{{route=\"visits\",partition=\"1\"}} 75.2\n\
         footprint_kafka_round_trip_seconds{{route=\"visits\",broker=\"1\"}} 0.002\n\
         footprint_kafka_throttle_seconds{{route=\"visits\",broker=\"1\"}} 0\n\
         footprint_kafka_transport_errors_total{{route=\"visits\",broker=\"1\"}} 5\n\
         footprint_commit_failures_total{{route=\"visits\"}} 0\n\
         footprint_group_rebalances_total{{route=\"visits\",kind=\"assigned\"}} 2\n\
         footprint_group_rebalances_total{{route=\"visits\",kind=\"lost\"}} 0\n\
         footprint_claim_age_seconds{{route=\"visits\",partition=\"1\"}} 62\n",
        1_000_000 + 61_725 * scale,
        400_000_000 + 20_000_000 * scale,
    );
    for (sink, rows) in [("postgres", 1_200_000 + 60_000 * scale), ("clickhouse", 1_100_000)] {
        let labels = format!("{{route=\"visits\",sink=\"{sink}\"}}");
        let _ = write!(
            text,
            "footprint_sink_rows_total{labels} {rows}\nfootprint_sink_batches_total{labels} {}\n\
             footprint_sink_write_seconds_sum{labels} {}\nfootprint_sink_write_seconds_count{labels} {}\n\
             footprint_sink_retries_total{labels} 4\n",
            rows / 10_000,
            f64::from(rows) / 400_000.0,
            rows / 10_000,
        );
    }
    text
}

fn figures(routes: &[(&str, bool, usize)]) -> Figures {
    let [before, now] = [0, 1].map(|scale| Snapshot::parse(&status(routes), &metrics(scale)).unwrap());
    Figures::new(&now, Some((&before, 5.0)))
}

fn shown<'a>(figures: Option<&'a Figures>, troubles: &'a Troubles) -> Shown<'a> {
    Shown { address: "127.0.0.1:9464", figures, late: Duration::ZERO, silence: None, troubles }
}

/// The screen after drawing, line by line.
fn screen(shown: &Shown<'_>, look: &mut Look, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| _ = draw(frame.buffer_mut(), shown, look)).unwrap();
    let cells = terminal.backend().buffer().content();
    let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>();
    cells.chunks(usize::from(width)).map(|row| line(row).trim_end().to_owned()).collect()
}

const NARROW: &str = "\
NOT READY  footprint 0.1.0  127.0.0.1:9464  pid 4242
up 1 m 40 s  04:06:40 UTC
Route         visits  NOT READY  1 of 3  not ready either:
              carts
Health        FAILED  clickhouse  since 04:05:10
              for 1 m 30 s
                no answer from 127.0.0.1:8123 in 5 s:
                connection refused (os error 111)
                To do: start ClickHouse, or set CH_HOST and
                CH_PORT
              PAUSED  reader  since 04:06:00  for 40 s
                the byte budget is spent
              OK  kafka  topic  ledger  postgres  reader
              coordinator
Read          12.3 k records/s  3.8 MiB/s  1,061,725 in all
              401 MiB
Lag           12,006 records  oldest 1 m 15 s
              stored 0.4 s ago
Sinks         rows/s       rows  write  delay  errors
lines 1-15 of 32  q quit  ? keys  Up/Down PgUp/PgDn scroll";

const USUAL: &str = "\
NOT READY  footprint 0.1.0  127.0.0.1:9464  pid 4242  up 1 m 40 s  04:06:40 UTC
Route         visits  NOT READY  1 of 3  not ready either:  carts
Health        FAILED  clickhouse  since 04:05:10  for 1 m 30 s
                no answer from 127.0.0.1:8123 in 5 s: connection refused (os
                error 111)
                To do: start ClickHouse, or set CH_HOST and CH_PORT
              PAUSED  reader  since 04:06:00  for 40 s
                the byte budget is spent
              OK  kafka  topic  ledger  postgres  reader  coordinator
Read          12.3 k records/s  3.8 MiB/s  1,061,725 in all  401 MiB
Lag           12,006 records  oldest 1 m 15 s  stored 0.4 s ago
Sinks         rows/s       rows  batches/s  write  delay  retries  errors
postgres      12.0 k  1,260,000        1.2  25 ms      -        4       0
clickhouse         0  1,100,000          0      -      -        4       4
  by class    clickhouse retry 3  clickhouse uncertain 1
Kafka         round trip 2 ms  errors 5  refused commits 0  assigned 2
Dead letters  12  bad_json 10  bad_time 2
Ledger        take-overs 3  fenced 0  doubled 0
Audit         -
Budget        [####............] 25 %  64.0 MiB of 256 MiB  batches 44.0 MiB
              reader 20.0 MiB
Process       memory 85.8 MiB  cores -  open files -
Partitions    3 owned of 3 assigned  most lag: 2  sorted by number
lines 1-21 of 25  q quit  ? keys  Up/Down PgUp/PgDn scroll  Tab route  s sort";

const WIDE: &str = "\
NOT READY  footprint 0.1.0  127.0.0.1:9464  pid 4242  up 1 m 40 s  04:06:40 UTC
Route         visits  NOT READY  1 of 3  not ready either:  carts
Health        FAILED  clickhouse  since 04:05:10  for 1 m 30 s
                no answer from 127.0.0.1:8123 in 5 s: connection refused (os error 111)
                To do: start ClickHouse, or set CH_HOST and CH_PORT
              PAUSED  reader  since 04:06:00  for 40 s
                the byte budget is spent
              OK  kafka  topic  ledger  postgres  reader  coordinator
Read          12.3 k records/s  3.8 MiB/s  1,061,725 in all  401 MiB
Lag           12,006 records  oldest 1 m 15 s  stored 0.4 s ago
Sinks         rows/s       rows  bytes/s  batches/s  write  delay  retries  errors
postgres      12.0 k  1,260,000        -        1.2  25 ms      -        4       0
clickhouse         0  1,100,000        -          0      -      -        4       4
  by class    clickhouse retry 3  clickhouse uncertain 1
Kafka         round trip 2 ms  errors 5  refused commits 0  assigned 2
Dead letters  12  bad_json 10  bad_time 2
Ledger        take-overs 3  fenced 0  doubled 0
Audit         -
Budget        [####............] 25 %  64.0 MiB of 256 MiB  batches 44.0 MiB  reader 20.0 MiB
Process       memory 85.8 MiB  cores -  open files -
Partitions    3 owned of 3 assigned  most lag: 2  sorted by number
partition       lag    oldest  postgres  clickhouse  log end  stored/s  claims  oldest claim  last proof
0             4,000         -      5000        1000     5000         0       0             -           -
1             4,002  1 m 15 s      5003        1001     5003         0       1       1 m 2 s           -
2             4,004         -      5006        1002     5006         0       2             -           -";

const ROUTES: [(&str, bool, usize); 3] = [("visits", false, 3), ("orders", true, 0), ("carts", false, 1)];

#[test]
fn a_screen_of_every_size_shows_what_matters_first() {
    let (figures, troubles) = (figures(&ROUTES), Troubles::default());
    let shown = shown(Some(&figures), &troubles);
    let drawn = |width, height| screen(&shown, &mut Look::default(), width, height);
    assert_eq!(drawn(60, 20).join("\n"), NARROW);
    assert_eq!(drawn(80, 24).join("\n"), USUAL);
    let wide = drawn(200, 50);
    assert_eq!(wide[..25].join("\n"), WIDE);
    assert!(wide[25..49].iter().all(String::is_empty) && wide[49].starts_with("q quit"), "{wide:?}");
    // no size fails
    for (width, height) in [(1, 1), (1, 40), (200, 1), (13, 2), (15, 5)] {
        drawn(width, height);
    }
}

#[test]
fn text_has_every_route_and_says_what_they_share_once() {
    let (figures, troubles) = (figures(&ROUTES), Troubles::default());
    let text = text(&shown(Some(&figures), &troubles), 80);
    let having = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
    assert_eq!(["Route", "Partitions", "Budget", "Process", "NOT READY"].map(having), [3, 3, 1, 1, 1], "{text}");
    assert!(text.contains("\nRoute         orders  READY  2 of 3  not ready:  visits  carts\n"), "{text}");
    assert!(
        text.contains("\nLag           - records  oldest -  stored 0.4 s ago\n"),
        "what is absent is a dash: {text}"
    );
    assert!(text.lines().all(|line| line.len() <= 80 && line.trim_end() == line), "{text}");
}

#[test]
fn a_hundred_partitions_scroll_and_sort() {
    let (figures, troubles) = (figures(&[("visits", true, 100)]), Troubles::default());
    let shown = shown(Some(&figures), &troubles);
    let mut look = Look { first: usize::MAX, ..Look::default() };
    let last = screen(&shown, &mut look, 80, 24);
    assert!(last[2].starts_with("partition       lag") && last[3].starts_with("80 "), "the names stay: {last:#?}");
    assert!(last[22].starts_with("99 ") && last[23].starts_with("lines 97-117 of 117"), "{last:#?}");
    assert_eq!(look.first, 96, "drawing brings it back");
    look.first -= 30;
    assert!(screen(&shown, &mut look, 80, 24)[22].starts_with("69 "));
    let mut look = Look { is_by_lag: true, first: 16, ..Look::default() };
    let by_lag = screen(&shown, &mut look, 80, 24);
    assert!(by_lag[2].starts_with("partition  ") && by_lag[3].starts_with("99            4,198"), "{by_lag:#?}");
}

#[test]
fn silence_is_said_first_and_the_last_figures_stay() {
    let (figures, troubles) = (figures(&[("visits", true, 1)]), Troubles::default());
    let silence = Silence {
        since: "2026-02-03T04:06:40Z".into(),
        lasts: Duration::from_secs(12),
        why: "no consumer answers at 127.0.0.1:9464: connection refused".into(),
    };
    let mut silent = Shown { silence: Some(silence), ..shown(Some(&figures), &troubles) };
    let drawn = screen(&silent, &mut Look::default(), 80, 24);
    assert_eq!(
        drawn[..4],
        [
            "NO ANSWER since 04:06:40 UTC, for 12 s: no consumer answers at 127.0.0.1:9464:",
            "connection refused",
            "before:  footprint 0.1.0  127.0.0.1:9464  pid 4242  up 1 m 40 s  04:06:40 UTC",
            "Route         visits  READY",
        ]
    );
    silent.figures = None;
    assert!(screen(&silent, &mut Look::default(), 80, 24)[2].is_empty());
    let mut late = shown(Some(&figures), &troubles);
    late.late = Duration::from_secs(3);
    assert!(screen(&late, &mut Look::default(), 100, 24)[0].ends_with("04:06:40 UTC  late by 3.0 s"));
    assert_eq!(screen(&shown(None, &troubles), &mut Look::default(), 80, 24)[0], "asking 127.0.0.1:9464");
}

#[test]
fn another_route_and_the_keys_are_shown_when_asked_for() {
    let (figures, troubles) = (figures(&ROUTES), Troubles::default());
    let shown = shown(Some(&figures), &troubles);
    let other = screen(&shown, &mut Look { route: 2, ..Look::default() }, 80, 24);
    assert_eq!(other[1], "Route         carts  NOT READY  3 of 3  not ready either:  visits");
    // the consumer was started again with fewer routes
    assert_eq!(screen(&shown, &mut Look { route: 3, ..Look::default() }, 80, 24)[1], USUAL.lines().nth(1).unwrap());
    let keys = screen(&shown, &mut Look { shows_keys: true, ..Look::default() }, 80, 24).join("\n");
    for (key, _) in KEYS {
        assert!(keys.contains(key), "{key}: {keys}");
    }
}

#[test]
fn colours_are_there_only_if_they_are_wanted() {
    let (figures, troubles) = (figures(&ROUTES), Troubles::default());
    for colours in [true, false] {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
        draw(&mut buffer, &shown(Some(&figures), &troubles), &mut Look { colours, ..Look::default() });
        let coloured = buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(coloured, colours);
    }
}

#[test]
fn a_trouble_that_has_ended_is_still_told() {
    let [bad, good] = [false, true].map(|is_good| figures(&[("visits", is_good, 1)]));
    let mut troubles = Troubles::default();
    troubles.see(&bad);
    troubles.see(&good);
    let drawn = screen(&shown(Some(&good), &troubles), &mut Look::default(), 80, 30).join("\n");
    let told =
        "Past troubles 04:05:10 to 04:06:40  clickhouse was failed\n                no answer from 127.0.0.1:8123";
    assert!(drawn.contains(told), "{drawn}");
}

/// Names and errors come from servers and producers.
#[test]
fn no_text_of_outside_origin_acts_on_the_terminal() {
    let evil = "\\u001b]0;x\\u0007\\u009b2J\\u202e\\r\\n";
    let status = format!(
        r#"{{"version": "{evil}", "ready": false, "started": "{evil}", "routes": [{{"route": "{evil}", "ready": false, "components": [
            {{"component": "{evil}", "state": "{evil}", "since": "{evil}", "why": "{evil}", "what_to_do": "{evil}"}},
            {{"component": "b{evil}", "state": "ok"}}], "owned": [{{"partition": 1}}]}}]}}"#
    );
    let real = "\u{1b}]0;x\u{7}\u{9b}2J\u{202e}\r";
    let metrics = format!(
        "footprint_dead_letters_total{{route=\"{real}\\n\",reason=\"{real}\"}} 1\n\
         footprint_sink_rows_total{{route=\"{real}\\n\",sink=\"{real}\"}} 1\n\
         footprint_sink_errors_total{{route=\"{real}\\n\",sink=\"{real}\",class=\"{real}\"}} 1\n\
         footprint_budget_held_bytes{{holder=\"{real}\"}} 1\n"
    )
    .replace('\r', "\\r");
    let figures = Figures::new(&Snapshot::parse(&status, &metrics).unwrap(), None);
    let mut troubles = Troubles::default();
    troubles.see(&figures);
    let silence = Silence { since: real.into(), lasts: Duration::ZERO, why: real.into() };
    let shown = Shown { address: real, silence: Some(silence), ..shown(Some(&figures), &troubles) };
    let all = screen(&shown, &mut Look::default(), 200, 50).concat() + &text(&shown, 80).replace('\n', "");
    assert!(all.contains("\\u001b]0;x\\u0007"), "{all:?}");
    let acts = |character: char| character.is_control() || matches!(character, '\u{202a}'..='\u{202e}');
    assert!(!all.contains(acts), "{all:?}");
}
