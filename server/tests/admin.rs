//! Administration: what is asked for happens, at once and for good, and what makes no sense is refused.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use proto_kafka::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use proto_kafka::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use proto_kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use proto_kafka::messages::delete_topics_request::DeleteTopicState;
use proto_kafka::messages::describe_configs_request::DescribeConfigsResource;
use proto_kafka::messages::describe_configs_response::DescribeConfigsResult;
use proto_kafka::messages::describe_topic_partitions_request::Cursor;
use proto_kafka::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use proto_kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use proto_kafka::messages::metadata_request::MetadataRequestTopic;
use proto_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use proto_kafka::messages::*;
use ringmain_engine::BatchBuilder;
use support::Process;
use support::protocol::{Client, text};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TOPIC: i16 = 17;
const TOPIC_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;

/// A key, an operation, a value.
type Edit<'a> = (&'a str, i8, Option<&'a str>);

fn named(name: &str) -> TopicName {
    TopicName(text(name))
}

fn new_topic(name: &str, configs: &[(&str, Option<&str>)]) -> CreatableTopic {
    let config = |(name, value): &(&str, Option<&str>)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(value.map(text))
    };
    CreatableTopic::default()
        .with_name(named(name))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect())
}

fn create_all(client: &mut Client, topics: Vec<CreatableTopic>, validate_only: bool) -> CreateTopicsResponse {
    client.ask(7, &CreateTopicsRequest::default().with_topics(topics).with_validate_only(validate_only))
}

fn create(client: &mut Client, topic: CreatableTopic) -> i16 {
    create_all(client, vec![topic], false).topics[0].error_code
}

fn describe(client: &mut Client, resource_type: i8, name: &str) -> DescribeConfigsResult {
    let asked = DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![asked]).with_include_synonyms(true);
    client.ask(4, &request).results[0].clone()
}

/// Value and source.
fn config(client: &mut Client, topic: &str, name: &str) -> (String, i8) {
    let described = describe(client, 2, topic);
    let one = described.configs.iter().find(|config| &*config.name == name).unwrap();
    (one.value.as_ref().unwrap().to_string(), one.config_source)
}

fn alter(client: &mut Client, topic: &str, edits: &[Edit<'_>], validate_only: bool) -> i16 {
    let edit = |(name, operation, value): &Edit<'_>| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configs(edits.iter().map(edit).collect());
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only);
    client.ask(1, &request).responses[0].error_code
}

