//! How much is logged, in words: a level in the words of Rust's or of Python's logging, in upper or lower case, or a filter of
//! targets. Any other word is refused: as a target it would silence everything. Pure.

/// The words allowed, as an error names them.
const WORDS: &str = "error, warn, info, debug, trace or off (or critical, fatal, warning, notset)";

/// The level that a word means.
fn level(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        // nothing is logged at a level worse than an error
        "critical" | "fatal" | "error" => "error",
        "warning" | "warn" => "warn",
        "info" => "info",
        "debug" => "debug",
        "notset" | "trace" => "trace",
        "off" => "off",
        _ => return None,
    })
}

/// The filter in the words of tracing's `EnvFilter`: `WARNING` is `warn`, `footprint=DEBUG, warn` is `footprint=debug,warn`.
///
/// # Errors
/// A word is no level. The text has the words allowed.
pub(crate) fn canonical(text: &str) -> Result<String, String> {
    let directives: Result<Vec<String>, String> = text.split(',').map(|part| directive(part.trim())).collect();
    directives.map(|directives| directives.join(","))
}

fn directive(text: &str) -> Result<String, String> {
    if let Some(level) = level(text) {
        return Ok(level.to_owned());
    }
    // the level is after the last equals sign; one within brackets compares a span's field
    match text.rsplit_once('=') {
        Some((target, word)) if !word.contains([']', '}']) => match level(word.trim()) {
            Some(level) if !target.trim().is_empty() => Ok(format!("{}={level}", target.trim())),
            _ => Err(format!("{:?} is no level; use {WORDS}", word.trim())),
        },
        _ if text.contains("::") || text.contains('[') => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no level; use {WORDS}, or a filter such as footprint=debug,warn")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_words_mean_what_they_meant() {
        for (text, filter) in [
            ("WARNING", "warn"),
            ("warn ", "warn"),
            ("CRITICAL", "error"),
            ("Fatal", "error"),
            ("NOTSET", "trace"),
            ("INFO", "info"),
            ("off", "off"),
            ("footprint=debug,warn", "footprint=debug,warn"),
            (" footprint = DEBUG , WARNING", "footprint=debug,warn"),
            ("footprint::read::reader,error", "footprint::read::reader,error"),
            ("[span{field=1}]=debug", "[span{field=1}]=debug"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(filter), "{text}");
        }
        for wrong in ["", "verbose", "10", "footprint", "footprint=debgu", "=debug", "info,", "warn;info"] {
            assert!(canonical(wrong).is_err_and(|why| why.contains("use error, warn, info")), "{wrong}");
        }
    }
}
