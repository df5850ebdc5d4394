//! Operations under way: in any order, and in any part at a crash.

use super::*;
use crate::io::Done;

struct Writes {
    disk: Disk,
    direct: Arc<dyn DirectFile>,
    queue: Box<dyn CommitQueue>,
}

/// Four blocks of a file of ones are under way, each of two sectors.
fn four_writes(disk: &Disk) -> Writes {
    durable(disk, "/journal", &[1; 4096]);
    let direct = disk.open_direct(Path::new("/journal")).unwrap();
    let mut queue = disk.commit_queue(8).unwrap();
    for n in 0..4 {
        queue.write(n, &direct, n * 1024, block(2, 1024));
    }
    Writes { disk: disk.clone(), direct, queue }
}

/// Until all four are done; their tokens in order.
fn drain(queue: &mut dyn CommitQueue) -> (Vec<u64>, usize) {
    let (mut tokens, mut polls) = (Vec::new(), 0);
    while tokens.len() < 4 {
        polls += 1;
        queue.wait();
        let done = queue.poll();
        assert!(!done.is_empty(), "a wait gets one done at least");
        tokens.extend(done.into_iter().map(|one: Done| {
            one.outcome.unwrap();
            assert_eq!(one.block.unwrap().bytes(), [2; 1024]);
            one.token
        }));
    }
    (tokens, polls)
}

#[test]
fn writes_are_done_in_any_order_several_at_once() {
    let seen = outcomes(|disk| {
        let mut writes = four_writes(disk);
        let (tokens, polls) = drain(&mut *writes.queue);
        assert_eq!(tokens.iter().collect::<BTreeSet<_>>().len(), 4);
        writes.queue.wait();
        assert!(writes.queue.poll().is_empty());
        disk.power_loss();
        assert_eq!(content(disk, "/journal").unwrap(), [2; 4096]);
        (tokens, polls)
    });
    assert!(seen.iter().map(|(tokens, _)| tokens).collect::<BTreeSet<_>>().len() > 20, "of 24 orders");
    assert!(seen.iter().map(|(_, polls)| polls).collect::<BTreeSet<_>>().len() > 2);
}

#[test]
fn a_poll_alone_may_find_nothing_done() {
    let seen = outcomes(|disk| four_writes(disk).queue.poll().len());
    assert_eq!(seen, (0..=4).collect());
}

#[test]
fn what_is_done_and_told_is_durable() {
    for seed in SEEDS {
        let disk = quiet(seed);
        let mut writes = four_writes(&disk);
        let done = writes.queue.poll();
        disk.power_loss();
        let found = content(&disk, "/journal").unwrap();
        for one in done {
            let at = usize::try_from(one.token).unwrap() * 1024;
            assert_eq!(found[at..at + 1024], [2; 1024]);
        }
    }
}

#[test]
fn at_a_crash_each_sector_under_way_is_kept_dropped_or_torn_and_the_queue_gets_its_blocks() {
    for crash in [Disk::power_loss, Disk::process_kill] {
        let seen = outcomes(|disk| {
            let mut writes = four_writes(disk);
            crash(disk);
            let done = writes.queue.poll();
            assert_eq!(done.len(), 4);
            assert!(done.iter().all(|one| one.outcome.is_err() && one.block.is_some()));
            assert!(writes.direct.write_at(&block(3, 512), 0).is_err());
            writes.queue.write(9, &writes.direct, 0, block(3, 512));
            assert!(writes.queue.poll().pop().unwrap().outcome.is_err(), "the queue is of before");
            let found = content(&writes.disk, "/journal").unwrap();
            [found[0], found[512], found[1023], found[1024]]
        });
        assert!(seen.len() > 10, "{seen:?}");
    }
}

