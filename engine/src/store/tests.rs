//! What is promised when the medium fails or loses power, and that nothing is promised before it has the
//! data. On the simulated disk.

use super::*;
use crate::error::{AppendError, DeleteError};
use crate::log::{LogId, ReadBound, WaitError};
use crate::offset::Offset;
use crate::record::BatchBuilder;
use crate::sim::{self, Disk, Faults};
use crate::watermark::Durability;

fn config() -> StoreConfig {
    let log = LogConfig { segment_bytes: 1000, index_interval_bytes: 100, ..LogConfig::default() };
    StoreConfig {
        log,
        journal_file_bytes: 16 << 10,
        journal_files_max: 2,
        journal_range_bytes_max: 1000,
        ..StoreConfig::default()
    }
}

fn dir() -> &'static Path {
    Path::new("/data")
}

fn open(disk: &Disk) -> Store {
    sim::open(disk, dir(), config()).unwrap()
}

fn create(store: &Store, name: &str) -> Arc<Log> {
    store.create_log(name, LogId([1; 16]), config().log).unwrap()
}

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(1, None, Some(&[b'x'; 100]));
    builder.finish().unwrap()
}

fn written(log: &Arc<Log>) {
    log.append(&mut batch(), Durability::Written).unwrap();
}

fn durable(log: &Arc<Log>) {
    log.append(&mut batch(), Durability::Durable).unwrap().completion.wait().unwrap();
}

/// Gives the store its first journal file, without which segments are synced.
fn with_journal(store: &Store) {
    store.core().journal.house.want_file();
    while sim::step_checkpoint(store) {}
    while sim::step_journal(store) {}
}

#[test]
fn durable_means_that_it_survives_the_loss_of_power() {
    for journal in [false, true] {
        for appends in 1..30 {
            let disk = Disk::new(appends);
            let store = open(&disk);
            if journal {
                with_journal(&store);
            }
            let log = create(&store, "t-0");
            for _ in 0..appends {
                // Batches that ask for less must become durable with what follows them.
                written(&log);
                durable(&log);
            }
            let end = log.progress().durable;
            assert_eq!(end, Offset(2 * appends.cast_signed()));
            written(&log);
            drop((store, log));
            disk.power_loss();
            let store = open(&disk);
            let log = store.log("t-0").unwrap();
            assert!(log.progress().written >= end, "{appends} appends, journal {journal}");
            sim::check_log(&log).unwrap();
        }
    }
}

#[test]
fn a_store_that_failed_is_not_marked_clean_even_if_all_its_logs_are_durable() {
    let disk = Disk::new(1);
    let store = open(&disk);
    let log = create(&store, "t-0");
    durable(&log);
    disk.set_faults(Faults { write_per_mille: 1000, ..Faults::default() });
    assert!(log.append(&mut batch(), Durability::Written).is_err());
    disk.set_faults(Faults::default());
    assert!(store.close().is_err());
    drop((store, log));
    assert!(!open(&disk).was_clean());
}

#[test]
fn a_log_that_outlives_its_store_takes_nothing_and_leaves_nobody_waiting() {
    let disk = Disk::new(1);
    let store = open(&disk);
    let log = create(&store, "t-0");
    let waits = log.append(&mut batch(), Durability::Durable).unwrap();
    drop(store);
    assert!(matches!(log.append(&mut batch(), Durability::Durable), Err(AppendError::Closed)));
    assert!(matches!(waits.completion.wait(), Err(WaitError::Closed)));
    drop(log);
    open(&disk);
}

#[test]
fn nothing_is_acknowledged_or_visible_before_it_is_durable() {
    for journal in [false, true] {
        let disk = Disk::new(1);
        let store = open(&disk);
        if journal {
            with_journal(&store);
        }
        let log = create(&store, "t-0");
        written(&log);
        let appended = log.append(&mut batch(), Durability::Durable).unwrap();
        written(&log);
        assert!(appended.completion.outcome().is_none());
        assert_eq!((log.progress().visible, log.progress().written), (Offset(1), Offset(3)));
        assert!(log.read(Offset(1), 1 << 20, true, ReadBound::Visible).unwrap().is_none());
        appended.completion.wait().unwrap();
        assert_eq!(log.progress().visible, Offset(3));
    }
}

