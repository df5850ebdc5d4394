//! Files and directories of a store that are missing, swapped or those of another store, after a crash: nothing
//! that was acknowledged goes without a word.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::{AppendError, Durability, IoMode, LogConfig, OpenError, Store, StoreConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use support::backend::{Backend, files};
use support::*;

fn config() -> StoreConfig {
    StoreConfig {
        io_mode: Some(IoMode::Blocking),
        log: LogConfig { segment_bytes: 4000, ..small() },
        journal_file_bytes: 256 << 10,
        journal_files_max: 4,
        journal_range_bytes_max: 1 << 20,
        // None by age: what is in the checkpoint is what the tests say.
        checkpoint_age_ms: 3_600_000,
        ..StoreConfig::default()
    }
}

/// A store that a crash left: the log `known-0` is in its checkpoint, `new-0` only in its journal, which has two
/// files. Each has 30 batches.
fn crashed() -> Backend {
    let backend = Backend::blocking();
    let store = backend.open_with_journal(config());
    fill(&store.create_log("known-0", id(1), config().log).unwrap());
    store.close().unwrap();
    drop(store);
    let store = backend.open(config());
    let log = store.create_log("new-0", id(2), config().log).unwrap();
    fill(&log);
    let second = backend.dir().join("journal/1");
    let mut tag = 100;
    while !second.exists() {
        append(&log, batch(tag, 3, tag), Durability::Durable);
        tag += 1;
        // From here on a file is being made. On a slow disk more appends would fill the first one, which a checkpoint would
        // empty, and `new-0` would be in that.
        let asked = store.journal_stats().bytes * 2 >= config().journal_file_bytes;
        for _ in 0..if asked { 200 } else { 0 } {
            if second.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    drop((store, log));
    backend
}

fn fill(log: &std::sync::Arc<ringmain_engine::Log>) {
    (0..30).for_each(|tag| {
        append(log, batch(tag, 3, tag), Durability::Durable);
    });
}

fn refused(backend: &Backend) -> String {
    let message = Store::open(backend.dir(), config()).map(drop).unwrap_err().to_string();
    // It is refused again: nothing was changed by the first time.
    assert_eq!(Store::open(backend.dir(), config()).map(drop).unwrap_err().to_string(), message);
    message
}

fn holds(message: &str, path: &Path, what: &str) {
    assert!(message.contains(&path.display().to_string()) && message.contains(what), "{message}");
}

#[test]
fn a_file_of_the_journal_that_is_lost_or_not_its_own_is_noticed() {
    type Change = fn(&Path, &Path);
    let changes: [(&str, usize, Change); 6] = [
        ("missing", 0, |journal, _| fs::remove_file(journal.join("0")).unwrap()),
        ("missing", 1, |journal, _| fs::remove_file(journal.join("1")).unwrap()),
        ("missing", 0, |journal, _| fs::remove_dir_all(journal).unwrap()),
        ("file 1 of the journal", 0, |journal, _| {
            fs::rename(journal.join("0"), journal.join("2")).unwrap();
            fs::rename(journal.join("1"), journal.join("0")).unwrap();
            fs::rename(journal.join("2"), journal.join("1")).unwrap();
        }),
        ("another store", 1, |journal, other| {
            fs::copy(other.join("1"), journal.join("1")).unwrap();
        }),
        ("has 8192 bytes", 1, |journal, _| {
            fs::File::options().write(true).open(journal.join("1")).unwrap().set_len(8192).unwrap();
        }),
    ];
    let other = crashed();
    for (what, number, change) in changes {
        let backend = crashed();
        let journal = backend.dir().join("journal");
        change(&journal, &other.dir().join("journal"));
        holds(&refused(&backend), &journal.join(number.to_string()), what);
    }
}

#[test]
fn a_file_that_was_made_and_not_counted_holds_nothing_and_goes() {
    let backend = crashed();
    let journal = backend.dir().join("journal");
    fs::copy(journal.join("0"), journal.join("2")).unwrap();
    fs::write(journal.join("making"), "half").unwrap();
    let store = backend.open(config());
    assert!(values(&store.log("new-0").unwrap()).starts_with(&expected(0..30, 3)));
    assert!(!journal.join("2").exists() && !journal.join("making").exists());
}

#[test]
fn a_log_without_its_directory_or_its_own_files_is_noticed() {
    let lost: [(&str, &str); 6] = [
        ("known-0", "the directory of log"),
        ("known-0/ringmain-log", "write `number="),
        ("known-0/partition.metadata", "restore it"),
        ("new-0", "no directory has that number"),
        ("new-0/ringmain-log", "no directory has that number"),
        ("new-0/partition.metadata", "restore it"),
    ];
    for (name, what) in lost {
        let backend = crashed();
        let path = backend.dir().join(name);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.unwrap();
        let message = Store::open(backend.dir(), config()).map(drop).unwrap_err();
        assert!(matches!(message, OpenError::Missing { .. }), "{name}: {message}");
        let at = if what.starts_with("no directory") { backend.dir() } else { path };
        holds(&message.to_string(), &at, what);
    }
}

#[test]
fn a_log_that_is_missing_after_a_clean_stop_is_noticed_and_can_be_given_up() {
    let backend = Backend::blocking();
    let store = backend.open_with_journal(config());
    let log = store.create_log("known-0", id(1), config().log).unwrap();
    fill(&log);
    store.close().unwrap();
    drop((store, log));
    let number = fs::read_to_string(backend.dir().join("known-0/ringmain-log")).unwrap();
    let number = number.trim().strip_prefix("number=").unwrap().to_owned();
    fs::remove_dir_all(backend.dir().join("known-0")).unwrap();
    let message = refused(&backend);
    holds(&message, &backend.dir().join("known-0"), &format!(".deleted-{number} "));
    fs::create_dir(backend.dir().join(format!(".deleted-{number}"))).unwrap();
    let store = backend.open(config());
    assert!(store.was_clean() && store.logs().is_empty());
    drop(store);
    backend.open(config());
    assert!(!backend.dir().join(format!(".deleted-{number}")).exists());
}

#[test]
fn a_segment_shorter_than_the_checkpoint_says_is_not_written_beyond() {
    for gone in [false, true] {
        let backend = crashed();
        // What is known of the log goes on in the journal.
        let store = backend.open(config());
        store.close().unwrap();
        drop(store);
        let store = backend.open(config());
        fill(&store.log("known-0").unwrap());
        drop(store);
        let all: Vec<PathBuf> = files(&backend.dir().join("known-0"), "log");
        // The first segment that the journal has data for is the last one that the checkpoint knows.
        let known = all.len() / 2 - 1;
        let path = &all[known];
        let before = path.metadata().unwrap().len();
        if gone {
            fs::remove_file(path).unwrap();
        } else {
            fs::File::options().write(true).open(path).unwrap().set_len(before / 4).unwrap();
        }
        for _ in 0..2 {
            let store = backend.open(config());
            let log = store.log("known-0").unwrap();
            let kept = values(&log);
            assert!(expected(0..30, 3).starts_with(&kept) && kept.len() < 90, "{} records", kept.len());
            let refused = log.append(&mut batch(0, 1, 0), Durability::Written).unwrap_err();
            assert!(matches!(refused, AppendError::Quarantined { .. }), "{refused}");
            let now = path.metadata().map_or(0, |found| found.len());
            assert_eq!(now, if gone { 0 } else { before / 4 }, "nothing was written beyond the hole");
        }
    }
}

#[test]
fn a_segment_of_another_log_stays_in_quarantine_until_its_own_is_back() {
    for clean in [true, false] {
        let backend = Backend::blocking();
        let store = backend.open_with_journal(config());
        let logs: Vec<_> =
            (1..3).map(|n| store.create_log(&format!("t-{n}"), id(n), config().log).unwrap()).collect();
        for (n, log) in (0..).zip(&logs) {
            (0..30).for_each(|tag| {
                append(log, batch(7 * tag + n, 3, tag), Durability::Durable);
            });
        }
        store.close().unwrap();
        drop((store, logs));
        let path = |n: u8| backend.dir().join(format!("t-{n}/00000000000000000000.log"));
        let own = fs::read(path(1)).unwrap();
        if !clean {
            fs::remove_file(backend.dir().join("clean-shutdown")).unwrap();
        }
        fs::copy(path(2), path(1)).unwrap();
        for _ in 0..3 {
            let store = backend.open(config());
            let log = store.log("t-1").unwrap();
            let refused = log.append(&mut batch(0, 1, 0), Durability::Written).unwrap_err();
            assert!(refused.to_string().contains("of another log"), "{refused}");
            assert!(values(&log).is_empty(), "what is another log's is not served");
            assert_eq!(values(&store.log("t-2").unwrap()).len(), 90);
            if clean {
                store.close().unwrap();
            }
        }
        fs::write(path(1), own).unwrap();
        let store = backend.open(config());
        let log = store.log("t-1").unwrap();
        assert_eq!(values(&log).len(), 90);
        append(&log, batch(0, 1, 0), Durability::Durable);
    }
}