#[test]
fn a_sync_under_way_may_or_may_not_have_happened() {
    let seen = outcomes(|disk| {
        let file = durable(disk, "/a", &[1; 5120]);
        write(&file, &[2; 5120], 0);
        let mut queue = disk.commit_queue(8).unwrap();
        queue.sync(1, &file);
        disk.power_loss();
        assert_eq!(queue.poll().len(), 1);
        content(disk, "/a").unwrap().iter().all(|byte| *byte == 2)
    });
    assert_eq!(seen, BTreeSet::from([false, true]));
    for seed in SEEDS {
        let disk = quiet(seed);
        let file = durable(&disk, "/a", &[1; 5120]);
        write(&file, &[2; 5120], 0);
        let mut queue = disk.commit_queue(8).unwrap();
        queue.sync(1, &file);
        queue.wait();
        assert!(queue.poll().pop().unwrap().outcome.is_ok());
        disk.power_loss();
        assert_eq!(content(&disk, "/a").unwrap(), [2; 5120]);
    }
}

#[test]
fn a_sync_need_not_cover_what_was_written_after_it_began() {
    let seen = outcomes(|disk| {
        let file = durable(disk, "/a", &[1; 512]);
        let mut queue = disk.commit_queue(8).unwrap();
        queue.sync(1, &file);
        write(&file, &[2; 512], 0);
        queue.wait();
        queue.poll().pop().unwrap().outcome.unwrap();
        disk.power_loss();
        content(disk, "/a").unwrap()[0]
    });
    assert_eq!(seen, BTreeSet::from([1, 2]));
}

#[test]
fn a_machine_that_goes_off_answers_all_that_is_under_way() {
    for seed in SEEDS {
        let disk = quiet(seed);
        let mut writes = four_writes(&disk);
        disk.stop_after(2);
        let mut done = Vec::new();
        while done.len() < 4 {
            writes.queue.wait();
            done.extend(writes.queue.poll());
        }
        assert!(disk.is_off());
        assert_eq!(done.iter().filter(|one| one.outcome.is_ok()).count(), 1);
        assert!(done.iter().all(|one| one.block.is_some()));
        disk.power_loss();
        let found = content(&disk, "/journal").unwrap();
        for one in done.iter().filter(|one| one.outcome.is_ok()) {
            let at = usize::try_from(one.token).unwrap() * 1024;
            assert_eq!(found[at..at + 1024], [2; 1024]);
        }
    }
}

#[test]
fn a_queue_that_is_dropped_lets_what_is_under_way_complete() {
    for seed in SEEDS {
        let disk = quiet(seed);
        drop(four_writes(&disk));
        disk.power_loss();
        assert_eq!(content(&disk, "/journal").unwrap(), [2; 4096]);
    }
}

#[test]
fn failures_are_told_with_the_operation() {
    let disk = quiet(1);
    let mut writes = four_writes(&disk);
    disk.set_faults(Faults { direct_write_per_mille: 1000, once: true, ..Faults::default() });
    let mut done = Vec::new();
    while done.len() < 4 {
        writes.queue.wait();
        done.extend(writes.queue.poll());
    }
    assert_eq!(done.iter().filter(|one| one.outcome.is_err()).count(), 1);
}

#[test]
fn syncs_of_many_files_are_done_in_any_order_each_with_its_outcome() {
    let seen = outcomes(|disk| {
        let mut queue = disk.sync_queue(4).unwrap();
        for token in 0..3 {
            let file = durable(disk, &format!("/{token}"), &[1; 512]);
            write(&file, &[2; 512], 0);
            queue.submit(token, file);
        }
        disk.set_faults(Faults { sync_per_mille: 1000, once: true, ..Faults::default() });
        let done = queue.wait_all();
        assert_eq!(done.len(), 3);
        disk.power_loss();
        for (token, outcome) in &done {
            let expected = if outcome.is_ok() { 2 } else { 1 };
            assert_eq!(content(disk, &format!("/{token}")).unwrap()[0], expected);
        }
        done.into_iter().filter_map(|(token, outcome)| outcome.is_err().then_some(token)).collect::<Vec<_>>()
    });
    assert_eq!(seen, BTreeSet::from([vec![0], vec![1], vec![2]]));
}
