//! The real program against real servers: what the demo, the soak and the kills are made of.

pub mod kills;
pub mod trial;
