//! The shell on a store of its own: what is durable when it is answered, what a restart finds.

mod forgetting;
mod limits;
mod rewriting;

use super::*;
use crate::config::Config;
use crate::group::machine::Protocol;
use ringmain_engine::{Store, StoreConfig};
use std::path::Path;

/// A broker without sockets.
pub(super) struct Broker {
    pub(super) store: Arc<Store>,
    pub(super) controller: Controller,
    pub(super) groups: Arc<Groups>,
    runtime: tokio::runtime::Runtime,
    /// Last: it ends when nobody can ask it any more, and the data can be opened again then.
    _control: Control,
}

struct Control(Option<std::thread::JoinHandle<()>>);

impl Drop for Control {
    fn drop(&mut self) {
        self.0.take().unwrap().join().unwrap();
    }
}

pub(super) const RETENTION: Retention =
    Retention { offsets_ms: 1000, check_interval_ms: 3_600_000, rewrite_records_min: 1 };

pub(super) const GROUPS_MAX: usize = 10;

impl Broker {
    pub(super) fn open(dir: &Path) -> Self {
        Self::open_with(dir, Config::default())
    }

    pub(super) fn open_with(dir: &Path, config: Config) -> Self {
        let store = Arc::new(Store::open(dir, StoreConfig::default()).unwrap());
        let catalog = Arc::new(Catalog::open(Arc::clone(&store), config).unwrap());
        let offsets = Arc::new(OffsetStore::open(Arc::clone(&catalog)).unwrap());
        let forget = {
            let offsets = Arc::clone(&offsets);
            move |topic: &str| offsets.forget_topic(topic).map_err(|err| err.to_string())
        };
        let (controller, control) = Controller::start(Arc::clone(&catalog), forget, 10, 100).unwrap();
        let limits = Limits {
            session_min_ms: 1,
            session_max_ms: 100_000,
            initial_delay_ms: 0,
            members_max: 10,
            groups_max: GROUPS_MAX,
            memory_bytes_max: 1 << 20,
        };
        let groups = Groups::new(Arc::clone(&catalog), controller.clone(), offsets, limits, RETENTION, 2);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { store, controller, groups: Arc::new(groups), runtime, _control: Control(Some(control)) }
    }

    pub(super) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(super) fn create(&self, topic: &str) -> Arc<Topic> {
        let (name, config) = (topic.to_owned(), BTreeMap::new());
        let new = NewTopic { name, partitions: 4, config, validate_only: false };
        self.run(self.controller.create(new)).unwrap().unwrap()
    }

    pub(super) fn commit(&self, group: &str, partition: i32, offset: i64) -> Result<(), CommitError> {
        let committed = committed(offset);
        let refused = self.run(self.groups.commit(group, &nobody(), vec![(place(partition), committed)]))?;
        if refused.is_empty() { Ok(()) } else { Err(Error::NoMemory.into()) }
    }

    pub(super) fn committed(&self, group: &str, partition: i32) -> Option<i64> {
        self.groups.with_offsets(|offsets| offsets.get(group, &place(partition)).map(|one| one.offset))
    }

    /// All that is known, as text: after a restart it is the same.
    pub(super) fn state(&self) -> String {
        let mut offsets = self
            .groups
            .with_offsets(|offsets| offsets.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>());
        offsets.sort();
        let mut groups = self.groups.offsets.kept_groups();
        groups.sort_by(|a, b| a.0.cmp(&b.0));
        format!("{offsets:#?}\n{groups:#?}")
    }

    /// One member joins and is given its share.
    pub(super) fn join(&self, group: &str, instance_id: Option<&str>) -> Generation {
        let request = newcomer(instance_id);
        let member = request.member.clone();
        self.run(async {
            let joined = self.groups.join(group, request).await.unwrap();
            let member = Identity { member_id: joined.member_id.clone(), ..member };
            let generation = Generation { id: joined.generation, member };
            let share = (joined.member_id, bytes::Bytes::from_static(b"share"));
            let sync = SyncRequest {
                generation: generation.clone(),
                protocol_type: None,
                protocol: None,
                assignments: vec![share],
                held: None,
            };
            assert_eq!(&self.groups.sync(group, sync).await.unwrap().assignment[..], b"share");
            generation
        })
    }
}

