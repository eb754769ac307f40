//! Each line of `footprint check` has a test in which it goes wrong, and a place in its manual page.

use std::fs;
use std::path::Path;

/// The lines: their names, and the method with which a test finds that they are wrong.
fn lines() -> Vec<(String, &'static str)> {
    let finding = read("src/cli/check/finding.rs");
    let table = finding.lines().filter(|line| line.trim_start().starts_with("Self::") && line.contains(" => (\""));
    let lines = table.map(|line| {
        let name = line.split('"').nth(1).expect("a name").to_owned();
        (name, if line.contains("Note)") { "note" } else { "fault" })
    });
    lines.collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_else(|_| panic!("{name} is missing"))
}

#[test]
fn every_line_of_check_has_a_test_in_which_it_is_wrong() {
    let lines = lines();
    assert!(lines.len() >= 37, "only {} lines were found", lines.len());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/check");
    let tests: String = fs::read_dir(folder)
        .expect("the tests of check")
        .map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a test"))
        .collect();
    for (name, method) in lines {
        let call = format!(".{method}(\"{name}\")");
        assert!(tests.contains(&call), "no test in tests/it/check/ has a {call}");
    }
}

#[test]
fn every_line_of_check_is_in_its_page() {
    let page = read("docs/check.md");
    let rows: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let names: Vec<String> = lines().into_iter().map(|(name, _)| name).collect();
    assert_eq!(rows, names, "docs/check.md has the lines of src/cli/check/finding.rs, in their order");
    for (name, status) in lines() {
        assert!(page.contains(&format!("| `{name}` | {status} |")), "{name} is a {status}");
    }
}
