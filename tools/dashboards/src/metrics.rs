//! Questions to Prometheus.

use serde_json::{Value, json};

use crate::database::Format;

/// One query, and the name of each series of its answer.
#[derive(Debug)]
pub(crate) struct Query {
    /// PromQL with Grafana's variables.
    pub(crate) expr: String,
    /// The name, with labels as `{{label}}`.
    pub(crate) legend: &'static str,
}

/// A query. `ROUTES` becomes the filter of the dashboard's variable "Route".
pub(crate) fn query(expr: &str, legend: &'static str) -> Query {
    Query { expr: expr.replace("ROUTES", r#"route=~"$route""#), legend }
}

/// Quantiles of a histogram, by labels. `label` is named in the legends.
pub(crate) fn quantiles(name: &str, by: &str, legends: [&'static str; 2]) -> Vec<Query> {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    let quantile = |share: &str, legend| {
        query(
            &format!("histogram_quantile({share}, sum by ({by}) (rate({name}_bucket{{ROUTES}}[$__rate_interval])))"),
            legend,
        )
    };
    let [half, most] = legends;
    vec![quantile("0.5", half), quantile("0.99", most)]
}

/// The data source of `grafana/provisioning`.
pub(crate) fn data_source() -> Value {
    json!({ "type": "prometheus", "uid": "footprint-prometheus" })
}

/// A query as the data source's own editor would save it. A table or a single number needs only the end of the time range.
pub(crate) fn target(ref_id: &str, query: &Query, format: Format) -> Value {
    let is_range = format == Format::TimeSeries;
    json!({
        "datasource": data_source(),
        "editorMode": "code",
        "expr": query.expr,
        "format": "time_series",
        "instant": !is_range,
        "legendFormat": query.legend,
        "range": is_range,
        "refId": ref_id,
    })
}

/// The routes to choose from, all by default.
pub(crate) fn routes() -> Value {
    let question = "label_values(footprint_component_health, route)";
    json!({
        "allValue": ".*",
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "datasource": data_source(),
        "definition": question,
        "description": "The routes that the panels show",
        "hide": 0,
        "includeAll": true,
        "label": "Route",
        "multi": true,
        "name": "route",
        "options": [],
        "query": { "qryType": 1, "query": question, "refId": "route" },
        "refresh": 2,
        "regex": "",
        "skipUrlSync": false,
        "sort": 1,
        "type": "query",
    })
}
