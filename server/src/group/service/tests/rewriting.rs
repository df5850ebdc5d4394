//! Rewriting the logs of the internal topic, with crashes in between.

use super::*;
use crate::group::machine::{GroupRecord, MemberRecord};
use crate::group::offset_store::partition_of;
use crate::group::rewrite::RewriteError;
use ringmain_engine::sim::{self, Disk};

fn records(broker: &Broker) -> i64 {
    let logs = broker.groups.offsets.logs();
    logs.iter().map(|log| log.progress().written.0 - log.progress().start.0).sum()
}

#[test]
fn the_log_stays_small_and_tells_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::open(dir.path());
    broker.create("t");
    let groups = ["a", "b", "c", "ü"];
    let mut kept = BTreeMap::new();
    for round in 0..6 {
        for offset in 0..40 {
            for (n, group) in groups.iter().enumerate() {
                let partition = (offset % 3) as i32;
                broker.commit(group, partition, round * 100 + offset).unwrap();
                kept.insert((*group, partition), round * 100 + offset);
                if offset == 20 && n as i64 == round {
                    broker.run(broker.groups.delete(group)).unwrap();
                    kept.retain(|(of, _), _| of != group);
                }
            }
        }
        broker.join("members", Some("i"));
        let state = broker.state();
        assert!(broker.groups.offsets.rewrite(1).unwrap() > 0);
        assert!(records(&broker) <= 15, "{} records", records(&broker));
        assert_eq!(broker.groups.offsets.rewrite(1).unwrap(), 0, "nothing is void now");
        assert_eq!(broker.state(), state);
        // Half of the stops are crashes.
        if round % 2 == 0 {
            broker.store.close().unwrap();
        }
        drop(broker);
        broker = Broker::open(dir.path());
        assert_eq!(broker.state(), state, "round {round}");
    }
    for ((group, partition), offset) in kept {
        assert_eq!(broker.committed(group, partition), Some(offset));
    }
}

#[test]
fn a_log_in_which_nothing_counts_becomes_empty_but_for_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    for offset in 0..10 {
        broker.commit("g", 0, offset).unwrap();
    }
    broker.run(broker.groups.delete("g")).unwrap();
    assert_eq!(broker.groups.offsets.rewrite(1).unwrap(), 1);
    assert_eq!((records(&broker), broker.groups.offsets.rewrite(2).unwrap()), (1, 0));
    drop(broker);
    assert_eq!(Broker::open(dir.path()).groups.list().len(), 0);
}

#[test]
fn a_log_that_is_not_worth_it_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    for partition in 0..4 {
        broker.commit("g", partition, 1).unwrap();
    }
    assert_eq!(broker.groups.offsets.rewrite(1).unwrap(), 0, "all of it counts");
    for offset in 2..10 {
        broker.commit("g", 0, offset).unwrap();
    }
    assert_eq!(broker.groups.offsets.rewrite(1000).unwrap(), 0, "it is small");
    assert_eq!(broker.groups.offsets.rewrite(12).unwrap(), 1);
}

/// A group of so many bytes.
fn large(bytes: usize) -> GroupRecord {
    let member = MemberRecord {
        member_id: "m".into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 1,
        session_timeout_ms: 1,
        subscription: subscription("t"),
        assignment: vec![0; bytes].into(),
    };
    GroupRecord {
        protocol_type: "consumer".into(),
        generation: 1,
        protocol: None,
        leader: None,
        since_ms: None,
        members: vec![member],
    }
}

#[test]
fn few_large_records_are_worth_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.run(broker.groups.offsets_topic()).unwrap();
    let offsets = &broker.groups.offsets;
    let keep = |group: &str| offsets.keep_group(group, &large(10 << 20)).unwrap().wait().unwrap();
    (0..5).for_each(|_| keep("g"));
    assert_eq!(offsets.rewrite(10_000).unwrap(), 1);
    let bytes =
        |broker: &Broker| broker.groups.offsets.logs().iter().map(|log| log.size_bytes()).sum::<u64>();
    assert!(bytes(&broker) < 25 << 20, "{} bytes", bytes(&broker));
    assert_eq!(offsets.rewrite(10_000).unwrap(), 0, "nothing is void now");
    // What counts is no reason, however much it is.
    (0..4).for_each(|n| keep(&format!("g{n}")));
    assert_eq!(offsets.rewrite(10_000).unwrap(), 0);
}

