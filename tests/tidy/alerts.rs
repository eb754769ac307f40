//! The alerts of `packaging/prometheus/`: each asks for metrics that exist, is tested in both directions, and has its section in the runbook.
//! `tools/manifests/` runs the cases with promtool, and `tests/it/alerts.rs` the rules in a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use footprint_service::metrics::catalogue::{ALL, Kind, Metric};

/// What each section of the runbook must say.
const PARTS: [&str; 5] = ["**It means:**", "**At risk:**", "**Look:**", "**Do:**", "**It is over when**"];

/// Labels that Prometheus gives to every series of a target.
const OF_TARGET: [&str; 2] = ["job", "instance"];

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rules: the alert's name and its lines.
fn rules() -> Vec<(String, String)> {
    let text = read("packaging/prometheus/footprint.rules.yml");
    let rules = text.split("\n      - alert: ").skip(1);
    let rules: Vec<_> = rules.map(|rule| rule.split_once('\n').expect("more lines")).collect();
    assert!(rules.len() > 9 && rules.len() == text.matches("alert:").count(), "{} rules were found", rules.len());
    rules.into_iter().map(|(name, lines)| (name.to_owned(), lines.to_owned())).collect()
}

/// The value of a key of a rule, with the lines that are indented below it.
fn value(rule: &str, key: &str) -> String {
    let mut lines = rule.lines().skip_while(|line| !line.trim_start().starts_with(&format!("{key}:")));
    let first = lines.next().unwrap_or_else(|| panic!("no {key} in {rule}"));
    let indent = |line: &str| line.len() - line.trim_start().len();
    let below = lines.take_while(|line| indent(line) > indent(first));
    let (_, value) = first.split_once(": ").expect("a value");
    std::iter::once(value).chain(below.map(str::trim)).collect::<Vec<_>>().join(" ")
}

/// The names in an expression that are names of metrics, with the labels that are asked of each.
fn metrics(expression: &str) -> Vec<(&str, Vec<&str>)> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_of_name) {
        let name_and_more = &rest[start..];
        let end = name_and_more.find(|c| !is_of_name(c)).unwrap_or(name_and_more.len());
        let (name, more) = name_and_more.split_at(end);
        let (labels, after) = match more.strip_prefix('{') {
            Some(inside) => inside.split_once('}').expect("a closing brace"),
            None => ("", more),
        };
        if ["footprint_", "process_"].iter().any(|prefix| name.starts_with(prefix)) || !labels.is_empty() {
            let labels = labels.split(',').filter_map(|label| label.split(['=', '!', '~']).next());
            found.push((name, labels.filter(|label| !label.is_empty()).collect()));
        }
        rest = after;
    }
    found
}

/// The metric of the catalogue with this name, or whose histogram has this series.
fn metric(name: &str) -> Option<&'static Metric> {
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    ALL.iter().find(|metric| match metric.kind {
        Kind::Histogram(_) => base == Some(metric.name),
        _ => metric.name == name,
    })
}

#[test]
fn every_alert_asks_for_metrics_of_the_catalogue() {
    for (alert, rule) in rules() {
        let expression = value(&rule, "expr");
        let asked = metrics(&expression);
        assert!(!asked.is_empty(), "{alert} asks for no metric: {expression}");
        for (name, labels) in asked.into_iter().filter(|(name, _)| *name != "up") {
            let metric =
                metric(name).unwrap_or_else(|| panic!("{alert} asks for {name}, which is not in the catalogue"));
            for label in labels {
                assert!(
                    metric.labels.contains(&label) || OF_TARGET.contains(&label),
                    "{alert}: {name} has no label {label}"
                );
            }
        }
    }
}

#[test]
fn every_alert_has_a_severity_and_says_what_it_is() {
    for (alert, rule) in rules() {
        assert!(alert.starts_with("Footprint"), "{alert}");
        let labels = value(&rule, "labels");
        assert!(["{ severity: critical }", "{ severity: warning }"].contains(&labels.as_str()), "{alert}: {labels}");
        for key in ["summary", "description"] {
            assert!(value(&rule, key).len() > 20, "{alert} has no {key}");
        }
        let section = format!("docs/runbook.md#{}", alert.to_lowercase());
        assert_eq!(value(&rule, "runbook_url"), section, "{alert}");
    }
}

