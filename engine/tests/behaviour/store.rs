//! What a store does: logs made and deleted, opening and closing, and what is refused when.

use crate::support::backend::Backend;
use crate::support::*;
use crate::{config, on_every_backend};
use ringmain_engine::{
    AppendError, CreateError, CutError, Durability, LogConfig, Offset, OpenError, ReadBound, StoreConfig,
};

on_every_backend!(
    a_deleted_log_refuses_and_a_new_one_of_its_name_is_empty,
    a_deletion_survives_and_what_the_journal_had_of_it_is_void,
    names_that_no_directory_can_have_are_refused,
    many_logs_are_made_together,
    many_logs_are_deleted_together,
    all_is_there_after_a_clean_stop_and_after_none,
    a_closed_store_takes_nothing_and_is_read,
    a_store_is_opened_once,
    a_store_goes_on_with_another_configuration,
    a_log_takes_another_configuration_while_it_is_used,
    a_store_without_logs_opens_again,
);

fn a_deleted_log_refuses_and_a_new_one_of_its_name_is_empty(backend: &Backend) {
    let store = backend.open_with_journal(config());
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    append(&log, batch(0, 5, 0), Durability::Written);
    let slice = log.read(Offset::ZERO, 1 << 20, true, ReadBound::Visible).unwrap().unwrap();
    store.delete_log("t-0").unwrap();
    store.delete_log("t-0").unwrap();
    assert!(store.log("t-0").is_none() && log.is_deleted());
    assert!(matches!(log.append(&mut batch(1, 1, 0), Durability::Written), Err(AppendError::Deleted)));
    assert!(matches!(log.truncate(Offset::ZERO), Err(CutError::Deleted)));
    assert!(matches!(log.advance_start(Offset(1)), Err(CutError::Deleted)));
    assert_eq!(slice.read().unwrap().len() as u64, slice.len(), "a reader keeps what it has");
    let again = store.create_log("t-0", id(2), LogConfig::default()).unwrap();
    assert_eq!(again.progress().written, Offset::ZERO);
    assert_eq!(append(&again, batch(2, 1, 0), Durability::Durable), Offset::ZERO);
    if let Some(dir) = backend.real_dir() {
        let names: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().contains("deleted")), "{names:?}");
    }
}

fn a_deletion_survives_and_what_the_journal_had_of_it_is_void(backend: &Backend) {
    let store = backend.open(config());
    for n in 0..4 {
        let log = store.create_log(&format!("t-{n}"), id(n), small()).unwrap();
        backend.with_journal(&store, &log);
        for tag in 0..20 {
            append(&log, batch(tag, 3, 0), Durability::Durable);
        }
    }
    for name in ["t-0", "t-1", "t-2"] {
        store.delete_log(name).unwrap();
    }
    let again = store.create_log("t-1", id(11), small()).unwrap();
    append(&again, batch(50, 2, 0), Durability::Durable);
    store.create_log("t-2", id(12), small()).unwrap();
    drop(again);
    backend.lose_power(store);
    let store = backend.open(config());
    let mut names: Vec<_> = store.logs().iter().map(|log| (log.name().to_owned(), log.id())).collect();
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let expected_names = [("t-1".to_owned(), id(11)), ("t-2".into(), id(12)), ("t-3".into(), id(3))];
    assert_eq!(names, expected_names);
    assert_eq!(values(&store.log("t-1").unwrap()), expected(50..51, 2));
    assert_eq!(store.log("t-2").unwrap().progress().written, Offset::ZERO);
    assert_eq!(store.log("t-3").unwrap().progress().written, Offset(61));
}

