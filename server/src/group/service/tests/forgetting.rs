//! What is forgotten, and what is committed meanwhile.

use super::*;

/// A commit is begun, and what has lapsed is looked for until it is durable, again and again: one of the looks comes
/// just then.
#[test]
fn a_commit_that_becomes_durable_meanwhile_is_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    let groups = &broker.groups;
    for round in 0..100 {
        // Of one group nothing is committed yet, and of the other what has lapsed.
        let generation = broker.join("empty", None);
        broker.run(groups.leave("empty", &[(generation.member, "done".into())]));
        let old = Committed { committed_at_ms: crate::clock::now_ms() - 2000, ..committed(1) };
        broker.run(groups.commit("alone", &nobody(), vec![(place(0), old)])).unwrap();
        for group in ["empty", "alone"] {
            let commit = groups.offsets.begin(group, vec![(place(0), committed(round))]).unwrap();
            while commit.completion.as_ref().unwrap().outcome().is_none() {
                groups.lapse();
            }
            groups.offsets.end(&commit, true);
            assert_eq!(broker.committed(group, 0), Some(round), "{group}, round {round}");
        }
        broker.run(groups.delete_offsets("empty", vec![place(0)])).unwrap();
    }
}

/// What is to be forgotten does not fit into one batch of the internal topic.
#[test]
fn much_is_forgotten_in_several_batches() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    let topic = broker.create("t");
    let create = |topic: &str, partitions, bytes: usize| {
        let (name, config) = (topic.to_owned(), [("max.message.bytes".to_owned(), bytes.to_string())].into());
        broker
            .run(broker.controller.create(NewTopic { name, partitions, config, validate_only: false }))
            .unwrap()
    };
    create(OFFSETS_TOPIC, 2, 3000);
    let names = ["a", "b", "c"].map(|name| name.repeat(800));
    let commit_all = || {
        for name in &names {
            (0..4).for_each(|partition| broker.commit(name, partition, 1).unwrap());
        }
    };
    commit_all();
    // With members, so that it has a record of its own.
    let generation = broker.join(&names[0], None);
    broker.run(broker.groups.leave(&names[0], &[(generation.member, "done".into())]));
    broker.run(broker.groups.delete(&names[0])).unwrap();
    assert_eq!(broker.groups.list().len(), 2);
    let deleted = broker.run(broker.groups.delete_offsets(&names[1], (0..4).map(place).collect())).unwrap();
    assert!(deleted.iter().all(|(_, deleted)| *deleted));
    assert_eq!(broker.groups.list().len(), 1);
    commit_all();
    broker.run(broker.controller.delete(topic.id)).unwrap();
    assert_eq!(broker.groups.list().len(), 0);
    drop(broker);
    assert_eq!(Broker::open(dir.path()).groups.list().len(), 0);
}