/// Somebody new who asks to join.
pub(super) fn newcomer(instance_id: Option<&str>) -> JoinRequest {
    JoinRequest {
        member: Identity { member_id: String::new(), instance_id: instance_id.map(str::to_owned) },
        new_member_id: format!("m-{}", uuid::Uuid::new_v4()),
        id_required: false,
        may_skip: true,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 50_000,
        rebalance_timeout_ms: 50_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: subscription("t") }],
        reason: "a test".into(),
        held: None,
    }
}

pub(super) fn subscription(topic: &str) -> bytes::Bytes {
    let mut out = vec![0, 0, 0, 0, 0, 1];
    super::super::offset_record::put_string(&mut out, topic);
    out.into()
}

pub(super) fn place(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition }
}

pub(super) fn committed(offset: i64) -> Committed {
    let committed_at_ms = crate::clock::now_ms();
    Committed { offset, leader_epoch: -1, metadata: String::new(), committed_at_ms, expires_at_ms: None }
}

pub(super) fn nobody() -> Generation {
    Generation { id: -1, member: Identity::default() }
}

/// (A record becomes durable some time after it is written: an acknowledgement that did not wait would find less
/// durable than written.)
#[test]
fn whatever_is_answered_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    let all_durable = |what: &str| {
        for log in broker.store.logs() {
            let progress = log.progress();
            assert_eq!(progress.durable, progress.written, "{what}: {}", log.name());
        }
    };
    for round in 0..20 {
        let topic = broker.create("t");
        all_durable("a topic");
        broker.commit("g", 0, 7).unwrap();
        all_durable("a commit");
        assert_eq!(broker.committed("g", 0), Some(7));
        let generation = broker.join("members", None);
        all_durable("a group");
        let left = broker.run(broker.groups.leave("members", &[(generation.member, "done".into())]));
        assert_eq!(left, [Ok(())]);
        all_durable("a group without members");
        broker.join("fixed", Some("i"));
        all_durable("a static member");
        broker.run(broker.groups.delete("members")).unwrap();
        all_durable("a deleted group");
        broker.commit("g", 1, 7).unwrap();
        let deleted = broker.run(broker.groups.delete_offsets("g", vec![place(1), place(2)])).unwrap();
        assert_eq!(deleted, [(place(1), true), (place(2), true)]);
        all_durable("deleted offsets");
        assert_eq!(broker.committed("g", 1), None, "round {round}");
        broker.groups.offsets.forget_topic("t").unwrap();
        all_durable("what was forgotten");
        broker.run(broker.controller.delete(topic.id)).unwrap();
        all_durable("a deletion");
        broker.run(broker.controller.reserve_producer_ids(10)).unwrap();
        all_durable("producer ids");
    }
}

#[test]
fn members_survive_a_restart_and_old_generations_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    let first = broker.join("g", Some("i"));
    let commit = |broker: &Broker, generation: &Generation, offset| {
        broker.run(broker.groups.commit("g", generation, vec![(place(0), committed(offset))]))
    };
    commit(&broker, &first, 10).unwrap();
    let before = broker.state();
    drop(broker);
    let broker = Broker::open(dir.path());
    assert_eq!(broker.state(), before);
    assert_eq!(broker.groups.heartbeat("g", &first), Ok(()));
    commit(&broker, &first, 20).unwrap();
    // It comes again, and whoever goes by its old id can commit no more, nor after another restart.
    let second = broker.join("g", Some("i"));
    assert_eq!(second.id, first.id, "nothing changed for the group");
    drop(broker);
    let broker = Broker::open(dir.path());
    let refused = commit(&broker, &first, 5).unwrap_err();
    assert!(matches!(refused, CommitError::Group(Error::FencedInstance)), "{refused}");
    let old = Generation { id: second.id - 1, ..second.clone() };
    let refused = commit(&broker, &old, 5).unwrap_err();
    assert!(matches!(refused, CommitError::Group(Error::IllegalGeneration)), "{refused}");
    commit(&broker, &second, 30).unwrap();
    assert_eq!(broker.committed("g", 0), Some(30));
}

