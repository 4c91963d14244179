//! The rooms of the house (ARCHITECTURE.md): who may know whom.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

/// Names of all dependencies of a crate's manifest, tests' own left out.
fn dependencies(name: &str) -> BTreeSet<String> {
    let path = format!("{}/../{name}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

fn rooms(name: &str) -> Vec<String> {
    dependencies(name).into_iter().filter(|dependency| dependency.starts_with("levada-")).collect()
}

#[test]
fn crates_know_only_whom_they_may() {
    assert!(rooms("overlay").is_empty());
    assert!(rooms("media").is_empty());
    assert_eq!(rooms("sim"), ["levada-overlay"]);
    assert_eq!(rooms("node"), ["levada-media", "levada-overlay"]);
    assert_eq!(rooms("lab"), ["levada-media", "levada-node", "levada-overlay", "levada-sim"]);
    assert!(!rooms("levada").contains(&"levada-media".to_owned()));
}

#[test]
fn the_brain_and_the_codecs_have_no_io() {
    for name in ["overlay", "media"] {
        let io = ["tokio", "quinn", "socket2", "reqwest", "axum", "ring"];
        let found: Vec<_> = dependencies(name).into_iter().filter(|d| io.contains(&d.as_str())).collect();
        assert!(found.is_empty(), "{name} depends on {found:?}");
    }
}
