//! What the disk promises, and that it takes back all else.
//!
//! Most look at many seeds: an outcome that must not be, must be there for none; one that may be, must
//! be there for some.

mod faults;
mod queues;

use super::*;
use crate::io::Block;
use std::collections::BTreeSet;
use std::io::IoSlice;

const SEEDS: std::ops::Range<u64> = 0..200;

/// A disk that writes nothing back by itself.
fn quiet(seed: u64) -> Disk {
    let disk = Disk::new(seed);
    disk.set_write_back(0);
    disk
}

fn open(disk: &Disk, path: &str) -> Arc<dyn IoFile> {
    disk.open(Path::new(path), OpenMode::Any).unwrap()
}

fn write(file: &Arc<dyn IoFile>, bytes: &[u8], position: u64) {
    file.write_at(&[IoSlice::new(bytes)], position).unwrap();
}

/// A file of `bytes` whose entry and data are durable.
fn durable(disk: &Disk, path: &str, bytes: &[u8]) -> Arc<dyn IoFile> {
    let file = open(disk, path);
    write(&file, bytes, 0);
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(path).parent().unwrap()).unwrap();
    file
}

fn content(disk: &Disk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), OpenMode::ReadOnly).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    Some(bytes)
}

fn block(byte: u8, len: usize) -> Block {
    let mut block = Block::zeroed(len);
    block.bytes_mut().fill(byte);
    block
}

/// All outcomes of `history` over many seeds.
fn outcomes<T: Ord>(history: impl Fn(&Disk) -> T) -> BTreeSet<T> {
    SEEDS.map(|seed| history(&quiet(seed))).collect()
}

#[test]
fn what_was_synced_survives_the_loss_of_power() {
    for seed in SEEDS {
        let disk = Disk::new(seed);
        durable(&disk, "/a", &[1; 1300]);
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [1; 1300]);
    }
}

#[test]
fn each_dirty_sector_is_kept_dropped_or_torn() {
    let seen = outcomes(|disk| {
        let file = durable(disk, "/a", &[1; 1024]);
        write(&file, &[2; 1024], 0);
        disk.power_loss();
        let found = content(disk, "/a").unwrap();
        let kind = |sector: &[u8]| {
            let new = sector.iter().filter(|byte| **byte == 2).count();
            assert!(sector[..new].iter().all(|byte| *byte == 2), "torn, but not into two pieces");
            assert!(sector[new..].iter().all(|byte| *byte == 1));
            if new == 0 {
                "dropped"
            } else if new == 512 {
                "kept"
            } else {
                "torn"
            }
        };
        (kind(&found[..512]), kind(&found[512..]))
    });
    assert_eq!(seen.len(), 9, "every pair, since sectors are independent: {seen:?}");
}

#[test]
fn growth_that_was_not_synced_is_kept_lost_or_kept_in_part() {
    let lens = outcomes(|disk| {
        let file = durable(disk, "/a", &[1; 100]);
        write(&file, &[2; 1900], 100);
        disk.power_loss();
        let found = content(disk, "/a").unwrap();
        assert_eq!(found[..100], [1; 100]);
        assert!(found[100..].iter().all(|byte| [0, 2].contains(byte)), "new bytes or zeros");
        found.len()
    });
    assert!(lens.contains(&100) && lens.contains(&2000) && lens.len() > 10, "{lens:?}");
}

#[test]
fn a_truncation_that_was_not_synced_may_be_undone() {
    let seen = outcomes(|disk| {
        let file = durable(disk, "/a", &[1; 2048]);
        file.truncate(512).unwrap();
        write(&file, &[2; 512], 512);
        disk.power_loss();
        let found = content(disk, "/a").unwrap();
        (found.len(), found.get(512).copied(), found.get(1024).copied())
    });
    assert!(seen.contains(&(2048, Some(1), Some(1))), "undone");
    assert!(seen.contains(&(2048, Some(2), Some(1))), "undone, though what came after it was kept");
    assert!(seen.contains(&(1024, Some(2), None)), "kept");
    assert!(seen.contains(&(1024, Some(0), None)), "kept, and what came after it was dropped");
    for seed in SEEDS {
        let disk = quiet(seed);
        let file = durable(&disk, "/a", &[1; 2048]);
        file.truncate(700).unwrap();
        file.preallocate(1500).unwrap();
        file.sync_data().unwrap();
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [vec![1; 700], vec![0; 800]].concat());
    }
}

