//! Checks that both tables hold every record exactly once: otherwise the measurement means nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::bare::Sinks;
use super::prepared::{BARE_SOURCE, Prepared, Totals};
use super::site::Site;
use crate::trial::Watch;
use crate::trial::oracle::{Judgement, RowConditions, Scope, judge_clickhouse, judge_postgres};

/// Up to this many rows, different identities are counted. With more rows, counts and sums must be enough.
const DISTINCT_ROWS_MAX: u64 = 2_000_000;

/// Checks that the databases hold each of the topic's records once, whatever else is in the tables. Returns the number of records.
pub(super) fn topic(site: &Site<'_>, sinks: Sinks) -> Result<u64> {
    let ends = site.stack.kafka()?.end_offsets(&site.topic)?;
    let total: u64 = ends.values().map(|&end| end.unsigned_abs()).sum();
    let watch = Watch::connect(&site.fixture)?;
    let sources = watch.ask(&format!("select id from footprint_source where topic = '{}'", site.topic))?.concat();
    let [source] = sources.as_slice() else {
        bail!("the ledger knows the topic by other sources than one: {sources:?}")
    };
    let wanted = ends.iter().map(|(&partition, &end)| ((source.clone(), partition), end)).collect();
    let none = BTreeMap::new();
    let others = format!("kafka_source <> {BARE_SOURCE}");
    let scope = Scope { sources: &others, counts_offsets: total <= DISTINCT_ROWS_MAX };
    let conditions = RowConditions::any_values();
    let postgres = judge_postgres(&watch, if sinks.postgres { &wanted } else { &none }, scope, &conditions)?;
    let clickhouse = judge_clickhouse(&watch, if sinks.clickhouse { &wanted } else { &none }, scope, &conditions)?;
    Judgement { postgres, clickhouse }.must_be_clean()?;
    Ok(total)
}

/// Checks that the databases hold the bare load's rows, each as often as it was sent, with the values that were sent.
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

/// Checks that the rows of `condition` have as many different identities as `wanted`.
fn distinct(site: &Site<'_>, condition: &str, wanted: u64, sinks: Sinks) -> Result<()> {
    if sinks.postgres {
        // hashed: for two million rows this takes a second, where `count(distinct ...)` would sort for many seconds
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

fn number(rows: &[Vec<String>]) -> Result<u64> {
    let cell = rows.first().and_then(|row| row.first()).context("a database says nothing")?;
    cell.parse().with_context(|| format!("{cell} is no number"))
}