#[test]
fn a_group_with_members_is_not_deleted_and_its_topics_offsets_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    let generation = broker.join("g", None);
    broker.run(broker.groups.commit("g", &generation, vec![(place(0), committed(3))])).unwrap();
    let refused = broker.run(broker.groups.delete("g")).unwrap_err();
    assert!(matches!(refused, CommitError::Group(Error::NotEmpty)), "{refused}");
    let kept = broker.run(broker.groups.delete_offsets("g", vec![place(0)])).unwrap();
    assert_eq!(kept, [(place(0), false)]);
    assert_eq!(broker.committed("g", 0), Some(3));
    for unknown in [
        broker.run(broker.groups.delete("nobody")).unwrap_err(),
        broker.run(broker.groups.delete_offsets("nobody", vec![place(0)])).unwrap_err(),
    ] {
        assert!(matches!(unknown, CommitError::Group(Error::NoGroup)), "{unknown}");
    }
    broker.run(broker.groups.leave("g", &[(generation.member, "done".into())]));
    broker.run(broker.groups.delete("g")).unwrap();
    assert_eq!((broker.committed("g", 0), broker.groups.list().len()), (None, 0));
    drop(broker);
    let broker = Broker::open(dir.path());
    assert_eq!((broker.committed("g", 0), broker.groups.list().len()), (None, 0));
}

#[test]
fn offsets_lapse_and_groups_that_nobody_uses_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    let old = Committed { committed_at_ms: crate::clock::now_ms() - 2000, ..committed(1) };
    let generation = broker.join("busy", None);
    broker.run(broker.groups.commit("busy", &generation, vec![(place(0), old.clone())])).unwrap();
    broker.run(broker.groups.commit("alone", &nobody(), vec![(place(0), old.clone())])).unwrap();
    broker.commit("alone", 1, 5).unwrap();
    let unused = broker.join("unused", None);
    broker.run(broker.groups.leave("unused", &[(unused.member, "done".into())]));
    broker.groups.lapse();
    assert_eq!(broker.committed("busy", 0), Some(1), "it is consumed");
    assert_eq!((broker.committed("alone", 0), broker.committed("alone", 1)), (None, Some(5)));
    assert_eq!(broker.groups.list().into_keys().collect::<Vec<_>>(), ["alone", "busy"]);
    // Without members they are kept for the time of retention, from then on.
    broker.run(broker.groups.leave("busy", &[(generation.member, "done".into())]));
    broker.groups.lapse();
    assert_eq!(broker.committed("busy", 0), Some(1));
    std::thread::sleep(Duration::from_millis(RETENTION.offsets_ms + 10));
    broker.groups.lapse();
    assert_eq!(broker.groups.list().len(), 0);
    let state = broker.state();
    drop(broker);
    assert_eq!(Broker::open(dir.path()).state(), state);
}

/// Two members of a group, of which the second takes over while a commit of the first is under way: the second
/// finds what the first has committed.
#[test]
fn what_was_committed_before_a_rebalance_is_found_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    for round in 1..50 {
        let generation = broker.join("g", Some("i"));
        // Begun, and nobody hears of its end.
        let begun = broker.groups.offsets.begin("g", vec![(place(0), committed(round))]).unwrap();
        let other = Generation { member: broker.join("g", Some("i")).member, ..generation };
        assert!(broker.groups.heartbeat("g", &other).is_ok());
        assert_eq!(broker.committed("g", 0), Some(round));
        drop(begun);
    }
}
