//! How a panel shows its answer: the panel's type, its options, and the form of each field.

use serde_json::{Value, json};

use crate::database::Format;

/// The kinds of panels that are used. All are part of Grafana itself.
#[derive(Debug)]
pub(crate) enum Look {
    /// The first series as bars, and the second, named series as a dashed line. An interval without rows has no bar.
    BarsAndLine { unit: &'static str, line: &'static str },
    /// One line for each series. If there are several steps, a dashed line shows each.
    Lines { unit: &'static str, steps: Vec<Step> },
    /// One bar for each series that changes its colour with its state.
    States { states: &'static [State] },
    /// One large number for each column of the only row. No value is shown in red.
    Stat { unit: &'static str, steps: Vec<Step> },
    /// A horizontal bar for each row, named by the first column.
    Ranking { name: &'static str, unit: &'static str },
    /// Rows as they are. Some columns have a form of their own.
    Table { columns: Vec<Column> },
    /// A table whose cells are coloured by their value, but for the named first column.
    Map { name: &'static str },
    /// Text in Markdown.
    Text { content: String },
    /// The title of the panels below it.
    Row,
}

/// A value that stands for a state: its name, its colour and the value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State(pub(crate) &'static str, pub(crate) &'static str, pub(crate) u32);

/// A colour from a value on. The first step of a list has no value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step(pub(crate) &'static str, pub(crate) Option<f64>);

/// No threshold: always this colour.
pub(crate) const CALM: Step = Step("green", None);

/// The form of a table's column.
#[derive(Debug)]
pub(crate) enum Column {
    /// A bar in the cell, and a unit.
    Bar(&'static str, &'static str),
    /// A number with a unit.
    Unit(&'static str, &'static str),
    /// A number whose colour says its sign.
    Signed(&'static str),
    /// Text: choosing it opens the dashboard of this uid again, filtered by the text.
    Filter(&'static str, String),
    /// A time.
    Time(&'static str),
}

impl Look {
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::BarsAndLine { .. } | Self::Lines { .. } | Self::States { .. } => Format::TimeSeries,
            Self::Stat { .. } | Self::Ranking { .. } | Self::Table { .. } | Self::Map { .. } => Format::Table,
            Self::Text { .. } | Self::Row => Format::Table,
        }
    }

    pub(crate) fn panel_type(&self) -> &'static str {
        match self {
            Self::BarsAndLine { .. } | Self::Lines { .. } => "timeseries",
            Self::Stat { .. } => "stat",
            Self::Ranking { .. } => "barchart",
            Self::Table { .. } | Self::Map { .. } => "table",
            Self::States { .. } => "state-timeline",
            Self::Text { .. } => "text",
            Self::Row => "row",
        }
    }

    pub(crate) fn options(&self) -> Value {
        let legend =
            |shown: bool| json!({ "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": shown });
        match self {
            Self::BarsAndLine { .. } | Self::Lines { .. } => {
                json!({ "legend": legend(true), "tooltip": { "mode": "multi", "sort": "none" } })
            }
            Self::Stat { .. } => json!({
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "percentChangeColorMode": "standard",
                // "last" and not "lastNotNull": an answer of null must be seen
                "reduceOptions": { "calcs": ["last"], "fields": "", "values": false },
                "showPercentChange": false,
                "textMode": "value_and_name",
                "wideLayout": true,
            }),
            Self::Ranking { name, .. } => json!({
                "barWidth": 0.9,
                "fullHighlight": false,
                "groupWidth": 0.7,
                "legend": legend(false),
                "orientation": "horizontal",
                "showValue": "always",
                "stacking": "none",
                "tooltip": { "mode": "single", "sort": "none" },
                "xField": name,
                "xTickLabelMaxLength": 20,
                "xTickLabelRotation": 0,
            }),
            Self::Table { .. } | Self::Map { .. } => json!({ "cellHeight": "sm", "frameIndex": 0, "showHeader": true }),
            Self::States { .. } => json!({
                "alignValue": "left",
                "legend": legend(false),
                "mergeValues": true,
                "rowHeight": 0.85,
                "showValue": "auto",
                "tooltip": { "mode": "single", "sort": "none" },
            }),
            Self::Text { content } => json!({
                "code": { "language": "plaintext", "showLineNumbers": false, "showMiniMap": false },
                "content": content,
                "mode": "markdown",
            }),
            Self::Row => json!({}),
        }
    }

    pub(crate) fn field_config(&self) -> Value {
        let (defaults, overrides) = match self {
            Self::Lines { unit, steps } => (lines(unit, steps), vec![]),
            Self::States { states } => (state_timeline(states), vec![]),
            Self::Text { .. } | Self::Row => (json!({}), vec![]),
            Self::BarsAndLine { unit, line: name } => (series(unit, &bars()), vec![of(name, &line(true))]),
            Self::Stat { unit, steps } => {
                let none = json!({ "match": "null", "result": { "color": "red", "index": 0, "text": "none" } });
                let defaults = json!({
                    "color": { "mode": "thresholds" },
                    // without this, no value would have the colour of the lowest step
                    "mappings": [{ "options": none, "type": "special" }],
                    "thresholds": thresholds(steps),
                    "unit": unit,
                });
                (defaults, vec![])
            }
            Self::Ranking { unit, .. } => (
                json!({
                    "color": { "mode": "palette-classic" },
                    "custom": { "fillOpacity": 70, "lineWidth": 1 },
                    "min": 0,
                    "thresholds": thresholds(&[CALM]),
                    "unit": unit,
                }),
                vec![],
            ),
            Self::Table { columns } => (table(&json!({ "type": "auto" })), columns.iter().map(Column::json).collect()),
            Self::Map { name } => (
                json!({
                    "color": { "mode": "continuous-blues" },
                    "custom": {
                        "align": "center",
                        "cellOptions": { "mode": "basic", "type": "color-background" },
                        "inspect": false,
                        "minWidth": 30,
                    },
                    "min": 0,
                    "thresholds": thresholds(&[CALM]),
                    "unit": "short",
                }),
                vec![of(
                    name,
                    &[
                        ("custom.cellOptions", json!({ "type": "auto" })),
                        ("custom.align", json!("left")),
                        ("custom.width", json!(110)),
                    ],
                )],
            ),
        };
        json!({ "defaults": defaults, "overrides": overrides })
    }
}

impl Column {
    fn json(&self) -> Value {
        match self {
            Self::Bar(name, unit) => of(
                name,
                &[
                    ("custom.cellOptions", json!({ "mode": "basic", "type": "gauge", "valueDisplayMode": "text" })),
                    ("min", json!(0)),
                    ("unit", json!(unit)),
                ],
            ),
            Self::Unit(name, unit) => of(name, &[("unit", json!(unit)), ("custom.width", json!(110))]),
            Self::Signed(name) => of(
                name,
                &[
                    ("custom.cellOptions", json!({ "type": "color-text" })),
                    ("custom.width", json!(110)),
                    ("thresholds", thresholds(&[Step("red", None), Step("text", Some(0.0)), Step("green", Some(1.0))])),
                ],
            ),
            Self::Filter(name, uid) => {
                // the text is a visitor's own, so it is never the link's target itself
                let variables = "${__url_time_range}&${tz:queryparam}&var-prefix=${__value.raw:percentencode}";
                let link = json!({
                    "targetBlank": false,
                    "title": "Only links that begin with this",
                    "url": format!("/d/{uid}?{variables}"),
                });
                of(name, &[("links", json!([link]))])
            }
            Self::Time(name) => of(name, &[("unit", json!("dateTimeAsIso")), ("custom.width", json!(180))]),
        }
    }
}

/// An override for the field of that name.
fn of(name: &str, properties: &[(&str, Value)]) -> Value {
    let properties: Vec<Value> = properties.iter().map(|(id, value)| json!({ "id": id, "value": value })).collect();
    json!({ "matcher": { "id": "byName", "options": name }, "properties": properties })
}

fn thresholds(steps: &[Step]) -> Value {
    let steps: Vec<Value> = steps.iter().map(|Step(color, value)| json!({ "color": color, "value": value })).collect();
    json!({ "mode": "absolute", "steps": steps })
}

fn table(cell: &Value) -> Value {
    json!({
        "color": { "mode": "thresholds" },
        "custom": { "align": "auto", "cellOptions": cell, "inspect": false },
        "thresholds": thresholds(&[CALM]),
    })
}

/// The form of every series; `custom` holds the properties as an override would name them.
fn series(unit: &str, custom: &[(&str, Value)]) -> Value {
    let names = custom.iter().filter_map(|(id, value)| Some((id.strip_prefix("custom.")?.to_owned(), value.clone())));
    json!({
        "color": { "mode": "palette-classic" },
        "custom": names.collect::<serde_json::Map<_, _>>(),
        "min": 0,
        "thresholds": thresholds(&[CALM]),
        "unit": unit,
    })
}

/// One line for each series, and a dashed one for each step.
fn lines(unit: &str, steps: &[Step]) -> Value {
    let mut config = series(unit, &line(false));
    if steps.len() > 1 {
        config["custom"]["thresholdsStyle"] = json!({ "mode": "dashed" });
        config["thresholds"] = thresholds(steps);
    }
    config
}

fn state_timeline(states: &[State]) -> Value {
    let named = states.iter().zip(0..).map(|(State(text, color, value), index)| {
        (value.to_string(), json!({ "color": color, "index": index, "text": text }))
    });
    json!({
        "color": { "mode": "thresholds" },
        "custom": { "fillOpacity": 80, "lineWidth": 0 },
        "mappings": [{ "options": named.collect::<serde_json::Map<_, _>>(), "type": "value" }],
        "thresholds": thresholds(&[CALM]),
        "unit": "short",
    })
}

fn bars() -> [(&'static str, Value); 4] {
    [
        ("custom.drawStyle", json!("bars")),
        ("custom.fillOpacity", json!(50)),
        ("custom.lineWidth", json!(1)),
        ("custom.showPoints", json!("never")),
    ]
}

fn line(dashed: bool) -> [(&'static str, Value); 5] {
    let style = if dashed { json!({ "dash": [6, 4], "fill": "dash" }) } else { json!({ "fill": "solid" }) };
    [
        ("custom.drawStyle", json!("line")),
        ("custom.fillOpacity", json!(0)),
        ("custom.lineStyle", style),
        ("custom.lineWidth", json!(2)),
        // a lone interval is a point without a line
        ("custom.showPoints", json!("auto")),
    ]
}
