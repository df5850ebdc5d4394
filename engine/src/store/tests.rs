//! What is promised when the medium fails, and that nothing is promised before it has the data.

use super::*;
use crate::error::AppendError;
use crate::io::faulty::{Fault, FaultyIo};
use crate::log::{ReadBound, WaitError};
use crate::offset::Offset;
use crate::record::BatchBuilder;
use nix::libc::{EIO, ENOSPC};
use std::os::unix::fs::MetadataExt;

fn open(dir: &Path, io: &FaultyIo) -> Store {
    let log = LogConfig { segment_bytes: 1000, index_interval_bytes: 100, ..LogConfig::default() };
    let config = StoreConfig { log, ..StoreConfig::default() };
    Store::open_with(dir.to_owned(), config, IoMode::Blocking, Arc::new(io.clone())).unwrap()
}

fn log(store: &Store) -> Arc<Log> {
    let config = LogConfig { segment_bytes: 1000, index_interval_bytes: 100, ..LogConfig::default() };
    store.create_log("t-0", LogId([1; 16]), config).unwrap()
}

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(1, None, Some(&[b'x'; 100]));
    builder.finish().unwrap()
}

/// Whether the loss of power now would leave every byte of the log.
fn survives(log: &Log, io: &FaultyIo) -> bool {
    let segments = log.segment_list();
    segments.iter().all(|segment| io.survives(&segment.path, segment.extent().size_bytes))
}

#[test]
fn durable_means_that_bytes_and_names_survive_the_loss_of_power() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let store = open(dir.path(), &io);
    let log = log(&store);
    for n in 0..40 {
        // acks=1 batches in between must become durable with what follows them.
        log.append(&mut batch(), Durability::Written).unwrap();
        log.append(&mut batch(), Durability::Durable).unwrap().completion.wait().unwrap();
        assert!(survives(&log, &io), "round {n}");
        assert!(io.survives(&dir.path().join("t-0/partition.metadata"), 1));
        assert!(io.survives(&dir.path().join("ringmain-store"), 1));
        assert!(io.names_survive(dir.path(), "t-0"), "the log's own name");
    }
    assert!(log.segment_list().len() > 5);
    log.append(&mut batch(), Durability::Written).unwrap();
    assert!(!survives(&log, &io), "the check itself can fail");
    store.close().unwrap();
    assert!(survives(&log, &io), "a clean stop leaves everything durable");
    assert!(io.survives(&dir.path().join("clean-shutdown"), 0));
}

#[test]
fn what_an_unclean_start_serves_is_on_the_medium() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let store = open(dir.path(), &io);
    let log = log(&store);
    for _ in 0..20 {
        log.append(&mut batch(), Durability::Written).unwrap();
    }
    let inode = |segment: &crate::segment::Segment| std::fs::metadata(&segment.path).unwrap().ino();
    let before: Vec<_> = log.segment_list().iter().map(|segment| inode(segment)).collect();
    drop((store, log));
    let io = FaultyIo::default();
    let store = open(dir.path(), &io);
    let log = store.log("t-0").unwrap();
    assert!(log.segment_list().iter().zip(before).all(|(segment, before)| inode(segment) != before));
    assert_eq!(log.progress().durable, Offset(20));
    assert!(survives(&log, &io));
    let version = dir.path().join("ringmain-store");
    assert!(io.survives(&version, std::fs::metadata(&version).unwrap().len()), "the raised epoch");
    for segment in log.segment_list().iter() {
        let size_bytes = segment.extent().size_bytes;
        assert_eq!(
            io.written_bytes(&segment.path),
            size_bytes,
            "a sync alone may find clean pages and write nothing"
        );
    }
}

#[test]
fn what_was_proven_before_is_not_written_again_after_a_crash() {
    for clean in [true, false] {
        let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
        let store = open(dir.path(), &io);
        let first = log(&store);
        for _ in 0..20 {
            first.append(&mut batch(), Durability::Written).unwrap();
        }
        if clean {
            store.close().unwrap();
        }
        drop((store, first));
        // A start that proves all there is, then a crash with one batch more.
        let store = open(dir.path(), &FaultyIo::default());
        store.log("t-0").unwrap().append(&mut batch(), Durability::Written).unwrap();
        drop(store);
        let io = FaultyIo::default();
        let store = open(dir.path(), &io);
        let segments = store.log("t-0").unwrap().segment_list();
        let (last, before) = segments.split_last().unwrap();
        assert!(before.len() > 3 && before.iter().all(|segment| io.written_bytes(&segment.path) == 0));
        assert_eq!(io.written_bytes(&last.path), last.extent().size_bytes);
    }
}

#[test]
fn a_store_that_failed_is_not_marked_clean_even_if_all_its_logs_are_durable() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let store = open(dir.path(), &io);
    let log = log(&store);
    log.append(&mut batch(), Durability::Durable).unwrap().completion.wait().unwrap();
    io.inject(Fault::Write(EIO));
    assert!(log.append(&mut batch(), Durability::Written).is_err());
    assert!(store.close().is_err());
    drop((store, log));
    assert!(!open(dir.path(), &io).was_clean());
}

#[test]
fn damage_found_after_a_clean_stop_raises_the_epoch_too() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let store = open(dir.path(), &io);
    let log = log(&store);
    for _ in 0..3 {
        log.append(&mut batch(), Durability::Written).unwrap();
    }
    store.close().unwrap();
    let path = log.segment_list()[0].path.clone();
    drop((store, log));
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 1).unwrap();
    let store = open(dir.path(), &io);
    assert_eq!(store.log("t-0").unwrap().progress().written, Offset(2));
    assert_eq!((store.was_clean(), store.epoch_floor()), (false, LeaderEpoch(1)));
}

