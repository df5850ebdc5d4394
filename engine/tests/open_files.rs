//! A store that may have fewer files open than it has segments.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::{
    AppendError, Durability, IoMode, LeaderEpoch, Log, LogConfig, Offset, ReadBound, Store, StoreConfig,
};
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::*;

const OPEN_MAX: usize = 4;
/// For a moment each by a thread of the store, and the one that appends.
const IN_USE_MAX: usize = 3;
const LOGS: u8 = 20;

fn bounded(dir: &Path, io_mode: IoMode, checkpoint_age_ms: u64) -> Store {
    let config = StoreConfig {
        io_mode: Some(io_mode),
        open_files_max: OPEN_MAX,
        checkpoint_age_ms,
        log: LogConfig { segment_bytes: 2000, ..LogConfig::default() },
        ..StoreConfig::default()
    };
    Store::open(dir, config).unwrap()
}

fn create(store: &Store, n: u8) -> Arc<Log> {
    let log = LogConfig { segment_bytes: 2000, ..LogConfig::default() };
    store.create_log(&format!("t-{n}"), id(n), log).unwrap()
}

/// Segments that this process has open.
fn open_segments(dir: &Path) -> usize {
    let links =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links
        .filter(|path| path.starts_with(dir) && path.extension().is_some_and(|ending| ending == "log"))
        .count()
}

/// As a client does it that is told to try again.
fn append_at_last(log: &Arc<Log>, tag: i64, durability: Durability) {
    let began = Instant::now();
    loop {
        match log.append(&mut batch(tag, 3, 0), durability) {
            Ok(appended) => return appended.completion.wait().unwrap(),
            Err(AppendError::Unopened(_)) => std::thread::sleep(Duration::from_millis(2)),
            Err(err) => panic!("{err}"),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no checkpoint makes room");
    }
}

#[test]
fn many_logs_are_served_with_few_files_and_nothing_is_lost() {
    for mode in modes() {
        let dir = tempfile::tempdir().unwrap();
        for clean in [false, true] {
            let store = bounded(dir.path(), mode, 10_000);
            let first = if clean { 40 } else { 0 };
            for n in 0..LOGS {
                let log = store.log(&format!("t-{n}")).unwrap_or_else(|| create(&store, n));
                assert_eq!(values(&log), expected(0..first, 3));
            }
            for tag in first..first + 40 {
                for n in 0..LOGS {
                    let durability = if n % 2 == 0 { Durability::Durable } else { Durability::Written };
                    append_at_last(&store.log(&format!("t-{n}")).unwrap(), tag, durability);
                    assert!(open_segments(dir.path()) <= OPEN_MAX + IN_USE_MAX);
                }
            }
            for n in 0..LOGS {
                let log = store.log(&format!("t-{n}")).unwrap();
                assert_eq!(values(&log), expected(0..first + 40, 3));
                let slice = log.read(Offset(first * 3), 500, true, ReadBound::Visible).unwrap().unwrap();
                let (ours, mut theirs) = UnixStream::pair().unwrap();
                assert_eq!(slice.send_to(&ours, 0).unwrap(), slice.len());
                drop(ours);
                let (mut sent, mut copied) = (Vec::new(), Vec::new());
                theirs.read_to_end(&mut sent).unwrap();
                slice.copy_cached(&mut copied).unwrap();
                assert_eq!((&sent, &copied), (&slice.read().unwrap(), &slice.read().unwrap()));
                assert!(open_segments(dir.path()) <= OPEN_MAX + IN_USE_MAX);
            }
            if clean {
                store.close().unwrap();
            }
        }
        let store = bounded(dir.path(), mode, 10_000);
        assert!(store.was_clean());
        assert_eq!(values(&store.log("t-7").unwrap()), expected(0..80, 3));
    }
}

#[test]
fn what_is_not_synced_stays_open_and_appends_beyond_are_refused_until_it_is() {
    for mode in modes() {
        let dir = tempfile::tempdir().unwrap();
        // No checkpoint but the one that a refusal asks for.
        let store = bounded(dir.path(), mode, 1_000_000);
        let logs: Vec<_> = (0..LOGS).map(|n| create(&store, n)).collect();
        for log in &logs[..OPEN_MAX] {
            append(log, batch(0, 3, 0), Durability::Written);
        }
        assert_eq!(open_segments(dir.path()), OPEN_MAX);
        let refused = logs[OPEN_MAX].append(&mut batch(0, 3, 0), Durability::Written).unwrap_err();
        assert!(matches!(refused, AppendError::Unopened(_)), "{refused}");
        assert_eq!(logs[OPEN_MAX].progress().written, Offset::ZERO);
        append_at_last(&logs[OPEN_MAX], 0, Durability::Written);
        for log in &logs[..=OPEN_MAX] {
            assert_eq!(values(log), expected(0..1, 3));
        }
        assert!(open_segments(dir.path()) <= OPEN_MAX + IN_USE_MAX);
    }
}

#[test]
fn a_reader_of_a_deleted_log_never_gets_bytes_of_another_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = bounded(dir.path(), IoMode::Blocking, 10);
    let old = create(&store, 1);
    append(&old, batch(7, 3, 0), Durability::Durable);
    let slice = old.read(Offset::ZERO, 1 << 20, true, ReadBound::Visible).unwrap().unwrap();
    let theirs = slice.read().unwrap();
    // Others take its place among the open files.
    for n in 2..LOGS {
        append_at_last(&create(&store, n), 0, Durability::Written);
    }
    store.delete_log("t-1").unwrap();
    let new = create(&store, 1);
    append_at_last(&new, 8, Durability::Durable);
    match slice.read() {
        Ok(bytes) => assert_eq!(bytes, theirs),
        Err(err) => assert!(err.to_string().contains("t-1"), "{err}"),
    }
    assert!(old.read(Offset::ZERO, 1 << 20, true, ReadBound::Visible).is_err());
    assert_eq!(values(&new), expected(8..9, 3));
}

#[test]
fn a_log_whose_last_segment_is_empty_keeps_its_epoch_when_all_before_it_is_deleted() {
    for mode in modes() {
        let dir = tempfile::tempdir().unwrap();
        let store = bounded(dir.path(), mode, 1_000_000);
        let log = create(&store, 0);
        log.raise_leader_epoch(LeaderEpoch(7)).unwrap();
        append(&log, batch(0, 100, 0), Durability::Written);
        for n in 1..OPEN_MAX {
            append(&create(&store, n as u8), batch(0, 3, 0), Durability::Written);
        }
        // None of what is open is synced, so that the new segment stays empty.
        let refused = log.append(&mut batch(1, 100, 0), Durability::Written);
        assert!(matches!(refused, Err(AppendError::Unopened(_))), "{refused:?}");
        log.advance_start(log.progress().visible).unwrap();
        store.close().unwrap();
        drop((store, log));
        let store = bounded(dir.path(), mode, 1_000_000);
        assert!(store.was_clean());
        assert_eq!(store.log("t-0").unwrap().leader_epoch(), LeaderEpoch(7));
    }
}