fn many_logs_are_made_together(backend: &Backend) {
    let store = backend.open(config());
    store.create_log("t-90", id(1), small()).unwrap();
    let names: Vec<_> = (0..90).map(|n| format!("t-{n}")).collect();
    let made = store.create_logs(&names, id(2), small()).unwrap();
    assert!(made.iter().map(|log| log.name()).eq(names.iter().map(String::as_str)));
    assert!(store.create_logs(&[], id(3), small()).unwrap().is_empty());
    let refused = |names: [&str; 2]| store.create_logs(&names.map(String::from), id(3), small()).unwrap_err();
    assert!(matches!(refused(["u-0", "t-90"]), CreateError::Exists(name) if name == "t-90"));
    assert!(matches!(refused(["u-0", "u-0"]), CreateError::Exists(name) if name == "u-0"));
    assert!(matches!(refused(["u-0", ".."]), CreateError::Name(name) if name == ".."));
    assert!(store.log("u-0").is_none(), "none of those that are refused at once is made");
    append(&made[7], batch(0, 3, 0), Durability::Durable);
    append(&made[89], batch(1, 3, 0), Durability::Durable);
    drop(made);
    backend.lose_power(store);
    let store = backend.open(config());
    assert_eq!(store.logs().len(), 91);
    assert!(names.iter().all(|name| store.log(name).is_some_and(|log| log.id() == id(2))));
    assert_eq!(values(&store.log("t-7").unwrap()), expected(0..1, 3));
    assert_eq!(values(&store.log("t-89").unwrap()), expected(1..2, 3));
}

fn names_that_no_directory_can_have_are_refused(backend: &Backend) {
    let store = backend.open(config());
    let reserved = ["lock", "journal", "checkpoint", "clean-shutdown", "ringmain-store", "checkpoint.tmp"];
    let long = "x".repeat(256);
    let bad = ["", ".", "..", "a/b", "a\0b", ".creating-x", ".deleted-x", &long];
    for name in bad.iter().chain(&reserved) {
        let refused = store.create_log(name, id(1), LogConfig::default());
        assert!(matches!(refused, Err(CreateError::Name(_))), "{name:?}");
    }
    store.create_log(".x-0", id(1), LogConfig::default()).unwrap();
    store.create_log(&"y".repeat(255), id(1), LogConfig::default()).unwrap();
    store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    let taken = store.create_log("t-0", id(2), LogConfig::default());
    assert!(matches!(taken, Err(CreateError::Exists(_))));
    assert_eq!(store.log("t-0").unwrap().id(), id(1));
}

fn many_logs_are_deleted_together(backend: &Backend) {
    let store = backend.open(config());
    // More than go at once, in the journal and not.
    let names: Vec<_> = (0..75).map(|n| format!("t-{n}")).collect();
    let kept = store.create_log("kept-0", id(2), small()).unwrap();
    backend.with_journal(&store, &kept);
    let logs = store.create_logs(&names, id(1), small()).unwrap();
    for log in logs.iter().step_by(2) {
        append(log, batch(0, 3, 0), Durability::Durable);
    }
    let asked: Vec<_> = names.iter().cloned().chain(["none-0".into()]).collect();
    store.delete_logs(&asked).unwrap();
    assert!(logs.iter().all(|log| log.is_deleted()) && store.logs().len() == 1);
    store.delete_logs(&asked).unwrap();
    drop((kept, logs));
    backend.lose_power(store);
    let store = backend.open(config());
    assert_eq!(store.logs().iter().map(|log| log.name().to_owned()).collect::<Vec<_>>(), ["kept-0"]);
    if let Some(dir) = backend.real_dir() {
        let names = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names.into_iter().any(|name| name.to_string_lossy().contains("deleted")));
    }
}

fn all_is_there_after_a_clean_stop_and_after_none(backend: &Backend) {
    let mut store = backend.open(config());
    assert!(store.was_clean(), "a new one");
    store.create_log("t-0", id(1), small()).unwrap();
    for (round, clean) in [true, false, false, true, true].into_iter().enumerate() {
        let log = store.log("t-0").unwrap();
        let tags = round as i64 * 40;
        for tag in tags..tags + 40 {
            let durability = if tag % 5 == 0 { Durability::Durable } else { Durability::Written };
            append(&log, batch(tag, 3, 0), durability);
        }
        drop(log);
        if clean {
            store.close().unwrap();
            drop(store);
        } else {
            backend.crash(store);
        }
        store = backend.open(config());
        assert_eq!(store.was_clean(), clean);
        let log = store.log("t-0").unwrap();
        assert_eq!(log.id(), id(1));
        assert_eq!(values(&log), expected(0..tags + 40, 3));
        ringmain_engine::sim::check_log(&log).unwrap();
    }
}

