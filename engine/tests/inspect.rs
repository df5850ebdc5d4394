//! Looking at a store from outside: what is there is told, and what is wrong is noticed.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::inspect::{
    CheckpointFile, JournalEntry, JournalReader, SectionKind, StoreReport, check_store, journal_files,
    offset_index, read_checkpoint, time_index,
};
use ringmain_engine::{Durability, IoMode, Offset, Store, StoreConfig};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use support::*;

/// A store that makes no checkpoint by itself.
fn open_journaled(dir: &Path) -> Store {
    let config = StoreConfig {
        io_mode: Some(IoMode::Blocking),
        log: small(),
        journal_file_bytes: 1 << 20,
        journal_files_max: 2,
        checkpoint_age_ms: 3_600_000,
        ..StoreConfig::default()
    };
    Store::open(dir, config).unwrap()
}

/// A store in use, with a log and at least twenty entries in its journal.
fn journaled(dir: &Path) -> Store {
    let store = open_journaled(dir);
    let log = store.create_log("t-0", id(1), small()).unwrap();
    // Before its first file is made, segments are synced instead.
    for tag in 0.. {
        append(&log, batch(tag, 3, tag * 10), Durability::Durable);
        // Entries from before the checkpoint that was asked for meanwhile do not count.
        if tag >= 60 && tag % 10 == 0 && check(dir).journal.entries >= 20 {
            break;
        }
    }
    store
}

fn entries(dir: &Path) -> Vec<JournalEntry> {
    let mut found = Vec::new();
    for file in journal_files(&dir.join("journal")).unwrap_or_default() {
        let reader = JournalReader::open(file).unwrap();
        let keep = |entry| {
            found.push(entry);
            Ok::<(), std::io::Error>(())
        };
        reader.entries(keep).unwrap();
    }
    found
}

fn checkpoint(dir: &Path) -> CheckpointFile {
    read_checkpoint(dir).unwrap().unwrap().unwrap()
}

fn check(dir: &Path) -> StoreReport {
    check_store(dir, |_| {}).unwrap()
}

/// The only problem there is says this.
fn notices(dir: &Path, what: &str) {
    let problems = check(dir).problems;
    assert!(problems.len() == 1 && problems[0].what.contains(what), "{what}: {problems:?}");
}

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn the_journal_of_a_store_in_use_tells_what_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let store = journaled(dir.path());
    let found = entries(dir.path());
    let epoch = checkpoint(dir.path()).epoch;
    assert!(
        found.iter().all(|entry| entry.epoch == epoch && entry.is_known && entry.proven <= entry.sequence)
    );
    assert!(found.windows(2).all(|pair| pair[0].sequence + 1 == pair[1].sequence));
    let last = found.last().unwrap().sections.last().unwrap();
    assert_eq!((last.kind, last.end), (SectionKind::Data, store.log("t-0").unwrap().progress().durable));
    let segment = dir.path().join(format!("t-0/{:020}.log", last.segment.0));
    let content = fs::read(segment).unwrap();
    assert_eq!(&content[usize::try_from(last.position).unwrap()..][..last.bytes.len()], last.bytes);
    let report = check(dir.path());
    assert_eq!(report.problems, []);
    assert!(report.journal.entries >= 20 && report.journal.batches >= 20 && report.journal.batch_bytes > 0);
    assert_eq!((report.logs, report.checkpoint.unwrap().epoch), (1, epoch));
    assert!(store.failure().is_none());
    append(&store.log("t-0").unwrap(), batch(0, 1, 0), Durability::Durable);
}

#[test]
fn cuts_deletions_and_a_clean_stop_are_no_problems() {
    let dir = tempfile::tempdir().unwrap();
    let store = journaled(dir.path());
    store.close().unwrap();
    drop(store);
    assert_eq!(check(dir.path()).problems, []);
    let store = open_journaled(dir.path());
    let log = store.log("t-0").unwrap();
    let end = log.progress().written;
    log.truncate(Offset(end.0 / 2)).unwrap();
    append(&log, batch(7, 1, 0), Durability::Durable);
    log.advance_start(Offset(end.0 / 4)).unwrap();
    let other = store.create_log("t-1", id(2), small()).unwrap();
    append(&other, batch(7, 1, 0), Durability::Durable);
    store.delete_log("t-1").unwrap();
    let report = check(dir.path());
    assert_eq!(report.problems, []);
    let all = entries(dir.path());
    let epoch = checkpoint(dir.path()).epoch;
    for kind in [SectionKind::Truncate, SectionKind::Truncated, SectionKind::Start, SectionKind::Delete] {
        let now = all.iter().filter(|entry| entry.epoch == epoch);
        assert!(now.flat_map(|entry| &entry.sections).any(|section| section.kind == kind), "{kind:?}");
    }
    assert!(all.iter().any(|entry| entry.epoch < epoch), "what an earlier life left is there, too");
    drop((log, other, store));
    assert_eq!(check(dir.path()).problems, [], "after a crash");
}

