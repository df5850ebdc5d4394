//! The controller on a store of its own: deletions that fail halfway, topics that cannot be opened.

use super::*;
use crate::config::Config;
use crate::metadata::commands::CommandLog;
use crate::metadata::{Edit, Image, METADATA_LOG, OFFSETS_TOPIC};
use ringmain_engine::{AppendError, Log, LogConfig, LogId, Store, StoreConfig};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Metadata {
    store: Arc<Store>,
    catalog: Arc<Catalog>,
    controller: Option<Controller>,
    /// How often what was committed cannot be forgotten.
    failures: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.controller = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Metadata {
    /// Where what was committed cannot be forgotten `failures` times, and there are 100 partitions at most.
    fn open(dir: &Path, failures: usize) -> Self {
        let store = Arc::new(Store::open(dir, StoreConfig::default()).unwrap());
        let catalog = Catalog::open(Arc::clone(&store), Config::default()).unwrap();
        Self::of(store, catalog, failures)
    }

    fn of(store: Arc<Store>, catalog: Catalog, failures: usize) -> Self {
        let catalog = Arc::new(catalog);
        let failures = Arc::new(AtomicUsize::new(failures));
        let left = Arc::clone(&failures);
        let forget = move |_: &str| {
            let failed = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if failed.is_ok() { Err("no space".to_owned()) } else { Ok(()) }
        };
        let (controller, thread) = Controller::start(Arc::clone(&catalog), forget, 10, 100).unwrap();
        Self { store, catalog, controller: Some(controller), failures, thread: Some(thread) }
    }

    fn controller(&self) -> &Controller {
        self.controller.as_ref().unwrap()
    }

    fn create(&self, name: &str, partitions: i32) -> Result<Arc<Topic>, ChangeError> {
        let new =
            NewTopic { name: name.to_owned(), partitions, config: BTreeMap::new(), validate_only: false };
        run(self.controller().create(new)).map(Option::unwrap)
    }

    fn delete(&self, which: impl Into<WhichTopic>) -> Result<(Uuid, String), ChangeError> {
        run(self.controller().delete(which))
    }

    fn configure(&self, what: Configurable, key: &str, edit: Edit) -> Result<(), ChangeError> {
        let change = ConfigChange::Edit(vec![(key.to_owned(), edit)]);
        run(self.controller().configure(what, change, false))
    }

    /// A topic in the metadata that was not opened.
    fn record(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> Uuid {
        let id = Uuid::new_v4();
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let created =
            Command::TopicCreated { name: name.to_owned(), id, partitions, config, leader_epoch: 0 };
        self.catalog.record(&created).unwrap();
        id
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn named(name: &str) -> WhichTopic {
    WhichTopic::Name(name.to_owned())
}

/// Whether something of a topic is left, and why.
fn is_left<T: std::fmt::Debug>(result: Result<T, ChangeError>) -> bool {
    let err = result.unwrap_err();
    assert!(err.to_string().contains("no space"), "{err}");
    matches!(err, ChangeError::Deleting { name, .. } if name == "t")
}

#[test]
fn a_deletion_that_fails_halfway_frees_its_space_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(dir.path(), 2);
    let topic = metadata.create("t", 2).unwrap();
    assert!(is_left(metadata.delete(topic.id)));
    for partition in ["t-0", "t-1"] {
        assert!(metadata.store.log(partition).is_none() && !dir.path().join(partition).exists());
    }
    assert!(metadata.catalog.topic("t").is_none());
    assert!(is_left(metadata.create("t", 1)), "what was committed for it would be that of the new one");
    // The third time it succeeds.
    let again = metadata.create("t", 1).unwrap();
    assert_ne!(again.id, topic.id);
    assert!(metadata.catalog.half_deleted().is_empty());
    assert!(matches!(metadata.delete(topic.id), Err(ChangeError::Unknown)));
}

#[test]
fn a_deletion_can_be_asked_for_again_by_name_and_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(dir.path(), 0);
    for by_name in [true, false] {
        let topic = metadata.create("t", 1).unwrap();
        metadata.failures.store(2, Ordering::Relaxed);
        let which = if by_name { named("t") } else { WhichTopic::Id(topic.id) };
        assert!(is_left(metadata.delete(which.clone())) && is_left(metadata.delete(which.clone())));
        assert_eq!(metadata.delete(which.clone()).unwrap(), (topic.id, "t".to_owned()));
        assert!(matches!(metadata.delete(which), Err(ChangeError::Unknown)));
    }
}

#[test]
fn a_deletion_of_another_topic_and_a_restart_try_again_too() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(dir.path(), 0);
    for name in ["t", "other", "third"] {
        metadata.create(name, 1).unwrap();
    }
    metadata.failures.store(1, Ordering::Relaxed);
    assert!(is_left(metadata.delete(named("t"))));
    metadata.delete(named("other")).unwrap();
    assert!(metadata.catalog.half_deleted().is_empty());
    metadata.failures.store(1, Ordering::Relaxed);
    metadata.delete(named("third")).unwrap_err();
    drop(metadata);
    let metadata = Metadata::open(dir.path(), 0);
    // The thread has done it before this is answered.
    assert!(matches!(metadata.delete(named("third")), Err(ChangeError::Unknown)));
    assert!(metadata.catalog.half_deleted().is_empty());
}

/// Older versions gave the name away before all was done.
#[test]
fn what_a_living_topic_of_the_same_name_has_committed_is_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(dir.path(), 0);
    let id = metadata.record("t", 1, &[]);
    metadata.catalog.record(&Command::TopicDeleted { id }).unwrap();
    metadata.record("t", 1, &[]);
    drop(metadata);
    let metadata = Metadata::open(dir.path(), 1);
    assert!(matches!(metadata.delete(id), Err(ChangeError::Unknown)), "the thread has done it");
    assert!(metadata.catalog.half_deleted().is_empty());
    assert_eq!(metadata.failures.load(Ordering::Relaxed), 1, "nothing was to be forgotten");
    assert!(metadata.catalog.topic("t").is_some());
}

