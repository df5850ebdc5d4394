//! What outlives crashes, deletions and clients that leave: commits, ids, and what was begun.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use proto_kafka::messages::delete_topics_request::DeleteTopicState;
use proto_kafka::messages::metadata_request::MetadataRequestTopic;
use proto_kafka::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use proto_kafka::messages::offset_fetch_request::OffsetFetchRequestTopic;
use proto_kafka::messages::*;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};
use support::Process;
use support::protocol::{Client, text};

fn named(name: &str) -> TopicName {
    TopicName(text(name))
}

fn create(client: &mut Client, name: &str) {
    let asked = MetadataRequestTopic::default().with_name(Some(named(name)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true);
    let answer = client.ask(9, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{name}");
}

fn commit(group: &str, topic: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default().with_name(named(topic)).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

fn committed(client: &mut Client, group: &str, topic: &str) -> i64 {
    let asked = OffsetFetchRequestTopic::default().with_name(named(topic)).with_partition_indexes(vec![0]);
    let request =
        OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![asked]));
    client.ask(6, &request).topics[0].partitions[0].committed_offset
}

fn delete(name: &str) -> DeleteTopicsRequest {
    DeleteTopicsRequest::default().with_topics(vec![DeleteTopicState::default().with_name(Some(named(name)))])
}

#[test]
fn a_commit_survives_a_crash_and_is_forgotten_with_its_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    assert_eq!(client.ask(6, &commit("g", "t", 1000)).topics[0].partitions[0].error_code, 0);
    drop(broker);
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(committed(&mut client, "g", "t"), 1000);
    assert_eq!(client.ask(6, &delete("t")).responses[0].error_code, 0);
    create(&mut client, "t");
    assert_eq!(committed(&mut client, "g", "t"), -1, "a new topic is another topic");
    drop(broker);
    let broker = Process::start(dir.path());
    assert_eq!(committed(&mut Client::new(&broker), "g", "t"), -1, "for good");
}

#[test]
fn a_crash_at_any_moment_of_a_deletion_leaves_all_of_the_topic_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Process::start(dir.path());
    let mut gone = 0;
    for round in 0..24u32 {
        let mut client = Client::new(&broker);
        let name = format!("t{round}");
        create(&mut client, &name);
        for group in 0..8 {
            assert_eq!(
                client.ask(6, &commit(&format!("g{group}"), &name, 1000)).topics[0].partitions[0].error_code,
                0
            );
        }
        client.send(6, &delete(&name));
        std::thread::sleep(Duration::from_micros(u64::from(round) * 300));
        drop(broker); // kill -9
        broker = Process::start(dir.path());
        let mut client = Client::new(&broker);
        let topics = client.ask(9, &MetadataRequest::default().with_topics(None)).topics;
        let there = topics.iter().any(|topic| topic.name == Some(named(&name)));
        gone += u32::from(!there);
        create(&mut client, &name);
        for group in 0..8 {
            let offset = committed(&mut client, &format!("g{group}"), &name);
            assert_eq!(offset, if there { 1000 } else { -1 }, "round {round}, group {group}");
        }
    }
    assert!(gone > 0, "some deletions came through before the crash");
}

#[test]
fn what_a_client_asked_for_before_it_left_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    for round in 0..20 {
        let mut leaving = Client::new(&broker);
        for offset in 1..=5 {
            leaving.send(6, &commit(&format!("g{round}"), "t", offset));
        }
        drop(leaving);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    for round in 0..20 {
        while committed(&mut client, &format!("g{round}"), "t") != 5 {
            assert!(Instant::now() < deadline, "g{round} has not committed");
        }
    }
}

#[test]
fn producer_ids_are_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut ids = BTreeSet::new();
    for _ in 0..4 {
        let broker = Process::start(dir.path());
        let mut client = Client::new(&broker);
        for _ in 0..3 {
            let answer = client.ask(4, &InitProducerIdRequest::default().with_transactional_id(None));
            assert_eq!(answer.error_code, 0);
            assert!(ids.insert(answer.producer_id.0), "{ids:?}");
        }
    }
}

#[test]
fn any_name_that_kafka_allows_can_be_used_and_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let names = [".x", "-", "_", "a.b", "...", "lock", "clean-shutdown", &"x".repeat(249)];
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    names.iter().for_each(|name| create(&mut client, name));
    drop(broker);
    let broker = Process::start(dir.path());
    let topics = Client::new(&broker).ask(9, &MetadataRequest::default().with_topics(None)).topics;
    assert_eq!(topics.len(), names.len());
}

#[test]
fn a_name_repeated_is_answered_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    let asked = vec![MetadataRequestTopic::default().with_name(Some(named("t"))); 10_000];
    assert_eq!(client.ask(9, &MetadataRequest::default().with_topics(Some(asked))).topics.len(), 1);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(7);
    let topic =
        OffsetCommitRequestTopic::default().with_name(named("t")).with_partitions(vec![partition; 10_000]);
    let request = commit("g", "t", 7).with_topics(vec![topic]);
    assert_eq!(client.ask(6, &request).topics[0].partitions.len(), 1);
    // A control request that could not be answered would have ended the connection.
    client.stream.flush().unwrap();
    assert_eq!(committed(&mut client, "g", "t"), 7);
}

#[test]
fn a_produce_finds_what_the_request_before_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut stream = broker.connect();
    for n in 0..20 {
        let name = format!("t{n}");
        let mut create = 1i32.to_be_bytes().to_vec();
        create.extend(support::string(&name));
        let mut batch = ringmain_engine::BatchBuilder::new();
        batch.push(1, None, Some(b"value"));
        let produce = support::produce_body(&name, 0, 1, &batch.finish().unwrap());
        // Both at once, on one connection.
        let both = [support::request(3, 1, 1, &create), support::request(0, 7, 2, &produce)].concat();
        stream.write_all(&both).unwrap();
        support::receive(&mut stream).unwrap();
        let answer = support::receive(&mut stream).unwrap();
        let at = 4 + 4 + 2 + name.len() + 4 + 4;
        assert_eq!(answer[at..at + 2], [0, 0], "{name}");
    }
}
