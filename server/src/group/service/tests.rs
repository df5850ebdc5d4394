//! What was acknowledged is durable by then. (A record becomes durable some time after it is written: an
//! acknowledgement that did not wait would find less durable than written.)

use super::*;
use crate::config::Config;
use crate::metadata::TopicConfig;
use ringmain_engine::{Store, StoreConfig};

#[test]
fn commits_topics_and_deletions_are_durable_when_they_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), StoreConfig::default()).unwrap());
    let catalog =
        Arc::new(Catalog::open(Arc::clone(&store), TopicConfig::defaults(&Config::default())).unwrap());
    let offsets = Arc::new(OffsetStore::open(Arc::clone(&catalog)).unwrap());
    let forget = {
        let offsets = Arc::clone(&offsets);
        move |topic: &str| offsets.forget_topic(topic).map_err(|err| err.to_string())
    };
    let (controller, _) = Controller::start(Arc::clone(&catalog), forget, 10, 100).unwrap();
    let limits = Limits {
        session_min_ms: 1,
        session_max_ms: 1000,
        initial_delay_ms: 0,
        members_max: 10,
        groups_max: 10,
    };
    let groups = Groups::new(catalog, controller.clone(), offsets, limits, 2);
    let all_durable = |what: &str| {
        for log in store.logs() {
            let progress = log.progress();
            assert_eq!(progress.durable, progress.written, "{what}: {}", log.name());
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for round in 0..20 {
            let new = |name: &str| NewTopic {
                name: name.to_owned(),
                partitions: 1,
                config: BTreeMap::new(),
                validate_only: false,
            };
            let topic = controller.create(new(&format!("t{round}"))).await.unwrap().unwrap();
            all_durable("a topic");
            let partition = TopicPartition { topic: topic.name.clone(), partition: 0 };
            let committed =
                Committed { offset: 7, leader_epoch: -1, metadata: String::new(), committed_at_ms: 0 };
            let nobody = Generation { id: -1, member_id: String::new() };
            groups.commit("g", &nobody, vec![(partition.clone(), committed)]).await.unwrap();
            all_durable("a commit");
            assert_eq!(groups.with_offsets(|offsets| offsets.get("g", &partition).unwrap().offset), 7);
            groups.offsets.forget_topic(&topic.name).unwrap();
            all_durable("what was forgotten");
            controller.delete(topic.id).await.unwrap();
            all_durable("a deletion");
            controller.reserve_producer_ids(10).await.unwrap();
            all_durable("producer ids");
        }
    });
}