#[test]
fn a_topic_that_cannot_be_opened_is_known_can_be_mended_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(dir.path(), 0);
    metadata.record("bad.config", 60, &[("no.such.key", "1")]);
    let foreign = metadata.record("foreign", 2, &[]);
    let id = LogId(*Uuid::new_v4().as_bytes());
    metadata.store.create_log("foreign-1", id, LogConfig::default()).unwrap();
    drop(metadata);
    let metadata = Metadata::open(dir.path(), 0);
    assert!(metadata.catalog.all_topics().is_empty());

    for name in ["bad.config", "foreign"] {
        assert!(matches!(metadata.create(name, 1), Err(ChangeError::Exists(_))), "{name}");
    }
    assert!(matches!(metadata.create("bad_config", 1), Err(ChangeError::Collides { .. })));
    assert!(matches!(metadata.create("more", 39), Err(ChangeError::Partitions { max: 38, .. })));

    // What topics have that do not set it is changed, though some cannot be opened.
    let all = || Configurable::Broker(None);
    metadata.configure(all(), "message.max.bytes", Edit::Set("2000000".to_owned())).unwrap();
    metadata.configure(all(), "message.max.bytes", Edit::Delete).unwrap();
    // This is not what is in the way.
    let topic = |name: &str| Configurable::Topic(name.to_owned());
    metadata.configure(topic("foreign"), "max.message.bytes", Edit::Set("2000".to_owned())).unwrap();
    assert!(metadata.catalog.topic("foreign").is_none());
    // And this is.
    metadata.configure(topic("bad.config"), "no.such.key", Edit::Delete).unwrap();
    assert_eq!(metadata.catalog.topic("bad.config").unwrap().partitions.len(), 60);

    assert_eq!(metadata.delete(foreign).unwrap().1, "foreign");
    assert!(metadata.store.log("foreign-0").is_none());
    assert!(metadata.store.log("foreign-1").is_some(), "it is not the topic's own");
    metadata.record("worse", 1, &[("no.such.key", "1")]);
    metadata.delete(named("worse")).unwrap();
    assert_eq!(metadata.create("worse", 1).unwrap().partitions.len(), 1);
}

/// Else all groups would seem to have committed nothing.
#[test]
fn without_the_topic_of_committed_offsets_there_is_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(dir.path(), 0);
    metadata.record(OFFSETS_TOPIC, 1, &[("no.such.key", "1")]);
    drop(metadata);
    let store = Arc::new(Store::open(dir.path(), StoreConfig::default()).unwrap());
    let refused = Catalog::open(store, Config::default()).unwrap_err();
    assert!(refused.to_string().contains(OFFSETS_TOPIC), "{refused}");
}

/// The metadata log on a disk that takes so many more commands, and can be full for ever.
#[derive(Debug)]
struct Filling {
    log: Arc<Log>,
    room: Arc<AtomicUsize>,
}

impl CommandLog for Filling {
    fn append_command(&self, command: &Command) -> Result<(), CatalogError> {
        let room = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(1));
        if room.is_ok() { self.log.append_command(command) } else { Err(AppendError::DiskFull.into()) }
    }

    fn read_image(&self) -> Result<Image, CatalogError> {
        self.log.read_image()
    }
}

/// Else it would exist for those who create it again, not for those who use it, and be there after a restart.
#[test]
fn a_topic_that_was_not_created_is_not_there_though_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    drop(Metadata::open(dir.path(), 0));
    let store = Arc::new(Store::open(dir.path(), StoreConfig::default()).unwrap());
    let room = Arc::new(AtomicUsize::new(100));
    let log = Filling { log: store.log(METADATA_LOG).unwrap(), room: Arc::clone(&room) };
    let catalog = Catalog::open_with(Box::new(log), Arc::clone(&store), Config::default()).unwrap();
    let metadata = Metadata::of(store, catalog, 0);
    // What is in the way of the topic's logs.
    let id = LogId(*Uuid::new_v4().as_bytes());
    metadata.store.create_log("t-1", id, LogConfig::default()).unwrap();
    room.store(1, Ordering::Relaxed);
    metadata.create("t", 2).unwrap_err();
    assert!(metadata.catalog.with_image(|image| image.topics.is_empty()));
    let left = metadata.create("t", 2).unwrap_err();
    assert!(matches!(left, ChangeError::Deleting { .. }), "{left}");
    // There is room again, and what was in the way is gone.
    room.store(100, Ordering::Relaxed);
    metadata.store.delete_log("t-1").unwrap();
    let topic = metadata.create("t", 2).unwrap();
    drop(metadata);
    let metadata = Metadata::open(dir.path(), 0);
    assert_eq!(metadata.catalog.topic("t").unwrap().id, topic.id);
    assert!(metadata.catalog.half_deleted().is_empty());
}
