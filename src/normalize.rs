//! A timestamp, text or integer -> UTC microseconds.
