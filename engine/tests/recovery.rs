//! What a store is after a crash, a clean stop, or damage to its files.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::{
    Durability, IoMode, LeaderEpoch, LogConfig, Offset, OpenError, ReadBound, Store, StoreConfig,
};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use support::*;

/// Files of a log with an ending, in order.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir.join("t-0")).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == ending));
    found.sort();
    found
}

/// A store with `batches` batches of three records in several segments, left without a clean stop.
fn crashed(dir: &Path, batches: i64) {
    let store = open_small(dir, IoMode::Blocking);
    let log = store.create_log("t-0", id(1), small()).unwrap();
    for tag in 0..batches {
        append(&log, batch(tag, 3, tag * 10), Durability::Written);
    }
}

#[test]
fn all_is_there_after_a_clean_stop_and_after_none() {
    for mode in modes() {
        for clean in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let store = open_small(dir.path(), mode);
            let log = store.create_log("t-0", id(1), small()).unwrap();
            for tag in 0..100 {
                append(&log, batch(tag, 3, 0), Durability::Written);
            }
            drop(log);
            if clean {
                store.close().unwrap();
            }
            drop(store);
            let store = open_small(dir.path(), mode);
            assert_eq!(store.was_clean(), clean);
            let log = store.log("t-0").unwrap();
            assert_eq!(log.id(), id(1));
            assert_eq!(values(&log), expected(0..100, 3));
            assert_eq!(append(&log, batch(100, 3, 0), Durability::Durable), Offset(300));
        }
    }
}

#[test]
fn an_unclean_start_raises_the_epoch_for_good() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path(), 3);
    let store = open_small(dir.path(), IoMode::Blocking);
    let log = store.log("t-0").unwrap();
    assert_eq!(log.leader_epoch(), LeaderEpoch(1));
    append(&log, batch(3, 3, 0), Durability::Written);
    let checkpoint = fs::read_to_string(dir.path().join("t-0/leader-epoch-checkpoint")).unwrap();
    assert_eq!(checkpoint, "0\n2\n0 0\n1 9\n");
    drop((store, log));
    // Nothing was appended in the epoch raised here, and yet it is never used again.
    drop(open_small(dir.path(), IoMode::Blocking));
    let store = open_small(dir.path(), IoMode::Blocking);
    assert_eq!(store.epoch_floor(), LeaderEpoch(3));
    let epochs: Vec<_> =
        read_all(&store.log("t-0").unwrap(), Offset::ZERO).iter().map(|(h, _)| h.leader_epoch.0).collect();
    assert_eq!(epochs, [0, 0, 0, 1]);
    store.close().unwrap();
    drop(store);
    assert_eq!(
        open_small(dir.path(), IoMode::Blocking).epoch_floor(),
        LeaderEpoch(3),
        "a clean stop raises nothing"
    );
}

#[test]
fn a_torn_tail_is_cut_at_every_length_and_appends_go_on() {
    let whole = tempfile::tempdir().unwrap();
    crashed(whole.path(), 4);
    let bytes = fs::read(&files(whole.path(), "log")[0]).unwrap();
    let one = bytes.len() / 4;
    for cut in (one * 3..bytes.len()).step_by(7) {
        let dir = tempfile::tempdir().unwrap();
        crashed(dir.path(), 4);
        OpenOptions::new()
            .write(true)
            .open(&files(dir.path(), "log")[0])
            .unwrap()
            .set_len(cut as u64)
            .unwrap();
        let store = open_small(dir.path(), IoMode::Blocking);
        let log = store.log("t-0").unwrap();
        assert_eq!(values(&log), expected(0..3, 3), "cut at {cut}");
        assert_eq!(log.size_bytes(), one as u64 * 3);
        assert_eq!(append(&log, batch(3, 3, 0), Durability::Written), Offset(9));
        assert_eq!(values(&log), expected(0..4, 3));
    }
}

#[test]
fn zeros_after_the_end_are_no_batch() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path(), 3);
    OpenOptions::new()
        .append(true)
        .open(&files(dir.path(), "log")[0])
        .unwrap()
        .write_all(&[0; 5000])
        .unwrap();
    let store = open_small(dir.path(), IoMode::Blocking);
    assert_eq!(values(&store.log("t-0").unwrap()), expected(0..3, 3));
}

