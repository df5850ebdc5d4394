//! Failing writes, syncs and write-backs, a full disk, and a machine that goes off.

use super::*;

fn once() -> Faults {
    Faults { once: true, ..Faults::default() }
}

#[test]
fn after_a_failed_sync_the_next_one_succeeds_over_lost_data() {
    for seed in SEEDS {
        let disk = quiet(seed);
        let file = durable(&disk, "/a", &[1; 512]);
        write(&file, &[2; 512], 0);
        disk.set_faults(Faults { sync_per_mille: 1000, ..once() });
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(nix::libc::EIO));
        file.sync_data().unwrap();
        assert_eq!(content(&disk, "/a").unwrap(), [2; 512], "the cache looks right");
        let mut found = Block::zeroed(512);
        disk.open_direct(Path::new("/a")).unwrap().read_at(&mut found, 0).unwrap();
        assert_eq!(found.bytes(), [1; 512], "the medium tells");
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [1; 512]);
        assert_eq!(disk.fault_hits().syncs, 1);
    }
}

#[test]
fn a_failed_write_back_is_told_by_one_sync() {
    for seed in SEEDS {
        let disk = quiet(seed);
        let file = durable(&disk, "/a", &[1; 512]);
        lose_by_write_back(&disk, &file, &[2; 512]);
        assert!(open(&disk, "/a").sync_data().is_err());
        file.sync_data().unwrap();
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [1; 512]);
    }
}

#[test]
fn lost_data_that_is_written_again_reaches_the_medium() {
    for seed in SEEDS {
        let disk = quiet(seed);
        let file = durable(&disk, "/a", &[]);
        lose_by_write_back(&disk, &file, &[2; 512]);
        file.sync_data().unwrap_err();
        write(&file, &[3; 512], 0);
        file.sync_data().unwrap();
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [3; 512]);
    }
}

#[test]
fn with_unwritten_extents_only_a_new_file_or_a_restart_helps() {
    for seed in SEEDS {
        let disk = quiet(seed);
        let file = durable(&disk, "/a", &[]);
        disk.set_faults(Faults { sync_per_mille: 1000, unwritten: true, ..once() });
        write(&file, &[2; 512], 0);
        file.sync_data().unwrap_err();
        write(&file, &[3; 512], 0);
        file.sync_data().unwrap();
        assert_eq!(content(&disk, "/a").unwrap(), [3; 512]);
        durable(&disk, "/b", &content(&disk, "/a").unwrap());
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [0; 512], "zeros, whatever was synced");
        assert_eq!(content(&disk, "/b").unwrap(), [3; 512]);
        durable(&disk, "/a", &[4; 512]);
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [4; 512]);
    }
}

#[test]
fn blocks_that_a_truncation_gave_back_are_forgotten() {
    for seed in SEEDS {
        let disk = quiet(seed);
        let file = durable(&disk, "/a", &[]);
        disk.set_faults(Faults { sync_per_mille: 1000, unwritten: true, ..once() });
        write(&file, &[2; 512], 0);
        file.sync_data().unwrap_err();
        file.truncate(0).unwrap();
        durable(&disk, "/a", &[4; 512]);
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [4; 512]);
    }
}

#[test]
fn what_was_on_the_medium_before_can_be_written_again_in_place() {
    for seed in SEEDS {
        let disk = quiet(seed);
        let file = durable(&disk, "/a", &[1; 512]);
        disk.set_faults(Faults { sync_per_mille: 1000, unwritten: true, ..once() });
        write(&file, &[2; 512], 0);
        file.sync_data().unwrap_err();
        write(&file, &[3; 512], 0);
        file.sync_data().unwrap();
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [3; 512]);
    }
}

#[test]
fn the_kernel_writes_back_by_itself() {
    let disk = Disk::new(3);
    disk.set_faults(Faults { write_back_per_mille: 1000, ..Faults::default() });
    let file = durable(&disk, "/a", &[]);
    for n in 0..1000 {
        write(&file, &[2; 512], n * 512);
    }
    assert!(disk.fault_hits().write_backs > 5);
    assert!(file.sync_data().is_err());
}

#[test]
fn a_failed_write_leaves_a_part() {
    let lens = outcomes(|disk| {
        let file = open(disk, "/a");
        disk.set_faults(Faults { write_per_mille: 1000, ..once() });
        assert!(file.write_at(&[IoSlice::new(&[1; 50]), IoSlice::new(&[1; 50])], 0).is_err());
        let len = file.len().unwrap();
        write(&file, &[2; 100], 0);
        assert_eq!(disk.fault_hits().writes, 1);
        len
    });
    assert!(lens.len() > 50 && lens.contains(&0) && lens.iter().all(|len| *len <= 100));
}

