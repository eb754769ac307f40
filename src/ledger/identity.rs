//! Makes the ids of ledgers and owners, and the names of connections. In the ledger's rows an owner is a UUID.

use footprint_protocol::ledger::{LedgerId, OwnerId};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

/// The id of the ledger in one database of a PostgreSQL cluster.
pub fn ledger_id(system_identifier: &str, database: &str) -> LedgerId {
    LedgerId(xxh3_64(format!("{system_identifier}\n{database}").as_bytes()))
}

/// A new owner: the process's instance in the upper half, and a random number in the lower half. A take-over finds the connections of the
/// previous owner by the upper half, because it is part of their application name.
pub fn new_owner(instance: u64) -> OwnerId {
    owner_of(Uuid::from_u64_pair(instance, rand::random()))
}

/// An owner as the ledger's rows hold it.
pub fn uuid_of(owner: OwnerId) -> Uuid {
    Uuid::from_u128(owner.0)
}

/// The owner that a row holds.
pub fn owner_of(uuid: Uuid) -> OwnerId {
    OwnerId(uuid.as_u128())
}

/// The application name of every connection of an instance.
pub fn application_name(instance: u64) -> String {
    format!("footprint {}", &Uuid::from_u64_pair(instance, 0).to_string()[..18])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Query ids in ClickHouse contain the ledger's id. If the id of the same ledger changed, an old insert would not be ended.
    #[test]
    fn a_ledger_has_the_same_id_in_every_version() {
        assert_eq!(ledger_id("7123456789", "footprint").to_string(), "0dcec3448ed0ecdb");
        assert_ne!(ledger_id("71", "23"), ledger_id("712", "3"));
    }

    #[test]
    fn the_connections_of_an_owner_bear_the_upper_half_of_its_uuid() {
        let owner = new_owner(0x0123_4567_89ab_cdef);
        let uuid = uuid_of(owner);
        assert_eq!((owner_of(uuid), uuid.as_u64_pair().0), (owner, 0x0123_4567_89ab_cdef));
        assert_eq!(application_name(0x0123_4567_89ab_cdef), "footprint 01234567-89ab-cdef");
        assert!(uuid.to_string().starts_with("01234567-89ab-cdef-"));
        assert_ne!(new_owner(1), new_owner(1));
    }
}
