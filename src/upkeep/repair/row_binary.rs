//! Reads whole rows from ClickHouse's RowBinary: the offset (`Int64`), `received_at` and the route's columns, all nullable. Pure. `verify`
//! reads the same form, but keeps only a number of each row.

use footprint_event::route::Route;
use footprint_event::rows::{ColumnData, Rows, Values};

use crate::upkeep::verify::stream::{Cursor, Malformed, leb128};

/// The rows in `bytes`, which is a whole answer.
///
/// # Errors
/// The bytes are no such rows.
pub(super) fn rows_of(bytes: &[u8], route: &Route) -> Result<Rows, Malformed> {
    let mut rows = Rows::empty(route);
    let mut cursor = Cursor { bytes, at: 0 };
    while cursor.at < bytes.len() {
        rows.offsets.push(i64::from_le_bytes(need(cursor.array())?));
        let received_at_us = if is_null(&mut cursor)? { 0 } else { i64::from_le_bytes(need(cursor.array())?) };
        rows.received_at_us.push(received_at_us);
        for column in &mut rows.columns {
            value(&mut cursor, column)?;
        }
    }
    Ok(rows)
}

fn need<T>(part: Option<T>) -> Result<T, Malformed> {
    part.ok_or(Malformed)
}

fn is_null(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    match need(cursor.array())? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(Malformed),
    }
}

fn value(cursor: &mut Cursor<'_>, column: &mut ColumnData) -> Result<(), Malformed> {
    let is_null = is_null(cursor)?;
    match &mut column.validity {
        Some(validity) => validity.push(!is_null),
        // an adopted table may hold a null that the route's column cannot
        None if is_null => return Err(Malformed),
        None => {}
    }
    if is_null {
        column.values.push_zero();
        return Ok(());
    }
    match &mut column.values {
        Values::Text { bytes, ends } => {
            let length = need(leb128(cursor)?)?;
            bytes.extend_from_slice(need(cursor.take(length))?);
            ends.push(bytes.len() as u32);
        }
        Values::Timestamp(values) | Values::Integer(values) => values.push(i64::from_le_bytes(need(cursor.array())?)),
        Values::Float(values) => values.push(f64::from_le_bytes(need(cursor.array())?)),
        Values::Boolean(values) => values.push(need(cursor.array::<1>())?[0] != 0),
        Values::Uuid(values) => values.push(u128::from_le_bytes(need(cursor.array())?).rotate_left(64)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use footprint_event::route::{Column, Kind, Presence};

    use super::*;

    fn route() -> Route {
        let column = |kind: Kind| Column {
            name: format!("{kind:?}"),
            field: format!("{kind:?}"),
            kind,
            presence: Presence::Optional,
            low_cardinality: false,
        };
        Route {
            name: "visits".into(),
            topic: "visits".into(),
            postgres_table: "visits".into(),
            clickhouse_table: "visits".into(),
            timezone: "UTC".into(),
            columns: Kind::ALL.map(column).to_vec(),
        }
    }

    #[test]
    fn every_kind_is_read_and_a_cut_answer_is_none() {
        let mut bytes = 7_i64.to_le_bytes().to_vec();
        bytes.push(0);
        bytes.extend(9_i64.to_le_bytes());
        bytes.extend([0, 2, b'/', b'a', 0]);
        bytes.extend((-1_i64).to_le_bytes());
        bytes.push(0);
        bytes.extend(5_i64.to_le_bytes());
        bytes.push(0);
        bytes.extend((-0.5_f64).to_le_bytes());
        bytes.extend([0, 1, 0]);
        bytes.extend([7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8]);
        let whole = bytes.len();
        bytes.extend(8_i64.to_le_bytes());
        bytes.push(0);
        bytes.extend(9_i64.to_le_bytes());
        bytes.extend([1; 6]);
        let rows = rows_of(&bytes, &route()).unwrap();
        assert_eq!((rows.offsets.as_slice(), rows.received_at_us.as_slice()), (&[7, 8][..], &[9, 9][..]));
        let values: Vec<_> = rows.columns.iter().map(|column| column.values.clone()).collect();
        assert_eq!(
            values,
            [
                Values::Text { bytes: b"/a".to_vec(), ends: vec![2, 2] },
                Values::Timestamp(vec![-1, 0]),
                Values::Integer(vec![5, 0]),
                Values::Float(vec![-0.5, 0.0]),
                Values::Boolean(vec![true, false]),
                Values::Uuid(vec![0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f, 0]),
            ]
        );
        assert!(rows.columns.iter().all(|column| column.validity == Some(vec![true, false])));
        assert!(rows_of(&bytes[..whole - 1], &route()).is_err() && rows_of(&bytes[..whole], &route()).is_ok());
    }
}
