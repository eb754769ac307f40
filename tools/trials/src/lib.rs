//! The real program against real servers: the parts of the demo, the soak, the kills and the end-to-end benchmark.

pub mod end_to_end;
pub mod kills;
pub mod trial;
