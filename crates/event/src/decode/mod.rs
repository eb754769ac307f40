//! Turns bytes into one row, or into the reason why not. A pure function of the record and the route: no clock and no I/O. A good
//! record costs no allocation except the growth of the columns. It never panics on a payload and never stops.
//!
//! Nearly every event is plain and takes the short way (`plain.rs`). The parser (`parsed.rs`) reads the rest. Both only find the
//! fields' values. Only this file decides how they become a row. If a record cannot become a row, its first fault is the reason,
//! in this order: the payload as a whole, a field that appears twice, then the route's columns in their order.
//!
//! A field that no route asks for never refuses a record that is JSON. Such a field may hold a number beyond every 64-bit type
//! (`1e999`, `18446744073709551616`), half of a surrogate pair, any depth of nesting, or a name that comes twice. In a field that
//! the route asks for, the first two are faults. A whole payload is refused if it is not UTF-8, or not one JSON value. There is
//! one exception: `NaN`, `Infinity` and `-Infinity` are accepted in fields that no route asks for, since Python's `json` writes
//! them.

mod fields;
mod parsed;
mod plain;
mod words;

use self::fields::{Found, Names};
use self::parsed::Parser;
use crate::limits::RECORD_BYTES_MAX;
use crate::normalize::{Zone, instant_of_integer, instant_of_text, instant_of_text_with_offset, received_at_us};
use crate::record::Record;
use crate::reject::Reason;
use crate::route::{Column, DefaultValue, Kind, Presence, Route, RouteError};
use crate::rows::{ColumnData, Rows, Values};
use crate::uuid::uuid_of_text;

/// Turns the records of one route into rows.
#[derive(Clone)]
pub struct Decoder {
    zone: Zone,
    fields: Vec<Field>,
    names: Names,
    /// What the payload holds of each field. Between records it is empty and only keeps its allocation.
    found: Vec<Found<'static>>,
    parser: Parser,
}

/// What the route asks about one JSON field.
#[derive(Clone)]
struct Field {
    name: String,
    kind: Kind,
    absent: Absent,
}

/// The meaning of a missing field. An explicit null means the same only for [`Absent::Null`].
#[derive(Clone)]
enum Absent {
    Refused,
    Null,
    Text(String),
    Timestamp(i64),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Uuid(u128),
}

impl Decoder {
    /// A decoder of `route`, which must be validated.
    ///
    /// # Errors
    /// An unknown time zone, or a default that its column cannot hold.
    pub fn new(route: &Route) -> Result<Self, RouteError> {
        let invalid = |reason| RouteError::Invalid { route: route.name.clone(), reason };
        let zone = route.timezone.parse().map_err(|_| {
            invalid(format!("timezone {:?} is not an IANA name such as UTC or Asia/Seoul", route.timezone))
        })?;
        let field = |column: &Column| {
            let absent =
                absent_value(column).map_err(|why| invalid(format!("column {}: the default {why}", column.name)))?;
            Ok(Field { name: column.field.clone(), kind: column.kind, absent })
        };
        Ok(Self {
            zone,
            fields: route.columns.iter().map(field).collect::<Result<_, _>>()?,
            names: Names::new(route.columns.iter().map(|column| column.field.clone())),
            found: Vec::new(),
            parser: Parser::new(),
        })
    }

