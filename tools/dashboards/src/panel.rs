//! One panel: its place, its look, and its questions.

use anyhow::Result;
use serde_json::{Value, json};

use crate::database::{Database, Format};
use crate::look::Look;
use crate::metrics::{self, Query};
use crate::question;
use crate::runbook;

/// The names of a panel's queries.
const REF_IDS: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

/// Where a panel is. The grid is 24 columns wide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// What a panel asks.
#[derive(Debug)]
pub(crate) enum Asks {
    /// The file of `queries/`, and who answers. If it is more than one database, the panel shows all answers together.
    Question(&'static str, Vec<Database>),
    /// Prometheus. The panel shows all answers together.
    Metrics(Vec<Query>),
    Nothing,
}

/// A panel of a dashboard.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// What it shows and how to read it.
    pub(crate) description: &'static str,
    pub(crate) place: Place,
    pub(crate) look: Look,
    pub(crate) asks: Asks,
    /// The alert whose section of the runbook helps with what the panel shows.
    pub(crate) runbook: Option<&'static str>,
}

impl Panel {
    pub(crate) fn json(&self, id: usize) -> Result<Value> {
        let Place { x, y, width, height } = self.place;
        let place = json!({ "h": height, "w": width, "x": x, "y": y });
        if let Look::Row = self.look {
            return Ok(json!({
                "collapsed": false, "gridPos": place, "id": id, "panels": [], "title": self.title, "type": "row",
            }));
        }
        let (source, targets) = self.asks.json(self.look.format())?;
        let mut panel = json!({
            "datasource": source,
            "description": self.description,
            "fieldConfig": self.look.field_config(),
            "gridPos": place,
            "id": id,
            "options": self.look.options(),
            "targets": targets,
            "title": self.title,
            "type": self.look.panel_type(),
        });
        // below a second the two databases would not use the same interval
        if let (Format::TimeSeries, Asks::Question(..)) = (self.look.format(), &self.asks) {
            panel["interval"] = json!("1m");
        }
        if let Some(alert) = self.runbook {
            panel["links"] = json!([{
                "asDropdown": false,
                "icon": "",
                "includeVars": false,
                "keepTime": false,
                "tags": [],
                "targetBlank": true,
                "title": format!("Runbook: {alert}"),
                "tooltip": "",
                "type": "link",
                "url": runbook::link(alert)?,
            }]);
        }
        Ok(panel)
    }
}

impl Asks {
    /// The panel's data source, and its queries.
    fn json(&self, format: Format) -> Result<(Value, Vec<Value>)> {
        let mut targets = Vec::new();
        let source = match self {
            Self::Question(question, databases) => {
                for (database, ref_id) in databases.iter().zip(REF_IDS) {
                    let sql = question::sql(question, *database)?;
                    targets.push(database.target(ref_id, &sql, format));
                }
                match databases.as_slice() {
                    [database] => database.data_source(),
                    _ => json!({ "type": "datasource", "uid": "-- Mixed --" }),
                }
            }
            Self::Metrics(queries) => {
                let queries = queries.iter().zip(REF_IDS);
                targets.extend(queries.map(|(query, ref_id)| metrics::target(ref_id, query, format)));
                metrics::data_source()
            }
            Self::Nothing => json!({ "type": "datasource", "uid": "grafana" }),
        };
        Ok((source, targets))
    }
}
