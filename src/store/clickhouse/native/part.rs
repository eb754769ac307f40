//! The parts of a block, and how each is encoded: one loop over the picked rows for each kind of value. Pure.

use footprint_event::rows::text_at;

/// Which rows of a batch go into a block.
#[derive(Clone, Copy)]
pub(super) enum Picked<'a> {
    All(usize),
    Some(&'a [usize]),
}

impl Picked<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::All(count) => count,
            Self::Some(rows) => rows.len(),
        }
    }

    /// Calls `each` with every picked row. Both loops are simple, so that the compiler can optimize them.
    pub(super) fn for_each(self, mut each: impl FnMut(usize)) {
        match self {
            Self::All(count) => (0..count).for_each(each),
            Self::Some(rows) => rows.iter().for_each(|&row| each(row)),
        }
    }

    /// The `nth` picked row.
    pub(super) fn row(self, nth: usize) -> usize {
        match self {
            Self::All(_) => nth,
            Self::Some(rows) => rows[nth],
        }
    }
}

/// The width of an index, as the flags encode it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Width {
    One = 0,
    Two = 1,
    Four = 2,
}

impl Width {
    /// The bytes that one index takes.
    pub(super) fn bytes(self) -> usize {
        1 << self as usize
    }
}

/// A part of a block, in the block's order. All but [`Part::Plain`] have a value for each picked row.
pub(super) enum Part<'a> {
    /// Bytes, copied unchanged.
    Plain(Vec<u8>),
    /// 1 for null, else 0.
    Nulls(&'a [bool]),
    Texts {
        bytes: &'a [u8],
        ends: &'a [u32],
    },
    /// The keys of a dictionary: the texts of these rows, whichever rows are picked.
    Keys {
        bytes: &'a [u8],
        ends: &'a [u32],
        rows: Vec<usize>,
    },
    /// The number of each picked row's key.
    Indices {
        indices: Vec<u32>,
        width: Width,
    },
    Integers(&'a [i64]),
    Floats(&'a [f64]),
    Booleans(&'a [bool]),
    Uuids(&'a [u128]),
    /// The same value for every row.
    Integer64(i64),
    /// The same value for every row.
    Integer32(i32),
}

impl Part<'_> {
    /// The number of values: picked rows, keys or bytes.
    pub(super) fn len(&self, picked: Picked<'_>) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Keys { rows, .. } => rows.len(),
            _ => picked.len(),
        }
    }

    pub(super) fn byte_len(&self, picked: Picked<'_>) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Nulls(_) | Self::Booleans(_) => picked.len(),
            Self::Texts { bytes, ends } => texts_byte_len(bytes, ends, picked),
            Self::Keys { bytes, ends, rows } => texts_byte_len(bytes, ends, Picked::Some(rows)),
            Self::Indices { width, .. } => width.bytes() * picked.len(),
            Self::Integers(_) | Self::Floats(_) | Self::Integer64(_) => 8 * picked.len(),
            Self::Integer32(_) => 4 * picked.len(),
            Self::Uuids(_) => 16 * picked.len(),
        }
    }

    /// Appends values, from the one at `from` on, until `out` holds `bytes_max` bytes. At least one is appended if there is one. Returns
    /// the index of the first value that was not appended.
    pub(super) fn put(&self, picked: Picked<'_>, from: usize, bytes_max: usize, out: &mut Vec<u8>) -> usize {
        let run = Run { picked, from, bytes_max };
        match *self {
            Self::Plain(ref bytes) => Run { picked: Picked::All(bytes.len()), ..run }.put(out, |at| [bytes[at]]),
            Self::Nulls(validity) => run.put(out, |row| [u8::from(!validity[row])]),
            Self::Texts { bytes, ends } => run.put_texts(out, bytes, ends),
            Self::Keys { bytes, ends, ref rows } => {
                Run { picked: Picked::Some(rows), ..run }.put_texts(out, bytes, ends)
            }
            Self::Indices { ref indices, width } => {
                // the indices are those of the picked rows already
                let run = Run { picked: Picked::All(indices.len()), ..run };
                match width {
                    Width::One => run.put(out, |at| [indices[at] as u8]),
                    Width::Two => run.put(out, |at| (indices[at] as u16).to_le_bytes()),
                    Width::Four => run.put(out, |at| indices[at].to_le_bytes()),
                }
            }
            Self::Integers(values) => run.put(out, |row| values[row].to_le_bytes()),
            Self::Floats(values) => run.put(out, |row| values[row].to_le_bytes()),
            Self::Booleans(values) => run.put(out, |row| [u8::from(values[row])]),
            // the halves change places, and then the lowest byte comes first: the upper half as `UInt64`, then the lower
            Self::Uuids(values) => run.put(out, |row| values[row].rotate_left(64).to_le_bytes()),
            Self::Integer64(value) => run.put(out, |_| value.to_le_bytes()),
            Self::Integer32(value) => run.put(out, |_| value.to_le_bytes()),
        }
    }
}

fn texts_byte_len(bytes: &[u8], ends: &[u32], picked: Picked<'_>) -> usize {
    let mut sum = 0;
    picked.for_each(|row| {
        let length = text_at(bytes, ends, row).len();
        sum += varuint_len(length) + length;
    });
    sum
}

/// The values that one call appends: from the `from`th picked row on, up to the bound.
struct Run<'a> {
    picked: Picked<'a>,
    from: usize,
    bytes_max: usize,
}

impl Run<'_> {
    /// Appends values of one width. Returns the index of the first value that was not appended.
    fn put<const WIDTH: usize>(&self, out: &mut Vec<u8>, value: impl Fn(usize) -> [u8; WIDTH]) -> usize {
        let fitting = (self.bytes_max.saturating_sub(out.len()) / WIDTH).max(1);
        let to = self.picked.len().min(self.from.saturating_add(fitting));
        let start = out.len();
        // reserves room for all values, so that no single value has to
        out.resize(start + WIDTH * (to - self.from), 0);
        let (slots, _) = out[start..].as_chunks_mut::<WIDTH>();
        match self.picked {
            Picked::All(_) => slots.iter_mut().zip(self.from..to).for_each(|(slot, row)| *slot = value(row)),
            Picked::Some(rows) => {
                slots.iter_mut().zip(&rows[self.from..to]).for_each(|(slot, &row)| *slot = value(row));
            }
        }
        to
    }

    fn put_texts(&self, out: &mut Vec<u8>, bytes: &[u8], ends: &[u32]) -> usize {
        let mut next = self.from;
        while next < self.picked.len() {
            put_text(text_at(bytes, ends, self.picked.row(next)), out);
            next += 1;
            if out.len() >= self.bytes_max {
                break;
            }
        }
        next
    }
}

pub(super) fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_varuint(text.len(), out);
    out.extend_from_slice(text);
}

pub(super) fn put_varuint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number of bytes that [`put_varuint`] writes.
pub(super) fn varuint_len(value: usize) -> usize {
    // seven bits for each byte, and one byte for zero
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}
