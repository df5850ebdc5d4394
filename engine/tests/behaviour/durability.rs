//! When an append is durable, who is told, and what may be read before it is.

use crate::support::backend::{Backend, FullDisk};
use crate::support::*;
use crate::{config, on_every_backend};
use ringmain_engine::{
    AppendError, CutError, Durability, Log, LogConfig, Offset, ReadBound, Store, WaitError,
};
use std::sync::Arc;
use std::task::{Context, Waker};

on_every_backend!(
    durable_means_durable_and_a_prefix_with_it,
    written_is_visible_at_once_and_durable_when_it_is,
    a_completion_is_awaited_without_a_thread,
    a_reader_is_woken_by_what_becomes_visible,
    large_ranges_are_synced_and_small_ones_after_them_journaled,
    many_logs_become_durable_with_one_wait_each,
    waiting_ends_when_the_log_is_deleted_or_the_store_dropped,
    the_journal_is_used_again_and_again,
    a_full_disk_refuses_and_passes,
);

fn durable_means_durable_and_a_prefix_with_it(backend: &Backend) {
    for journal in [false, true] {
        let store = backend.open(config());
        let name = format!("t-{}", u8::from(journal));
        let log = store.create_log(&name, id(1), small()).unwrap();
        if journal {
            backend.with_journal(&store, &log);
        }
        for tag in 0..40 {
            append(&log, batch(tag, 2, 0), Durability::Written);
            append(&log, batch(tag, 1, 0), Durability::Durable);
            assert_eq!(log.progress().durable, log.progress().written);
        }
        let end = log.progress().durable;
        append(&log, batch(99, 1, 0), Durability::Written);
        let all = values(&log);
        drop(log);
        let may_lose = backend.lose_power(store);
        let store = backend.open(config());
        let log = store.log(&name).unwrap();
        let left = values(&log);
        assert!(log.progress().written >= end && all.starts_with(&left));
        assert!(may_lose || left == all);
        assert_eq!(log.progress().durable, log.progress().written, "what a start serves is durable");
        ringmain_engine::sim::check_log(&log).unwrap();
        drop((log, store));
    }
}

fn written_is_visible_at_once_and_durable_when_it_is(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    backend.with_journal(&store, &log);
    let base = log.progress().written;
    append(&log, batch(0, 2, 0), Durability::Written);
    assert_eq!(log.progress().visible, base.plus(2));
    let durable = log.append(&mut batch(1, 2, 0), Durability::Durable).unwrap();
    append(&log, batch(2, 2, 0), Durability::None);
    if backend.disk().is_some() {
        // Without threads nothing becomes durable by itself.
        assert!(durable.completion.outcome().is_none());
        assert_eq!((log.progress().visible, log.progress().durable), (base.plus(2), base));
        assert!(log.read(base.plus(2), 1 << 20, true, ReadBound::Visible).unwrap().is_none());
        let slice = log.read(base.plus(2), 1 << 20, true, ReadBound::Written).unwrap().unwrap();
        assert_eq!(slice.len(), (batch(1, 2, 0).len() * 2) as u64);
    }
    durable.completion.wait().unwrap();
    assert_eq!(log.progress().visible, base.plus(6));
    assert!(log.progress().durable >= base.plus(4));
    assert!(matches!(durable.completion.outcome(), Some(Ok(()))));
}

fn a_completion_is_awaited_without_a_thread(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    for tag in 0..20 {
        let appended = log.append(&mut batch(tag, 3, 0), Durability::Durable).unwrap();
        backend.block_on(&store, &appended.completion).unwrap();
        assert!(log.progress().durable >= appended.end_offset);
        let written = log.append(&mut batch(tag, 3, 0), Durability::Written).unwrap();
        assert!(matches!(written.completion.outcome(), Some(Ok(()))));
        backend.block_on(&store, &written.completion).unwrap();
    }
    // Dropped in the middle, it leaves nothing behind that could be in the way.
    let abandoned = log.append(&mut batch(20, 3, 0), Durability::Durable).unwrap();
    {
        let mut context = Context::from_waker(Waker::noop());
        let _ = std::pin::pin!(abandoned.completion.done()).as_mut().poll(&mut context);
    }
    drop(abandoned);
    append(&log, batch(21, 3, 0), Durability::Durable);
}

fn a_reader_is_woken_by_what_becomes_visible(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    append(&log, batch(0, 3, 0), Durability::Written);
    backend.await_(&store, log.visible_beyond(Offset(2)));
    let later = Arc::clone(&log);
    let other = std::thread::spawn(move || {
        append(&later, batch(1, 3, 0), Durability::Durable);
    });
    backend.await_(&store, log.visible_beyond(Offset(3)));
    assert_eq!(log.progress().visible, Offset(6));
    other.join().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| store.delete_log("t-0").unwrap());
        backend.await_(&store, log.visible_beyond(Offset(6)));
    });
    assert!(log.is_deleted(), "the end of a log wakes its readers, too");
}

