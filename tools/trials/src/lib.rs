//! The real program against real servers: what the demo, the soak and the kills are made of.

#![deny(clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod kills;
pub mod trial;
