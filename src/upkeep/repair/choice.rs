//! Which row is inserted in place of a missing one. Pure.
//!
//! Kafka's record counts, decoded by the definition that claimed it. The ledger does not keep which definition that was, once the range is
//! stored. The other database's row shows it: it has the content that this definition gives. If no definition gives that content, one of
//! the two is wrong, and nobody but a person can say which.

/// Where the row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Kafka's record, decoded by the definition of this number.
    Kafka(usize),
    /// The first copy in the other database.
    Other,
    /// Nothing is inserted.
    Leave(&'static str),
}

/// Chooses. `kafka`: the content that each definition gives the record, the present definition first; none where it gives no row. `None`:
/// Kafka no longer has the record. `other`: the content of each copy that the other database holds.
pub(super) fn choose(kafka: Option<&[Option<u64>]>, other: &[u64]) -> Choice {
    match (kafka, other) {
        (None, []) => Choice::Leave("neither kafka nor the other database has it"),
        (None, [first, more @ ..]) if more.iter().all(|copy| copy == first) => Choice::Other,
        (None, _) => Choice::Leave("kafka no longer has it, and the copies in the other database differ"),
        (Some([Some(_), ..]), []) => Choice::Kafka(0),
        (Some(_), []) => Choice::Leave("its record makes no row"),
        (Some(contents), copies) => {
            let agrees = |content: &Option<u64>| content.is_some_and(|content| copies.contains(&content));
            match contents.iter().position(agrees) {
                Some(definition) => Choice::Kafka(definition),
                None => Choice::Leave("the other database holds another row than its record makes; see which is right"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_counts_and_the_other_database_names_the_definition() {
        assert_eq!(choose(Some(&[Some(1), Some(2)]), &[]), Choice::Kafka(0));
        assert_eq!(choose(Some(&[Some(1), Some(2)]), &[1]), Choice::Kafka(0));
        assert_eq!(choose(Some(&[Some(1), Some(2)]), &[2]), Choice::Kafka(1));
        assert_eq!(choose(Some(&[None, Some(2)]), &[2, 2]), Choice::Kafka(1));
    }

    #[test]
    fn the_other_database_counts_only_if_kafka_has_no_record() {
        assert_eq!(choose(None, &[7]), Choice::Other);
        assert_eq!(choose(None, &[7, 7]), Choice::Other);
    }

    #[test]
    fn what_is_not_certain_is_left() {
        let left = |kafka: Option<&[Option<u64>]>, other: &[u64]| matches!(choose(kafka, other), Choice::Leave(_));
        assert!(left(None, &[]) && left(None, &[7, 8]));
        assert!(left(Some(&[None, Some(2)]), &[]), "a bad record is a dead letter");
        assert!(left(Some(&[Some(1), Some(2)]), &[3]), "neither is known to be right");
    }
}