#[test]
fn a_log_that_outlives_its_store_takes_nothing_and_leaves_nobody_waiting() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let store = open(dir.path(), &io);
    let log = log(&store);
    drop(store);
    assert!(matches!(log.append(&mut batch(), Durability::Durable), Err(AppendError::Closed)));
    let _again = open(dir.path(), &io);
}

#[test]
fn nothing_is_acknowledged_or_visible_while_the_sync_is_under_way() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let store = open(dir.path(), &io);
    let log = log(&store);
    log.append(&mut batch(), Durability::Written).unwrap();
    io.hold_syncs(true);
    let appended = log.append(&mut batch(), Durability::Durable).unwrap();
    log.append(&mut batch(), Durability::Written).unwrap();
    assert!(appended.completion.outcome().is_none());
    assert_eq!((log.progress().visible, log.progress().written), (Offset(1), Offset(3)));
    assert!(log.read(Offset(1), 1 << 20, true, ReadBound::Visible).unwrap().is_none());
    io.hold_syncs(false);
    appended.completion.wait().unwrap();
    assert_eq!(log.progress().visible, Offset(3));
}

#[test]
fn a_failed_sync_ends_all_writing_and_is_never_tried_again() {
    for fault in [Fault::Sync(EIO), Fault::SyncDir(EIO)] {
        let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
        let store = open(dir.path(), &io);
        let log = log(&store);
        let other = store.create_log("t-1", LogId([2; 16]), LogConfig::default()).unwrap();
        io.inject(fault);
        let failed = log.append(&mut batch(), Durability::Durable).unwrap();
        assert!(matches!(failed.completion.wait(), Err(WaitError::Failed(_))));
        assert_eq!(log.progress().visible, Offset(0));
        // The next sync would succeed, and over lost data.
        for log in [&log, &other] {
            assert!(matches!(log.append(&mut batch(), Durability::Written), Err(AppendError::Failed(_))));
        }
        assert!(matches!(failed.completion.wait(), Err(WaitError::Failed(_))));
        assert!(store.failure().unwrap().to_string().contains("refuses writes"));
        assert!(store.create_log("t-2", LogId([3; 16]), LogConfig::default()).is_err());
        assert!(store.close().is_err());
        assert!(!dir.path().join("clean-shutdown").exists());
        assert!(log.read(Offset(0), 1 << 20, true, ReadBound::Written).unwrap().is_some(), "reads go on");
    }
}

#[test]
fn a_failed_write_ends_all_writing_and_leaves_nothing_behind() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let store = open(dir.path(), &io);
    let log = log(&store);
    log.append(&mut batch(), Durability::Written).unwrap();
    io.inject(Fault::Write(EIO));
    assert!(matches!(log.append(&mut batch(), Durability::Written), Err(AppendError::Failed(_))));
    assert!(matches!(log.append(&mut batch(), Durability::Written), Err(AppendError::Failed(_))));
    drop((store, log));
    let store = open(dir.path(), &io);
    assert_eq!(store.log("t-0").unwrap().progress().written, Offset(1));
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let store = open(dir.path(), &io);
    let log = log(&store);
    for n in 0..20 {
        io.inject(Fault::Write(ENOSPC));
        assert!(matches!(log.append(&mut batch(), Durability::Durable), Err(AppendError::DiskFull)));
        let appended = log.append(&mut batch(), Durability::Durable).unwrap();
        appended.completion.wait().unwrap();
        assert_eq!(appended.base_offset, Offset(n));
    }
    let report = crate::inspect::check_log(&dir.path().join("t-0"), |_| {}).unwrap();
    assert_eq!((report.records, report.problems.as_slice()), (20, &[][..]));
}

#[test]
fn the_stores_own_directory_survives_the_loss_of_power() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let nested = dir.path().join("a/b/data");
    let _store = open(&nested, &io);
    for made in ["a", "a/b", "a/b/data"] {
        let made = dir.path().join(made);
        assert!(io.names_survive(made.parent().unwrap(), made.file_name().unwrap().to_str().unwrap()));
    }
}

#[test]
fn a_deletion_survives_the_loss_of_power() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let store = open(dir.path(), &io);
    log(&store);
    assert!(io.names_survive(dir.path(), "t-0"));
    store.delete_log("t-0").unwrap();
    assert!(!io.names_survive(dir.path(), "t-0"));
}

#[test]
fn what_there_was_no_room_to_copy_is_not_taken_for_proven() {
    let (dir, io) = (tempfile::tempdir().unwrap(), FaultyIo::default());
    let store = open(dir.path(), &io);
    log(&store).append(&mut batch(), Durability::Written).unwrap();
    drop(store);
    // The first write of the start is that of the copy.
    let full = FaultyIo::default();
    full.inject(Fault::Write(ENOSPC));
    assert_eq!(open(dir.path(), &full).log("t-0").unwrap().progress().written, Offset(1));
    let io = FaultyIo::default();
    let store = open(dir.path(), &io);
    let segment = Arc::clone(&store.log("t-0").unwrap().segment_list()[0]);
    assert_eq!(io.written_bytes(&segment.path), segment.extent().size_bytes, "the next start proves it");
}
