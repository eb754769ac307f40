//! Bytes -> one row, or the reason why not.
