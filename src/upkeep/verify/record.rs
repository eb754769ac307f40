//! Writes the result of `verify` to the ledger's table of proofs, one row for each partition. If the user may not write there, the report
//! says so, and nothing else changes.

use std::time::Duration;

use footprint_event::route::Route;
use footprint_service::config::Config;
use footprint_service::postgres::pool::Sessions;
use footprint_service::postgres::session::Purpose;
use footprint_service::report::Chain;

use super::error::VerifyError;
use super::faults::{Faults, Kind};
use super::finding::Finding;
use super::postgres::Tables;
use super::report::{PartitionReport, Report, RouteReport};
use crate::ledger::statements::proofs::{Proof, Prover};

/// How long PostgreSQL may be silent.
const STALL: Duration = Duration::from_secs(10);

/// Writes what `report` says of each partition.
pub async fn record(config: &Config, report: &mut Report) {
    let sessions = Sessions::new(&config.postgres, "footprint verify", Purpose::Verify);
    for found in &mut report.routes {
        let Some(route) = config.routes.iter().find(|route| route.name == found.route) else { continue };
        if let Err(error) = record_route(route, &sessions, found).await {
            found.notes.push(format!("this result was not written to footprint_proof: {}", Chain(&error)));
        }
    }
}

async fn record_route(route: &Route, sessions: &Sessions, report: &RouteReport) -> Result<(), VerifyError> {
    let tables = Tables::new(sessions.clone(), route, STALL, STALL);
    for source in &report.sources {
        for partition in &source.partitions {
            if let Some(proof) = proof(source.source, partition, &report.findings) {
                tables.save(Prover::Verify, &proof).await?;
            }
        }
    }
    Ok(())
}

/// What a partition's report says, as a row. None: nothing was compared, and nothing is wrong.
fn proof(source: i64, report: &PartitionReport, findings: &[Finding]) -> Option<Proof> {
    let Faults { postgres, clickhouse } = report.faults;
    let start = report.first_offset.or(report.log_start).unwrap_or(0);
    let sinks = [&report.postgres, &report.clickhouse, &report.dead_letters];
    let end = sinks.into_iter().filter(|sink| sink.on).map(|sink| sink.compared_below).min().unwrap_or(start);
    let is_here = |finding: &&Finding| {
        finding.source == source && finding.partition == report.partition && finding.kind.is_fault()
    };
    let first = findings.iter().filter(is_here).min_by_key(|finding| finding.offset);
    (start < end || !report.faults.is_none()).then(|| Proof {
        key: (source, report.partition),
        start,
        end: end.max(start),
        rows: [report.postgres.rows + report.dead_letters.rows, report.clickhouse.rows],
        faults: [postgres, clickhouse],
        example: first.map(described),
        faulty_ranges: Vec::new(),
    })
}

/// `postgres: offset 12 is lost`.
pub(in crate::upkeep) fn described(finding: &Finding) -> String {
    let kind = Kind::of(finding.kind).map_or(finding.kind.name(), Kind::as_str);
    format!("{}: offset {} is {kind}", finding.place.in_words(), finding.offset)
}
