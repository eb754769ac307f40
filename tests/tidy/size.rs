//! How large a file and a function may become before they must be split by concept.

use crate::sources::{code, is_test, sources, without_tests};

/// Lines of a file, without tests, at most.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function, from its name to its last brace, at most.
const FUNCTION_LINES_MAX: usize = 70;

/// Files that must still be split, and their lengths. This list only shrinks.
const FILES_TO_SPLIT: [(&str, usize); 3] =
    [("store/clickhouse/native.rs", 501), ("upkeep/verify/walk.rs", 401), ("upkeep/verify/window.rs", 416)];
/// The same for functions.
const FUNCTIONS_TO_SPLIT: [(&str, usize); 0] = [];

fn larger(list: &[(&str, usize)], name: &str, max: usize) -> usize {
    list.iter().find(|(listed, _)| *listed == name).map_or(max, |&(_, lines)| lines)
}

#[test]
fn no_file_grows_past_one_concept() {
    let large: Vec<String> = sources()
        .iter()
        .filter(|(name, _)| !is_test(name))
        .map(|(name, text)| (name, without_tests(text).lines().count()))
        .filter(|&(name, lines)| lines > larger(&FILES_TO_SPLIT, name, FILE_LINES_MAX))
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    assert!(large.is_empty(), "which concept needs its own file? {large:#?}");
}

#[test]
fn no_function_grows_past_one_thought() {
    let mut large = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| !is_test(name)) {
        for (function, lines) in functions(&code(text)) {
            if lines > larger(&FUNCTIONS_TO_SPLIT, &function, FUNCTION_LINES_MAX) {
                large.push(format!("{name}: {function}: {lines} lines"));
            }
        }
    }
    assert!(large.is_empty(), "which part needs its own function? {large:#?}");
}

/// Each function's name and number of lines. It ends at the brace with the indentation of its first line; rustfmt guarantees
/// that.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let Some((before, after)) = line.split_once("fn ") else { continue };
        let words = before
            .split_whitespace()
            .all(|word| word.starts_with("pub") || ["async", "const", "unsafe", "extern", "\"C\""].contains(&word));
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !words || name.is_empty() {
            continue;
        }
        let end = format!("{}}}", " ".repeat(line.len() - line.trim_start().len()));
        if let Some(length) = lines[first..].iter().position(|line| *line == end) {
            found.push((name, length + 1));
        }
    }
    found
}
