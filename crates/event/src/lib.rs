//! Events, without I/O: what a route says of them, how a record is decoded into a row of columns or becomes a dead letter, and
//! how events are made up to try it all with.

// bounds
pub mod kind;
pub mod limits;
// what becomes of an event
pub mod definition;
pub mod route;
// from a record to a row, or to a dead letter
pub mod decode;
pub mod normalize;
pub mod record;
pub mod recycle;
pub mod reject;
pub mod rows;
// page moves to try it with
pub mod generate;
