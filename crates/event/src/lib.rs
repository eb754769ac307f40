//! Events, without I/O: what a route says about them, how a record becomes a row of columns or a dead letter, and how test events
//! are made.

// bounds
pub mod kind;
pub mod limits;
// how an event becomes a row
pub mod definition;
pub mod route;
// from a record to a row, or to a dead letter
pub mod decode;
pub mod normalize;
pub mod record;
pub mod recycle;
pub mod reject;
pub mod rows;
pub mod uuid;
// page moves for trials
pub mod generate;
