//! Every input of `fixtures/corpus`, through what reads it: sound ones, damaged ones, and those by which
//! `scripts/fuzz` got furthest.
//!
//! The plain ones are made by `RINGMAIN_BLESS=1 cargo test -p ringmain-engine --test corpus`; what `scripts/fuzz`
//! finds is put there by hand.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use ringmain_engine::fuzzing::{TARGETS, Target};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

fn dir(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/corpus").join(target.name)
}

fn inputs(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    if std::env::var_os("RINGMAIN_BLESS").is_some() {
        bless(target);
    }
    let mut paths: Vec<_> = fs::read_dir(dir(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn bless(target: &Target) {
    fs::create_dir_all(dir(target)).unwrap();
    let sound = (target.sound)();
    let made = [
        ("sound", sound.clone()),
        ("empty", Vec::new()),
        ("half", sound[..sound.len() / 2].to_vec()),
        ("zeros", vec![0; sound.len().min(1000)]),
        ("letter", b"Dear reader,\nthis letter is not meant for you.\n".to_vec()),
    ];
    for (name, content) in made {
        fs::write(dir(target).join(name), content).unwrap();
    }
}

fn run(target: &Target) {
    let inputs = inputs(target);
    assert!(inputs.len() >= 6);
    for (path, input) in &inputs {
        let done = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
        assert!(done.is_ok(), "{}", path.display());
    }
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

#[test]
fn the_sound_ones_are_those_of_this_version() {
    for target in &TARGETS {
        let kept = inputs(target).into_iter().find(|(path, _)| path.ends_with("sound")).unwrap().1;
        assert_eq!(kept, (target.sound)(), "{}", target.name);
    }
}

#[test]
fn batches() {
    run(target("batch"));
}

#[test]
fn segments() {
    run(target("segment"));
}

#[test]
fn indexes() {
    run(target("index"));
    run(target("timeindex"));
}

#[test]
fn checkpoints() {
    run(target("checkpoint"));
}

#[test]
fn journals() {
    run(target("journal"));
}
