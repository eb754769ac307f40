//! One dashboard: what Grafana wants around the panels. Classic JSON, schemaVersion 42.

use anyhow::Result;
use serde_json::{Value, json};

use crate::panel::Panel;

/// The last version of the classic model. Grafana 10 to 13 load it.
const SCHEMA_VERSION: u32 = 42;

/// Time zones to choose from. Any other name of the IANA database can be typed.
const TIME_ZONES: [&str; 8] = [
    "UTC",
    "Europe/London",
    "Europe/Berlin",
    "America/New_York",
    "America/Los_Angeles",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
];

/// A dashboard.
#[derive(Debug)]
pub(crate) struct Dashboard {
    /// The file's name without `.json`. It is the uid too, so that links to it stay valid.
    pub(crate) file: String,
    pub(crate) title: String,
    pub(crate) description: &'static str,
    /// The beginning of its time range, and how often it is loaded again ("": never).
    pub(crate) time_from: &'static str,
    pub(crate) refresh: &'static str,
    pub(crate) variables: Vec<Value>,
    pub(crate) panels: Vec<Panel>,
}

impl Dashboard {
    pub(crate) fn json(&self) -> Result<Value> {
        let panels = self.panels.iter().zip(1..).map(|(panel, id)| panel.json(id)).collect::<Result<Vec<_>>>()?;
        Ok(json!({
            "annotations": { "list": [] },
            "description": self.description,
            "editable": true,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "links": [{
                "asDropdown": false,
                "icon": "external link",
                "includeVars": true,
                "keepTime": true,
                "tags": ["footprint"],
                "targetBlank": false,
                "title": "footprint",
                "tooltip": "",
                "type": "dashboards",
                "url": "",
            }],
            "panels": panels,
            "preload": false,
            "refresh": self.refresh,
            "schemaVersion": SCHEMA_VERSION,
            "tags": ["footprint"],
            "templating": { "list": self.variables },
            "time": { "from": self.time_from, "to": "now" },
            "timepicker": {},
            "timezone": "browser",
            "title": self.title,
            "uid": self.file,
            "version": 1,
        }))
    }
}

/// The time zone of the hours and weekdays. Grafana's own `$__timezone` is not used: it may be `utc`, which ClickHouse does not know.
pub(crate) fn time_zone() -> Value {
    let option = |zone: &str, selected: bool| json!({ "selected": selected, "text": zone, "value": zone });
    let options: Vec<Value> = TIME_ZONES.iter().map(|zone| option(zone, *zone == TIME_ZONES[0])).collect();
    json!({
        "allowCustomValue": true,
        "current": option(TIME_ZONES[0], true),
        "description": "The time zone of the hours and weekdays: a name such as Europe/Berlin",
        "hide": 0,
        "includeAll": false,
        "label": "Time zone",
        "multi": false,
        "name": "tz",
        "options": options,
        "query": TIME_ZONES.join(","),
        "skipUrlSync": false,
        "type": "custom",
    })
}

/// The beginning of the links that are counted. Empty: all.
pub(crate) fn link_prefix() -> Value {
    let empty = json!({ "selected": true, "text": "", "value": "" });
    json!({
        "current": empty,
        "description": "Only links that begin with this text. Empty: all links",
        "hide": 0,
        "label": "Link begins with",
        "name": "prefix",
        "options": [empty],
        "query": "",
        "skipUrlSync": false,
        "type": "textbox",
    })
}
