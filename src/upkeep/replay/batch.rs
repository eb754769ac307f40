//! The dead letters of one batch: which ones are taken together, and what each one decodes to. Pure.

use std::collections::BTreeMap;

use footprint_event::definition::Definition;
use footprint_event::record::Record;
use footprint_event::rows::Rows;
use footprint_protocol::ledger::SinkName;

use crate::ledger::statements::letters::{Letter, Place};
use crate::limits::{REPLAY_BYTES_MAX, REPLAY_LETTERS_MAX};

/// Takes the next batch from the front: dead letters of one partition, at most [`REPLAY_LETTERS_MAX`] of them and [`REPLAY_BYTES_MAX`]
/// bytes, and at least one. All dead letters of one record are in one batch.
pub(super) fn take_batch(places: &mut Vec<Place>) -> Vec<Place> {
    let Some(first) = places.first().cloned() else { return Vec::new() };
    let (mut count, mut bytes) = (0, 0);
    for place in places.iter() {
        let is_same_record = count > 0 && places[count - 1].offset == place.offset;
        let is_full = count >= REPLAY_LETTERS_MAX || (count > 0 && bytes + place.bytes > REPLAY_BYTES_MAX);
        let is_of_partition = (place.source, place.partition) == (first.source, first.partition);
        if !is_of_partition || (is_full && !is_same_record) {
            break;
        }
        bytes += place.bytes;
        count += 1;
    }
    places.drain(..count).collect()
}

/// Decoded dead letters of one partition.
pub(super) struct Judged {
    /// The rows of the good ones, one for each record.
    pub rows: Rows,
    /// The good ones, each with the index of its row.
    pub good: Vec<(Place, usize)>,
    /// How many are still bad, by the code of the reason.
    pub bad: BTreeMap<&'static str, u64>,
}

impl Judged {
    /// Decodes dead letters, which are in the order of their offsets.
    pub(super) fn new(letters: Vec<Letter>, definition: &Definition) -> Self {
        let mut decoder = definition.decoder();
        let mut judged = Self { rows: Rows::empty(definition.route()), good: Vec::new(), bad: BTreeMap::new() };
        for Letter { place, received_at_us, key, payload } in letters {
            // a record that both databases refused has two dead letters and one row
            if judged.rows.offsets.last() != Some(&place.offset) {
                let record = Record {
                    offset: place.offset,
                    timestamp_ms: received_at_us.div_euclid(1_000),
                    key: key.as_deref(),
                    payload: payload.as_deref(),
                    headers: None,
                };
                if let Err(reason) = decoder.decode(record, &mut judged.rows) {
                    *judged.bad.entry(reason.code()).or_default() += 1;
                    continue;
                }
            }
            judged.good.push((place, judged.rows.len() - 1));
        }
        judged
    }

    /// The rows that `sink` lacks.
    pub(super) fn rows_for(&self, sink: SinkName) -> Vec<usize> {
        let lacking = self.good.iter().filter(|(place, _)| place.sink.is_none_or(|one| one == sink));
        let mut rows: Vec<usize> = lacking.map(|&(_, row)| row).collect();
        rows.dedup();
        rows
    }
}
