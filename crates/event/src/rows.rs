//! Rows of one partition as columns, a struct of arrays. The decoder fills it and both encoders read it.

use footprint_protocol::offset::Offset;

use crate::recycle::Buffer;
use crate::route::{Kind, Route};

/// The values of one column, one a row. A null row holds the kind's zero value, and `false` in `validity`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnData {
    /// The values.
    pub values: Values,
    /// Whether each row has a value. None: the column is not nullable.
    pub validity: Option<Vec<bool>>,
}

/// Values by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Text: row `i` is `bytes[ends[i - 1]..ends[i]]`, UTF-8 without NUL.
    Text {
        /// All rows' bytes, one after the other.
        bytes: Vec<u8>,
        /// Where each row ends.
        ends: Vec<u32>,
    },
    /// Microseconds since the epoch.
    Timestamp(Vec<i64>),
    /// Signed integers.
    Integer(Vec<i64>),
    /// Finite doubles.
    Float(Vec<f64>),
    /// Truth values.
    Boolean(Vec<bool>),
    /// UUIDs as numbers: the text's first digit is the highest.
    Uuid(Vec<u128>),
}

/// Runs one expression on the values of any kind: one for texts, and one for the vector of a kind with a fixed width. It is
/// compiled for each kind, so no value costs a look-up.
macro_rules! each {
    ($values:expr, ($bytes:ident, $ends:ident) => $text:expr, $fixed:ident => $each:expr) => {
        match $values {
            Values::Text { bytes: $bytes, ends: $ends } => $text,
            Values::Timestamp($fixed) | Values::Integer($fixed) => $each,
            Values::Float($fixed) => $each,
            Values::Boolean($fixed) => $each,
            Values::Uuid($fixed) => $each,
        }
    };
}

impl Values {
    /// No values of this kind.
    pub fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text { bytes: Vec::new(), ends: Vec::new() },
            Kind::Timestamp => Self::Timestamp(Vec::new()),
            Kind::Integer => Self::Integer(Vec::new()),
            Kind::Float => Self::Float(Vec::new()),
            Kind::Boolean => Self::Boolean(Vec::new()),
            Kind::Uuid => Self::Uuid(Vec::new()),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Text { .. } => Kind::Text,
            Self::Timestamp(_) => Kind::Timestamp,
            Self::Integer(_) => Kind::Integer,
            Self::Float(_) => Kind::Float,
            Self::Boolean(_) => Kind::Boolean,
            Self::Uuid(_) => Kind::Uuid,
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        each!(self, (_bytes, ends) => ends.len(), values => values.len())
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the kind's zero value, which a null row holds.
    #[inline]
    pub fn push_zero(&mut self) {
        each!(self, (bytes, ends) => ends.push(bytes.len() as u32), values => values.push(Default::default()));
    }

    /// Keeps only the first rows.
    pub fn truncate(&mut self, row_count: usize) {
        each!(self, (bytes, ends) => {
            ends.truncate(row_count);
            bytes.truncate(ends.last().map_or(0, |&end| end as usize));
        }, values => values.truncate(row_count));
    }

    fn capacity_bytes(&self) -> usize {
        each!(self, (bytes, ends) => bytes.capacity() + ends.capacity() * 4, values => values.capacity() * width(values))
    }

    /// The bytes of its values.
    fn byte_len(&self) -> usize {
        each!(self, (bytes, ends) => bytes.len() + ends.len() * 4, values => values.len() * width(values))
    }
}

/// Bytes of a value.
fn width<T>(_values: &[T]) -> usize {
    size_of::<T>()
}

impl ColumnData {
    /// A column of the same kind without rows.
    fn emptied(&self) -> Self {
        let values = Values::empty(self.values.kind());
        Self { values, validity: self.validity.as_ref().map(|_| Vec::new()) }
    }

