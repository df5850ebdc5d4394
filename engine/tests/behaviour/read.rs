//! Which bytes a read gives, and which batch a search by time finds.

use crate::support::backend::Backend;
use crate::support::*;
use crate::{config, on_every_backend};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use ringmain_engine::{Durability, LogConfig, Offset, ReadBound, ReadError};
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;

on_every_backend!(
    readers_go_on_where_they_were_and_after_a_cut_elsewhere,
    a_read_in_mid_batch_begins_with_that_batch,
    limits_hold_but_for_one_batch_that_is_larger,
    a_read_outside_of_the_log_says_what_there_is,
    sendfile_gives_the_same_bytes_as_reading,
    what_is_not_in_the_page_cache_is_told_and_brought_there,
    a_slice_outlives_what_becomes_of_the_log,
    times_are_found_in_the_first_batch_that_reaches_them,
);

fn a_read_in_mid_batch_begins_with_that_batch(backend: &Backend) {
    let store = backend.open(config());
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

fn limits_hold_but_for_one_batch_that_is_larger(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    for tag in 0..10 {
        append(&log, batch(tag, 10, 0), Durability::Written);
    }
    let one = batch(0, 10, 0).len() as u64;
    let read = |max, at_least| log.read(Offset::ZERO, max, at_least, ReadBound::Visible).unwrap();
    assert_eq!(read(one * 3 + 1, false).unwrap().len(), one * 3);
    assert_eq!(read(one * 3, false).unwrap().len(), one * 3);
    assert_eq!(read(one * 3 - 1, false).unwrap().len(), one * 2);
    assert_eq!(read(one - 1, true).unwrap().len(), one);
    assert_eq!(read(0, true).unwrap().len(), one);
    assert!(read(one - 1, false).is_none());
    assert_eq!(read(u64::MAX, false).unwrap().len(), one * 10);
}

fn a_read_outside_of_the_log_says_what_there_is(backend: &Backend) {
    let store = backend.open_with_journal(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    let read = |offset| log.read(Offset(offset), 1 << 20, true, ReadBound::Visible);
    assert!(read(0).unwrap().is_none() && read(1).is_err());
    assert!(log.find_timestamp(0).unwrap().is_none() && log.max_timestamp_ms(Offset(0)).unwrap().is_none());
    for tag in 0..30 {
        append(&log, batch(tag, 3, 0), Durability::Written);
    }
    assert!(read(90).unwrap().is_none());
    for outside in [-1, 91, i64::MAX, i64::MIN] {
        let refused = read(outside).unwrap_err();
        let told = matches!(refused, ReadError::OutOfRange { start: Offset(0), end: Offset(90), .. });
        assert!(told, "{outside}: {refused}");
    }
    log.advance_start(Offset(40)).unwrap();
    assert!(matches!(read(39), Err(ReadError::OutOfRange { start: Offset(40), .. })));
    assert_eq!(read_all(&log, Offset(40))[0].0.base_offset, Offset(39), "the batch that holds the start");
}

fn sendfile_gives_the_same_bytes_as_reading(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    for tag in 0..20 {
        append(&log, batch(tag, 10, 0), Durability::Written);
    }
    let slice = log.read(Offset(50), 1 << 20, true, ReadBound::Visible).unwrap().unwrap();
    let mut copied = b"before".to_vec();
    slice.copy_cached(&mut copied).unwrap();
    assert_eq!(copied, [b"before", &slice.read().unwrap()[..]].concat());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    if backend.real_dir().is_none() {
        let refused = slice.send_to(&ours, 0).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "a simulated file has no descriptor");
        return;
    }
    let mut sent = 0;
    while sent < slice.len() {
        sent += slice.send_to(&ours, sent).unwrap();
    }
    assert_eq!(slice.send_to(&ours, sent).unwrap(), 0);
    drop(ours);
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).unwrap();
    assert_eq!(received, slice.read().unwrap());
}

fn what_is_not_in_the_page_cache_is_told_and_brought_there(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    for tag in 0..2000 {
        append(&log, batch(tag, 20, 0), Durability::Written);
    }
    let read = || log.read_cached(Offset(20_000), 1 << 20, true, ReadBound::Visible);
    let slice = read().unwrap().unwrap();
    assert!(slice.is_cached(0, u64::MAX), "it was just written");
    // A simulated disk has no cache before it.
    let Some(dir) = backend.real_dir() else { return };
    let evict = || {
        for entry in std::fs::read_dir(dir.join("t-0")).unwrap() {
            let file = std::fs::File::open(entry.unwrap().path()).unwrap();
            file.sync_all().unwrap();
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        }
    };
    evict();
    assert!(!slice.is_cached(0, u64::MAX), "the file system of {} keeps all in memory", dir.display());
    assert!(!slice.is_cached(100_000, 1), "nor any part");
    // The kernel begins to read what it does not wait for, and on a busy machine mostly has it at once.
    let cold = (0..2000).find_map(|_| {
        evict();
        read().err()
    });
    assert!(cold.unwrap().is_cold());
    slice.warm(0, slice.len() / 2).unwrap();
    assert!(slice.is_cached(0, slice.len() / 2));
    assert!(read().is_ok(), "the headers are in what was read");
    slice.warm(slice.len() / 2, u64::MAX).unwrap();
    assert!(slice.is_cached(0, u64::MAX));
    assert_eq!(slice.read().unwrap().len() as u64, slice.len());
    let waited = (0..2000).find_map(|_| {
        evict();
        let mut copied = vec![1];
        let outcome = slice.copy_cached(&mut copied);
        assert_eq!(copied.len() as u64, if outcome.is_ok() { 1 + slice.len() } else { 1 });
        outcome.err()
    });
    assert_eq!(waited.unwrap().kind(), ErrorKind::WouldBlock);
}

