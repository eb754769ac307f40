//! Bounds of events: of a record, of a route, of a dead letter.

/// A record's payload above this becomes a dead letter, bytes.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Characters of a database's message that a dead letter keeps.
pub(crate) const REFUSAL_CHARS_MAX: usize = 1_000;
/// Columns of one route, at most.
pub(crate) const ROUTE_COLUMNS_MAX: usize = 100;