    /// Appends a row of a column of the same kind.
    fn push(&mut self, from: &Self, row: usize) {
        match (&mut self.values, &from.values) {
            (Values::Text { bytes, ends }, Values::Text { bytes: from, ends: from_ends }) => {
                bytes.extend_from_slice(text_at(from, from_ends, row));
                ends.push(bytes.len() as u32);
            }
            (Values::Timestamp(values), Values::Timestamp(from)) | (Values::Integer(values), Values::Integer(from)) => {
                values.push(from[row]);
            }
            (Values::Float(values), Values::Float(from)) => values.push(from[row]),
            (Values::Boolean(values), Values::Boolean(from)) => values.push(from[row]),
            (Values::Uuid(values), Values::Uuid(from)) => values.push(from[row]),
            _ => unreachable!("both are the same column of one route"),
        }
        if let Some(validity) = &mut self.validity {
            validity.push(from.validity.as_ref().is_none_or(|validity| validity[row]));
        }
    }
}

/// The text of row `row`.
pub fn text_at<'a>(bytes: &'a [u8], ends: &[u32], row: usize) -> &'a [u8] {
    let start = if row == 0 { 0 } else { ends[row - 1] as usize };
    &bytes[start..ends[row] as usize]
}

/// Rows of one partition, in offset order, as a struct of arrays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Each row's offset.
    pub offsets: Vec<Offset>,
    /// When Kafka received each, microseconds since the epoch.
    pub received_at_us: Vec<i64>,
    /// The route's columns, in its order.
    pub columns: Vec<ColumnData>,
}

impl Rows {
    /// No rows, with the columns of `route`.
    pub fn empty(route: &Route) -> Self {
        let columns = route
            .columns
            .iter()
            .map(|column| ColumnData {
                values: Values::empty(column.kind),
                validity: column.is_nullable().then(Vec::new),
            })
            .collect();
        Self { offsets: Vec::new(), received_at_us: Vec::new(), columns }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// These rows and those of `other` at `offsets`, in offset order. Both have the same columns.
    pub fn with(self, other: &Self, offsets: &[Offset]) -> Self {
        if offsets.is_empty() {
            return self;
        }
        let wanted = offsets.iter().filter_map(|offset| other.offsets.binary_search(offset).ok());
        let mut places: Vec<(Offset, &Self, usize)> = wanted.map(|row| (other.offsets[row], other, row)).collect();
        places.extend(self.offsets.iter().enumerate().map(|(row, &offset)| (offset, &self, row)));
        places.sort_by_key(|&(offset, ..)| offset);
        places.dedup_by_key(|&mut (offset, ..)| offset);
        let columns = self.columns.iter().map(ColumnData::emptied).collect();
        let mut rows = Self { offsets: Vec::new(), received_at_us: Vec::new(), columns };
        for (offset, from, row) in places {
            rows.offsets.push(offset);
            rows.received_at_us.push(from.received_at_us[row]);
            for (column, from) in rows.columns.iter_mut().zip(&from.columns) {
                column.push(from, row);
            }
        }
        rows
    }

    /// The bytes of all its values, without the spare room of its vectors.
    pub fn byte_len(&self) -> usize {
        let columns =
            self.columns.iter().map(|column| column.values.byte_len() + column.validity.as_ref().map_or(0, Vec::len));
        16 * self.len() + columns.sum::<usize>()
    }
}

impl Buffer for Rows {
    fn clear(&mut self) {
        self.offsets.clear();
        self.received_at_us.clear();
        for column in &mut self.columns {
            column.values.truncate(0);
            if let Some(validity) = &mut column.validity {
                validity.clear();
            }
        }
    }