fn readers_go_on_where_they_were_and_after_a_cut_elsewhere(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    let mut all = Vec::new();
    let mut places = [Offset::ZERO; 6];
    let read = |from: Offset, bytes_max| {
        let slice = log.read(from, bytes_max, true, ReadBound::Visible).unwrap().unwrap();
        slice.read().unwrap()
    };
    for round in 0..40 {
        let size = 1 + round % 7;
        let base = append(&log, batch(round, size, 0), Durability::Written);
        all.push((Offset(base.0 + size), read(base, u64::MAX)));
        if round % 10 == 9 {
            // What comes in its place has another size.
            let (cut, _) = all.remove(all.len() - 3);
            all.truncate(all.len() - 2);
            let cut = log.truncate(Offset(cut.0 - 1)).unwrap();
            places.iter_mut().for_each(|place| *place = (*place).min(cut));
        }
        let written = log.progress().written;
        for (reader, place) in places.iter_mut().enumerate() {
            // Each at a pace of its own, one of them batch by batch.
            if !(round as usize).is_multiple_of(reader + 1) || *place == written {
                continue;
            }
            let rest: Vec<u8> =
                all.iter().filter(|(end, _)| end > place).flat_map(|(_, bytes)| bytes.clone()).collect();
            let found = read(*place, if reader == 5 { 1 } else { u64::MAX });
            assert!(rest.starts_with(&found) && (reader == 5 || rest.len() == found.len()), "round {round}");
            *place = if reader == 5 { all.iter().find(|(end, _)| end > place).unwrap().0 } else { written };
        }
    }
}

fn a_slice_outlives_what_becomes_of_the_log(backend: &Backend) {
    let store = backend.open_with_journal(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    for tag in 0..100 {
        append(&log, batch(tag, 3, 0), Durability::Written);
    }
    let first = log.read(Offset::ZERO, 1 << 20, true, ReadBound::Visible).unwrap().unwrap();
    let bytes = first.read().unwrap();
    log.advance_start(Offset(200)).unwrap();
    assert_eq!(first.read().unwrap(), bytes, "its segment is gone from the directory");
    let last = log.read(Offset(297), 1 << 20, true, ReadBound::Visible).unwrap().unwrap();
    store.delete_log("t-0").unwrap();
    assert_eq!(last.read().unwrap().len() as u64, last.len());
    assert_eq!(first.read().unwrap(), bytes);
}

fn times_are_found_in_the_first_batch_that_reaches_them(backend: &Backend) {
    let store = backend.open_with_journal(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    // Times rise by 10 a batch, but for one that goes back.
    let at_ms = |tag| if tag == 50 { 100 } else { 1000 + tag * 10 };
    for tag in 0..100 {
        append(&log, batch(tag, 5, at_ms(tag)), Durability::Written);
    }
    let check = |log: &ringmain_engine::Log, from: i64, end: i64| {
        for target in (900..2010).step_by(3) {
            let expected = (from..end).find(|tag| at_ms(*tag) + 4 >= target);
            let found = log.find_timestamp(target).unwrap();
            assert_eq!(found.map(|(header, _)| header.base_offset.0 / 5), expected, "time {target}");
        }
        for from in (0..end * 5).step_by(5) {
            assert_eq!(log.max_timestamp_ms(Offset(from)).unwrap(), Some(at_ms(end - 1) + 4), "from {from}");
        }
        assert_eq!(log.max_timestamp_ms(Offset(end * 5)).unwrap(), None);
    };
    check(&log, 0, 100);
    log.truncate(Offset(400)).unwrap();
    check(&log, 0, 80);
    // What is not visible is not found.
    let hidden = log.append(&mut batch(80, 5, 5000), Durability::Durable).unwrap();
    if hidden.completion.outcome().is_none() && backend.disk().is_some() {
        assert!(log.find_timestamp(5000).unwrap().is_none());
        for from in (0..400).step_by(5) {
            assert_eq!(log.max_timestamp_ms(Offset(from)).unwrap(), Some(at_ms(79) + 4), "from {from}");
        }
        assert_eq!(log.max_timestamp_ms(Offset(400)).unwrap(), None);
    }
    hidden.completion.wait().unwrap();
    assert_eq!(log.find_timestamp(5000).unwrap().unwrap().0.base_offset, Offset(400));
    assert_eq!(log.max_timestamp_ms(Offset::ZERO).unwrap(), Some(5004));
    drop((log, hidden));
    store.close().unwrap();
    drop(store);
    let store = backend.open(config());
    let log = store.log("t-0").unwrap();
    assert_eq!(log.find_timestamp(5000).unwrap().unwrap().0.base_offset, Offset(400));
    assert_eq!(log.find_timestamp(1333).unwrap().unwrap().0.base_offset, Offset(165));
}