fn large_ranges_are_synced_and_small_ones_after_them_journaled(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), LogConfig { segment_bytes: 5000, ..small() }).unwrap();
    backend.with_journal(&store, &log);
    let mut kept = values(&log);
    for round in 0..5 {
        let large = round % 2 == 0;
        for tag in 0..if large { 60 } else { 3 } {
            append(&log, batch(tag, 20, 0), Durability::Written);
        }
        append(&log, batch(round, 1, 0), Durability::Durable);
        kept = values(&log);
        assert_eq!(log.progress().durable, log.progress().written);
    }
    drop(log);
    backend.lose_power(store);
    let store = backend.open(config());
    let log = store.log("t-0").unwrap();
    assert_eq!(values(&log), kept);
    ringmain_engine::sim::check_log(&log).unwrap();
}

fn many_logs_become_durable_with_one_wait_each(backend: &Backend) {
    let logs_of =
        |store: &Store| -> Vec<Arc<Log>> { (0..50).map(|n| store.log(&format!("t-{n}")).unwrap()).collect() };
    let store = backend.open(config());
    for n in 0..50 {
        store.create_log(&format!("t-{n}"), id(n), small()).unwrap();
    }
    let logs = logs_of(&store);
    backend.with_journal(&store, &logs[0]);
    for round in 0..4 {
        let begun: Vec<_> = logs
            .iter()
            .map(|log| log.append(&mut batch(round, 3, 0), Durability::Durable).unwrap())
            .collect();
        begun.iter().for_each(|one| one.completion.wait().unwrap());
    }
    let before: Vec<_> = logs.iter().map(|log| values(log)).collect();
    drop(logs);
    backend.lose_power(store);
    let store = backend.open(config());
    for (log, before) in logs_of(&store).iter().zip(before) {
        assert_eq!(values(log), before);
    }
}

fn waiting_ends_when_the_log_is_deleted_or_the_store_dropped(backend: &Backend) {
    let store = backend.open(config());
    let (log, other) = (store.create_log("t-0", id(1), small()), store.create_log("t-1", id(2), small()));
    let (log, other) = (log.unwrap(), other.unwrap());
    backend.with_journal(&store, &log);
    let waits = log.append(&mut batch(0, 1, 0), Durability::Durable).unwrap();
    store.delete_log("t-0").unwrap();
    // It may have been quicker than the deletion.
    assert!(matches!(waits.completion.wait(), Err(WaitError::Deleted) | Ok(())));
    let waits = other.append(&mut batch(0, 1, 0), Durability::Durable).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| waits.completion.wait());
        drop(store);
        assert!(matches!(waiting.join().unwrap(), Err(WaitError::Closed) | Ok(())));
    });
    assert!(matches!(other.append(&mut batch(0, 1, 0), Durability::Durable), Err(AppendError::Closed)));
}

fn the_journal_is_used_again_and_again(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    backend.with_journal(&store, &log);
    // Four times what all its files hold.
    let one = batch(0, 100, 0).len() as i64;
    let rounds = 4 * 3 * (64 << 10) / one;
    for tag in 1..rounds {
        append(&log, batch(tag, 100, 0), Durability::Durable);
    }
    let all = values(&log);
    assert_eq!(all.len() as i64, 1 + (rounds - 1) * 100);
    drop(log);
    backend.lose_power(store);
    let store = backend.open(config());
    assert_eq!(values(&store.log("t-0").unwrap()), all);
}

fn a_full_disk_refuses_and_passes(backend: &Backend) {
    let Some(disk) = backend.disk() else { return };
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    backend.with_journal(&store, &log);
    for round in 0..5 {
        let full = FullDisk::new(disk);
        let end = log.progress().written;
        // Some may fit into what is allocated.
        let refused = (0..100).find_map(|_| log.append(&mut batch(round, 5, 0), Durability::Written).err());
        assert!(matches!(refused, Some(AppendError::DiskFull)), "{refused:?}");
        assert!(store.create_log("t-1", id(2), small()).is_err());
        assert!(store.failure().is_none() && log.progress().written >= end);
        let cut = log.truncate(end);
        assert!(matches!(cut, Ok(_) | Err(CutError::DiskFull)), "{cut:?}");
        drop(full);
        append(&log, batch(round, 5, 0), Durability::Durable);
        ringmain_engine::sim::check_log(&log).unwrap();
    }
    let all = values(&log);
    drop(log);
    backend.lose_power(store);
    let store = backend.open(config());
    assert_eq!(values(&store.log("t-0").unwrap()), all);
    assert!(store.log("t-1").is_none());
}