#[test]
fn a_failed_sync_ends_all_writing_and_is_never_tried_again() {
    let faults = [
        (false, Faults { sync_per_mille: 1000, ..Faults::default() }),
        (false, Faults { sync_dir_per_mille: 1000, ..Faults::default() }),
        (true, Faults { direct_write_per_mille: 1000, ..Faults::default() }),
    ];
    for (journal, faults) in faults {
        let disk = Disk::new(1);
        let store = open(&disk);
        if journal {
            with_journal(&store);
        }
        let (log, other) = (create(&store, "t-0"), create(&store, "t-1"));
        disk.set_faults(faults);
        let failed = log.append(&mut batch(), Durability::Durable).unwrap();
        assert!(matches!(failed.completion.wait(), Err(WaitError::Failed(_))));
        assert_eq!(log.progress().visible, Offset(0));
        // The next sync would succeed, and over lost data.
        disk.set_faults(Faults::default());
        for log in [&log, &other] {
            assert!(matches!(log.append(&mut batch(), Durability::Written), Err(AppendError::Failed(_))));
        }
        assert!(matches!(failed.completion.wait(), Err(WaitError::Failed(_))));
        assert!(store.failure().unwrap().to_string().contains("refuses writes"));
        assert!(store.create_log("t-2", LogId([3; 16]), LogConfig::default()).is_err());
        assert!(log.truncate(Offset(0)).is_err());
        assert!(store.close().is_err());
        assert!(log.read(Offset(0), 1 << 20, true, ReadBound::Written).unwrap().is_some(), "reads go on");
        drop((store, log, other));
        assert!(!open(&disk).was_clean());
    }
}

#[test]
fn a_failed_write_ends_all_writing_and_leaves_nothing_behind() {
    let disk = Disk::new(1);
    let store = open(&disk);
    let log = create(&store, "t-0");
    written(&log);
    disk.set_faults(Faults { write_per_mille: 1000, ..Faults::default() });
    assert!(matches!(log.append(&mut batch(), Durability::Written), Err(AppendError::Failed(_))));
    disk.set_faults(Faults::default());
    assert!(matches!(log.append(&mut batch(), Durability::Written), Err(AppendError::Failed(_))));
    drop((store, log));
    assert_eq!(open(&disk).log("t-0").unwrap().progress().written, Offset(1));
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let disk = Disk::new(1);
    let store = open(&disk);
    with_journal(&store);
    let log = create(&store, "t-0");
    for _ in 0..20 {
        disk.set_capacity(disk.used_bytes());
        // A few may fit into what is allocated already.
        let refused = (0..100).find_map(|_| log.append(&mut batch(), Durability::Written).err()).unwrap();
        assert!(matches!(refused, AppendError::DiskFull), "{refused}");
        assert!(store.failure().is_none());
        disk.set_capacity(u64::MAX);
        durable(&log);
    }
    let end = log.progress().durable;
    sim::check_log(&log).unwrap();
    store.close().unwrap();
    drop((store, log));
    let log = open(&disk).log("t-0").unwrap();
    assert_eq!(log.progress().written, end);
    sim::check_log(&log).unwrap();
}

#[test]
fn a_checkpoint_on_a_full_disk_is_put_off_and_made_later() {
    let disk = Disk::new(1);
    let store = open(&disk);
    with_journal(&store);
    let log = create(&store, "t-0");
    durable(&log);
    disk.set_capacity(disk.used_bytes());
    assert!(store.core().checkpoint(true).is_err());
    assert!(store.failure().is_none());
    disk.set_capacity(u64::MAX);
    store.core().checkpoint(true).unwrap();
    durable(&log);
}

#[test]
fn what_an_unclean_start_serves_is_on_the_medium_even_after_a_failed_write_back() {
    for unwritten in [false, true] {
        for direct in [true, false] {
            let disk = Disk::new(3);
            disk.set_direct(direct);
            let store = open(&disk);
            let log = create(&store, "t-0");
            (0..20).for_each(|_| written(&log));
            // The kernel tries, fails, and calls the pages clean.
            disk.set_faults(Faults { sync_per_mille: 1000, unwritten, ..Faults::default() });
            assert!(store.core().checkpoint(true).is_ok() && store.failure().is_some());
            disk.set_faults(Faults::default());
            drop((store, log));
            disk.process_kill();
            let store = open(&disk);
            let end = store.log("t-0").unwrap().progress().written;
            assert_eq!(end, Offset(20), "the process crashed, nothing else");
            drop(store);
            disk.power_loss();
            assert_eq!(open(&disk).log("t-0").unwrap().progress().written, end);
        }
    }
}

