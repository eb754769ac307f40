//! Bytes -> one row, or the reason why not. A pure function of the record and the route: no clock, no I/O, and no allocation
//! for a good record beyond the growth of the columns. It never panics on a payload and never stops.
//!
//! simd-json parses a copy of the payload in place into a tape (a flat list of its values), in buffers kept from record to
//! record. Where a record cannot become a row, its first fault is the reason, in this order: the payload as a whole, a field
//! that appears twice, then the route's columns in their order.
//!
//! What is JSON and still refused, whichever field it stands in, because the parser reads the whole payload: nesting beyond
//! [`JSON_DEPTH_MAX`], numbers beyond every 64-bit type (`1e999`, `18446744073709551616`), lone surrogates.

use serde::de::IgnoredAny;
use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape};

use crate::batch::{ColumnData, Rows, Values};
use crate::chunk::Record;
use crate::limits::{DECODER_VALUES_KEPT_MAX, JSON_DEPTH_MAX, RECORD_BYTES_MAX};
use crate::normalize::{Zone, instant_of_integer, instant_of_text, instant_of_text_with_offset, received_at_us};
use crate::reject::Reason;
use crate::route::{Column, DefaultValue, Kind, Presence, Route, RouteError};

/// Turns the records of one route into rows.
pub struct Decoder {
    zone: Zone,
    fields: Vec<Field>,
    /// Which field stood at each place of an object lately: events of one producer look alike.
    expected: Vec<usize>,
    /// Where the tape holds each field's value; 0, the object itself, means that the field is missing.
    places: Vec<usize>,
    /// The payload's copy, which the parser overwrites, and its padding.
    scratch: Vec<u8>,
    buffers: Buffers,
    /// Empty between records: only its allocation lives on.
    tape: Tape<'static>,
}

/// What the route asks of one JSON field.
struct Field {
    name: String,
    kind: Kind,
    absent: Absent,
}

/// What a missing field means; an explicit null means the same only for [`Absent::Null`].
enum Absent {
    Refused,
    Null,
    Text(String),
    Timestamp(i64),
    Integer(i64),
    Float(f64),
    Boolean(bool),
}

/// A value on its way from the tape to its column.
enum Value<'a> {
    Null,
    Text(&'a str),
    Timestamp(i64),
    Integer(i64),
    Float(f64),
    Boolean(bool),
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
            expected: Vec::new(),
            places: Vec::new(),
            scratch: Vec::new(),
            buffers: new_buffers(),
            tape: Tape(Vec::new()),
        })
    }

    /// Appends the one row of `record` to `rows`, which must have the route's columns.
    ///
    /// # Errors
    /// Why the record cannot become a row; `rows` is then as it was.
    pub fn decode(&mut self, record: Record<'_>, rows: &mut Rows) -> Result<(), Reason> {
        debug_assert_eq!(rows.columns.len(), self.fields.len());
        let payload = record.payload.ok_or(Reason::NullPayload)?;
        if payload.len() > RECORD_BYTES_MAX {
            return Err(Reason::TooLarge { bytes: payload.len() });
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(payload);
        self.scratch.resize(payload.len() + INPUT_PADDING, b' ');

        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape_padded(&mut self.scratch, payload.len(), &mut self.buffers, &mut tape);
        let outcome = match parsed {
            Ok(()) => find_fields(&tape.0, &self.fields, &mut self.expected, &mut self.places)
                .and_then(|()| append_columns(&tape.0, &self.fields, &self.places, self.zone, &mut rows.columns)),
            Err(error) => Err(refusal(payload, error.error())),
        };
        self.tape = tape.reset();
        if self.tape.0.capacity() > DECODER_VALUES_KEPT_MAX {
            self.give_memory_back();
        }

        match outcome {
            Ok(()) => {
                rows.offsets.push(record.offset);
                rows.received_at_us.push(received_at_us(record.timestamp_ms));
            }
            Err(_) => truncate_columns(&mut rows.columns, rows.offsets.len()),
        }
        outcome
    }

    /// One record of many values must not hold its memory for ever.
    #[cold]
    fn give_memory_back(&mut self) {
        self.scratch = Vec::new();
        self.buffers = new_buffers();
        self.tape = Tape(Vec::new());
    }
}

