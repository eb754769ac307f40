//! What Grafana does to a panel's SQL before it sends it: variables first, then the macros of the data source. The rules are those of
//! Grafana's PostgreSQL and Prometheus data sources (2026-08) and of the ClickHouse plugin 4.20.

pub mod prometheus;

use chrono::{DateTime, SecondsFormat};

/// What the dashboard asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The time range, UTC milliseconds.
    pub from_ms: i64,
    pub to_ms: i64,
    /// The interval that Grafana chose for the panel's width.
    pub interval_ms: i64,
    /// The variables of the dashboard: names and values.
    pub variables: &'a [(&'a str, &'a str)],
}

/// Replaces the dashboard's variables, as the browser does. Only the two spellings are known that the dashboards use.
pub fn variables(sql: &str, asked: &Asked<'_>) -> Result<String, String> {
    let (mut text, mut rest) = (String::new(), sql);
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or("${ without }")?;
        let (name, format) = name.split_once(':').ok_or_else(|| format!("${{{name}}} has no format"))?;
        let known = asked.variables.iter().find(|(known, _)| *known == name);
        let (_, value) = known.ok_or_else(|| format!("there is no variable {name}"))?;
        text += before;
        match format {
            // Grafana also escapes double quotes, although no SQL dialect asks for that in a text
            "sqlstring" => text += &format!("'{}'", value.replace('\'', "''").replace('"', "\\\"")),
            "raw" => text += value,
            _ => return Err(format!("unknown format {format}")),
        }
        rest = after;
    }
    Ok(text + rest)
}

