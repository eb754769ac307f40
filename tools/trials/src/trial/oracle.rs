//! The oracle says whether both databases hold what was sent, offset by offset, and with the values that were sent. It knows how far each
//! partition was filled. It asks the databases themselves, without the program's help.
//!
//! A partition's offsets are exactly `[0, end)`. So a database holds each offset once if it has `end` rows and dead letters, at `end`
//! different offsets, all of them in that range. ClickHouse's dead letters are in PostgreSQL. There, the offsets' sum and the sum of their
//! squares reveal an offset that has both a row and a dead letter. Values are judged in SQL, where the rows are. A trial that wants this
//! sends records whose values follow from their offsets.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::watch::Watch;

/// Conditions that are true of the rows that were sent. PostgreSQL's conditions see the topic of the row's source as `topic`.
#[derive(Clone, Debug)]
pub struct RowConditions {
    /// The condition on a row in PostgreSQL.
    pub postgres_row: String,
    /// The condition on a row in ClickHouse.
    pub clickhouse_row: String,
    /// The condition on a dead letter.
    pub letter: String,
}

impl RowConditions {
    /// Conditions for a trial that knows nothing of the values, and in which no database refuses a row.
    pub fn any_values() -> Self {
        Self { postgres_row: "true".into(), clickhouse_row: "1".into(), letter: "sink = 'both'".into() }
    }
}

/// A partition of a source, as the databases name them.
pub type Place = (String, i32);

/// The faults of one database.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Records that the database does not hold.
    pub lost: i64,
    /// Rows beyond one for each record.
    pub doubled: i64,
    /// Rows with other values than were sent.
    pub wrong: i64,
    /// One line for each partition with a fault.
    lines: Vec<String>,
}

/// The faults of both databases.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// In PostgreSQL.
    pub postgres: Faults,
    /// In ClickHouse.
    pub clickhouse: Faults,
}

impl Judgement {
    /// Fails if there are faults, and names each partition that has one.
    ///
    /// # Errors
    /// There are faults.
    pub fn must_be_clean(&self) -> Result<()> {
        let lines = [&self.postgres.lines[..], &self.clickhouse.lines[..]].concat();
        ensure!(lines.is_empty(), "the oracle found faults:\n{}", lines.join("\n"));
        Ok(())
    }
}

/// Which rows are looked at, and how closely.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// A condition on `kafka_source`.
    pub sources: &'a str,
    /// Whether different offsets are counted one by one, in memory that grows with them. Otherwise the counts and sums must be enough.
    pub counts_offsets: bool,
}

/// What one database holds of one partition of one source: rows, and the dead letters in their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StoredOffsets {
    count: i64,
    distinct: i64,
    first: i64,
    last: i64,
    sum: i128,
    squares: i128,
    wrong: i64,
}

type Holdings = BTreeMap<Place, StoredOffsets>;

impl StoredOffsets {
    /// The offsets 0, 1, ... below `end`, once each and as they were sent.
    fn all_below(end: i64) -> Self {
        let count = i128::from(end);
        Self {
            count: end,
            distinct: end,
            first: 0,
            last: (end - 1).max(0),
            sum: count * (count - 1) / 2,
            squares: (count - 1) * count * (2 * count - 1) / 6,
            wrong: 0,
        }
    }

    /// The sum of two tables that should share no offset.
    fn plus(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            distinct: self.distinct + other.distinct,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
            wrong: self.wrong + other.wrong,
        }
    }
}

/// Compares both databases with the end of each partition that was filled.
///
/// # Errors
/// A database does not answer.
pub fn judge(
    watch: &Watch<'_>,
    ends: &BTreeMap<Place, i64>,
    scope: Scope<'_>,
    conditions: &RowConditions,
) -> Result<Judgement> {
    let (postgres, clickhouse) =
        (judge_postgres(watch, ends, scope, conditions)?, judge_clickhouse(watch, ends, scope, conditions)?);
    Ok(Judgement { postgres, clickhouse })
}

