//! Every input of `fixtures/corpus` for the broker, through what reads it: those by which `scripts/fuzz` got
//! furthest, and what it found.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use ringmain::fuzzing::TARGETS;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 6, "{} inputs", paths.len());
    for path in paths {
        let input = std::fs::read(&path).unwrap();
        let done = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        assert!(done.is_ok(), "{}", path.display());
    }
}

#[test]
fn requests() {
    run("request");
}

#[test]
fn handlers() {
    run("handler");
}
