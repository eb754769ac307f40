//! The answer that each question must have, computed from the events alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Datelike as _, Timelike as _};
use chrono_tz::Tz;

use super::ask::{Answer, Cell};
use super::expand::Asked;

/// An event that is stored in both databases.
#[derive(Clone, Debug)]
pub struct Event {
    pub time_us: i64,
    pub request: String,
    pub link: String,
    /// Kafka's time, partition and offset. None: the old consumer stored the row.
    pub received: Option<(i64, i32, i64)>,
}

const WEEK_US: i64 = 7 * 24 * 3_600 * 1_000_000;
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A question's answer. None: the events alone do not decide it.
pub fn expected(question: &str, events: &[Event], asked: &Asked<'_>) -> Option<Answer> {
    let seen = Seen { events, asked };
    Some(match question {
        "totals" => seen.totals(),
        "views_over_time" => seen.views_over_time(),
        "views_a_minute" => seen.views_a_minute(),
        "top_pages" => seen.top_pages(),
        "growing_pages" => seen.changed_pages(true),
        "shrinking_pages" => seen.changed_pages(false),
        "hour_by_weekday" => seen.hour_by_weekday(),
        "methods" => seen.methods(),
        "latest_events" => seen.latest_events(),
        "views_in_both" => seen.views_in_both(),
        "arrivals_in_both" => seen.arrivals_in_both(),
        "newest_event" => seen.newest_event(),
        _ => return None,
    })
}

/// Events, and what is asked about them.
struct Seen<'a> {
    events: &'a [Event],
    asked: &'a Asked<'a>,
}

fn answer(columns: &[&str], rows: Vec<Vec<Cell>>) -> Answer {
    Answer { columns: columns.iter().map(|&name| name.to_owned()).collect(), rows }
}

fn number(count: usize) -> Cell {
    Cell::Number(count as f64)
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn distinct<'a>(events: &[&'a Event]) -> HashSet<&'a str> {
    events.iter().map(|event| event.link.as_str()).collect()
}