fn produce(client: &mut Client, topic: &str, partition: i32, value_bytes: usize) -> i16 {
    let mut batch = BatchBuilder::new();
    batch.push(1000, None, Some(&vec![b'x'; value_bytes]));
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch.finish().unwrap().into()));
    let topic = TopicProduceData::default().with_name(named(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    client.ask(9, &request).responses[0].partition_responses[0].error_code
}

fn partitions(client: &mut Client, topic: &str) -> usize {
    let asked = MetadataRequestTopic::default().with_name(Some(named(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    client.ask(9, &request).topics[0].partitions.len()
}

#[test]
fn a_topic_is_created_as_it_was_asked_for_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let answer = create_all(&mut client, vec![new_topic("t", &[("segment.bytes", Some("4096"))])], true);
    assert_eq!(answer.topics[0].error_code, 0);
    assert_eq!(describe(&mut client, 2, "t").error_code, UNKNOWN_TOPIC, "it was only to be validated");
    let answer = create_all(&mut client, vec![new_topic("t", &[("segment.bytes", Some("4096"))])], false);
    let created = &answer.topics[0];
    assert_eq!((created.error_code, created.num_partitions, created.replication_factor), (0, 1, 1));
    let told = created.configs.as_ref().unwrap().iter().find(|one| &*one.name == "segment.bytes").unwrap();
    assert_eq!((told.value.clone(), told.config_source), (Some(text("4096")), 1));
    assert_eq!(create(&mut client, new_topic("t", &[])), TOPIC_EXISTS);
    for (name, value) in [
        ("no.such.thing", Some("1")),
        ("segment.bytes", Some("many")),
        ("segment.bytes", None),
        ("retention.ms", Some("1000")),
        ("compression.type", Some("rar")),
    ] {
        assert_eq!(create(&mut client, new_topic("bad", &[(name, value)])), INVALID_CONFIG, "{name}");
    }
    let twice = create_all(&mut client, vec![new_topic("twice", &[]), new_topic("twice", &[])], false);
    assert_eq!((twice.topics.len(), twice.topics[0].error_code), (1, INVALID_REQUEST));
    let assigned = |nodes: &[i32]| {
        let assignment = CreatableReplicaAssignment::default()
            .with_partition_index(0)
            .with_broker_ids(nodes.iter().map(|node| BrokerId(*node)).collect());
        new_topic("assigned", &[])
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![assignment])
    };
    assert_eq!(create(&mut client, assigned(&[7])), INVALID_ASSIGNMENT);
    assert_eq!(create(&mut client, assigned(&[1])), 0);
    assert_eq!(create(&mut client, new_topic("a.b", &[])), 0);
    assert_eq!(create(&mut client, new_topic("a_b", &[])), INVALID_TOPIC, "it collides");
    for name in ["bad", "twice", "a_b"] {
        assert_eq!(describe(&mut client, 2, name).error_code, UNKNOWN_TOPIC);
    }
}

#[test]
fn a_changed_configuration_holds_from_then_on_and_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, new_topic("t", &[("durability", Some("page-cache"))])), 0);
    assert_eq!(produce(&mut client, "t", 0, 2000), 0);
    let small = &[("max.message.bytes", 0, Some("1000"))];
    assert_eq!(alter(&mut client, "t", small, true), 0);
    assert_eq!(produce(&mut client, "t", 0, 2000), 0, "it was only to be validated");
    assert_eq!(alter(&mut client, "t", small, false), 0);
    assert_eq!(produce(&mut client, "t", 0, 2000), MESSAGE_TOO_LARGE);
    assert_eq!(produce(&mut client, "t", 0, 100), 0);
    drop(broker);
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(produce(&mut client, "t", 0, 2000), MESSAGE_TOO_LARGE);
    assert_eq!(config(&mut client, "t", "max.message.bytes"), ("1000".into(), 1));
    assert_eq!(config(&mut client, "t", "durability"), ("page-cache".into(), 1));
    assert_eq!(alter(&mut client, "t", &[("max.message.bytes", 1, None)], false), 0);
    assert_eq!(produce(&mut client, "t", 0, 2000), 0);
    assert_eq!(config(&mut client, "t", "max.message.bytes"), ("1048588".into(), 5));
    // AlterConfigs replaces all.
    let all = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"));
    let answer = client.ask(2, &AlterConfigsRequest::default().with_resources(vec![all]));
    assert_eq!(answer.responses[0].error_code, 0);
    assert_eq!(config(&mut client, "t", "durability"), ("fsync".into(), 5));
}

#[test]
fn changes_that_make_no_sense_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, new_topic("t", &[])), 0);
    let before = describe(&mut client, 2, "t");
    let good = ("segment.bytes", 0, Some("4096"));
    let cases: &[(&[Edit<'_>], i16)] = &[
        (&[good, ("no.such.thing", 0, Some("1"))], INVALID_CONFIG),
        (&[good, ("index.interval.bytes", 0, Some("-1"))], INVALID_CONFIG),
        (&[good, ("max.message.bytes", 2, Some("1"))], INVALID_CONFIG),
        (&[good, ("cleanup.policy", 2, Some("compact"))], INVALID_CONFIG),
        (&[good, good], INVALID_REQUEST),
        (&[good, ("index.interval.bytes", 0, None)], INVALID_REQUEST),
        (&[good, ("index.interval.bytes", 9, Some("1"))], INVALID_REQUEST),
    ];
    for (edits, code) in cases {
        assert_eq!(alter(&mut client, "t", edits, false), *code, "{edits:?}");
        assert_eq!(describe(&mut client, 2, "t"), before);
    }
    assert_eq!(alter(&mut client, "nobody", &[good], false), UNKNOWN_TOPIC);
    let broker_resource = AlterConfigsResource::default().with_resource_type(4).with_resource_name(text("1"));
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![broker_resource]);
    assert_eq!(client.ask(1, &request).responses[0].error_code, INVALID_REQUEST);
    assert_eq!(describe(&mut client, 4, "77").error_code, INVALID_REQUEST);
    assert_eq!(describe(&mut client, 2, "a/b").error_code, INVALID_TOPIC);
    let described = describe(&mut client, 4, "1");
    assert!(described.configs.iter().all(|config| config.read_only));
    assert!(described.configs.iter().any(|config| &*config.name == "message.max.bytes"));
}