fn new_buffers() -> Buffers {
    Buffers::with_max_depth(0, JSON_DEPTH_MAX)
}

/// What a missing field of `column` means, or why its default is none.
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
        _ => Err("is not of the column's kind"),
    }
}

/// Why the parser refused `payload`. Slow and rare, so it asks again, for the reason that helps a person most.
#[cold]
fn refusal(payload: &[u8], fault: &ErrorType) -> Reason {
    if std::str::from_utf8(payload).is_err() {
        return Reason::NotUtf8;
    }
    if serde_json::from_slice::<IgnoredAny>(payload).is_err() {
        return Reason::NotJson;
    }
    match fault {
        ErrorType::DepthLimitExceeded => Reason::TooDeep,
        ErrorType::InvalidNumber => Reason::NumberTooLarge,
        ErrorType::InvalidUnicodeCodepoint | ErrorType::InvalidUnicodeEscape => Reason::LoneSurrogate,
        _ => Reason::NotJson,
    }
}

/// Notes in `places` where `tape` holds each of `fields`.
fn find_fields(
    tape: &[Node<'_>],
    fields: &[Field],
    expected: &mut Vec<usize>,
    places: &mut Vec<usize>,
) -> Result<(), Reason> {
    let Some(&Node::Object { len: member_count, .. }) = tape.first() else {
        return Err(Reason::NotObject);
    };
    places.clear();
    places.resize(fields.len(), 0);
    let mut at = 1;
    for member in 0..member_count {
        let Node::String(name) = tape[at] else { unreachable!("a member of an object without a name") };
        let place = at + 1;
        at = place
            + match tape[place] {
                Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
                Node::String(_) | Node::Static(_) => 1,
            };
        let Some(field) = field_index(fields, expected, member, name) else { continue };
        if places[field] != 0 {
            return Err(Reason::Duplicate { field: fields[field].name.clone() });
        }
        places[field] = place;
    }
    Ok(())
}

/// Which field `name` is, if any: the one that stood at this place last time, or else searched for.
fn field_index(fields: &[Field], expected: &mut Vec<usize>, member: usize, name: &str) -> Option<usize> {
    if let Some(&guess) = expected.get(member)
        && fields[guess].name == name
    {
        return Some(guess);
    }
    let found = fields.iter().position(|field| field.name == name)?;
    // An object may have many members nobody asked for; only as many places as fields are remembered.
    if member < fields.len() {
        if expected.len() <= member {
            expected.resize(member + 1, 0);
        }
        expected[member] = found;
    }
    Some(found)
}

fn append_columns(
    tape: &[Node<'_>],
    fields: &[Field],
    places: &[usize],
    zone: Zone,
    columns: &mut [ColumnData],
) -> Result<(), Reason> {
    for ((field, &place), column) in fields.iter().zip(places).zip(columns) {
        let value = if place == 0 { field.absent()? } else { field.read(&tape[place], zone)? };
        push(column, value);
    }
    Ok(())
}

impl Field {
    /// The value of a missing field.
    fn absent(&self) -> Result<Value<'_>, Reason> {
        match &self.absent {
            Absent::Refused => Err(Reason::Missing { field: self.name.clone() }),
            Absent::Null => Ok(Value::Null),
            Absent::Text(text) => Ok(Value::Text(text)),
            Absent::Timestamp(instant_us) => Ok(Value::Timestamp(*instant_us)),
            Absent::Integer(integer) => Ok(Value::Integer(*integer)),
            Absent::Float(float) => Ok(Value::Float(*float)),
            Absent::Boolean(boolean) => Ok(Value::Boolean(*boolean)),
        }
    }

    /// The value at `node`.
    fn read<'a>(&self, node: &Node<'a>, zone: Zone) -> Result<Value<'a>, Reason> {
        match (self.kind, node) {
            (_, Node::Static(StaticNode::Null)) => match self.absent {
                Absent::Null => Ok(Value::Null),
                _ => Err(Reason::Missing { field: self.name.clone() }),
            },
            (Kind::Text, Node::String(text)) => {
                if text.as_bytes().contains(&0) {
                    return Err(Reason::NulInText { field: self.name.clone() });
                }
                Ok(Value::Text(text))
            }
            (Kind::Timestamp, node) => self.read_timestamp(node, zone).map(Value::Timestamp),
            (Kind::Integer, &Node::Static(StaticNode::I64(integer))) => Ok(Value::Integer(integer)),
            (Kind::Integer, &Node::Static(StaticNode::U64(integer))) => {
                i64::try_from(integer).map(Value::Integer).map_err(|_| Reason::OutOfRange { field: self.name.clone() })
            }
            (Kind::Float, &Node::Static(StaticNode::F64(float))) => {
                debug_assert!(float.is_finite());
                Ok(Value::Float(float))
            }
            // The nearest double, as for any number with more digits than a double has.
            (Kind::Float, &Node::Static(StaticNode::I64(integer))) => Ok(Value::Float(integer as f64)),
            (Kind::Float, &Node::Static(StaticNode::U64(integer))) => Ok(Value::Float(integer as f64)),
            (Kind::Boolean, &Node::Static(StaticNode::Bool(boolean))) => Ok(Value::Boolean(boolean)),
            _ => Err(self.wrong_type()),
        }
    }

    fn read_timestamp(&self, node: &Node<'_>, zone: Zone) -> Result<i64, Reason> {
        let instant = match *node {
            Node::String(text) => instant_of_text(text, zone),
            Node::Static(StaticNode::I64(epoch)) => instant_of_integer(epoch),
            // No database holds what lies past i64::MAX microseconds, nor i64::MAX itself.
            Node::Static(StaticNode::U64(epoch)) => instant_of_integer(i64::try_from(epoch).unwrap_or(i64::MAX)),
            Node::Static(StaticNode::F64(_)) => Err("is a number with a fraction or an exponent; write an integer"),
            _ => return Err(self.wrong_type()),
        };
        instant.map_err(|why| Reason::BadTime { field: self.name.clone(), why })
    }

    #[cold]
    fn wrong_type(&self) -> Reason {
        let expected = match self.kind {
            Kind::Text => "text",
            Kind::Timestamp => "a time, RFC 3339 text or an integer",
            Kind::Integer => "an integer",
            Kind::Float => "a number",
            Kind::Boolean => "true or false",
        };
        Reason::WrongType { field: self.name.clone(), expected }
    }
}