impl<'a> Seen<'a> {
    fn variable(&self, name: &str) -> &'a str {
        self.asked.variables.iter().find(|(known, _)| *known == name).expect("a variable").1
    }

    fn range_us(&self) -> (i64, i64) {
        (self.asked.from_ms * 1_000, self.asked.to_ms * 1_000)
    }

    /// Events of any time whose links begin as asked.
    fn prefixed(&self) -> impl Iterator<Item = &'a Event> + use<'a> {
        let prefix = self.variable("prefix");
        self.events.iter().filter(move |event| event.link.starts_with(prefix))
    }

    /// Events of the time range whose links begin as asked.
    fn views(&self) -> Vec<&'a Event> {
        let (from, to) = self.range_us();
        self.prefixed().filter(|event| (from..=to).contains(&event.time_us)).collect()
    }

    /// The start of the interval that a time is in.
    fn interval_of(&self, time_us: i64) -> i64 {
        let interval_us = self.asked.interval_ms * 1_000;
        time_us.div_euclid(interval_us) * interval_us
    }

    fn totals(&self) -> Answer {
        let views = self.views();
        answer(&["Views", "Distinct links"], vec![vec![number(views.len()), number(distinct(&views).len())]])
    }

    fn views_over_time(&self) -> Answer {
        let mut intervals: BTreeMap<i64, Vec<&Event>> = BTreeMap::new();
        for event in self.views() {
            intervals.entry(self.interval_of(event.time_us)).or_default().push(event);
        }
        let row = |(time, events): (i64, Vec<&Event>)| {
            vec![Cell::Time(time), number(events.len()), number(distinct(&events).len())]
        };
        answer(&["time", "Views", "Distinct links"], intervals.into_iter().map(row).collect())
    }

    fn views_a_minute(&self) -> Answer {
        let (from, to) = self.range_us();
        let mut intervals: BTreeMap<i64, [usize; 2]> = BTreeMap::new();
        for event in self.prefixed() {
            for (week, shift) in [0, WEEK_US].into_iter().enumerate() {
                let time = event.time_us + shift;
                if (from..=to).contains(&time) {
                    intervals.entry(self.interval_of(time)).or_default()[week] += 1;
                }
            }
        }
        let rate = |count: usize| Cell::Number((count * 60_000) as f64 / self.asked.interval_ms as f64);
        let rows = intervals.into_iter().map(|(time, [now, earlier])| vec![Cell::Time(time), rate(now), rate(earlier)]);
        answer(&["time", "This week", "A week earlier"], rows.collect())
    }

    fn top_pages(&self) -> Answer {
        let views = self.views();
        let mut pages: BTreeMap<&str, usize> = BTreeMap::new();
        for event in &views {
            *pages.entry(&event.link).or_default() += 1;
        }
        let mut pages: Vec<(&str, usize)> = pages.into_iter().collect();
        pages.sort_by_key(|&(link, count)| (Reverse(count), link));
        let share = |count: usize| Cell::Number(count as f64 / views.len() as f64);
        let rows = pages.into_iter().take(20).map(|(link, count)| vec![text(link), number(count), share(count)]);
        answer(&["Page", "Views", "Share"], rows.collect())
    }

    fn changed_pages(&self, growing: bool) -> Answer {
        let (from, to) = self.range_us();
        let mut pages: BTreeMap<&str, [i64; 2]> = BTreeMap::new();
        for event in self.prefixed().filter(|event| (from - (to - from)..=to).contains(&event.time_us)) {
            pages.entry(&event.link).or_default()[usize::from(event.time_us >= from)] += 1;
        }
        let mut pages: Vec<(&str, i64, i64)> =
            pages.into_iter().map(|(link, [before, now])| (link, before, now)).collect();
        pages.retain(|(_, before, now)| if growing { now > before } else { now < before });
        pages.sort_by_key(|&(link, before, now)| (Reverse((now - before).abs()), link));
        let cell = |count: i64| Cell::Number(count as f64);
        let row = |(link, before, now): (&str, i64, i64)| vec![text(link), cell(before), cell(now), cell(now - before)];
        answer(&["Page", "Before", "Now", "Change"], pages.into_iter().take(15).map(row).collect())
    }

    fn hour_by_weekday(&self) -> Answer {
        let zone: Tz = self.variable("tz").parse().expect("a time zone");
        let mut days: BTreeMap<u32, [usize; 24]> = BTreeMap::new();
        for event in self.views() {
            let local = DateTime::from_timestamp_micros(event.time_us).expect("a time").with_timezone(&zone);
            days.entry(local.weekday().num_days_from_monday()).or_default()[local.hour() as usize] += 1;
        }
        let hours: Vec<String> = (0..24).map(|hour| format!("{hour:02}")).collect();
        let columns: Vec<&str> = std::iter::once("Weekday").chain(hours.iter().map(String::as_str)).collect();
        let row = |(day, hours): (u32, [usize; 24])| {
            std::iter::once(text(WEEKDAYS[day as usize])).chain(hours.map(number)).collect()
        };
        answer(&columns, days.into_iter().map(row).collect())
    }

    fn methods(&self) -> Answer {
        let mut methods: BTreeMap<&str, usize> = BTreeMap::new();
        for event in self.views() {
            *methods.entry(&event.request).or_default() += 1;
        }
        let mut methods: Vec<(&str, usize)> = methods.into_iter().collect();
        methods.sort_by_key(|&(method, count)| (Reverse(count), method));
        answer(
            &["Method", "Views"],
            methods.into_iter().map(|(method, count)| vec![text(method), number(count)]).collect(),
        )
    }

    fn latest_events(&self) -> Answer {
        let mut views = self.views();
        // no Kafka time is less than any
        views.sort_by_key(|event| {
            (Reverse((event.time_us, event.received)), event.link.as_str(), event.request.as_str())
        });
        let row = |event: &Event| {
            let (received, partition, offset) = match event.received {
                Some((received_us, partition, offset)) => {
                    (Cell::Time(received_us), Cell::Number(partition.into()), Cell::Number(offset as f64))
                }
                None => (Cell::Null, Cell::Null, Cell::Null),
            };
            vec![Cell::Time(event.time_us), text(&event.request), text(&event.link), received, partition, offset]
        };
        let columns = ["Time", "Method", "Page", "Received by Kafka", "Partition", "Offset"];
        answer(&columns, views.into_iter().take(50).map(row).collect())
    }

    /// The column has the database's name; it is left out here.
    fn views_in_both(&self) -> Answer {
        let mut intervals: BTreeMap<i64, usize> = BTreeMap::new();
        for event in self.views() {
            *intervals.entry(self.interval_of(event.time_us)).or_default() += 1;
        }
        answer(
            &["time", ""],
            intervals.into_iter().map(|(time, count)| vec![Cell::Time(time), number(count)]).collect(),
        )
    }

    /// Kafka's times in the range.
    fn received(&self) -> BTreeSet<(i64, i32, i64)> {
        let (from, to) = self.range_us();
        self.events.iter().filter_map(|event| event.received).filter(|(us, ..)| (from..=to).contains(us)).collect()
    }

    fn arrivals_in_both(&self) -> Answer {
        let mut intervals: BTreeMap<i64, usize> = BTreeMap::new();
        for (received_us, ..) in self.received() {
            *intervals.entry(self.interval_of(received_us)).or_default() += 1;
        }
        let rate = |count: usize| Cell::Number((count * 1_000) as f64 / self.asked.interval_ms as f64);
        answer(&["time", ""], intervals.into_iter().map(|(time, count)| vec![Cell::Time(time), rate(count)]).collect())
    }

    fn newest_event(&self) -> Answer {
        let age = |(received_us, ..): &(i64, i32, i64)| {
            Cell::Number((self.asked.to_ms - received_us / 1_000) as f64 / 1_000.0)
        };
        answer(&["Age"], vec![vec![self.received().last().map_or(Cell::Null, age)]])
    }
}