fn a_closed_store_takes_nothing_and_is_read(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    append(&log, batch(0, 5, 0), Durability::Written);
    store.close().unwrap();
    assert_eq!(log.progress().durable, Offset(5), "closing makes all durable");
    assert!(matches!(log.append(&mut batch(1, 1, 0), Durability::Written), Err(AppendError::Closed)));
    assert!(matches!(log.truncate(Offset(0)), Err(CutError::Closed)));
    assert!(matches!(log.advance_start(Offset(5)), Err(CutError::Closed)));
    assert_eq!(values(&log), expected(0..1, 5));
    store.close().unwrap();
    drop(store);
    assert_eq!(values(&log), expected(0..1, 5), "a log that outlives its store is read on");
    assert!(matches!(log.append(&mut batch(1, 1, 0), Durability::Written), Err(AppendError::Closed)));
    let store = backend.open(config());
    assert!(store.was_clean());
    assert_eq!(values(&store.log("t-0").unwrap()), expected(0..1, 5));
}

fn a_store_is_opened_once(backend: &Backend) {
    let store = backend.open(config());
    append(&store.create_log("t-0", id(1), small()).unwrap(), batch(0, 1, 0), Durability::Durable);
    for _ in 0..2 {
        let refused = backend.try_open(config()).unwrap_err();
        assert!(matches!(refused, OpenError::Locked(_)), "{refused}");
    }
    append(&store.log("t-0").unwrap(), batch(1, 1, 0), Durability::Durable);
    drop(store);
    assert_eq!(values(&backend.open(config()).log("t-0").unwrap()), expected(0..2, 1));
}

fn a_store_goes_on_with_another_configuration(backend: &Backend) {
    let configs = [
        config(),
        StoreConfig { journal_file_bytes: 32 << 10, ..config() },
        StoreConfig { journal_files_max: 1, ..config() },
        StoreConfig { log: LogConfig::default(), journal_writes_max: 1, ..config() },
        StoreConfig { log: LogConfig { index_interval_bytes: 1, ..small() }, sync_depth: 1, ..config() },
        config(),
    ];
    for clean in [true, false] {
        let name = format!("t-{}", u8::from(clean));
        let mut all = Vec::new();
        for (round, config) in configs.iter().enumerate() {
            let store = backend.open(config.clone());
            let log = match store.log(&name) {
                Some(log) => log,
                None => store.create_log(&name, id(1), small()).unwrap(),
            };
            assert_eq!(values(&log), all, "configuration {round}");
            backend.with_journal(&store, &log);
            for tag in 0..30 {
                append(&log, batch(tag, 3, 0), Durability::Durable);
            }
            all = values(&log);
            drop(log);
            if clean {
                store.close().unwrap();
            } else {
                backend.lose_power(store);
            }
        }
        assert_eq!(all.len(), configs.len() * 91);
    }
}

fn a_log_takes_another_configuration_while_it_is_used(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    for tag in 0..30 {
        append(&log, batch(tag, 3, 0), Durability::Written);
    }
    log.set_config(LogConfig { batch_bytes_max: 100, ..small() });
    assert_eq!(log.config().batch_bytes_max, 100);
    let refused = log.append(&mut batch(0, 100, 0), Durability::Written).unwrap_err();
    assert!(matches!(refused, AppendError::TooLarge { max_bytes: 100, .. }));
    log.set_config(small());
    for tag in 30..60 {
        append(&log, batch(tag, 3, 0), Durability::Written);
    }
    let largest = log.read(Offset(150), 1 << 20, true, ReadBound::Visible).unwrap().unwrap();
    assert!(largest.len() <= 2000, "segments roll by the new size");
    assert_eq!(values(&log), expected(0..60, 3));
    drop((log, largest));
    backend.crash(store);
    let store = backend.open(config());
    assert_eq!(values(&store.log("t-0").unwrap()), expected(0..60, 3));
}

fn a_store_without_logs_opens_again(backend: &Backend) {
    for clean in [true, false, true] {
        let store = backend.open(config());
        assert!(store.logs().is_empty() && store.failure().is_none());
        if clean {
            store.close().unwrap();
        }
        backend.crash(store);
    }
}
