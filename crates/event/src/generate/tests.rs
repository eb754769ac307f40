//! The decoder accepts what the generator calls good, and refuses the rest for the reason that the generator gives.

use std::collections::BTreeMap;

use super::*;
use crate::decode::Decoder;
use crate::normalize;
use crate::record::Record;
use crate::route::Route;
use crate::rows::Values;
use crate::rows::{Rows, text_at};

fn route() -> Route {
    crate::decode::footprint_route()
}

fn generate(seed: u64, bad_share: f64, count: usize) -> (Rows, BTreeMap<&'static str, usize>) {
    let route = route();
    let (mut rows, mut faults) = (Rows::empty(&route), BTreeMap::new());
    let mut decoder = Decoder::new(&route).unwrap();
    let mut generator = Generator::new(seed, GenerateOptions { bad_share, ..GenerateOptions::default() });
    for offset in 0..count as i64 {
        let made = generator.generate();
        let record = Record { offset, timestamp_ms: 0, key: made.key, payload: made.payload, headers: None };
        let outcome = decoder.decode(record, &mut rows).map_err(|reason| reason.code()).err();
        assert_eq!(outcome, made.fault, "{:?}", made.payload.map(String::from_utf8_lossy));
        if let Some(code) = outcome {
            *faults.entry(code).or_default() += 1;
        }
    }
    (rows, faults)
}

#[test]
fn what_it_calls_bad_is_bad_for_that_reason_and_every_kind_comes() {
    let (rows, faults) = generate(1, 0.5, 4_000);
    assert!((1_800..2_200).contains(&rows.len()), "{}", rows.len());
    let mut kinds: Vec<_> = FAULTS.iter().map(|(code, _)| *code).chain(["too_large"]).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(faults.keys().copied().collect::<Vec<_>>(), kinds);
}

#[test]
fn the_share_of_bad_records_is_what_was_asked_for() {
    assert_eq!(generate(2, 0.0, 20_000).0.len(), 20_000);
    assert_eq!(generate(3, 1.0, 500).0.len(), 0);
}

#[test]
fn times_grow_with_the_clock_in_whatever_spelling() {
    let options = GenerateOptions::default();
    let (rows, _) = generate(4, 0.0, 10_000);
    let Values::Timestamp(times) = &rows.columns[2].values else { panic!() };
    for (index, time_us) in times.iter().enumerate() {
        let clock_us = options.start_us + index as i64 * options.step_us as i64;
        let behind_us = clock_us - time_us;
        assert!((-500_000..4_000_000).contains(&behind_us), "event {index} is {behind_us} us behind");
    }
}

#[test]
fn every_spelling_says_the_same_instant() {
    for instant_us in [1_714_953_600_000_000, 1_709_251_199_999_999, 1_735_689_600_123_456] {
        for spelling in 0..16 {
            let mut json = Vec::new();
            write_time(&mut json, instant_us, spelling);
            let read_us = match serde_json::from_slice(&json).unwrap() {
                serde_json::Value::String(text) => normalize::instant_of_text(&text, normalize::Zone::UTC),
                number => normalize::instant_of_integer(number.as_i64().unwrap()),
            };
            assert!((instant_us - 999_999..=instant_us).contains(&read_us.unwrap()), "{spelling}");
        }
    }
}

#[test]
fn few_pages_take_most_visits() {
    let (rows, _) = generate(5, 0.0, 20_000);
    let Values::Text { bytes, ends } = &rows.columns[1].values else { panic!() };
    let mut visits = BTreeMap::<_, usize>::new();
    for row in 0..rows.len() {
        *visits.entry(text_at(bytes, ends, row)).or_default() += 1;
    }
    let front_page = visits[b"/".as_slice()];
    assert!((1_800..2_800).contains(&front_page) && visits.len() > 1_500, "{front_page} of {}", visits.len());
}

#[test]
fn a_seed_makes_the_same_bytes_for_ever() {
    let digest = |seed| {
        let mut generator = Generator::new(seed, GenerateOptions { bad_share: 0.01, ..GenerateOptions::default() });
        let mut digest = 0;
        for _ in 0..1_000 {
            let made = generator.generate();
            for part in [made.key, made.payload].into_iter().flatten() {
                digest = xxhash_rust::xxh3::xxh3_64_with_seed(part, digest);
            }
        }
        digest
    };
    assert_ne!(digest(1), digest(2));
    assert_eq!(digest(1), 15_636_149_237_690_159_865);
}