/// Does the same as [`judge`], for PostgreSQL alone.
///
/// # Errors
/// PostgreSQL does not answer.
pub fn judge_postgres(
    watch: &Watch<'_>,
    ends: &BTreeMap<Place, i64>,
    scope: Scope<'_>,
    conditions: &RowConditions,
) -> Result<Faults> {
    Ok(faults("PostgreSQL", ends, &holdings(&watch.ask(&in_postgres(scope, conditions))?)?))
}

/// Does the same as [`judge`], for ClickHouse alone.
///
/// # Errors
/// A database does not answer.
pub fn judge_clickhouse(
    watch: &Watch<'_>,
    ends: &BTreeMap<Place, i64>,
    scope: Scope<'_>,
    conditions: &RowConditions,
) -> Result<Faults> {
    let mut held = holdings(&watch.clickhouse(&in_clickhouse(watch.database(), scope, conditions))?)?;
    for (place, letters) in holdings(&watch.ask(&letters_for_clickhouse(scope, conditions))?)? {
        let both = held.get(&place).map_or(letters, |rows| rows.plus(letters));
        held.insert(place, both);
    }
    Ok(faults("ClickHouse", ends, &held))
}

fn faults(database: &str, ends: &BTreeMap<Place, i64>, holdings: &Holdings) -> Faults {
    let mut faults = Faults::default();
    for (place, &end) in ends {
        let held = holdings.get(place).copied().unwrap_or_default();
        if held == StoredOffsets::all_below(end) {
            continue;
        }
        let (lost, doubled) = (end - held.distinct, held.count - held.distinct);
        faults.lost += lost.max(0);
        faults.doubled += doubled;
        faults.wrong += held.wrong;
        let (source, partition) = place;
        faults.lines.push(format!(
            "{database}, source {source}, partition {partition}: {lost} lost, {doubled} doubled, {} not as sent, of {end}; \
             offsets {} to {} that add up to {}",
            held.wrong, held.first, held.last, held.sum
        ));
    }
    for ((source, partition), held) in holdings.iter().filter(|(place, _)| !ends.contains_key(*place)) {
        faults.wrong += held.count;
        faults.lines.push(format!("{database} holds rows of source {source}, partition {partition}: never sent"));
    }
    faults
}

/// The aggregates of offsets, in the order of [`StoredOffsets`]. They come after the count of offsets and the count of different offsets.
const SUMS: &str = "min(kafka_offset), max(kafka_offset), sum(kafka_offset), sum(kafka_offset * kafka_offset)";

fn in_postgres(Scope { sources, counts_offsets }: Scope<'_>, conditions: &RowConditions) -> String {
    let RowConditions { postgres_row, letter, .. } = conditions;
    let stored = format!(
        "select kafka_source, kafka_partition, kafka_offset, {postgres_row} as fits \
         from user_footprint left join footprint_source s on s.id = kafka_source where {sources} \
         union all select kafka_source, kafka_partition, kafka_offset, {letter} \
         from dead_letters left join footprint_source s on s.id = kafka_source where sink <> 'clickhouse' and {sources}"
    );
    if !counts_offsets {
        return format!(
            "select kafka_source, kafka_partition, count(*), count(*), {SUMS}, count(*) filter (where fits is not true) \
             from ({stored}) stored group by 1, 2"
        );
    }
    // grouped by offset first, in a hash table, because a count of distinct offsets would sort them; `n` is how often an offset occurs
    format!(
        "set work_mem = '256MB'; select kafka_source, kafka_partition, sum(n), count(*), min(kafka_offset), \
         max(kafka_offset), sum(n * kafka_offset), sum(n * kafka_offset * kafka_offset), sum(wrong) from ( \
         select kafka_source, kafka_partition, kafka_offset, count(*) as n, \
         count(*) filter (where fits is not true) as wrong from ({stored}) stored group by 1, 2, 3) offsets group by 1, 2"
    )
}

fn letters_for_clickhouse(Scope { sources, .. }: Scope<'_>, conditions: &RowConditions) -> String {
    format!(
        "select kafka_source, kafka_partition, count(*), count(distinct kafka_offset), {SUMS}, \
         count(*) filter (where ({}) is not true) from dead_letters \
         left join footprint_source s on s.id = kafka_source where sink <> 'postgres' and {sources} group by 1, 2",
        conditions.letter
    )
}

