//! The bytes on disk are those of the format: a store written by this version equals the one that is
//! kept in `fixtures`, byte for byte, and the kept one opens.
//!
//! After an intended change of the format: `RINGMAIN_BLESS=1 cargo test -p ringmain-engine --test golden`.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::{Durability, IoMode};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::*;

/// What this version writes.
const LATEST: u32 = 3;

/// The store of a format.
fn golden(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fixtures/golden-store-{format}"))
}

/// Every file below a directory, with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.ends_with("lock") {
                let content = fs::read(&path).unwrap();
                let content = if path.ends_with("checkpoint") { without_chance(&content) } else { content };
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), content);
            }
        }
    }
    found
}

/// The journal's epoch is random in part, and the checksum with it: both as if it were none.
fn without_chance(checkpoint: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(checkpoint).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let journal = lines.iter_mut().find(|line| line.starts_with("journal ")).unwrap();
    let rest = journal.splitn(3, ' ').nth(2).unwrap();
    *journal = format!("journal 0 {rest}");
    lines.pop();
    let body = lines.join("\n") + "\n";
    let checksum = crc32c::crc32c(body.as_bytes());
    format!("{body}end {checksum:08x}\n").into_bytes()
}

fn write(dir: &Path) {
    let store = open_small(dir, IoMode::Blocking);
    let log = store.create_log("orders-0", id(7), small()).unwrap();
    for tag in 0..60 {
        append(&log, batch(tag, 3, 1_700_000_000_000 + tag * 10), Durability::Written);
    }
    append(&log, sequenced(9, 0, 0), Durability::Written);
    store.close().unwrap();
}

#[test]
fn a_store_has_the_bytes_of_the_format() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let written = files(dir.path());
    if std::env::var_os("RINGMAIN_BLESS").is_some() {
        for (path, content) in &written {
            let path = golden(LATEST).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    let kept = files(&golden(LATEST));
    assert_eq!(written.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
    for (path, content) in &kept {
        assert_eq!(&written[path], content, "{}", path.display());
    }
}

#[test]
fn kept_stores_of_all_formats_open_with_all_that_is_in_them() {
    for (format, clean) in [(1, true), (1, false), (2, true), (2, false), (3, true), (3, false)] {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files(&golden(format)) {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        if !clean {
            fs::remove_file(dir.path().join("clean-shutdown")).unwrap();
        }
        let store = open_small(dir.path(), IoMode::Blocking);
        assert_eq!(store.was_clean(), clean);
        let log = store.log("orders-0").unwrap();
        assert_eq!(log.id(), id(7));
        let mut all = expected(0..60, 3);
        all.push("0".into());
        assert_eq!(values(&log), all);
        let retry = log.append(&mut sequenced(9, 0, 0), Durability::Written).unwrap();
        assert!(retry.duplicate);
        append(&log, sequenced(9, 0, 1), Durability::Durable);
        drop((store, log));
        let store = open_small(dir.path(), IoMode::Blocking);
        assert_eq!(store.log("orders-0").unwrap().progress().written, ringmain_engine::Offset(182));
    }
}

#[test]
fn a_look_from_outside_finds_nothing_wrong_and_every_flipped_byte() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let log = dir.path().join("orders-0");
    let check = || ringmain_engine::inspect::check_log(&log, |_| {}).unwrap();
    let sound = check();
    assert_eq!((sound.records, sound.problems.as_slice()), (181, &[][..]));
    assert!(sound.segments > 2 && sound.index_entries > 10);
    let mut paths: Vec<_> = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let named =
        |ending: &str| paths.iter().find(|path| path.extension().is_some_and(|e| e == ending)).unwrap();
    for path in [named("log"), named("index"), named("timeindex")] {
        let content = fs::read(path).unwrap();
        for at in 0..content.len().min(300) {
            let mut changed = content.clone();
            changed[at] ^= 0x40;
            fs::write(path, &changed).unwrap();
            // A leader epoch that is raised is valid by itself: what follows then falls.
            assert!(!check().problems.is_empty(), "byte {at} of {}", path.display());
        }
        fs::write(path, content).unwrap();
    }
    assert_eq!(check(), sound);
}
