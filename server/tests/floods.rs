//! Floods of what a broker keeps for those who ask: each has a limit and an error beyond it; memory stays bounded,
//! and others are served.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use bytes::Bytes;
use proto_kafka::messages::create_topics_request::CreatableTopic;
use proto_kafka::messages::join_group_request::JoinGroupRequestProtocol;
use proto_kafka::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use proto_kafka::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use proto_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use proto_kafka::messages::*;
use ringmain_engine::BatchBuilder;
use support::Process;
use support::protocol::{Client, text};

const MIB: u64 = 1 << 20;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const INVALID_TOPIC: i16 = 17;
const INVALID_PARTITIONS: i16 = 37;
const POLICY_VIOLATION: i16 = 44;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const GROUP_MAX_SIZE_REACHED: i16 = 81;

fn start(dir: &std::path::Path, settings: &[&str]) -> Process {
    let args: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    Process::start_with(dir, &args)
}

fn named(name: &str) -> TopicName {
    TopicName(text(name))
}

fn create(client: &mut Client, name: &str, partitions: i32) -> i16 {
    let topic = CreatableTopic::default()
        .with_name(named(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    client.ask(7, &CreateTopicsRequest::default().with_topics(vec![topic])).topics[0].error_code
}

fn produce(client: &mut Client, topic: &str, batch: Vec<u8>) -> (i16, i64) {
    let data = PartitionProduceData::default().with_records(Some(Bytes::from(batch)));
    let topic = TopicProduceData::default().with_name(named(topic)).with_partition_data(vec![data]);
    let asked = ProduceRequest::default().with_acks(1).with_topic_data(vec![topic]);
    let answer = client.ask(9, &asked).responses[0].partition_responses[0].clone();
    (answer.error_code, answer.base_offset)
}

fn batch(producer: Option<i64>) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    if let Some(id) = producer {
        builder = builder.producer(id, 0, 0);
    }
    builder.push(1, None, Some(b"value"));
    builder.finish().unwrap()
}

/// Asks to become a member; error code and the id that was given.
fn join(client: &mut Client, group: &str, metadata: usize) -> (i16, String) {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(vec![0; metadata].into());
    let asked = JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    // Before version 4 a member is one at once.
    let answer = client.ask(3, &asked);
    (answer.error_code, answer.member_id.to_string())
}

fn commit(client: &mut Client, group: &str) -> i16 {
    commit_saying(client, group, "")
}

fn commit_saying(client: &mut Client, group: &str, metadata: &str) -> i16 {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(1)
        .with_committed_metadata(Some(text(metadata)));
    let topic = OffsetCommitRequestTopic::default().with_name(named("kept")).with_partitions(vec![partition]);
    let asked = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    client.ask(8, &asked).topics[0].partitions[0].error_code
}

#[test]
fn a_flood_of_producers_takes_no_more_memory_than_a_partition_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["max.producers.per.partition=100"]);
    let (mut client, mut other) = (Client::new(&broker), Client::new(&broker));
    assert_eq!(create(&mut client, "kept", 1), 0);
    assert_eq!(create(&mut client, "flooded", 1), 0);
    assert_eq!(produce(&mut other, "kept", batch(None)), (0, 0));
    let before = broker.resident_bytes();
    let mut last = -1;
    for offset in 0..5000 {
        let asked = InitProducerIdRequest::default().with_transactional_id(None);
        let given = client.ask(1, &asked);
        assert_eq!(given.error_code, 0);
        assert!(given.producer_id.0 > last, "a new one each time");
        last = given.producer_id.0;
        assert_eq!(produce(&mut client, "flooded", batch(Some(last))), (0, offset));
    }
    assert!(broker.resident_bytes() < before + 20 * MIB);
    assert_eq!(produce(&mut other, "kept", batch(None)), (0, 1));
    // Of those that are remembered, a repeated batch is known.
    assert_eq!(produce(&mut client, "flooded", batch(Some(last))), (0, 4999));
}