/// Appends one value to a column of its kind.
fn push(column: &mut ColumnData, value: Value<'_>) {
    if let Some(validity) = &mut column.validity {
        validity.push(!matches!(value, Value::Null));
    }
    match (&mut column.values, value) {
        (Values::Text { bytes, ends }, Value::Text(text)) => {
            bytes.extend_from_slice(text.as_bytes());
            debug_assert!(u32::try_from(bytes.len()).is_ok(), "a batch's text grew past its offsets");
            ends.push(bytes.len() as u32);
        }
        (Values::Timestamp(values), Value::Timestamp(value)) => values.push(value),
        (Values::Integer(values), Value::Integer(value)) => values.push(value),
        (Values::Float(values), Value::Float(value)) => values.push(value),
        (Values::Boolean(values), Value::Boolean(value)) => values.push(value),
        (Values::Text { bytes, ends }, Value::Null) => ends.push(bytes.len() as u32),
        (Values::Timestamp(values) | Values::Integer(values), Value::Null) => values.push(0),
        (Values::Float(values), Value::Null) => values.push(0.0),
        (Values::Boolean(values), Value::Null) => values.push(false),
        _ => unreachable!("the rows are of another route"),
    }
}

/// Takes back what a refused record left in the columns.
#[cold]
fn truncate_columns(columns: &mut [ColumnData], row_count: usize) {
    for column in columns {
        if let Some(validity) = &mut column.validity {
            validity.truncate(row_count);
        }
        match &mut column.values {
            Values::Text { bytes, ends } => {
                ends.truncate(row_count);
                bytes.truncate(ends.last().map_or(0, |&end| end as usize));
            }
            Values::Timestamp(values) | Values::Integer(values) => values.truncate(row_count),
            Values::Float(values) => values.truncate(row_count),
            Values::Boolean(values) => values.truncate(row_count),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::footprint_route;