#[test]
fn damage_below_what_was_durable_is_corruption_and_changes_nothing() {
    for clean in [false, true] {
        let disk = Disk::new(1);
        let store = open(&disk);
        with_journal(&store);
        let (log, other) = (create(&store, "t-0"), create(&store, "t-1"));
        (0..3).for_each(|_| durable(&log));
        store.core().checkpoint(true).unwrap();
        let path = log.segment_list()[0].path.clone();
        let len = log.segment_list()[0].extent().size_bytes;
        if clean {
            store.close().unwrap();
        }
        drop((store, log, other));
        let io: Arc<dyn Io> = Arc::new(disk.clone());
        let file = io.open(&path, OpenMode::Existing).unwrap();
        file.truncate(len - 1).unwrap();
        drop(file);
        let store = open(&disk);
        let log = store.log("t-0").unwrap();
        assert_eq!(log.progress().written, Offset(2));
        let refused = log.append(&mut batch(), Durability::Written).unwrap_err();
        assert!(matches!(refused, AppendError::Quarantined { position, .. } if position == len / 3 * 2));
        assert!(log.read(Offset(0), 1 << 20, true, ReadBound::Visible).unwrap().is_some(), "reads go on");
        durable(&store.log("t-1").unwrap());
        drop((store, log));
        let again = open(&disk);
        let log = again.log("t-0").unwrap();
        assert!(log.append(&mut batch(), Durability::Written).is_err(), "it is not forgotten");
        again.delete_log("t-0").unwrap();
        durable(&create(&again, "t-0"));
    }
}

#[test]
fn the_stores_own_directory_and_a_deletion_survive_the_loss_of_power() {
    let disk = Disk::new(1);
    let store = sim::open(&disk, Path::new("/a/b/data"), config()).unwrap();
    create(&store, "t-0");
    create(&store, "t-1");
    store.delete_log("t-0").unwrap();
    drop(store);
    disk.power_loss();
    let store = sim::open(&disk, Path::new("/a/b/data"), config()).unwrap();
    assert!(store.log("t-0").is_none() && store.log("t-1").is_some());
}

#[test]
fn nothing_is_deleted_after_the_last_checkpoint() {
    let disk = Disk::new(1);
    let store = open(&disk);
    with_journal(&store);
    durable(&create(&store, "t-0"));
    durable(&create(&store, "t-1"));
    store.close().unwrap();
    let names = ["t-0".to_owned(), "t-1".to_owned()];
    assert!(matches!(store.delete_logs(&names), Err(DeleteError::Closed { name }) if name == "t-0"));
    assert!(matches!(store.delete_log("t-1"), Err(DeleteError::Closed { .. })));
    drop(store);
    let store = open(&disk);
    assert!(store.was_clean() && names.iter().all(|name| store.log(name).is_some()));
    store.delete_logs(&names).unwrap();
}

#[test]
fn a_damaged_checkpoint_refuses_or_is_done_without() {
    for clean in [false, true] {
        let disk = Disk::new(1);
        let store = open(&disk);
        with_journal(&store);
        durable(&create(&store, "t-0"));
        if clean {
            store.close().unwrap();
        }
        drop(store);
        let io: Arc<dyn Io> = Arc::new(disk.clone());
        let file = io.open(&dir().join(crate::checkpoint::FILE), OpenMode::Existing).unwrap();
        file.write_at(&[io::IoSlice::new(b"X")], 30).unwrap();
        drop(file);
        match sim::open(&disk, dir(), config()) {
            Ok(store) => assert!(clean && store.log("t-0").unwrap().progress().written == Offset(1)),
            Err(err) => assert!(!clean && matches!(err, OpenError::Damaged { .. }), "{err}"),
        }
    }
}

