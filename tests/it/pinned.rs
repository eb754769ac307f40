//! The settings of a role, a database or a profile do not matter: settings that the protocol depends on are pinned, and those
//! that cannot be pinned are asked for and named.

mod clickhouse;
mod postgres;
