//! What `verify --repair` did, and what a person may do, as text and as JSON.

use anyhow::Context as _;
use footprint_service::config::Config;
use footprint_service::escape::{Keep, escaped};
use serde::Serialize;

use crate::upkeep::repair::statements::{Remedy, remedy};
use crate::upkeep::repair::{RouteRepair, repair};
use crate::upkeep::verify::{FindingKind, Options, Place, Report, VerifyError};

/// A report, with what was done before and what may be done now.
#[derive(Serialize)]
pub(super) struct Done {
    #[serde(flatten)]
    pub(super) report: Report,
    /// None: nothing was to be repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<Vec<RouteRepair>>,
    /// Statements for a person, about the findings named.
    remedies: Vec<Remedy>,
}

/// Repairs, and verifies again.
///
/// # Errors
/// The repair ended early.
pub(super) async fn run(config: &Config, options: Options) -> anyhow::Result<Done> {
    let repaired = repair(config, options).await.context("the repair is not finished")?;
    let remedies = remedies(config, &repaired.report);
    Ok(Done { report: repaired.report, repaired: Some(repaired.routes), remedies })
}

fn remedies(config: &Config, report: &Report) -> Vec<Remedy> {
    let of_route = |found: &crate::upkeep::verify::RouteReport| {
        let route = config.routes.iter().find(|route| route.name == found.route)?;
        let database = &config.clickhouse.database;
        Some(found.findings.iter().filter_map(|finding| remedy(route, database, finding)).collect::<Vec<_>>())
    };
    report.routes.iter().filter_map(of_route).flatten().collect()
}

impl Done {
    /// A report without a repair.
    ///
    /// # Errors
    /// There is no report.
    pub(super) fn verified(config: &Config, report: Result<Report, VerifyError>) -> anyhow::Result<Self> {
        let report = report.context("nothing was verified")?;
        let remedies = remedies(config, &report);
        Ok(Self { report, repaired: None, remedies })
    }

    /// What was inserted and what was not, for people.
    pub(super) fn repaired_text(&self, show: usize) -> String {
        let mut text = String::new();
        for RouteRepair { route, postgres, clickhouse, dead_letters, from_other, left } in
            self.repaired.iter().flatten()
        {
            text.push_str(&format!(
                "repaired route {route}: {postgres} rows inserted into postgres, {clickhouse} into clickhouse, {dead_letters} dead \
                 letters; {from_other} rows were taken from the other database\n"
            ));
            for left in left.iter().take(show) {
                // a database's words may have several lines
                let why = escaped(&left.why, Keep::Nothing);
                text.push_str(&format!(
                    "  not inserted: {} source {} partition {} offset {}: {why}\n",
                    left.place.in_words(),
                    left.source,
                    left.partition,
                    left.offset
                ));
            }
            if left.len() > show {
                text.push_str(&format!("  and {} more\n", left.len() - show));
            }
        }
        text
    }

    /// What a person may do now.
    pub(super) fn remedies_text(&self, show: usize) -> String {
        let mut text = String::new();
        let missing = self.report.count(FindingKind::Missing);
        if missing > 0 && self.repaired.is_none() {
            text.push_str(&format!("{missing} are missing: run `footprint verify --repair` to insert them\n"));
        }
        if !self.remedies.is_empty() {
            text.push_str("footprint removes nothing. Look at the rows; then these statements remove what is doubled or changed:\n");
        }
        for Remedy { place, statement, then } in self.remedies.iter().take(show) {
            let server = if *place == Place::Clickhouse { "clickhouse" } else { "postgresql" };
            text.push_str(&format!("  in {server}: {statement};\n"));
            if !then.is_empty() {
                text.push_str(&format!("    then: {then}\n"));
            }
        }
        if self.remedies.len() > show {
            text.push_str(&format!(
                "  and {} more; --show {} shows them\n",
                self.remedies.len() - show,
                self.remedies.len()
            ));
        }
        text
    }
}
