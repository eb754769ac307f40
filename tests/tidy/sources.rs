//! The sources of the program and of its crates, as text.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the sources are, and the prefix of their names in these tests: `read/reader.rs` is the program's, and
/// `service/kafka/events.rs` is `crates/service/src/kafka/events.rs`.
const ROOMS: [(&str, &str); 4] = [
    ("", "src"),
    ("protocol/", "crates/protocol/src"),
    ("event/", "crates/event/src"),
    ("service/", "crates/service/src"),
];

pub fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("src is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }
    let mut all = Vec::new();
    for (room, folder) in ROOMS {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut paths = Vec::new();
        walk(&root, &mut paths);
        assert!(!paths.is_empty(), "the sources of {folder} were not found");
        all.extend(paths.into_iter().map(|path| {
            let name = path.strip_prefix(&root).expect("below the folder").to_string_lossy().replace('\\', "/");
            (format!("{room}{name}"), fs::read_to_string(&path).expect("a source"))
        }));
    }
    all
}

pub fn is_test(name: &str) -> bool {
    name.contains("tests")
}

/// A file without its unit tests.
pub fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// A file without its unit tests and comments.
pub fn code(text: &str) -> String {
    without_tests(text).lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}
