//! Taking records away, from the end and from the start.

use crate::support::backend::{Backend, files};
use crate::support::*;
use crate::{config, on_every_backend};
use ringmain_engine::{CutError, Durability, Log, Offset, Store, WaitError};
use std::sync::Arc;

on_every_backend!(
    a_truncation_cuts_whole_batches,
    what_was_cut_does_not_come_back,
    offsets_are_given_out_again_and_the_new_records_are_kept,
    producers_are_known_as_the_batches_that_are_left_tell,
    who_waits_for_what_is_cut_is_told,
    the_start_moves_on_and_stays,
    segments_before_the_start_are_removed,
    records_before_the_start_become_durable_by_the_journal,
    a_log_is_cut_at_both_ends_in_turn,
);

/// A log of 30 batches of three records, in several segments.
fn filled(backend: &Backend) -> (Store, Arc<Log>) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    backend.with_journal(&store, &log);
    log.truncate(Offset::ZERO).unwrap();
    for tag in 0..30 {
        let durability = if tag % 4 == 3 { Durability::Durable } else { Durability::Written };
        append(&log, batch(tag, 3, 1000 + tag), durability);
    }
    (store, log)
}

fn a_truncation_cuts_whole_batches(backend: &Backend) {
    let (store, log) = filled(backend);
    // Beyond the end, at it, at a boundary, in a batch, at the same place again, in a batch at its last
    // record, at the start.
    let cuts = [(200, 90), (90, 90), (87, 87), (80, 78), (78, 78), (44, 42), (1, 0), (0, 0), (7, 0)];
    for (at, end) in cuts {
        assert_eq!(log.truncate(Offset(at)).unwrap(), Offset(end), "cut at {at}");
        let progress = log.progress();
        assert_eq!((progress.written, progress.visible), (Offset(end), Offset(end)));
        assert!(at >= 90 || progress.durable == Offset(end), "what is left is durable");
        assert_eq!(values(&log), expected(0..end / 3, 3));
        ringmain_engine::sim::check_log(&log).unwrap();
    }
    assert_eq!(append(&log, batch(0, 3, 0), Durability::Durable), Offset(0));
    for before in [-1, i64::MIN] {
        let refused = log.truncate(Offset(before)).unwrap_err();
        assert!(matches!(refused, CutError::OutOfRange { start: Offset(0), end: Offset(3), .. }));
    }
    store.delete_log("t-0").unwrap();
    assert!(matches!(log.truncate(Offset(0)), Err(CutError::Deleted)));
}

fn what_was_cut_does_not_come_back(backend: &Backend) {
    for at in [0, 1, 29, 30, 60, 89] {
        let (store, log) = filled(backend);
        let end = log.truncate(Offset(at)).unwrap();
        drop(log);
        backend.lose_power(store);
        let store = backend.open(config());
        let log = store.log("t-0").unwrap();
        assert_eq!(log.progress().written, end, "cut at {at}");
        assert_eq!(values(&log), expected(0..end.0 / 3, 3));
        ringmain_engine::sim::check_log(&log).unwrap();
        store.delete_log("t-0").unwrap();
    }
}

fn offsets_are_given_out_again_and_the_new_records_are_kept(backend: &Backend) {
    let (store, log) = filled(backend);
    for round in 0..5 {
        let base = log.truncate(Offset(40 - round * 7)).unwrap();
        assert_eq!(append(&log, batch(100 + round, 5, 0), Durability::Durable), base);
    }
    let all = values(&log);
    assert_eq!(all[all.len() - 5..], expected(104..105, 5));
    drop(log);
    backend.lose_power(store);
    let store = backend.open(config());
    let log = store.log("t-0").unwrap();
    assert_eq!(values(&log), all);
    ringmain_engine::sim::check_log(&log).unwrap();
}

