//! `settings`: what each guarantee and each index costs the databases. It runs the bare load with one thing changed at a time, each
//! database alone. `x` is the rate as a multiple of the rate with the shipped tables, in the same run.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Bench;
use super::bare::{self, Sending, Sinks};
use super::check;
use super::cpu::ServersCpu;
use super::parts::{rest, settle};
use super::prepared::Prepared;
use super::site::Site;
use super::table::{Spread, Table, grouped, thousands_per_second};

/// What fsync, synchronous commits, indexes, deduplication, LZ4 and a second connection cost or bring.
#[derive(clap::Args, Debug)]
pub(super) struct SettingsArgs {
    /// Rows of a load
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) events: u64,
    /// Rounds, each with one load for every line
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,
}

/// One change to the databases, or to how the bare load sends.
enum Change {
    /// Nothing: as shipped.
    Nothing,
    /// A setting of the PostgreSQL database.
    PostgresSetting(&'static str),
    /// PostgreSQL without the indexes on times.
    NoBrin,
    /// A statement on the ClickHouse table.
    ClickHouseTable(&'static str),
    /// How the bare load sends.
    Sends(Sending),
}

struct Case {
    name: &'static str,
    sinks: Sinks,
    change: Change,
    loads: Vec<(Duration, f64)>,
}

fn cases() -> Vec<Case> {
    let two = Sending::by(2);
    let case = |sinks: Sinks| move |name, change| Case { name, sinks, change, loads: Vec::new() };
    let postgres = case(Sinks { postgres: true, clickhouse: false });
    let clickhouse = case(Sinks { postgres: false, clickhouse: true });
    let both = case(Sinks::BOTH);
    vec![
        postgres("PostgreSQL, as shipped", Change::Nothing),
        postgres("synchronous_commit = off", Change::PostgresSetting("synchronous_commit = off")),
        postgres("no BRIN indexes", Change::NoBrin),
        postgres("two COPY connections", Change::Sends(two)),
        clickhouse("ClickHouse, as shipped", Change::Nothing),
        clickhouse(
            "no fsync",
            Change::ClickHouseTable("modify setting fsync_after_insert = 0, fsync_part_directory = 0"),
        ),
        clickhouse("no tokens", Change::ClickHouseTable("modify setting non_replicated_deduplication_window = 0")),
        clickhouse("no index on offsets", Change::ClickHouseTable("drop index kafka_offset_minmax")),
        clickhouse("LZ4 on the wire", Change::Sends(Sending { lz4: true, ..Sending::by(1) })),
        clickhouse("two inserts at a time", Change::Sends(two)),
        both("both, as shipped", Change::Nothing),
        both("two connections to each", Change::Sends(two)),
    ]
}

/// Runs the scenario.
pub(super) fn run(bench: &Bench, args: &SettingsArgs) -> Result<()> {
    let prepared = Prepared::new(args.events)?;
    let mut cases = cases();
    for round in 0..args.rounds {
        let mut turns: Vec<&mut Case> = cases.iter_mut().collect();
        // in every other round the order is reversed, so that a drift of the machine favours no case
        if round % 2 == 1 {
            turns.reverse();
        }
        for case in turns {
            eprintln!("round {round}: {}", case.name);
            case.loads.push(measure(bench, &prepared, args.events, case)?);
        }
    }
    println!("settings: bare loads of {} rows, medians of {} rounds", grouped(args.events), args.rounds);
    let mut table = Table::new(&["", "rows\nk/s", "x", "server's CPU\ns a million"]);
    let mut shipped = f64::NAN;
    for case in &cases {
        let rate = Spread::of(case.loads.iter().map(|&(time, _)| thousands_per_second(args.events, time))).median;
        let cpu = Spread::of(case.loads.iter().map(|&(_, cpu)| cpu / (args.events as f64 / 1e6))).median;
        if matches!(case.change, Change::Nothing) {
            shipped = rate;
        }
        table.line(vec![
            case.name.to_owned(),
            format!("{rate:.0}"),
            format!("{:.2}", rate / shipped),
            format!("{cpu:.2}"),
        ]);
    }
    table.print();
    Ok(())
}

/// How long a load took, and the CPU seconds of the servers it went to.
fn measure(bench: &Bench, prepared: &Prepared, events: u64, case: &Case) -> Result<(Duration, f64)> {
    let site = Site::new(bench, "bench_settings")?;
    let sending = match &case.change {
        Change::Sends(sending) => *sending,
        _ => Sending::by(1),
    };
    apply(&site, &case.change)?;
    rest(&bench.stack)?;
    let before = ServersCpu::now(&bench.stack)?;
    let load = bare::load(&bench.runtime, &site, prepared, events, case.sinks, sending)?;
    settle(&bench.stack)?;
    let cpu = ServersCpu::now(&bench.stack)? - before;
    check::bare(&site, prepared, events, case.sinks)?;
    site.drop_databases()?;
    let of = |is_used: bool, seconds: f64| if is_used { seconds } else { 0.0 };
    Ok((load.elapsed, of(case.sinks.postgres, cpu.postgres) + of(case.sinks.clickhouse, cpu.clickhouse)))
}

fn apply(site: &Site<'_>, change: &Change) -> Result<()> {
    match change {
        Change::Nothing | Change::Sends(_) => {}
        Change::PostgresSetting(setting) => {
            site.stack.postgres()?.execute("postgres", &format!("alter database {} set {setting}", site.name))?;
        }
        Change::NoBrin => {
            let indexes = site.postgres(
                "select format('drop index %I.%I', schemaname, indexname) from pg_indexes \
                 where tablename = 'user_footprint' and indexdef like '%brin%'",
            )?;
            anyhow::ensure!(!indexes.is_empty(), "the table has no BRIN index");
            for index in indexes {
                site.postgres(index.first().context("a statement")?)?;
            }
        }
        Change::ClickHouseTable(what) => drop(site.clickhouse(&format!("alter table {{table}} {what}"))?),
    }
    Ok(())
}
