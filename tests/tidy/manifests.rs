//! Checks of every manifest of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

/// The manifests of the workspace's packages.
fn manifests() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let members = ["crates", "tools"].iter().flat_map(|folder| fs::read_dir(root.join(folder)).expect("a folder"));
    let manifests = members.map(|member| member.expect("an entry").path().join("Cargo.toml"));
    manifests.filter(|manifest| manifest.is_file()).chain([root.join("Cargo.toml")]).collect()
}

#[test]
fn every_package_has_the_licence_and_the_lints_of_the_workspace() {
    let manifests = manifests();
    for manifest in &manifests {
        let text = fs::read_to_string(manifest).expect("a manifest");
        for line in ["license.workspace = true\n", "[lints]\nworkspace = true\n"] {
            assert!(text.contains(line), "{} lacks {line:?}", manifest.display());
        }
    }
    assert!(manifests.len() > 7, "only {} manifests were found", manifests.len());
}

/// Everybody must be able to read and check the protocol alone, so it uses the standard library and nothing else.
#[test]
fn the_protocol_depends_on_std_alone() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/protocol/Cargo.toml");
    let text = fs::read_to_string(manifest).expect("the manifest of the protocol");
    let tables: Vec<&str> =
        text.lines().filter(|line| line.starts_with('[') && line.contains("dependencies")).collect();
    assert_eq!(tables, ["[dev-dependencies]"], "crates/protocol depends only on std; its tests may use more");
}

/// A reader of `[workspace.lints]` would not see lints that are set in one crate alone.
#[test]
fn no_crate_sets_lints_for_itself() {
    for (name, text) in crate::sources::sources() {
        for level in ["#![allow(", "#![warn(", "#![deny(", "#![forbid(", "#![cfg_attr("] {
            assert!(!text.contains(level), "{name} holds {level}: lints are in [workspace.lints] of Cargo.toml");
        }
    }
}