    /// Appends the one row of `record` to `rows`, which must have the route's columns.
    ///
    /// # Errors
    /// The reason why the record cannot become a row. `rows` is then unchanged.
    pub fn decode(&mut self, record: Record<'_>, rows: &mut Rows) -> Result<(), Reason> {
        debug_assert_eq!(rows.columns.len(), self.fields.len());
        let payload = record.payload.ok_or(Reason::NullPayload)?;
        if payload.len() > RECORD_BYTES_MAX {
            return Err(Reason::TooLarge { bytes: payload.len() });
        }
        let Self { zone, fields, names, found, parser } = self;
        let mut values: Vec<Found<'_>> = std::mem::take(found);
        values.resize(fields.len(), Found::Missing);
        let read = match plain::read(payload, names, &mut values) {
            Some(()) => Ok(()),
            None => {
                values.fill(Found::Missing);
                parser.read(payload, names, &mut values)
            }
        };
        let outcome = match read {
            Ok(()) => append_columns(fields, &values, *zone, &mut rows.columns),
            Err(fault) => Err(fault.reason(fields)),
        };
        *found = emptied(values);
        match outcome {
            Ok(()) => {
                rows.offsets.push(record.offset);
                rows.received_at_us.push(received_at_us(record.timestamp_ms));
            }
            Err(_) => truncate_columns(&mut rows.columns, rows.offsets.len()),
        }
        outcome
    }
}

/// The allocation of `values`, for the next record.
fn emptied(mut values: Vec<Found<'_>>) -> Vec<Found<'static>> {
    values.clear();
    // the standard library collects in place if the layouts are equal
    values.into_iter().map(|_| Found::Missing).collect()
}

/// The meaning of a missing field of `column`, or why its default is not valid.
fn absent_value(column: &Column) -> Result<Absent, &'static str> {
    let default = match &column.presence {
        Presence::Required => return Ok(Absent::Refused),
        Presence::Optional => return Ok(Absent::Null),
        Presence::Default(default) => default,
    };
    match (column.kind, default) {
        (Kind::Text, DefaultValue::Text(text)) if text.contains('\0') => Err("holds a NUL character"),
        (Kind::Text, DefaultValue::Text(text)) => Ok(Absent::Text(text.clone())),
        (Kind::Timestamp, DefaultValue::Text(text)) => instant_of_text_with_offset(text).map(Absent::Timestamp),
        (Kind::Timestamp, DefaultValue::Integer(epoch)) => instant_of_integer(*epoch).map(Absent::Timestamp),
        (Kind::Integer, DefaultValue::Integer(integer)) => Ok(Absent::Integer(*integer)),
        (Kind::Float, DefaultValue::Float(float)) if !float.is_finite() => Err("is not a finite number"),
        (Kind::Float, DefaultValue::Float(float)) => Ok(Absent::Float(*float)),
        (Kind::Float, DefaultValue::Integer(integer)) => Ok(Absent::Float(*integer as f64)),
        (Kind::Boolean, DefaultValue::Boolean(boolean)) => Ok(Absent::Boolean(*boolean)),
        (Kind::Uuid, DefaultValue::Text(text)) => uuid_of_text(text.as_bytes()).map(Absent::Uuid),
        _ => Err("is not of the column's kind"),
    }
}

