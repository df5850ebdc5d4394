//! What an open log does, the same in every I/O mode.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::{AppendError, BatchError, Durability, LogConfig, Offset, ReadBound, ReadError};
use std::io::Read;
use std::os::unix::net::UnixStream;
use support::*;

#[test]
fn batches_come_back_whole_in_order_with_offsets_and_epoch() {
    for mode in modes() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), mode);
        let log = store.create_log("t-0", id(1), small()).unwrap();
        for tag in 0..200 {
            let durability = if tag % 3 == 0 { Durability::Durable } else { Durability::Written };
            assert_eq!(append(&log, batch(tag, 3, 1000 + tag), durability), Offset(tag * 3));
        }
        assert_eq!(values(&log), expected(0..200, 3));
        let found = read_all(&log, Offset::ZERO);
        assert!(found.iter().all(|(header, _)| header.leader_epoch == log.leader_epoch()));
        let segments = std::fs::read_dir(dir.path().join("t-0")).unwrap();
        let logs = segments.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "log"));
        assert!(logs.count() > 5, "segments roll by size");
    }
}

#[test]
fn a_read_in_mid_batch_begins_with_that_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), modes()[0]);
    let log = store.create_log("t-0", id(1), small()).unwrap();
    for tag in 0..50 {
        append(&log, batch(tag, 10, 0), Durability::Written);
    }
    for offset in 0..500 {
        let found = read_all(&log, Offset(offset));
        assert_eq!(found[0].0.base_offset, Offset(offset / 10 * 10));
        assert_eq!(found.last().unwrap().0.end_offset(), Offset(500));
    }
}

#[test]
fn limits_hold_but_for_one_batch_that_is_larger() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), modes()[0]);
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    for tag in 0..10 {
        append(&log, batch(tag, 10, 0), Durability::Written);
    }
    let one = batch(0, 10, 0).len() as u64;
    let read = |max, at_least| log.read(Offset::ZERO, max, at_least, ReadBound::Visible).unwrap();
    assert_eq!(read(one * 3 + 1, false).unwrap().len(), one * 3);
    assert_eq!(read(one - 1, true).unwrap().len(), one);
    assert!(read(one - 1, false).is_none());
    assert!(log.read(Offset(100), 1, true, ReadBound::Visible).unwrap().is_none());
    let beyond = log.read(Offset(101), 1, true, ReadBound::Visible).unwrap_err();
    assert!(matches!(beyond, ReadError::OutOfRange { end: Offset(100), .. }));
}

#[test]
fn sendfile_gives_the_same_bytes_as_reading() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), modes()[0]);
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    for tag in 0..20 {
        append(&log, batch(tag, 10, 0), Durability::Written);
    }
    let slice = log.read(Offset(50), 1 << 20, true, ReadBound::Visible).unwrap().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut sent = 0;
    while sent < slice.len() {
        sent += slice.send_to(&ours, sent).unwrap();
    }
    drop(ours);
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).unwrap();
    assert_eq!(received, slice.read().unwrap());
}

#[test]
fn bad_batches_are_refused_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), modes()[0]);
    let config = LogConfig { batch_bytes_max: 1000, ..LogConfig::default() };
    let log = store.create_log("t-0", id(1), config).unwrap();
    let refused = |mut bytes: Vec<u8>| log.append(&mut bytes, Durability::Written).unwrap_err();
    let changed = |at: usize, value: u8| {
        let mut bytes = batch(0, 3, 0);
        bytes[at] = value;
        bytes
    };
    assert!(matches!(refused(vec![]), AppendError::Empty));
    assert!(matches!(refused(vec![0; 10]), AppendError::Batch(BatchError::Incomplete { .. })));
    assert!(matches!(refused(vec![0; 100]), AppendError::Batch(BatchError::Magic(0))));
    assert!(matches!(refused(changed(16, 1)), AppendError::Batch(BatchError::Magic(1))));
    assert!(matches!(refused(changed(8, 0xff)), AppendError::Batch(BatchError::Length(_))));
    assert!(matches!(refused(changed(70, 0xff)), AppendError::Batch(BatchError::Crc { .. })));
    assert!(matches!(refused(changed(60, 9)), AppendError::Batch(BatchError::Crc { .. })));
    assert!(matches!(refused(batch(0, 200, 0)), AppendError::TooLarge { max_bytes: 1000, .. }));
    let mut cut = batch(0, 3, 0);
    cut.pop();
    assert!(matches!(refused(cut), AppendError::Batch(BatchError::Incomplete { .. })));
    let mut second_bad = [batch(0, 3, 0), batch(1, 3, 0)].concat();
    *second_bad.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(second_bad), AppendError::Batch(BatchError::Crc { .. })));
    assert_eq!(log.progress().written, Offset::ZERO);
    assert_eq!(log.size_bytes(), 0);
}

