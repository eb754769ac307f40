//! The real program against real servers: what the demo, the soak, the kills and the end-to-end benchmark are made of.

pub mod end_to_end;
pub mod kills;
pub mod trial;
