//! The variables of Grafana's Prometheus data source (2026-08): its own, and those of the dashboard.

use super::{Asked, interval_text};

/// The value of a variable for which all is chosen, if its `allValue` is ".*".
pub const ALL: &str = "$__all";

/// Expands a query. `scrape_ms` is the data source's "Scrape interval".
pub fn prometheus(expr: &str, asked: &Asked<'_>, scrape_ms: i64) -> Result<String, String> {
    let (mut text, mut rest) = (String::new(), expr);
    while let Some((before, after)) = rest.split_once('$') {
        let (name, after) = match after.strip_prefix('{') {
            Some(inside) => inside.split_once('}').ok_or("${ without }")?,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        text += before;
        text += &value(name, asked, scrape_ms)?;
        rest = after;
    }
    Ok(text + rest)
}

fn value(name: &str, asked: &Asked<'_>, scrape_ms: i64) -> Result<String, String> {
    let Asked { from_ms, to_ms, interval_ms, variables } = *asked;
    let rate_ms = (interval_ms + scrape_ms).max(4 * scrape_ms);
    let range_ms = to_ms - from_ms;
    Ok(match name {
        "__interval_ms" => interval_ms.to_string(),
        "__interval" => interval_text(interval_ms),
        "__rate_interval_ms" => rate_ms.to_string(),
        "__rate_interval" => go_duration(rate_ms)?,
        "__range_ms" => range_ms.to_string(),
        // a half is rounded up
        "__range_s" => ((range_ms + 500) / 1_000).to_string(),
        "__range" => format!("{}s", (range_ms + 500) / 1_000),
        name => match variables.iter().find(|(known, _)| *known == name) {
            Some((_, ALL)) => ".*".to_owned(),
            Some((_, value)) => escaped(value),
            None => return Err(format!("there is no variable {name}")),
        },
    })
}

/// What Go prints for a duration of whole seconds. It prints others as `1.5s`, which Prometheus does not take.
fn go_duration(ms: i64) -> Result<String, String> {
    let seconds = ms / 1_000;
    if ms % 1_000 != 0 || seconds == 0 {
        return Err(format!("{ms} ms are no whole seconds"));
    }
    Ok(match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    })
}

/// A value of a variable with several values goes into a regular expression, in double quotes.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            '\\' => text += "\\\\\\\\",
            '$' | '^' | '*' | '{' | '}' | '[' | ']' | '\'' | '+' | '?' | '.' | '(' | ')' | '|' => {
                text += "\\\\";
                text.push(c);
            }
            c => text.push(c),
        }
    }
    text
}

#[test]
fn every_variable_of_prometheus() {
    let asked =
        Asked { from_ms: 0, to_ms: 3_600_000, interval_ms: 60_000, variables: &[("route", ALL), ("one", "a.b")] };
    for (expr, scrape_ms, expanded) in [
        ("rate(c[$__rate_interval])", 1_000, "rate(c[1m1s])"),
        ("rate(c[$__rate_interval])", 15_000, "rate(c[1m15s])"),
        ("rate(c[${__rate_interval}])", 30_000, "rate(c[2m0s])"),
        ("$__interval $__interval_ms $__rate_interval_ms", 15_000, "1m 60000 75000"),
        ("increase(c[$__range]) $__range_s $__range_ms", 15_000, "increase(c[3600s]) 3600 3600000"),
        (r#"{route=~"$route", one=~"${one}"}"#, 15_000, r#"{route=~".*", one=~"a\\.b"}"#),
    ] {
        assert_eq!(prometheus(expr, &asked, scrape_ms).as_deref(), Ok(expanded), "{expr}");
    }
    assert!(prometheus("$other", &asked, 15_000).is_err());
    assert!(prometheus("${route", &asked, 15_000).is_err());
    assert!(prometheus("c[$__rate_interval]", &asked, 200).is_err());
}
