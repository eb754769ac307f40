//! Bounds of a record, a route and a dead letter.

/// Bytes of a record's payload, at most. A larger record becomes a dead letter.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Characters of a database's message that a dead letter keeps.
pub(crate) const REFUSAL_CHARS_MAX: usize = 1_000;
/// Columns of one route, at most.
pub const ROUTE_COLUMNS_MAX: usize = 100;