#[test]
fn a_flipped_bit_in_any_byte_of_the_last_batch_cuts_it_and_keeps_the_bytes_aside() {
    let whole = tempfile::tempdir().unwrap();
    crashed(whole.path(), 2);
    let len = fs::read(&files(whole.path(), "log")[0]).unwrap().len();
    for at in len / 2..len {
        // Neither base offset's low byte changes nor anything else may pass unnoticed.
        let dir = tempfile::tempdir().unwrap();
        crashed(dir.path(), 2);
        let path = &files(dir.path(), "log")[0];
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 0x10;
        fs::write(path, &bytes).unwrap();
        let store = open_small(dir.path(), IoMode::Blocking);
        let epoch_field = (len / 2 + 12..len / 2 + 16).contains(&at);
        let expected_batches = if epoch_field { 1..=2 } else { 1..=1 };
        let found = read_all(&store.log("t-0").unwrap(), Offset::ZERO).len();
        assert!(expected_batches.contains(&found), "byte {at}: {found} batches");
    }
}

#[test]
fn damage_in_an_early_segment_keeps_what_follows_aside() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path(), 100);
    let logs = files(dir.path(), "log");
    assert!(logs.len() > 3);
    let mut bytes = fs::read(&logs[1]).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0xff;
    fs::write(&logs[1], bytes).unwrap();
    let store = open_small(dir.path(), IoMode::Blocking);
    let log = store.log("t-0").unwrap();
    let kept = values(&log);
    assert_eq!(kept, expected(0..kept.len() as i64 / 3, 3));
    assert!(!kept.is_empty() && kept.len() < 300);
    assert_eq!(files(dir.path(), "set-aside").len(), logs.len() - 2);
    assert!(
        fs::read_dir(dir.path().join("t-0")).unwrap().any(|e| e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("damaged-at"))
    );
}

#[test]
fn missing_and_damaged_indexes_are_rebuilt_as_they_were() {
    for clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        crashed(dir.path(), 100);
        open_small(dir.path(), IoMode::Blocking).close().unwrap();
        let original: Vec<_> = ["index", "timeindex"]
            .iter()
            .flat_map(|e| files(dir.path(), e))
            .map(|p| (p.clone(), fs::read(p).unwrap()))
            .collect();
        assert!(original.len() > 6 && original.iter().all(|(_, bytes)| !bytes.is_empty()));
        for (n, (path, bytes)) in original.iter().enumerate() {
            match n % 3 {
                0 => fs::remove_file(path).unwrap(),
                1 => fs::write(path, &bytes[..bytes.len() - 3]).unwrap(),
                _ => fs::write(path, bytes.iter().map(|b| b ^ 0x55).collect::<Vec<_>>()).unwrap(),
            }
        }
        if !clean {
            fs::remove_file(dir.path().join("clean-shutdown")).unwrap();
        }
        let store = open_small(dir.path(), IoMode::Blocking);
        assert_eq!(values(&store.log("t-0").unwrap()), expected(0..100, 3));
        store.close().unwrap();
        for (path, bytes) in &original {
            assert_eq!(&fs::read(path).unwrap(), bytes, "{}", path.display());
        }
    }
}

#[test]
fn few_entries_of_an_index_have_no_file_until_there_are_more_or_the_store_is_closed() {
    let log = LogConfig { segment_bytes: 1 << 20, index_memory_entries_max: 8, ..small() };
    for mode in modes() {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig { io_mode: Some(mode), log, ..StoreConfig::default() };
        let open = || Store::open(dir.path(), config.clone()).unwrap();
        let named = || ["index", "timeindex"].map(|ending| files(dir.path(), ending).len());
        // Of both files; the first batch has none.
        let entries = || ringmain_engine::inspect::check_log(&dir.path().join("t-0"), |_| {}).unwrap();
        let fill = |store: &Store, tags: std::ops::Range<i64>| {
            let log = store.log("t-0").unwrap();
            tags.for_each(|tag| _ = append(&log, batch(tag, 6, tag * 10), Durability::Durable));
            log
        };
        let look = |store: &Store, batches: i64| {
            let log = store.log("t-0").unwrap();
            assert_eq!(values(&log), expected(0..batches, 6));
            for tag in 0..batches {
                let slice = log.read(Offset(tag * 6 + 3), 1, true, ReadBound::Visible).unwrap().unwrap();
                let header = ringmain_engine::BatchHeader::parse(&slice.read().unwrap()).unwrap();
                assert_eq!(header.base_offset, Offset(tag * 6));
                let (found, _) = log.find_timestamp(tag * 10 + 5).unwrap().unwrap();
                assert_eq!(found.base_offset, Offset(tag * 6));
            }
        };
        let store = open();
        store.create_log("t-0", id(1), log).unwrap();
        fill(&store, 0..6);
        drop(store);
        let store = open(); // which makes a checkpoint
        fill(&store, 6..8);
        look(&store, 8);
        assert_eq!(named(), [0, 0]);
        drop(store);
        // After a crash they are built again, before and after what the checkpoint knows.
        let store = open();
        look(&store, 8);
        assert_eq!(named(), [0, 0]);
        store.close().unwrap();
        look(&store, 8);
        assert_eq!((named(), entries().index_entries), ([1, 1], 14));
        drop(store);
        // What a crash left in a file, though memory has other entries, counts for nothing.
        let store = open();
        look(&store, 8);
        let path = files(dir.path(), "index").remove(0);
        fs::write(&path, [7; 800]).unwrap();
        fill(&store, 8..9);
        look(&store, 9);
        fill(&store, 9..30);
        look(&store, 30);
        assert_eq!(fs::metadata(&path).unwrap().len(), 4096);
        assert_eq!((entries().problems, entries().index_entries), (vec![], 58));
        drop(store);
        let store = open();
        look(&store, 30);
        store.close().unwrap();
        assert_eq!((entries().problems, entries().index_entries), (vec![], 58));
    }
}

