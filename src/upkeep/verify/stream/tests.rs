use proptest::prelude::*;

use super::*;

/// One row as a test knows it. Any value may be null.
#[derive(Clone, Debug)]
struct Known {
    offset: i64,
    received_at_us: Option<i64>,
    text: Option<String>,
    instant_us: Option<i64>,
    integer: Option<i64>,
    float: Option<f64>,
    boolean: Option<bool>,
    uuid: Option<u128>,
}

fn known() -> impl Strategy<Value = Known> {
    let instant = || prop::option::of(-4_000_000_000_000_000_i64..9_000_000_000_000_000);
    (
        any::<i64>(),
        instant(),
        prop::option::of(".{0,200}"),
        instant(),
        any::<Option<i64>>(),
        prop::option::of(prop::num::f64::NORMAL | prop::num::f64::ZERO),
        any::<Option<bool>>(),
        any::<Option<u128>>(),
    )
        .prop_map(|(offset, received_at_us, text, instant_us, integer, float, boolean, uuid)| Known {
            offset,
            received_at_us,
            text,
            instant_us,
            integer,
            float,
            boolean,
            uuid,
        })
}

fn copy_bytes(rows: &[Known]) -> Vec<u8> {
    let mut bytes = COPY_SIGNATURE.to_vec();
    bytes.extend_from_slice(&[0; 8]);
    for row in rows {
        bytes.extend_from_slice(&8_i16.to_be_bytes());
        let shifted = |us: i64| (us - POSTGRES_EPOCH_US).to_be_bytes().to_vec();
        let fields: [Option<Vec<u8>>; 8] = [
            Some(row.offset.to_be_bytes().to_vec()),
            row.received_at_us.map(shifted),
            row.text.as_ref().map(|text| text.as_bytes().to_vec()),
            row.instant_us.map(shifted),
            row.integer.map(|integer| integer.to_be_bytes().to_vec()),
            row.float.map(|float| float.to_be_bytes().to_vec()),
            row.boolean.map(|truth| vec![u8::from(truth)]),
            row.uuid.map(|uuid| uuid.to_be_bytes().to_vec()),
        ];
        for field in fields {
            match field {
                None => bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
                Some(field) => {
                    bytes.extend_from_slice(&(field.len() as i32).to_be_bytes());
                    bytes.extend_from_slice(&field);
                }
            }
        }
    }
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    bytes
}

fn row_binary(rows: &[Known]) -> Vec<u8> {
    fn nullable(into: &mut Vec<u8>, value: Option<Vec<u8>>) {
        into.push(u8::from(value.is_none()));
        into.extend(value.into_iter().flatten());
    }
    let mut bytes = Vec::new();
    for row in rows {
        bytes.extend_from_slice(&row.offset.to_le_bytes());
        nullable(&mut bytes, row.received_at_us.map(|us| us.to_le_bytes().to_vec()));
        let text = row.text.as_ref().map(|text| {
            let (mut encoded, mut length) = (Vec::new(), text.len());
            while length >= 0x80 {
                encoded.push(length as u8 | 0x80);
                length >>= 7;
            }
            encoded.push(length as u8);
            encoded.extend_from_slice(text.as_bytes());
            encoded
        });
        nullable(&mut bytes, text);
        nullable(&mut bytes, row.instant_us.map(|us| us.to_le_bytes().to_vec()));
        nullable(&mut bytes, row.integer.map(|integer| integer.to_le_bytes().to_vec()));
        nullable(&mut bytes, row.float.map(|float| float.to_le_bytes().to_vec()));
        nullable(&mut bytes, row.boolean.map(|truth| vec![u8::from(truth)]));
        let halves = |uuid: u128| [(uuid >> 64) as u64, uuid as u64].map(u64::to_le_bytes).concat();
        nullable(&mut bytes, row.uuid.map(halves));
    }
    bytes
}

proptest! {
    /// Both formats give the same rows and numbers, wherever the wire cuts them.
    #[test]
    fn both_wires_say_the_same(rows in prop::collection::vec(known(), 0..20), chunk in 1_usize..400) {
        let mut from_copy = Vec::new();
        let mut copy = CopyReader::new(Fields::Columns(Kind::ALL.to_vec()));
        for chunk in copy_bytes(&rows).chunks(chunk) {
            copy.feed(chunk, |row| from_copy.push(row)).unwrap();
        }
        let mut from_binary = Vec::new();
        let mut binary = RowBinaryReader::new(Kind::ALL.to_vec());
        for chunk in row_binary(&rows).chunks(chunk) {
            binary.feed(chunk, |row| from_binary.push(row)).unwrap();
        }
        prop_assert!(copy.is_whole() && binary.is_whole());
        prop_assert_eq!(&from_copy, &from_binary);
        let offsets: Vec<i64> = from_copy.iter().map(|row| row.offset).collect();
        prop_assert_eq!(offsets, rows.iter().map(|row| row.offset).collect::<Vec<_>>());
    }

    /// No bytes make a reader panic.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), header: bool) {
        let mut whole = if header { [COPY_SIGNATURE.as_slice(), &[0; 8]].concat() } else { Vec::new() };
        whole.extend_from_slice(&bytes);
        let _ = CopyReader::new(Fields::DeadLetter).feed(&whole, |_| {});
        let _ = RowBinaryReader::new(Kind::ALL.to_vec()).feed(&bytes, |_| {});
    }
}

#[test]
fn an_answer_cut_short_is_not_whole() {
    let row = Known {
        offset: 7,
        received_at_us: Some(1),
        text: Some("a".into()),
        instant_us: None,
        integer: None,
        float: None,
        boolean: None,
        uuid: None,
    };
    let bytes = copy_bytes(std::slice::from_ref(&row));
    let mut reader = CopyReader::new(Fields::Columns(Kind::ALL.to_vec()));
    reader.feed(&bytes[..bytes.len() - 1], |_| {}).unwrap();
    assert!(!reader.is_whole());
    let bytes = row_binary(&[row]);
    let mut reader = RowBinaryReader::new(Kind::ALL.to_vec());
    reader.feed(&bytes[..bytes.len() - 1], |_| panic!("a row that is not whole")).unwrap();
    assert!(!reader.is_whole());
}