fn append_columns(fields: &[Field], found: &[Found<'_>], zone: Zone, columns: &mut [ColumnData]) -> Result<(), Reason> {
    for ((field, &found), column) in fields.iter().zip(found).zip(columns) {
        field.append(found, zone, column)?;
    }
    Ok(())
}

impl Field {
    /// Appends the value of `found` to the field's column.
    #[inline]
    fn append(&self, found: Found<'_>, zone: Zone, column: &mut ColumnData) -> Result<(), Reason> {
        match (&mut column.values, found) {
            (_, Found::Missing) => return self.append_absent(column),
            (_, Found::Null) => {
                if !matches!(self.absent, Absent::Null) {
                    return Err(Reason::Missing { field: self.name.clone() });
                }
                return self.append_absent(column);
            }
            (Values::Text { bytes, ends }, Found::Text(text)) => push_text(bytes, ends, text),
            (Values::Text { .. }, Found::TextWithNul(_)) => {
                return Err(Reason::NulInText { field: self.name.clone() });
            }
            (Values::Text { .. } | Values::Uuid(_), Found::LoneSurrogate) => {
                return Err(Reason::LoneSurrogate { field: self.name.clone() });
            }
            (Values::Timestamp(values), found) => values.push(self.instant(found, zone)?),
            (Values::Integer(_) | Values::Float(_), Found::NumberTooLarge) => {
                return Err(Reason::NumberTooLarge { field: self.name.clone() });
            }
            (Values::Integer(values), Found::Integer(integer)) => values.push(integer),
            (Values::Integer(values), Found::Unsigned(integer)) => {
                values.push(i64::try_from(integer).map_err(|_| Reason::OutOfRange { field: self.name.clone() })?);
            }
            (Values::Float(values), Found::Float(float)) => {
                debug_assert!(float.is_finite());
                values.push(float);
            }
            // The nearest double, as for any number with more digits than a double has.
            (Values::Float(values), Found::Integer(integer)) => values.push(integer as f64),
            (Values::Float(values), Found::Unsigned(integer)) => values.push(integer as f64),
            (Values::Boolean(values), Found::Boolean(boolean)) => values.push(boolean),
            (Values::Uuid(values), Found::Text(text) | Found::TextWithNul(text)) => {
                values.push(uuid_of_text(text).map_err(|why| Reason::BadUuid { field: self.name.clone(), why })?);
            }
            _ => return Err(self.wrong_type()),
        }
        push_validity(column, true);
        Ok(())
    }

    /// Appends the value of a missing field.
    fn append_absent(&self, column: &mut ColumnData) -> Result<(), Reason> {
        match (&mut column.values, &self.absent) {
            (_, Absent::Refused) => return Err(Reason::Missing { field: self.name.clone() }),
            (values, Absent::Null) => values.push_zero(),
            (Values::Text { bytes, ends }, Absent::Text(text)) => push_text(bytes, ends, text.as_bytes()),
            (Values::Timestamp(values), Absent::Timestamp(instant_us)) => values.push(*instant_us),
            (Values::Integer(values), Absent::Integer(integer)) => values.push(*integer),
            (Values::Float(values), Absent::Float(float)) => values.push(*float),
            (Values::Boolean(values), Absent::Boolean(boolean)) => values.push(*boolean),
            (Values::Uuid(values), Absent::Uuid(uuid)) => values.push(*uuid),
            _ => unreachable!("the rows are of another route"),
        }
        push_validity(column, !matches!(self.absent, Absent::Null));
        Ok(())
    }

    fn instant(&self, found: Found<'_>, zone: Zone) -> Result<i64, Reason> {
        let instant = match found {
            Found::Text(text) | Found::TextWithNul(text) => instant_of_text(text, zone),
            Found::Integer(epoch) => instant_of_integer(epoch),
            // No database holds a time past i64::MAX microseconds, nor i64::MAX itself.
            Found::Unsigned(epoch) => instant_of_integer(i64::try_from(epoch).unwrap_or(i64::MAX)),
            Found::NumberTooLarge => return Err(Reason::NumberTooLarge { field: self.name.clone() }),
            Found::LoneSurrogate => return Err(Reason::LoneSurrogate { field: self.name.clone() }),
            Found::Float(_) => Err("is a number with a fraction or an exponent; write an integer"),
            _ => return Err(self.wrong_type()),
        };
        instant.map_err(|why| Reason::BadTime { field: self.name.clone(), why })
    }

    #[cold]
    fn wrong_type(&self) -> Reason {
        Reason::WrongType { field: self.name.clone(), expected: self.kind.form().expected }
    }
}

fn push_text(bytes: &mut Vec<u8>, ends: &mut Vec<u32>, text: &[u8]) {
    bytes.extend_from_slice(text);
    debug_assert!(u32::try_from(bytes.len()).is_ok(), "a batch's text grew past its offsets");
    ends.push(bytes.len() as u32);
}

fn push_validity(column: &mut ColumnData, is_valid: bool) {
    if let Some(validity) = &mut column.validity {
        validity.push(is_valid);
    }
}

/// Removes what a refused record left in the columns.
#[cold]
fn truncate_columns(columns: &mut [ColumnData], row_count: usize) {
    for column in columns {
        if let Some(validity) = &mut column.validity {
            validity.truncate(row_count);
        }
        column.values.truncate(row_count);
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::footprint_route;
