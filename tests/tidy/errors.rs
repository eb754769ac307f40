//! An error's own text never holds that of its cause: `footprint_service::report` puts them together, each once.

use crate::sources::{code, sources};

/// What thiserror puts into a variant's text by name or number.
fn names(text: &str, field: &str) -> bool {
    ["}", ":"].iter().any(|end| text.contains(&format!("{{{field}{end}")))
        || text.contains(&format!("(.{field})"))
        || text.contains(&format!("(.{field}."))
}

/// Attributes of variants whose text holds their cause's, in a file's text.
fn repeated(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let starts: Vec<usize> = text.match_indices("#[error(").map(|(at, _)| at).collect();
    for (index, &start) in starts.iter().enumerate() {
        let rest = &text[start..starts.get(index + 1).copied().unwrap_or(text.len())];
        let Some((attribute, variant)) = rest.split_once(")]") else { continue };
        let variant = variant.split("\n}").next().unwrap_or(variant);
        let tuple = variant.trim_start().split_once(['(', '{', ',']).map_or("", |(_, fields)| fields);
        let mut fields = vec!["source".to_owned()];
        for (place, field) in
            tuple.split(',').enumerate().filter(|(_, field)| field.contains("#[source]") || field.contains("#[from]"))
        {
            fields.push(place.to_string());
            let name = field.rsplit(']').next().and_then(|rest| rest.split(':').next());
            fields.extend(name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
        }
        if fields.iter().any(|field| names(attribute, field)) {
            found.push(attribute.to_owned());
        }
    }
    found
}

#[test]
fn no_error_repeats_its_cause() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        wrong.extend(repeated(&code(&text)).into_iter().map(|attribute| format!("{name}: {attribute}")));
    }
    assert!(wrong.is_empty(), "the cause is told by footprint_service::report::Chain, not by these: {wrong:#?}");
}

#[test]
fn a_repeated_cause_is_found_however_it_is_written() {
    for variant in [
        "#[error(\"lost: {source}\")]\n Lost { source: Error },",
        "#[error(\"lost: {0}\")]\n Lost(#[from] Error),",
        "#[error(\"lost {0}: {1}\")]\n Lost(String, #[source] Error),",
        "#[error(\"lost: {why:?}\")]\n Lost { #[source] why: Error },",
        "#[error(\"lost: {}\", describe(.source))]\n Lost { source: Error },",
    ] {
        assert_eq!(repeated(variant).len(), 1, "{variant}");
    }
    for variant in [
        "#[error(\"lost {0}\")]\n Lost(String, #[source] Error),",
        "#[error(transparent)]\n Lost(#[from] Error),",
        "#[error(\"lost {what}\")]\n Lost { what: String, source: Error },",
    ] {
        assert_eq!(repeated(variant), Vec::<String>::new(), "{variant}");
    }
}