fn producers_are_known_as_the_batches_that_are_left_tell(backend: &Backend) {
    let store = backend.open_with_journal(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    for sequence in 0..12 {
        append(&log, sequenced(5, 0, sequence), Durability::Written);
    }
    log.truncate(Offset(4)).unwrap();
    // The five that are remembered were all cut; those before them count again.
    let retry = log.append(&mut sequenced(5, 0, 3), Durability::Written).unwrap();
    assert!(retry.duplicate && retry.base_offset == Offset(3));
    assert!(log.append(&mut sequenced(5, 0, 12), Durability::Written).is_err());
    let next = log.append(&mut sequenced(5, 0, 4), Durability::Durable).unwrap();
    assert!(!next.duplicate && next.base_offset == Offset(4));
    next.completion.wait().unwrap();
    drop(log);
    backend.crash(store);
    let store = backend.open(config());
    let log = store.log("t-0").unwrap();
    assert!(log.append(&mut sequenced(5, 0, 4), Durability::Written).unwrap().duplicate);
    append(&log, sequenced(5, 0, 5), Durability::Written);
}

fn who_waits_for_what_is_cut_is_told(backend: &Backend) {
    let (store, log) = filled(backend);
    let kept = log.append(&mut batch(30, 3, 0), Durability::Durable).unwrap();
    let cut = log.append(&mut batch(31, 3, 0), Durability::Durable).unwrap();
    log.truncate(Offset(93)).unwrap();
    kept.completion.wait().unwrap();
    // On threads it may have been durable before it was cut; it is gone all the same.
    assert!(matches!(cut.completion.wait(), Err(WaitError::Truncated)));
    assert!(matches!(backend.block_on(&store, &cut.completion), Err(WaitError::Truncated)));
    append(&log, batch(32, 9, 0), Durability::Durable);
    assert!(matches!(cut.completion.outcome(), Some(Err(WaitError::Truncated))), "others have its offsets");
}

fn the_start_moves_on_and_stays(backend: &Backend) {
    let (store, log) = filled(backend);
    for (to, start) in [(0, 0), (5, 5), (3, 5), (44, 44), (44, 44), (-1, 44)] {
        assert_eq!(log.advance_start(Offset(to)).unwrap(), Offset(start), "to {to}");
        assert_eq!(log.progress().start, Offset(start));
        assert!(log.progress().durable >= Offset(start));
    }
    let refused = log.advance_start(Offset(91)).unwrap_err();
    assert!(matches!(refused, CutError::OutOfRange { end: Offset(90), .. }), "{refused}");
    assert!(matches!(log.truncate(Offset(43)), Err(CutError::OutOfRange { start: Offset(44), .. })));
    // A batch that is not visible cannot be before the start.
    let hidden = log.append(&mut batch(30, 3, 0), Durability::Durable).unwrap();
    if backend.disk().is_some() {
        assert!(log.advance_start(Offset(93)).is_err());
    }
    hidden.completion.wait().unwrap();
    drop((log, hidden));
    backend.lose_power(store);
    let store = backend.open(config());
    let log = store.log("t-0").unwrap();
    assert_eq!((log.progress().start, log.progress().written), (Offset(44), Offset(93)));
    assert_eq!(log.advance_start(Offset(93)).unwrap(), Offset(93), "all of it");
    assert!(values(&log).is_empty());
    drop(log);
    backend.lose_power(store);
    let store = backend.open(config());
    let log = store.log("t-0").unwrap();
    assert_eq!((log.progress().start, log.progress().written), (Offset(93), Offset(93)));
    assert_eq!(append(&log, batch(0, 1, 0), Durability::Durable), Offset(93));
}

fn segments_before_the_start_are_removed(backend: &Backend) {
    let (store, log) = filled(backend);
    let before = log.size_bytes();
    log.advance_start(Offset(70)).unwrap();
    assert!(log.size_bytes() < before / 2, "{} of {before} bytes are left", log.size_bytes());
    if let Some(dir) = backend.real_dir() {
        let bytes = |paths: Vec<std::path::PathBuf>| -> u64 {
            paths.iter().map(|path| path.metadata().unwrap().len()).sum()
        };
        assert_eq!(bytes(files(&dir.join("t-0"), "log")), log.size_bytes());
        let segments = files(&dir.join("t-0"), "log").len();
        assert!(files(&dir.join("t-0"), "index").len() <= segments);
    }
    store.close().unwrap();
    drop((log, store));
    let store = backend.open(config());
    let log = store.log("t-0").unwrap();
    assert_eq!(log.progress().start, Offset(70));
    ringmain_engine::sim::check_log(&log).unwrap();
}

/// Appends go on meanwhile. Syncing segments would have them wait.
fn records_before_the_start_become_durable_by_the_journal(backend: &Backend) {
    let (store, log) = filled(backend);
    append(&log, batch(30, 1, 2000), Durability::Written);
    assert!(log.progress().durable < Offset(91));
    let before = store.journal_stats();
    log.advance_start(Offset(91)).unwrap();
    assert_eq!((log.progress().start, log.progress().durable), (Offset(91), Offset(91)));
    let after = store.journal_stats();
    assert_eq!(after.entries - before.entries, 2, "of the records, and of the start");
}

fn a_log_is_cut_at_both_ends_in_turn(backend: &Backend) {
    let (mut store, mut log) = filled(backend);
    for round in 0..6 {
        let (start, end) = (log.progress().start.0, log.progress().written.0);
        log.advance_start(Offset(start + 9)).unwrap();
        // From the second round on it lies in the batch of nine, which goes.
        let end = log.truncate(Offset(end - 6)).unwrap();
        append(&log, batch(round, 9, 0), Durability::Durable);
        let (progress, left) = (log.progress(), values(&log));
        assert_eq!((progress.start.0, progress.written.0), (start + 9, end.0 + 9));
        drop(log);
        if round % 2 == 0 {
            backend.lose_power(store);
        } else {
            store.close().unwrap();
            drop(store);
        }
        store = backend.open(config());
        log = store.log("t-0").unwrap();
        assert_eq!((log.progress().start, log.progress().written), (progress.start, progress.written));
        assert_eq!(values(&log), left);
        ringmain_engine::sim::check_log(&log).unwrap();
    }
}