#[test]
fn an_end_of_the_process_takes_nothing_back() {
    for seed in SEEDS {
        let disk = Disk::new(seed);
        disk.create_dir(Path::new("/d")).unwrap();
        let file = open(&disk, "/d/a");
        write(&file, &[1; 3000], 0);
        let mut map = file.map(600).unwrap();
        map.write(500, &[2; 100]);
        disk.rename(Path::new("/d/a"), Path::new("/d/b")).unwrap();
        disk.process_kill();
        let expected = [vec![1; 500], vec![2; 100], vec![1; 2400]].concat();
        assert_eq!(content(&disk, "/d/b").unwrap(), expected);
        assert!(content(&disk, "/d/a").is_none());
        assert!(file.len().is_err(), "the handle is of a process that is gone");
        assert!(write_fails(&file));
        map.write(0, &[9; 10]);
        assert_eq!(content(&disk, "/d/b").unwrap(), expected);
    }
}

fn write_fails(file: &Arc<dyn IoFile>) -> bool {
    file.write_at(&[IoSlice::new(b"x")], 0).is_err()
}

#[test]
fn what_an_end_of_the_process_left_dirty_can_still_be_lost() {
    let seen = outcomes(|disk| {
        let file = durable(disk, "/a", &[1; 512]);
        write(&file, &[2; 512], 0);
        disk.process_kill();
        disk.power_loss();
        content(disk, "/a").unwrap()[0]
    });
    assert_eq!(seen, BTreeSet::from([1, 2]));
}

#[test]
fn what_was_removed_before_an_end_of_the_process_can_still_come_back() {
    let seen = outcomes(|disk| {
        durable(disk, "/a", b"a");
        durable(disk, "/b", b"b");
        disk.remove(Path::new("/a")).unwrap();
        disk.rename(Path::new("/b"), Path::new("/c")).unwrap();
        disk.process_kill();
        assert_eq!(disk.list(Path::new("/")).unwrap(), ["c"]);
        disk.power_loss();
        (content(disk, "/a"), content(disk, "/b").or_else(|| content(disk, "/c")))
    });
    let b = Some(b"b".to_vec());
    assert_eq!(seen, BTreeSet::from([(None, b.clone()), (Some(b"a".to_vec()), b)]));
}

#[test]
fn an_entry_is_durable_only_after_a_sync_of_its_directory() {
    let seen = outcomes(|disk| {
        let file = open(disk, "/a");
        write(&file, &[1; 10], 0);
        file.sync_data().unwrap();
        disk.power_loss();
        content(disk, "/a")
    });
    assert_eq!(seen, BTreeSet::from([None, Some(vec![1; 10])]));
}

#[test]
fn a_sync_of_a_directory_covers_neither_its_files_nor_its_own_entry() {
    let seen = outcomes(|disk| {
        disk.create_dir(Path::new("/d")).unwrap();
        write(&open(disk, "/d/a"), &[1; 10], 0);
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.power_loss();
        (disk.is_dir(Path::new("/d")), content(disk, "/d/a").map(|bytes| bytes.len()))
    });
    assert!(seen.contains(&(false, None)) && seen.contains(&(true, Some(0))), "{seen:?}");
    assert!(!seen.contains(&(true, None)), "the directory was synced");
}

#[test]
fn changes_of_a_directory_are_kept_or_dropped_independently() {
    let seen = outcomes(|disk| {
        durable(disk, "/old", b"old");
        durable(disk, "/gone", b"gone");
        let staged = open(disk, "/staged");
        write(&staged, b"new", 0);
        staged.sync_data().unwrap();
        disk.rename(Path::new("/staged"), Path::new("/old")).unwrap();
        disk.remove(Path::new("/gone")).unwrap();
        open(disk, "/later");
        disk.power_loss();
        let old = content(disk, "/old").expect("the old or the new one, never neither");
        (
            old,
            content(disk, "/staged").is_some(),
            disk.exists(Path::new("/gone")),
            disk.exists(Path::new("/later")),
        )
    });
    for late in [false, true] {
        for gone in [false, true] {
            assert!(seen.contains(&(b"old".to_vec(), true, gone, late)));
            assert!(seen.contains(&(b"old".to_vec(), false, gone, late)));
            assert!(seen.contains(&(b"new".to_vec(), false, gone, late)));
        }
    }
    assert_eq!(seen.len(), 12, "nothing has two names");
}

