//! Whether both tables hold every record exactly once. A measurement that stored something else measured nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::bare::Sinks;
use super::prepared::{BARE_SOURCE, Prepared, Totals};
use super::site::Site;

/// Up to so many rows the distinct identities are counted; above, sums speak for them.
const DISTINCT_ROWS_MAX: u64 = 2_000_000;

/// What a table holds of one partition: number, least and greatest offset, their sum, and the sum of their squares.
type Sums = (u128, i64, i64, u128, u128);

/// The topic's records are in the databases once each: what `footprint` read and stored, whatever else is in the tables.
pub(super) fn topic(site: &Site<'_>, sinks: Sinks) -> Result<u64> {
    let ends = site.stack.kafka()?.end_offsets(&site.topic)?;
    let total: u64 = ends.values().map(|&end| end.unsigned_abs()).sum();
    let wanted: BTreeMap<i32, Sums> =
        ends.iter().filter(|&(_, &end)| end > 0).map(|(&partition, &end)| (partition, all_below(end))).collect();
    let source = BARE_SOURCE;
    let postgres = || {
        site.postgres(&format!(
            "select kafka_partition, count(*), min(kafka_offset), max(kafka_offset), sum(kafka_offset), \
             sum(kafka_offset * kafka_offset) from user_footprint where kafka_source <> {source} group by 1"
        ))
    };
    let clickhouse = || {
        site.clickhouse(&format!(
            "select kafka_partition, count(), min(kafka_offset), max(kafka_offset), sum(toUInt128(kafka_offset)), \
             sum(toUInt128(kafka_offset) * kafka_offset) from {{table}} where kafka_source != {source} group by 1"
        ))
    };
    let none = BTreeMap::new();
    let found = sums(&postgres()?)?;
    ensure!(found == *if sinks.postgres { &wanted } else { &none }, "PostgreSQL holds {found:?}, not {wanted:?}");
    let found = sums(&clickhouse()?)?;
    ensure!(found == *if sinks.clickhouse { &wanted } else { &none }, "ClickHouse holds {found:?}, not {wanted:?}");
    if total <= DISTINCT_ROWS_MAX {
        distinct(site, &format!("kafka_source <> {source}"), total, sinks)?;
    }
    Ok(total)
}

/// The bare load's rows are in the databases, each as often as it was sent, with the values that were sent.
pub(super) fn bare(site: &Site<'_>, prepared: &Prepared, rows: u64, sinks: Sinks) -> Result<()> {
    let (source, wanted) = (BARE_SOURCE, prepared.totals(rows)?);
    if sinks.postgres {
        let found = totals(&site.postgres(&format!(
            "select count(*), sum(octet_length(request) + octet_length(link)), \
             sum((extract(epoch from footprint_time) * 1000000)::bigint) from user_footprint \
             where kafka_source = {source}"
        ))?)?;
        ensure!(found == wanted, "the bare load stored {found:?} in PostgreSQL, not {wanted:?}");
    }
    if sinks.clickhouse {
        let found = totals(&site.clickhouse(&format!(
            "select count(), sum(length(toString(request)) + length(link)), \
             sum(toInt128(toUnixTimestamp64Micro(footprint_time))) from {{table}} where kafka_source = {source}"
        ))?)?;
        ensure!(found == wanted, "the bare load stored {found:?} in ClickHouse, not {wanted:?}");
    }
    distinct(site, &format!("kafka_source = {source}"), prepared.rows.min(rows), sinks)
}

fn totals(rows: &[Vec<String>]) -> Result<Totals> {
    let cells = rows.concat();
    let [rows, text_bytes, time_us] = cells.as_slice() else { bail!("a database says {cells:?}") };
    Ok(Totals { rows: rows.parse()?, text_bytes: text_bytes.parse()?, time_us: time_us.parse()? })
}

/// As many identities as `wanted` among the rows of `condition`.
fn distinct(site: &Site<'_>, condition: &str, wanted: u64, sinks: Sinks) -> Result<()> {
    if sinks.postgres {
        // hashed, which for two million takes a second where `count(distinct ...)` would sort for many
        let sql = format!(
            "set work_mem = '256MB'; select count(*) from \
             (select 1 from user_footprint where {condition} group by kafka_partition, kafka_offset) identities"
        );
        let found = number(&site.postgres(&sql)?)?;
        ensure!(found == wanted, "PostgreSQL holds {found} identities, not {wanted}");
    }
    if sinks.clickhouse {
        let sql = format!("select uniqExact(kafka_partition, kafka_offset) from {{table}} where {condition}");
        let found = number(&site.clickhouse(&sql)?)?;
        ensure!(found == wanted, "ClickHouse holds {found} identities, not {wanted}");
    }
    Ok(())
}

/// The offsets 0, 1, ... below `end`.
fn all_below(end: i64) -> Sums {
    let count = u128::from(end.unsigned_abs());
    (count, 0, end - 1, count * (count - 1) / 2, (count - 1) * count * (2 * count - 1) / 6)
}

fn sums(rows: &[Vec<String>]) -> Result<BTreeMap<i32, Sums>> {
    let parse = |row: &Vec<String>| -> Option<(i32, Sums)> {
        let cell = |index: usize| row.get(index);
        let whole = |index: usize| cell(index)?.parse::<u128>().ok();
        let sums = (whole(1)?, cell(2)?.parse().ok()?, cell(3)?.parse().ok()?, whole(4)?, whole(5)?);
        Some((cell(0)?.parse().ok()?, sums))
    };
    rows.iter().map(|row| parse(row).with_context(|| format!("a database says {row:?}"))).collect()
}

fn number(rows: &[Vec<String>]) -> Result<u64> {
    let cell = rows.first().and_then(|row| row.first()).context("a database says nothing")?;
    cell.parse().with_context(|| format!("{cell} is no number"))
}
