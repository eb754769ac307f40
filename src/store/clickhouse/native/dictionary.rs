//! A dictionary column, `LowCardinality(String)`: each distinct text once, in the order of its first row, and an index for each row.

use footprint_event::rows::text_at;
use xxhash_rust::xxh3::xxh3_64;

use super::part::{Part, Picked, Width};

/// The version of the form: the keys are in the block.
const DICTIONARY_VERSION: u64 = 1;
/// Flags in addition to the width of the index: the block has its own keys (bit 9), and they replace earlier ones (bit 10).
const KEYS_FOLLOW: u64 = 1 << 9 | 1 << 10;

/// Appends the parts of a dictionary column: the texts of the picked rows, or null where `validity` says so. The texts stay in the batch
/// until they are sent. This function makes at most three numbers for each row.
pub(super) fn push_parts<'a>(
    bytes: &'a [u8],
    ends: &'a [u32],
    validity: Option<&[bool]>,
    picked: Picked<'_>,
    parts: &mut Vec<Part<'a>>,
) {
    let mut head = DICTIONARY_VERSION.to_le_bytes().to_vec();
    if picked.len() == 0 {
        return parts.push(Part::Plain(head));
    }
    let mut dictionary = Dictionary::new(bytes, ends, validity.is_some());
    let mut indices = Vec::with_capacity(picked.len());
    picked.for_each(|row| {
        let is_null = validity.is_some_and(|validity| !validity[row]);
        indices.push(if is_null { 0 } else { dictionary.index_of(row) });
    });
    let key_count = dictionary.key_count();
    let width = match key_count {
        0..=0x100 => Width::One,
        0x101..=0x1_0000 => Width::Two,
        _ => Width::Four,
    };
    head.extend_from_slice(&(KEYS_FOLLOW | width as u64).to_le_bytes());
    head.extend_from_slice(&(key_count as u64).to_le_bytes());
    if dictionary.has_null {
        head.push(0); // the key of null is the empty text
    }
    parts.push(Part::Plain(head));
    parts.push(Part::Keys { bytes, ends, rows: dictionary.keys });
    parts.push(Part::Plain((indices.len() as u64).to_le_bytes().to_vec()));
    parts.push(Part::Indices { indices, width });
}

/// Gives each distinct text a number, in the order of the texts' first rows. It is a hash table with open addressing that holds numbers of
/// keys, so the texts stay in the batch.
struct Dictionary<'a> {
    bytes: &'a [u8],
    ends: &'a [u32],
    /// Whether index 0 means null.
    has_null: bool,
    /// The first row of each distinct text.
    keys: Vec<usize>,
    /// A slot is 0 if it is free, or else the number of a key plus one. The length is a power of two, and at most half of the slots are
    /// used.
    slots: Vec<u32>,
    /// The previous row and the number of its key: equal texts often follow each other.
    last: Option<(usize, u32)>,
}

impl<'a> Dictionary<'a> {
    fn new(bytes: &'a [u8], ends: &'a [u32], has_null: bool) -> Self {
        Self { bytes, ends, has_null, keys: Vec::new(), slots: vec![0; 64], last: None }
    }

    fn key_count(&self) -> usize {
        self.keys.len() + usize::from(self.has_null)
    }

    fn text(&self, row: usize) -> &'a [u8] {
        text_at(self.bytes, self.ends, row)
    }

    /// The index of the row's text. A new text becomes a key.
    fn index_of(&mut self, row: usize) -> u32 {
        let text = self.text(row);
        if let Some((last_row, index)) = self.last
            && self.text(last_row) == text
        {
            return index;
        }
        let mut slot = self.slot_of(text);
        let number = match self.slots[slot] {
            0 => {
                if (self.keys.len() + 1) * 2 > self.slots.len() {
                    self.grow();
                    slot = self.slot_of(text);
                }
                self.keys.push(row);
                // it fits: a batch has at most BATCH_ROWS_MAX rows
                self.slots[slot] = self.keys.len() as u32;
                self.keys.len() as u32 - 1
            }
            taken => taken - 1,
        };
        let index = number + u32::from(self.has_null);
        self.last = Some((row, index));
        index
    }

    /// The slot of the text's key, or the free slot for it.
    fn slot_of(&self, text: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = xxh3_64(text) as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return slot,
                taken if self.text(self.keys[taken as usize - 1]) == text => return slot,
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 4];
        for (number, &row) in self.keys.iter().enumerate() {
            let slot = self.slot_of(self.text(row));
            self.slots[slot] = number as u32 + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_as_wide_as_the_keys_need() {
        for (count, flags, index_bytes) in [(256_usize, 0_u8, 1_usize), (257, 1, 2), (65_536, 1, 2), (65_537, 2, 4)] {
            let names: Vec<String> = (0..count).map(|number| format!("{number:06}")).collect();
            let bytes = names.concat().into_bytes();
            let ends: Vec<u32> = (1..=count).map(|row| u32::try_from(row * 6).unwrap()).collect();
            let (picked, mut parts) = (Picked::All(count), Vec::new());
            push_parts(&bytes, &ends, None, picked, &mut parts);
            let [Part::Plain(head), Part::Keys { rows, .. }, Part::Plain(length), Part::Indices { indices, width }] =
                parts.as_slice()
            else {
                panic!("other parts");
            };
            assert_eq!(
                (head[8], head.len(), rows.len(), width.bytes()),
                (flags, 24, count, index_bytes),
                "{count} keys"
            );
            assert_eq!((length.as_slice(), indices.len()), ((count as u64).to_le_bytes().as_slice(), count));
            let mut out = Vec::new();
            parts.iter().for_each(|part| assert_eq!(part.put(picked, 0, usize::MAX, &mut out), part.len(picked)));
            assert_eq!(out.len(), parts.iter().map(|part| part.byte_len(picked)).sum::<usize>());
            assert_eq!(out.len(), 8 + 8 + 8 + count * 7 + 8 + count * index_bytes);
            let last = &out[out.len() - index_bytes..];
            assert_eq!(last, &(count as u64 - 1).to_le_bytes()[..index_bytes]);
        }
    }
}