#[test]
fn synced_changes_of_a_directory_stay() {
    for seed in SEEDS {
        let disk = Disk::new(seed);
        durable(&disk, "/a", b"a");
        durable(&disk, "/b", b"b");
        disk.create_dir(Path::new("/d")).unwrap();
        disk.rename(Path::new("/a"), Path::new("/b")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.power_loss();
        assert_eq!(disk.list(Path::new("/")).unwrap(), ["b", "d"]);
        assert_eq!(content(&disk, "/b").unwrap(), b"a");
        disk.remove_dir(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new(".")).unwrap();
        disk.power_loss();
        assert_eq!(disk.list(Path::new("")).unwrap(), ["b"]);
    }
}

#[test]
fn a_directory_removed_can_come_back_without_some_of_its_files() {
    let seen = outcomes(|disk| {
        disk.create_dir(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        durable(disk, "/d/a", b"a");
        durable(disk, "/d/b", b"b");
        disk.remove_dir(Path::new("/d")).unwrap();
        assert!(!disk.exists(Path::new("/d")));
        disk.power_loss();
        disk.list(Path::new("/d")).ok()
    });
    assert_eq!(seen.len(), 5, "gone, or any of its files: {seen:?}");
}

#[test]
fn paths_and_modes_are_as_those_of_a_file_system() {
    let disk = quiet(1);
    let kind = |outcome: io::Result<()>| outcome.unwrap_err().kind();
    let existing = |path| disk.open(Path::new(path), OpenMode::Existing).map(drop);
    assert_eq!(kind(existing("/a")), ErrorKind::NotFound);
    assert_eq!(kind(disk.open(Path::new("/d/a"), OpenMode::Any).map(drop)), ErrorKind::NotFound);
    disk.create_dir(Path::new("d")).unwrap();
    assert_eq!(kind(disk.create_dir(Path::new("/d"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(existing("/d")), ErrorKind::IsADirectory);
    open(&disk, "d/a");
    assert_eq!(kind(disk.create_dir(Path::new("/d/a/b"))), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.rename(Path::new("/x"), Path::new("/y"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.remove(Path::new("/d"))), ErrorKind::IsADirectory);
    assert_eq!(kind(disk.open_direct(Path::new("/d/none")).map(drop)), ErrorKind::NotFound);
    assert!(disk.is_dir(Path::new("/d")) && !disk.is_dir(Path::new("/d/a")));
    let read_only = disk.open(Path::new("/d/a"), OpenMode::ReadOnly).unwrap();
    assert!(write_fails(&read_only) && read_only.truncate(1).is_err());
    assert_eq!(read_only.as_fd().unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_file_removed_is_there_for_who_has_it_open() {
    let disk = quiet(1);
    let file = durable(&disk, "/a", b"abc");
    disk.remove(Path::new("/a")).unwrap();
    let mut bytes = [0; 10];
    assert_eq!(file.read_at(&mut bytes, 1).unwrap(), 2);
    assert_eq!(bytes[..2], *b"bc");
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn a_directory_is_locked_by_one_until_it_lets_go_or_crashes() {
    let disk = quiet(1);
    let path = Path::new("/lock");
    let held = disk.lock(path).unwrap();
    assert_eq!(disk.lock(path).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(held);
    let held = disk.lock(path).unwrap();
    disk.process_kill();
    let next = disk.lock(path).unwrap();
    drop(held);
    assert_eq!(disk.lock(path).unwrap_err().kind(), ErrorKind::WouldBlock, "the dead hold nothing");
    drop(next);
}

#[test]
fn a_mapping_is_the_file() {
    let disk = quiet(1);
    let file = durable(&disk, "/a", &[1; 1024]);
    assert!(file.map(1025).is_err());
    let mut map = file.map(1024).unwrap();
    write(&file, &[2; 4], 100);
    let mut bytes = [0; 6];
    map.read(99, &mut bytes);
    assert_eq!(bytes, [1, 2, 2, 2, 2, 1]);
    map.write(1020, &[3; 4]);
    assert_eq!(content(&disk, "/a").unwrap()[1019..], [1, 3, 3, 3, 3]);
    file.truncate(512).unwrap();
    let beyond = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| map.read(600, &mut [0])));
    assert!(beyond.is_err(), "the kernel would kill the process");
    let seen = outcomes(|disk| {
        let file = durable(disk, "/a", &[1; 512]);
        file.map(512).unwrap().write(0, &[2; 512]);
        disk.power_loss();
        content(disk, "/a").unwrap()[0]
    });
    assert_eq!(seen, BTreeSet::from([1, 2]), "what is written to it is dirty");
}

#[test]
fn direct_io_goes_to_the_medium_and_the_cache_agrees() {
    for seed in SEEDS {
        let disk = quiet(seed);
        let file = durable(&disk, "/a", &[1; 2048]);
        let direct = disk.open_direct(Path::new("/a")).unwrap();
        assert!(direct.is_direct() && direct.align_bytes() == 512 && direct.durable_fd().is_none());
        direct.write_at(&block(2, 1024), 512).unwrap();
        write(&file, &[3; 10], 2000);
        let mut found = Block::zeroed(4096);
        assert_eq!(direct.read_at(&mut found, 0).unwrap(), 2048);
        assert_eq!(
            found.bytes()[..2048],
            content(&disk, "/a").unwrap(),
            "what is dirty is written back first"
        );
        assert_eq!(direct.read_at(&mut found, 512).unwrap(), 1536);
        assert!(direct.write_at(&block(2, 512), 100).is_err(), "not aligned");
        direct.write_at(&block(4, 1024), 2560).unwrap();
        disk.power_loss();
        let found = content(&disk, "/a").unwrap();
        assert_eq!(found[512..1536], [2; 1024]);
        assert_eq!(found[2560..], [4; 1024], "growth, too, is durable");
    }
}

#[test]
fn without_direct_io_reads_give_the_cache_and_writes_are_synced() {
    for seed in SEEDS {
        let disk = quiet(seed);
        disk.set_direct(false);
        let file = durable(&disk, "/a", &[1; 1024]);
        let direct = disk.open_direct(Path::new("/a")).unwrap();
        assert!(!direct.is_direct());
        lose_by_write_back(&disk, &file, &[2; 512]);
        let mut found = Block::zeroed(512);
        direct.read_at(&mut found, 0).unwrap();
        assert_eq!(found.bytes()[0], 2, "not what the medium has");
        file.sync_data().unwrap_err();
        direct.write_at(&block(3, 512), 512).unwrap();
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [[1; 512], [3; 512]].concat());
    }
}

/// Writes `bytes` at the start; the kernel fails to write them back and lets them go.
fn lose_by_write_back(disk: &Disk, file: &Arc<dyn IoFile>, bytes: &[u8]) {
    disk.set_faults(Faults { write_back_per_mille: 1000, once: true, ..Faults::default() });
    let before = disk.fault_hits().write_backs;
    write(file, bytes, 0);
    while disk.fault_hits().write_backs == before {
        file.write_back(0, bytes.len() as u64).unwrap();
    }
}

#[test]
fn one_seed_is_one_history() {
    let history = |seed| {
        let disk = Disk::new(seed);
        disk.set_faults(Faults { write_per_mille: 100, sync_per_mille: 100, ..Faults::default() });
        let mut seen = Vec::new();
        for n in 0..20 {
            let file = open(&disk, if n % 3 == 0 { "/a" } else { "/b" });
            seen.push(file.write_at(&[IoSlice::new(&[n; 700])], u64::from(n) * 100).is_ok());
            seen.push(n % 4 != 0 || file.sync_data().is_ok());
        }
        disk.power_loss();
        (seen, content(&disk, "/a"), content(&disk, "/b"))
    };
    assert_eq!(history(7), history(7));
    assert!(SEEDS.map(history).collect::<BTreeSet<_>>().len() > 100);
}