#[test]
fn partitions_are_added_for_good_and_never_taken() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, new_topic("t", &[("max.message.bytes", Some("1000"))])), 0);
    let add = |client: &mut Client, topic: &str, count: i32, nodes: Option<&[i32]>, validate_only: bool| {
        let assigned =
            |node: &i32| CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(*node)]);
        let topic = CreatePartitionsTopic::default()
            .with_name(named(topic))
            .with_count(count)
            .with_assignments(nodes.map(|nodes| nodes.iter().map(assigned).collect()));
        let request =
            CreatePartitionsRequest::default().with_topics(vec![topic]).with_validate_only(validate_only);
        client.ask(3, &request).results[0].error_code
    };
    assert_eq!(produce(&mut client, "t", 1, 10), UNKNOWN_TOPIC);
    assert_eq!(add(&mut client, "t", 3, None, true), 0);
    assert_eq!(partitions(&mut client, "t"), 1, "it was only to be validated");
    assert_eq!(add(&mut client, "t", 3, None, false), 0);
    assert_eq!(partitions(&mut client, "t"), 3);
    for partition in 0..3 {
        assert_eq!(produce(&mut client, "t", partition, 10), 0);
    }
    assert_eq!(produce(&mut client, "t", 2, 2000), MESSAGE_TOO_LARGE, "the configuration is the topic's");
    for count in [3, 2, 0, -1, 1_000_000] {
        assert_eq!(add(&mut client, "t", count, None, false), INVALID_PARTITIONS, "{count}");
    }
    assert_eq!(add(&mut client, "t", 5, Some(&[1]), false), INVALID_ASSIGNMENT);
    assert_eq!(add(&mut client, "t", 4, Some(&[2]), false), INVALID_ASSIGNMENT);
    assert_eq!(add(&mut client, "t", 4, Some(&[1]), false), 0);
    assert_eq!(add(&mut client, "nobody", 4, None, false), UNKNOWN_TOPIC);
    drop(broker);
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(partitions(&mut client, "t"), 4);
    assert_eq!(produce(&mut client, "t", 3, 10), 0);
}

#[test]
fn a_crash_while_partitions_are_added_leaves_a_topic_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Process::start(dir.path());
    let mut grown = 0;
    for round in 0..16u32 {
        let mut client = Client::new(&broker);
        let name = format!("t{round}");
        assert_eq!(create(&mut client, new_topic(&name, &[])), 0);
        let topic =
            CreatePartitionsTopic::default().with_name(named(&name)).with_count(9).with_assignments(None);
        client.send(3, &CreatePartitionsRequest::default().with_topics(vec![topic]));
        std::thread::sleep(std::time::Duration::from_micros(u64::from(round * round) * 500));
        drop(broker); // kill -9
        broker = Process::start(dir.path());
        let mut client = Client::new(&broker);
        let count = partitions(&mut client, &name);
        assert!(count == 1 || count == 9, "all or none, not {count}");
        grown += usize::from(count == 9);
        for partition in 0..count {
            assert_eq!(produce(&mut client, &name, i32::try_from(partition).unwrap(), 10), 0);
        }
        // What was left half done is not in the way.
        let state = DeleteTopicState::default().with_name(Some(named(&name)));
        let answer = client.ask(6, &DeleteTopicsRequest::default().with_topics(vec![state]));
        assert_eq!(answer.responses[0].error_code, 0);
        assert_eq!(create(&mut client, new_topic(&name, &[]).with_num_partitions(9)), 0, "round {round}");
    }
    assert!(grown > 0, "with a tenth of a second some come through before the crash");
}

