//! One panel: its place, its look, and its questions.

use anyhow::Result;
use serde_json::{Value, json};

use crate::database::Database;
use crate::look::Look;
use crate::question;

/// Where a panel is. The grid is 24 columns wide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A panel of a dashboard.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// What it shows and how to read it.
    pub(crate) description: &'static str,
    pub(crate) place: Place,
    pub(crate) look: Look,
    /// The file of `queries/`.
    pub(crate) question: &'static str,
    /// Who answers. If it is more than one, the panel shows all answers together.
    pub(crate) databases: Vec<Database>,
}

impl Panel {
    pub(crate) fn json(&self, id: usize) -> Result<Value> {
        let mut targets = Vec::new();
        for (database, ref_id) in self.databases.iter().zip(["A", "B"]) {
            let sql = question::sql(self.question, *database)?;
            targets.push(database.target(ref_id, &sql, self.look.format()));
        }
        let source = match self.databases.as_slice() {
            [database] => database.data_source(),
            _ => json!({ "type": "datasource", "uid": "-- Mixed --" }),
        };
        let Place { x, y, width, height } = self.place;
        let mut panel = json!({
            "datasource": source,
            "description": self.description,
            "fieldConfig": self.look.field_config(),
            "gridPos": { "h": height, "w": width, "x": x, "y": y },
            "id": id,
            "options": self.look.options(),
            "targets": targets,
            "title": self.title,
            "type": self.look.panel_type(),
        });
        if let Some(interval) = self.look.interval_min() {
            panel["interval"] = json!(interval);
        }
        Ok(panel)
    }
}