#[test]
fn an_entry_that_is_missing_is_noticed_and_a_torn_end_is_none() {
    let dir = tempfile::tempdir().unwrap();
    drop(journaled(dir.path()));
    let found = entries(dir.path());
    let file = dir.path().join("journal/0");
    let whole = check(dir.path());
    flip(&file, found[found.len() - 1].position + 60);
    let torn = check(dir.path());
    assert_eq!((torn.problems.as_slice(), torn.journal.entries + 1), (&[][..], whole.journal.entries));
    flip(&file, found[5].position + 60);
    let problems = check(dir.path()).problems;
    let missing = format!("entry {} is missing", found[5].sequence);
    assert!(!problems.is_empty() && problems.iter().all(|one| one.what.contains(&missing)), "{problems:?}");
}

#[test]
fn what_the_checkpoint_says_is_held_against_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = journaled(dir.path());
    store.close().unwrap();
    drop(store);
    let sound = check(dir.path());
    let segments = checkpoint(dir.path()).logs[0].segments.clone();
    assert!(segments.len() > 2);
    assert_eq!(sound.checkpoint.as_ref().unwrap().segments, segments.len() as u64);
    let path = |segment: usize, ending: &str| {
        dir.path().join(format!("t-0/{:020}.{ending}", segments[segment].base.0))
    };
    for (segment, what) in [(0, "is gone"), (segments.len() - 1, "is gone")] {
        let (from, to) = (path(segment, "log"), dir.path().join("elsewhere"));
        fs::rename(&from, &to).unwrap();
        let problems = check(dir.path()).problems;
        assert!(problems.iter().any(|problem| problem.what.contains(what)), "{problems:?}");
        fs::rename(&to, &from).unwrap();
    }
    let last = path(segments.len() - 1, "log");
    let content = fs::read(&last).unwrap();
    // At a batch's end, so that only the checkpoint knows better.
    fs::write(&last, []).unwrap();
    let problems = check(dir.path()).problems;
    assert!(problems.iter().any(|problem| problem.what.contains("the segment has 0 bytes")), "{problems:?}");
    fs::write(&last, content).unwrap();
    let index = fs::read(path(0, "index")).unwrap();
    fs::remove_file(path(0, "index")).unwrap();
    notices(dir.path(), "not those of the checkpoint");
    fs::write(path(0, "index"), index).unwrap();
    assert_eq!(check(dir.path()), sound);
    flip(&dir.path().join("checkpoint"), 40);
    notices(dir.path(), "checksum");
    flip(&dir.path().join("checkpoint"), 40);
    fs::rename(dir.path().join("t-0"), dir.path().join(".elsewhere")).unwrap();
    notices(dir.path(), "it has log 0, which is not there");
}

#[test]
fn numbers_that_are_wrong_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = journaled(dir.path());
    store.create_log("t-1", id(2), small()).unwrap();
    store.close().unwrap();
    let number = dir.path().join("t-1/ringmain-log");
    for (text, what) in [
        ("number=0\n", "and so has"),
        ("number=99999\n", "says that none has"),
        ("what\n", "no valid number"),
    ] {
        fs::write(&number, text).unwrap();
        let problems = check(dir.path()).problems;
        assert!(problems.iter().any(|problem| problem.what.contains(what)), "{what}: {problems:?}");
    }
}

#[test]
fn index_files_are_read_with_offsets_made_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = journaled(dir.path());
    let log = store.log("t-0").unwrap();
    let batches = read_all(&log, Offset::ZERO);
    let segments = ringmain_engine::inspect::segment_files(&dir.path().join("t-0")).unwrap();
    // The last one is in use: its index files have room for more.
    for segment in [&segments[1], &segments[segments.len() - 2]] {
        let offsets = offset_index(&segment.with_extension("index")).unwrap();
        let times = time_index(&segment.with_extension("timeindex")).unwrap();
        assert!(!offsets.is_empty() && !times.is_empty());
        for entry in offsets {
            assert!(batches.iter().any(|(header, _)| header.last_offset() == entry.offset));
        }
        for entry in times {
            let of = |header: &ringmain_engine::BatchHeader| {
                header.last_offset() == entry.offset && header.max_timestamp_ms == entry.timestamp_ms
            };
            assert!(batches.iter().any(|(header, _)| of(header)));
        }
    }
    assert!(offset_index(&dir.path().join("t-0/partition.metadata")).is_err());
}