    fn capacity_bytes(&self) -> usize {
        let columns = self
            .columns
            .iter()
            .map(|column| column.values.capacity_bytes() + column.validity.as_ref().map_or(0, Vec::capacity));
        (self.offsets.capacity() + self.received_at_us.capacity()) * 8 + columns.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(offsets: &[Offset], texts: &[&str]) -> Rows {
        let mut values = (Vec::new(), Vec::new());
        for text in texts {
            values.0.extend_from_slice(text.as_bytes());
            values.1.push(values.0.len() as u32);
        }
        let validity = Some(texts.iter().map(|text| !text.is_empty()).collect());
        let column = ColumnData { values: Values::Text { bytes: values.0, ends: values.1 }, validity };
        Rows { offsets: offsets.to_vec(), received_at_us: offsets.to_vec(), columns: vec![column] }
    }

    /// `ColumnData::push` has an arm for each kind, and the compiler does not ask for it.
    #[test]
    fn a_row_of_every_kind_is_copied() {
        for kind in Kind::ALL {
            let rows = |offset| {
                let mut values = Values::empty(kind);
                values.push_zero();
                let columns = vec![ColumnData { values, validity: None }];
                Rows { offsets: vec![offset], received_at_us: vec![offset], columns }
            };
            let both = rows(3).with(&rows(5), &[5]);
            assert_eq!((both.offsets, both.columns[0].values.len()), (vec![3, 5], 2), "{kind:?}");
        }
    }

    /// The byte budget is as true as these figures.
    #[test]
    fn bytes_are_those_of_offsets_times_and_values() {
        let width = |kind| match kind {
            // nothing but where it ends
            Kind::Text => 4,
            Kind::Timestamp | Kind::Integer | Kind::Float => 8,
            Kind::Boolean => 1,
            Kind::Uuid => 16,
        };
        for kind in Kind::ALL {
            for (validity, of_validity) in [(None, 0), (Some(vec![true; 3]), 3)] {
                let mut values = Values::empty(kind);
                assert!(values.is_empty());
                (0..3).for_each(|_| values.push_zero());
                assert!(!values.is_empty());
                let mut rows = Rows {
                    offsets: vec![1, 2, 3],
                    received_at_us: vec![1, 2, 3],
                    columns: vec![ColumnData { values, validity }],
                };
                assert_eq!(
                    (rows.byte_len(), rows.is_empty()),
                    (3 * 16 + 3 * width(kind) + of_validity, false),
                    "{kind:?}"
                );
                let (offsets, received) = (rows.offsets.capacity(), rows.received_at_us.capacity());
                let of_values = match &rows.columns[0].values {
                    Values::Text { bytes, ends } => bytes.capacity() + 4 * ends.capacity(),
                    Values::Timestamp(values) | Values::Integer(values) => 8 * values.capacity(),
                    Values::Float(values) => 8 * values.capacity(),
                    Values::Boolean(values) => values.capacity(),
                    Values::Uuid(values) => 16 * values.capacity(),
                };
                let validity = rows.columns[0].validity.as_ref().map_or(0, Vec::capacity);
                let capacity = 8 * (offsets + received) + of_values + validity;
                assert_eq!(rows.capacity_bytes(), capacity, "{kind:?}");
                rows.clear();
                assert_eq!((rows.byte_len(), rows.is_empty(), rows.capacity_bytes()), (0, true, capacity), "{kind:?}");
            }
        }
        let texts = rows(&[1, 2], &["ab", "c"]);
        assert_eq!(texts.byte_len(), 2 * 16 + 3 + 2 * 4 + 2);
        let Values::Text { bytes, ends } = &texts.columns[0].values else { unreachable!("a text") };
        let spare = bytes.capacity() + 4 * ends.capacity() + texts.columns[0].validity.as_ref().unwrap().capacity();
        assert_eq!(texts.capacity_bytes(), 8 * (texts.offsets.capacity() + texts.received_at_us.capacity()) + spare);
    }

    #[test]
    fn rows_that_one_database_lacks_are_put_where_they_belong() {
        let (stored, decoded) = (rows(&[3, 8], &["a", ""]), rows(&[3, 5, 8, 9], &["A", "b", "C", ""]));
        assert_eq!(stored.clone().with(&decoded, &[5, 9, 12]), rows(&[3, 5, 8, 9], &["a", "b", "", ""]));
        assert_eq!(stored.clone().with(&decoded, &[]), stored);
    }
}