#[test]
fn a_batch_is_no_larger_than_the_log_takes_and_one_bad_log_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    let create = |bytes_max: usize| BTreeMap::from([("max.message.bytes".to_owned(), bytes_max.to_string())]);
    let name = OFFSETS_TOPIC.to_owned();
    let new = NewTopic { name, partitions: 2, config: create(2 << 20), validate_only: false };
    let topic = broker.run(broker.controller.create(new)).unwrap().unwrap();
    let offsets = &broker.groups.offsets;
    let keep = |number: i32, bytes: usize, count: usize| {
        let names = (0..).map(|n: i32| format!("{bytes}-{n}"));
        for name in names.filter(|name| partition_of(name, 2) == number).take(count) {
            (0..2).for_each(|_| offsets.keep_group(&name, &large(bytes)).unwrap().wait().unwrap());
        }
    };
    // In whatever order they come, a large one does not fit in addition to a small one.
    keep(0, 900 << 10, 4);
    keep(0, 1900 << 10, 4);
    assert_eq!(offsets.rewrite(1).unwrap(), 1);
    // What one log has it takes no more.
    keep(0, 1900 << 10, 4);
    keep(1, 1000, 4);
    broker.groups.catalog.configure(topic.id, create(1 << 20)).unwrap();
    let last = &offsets.logs()[1];
    let records = || last.progress().written.0 - last.progress().start.0;
    assert_eq!(records(), 8);
    let written = || offsets.logs()[0].progress().written;
    let before = written();
    assert!(matches!(offsets.rewrite(1), Err(RewriteError::Write(WriteError::Append(_)))));
    assert_eq!((records(), written()), (4, before), "nothing is written if not all can be");
}

/// The machine turns off in the middle of any operation of a rewrite, on a disk that loses what was not synced. A
/// commit is under way meanwhile: if it was acknowledged it survives, and else what was committed before it.
#[test]
fn the_loss_of_power_at_any_moment_of_a_rewrite_loses_no_commit() {
    let config = StoreConfig { journal_file_bytes: 256 << 10, ..StoreConfig::default() };
    let config = StoreConfig { journal_entry_bytes_max: 32 << 10, ..config };
    let (mut finished, mut acknowledged_first) = (0, 0);
    for seed in 0..150 {
        let disk = Disk::new(seed);
        let dir = Path::new("/data");
        let open = || {
            let store = Arc::new(sim::open(&disk, dir, config.clone()).unwrap());
            let catalog = Arc::new(Catalog::open(Arc::clone(&store), Config::default()).unwrap());
            let offsets = OffsetStore::open(Arc::clone(&catalog)).unwrap();
            (store, catalog, offsets)
        };
        let (store, catalog, offsets) = open();
        // The smallest segments, so that some are removed.
        let config = BTreeMap::from([("segment.bytes".to_owned(), "1024".to_owned())]);
        catalog.create(OFFSETS_TOPIC, 1, config).unwrap();
        catalog.create("t", 4, BTreeMap::new()).unwrap();
        for offset in 0..20 {
            for partition in 0..2 {
                let commit = offsets.begin("g", vec![(place(partition), committed(offset))]).unwrap();
                commit.completion.as_ref().unwrap().wait().unwrap();
                offsets.end(&commit, true);
            }
        }
        let pending = offsets.begin("g", vec![(place(0), committed(20))]).unwrap();
        disk.stop_after(1 + seed % 12);
        let rewritten = offsets.rewrite(1).is_ok();
        let acknowledged = matches!(pending.completion.as_ref().unwrap().outcome(), Some(Ok(())));
        finished += usize::from(rewritten);
        acknowledged_first += usize::from(acknowledged && !rewritten);
        disk.keep_running();
        drop((pending, offsets, catalog, store));
        if seed.is_multiple_of(3) {
            disk.process_kill()
        } else {
            disk.power_loss()
        }
        let (_store, _catalog, offsets) = open();
        let told = |partition| {
            offsets.with_offsets(|offsets| offsets.get("g", &place(partition)).map(|one| one.offset))
        };
        assert_eq!(told(1), Some(19), "seed {seed}");
        let found = told(0);
        let sound = found == Some(20) || (!acknowledged && found == Some(19));
        assert!(sound, "seed {seed}: {found:?}, acknowledged {acknowledged}, rewritten {rewritten}");
    }
    assert!((15..135).contains(&finished) && acknowledged_first > 5, "{finished}, {acknowledged_first}");
}