#[test]
fn a_hole_in_the_journal_below_what_was_durable_is_corruption() {
    let disk = Disk::new(1);
    let store = open(&disk);
    with_journal(&store);
    let log = create(&store, "t-0");
    (0..4).for_each(|_| durable(&log));
    drop((store, log));
    let io: Arc<dyn Io> = Arc::new(disk.clone());
    let file = io.open(&dir().join("journal/0"), OpenMode::Existing).unwrap();
    file.write_at(&[io::IoSlice::new(b"X")], 512 + 60).unwrap();
    file.sync_data().unwrap();
    let refused = sim::open(&disk, dir(), config()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

#[test]
fn a_store_whose_checkpoint_is_gone_is_refused_where_its_journal_may_be_needed() {
    for clean in [false, true] {
        let disk = Disk::new(1);
        let store = open(&disk);
        with_journal(&store);
        durable(&create(&store, "t-0"));
        if clean {
            store.close().unwrap();
        }
        drop(store);
        disk.remove(&dir().join(crate::checkpoint::FILE)).unwrap();
        match sim::open(&disk, dir(), config()) {
            Ok(store) => assert!(clean && store.log("t-0").unwrap().progress().written == Offset(1)),
            Err(err) => assert!(!clean && matches!(err, OpenError::Damaged { .. }), "{err}"),
        }
    }
}

#[test]
fn the_journals_epoch_rises_and_cannot_be_guessed() {
    let epochs: Vec<u64> = (0..20)
        .map(|seed| {
            let disk = Disk::new(seed);
            drop(open(&disk));
            drop(open(&disk));
            crate::checkpoint::Checkpoint::read(&disk, dir()).unwrap().unwrap().unwrap().epoch
        })
        .collect();
    let mut lower: Vec<u64> = epochs.iter().map(|epoch| epoch & u64::from(u32::MAX)).collect();
    lower.sort_unstable();
    lower.dedup();
    assert_eq!(lower.len(), 20, "random in part: {epochs:?}");
    assert!(epochs.iter().all(|epoch| epoch >> 32 == 2), "one more with each start: {epochs:?}");
}

/// The deletion of a log may itself be lost, so what is made durable of the log meanwhile must be.
#[test]
fn names_in_the_directory_of_a_log_that_is_being_deleted_are_durable_or_the_sync_fails() {
    let disk = Disk::new(1);
    let store = open(&disk);
    let log = create(&store, "t-0");
    let append = || _ = log.append(&mut batch(), Durability::Written).unwrap();
    let failing = Faults { sync_dir_per_mille: 1000, ..Faults::default() };
    append();
    let gone = deleted_dir(dir(), log.number);
    log.mark_deleted();
    for name in [&log.dir, &gone] {
        disk.set_faults(failing);
        assert!(log.dir_changed_again().sync_names().is_err(), "{}", name.display());
        disk.set_faults(Faults::default());
        log.dir_changed_again().sync_names().unwrap();
        if name == &log.dir {
            store.core.io.rename(&log.dir, &gone).unwrap();
        }
    }
    store.core.io.remove_dir(&gone).unwrap();
    log.dir_changed_again().sync_names().unwrap();
}

/// A dropped page may show an older batch in the place of one, so that a search finds nothing.
#[test]
fn what_a_store_that_failed_cannot_find_is_lost_and_not_absent() {
    let disk = Disk::new(1);
    let store = open(&disk);
    let log = create(&store, "t-0");
    (0..3).for_each(|_| _ = log.append(&mut batch(), Durability::Written).unwrap());
    let segment = Arc::clone(&log.segment_list()[0]);
    let batch_bytes = segment.extent().size_bytes / 3;
    let mut first = vec![0; usize::try_from(batch_bytes).unwrap()];
    assert_eq!(segment.file.read_at(&mut first, 0).unwrap(), first.len());
    store.core.journal.fail("syncing it".into(), io::ErrorKind::Other.into());
    let read = |offset| log.read(Offset(offset), 1000, true, ReadBound::Visible);
    assert!(read(2).unwrap().is_some_and(|slice| slice.len() == batch_bytes));
    segment.file.write_at(&[io::IoSlice::new(&first)], 2 * batch_bytes).unwrap();
    assert!(matches!(read(2), Err(crate::error::ReadError::Lost { .. })), "{:?}", read(2));
    assert!(read(3).unwrap().is_none() && read(0).unwrap().is_some());
}
