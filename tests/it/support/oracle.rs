//! The oracle: which record was sent to each place of each life of the topic, and so what must be stored. It decodes with
//! serde_json and chrono, which the program does not use for this.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, NaiveDateTime};

/// A record as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub timestamp_ms: i64,
    pub payload: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
    pub header_count: usize,
    /// The code of the reason why it cannot become a row.
    pub fault: Option<&'static str>,
}

/// The row that a good record must become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub request: String,
    pub link: String,
    pub footprint_time_us: i64,
    pub received_at_us: i64,
}

impl Sent {
    /// The row of a good record.
    pub fn row(&self) -> Expected {
        let payload = self.payload.as_ref().expect("a good record has a payload");
        let event: serde_json::Value = serde_json::from_slice(payload).expect("a good record is JSON");
        let text = |name: &str| event[name].as_str().expect("text").to_owned();
        Expected {
            request: text("method"),
            link: text("link"),
            footprint_time_us: time_us(&event["footprint_time"]),
            received_at_us: self.timestamp_ms * 1_000,
        }
    }
}

fn time_us(value: &serde_json::Value) -> i64 {
    if let Some(number) = value.as_i64() {
        return match number {
            ..100_000_000_000 => number * 1_000_000,
            100_000_000_000..100_000_000_000_000 => number * 1_000,
            _ => number,
        };
    }
    let text = value.as_str().expect("a number or text").to_uppercase().replace(' ', "T");
    let with_offset = DateTime::parse_from_rfc3339(&text)
        .or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .map(|instant| instant.timestamp_micros());
    with_offset.unwrap_or_else(|_| {
        let utc = NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f").expect("a time");
        utc.and_utc().timestamp_micros()
    })
}

/// A record's place: source, partition, offset.
pub type Place = (i64, i32, i64);

/// All records sent, by source and partition. A record's index is its offset.
#[derive(Default)]
pub struct Oracle {
    pub logs: BTreeMap<(i64, i32), Vec<Option<Sent>>>,
    /// Places that PostgreSQL, or ClickHouse, must not hold, because of the configuration.
    pub not_in_postgres: HashSet<Place>,
    pub not_in_clickhouse: HashSet<Place>,
    /// Places whose rows PostgreSQL, or ClickHouse, must refuse: each is a dead letter for that database alone.
    pub refused_by_postgres: HashSet<Place>,
    pub refused_by_clickhouse: HashSet<Place>,
    /// Lives that were deleted before all of their records were read. A record that is missing is no fault.
    pub destroyed: HashSet<i64>,
}

impl Oracle {
    /// Notes the records sent to one life of the topic.
    pub fn note(&mut self, source: i64, sent: Vec<(i32, i64, Sent)>) {
        for (partition, offset, sent) in sent {
            let log = self.logs.entry((source, partition)).or_default();
            let index = usize::try_from(offset).unwrap();
            if log.len() <= index {
                log.resize_with(index + 1, || None);
            }
            assert!(log[index].replace(sent).is_none(), "two records at {source} {partition} {offset}");
        }
    }

    /// The end of a partition's log.
    pub fn end(&self, source: i64, partition: i32) -> i64 {
        self.logs.get(&(source, partition)).map_or(0, |log| i64::try_from(log.len()).unwrap())
    }

    pub fn sent(&self, (source, partition, offset): Place) -> Option<&Sent> {
        self.logs.get(&(source, partition))?.get(usize::try_from(offset).ok()?)?.as_ref()
    }
}