#[test]
fn every_alert_has_its_section_in_the_runbook_and_no_other_section_is_there() {
    let runbook = read("docs/runbook.md");
    let sections: Vec<(&str, &str)> =
        runbook.split("\n## ").skip(1).map(|section| section.split_once('\n').expect("a text")).collect();
    let of_sections: BTreeSet<&str> = sections.iter().map(|(name, _)| *name).collect();
    let rules = rules();
    let of_rules: BTreeSet<&str> = rules.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(of_sections, of_rules);
    assert_eq!(of_rules.len(), rules.len(), "two alerts have one name");
    for (name, text) in sections {
        let mut rest = text;
        for part in PARTS {
            let (_, after) =
                rest.split_once(part).unwrap_or_else(|| panic!("{name} lacks {part}, or has it too early"));
            rest = after;
        }
    }
}

/// A tired person must not find that a command, a setting or a metric of the runbook does not exist.
#[test]
fn commands_settings_and_metrics_of_the_runbook_exist() {
    let runbook = read("docs/runbook.md");
    let settings = read("docs/configuration.md");
    let cli = read("src/cli/mod.rs");
    let quoted = runbook.split('`').skip(1).step_by(2);
    let indented = runbook.lines().filter_map(|line| line.strip_prefix("    "));
    let mut commands = 0;
    for code in quoted.chain(indented) {
        if let Some(command) = code.strip_prefix("footprint ").and_then(|rest| rest.split(' ').next()) {
            commands += 1;
            let words = command.split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
            let variant = format!("\n    {}(", words.collect::<String>());
            assert!(cli.contains(&variant), "there is no command footprint {command}");
        }
        let words = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
        for word in words {
            if let Some((section, setting)) = word.split_once('.')
                && ["kafka", "postgres", "clickhouse", "pipeline", "telemetry"].contains(&section)
            {
                assert!(settings.contains(&format!("**`{setting}`**")), "there is no setting {word}");
            }
            // tables of the ledger are no metrics
            if word.starts_with("footprint_") && !["footprint_gap", "footprint_ledger"].contains(&word) {
                assert!(metric(word).is_some(), "{word} is not in the catalogue");
            }
        }
    }
    assert!(commands > 5, "only {commands} commands were found");
}

/// The cases of promtool: each alert fires in one, and does not in another, on series with the labels that the program gives.
#[test]
fn every_alert_is_tested_in_both_directions() {
    let text = read("packaging/prometheus/footprint.test.yml");
    let cases: Vec<&str> = text.split("\n  - name: ").skip(1).collect();
    for (alert, _) in rules() {
        let named = format!("alertname: {alert}");
        let of_alert = cases
            .iter()
            .filter(|case| case.lines().any(|line| line.ends_with(&named) || line.contains(&format!("{named},"))));
        let (fires, silent): (Vec<&str>, Vec<&str>) =
            of_alert.copied().partition(|case| case.starts_with(&format!("{alert} fires")));
        assert!(fires.iter().any(|case| case.contains("exp_labels")), "no case in which {alert} fires");
        let expects_none = |case: &&str| case.contains("exp_alerts: []") && !case.contains("exp_labels");
        assert!(silent.iter().any(expects_none), "no case in which {alert} does not fire");
    }
    for series in text.split("series: '").skip(1).map(|rest| rest.split('\'').next().unwrap_or_default()) {
        let (name, labels) = metrics(series).pop().unwrap_or_else(|| panic!("{series} has no labels"));
        let given: BTreeSet<&str> = labels.into_iter().collect();
        let own = match name {
            "up" => &[],
            name => metric(name).unwrap_or_else(|| panic!("{series} is not in the catalogue")).labels,
        };
        let mut wanted: BTreeSet<&str> = own.iter().copied().chain(OF_TARGET).collect();
        if name.ends_with("_bucket") {
            wanted.insert("le");
        }
        assert_eq!(given, wanted, "{series}");
    }
}