#[test]
fn producers_are_known_again_after_a_restart() {
    for clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), IoMode::Blocking);
        let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
        for sequence in 0..3 {
            append(&log, sequenced(9, 1, sequence), Durability::Written);
        }
        drop(log);
        if clean {
            store.close().unwrap();
        }
        drop(store);
        let store = open(dir.path(), IoMode::Blocking);
        let log = store.log("t-0").unwrap();
        let retry = log.append(&mut sequenced(9, 1, 2), Durability::Written).unwrap();
        assert!(retry.duplicate);
        assert_eq!(retry.base_offset, Offset(2));
        assert!(log.append(&mut sequenced(9, 1, 4), Durability::Written).is_err());
        assert!(log.append(&mut sequenced(9, 0, 3), Durability::Written).is_err());
        append(&log, sequenced(9, 1, 3), Durability::Written);
        assert_eq!(values(&log), ["0", "1", "2", "3"]);
    }
}

#[test]
fn what_a_crash_leaves_half_made_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path(), 3);
    for name in [".creating-00", ".deleted-00"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("partition.metadata"), "version: 0\n").unwrap();
    }
    let store = open_small(dir.path(), IoMode::Blocking);
    assert_eq!(store.logs().len(), 1);
    assert!(!dir.path().join(".creating-00").exists() && !dir.path().join(".deleted-00").exists());
}

#[test]
fn a_store_is_opened_once_and_nothing_else_is_taken_for_one() {
    let open = |dir: &Path| Store::open(dir, StoreConfig::default()).map(drop);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreConfig::default()).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Locked(_))));
    drop(store);
    open(dir.path()).unwrap();
    fs::write(dir.path().join("ringmain-store"), "format=99\nepoch_floor=0\n").unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Version { .. })));
    fs::write(dir.path().join("ringmain-store"), "").unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Version { .. })));
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("letter.txt"), "dear").unwrap();
    assert!(matches!(open(other.path()), Err(OpenError::NotAStore { .. })));
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1, "nothing was put there");
}

#[test]
fn a_clean_stop_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path(), 3);
    open_small(dir.path(), IoMode::Blocking).close().unwrap();
    let store = open_small(dir.path(), IoMode::Blocking);
    assert!(store.was_clean());
    append(&store.log("t-0").unwrap(), batch(3, 3, 0), Durability::Written);
    drop(store);
    assert!(!open_small(dir.path(), IoMode::Blocking).was_clean(), "this time it crashed");
}

#[test]
fn a_whole_batch_of_an_older_epoch_or_another_offset_is_not_taken_for_the_tail() {
    // Both fields lie outside of the CRC: what is left of an earlier life of the file looks whole.
    for (field, value) in [(12..16, 0i32.to_be_bytes()), (4..8, 77i32.to_be_bytes())] {
        let dir = tempfile::tempdir().unwrap();
        crashed(dir.path(), 2);
        let store = open_small(dir.path(), IoMode::Blocking);
        let log = store.log("t-0").unwrap();
        append(&log, batch(2, 3, 0), Durability::Written);
        append(&log, batch(3, 3, 0), Durability::Written);
        drop((store, log));
        let path = &files(dir.path(), "log")[0];
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() / 4 * 3;
        bytes[last + field.start..last + field.end].copy_from_slice(&value);
        fs::write(path, bytes).unwrap();
        let store = open_small(dir.path(), IoMode::Blocking);
        assert_eq!(values(&store.log("t-0").unwrap()), expected(0..3, 3));
    }
}

#[test]
fn a_copy_that_a_crash_interrupted_is_removed_and_nothing_lost() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path(), 3);
    let half = dir.path().join("t-0/00000000000000000000.log.renewed");
    fs::write(&half, b"half a copy").unwrap();
    let store = open_small(dir.path(), IoMode::Blocking);
    assert_eq!(values(&store.log("t-0").unwrap()), expected(0..3, 3));
    assert!(!half.exists());
}