#[test]
fn a_retried_batch_is_appended_once_and_a_gap_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), modes()[0]);
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    append(&log, sequenced(5, 0, 0), Durability::Written);
    append(&log, sequenced(5, 0, 1), Durability::Written);
    let retry = log.append(&mut sequenced(5, 0, 0), Durability::Durable).unwrap();
    assert!(retry.duplicate);
    assert_eq!(retry.base_offset, Offset(0));
    retry.completion.wait().unwrap();
    assert!(log.progress().durable >= Offset(1), "a retry gets what it asks for, not what the original did");
    let gap = log.append(&mut sequenced(5, 0, 3), Durability::Written).unwrap_err();
    assert!(matches!(gap, AppendError::OutOfOrderSequence { expected: 2, .. }));
    assert_eq!(values(&log), ["0", "1"]);
}

#[test]
fn times_are_found_in_the_first_batch_that_reaches_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), modes()[0]);
    let log = store.create_log("t-0", id(1), small()).unwrap();
    // Times rise by 10 a batch, but for one that goes back.
    for tag in 0..100 {
        let at_ms = if tag == 50 { 100 } else { 1000 + tag * 10 };
        append(&log, batch(tag, 5, at_ms), Durability::Written);
    }
    for target in 900..2000 {
        let expected = (0..100).find(|tag| *tag != 50 && 1000 + tag * 10 + 4 >= target);
        let found = log.find_timestamp(target).unwrap();
        assert_eq!(found.map(|(header, _)| header.base_offset.0 / 5), expected, "time {target}");
    }
    assert_eq!(log.max_timestamp_ms(), Some(1000 + 990 + 4));
}

#[test]
fn many_threads_append_and_each_sees_its_own_in_order() {
    for mode in modes() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), mode);
        let log = store.create_log("t-0", id(1), small()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    let mut last = Offset(-1);
                    for n in 0..50 {
                        let base = append(log, batch(thread * 1000 + n, 2, 0), Durability::Durable);
                        assert!(base > last);
                        last = base;
                    }
                });
            }
        });
        let all = values(&log);
        assert_eq!(all.len(), 400);
        for thread in 0..4 {
            let own: Vec<_> = all.iter().filter(|v| tag(v) / 1000 == thread).cloned().collect();
            assert_eq!(own, expected(thread * 1000..thread * 1000 + 50, 2), "once, and in order");
        }
        assert_eq!(log.progress().durable, Offset(400));
    }
}

fn tag(value: &str) -> i64 {
    value.split(':').next().unwrap().parse().unwrap()
}

#[test]
fn a_deleted_log_refuses_appends_and_a_new_one_of_its_name_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), modes()[0]);
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    append(&log, batch(0, 5, 0), Durability::Written);
    let slice = log.read(Offset::ZERO, 1 << 20, true, ReadBound::Visible).unwrap().unwrap();
    store.delete_log("t-0").unwrap();
    assert!(matches!(log.append(&mut batch(1, 1, 0), Durability::Written), Err(AppendError::Deleted)));
    assert_eq!(slice.read().unwrap().len() as u64, slice.len(), "a reader keeps what it has");
    let again = store.create_log("t-0", id(2), LogConfig::default()).unwrap();
    assert_eq!(again.progress().written, Offset::ZERO);
    assert!(
        !dir.path().read_dir().unwrap().any(|e| e.unwrap().file_name().to_string_lossy().contains("deleted"))
    );
}

#[test]
fn names_that_no_directory_can_have_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), modes()[0]);
    for name in ["", ".", "..", "a/b", ".creating-x", ".deleted-x", "lock", &"x".repeat(256)] {
        assert!(store.create_log(name, id(1), LogConfig::default()).is_err(), "{name:?}");
    }
    store.create_log(".x-0", id(1), LogConfig::default()).unwrap();
    store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    assert!(store.create_log("t-0", id(2), LogConfig::default()).is_err());
}
