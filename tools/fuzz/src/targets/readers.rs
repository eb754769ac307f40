//! The readers of `verify`, which read the databases' answers. The rules: they never panic, and the places where the answer is
//! cut into chunks change nothing. The first byte chooses the reader, the second one where the answer is cut.

use footprint::upkeep::verify::stream::{CopyReader, Fields, Malformed, Row, RowBinaryReader};
use footprint_event::route::Kind;

use super::{Target, number};

pub(super) struct Readers;

/// One of the readers.
enum Reader {
    Copy(CopyReader),
    RowBinary(RowBinaryReader),
}

impl Reader {
    fn chosen_by(byte: u8) -> Self {
        match byte % 3 {
            0 => Self::Copy(CopyReader::new(Fields::Columns(Kind::ALL.to_vec()))),
            1 => Self::Copy(CopyReader::new(Fields::DeadLetter)),
            _ => Self::RowBinary(RowBinaryReader::new(Kind::ALL.to_vec())),
        }
    }

    fn feed(&mut self, chunk: &[u8], rows: &mut Vec<Row>) -> Result<(), Malformed> {
        match self {
            Self::Copy(reader) => reader.feed(chunk, |row| rows.push(row)),
            Self::RowBinary(reader) => reader.feed(chunk, |row| rows.push(row)),
        }
    }

    fn is_whole(&self) -> bool {
        match self {
            Self::Copy(reader) => reader.is_whole(),
            Self::RowBinary(reader) => reader.is_whole(),
        }
    }
}

/// The rows, and whether they are all. None: the answer is malformed.
fn read(reader: u8, chunks: &mut dyn Iterator<Item = &[u8]>) -> (Vec<Row>, Option<bool>) {
    let (mut reader, mut rows) = (Reader::chosen_by(reader), Vec::new());
    for chunk in chunks {
        if reader.feed(chunk, &mut rows).is_err() {
            return (rows, None);
        }
    }
    let is_whole = reader.is_whole();
    (rows, Some(is_whole))
}

fn copy(fields: &[Option<&[u8]>]) -> Vec<u8> {
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&(fields.len() as i16).to_be_bytes());
    for field in fields {
        bytes.extend_from_slice(&field.map_or(-1, |field| field.len() as i32).to_be_bytes());
        bytes.extend_from_slice(field.unwrap_or_default());
    }
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    bytes
}

impl Target for Readers {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let eight = [0, 1, 2, 3, 4, 5, 6, 7];
        let uuid = [eight, eight].concat();
        let columns =
            [Some(&eight[..]), Some(&eight), Some(b"text"), None, Some(&eight), Some(&eight), Some(&[1]), Some(&uuid)];
        let letter = [Some(&eight[..]), None, Some(b"key"), Some(b"payload")];
        let mut binary = Vec::from(eight);
        binary.extend_from_slice(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04text\x01");
        binary.extend_from_slice(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01");
        binary.push(0);
        binary.extend_from_slice(&uuid);
        vec![
            [vec![0, 7], copy(&columns)].concat(),
            [vec![1, 3], copy(&letter)].concat(),
            [vec![2, 5], binary.clone(), binary].concat(),
        ]
    }

    fn tokens(&self) -> Vec<Vec<u8>> {
        let bytes: [&[u8]; 8] = [
            b"\xff\xff\xff\xff",
            b"\xff\xff",
            b"\x7f\xff\xff\xff",
            b"\x80\0\0\0",
            b"\0\x08",
            b"\0\x04",
            b"\0\0\0\x08\0\0\0\0\0\0\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        ];
        bytes.map(<[u8]>::to_vec).to_vec()
    }

    fn read(&mut self, input: &[u8]) -> u64 {
        let [reader, cut, answer @ ..] = input else { return 0 };
        let whole = read(*reader, &mut std::iter::once(answer));
        let cut = read(*reader, &mut answer.chunks(usize::from(*cut).max(1)));
        assert_eq!(whole, cut, "the place of the cut changes the result");
        number((reader % 3, whole.0.len(), whole.1, answer.len().checked_ilog2()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed of another number of columns than there are kinds reaches nothing behind the first row's head.
    #[test]
    fn every_seed_is_read_to_its_end() {
        for seed in Readers.seeds() {
            let (rows, is_whole) = read(seed[0], &mut std::iter::once(&seed[2..]));
            assert!(!rows.is_empty() && is_whole == Some(true), "{seed:?}");
        }
    }
}