#[test]
fn a_flood_of_groups_ends_at_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["max.groups=20", "group.max.size=3"]);
    let (mut client, mut other) = (Client::new(&broker), Client::new(&broker));
    assert_eq!(create(&mut client, "kept", 1), 0);
    assert_eq!(produce(&mut other, "kept", batch(None)), (0, 0));
    assert_eq!(commit(&mut other, "own"), 0);
    let before = broker.resident_bytes();
    let mut codes = std::collections::BTreeMap::<i16, usize>::new();
    for number in 0..2000 {
        let (code, _) = join(&mut client, &format!("group-{number}"), 100);
        *codes.entry(code).or_default() += 1;
    }
    assert_eq!(codes.keys().copied().collect::<Vec<_>>(), [0, COORDINATOR_NOT_AVAILABLE]);
    assert!((10..=20).contains(&codes[&0]), "{codes:?}");
    let listed = client.ask(4, &ListGroupsRequest::default()).groups.len();
    assert!(listed <= 21, "{listed} groups");
    assert!(broker.resident_bytes() < before + 20 * MIB);
    assert_eq!((produce(&mut other, "kept", batch(None)), commit(&mut other, "own")), ((0, 1), 0));
}

#[test]
fn a_flood_of_groups_that_only_commit_ends_at_the_same_limit() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["max.groups=20"]);
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, "kept", 1), 0);
    assert_eq!(join(&mut client, "own", 10).0, 0);
    let codes: Vec<i16> = (0..200).map(|n| commit(&mut client, &format!("group-{n}"))).collect();
    assert!(codes[..19].iter().all(|code| *code == 0), "{codes:?}");
    assert!(codes[19..].iter().all(|code| *code == COORDINATOR_NOT_AVAILABLE), "{codes:?}");
    assert_eq!(client.ask(4, &ListGroupsRequest::default()).groups.len(), 20);
    assert_eq!(commit(&mut client, "group-7"), 0, "it goes on");
}

#[test]
fn a_flood_of_protocols_is_refused_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let (mut client, mut other) = (Client::new(&broker), Client::new(&broker));
    let named = |n: i32| JoinGroupRequestProtocol::default().with_name(text(&format!("p{n}")));
    let asked = |protocols| {
        JoinGroupRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(protocols)
    };
    for count in [101, 20_000] {
        let refused = client.ask(3, &asked((0..count).map(named).collect()));
        assert_eq!(refused.error_code, INCONSISTENT_GROUP_PROTOCOL, "{count}");
    }
    assert_eq!(client.ask(3, &asked((0..100).map(named).collect())).error_code, 0);
    assert_eq!(join(&mut other, "another", 10).0, 0);
}

/// What is told of a partition is much longer than its number.
#[test]
fn a_partition_that_is_asked_for_again_and_again_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, "kept", 1), 0);
    assert_eq!(commit_saying(&mut client, "g", &"m".repeat(4096)), 0);
    let before = broker.resident_max_bytes();
    for version in [1, 2, 5, 7] {
        let topic = OffsetFetchRequestTopic::default().with_name(named("kept"));
        let often = topic.clone().with_partition_indexes(vec![0; 50_000]);
        let topics = vec![often.clone(), topic.with_partition_indexes(vec![1, 0, 1]), often];
        let asked = OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics(Some(topics));
        let told = client.ask(version, &asked).topics;
        let partitions: Vec<_> = told.iter().flat_map(|topic| &topic.partitions).collect();
        assert_eq!(partitions.len(), 2, "version {version}");
        let told: Vec<_> = partitions.iter().map(|one| (one.partition_index, one.committed_offset)).collect();
        assert_eq!(told, [(0, 1), (1, -1)], "version {version}");
        assert_eq!(partitions[0].metadata.as_ref().unwrap().len(), 4096);
    }
    for version in [8, 9] {
        let topic = OffsetFetchRequestTopics::default().with_name(named("kept"));
        let topic = topic.with_partition_indexes(vec![0; 50_000]);
        let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g")));
        let group = group.with_topics(Some(vec![topic.clone(), topic]));
        let told = client.ask(version, &OffsetFetchRequest::default().with_groups(vec![group])).groups;
        let partitions: Vec<_> = told[0].topics.iter().flat_map(|topic| &topic.partitions).collect();
        assert_eq!((partitions.len(), partitions[0].committed_offset), (1, 1), "version {version}");
    }
    assert!(broker.resident_max_bytes() < before + 60 * MIB);
}