#[test]
fn a_failed_sync_of_a_directory_proves_nothing() {
    let seen = outcomes(|disk| {
        open(disk, "/a");
        disk.set_faults(Faults { sync_dir_per_mille: 1000, ..once() });
        assert!(disk.sync_dir(Path::new("/")).is_err());
        disk.power_loss();
        disk.exists(Path::new("/a"))
    });
    assert_eq!(seen, BTreeSet::from([false, true]));
}

#[test]
fn a_failed_direct_write_leaves_anything_of_itself() {
    let seen = outcomes(|disk| {
        durable(disk, "/a", &[1; 1024]);
        disk.set_faults(Faults { direct_write_per_mille: 1000, ..once() });
        let direct = disk.open_direct(Path::new("/a")).unwrap();
        assert!(direct.write_at(&block(2, 1024), 0).is_err());
        disk.power_loss();
        let found = content(disk, "/a").unwrap();
        [found[0], found[511], found[512], found[1023]]
    });
    assert!(seen.contains(&[1; 4]) && seen.contains(&[2; 4]) && seen.contains(&[1, 1, 2, 2]));
    assert!(seen.contains(&[2, 1, 1, 1]), "torn");
}

#[test]
fn a_full_disk_takes_a_part_or_nothing_and_passes() {
    let lens = outcomes(|disk| {
        let file = durable(disk, "/a", &[1; 1000]);
        disk.set_capacity(1500);
        assert_eq!(disk.used_bytes(), 1000);
        let kind = |outcome: io::Result<()>| outcome.unwrap_err().kind();
        assert_eq!(kind(file.preallocate(1501)), ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 1000, "all or nothing");
        write(&file, &[2; 1000], 0);
        assert_eq!(kind(file.write_at(&[IoSlice::new(&[3; 600])], 1000)), ErrorKind::StorageFull);
        let len = file.len().unwrap();
        file.truncate(1000).unwrap();
        write(&file, &[3; 500], 1000);
        let refused = disk.open(Path::new("/b"), OpenMode::Any).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
        assert_eq!(kind(disk.create_dir(Path::new("/d"))), ErrorKind::StorageFull);
        file.sync_data().unwrap();
        disk.set_capacity(2000);
        write(&file, &[4; 500], 1500);
        assert_eq!(disk.fault_hits().full, 4);
        len
    });
    assert!(lens.contains(&1000) && lens.len() > 50 && lens.iter().all(|len| (1000..=1500).contains(len)));
}

#[test]
fn a_machine_that_is_off_does_nothing() {
    let lens = outcomes(|disk| {
        let file = durable(disk, "/a", &[1; 100]);
        let before = disk.operations();
        disk.stop_after(2);
        write(&file, &[2; 100], 100);
        assert!(!disk.is_off());
        assert!(file.write_at(&[IoSlice::new(&[3; 100])], 200).is_err());
        assert!(disk.is_off());
        assert!(write_fails(&file) && file.sync_data().is_err() && file.len().is_err());
        assert!(disk.create_dir(Path::new("/d")).is_err() && disk.sync_dir(Path::new("/")).is_err());
        assert!(disk.list(Path::new("/")).is_err() && !disk.exists(Path::new("/a")));
        assert_eq!(disk.operations() - before, 2, "only what was begun counts");
        disk.process_kill();
        assert!(!disk.is_off());
        let found = content(disk, "/a").unwrap();
        assert_eq!(found[100..200], [2; 100]);
        assert!(found[200..].iter().all(|byte| *byte == 3));
        open(disk, "/b");
        found.len()
    });
    assert!(lens.len() > 50 && lens.contains(&200), "the last write in part or not at all");
}

#[test]
fn the_last_change_of_names_happens_or_not() {
    let seen = outcomes(|disk| {
        durable(disk, "/a", b"a");
        disk.stop_after(1);
        assert!(disk.rename(Path::new("/a"), Path::new("/b")).is_err());
        disk.process_kill();
        disk.list(Path::new("/")).unwrap()
    });
    assert_eq!(seen, BTreeSet::from([vec!["a".to_owned()], vec!["b".to_owned()]]));
}

#[test]
fn a_sync_that_the_machine_does_not_survive_proves_nothing() {
    let seen = outcomes(|disk| {
        let file = durable(disk, "/a", &[1; 512]);
        write(&file, &[2; 512], 0);
        disk.stop_after(1);
        assert!(file.sync_data().is_err());
        disk.power_loss();
        content(disk, "/a").unwrap()[0]
    });
    assert_eq!(seen, BTreeSet::from([1, 2]));
}

#[test]
fn a_stop_can_be_called_off() {
    let disk = quiet(1);
    disk.stop_after(1);
    disk.keep_running();
    open(&disk, "/a");
    assert!(!disk.is_off());
}
