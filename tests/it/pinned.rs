//! Whatever the settings of a role, a database or a profile say: what the protocol depends on is pinned, and what cannot be
//! pinned is asked and named.

mod clickhouse;
mod postgres;