/// Expands a query for PostgreSQL.
pub fn postgresql(sql: &str, asked: &Asked<'_>) -> Result<String, String> {
    let (from_s, to_s) = (asked.from_ms.div_euclid(1000), asked.to_ms.div_euclid(1000));
    let sql = variables(sql, asked)?
        .replace("$__interval_ms", &asked.interval_ms.to_string())
        .replace("$__interval", &interval_text(asked.interval_ms))
        .replace("$__unixEpochFrom()", &from_s.to_string())
        .replace("$__unixEpochTo()", &to_s.to_string());
    let (mut text, mut rest) = (String::new(), sql.as_str());
    while let Some(at) = rest.find('$') {
        let (before, found) = rest.split_at(at);
        text += before;
        let name_end =
            found[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(found.len(), |end| end + 1);
        let name = &found[1..name_end];
        let call = found[name_end..].strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let Some((arguments, after)) = call.filter(|_| !name.is_empty()) else {
            text += "$";
            rest = &found[1..];
            continue;
        };
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
        text += &postgresql_macro(name, &arguments, after.starts_with(','), asked)?;
        rest = after;
    }
    Ok(text + rest)
}

fn postgresql_macro(name: &str, arguments: &[&str], comma_follows: bool, asked: &Asked<'_>) -> Result<String, String> {
    let first = *arguments.first().filter(|first| !first.is_empty()).unwrap_or(&"");
    let needs_column = !matches!(name, "__timeFrom" | "__timeTo" | "__unixEpochNanoFrom" | "__unixEpochNanoTo");
    if needs_column && first.is_empty() {
        return Err(format!("${name} needs a column"));
    }
    let Asked { from_ms, to_ms, .. } = *asked;
    let (from, to) = (rfc3339(from_ms), rfc3339(to_ms));
    let (from_s, to_s) = (from_ms.div_euclid(1000), to_ms.div_euclid(1000));
    let group = |value: &str| {
        let interval = arguments.get(1).ok_or_else(|| format!("${name} needs an interval"))?;
        let seconds = duration_s(interval.trim_matches('\''))?;
        Ok::<_, String>(format!("floor({value}/{seconds})*{seconds}"))
    };
    let alias = |text: String, wanted: bool| if wanted { format!("{text} AS \"time\"") } else { text };
    Ok(match name {
        "__time" => format!("{first} AS \"time\""),
        "__timeEpoch" => format!("extract(epoch from {first}) as \"time\""),
        "__timeFilter" => format!("{first} BETWEEN '{from}' AND '{to}'"),
        "__timeFrom" => format!("'{from}'"),
        "__timeTo" => format!("'{to}'"),
        "__timeGroup" => alias(group(&format!("extract(epoch from {first})"))?, comma_follows),
        "__timeGroupAlias" => alias(group(&format!("extract(epoch from {first})"))?, true),
        "__unixEpochFilter" => format!("{first} >= {from_s} AND {first} <= {to_s}"),
        "__unixEpochNanoFilter" => format!("{first} >= {from_ms}000000 AND {first} <= {to_ms}000000"),
        "__unixEpochNanoFrom" => format!("{from_ms}000000"),
        "__unixEpochNanoTo" => format!("{to_ms}000000"),
        "__unixEpochGroup" => alias(group(&format!("({first})"))?, comma_follows),
        "__unixEpochGroupAlias" => alias(group(&format!("({first})"))?, true),
        _ => return Err(format!("unknown macro ${name}")),
    })
}

/// RFC 3339 with a fraction only if it is not zero.
fn rfc3339(ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(ms).expect("a time of this century");
    let text = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let (seconds, fraction) = text.trim_end_matches('Z').split_once('.').expect("milliseconds");
    match fraction.trim_end_matches('0') {
        "" => format!("{seconds}Z"),
        fraction => format!("{seconds}.{fraction}Z"),
    }
}

/// Units of an interval, the largest first, in milliseconds.
const UNITS_MS: [(&str, i64); 6] =
    [("y", 31_536_000_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The largest unit of which the interval has at least one. What is over is lost: 90 s gives `1m`.
fn interval_text(ms: i64) -> String {
    let (unit, unit_ms) = *UNITS_MS.iter().find(|(_, unit_ms)| ms >= *unit_ms).unwrap_or(&("ms", 1));
    format!("{}{unit}", (ms / unit_ms).max(1))
}

/// The seconds of a duration such as `5m`, `1m30s`, `200ms`, `7d` or `1w`.
fn duration_s(text: &str) -> Result<f64, String> {
    let (mut seconds, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits =
            rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(|| format!("{text} has no unit"))?;
        let number: f64 = rest[..digits].parse().map_err(|_| format!("{text} is no interval"))?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                "w" => 604_800.0,
                unit => return Err(format!("{unit:?} in {text} is no unit, or is measured from now")),
            };
        rest = &rest[end..];
    }
    if seconds > 0.0 { Ok(seconds) } else { Err(format!("{text:?} is no interval")) }
}

/// Expands a query for ClickHouse.
pub fn clickhouse(sql: &str, asked: &Asked<'_>) -> Result<String, String> {
    let sql = without_comments(&variables(sql, asked)?);
    let (mut text, mut rest) = (String::new(), sql.as_str());
    while let Some(at) = rest.find(['$', '\'']) {
        let (before, found) = rest.split_at(at);
        text += before;
        let Some(name) = found.strip_prefix("$__") else {
            let end = if found.starts_with('\'') { quoted_end(found) } else { 1 };
            text += &found[..end];
            rest = &found[end..];
            continue;
        };
        let name_end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
        let (name, after) = name.split_at(name_end);
        let (arguments, after) = arguments(after)?;
        match clickhouse_macro(name, &arguments, asked)? {
            Some(expanded) => text += &expanded,
            // an unknown macro stays as it is, and the server refuses it
            None => text += &found[..found.len() - after.len()],
        }
        rest = after;
    }
    Ok(text + rest)
}

fn clickhouse_macro(name: &str, arguments: &[String], asked: &Asked<'_>) -> Result<Option<String>, String> {
    let Asked { from_ms, to_ms, interval_ms, .. } = *asked;
    let seconds = |ms: i64| format!("toDateTime({})", ms.div_euclid(1000));
    let millis = |ms: i64| format!("fromUnixTimestamp64Milli({ms})");
    let date = |ms: i64| format!("toDate('{}')", &rfc3339(ms)[..10]);
    let between = |column: &str, from: String, to: String| format!("{column} >= {from} AND {column} <= {to}");
    let interval_s = (interval_ms / 1000).max(1);
    let wanted = match name {
        "fromTime" | "toTime" | "fromTime_ms" | "toTime_ms" | "interval_s" => 0,
        "timeFilter" | "timeFilter_ms" | "dateFilter" | "timeFrom" | "timeTo" | "timeInterval" | "timeInterval_ms" => 1,
        "dateTimeFilter" | "dt" | "timeGroup" | "conditionalAll" => 2,
        _ => return Ok(None),
    };
    if arguments.len() != wanted {
        return Err(format!("$__{name} needs {wanted} arguments and has {}", arguments.len()));
    }
    let argument = |index: usize| arguments[index].as_str();
    Ok(Some(match name {
        "fromTime" => seconds(from_ms),
        "toTime" => seconds(to_ms),
        "fromTime_ms" => millis(from_ms),
        "toTime_ms" => millis(to_ms),
        "interval_s" => interval_s.to_string(),
        "timeFilter" => between(argument(0), seconds(from_ms), seconds(to_ms)),
        "timeFilter_ms" => between(argument(0), millis(from_ms), millis(to_ms)),
        "dateFilter" => between(argument(0), date(from_ms), date(to_ms)),
        "timeFrom" => format!("{} >= {}", argument(0), seconds(from_ms)),
        "timeTo" => format!("{} <= {}", argument(0), seconds(to_ms)),
        "timeInterval" => format!("toStartOfInterval(toDateTime({}), INTERVAL {interval_s} second)", argument(0)),
        "timeInterval_ms" => {
            format!("toStartOfInterval(toDateTime64({}, 3), INTERVAL {} millisecond)", argument(0), interval_ms.max(1))
        }
        "timeGroup" => format!(
            "toStartOfInterval(toDateTime({}), INTERVAL {} second)",
            argument(0),
            duration_s(argument(1).trim_matches('\''))?
        ),
        "conditionalAll" if argument(1).is_empty() || argument(1).contains("$__all") => "1=1".to_owned(),
        "conditionalAll" => argument(0).to_owned(),
        _ => format!(
            "({}) AND ({})",
            between(argument(0), date(from_ms), date(to_ms)),
            between(argument(1), seconds(from_ms), seconds(to_ms))
        ),
    }))
}

/// The length of a quoted text at the start of `text`, with its quotes.
fn quoted_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Comments become blanks, but not in quotes.
fn without_comments(sql: &str) -> String {
    let (mut text, mut rest) = (String::new(), sql);
    while !rest.is_empty() {
        let (length, kept) = if rest.starts_with('\'') {
            (quoted_end(rest), true)
        } else if rest.starts_with("--") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), false)
        } else {
            (rest.chars().next().map_or(0, char::len_utf8), true)
        };
        text += if kept { &rest[..length] } else { " " };
        rest = &rest[length..];
    }
    text
}

/// The arguments in brackets at the start of `text`, and the text behind them. No bracket: none.
fn arguments(text: &str) -> Result<(Vec<String>, &str), String> {
    let Some(inner) = text.strip_prefix('(') else { return Ok((Vec::new(), text)) };
    let (mut found, mut depth, mut start, mut at) = (Vec::new(), 0, 0, 0);
    while let Some(c) = inner[at..].chars().next() {
        match c {
            '\'' => at += quoted_end(&inner[at..]) - 1,
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            ',' if depth == 0 => {
                found.push(inner[start..at].trim().to_owned());
                start = at + 1;
            }
            ')' => {
                let last = inner[start..at].trim();
                if !last.is_empty() || !found.is_empty() {
                    found.push(last.to_owned());
                }
                return Ok((found, &inner[at + 1..]));
            }
            _ => {}
        }
        at += c.len_utf8();
    }
    Err(format!("no ) in {text}"))
}

mod tests;
