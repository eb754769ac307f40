//! The statements that a person may run about a doubled or a changed row. They are shown and never run. Pure.

use footprint_event::route::{Route, quoted};

use crate::store::clickhouse::native;
use crate::upkeep::verify::{Finding, FindingKind, Place};

/// What to do about one finding.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Remedy {
    /// Where to run the statement: `postgres` or `clickhouse`.
    pub place: Place,
    /// One statement.
    pub statement: String,
    /// What to do afterwards. Empty: nothing.
    pub then: &'static str,
}

/// Inserts the right row in place of those removed.
const REPAIR: &str = "footprint verify --repair, which inserts the row once from kafka, or from the other database: one of them must hold it";

/// The statement about a finding. None: no statement helps, or nobody but a person can say which row is right.
pub fn remedy(route: &Route, database: &str, finding: &Finding) -> Option<Remedy> {
    let Finding { source, partition, offset, .. } = *finding;
    let identity = format!("kafka_source = {source} and kafka_partition = {partition} and kafka_offset = {offset}");
    let (table, identity) = match finding.place {
        Place::Postgres => (quoted(&route.postgres_table), identity),
        Place::Clickhouse => (native::table(route, database), identity),
        // a route's name is a plain identifier (Route::validated), so it cannot end its quotes
        Place::DeadLetters => ("dead_letters".to_owned(), format!("route = '{}' and {identity}", route.name)),
        Place::Either | Place::Log => return None,
    };
    let (statement, then) = match (finding.kind, finding.place) {
        // ClickHouse cannot name one of two equal rows, so all copies go and one comes back
        (FindingKind::Doubled | FindingKind::Differing, Place::Clickhouse) => {
            (format!("alter table {table} delete where {identity} settings mutations_sync = 2"), REPAIR)
        }
        (FindingKind::Doubled, place) => {
            // a record may have a dead letter for each database
            let each = if place == Place::DeadLetters { " group by sink" } else { "" };
            let first = format!("select min(ctid) from {table} where {identity}{each}");
            (format!("delete from {table} where {identity} and ctid not in ({first})"), "")
        }
        (FindingKind::Differing, _) => (format!("delete from {table} where {identity}"), REPAIR),
        _ => return None,
    };
    Some(Remedy { place: finding.place, statement, then })
}

#[cfg(test)]
mod tests {
    use footprint_event::route::Route;

    use super::*;

    fn of(kind: FindingKind, place: Place) -> Option<Remedy> {
        let route = Route {
            name: "visits".into(),
            topic: "visits".into(),
            postgres_table: "site.visits".into(),
            clickhouse_table: "visits".into(),
            timezone: "UTC".into(),
            columns: vec![],
        };
        remedy(&route, "prd", &Finding { kind, place, source: 7, partition: 3, offset: 9, end_offset: None })
    }

    #[test]
    fn a_duplicate_and_a_changed_row_have_a_statement_in_each_place() {
        let statement = |kind, place| of(kind, place).unwrap().statement;
        let identity = "kafka_source = 7 and kafka_partition = 3 and kafka_offset = 9";
        assert_eq!(
            statement(FindingKind::Doubled, Place::Postgres),
            format!(
                "delete from \"site\".\"visits\" where {identity} and ctid not in \
                 (select min(ctid) from \"site\".\"visits\" where {identity})"
            )
        );
        let letter = format!("route = 'visits' and {identity}");
        assert_eq!(
            statement(FindingKind::Doubled, Place::DeadLetters),
            format!(
                "delete from dead_letters where {letter} and ctid not in \
                 (select min(ctid) from dead_letters where {letter} group by sink)"
            )
        );
        assert_eq!(
            statement(FindingKind::Differing, Place::Postgres),
            format!("delete from \"site\".\"visits\" where {identity}")
        );
        for kind in [FindingKind::Doubled, FindingKind::Differing] {
            assert_eq!(
                statement(kind, Place::Clickhouse),
                format!("alter table \"prd\".\"visits\" delete where {identity} settings mutations_sync = 2")
            );
        }
    }

    #[test]
    fn where_nobody_can_say_which_row_is_right_there_is_none() {
        assert_eq!(of(FindingKind::Differing, Place::Either), None);
        assert_eq!(of(FindingKind::Unexpected, Place::Postgres), None);
        assert_eq!(of(FindingKind::Missing, Place::Postgres), None);
    }
}