fn in_clickhouse(database: &str, Scope { sources, counts_offsets }: Scope<'_>, conditions: &RowConditions) -> String {
    let distinct = if counts_offsets { "uniqExact(kafka_offset)" } else { "count()" };
    format!(
        "select kafka_source, kafka_partition, count(), {distinct}, min(kafka_offset), max(kafka_offset), \
         sum(toInt128(kafka_offset)), sum(toInt128(kafka_offset) * kafka_offset), countIf(not ({})) \
         from {database}.user_footprint where {sources} group by 1, 2",
        conditions.clickhouse_row
    )
}

fn holdings(rows: &[Vec<String>]) -> Result<Holdings> {
    let mut holdings = Holdings::new();
    for row in rows {
        let number = |column: usize| -> Result<i128> {
            row.get(column).and_then(|cell| cell.parse().ok()).with_context(|| format!("no number in {row:?}"))
        };
        let small = |column: usize| -> Result<i64> { Ok(i64::try_from(number(column)?)?) };
        let held = StoredOffsets {
            count: small(2)?,
            distinct: small(3)?,
            first: small(4)?,
            last: small(5)?,
            sum: number(6)?,
            squares: number(7)?,
            wrong: small(8)?,
        };
        holdings.insert((number(0)?.to_string(), i32::try_from(number(1)?)?), held);
    }
    Ok(holdings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(offsets: &[i64], wrong: i64) -> StoredOffsets {
        let mut distinct = offsets.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        StoredOffsets {
            count: offsets.len() as i64,
            distinct: distinct.len() as i64,
            first: distinct.first().copied().unwrap_or(0),
            last: distinct.last().copied().unwrap_or(0),
            sum: offsets.iter().map(|&offset| i128::from(offset)).sum(),
            squares: offsets.iter().map(|&offset| i128::from(offset * offset)).sum(),
            wrong,
        }
    }

    /// The faults if ten records were sent and a database holds `held`.
    fn found(held: StoredOffsets) -> Faults {
        let place = ("7".to_owned(), 0);
        faults("PostgreSQL", &BTreeMap::from([(place.clone(), 10)]), &BTreeMap::from([(place, held)]))
    }

    #[test]
    fn every_kind_of_fault_is_found() {
        assert!(found(held(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0)).lines.is_empty());
        assert_eq!(found(held(&[0, 1, 2, 3, 4, 5, 6, 7, 9], 0)).lost, 1);
        assert_eq!(found(held(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9], 0)).doubled, 1);
        assert_eq!(found(held(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 2)).wrong, 2);
        assert_eq!(found(held(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 10], 0)).lines.len(), 1, "an offset past the end");
        assert_eq!(found(held(&[-1, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0)).lines.len(), 1, "an offset below the start");
    }

    #[test]
    fn what_is_missing_or_was_never_sent_is_a_fault() {
        let (sent, other) = (("7".to_owned(), 0), ("8".to_owned(), 0));
        let holdings = BTreeMap::from([(other, held(&[0, 1, 2], 0))]);
        let clickhouse = faults("ClickHouse", &BTreeMap::from([(sent, 10)]), &holdings);
        assert_eq!((clickhouse.lost, clickhouse.wrong, clickhouse.lines.len()), (10, 3, 2));
        assert!(Judgement { clickhouse, ..Judgement::default() }.must_be_clean().is_err());
        assert!(Judgement::default().must_be_clean().is_ok());
    }

    #[test]
    fn a_partition_that_got_nothing_may_hold_nothing() {
        let faults = faults("PostgreSQL", &BTreeMap::from([(("7".to_owned(), 0), 0)]), &Holdings::new());
        assert!(faults.lines.is_empty());
    }

    /// The counts alone would not show this: one record is lost, and another has both a row and a dead letter.
    #[test]
    fn a_row_beside_a_dead_letter_of_its_offset_is_found() {
        let (rows, letter) = (held(&[0, 1, 2, 3, 4, 6, 7, 8, 9], 0), held(&[3], 0));
        assert_eq!(found(rows.plus(letter)).lines.len(), 1);
    }
}