#[test]
fn what_members_say_of_themselves_takes_no_more_memory_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["groups.memory.max.bytes=8388608"]);
    let (mut client, mut other) = (Client::new(&broker), Client::new(&broker));
    assert_eq!(create(&mut client, "kept", 1), 0);
    assert_eq!(produce(&mut other, "kept", batch(None)), (0, 0));
    assert_eq!(join(&mut client, "small", 10).0, 0);
    let before = broker.resident_bytes();
    let codes: Vec<i16> = (0..40).map(|n| join(&mut client, &format!("group-{n}"), 3 << 20).0).collect();
    assert_eq!(codes[..2], [0; 2]);
    assert!(codes[2..].iter().all(|code| *code == COORDINATOR_NOT_AVAILABLE), "{codes:?}");
    assert!(broker.resident_bytes() < before + 60 * MIB, "120 MiB were sent");
    assert_eq!(produce(&mut other, "kept", batch(None)), (0, 1));
    assert_eq!(join(&mut other, "another", 10).0, 0, "there is room for others");
    // What the members said is forgotten with them.
    for group in ["group-0", "group-1"] {
        let asked = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
        let member = client.ask(4, &asked).groups[0].members[0].member_id.clone();
        let asked = LeaveGroupRequest::default().with_group_id(GroupId(text(group))).with_member_id(member);
        assert_eq!(client.ask(1, &asked).error_code, 0);
    }
    assert_eq!(join(&mut client, "late", 3 << 20).0, 0);
}

#[test]
fn a_flood_of_members_ends_at_the_size_of_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["group.max.size=3"]);
    let mut other = Client::new(&broker);
    assert_eq!(create(&mut other, "kept", 1), 0);
    // One is a member at once. The others wait for it to come again, as many as the group may have, but for those
    // who find no room.
    assert_eq!(join(&mut Client::new(&broker), "g", 10).0, 0);
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let asked = JoinGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let mut waiting: Vec<Client> = (0..3).map(|_| Client::new(&broker)).collect();
    waiting.iter_mut().for_each(|client| client.send(3, &asked));
    let described = || {
        let asked = DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g"))]);
        Client::new(&broker).ask(4, &asked).groups[0].members.len()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while described() < 4 {
        assert!(std::time::Instant::now() < deadline);
    }
    let before = broker.resident_bytes();
    for _ in 0..50 {
        assert_eq!(join(&mut Client::new(&broker), "g", 10).0, GROUP_MAX_SIZE_REACHED);
    }
    assert!(broker.resident_bytes() < before + 20 * MIB);
    assert_eq!(described(), 4);
    assert_eq!(produce(&mut other, "kept", batch(None)), (0, 0));
}

#[test]
fn a_flood_of_topics_ends_at_the_number_of_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &["max.partitions=20"]);
    let (mut client, mut other) = (Client::new(&broker), Client::new(&broker));
    assert_eq!(create(&mut client, "kept", 1), 0);
    assert_eq!(produce(&mut other, "kept", batch(None)), (0, 0));
    let before = broker.resident_bytes();
    for (partitions, code) in
        [(i32::MAX, POLICY_VIOLATION), (21, INVALID_PARTITIONS), (20, INVALID_PARTITIONS)]
    {
        assert_eq!(create(&mut client, "large", partitions), code, "{partitions}");
    }
    let codes: Vec<i16> = (0..300).map(|number| create(&mut client, &format!("t{number}"), 1)).collect();
    assert!(
        codes[..19].iter().all(|code| *code == 0)
            && codes[19..].iter().all(|code| *code == INVALID_PARTITIONS)
    );
    // Nor does asking for them make more.
    let wanted = |number: i32| {
        metadata_request::MetadataRequestTopic::default().with_name(Some(named(&format!("auto{number}"))))
    };
    let asked = MetadataRequest::default()
        .with_topics(Some((0..2000).map(wanted).collect()))
        .with_allow_auto_topic_creation(true);
    let told = client.ask(9, &asked).topics;
    assert!(told.len() == 2000 && told.iter().all(|topic| topic.error_code != 0));
    let entries = std::fs::read_dir(dir.path().join("data")).unwrap();
    let logs = entries.filter(|entry| entry.as_ref().unwrap().path().join("partition.metadata").exists());
    assert!(logs.count() <= 21, "those, and the metadata's own");
    assert!(broker.resident_bytes() < before + 20 * MIB);
    assert_eq!(produce(&mut other, "kept", batch(None)), (0, 1));
}

#[test]
fn names_that_metrics_cannot_tell_apart_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, "a.b_c", 1), 0);
    for name in ["a_b.c", "a.b.c", "a_b_c"] {
        assert_eq!(create(&mut client, name, 1), INVALID_TOPIC, "{name}");
    }
    assert_eq!(create(&mut client, "a.bc", 1), 0);
    assert_eq!(produce(&mut client, "a.b_c", batch(None)), (0, 0));
}