#[test]
fn topics_are_deleted_by_their_ids() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let id = create_all(&mut client, vec![new_topic("t", &[])], false).topics[0].topic_id;
    let mut delete = |state: DeleteTopicState| {
        client.ask(6, &DeleteTopicsRequest::default().with_topics(vec![state])).responses[0].clone()
    };
    let by_id = || DeleteTopicState::default().with_name(None).with_topic_id(id);
    let both = delete(by_id().with_name(Some(named("t"))));
    assert_eq!(both.error_code, INVALID_REQUEST);
    let deleted = delete(by_id());
    assert_eq!((deleted.error_code, deleted.name, deleted.topic_id), (0, Some(named("t")), id));
    assert_eq!(delete(by_id()).error_code, 100, "unknown topic id");
}

#[test]
fn deleted_records_are_gone_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, new_topic("t", &[("segment.bytes", Some("1024"))])), 0);
    for _ in 0..10 {
        assert_eq!(produce(&mut client, "t", 0, 500), 0);
    }
    let delete = |client: &mut Client, topic: &str, offset: i64| {
        let partition = DeleteRecordsPartition::default().with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(named(topic)).with_partitions(vec![partition]);
        let answer = client.ask(2, &DeleteRecordsRequest::default().with_topics(vec![topic]));
        let deleted = &answer.topics[0].partitions[0];
        (deleted.error_code, deleted.low_watermark)
    };
    let start = |client: &mut Client| {
        let asked = ListOffsetsPartition::default().with_timestamp(-2);
        let topic = ListOffsetsTopic::default().with_name(named("t")).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        client.ask(5, &request).topics[0].partitions[0].offset
    };
    assert_eq!(delete(&mut client, "t", 11), (OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete(&mut client, "t", -2), (OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete(&mut client, "nobody", 0), (UNKNOWN_TOPIC, -1));
    assert_eq!(start(&mut client), 0);
    assert_eq!(delete(&mut client, "t", 4), (0, 4));
    assert_eq!(start(&mut client), 4);
    assert_eq!(delete(&mut client, "t", 2), (0, 4), "the start does not go back");
    drop(broker);
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(start(&mut client), 4);
    assert_eq!(delete(&mut client, "t", -1), (0, 10), "up to the high watermark");
    assert_eq!(produce(&mut client, "t", 0, 500), 0);
    assert_eq!(start(&mut client), 10);
}

#[test]
fn topics_are_described_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    for name in ["a", "b", "c"] {
        assert_eq!(create(&mut client, new_topic(name, &[]).with_num_partitions(3)), 0);
    }
    let mut told = Vec::new();
    let mut cursor = None;
    for pages in 1.. {
        let request = DescribeTopicPartitionsRequest::default()
            .with_response_partition_limit(2)
            .with_cursor(cursor.clone());
        let answer = client.ask(0, &request);
        for topic in &answer.topics {
            let name = topic.name.as_ref().unwrap().to_string();
            told.extend(topic.partitions.iter().map(|partition| (name.clone(), partition.partition_index)));
        }
        let Some(next) = answer.next_cursor else {
            assert_eq!(pages, 5);
            break;
        };
        cursor = Some(
            Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index),
        );
    }
    let all: Vec<_> =
        ["a", "b", "c"].iter().flat_map(|name| (0..3).map(|index| ((*name).to_owned(), index))).collect();
    assert_eq!(told, all, "each once");
    let asked =
        |name: &str| describe_topic_partitions_request::TopicRequest::default().with_name(named(name));
    let request = DescribeTopicPartitionsRequest::default()
        .with_response_partition_limit(10)
        .with_topics(vec![asked("nobody"), asked("b")]);
    let answer = client.ask(0, &request);
    let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, UNKNOWN_TOPIC]);
}
