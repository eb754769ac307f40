//! The parser's way: simd-json parses a copy of the payload in place into a tape (a flat list of its values), in buffers kept
//! from record to record. It takes every JSON there is, save what the head of `decode.rs` lists.

use serde::de::IgnoredAny;
use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape};

use super::Field;
use super::fields::{Found, Names};
use crate::limits::{DECODER_VALUES_KEPT_MAX, JSON_DEPTH_MAX};
use crate::reject::Reason;

/// The parser and its buffers.
pub(super) struct Parser {
    /// The payload's copy, which the parser overwrites, and its padding.
    scratch: Vec<u8>,
    buffers: Buffers,
    /// Empty between records: only its allocation lives on.
    tape: Tape<'static>,
}

/// Why no values were found.
pub(super) enum Fault {
    /// The payload as a whole.
    Payload(Reason),
    /// A field that appears twice.
    Duplicate { field: usize },
}

impl Fault {
    #[cold]
    pub(super) fn reason(self, fields: &[Field]) -> Reason {
        match self {
            Self::Payload(reason) => reason,
            Self::Duplicate { field } => Reason::Duplicate { field: fields[field].name.clone() },
        }
    }
}

impl Parser {
    /// Empty buffers.
    pub(super) fn new() -> Self {
        Self { scratch: Vec::new(), buffers: new_buffers(), tape: Tape(Vec::new()) }
    }

    /// Notes in `found`, which must hold nothing yet, the value of each of `names` that the object `payload` holds.
    pub(super) fn read<'a>(
        &'a mut self,
        payload: &[u8],
        names: &mut Names,
        found: &mut [Found<'a>],
    ) -> Result<(), Fault> {
        self.scratch.clear();
        self.scratch.extend_from_slice(payload);
        self.scratch.resize(payload.len() + INPUT_PADDING, b' ');
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape_padded(&mut self.scratch, payload.len(), &mut self.buffers, &mut tape);
        let outcome = match parsed {
            Ok(()) => find_fields(&tape.0, names, found),
            Err(error) => Err(Fault::Payload(refusal(payload, error.error()))),
        };
        self.tape = tape.reset();
        outcome
    }

    /// One record of many values must not hold its memory for ever.
    pub(super) fn give_memory_back(&mut self) {
        if self.tape.0.capacity() > DECODER_VALUES_KEPT_MAX {
            *self = Self::new();
        }
    }
}

fn new_buffers() -> Buffers {
    Buffers::with_max_depth(0, JSON_DEPTH_MAX)
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

fn find_fields<'a>(tape: &[Node<'a>], names: &mut Names, found: &mut [Found<'a>]) -> Result<(), Fault> {
    let Some(&Node::Object { len: member_count, .. }) = tape.first() else {
        return Err(Fault::Payload(Reason::NotObject));
    };
    let mut at = 1;
    for member in 0..member_count {
        let Node::String(name) = tape[at] else { unreachable!("a member of an object without a name") };
        let value = tape[at + 1];
        at += 2;
        if let Node::Object { count, .. } | Node::Array { count, .. } = value {
            at += count;
        }
        let Some(field) = names.find(member, name.as_bytes()) else { continue };
        if found[field] != Found::Missing {
            return Err(Fault::Duplicate { field });
        }
        found[field] = match value {
            Node::Object { .. } | Node::Array { .. } => Found::Nested,
            Node::String(text) if text.contains('\0') => Found::TextWithNul(text.as_bytes()),
            Node::String(text) => Found::Text(text.as_bytes()),
            Node::Static(StaticNode::Null) => Found::Null,
            Node::Static(StaticNode::Bool(boolean)) => Found::Boolean(boolean),
            Node::Static(StaticNode::I64(integer)) => Found::Integer(integer),
            Node::Static(StaticNode::U64(integer)) => Found::Unsigned(integer),
            Node::Static(StaticNode::F64(float)) => Found::Float(float),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RECORD_BYTES_MAX;

    #[test]
    fn a_record_of_many_values_does_not_hold_its_memory_for_ever() {
        let (mut parser, mut names) = (Parser::new(), Names::new(["a".to_owned()]));
        let payload = format!("[1{}]", ",1".repeat(RECORD_BYTES_MAX / 2 - 2));
        assert!(parser.read(payload.as_bytes(), &mut names, &mut [Found::Missing]).is_err());
        assert!(parser.tape.0.capacity() > DECODER_VALUES_KEPT_MAX);
        parser.give_memory_back();
        assert_eq!((parser.tape.0.capacity(), parser.scratch.capacity()), (0, 0));
        let mut read = || {
            let mut found = [Found::Missing];
            assert!(parser.read(br#"{"a":1}"#, &mut names, &mut found).is_ok());
            assert!(matches!(found, [Found::Integer(1) | Found::Unsigned(1)]));
            parser.give_memory_back();
            parser.tape.0.as_ptr()
        };
        let kept = read();
        assert_eq!(read(), kept, "the tape's memory is used again");
    }
}
