//! Requests that change topics and quotas: what is refused, in which order, and how much one may ask for.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use proto_kafka::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use proto_kafka::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use proto_kafka::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use proto_kafka::messages::delete_topics_request::DeleteTopicState;
use proto_kafka::messages::describe_configs_request::DescribeConfigsResource;
use proto_kafka::messages::*;
use support::Process;
use support::protocol::{Client, text};
use uuid::Uuid;

const INVALID_TOPIC: i16 = 17;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const POLICY_VIOLATION: i16 = 44;

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
}

/// The errors of CreateTopics.
fn create(client: &mut Client, topics: Vec<CreatableTopic>, validate_only: bool) -> Vec<i16> {
    let request = CreateTopicsRequest::default().with_topics(topics).with_validate_only(validate_only);
    client.ask(5, &request).topics.iter().map(|topic| topic.error_code).collect()
}

#[test]
fn one_request_asks_for_so_many_partitions_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "num.partitions=100"]);
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, vec![topic("all", 10_000)], true), [0]);
    let assigned = |name: &str, count: i32| {
        let one = |index| {
            CreatableReplicaAssignment::default()
                .with_partition_index(index)
                .with_broker_ids(vec![BrokerId(1)])
        };
        topic(name, -1).with_assignments((0..count).map(one).collect())
    };
    let within = vec![topic("a", 9000), topic("b", -1), assigned("c", 900)];
    assert_eq!(create(&mut client, within.clone(), true), [0, 0, 0]);
    // What is refused anyway counts, too.
    for beyond in [topic("d", 1), topic("d", 0), topic("d", -1), topic("d", i32::MAX), assigned("d", 1)] {
        let topics = within.iter().cloned().chain([beyond]).collect();
        assert_eq!(create(&mut client, topics, true), [POLICY_VIOLATION; 4]);
    }
    let many = (0..20_000).map(|number| topic(&number.to_string(), 1)).collect();
    assert_eq!(create(&mut client, many, false), [POLICY_VIOLATION; 20_000]);
    assert_eq!(create(&mut client, vec![topic("0", 1)], false), [0], "nothing was created");
}

#[test]
fn that_a_topic_exists_is_told_before_what_else_does_not_do() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, vec![topic("there", 1)], false), [0]);
    let wrong = |name: &str| {
        let config = CreatableTopicConfig::default().with_name(text("no.such.key"));
        let elsewhere = CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(9)]);
        [
            topic(name, 1).with_replication_factor(3),
            topic(name, -1).with_assignments(vec![elsewhere]),
            topic(name, 0),
            topic(name, 1).with_configs(vec![config]),
        ]
    };
    for (name, code) in [("there", TOPIC_ALREADY_EXISTS), ("not/a/name", INVALID_TOPIC)] {
        for asked in wrong(name) {
            assert_eq!(create(&mut client, vec![asked.clone()], false), [code], "{asked:?}");
        }
    }
    let new = wrong("new").map(|asked| create(&mut client, vec![asked], false)[0]);
    assert_eq!((new[0], new[3]), (INVALID_REPLICATION_FACTOR, INVALID_CONFIG));
}

#[test]
fn an_entity_is_named_twice_only_if_all_of_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let mut alter = |entities: &[&[(&str, &str)]]| -> Vec<i16> {
        let component = |(kind, name): &(&str, &str)| {
            EntityData::default().with_entity_type(text(kind)).with_entity_name(Some(text(name)))
        };
        let op = OpData::default().with_key(text("producer_byte_rate")).with_value(1e6);
        let entry = |entity: &&[(&str, &str)]| {
            EntryData::default()
                .with_entity(entity.iter().map(component).collect())
                .with_ops(vec![op.clone()])
        };
        let request = AlterClientQuotasRequest::default().with_entries(entities.iter().map(entry).collect());
        client.ask(1, &request).entries.iter().map(|entry| entry.error_code).collect()
    };
    let (user, client_id) = (("user", "x"), ("client-id", "x"));
    assert_eq!(alter(&[&[user], &[client_id]]), [INVALID_REQUEST, 0]);
    assert_eq!(alter(&[&[client_id, user], &[client_id]]), [INVALID_REQUEST, 0]);
    assert_eq!(alter(&[&[client_id], &[client_id]]), [0, INVALID_REQUEST]);
}

/// Creates a topic with a partition; its id.
fn created(client: &mut Client, name: &str) -> Uuid {
    let request = CreateTopicsRequest::default().with_topics(vec![topic(name, 1)]);
    let answer = client.ask(7, &request).topics.remove(0);
    assert_eq!(answer.error_code, 0, "{name}");
    answer.topic_id
}

#[test]
fn a_topic_named_twice_is_not_deleted_and_answered_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let ids = ["a", "b", "c", "d", "e"].map(|name| created(&mut client, name));
    let [_, b, c, d, e] = ids;
    let name = |name: &str| Some(TopicName(text(name)));
    let by_name = |told: &str| DeleteTopicState::default().with_name(name(told));
    let by_id = |id| DeleteTopicState::default().with_name(None).with_topic_id(id);
    let delete = |client: &mut Client, topics| -> Vec<_> {
        let answer = client.ask(6, &DeleteTopicsRequest::default().with_topics(topics));
        answer.responses.into_iter().map(|one| (one.name, one.topic_id, one.error_code)).collect()
    };
    let topics = vec![
        by_name("a"),
        by_id(b),
        by_id(c),
        by_name("a"),
        by_id(Uuid::nil()),
        by_id(b),
        by_name("c"),
        by_name("a"),
        by_name("d"),
        by_name("d").with_topic_id(d),
        by_id(e),
    ];
    let expected = vec![
        (name("a"), Uuid::nil(), INVALID_REQUEST),
        (None, b, INVALID_REQUEST),
        (None, Uuid::nil(), INVALID_REQUEST),
        (name("c"), c, INVALID_REQUEST),
        (name("d"), d, 0),
        (name("d"), d, INVALID_REQUEST),
        (name("e"), e, 0),
    ];
    assert_eq!(delete(&mut client, topics), expected);
    let old = DeleteTopicsRequest::default().with_topic_names(vec![name("a").unwrap(); 2]);
    let answer = client.ask(5, &old).responses;
    assert_eq!((answer.len(), answer[0].error_code), (1, INVALID_REQUEST));
    let there = client.ask(9, &MetadataRequest::default().with_topics(None)).topics;
    assert_eq!(there.iter().map(|topic| topic.name.clone()).collect::<Vec<_>>(), ["a", "b", "c"].map(name));
}

#[test]
fn a_resource_named_twice_is_not_configured() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    for name in ["a", "b"] {
        created(&mut client, name);
    }
    let codes = [INVALID_REQUEST, 0, INVALID_REQUEST];
    let key = text("max.message.bytes");
    let incremental = |name: &&str| {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let config = AlterableConfig::default().with_name(key.clone()).with_value(Some(text("5000")));
        let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text(name));
        resource.with_configs(vec![config])
    };
    let replacing = |name: &&str| {
        use alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let config = AlterableConfig::default().with_name(key.clone()).with_value(Some(text("6000")));
        let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text(name));
        resource.with_configs(vec![config])
    };
    let value = |client: &mut Client, name: &str| {
        let resource =
            DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text(name));
        let resource = resource.with_configuration_keys(Some(vec![key.clone()]));
        let answer = client.ask(1, &DescribeConfigsRequest::default().with_resources(vec![resource]));
        answer.results[0].configs[0].value.clone().unwrap().to_string()
    };
    let before = value(&mut client, "a");
    let names = ["a", "b", "a"];

    let request = IncrementalAlterConfigsRequest::default();
    let answer = client.ask(1, &request.with_resources(names.iter().map(incremental).collect()));
    assert_eq!(answer.responses.iter().map(|one| one.error_code).collect::<Vec<_>>(), codes);
    assert_eq!((value(&mut client, "a"), &*value(&mut client, "b")), (before.clone(), "5000"));

    let request = AlterConfigsRequest::default();
    let answer = client.ask(1, &request.with_resources(names.iter().map(replacing).collect()));
    assert_eq!(answer.responses.iter().map(|one| one.error_code).collect::<Vec<_>>(), codes);
    assert_eq!((value(&mut client, "a"), &*value(&mut client, "b")), (before, "6000"));
}

#[test]
fn how_many_partitions_are_asked_for_is_judged_before_where_they_are_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "max.partitions=100"]);
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, vec![topic("t", 3)], false), [0]);
    let mut add = |count: i32, assigned: &[i32]| {
        let assignment =
            |node: &i32| CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(*node)]);
        let topic = CreatePartitionsTopic::default()
            .with_name(TopicName(text("t")))
            .with_count(count)
            .with_assignments(Some(assigned.iter().map(assignment).collect()));
        client.ask(3, &CreatePartitionsRequest::default().with_topics(vec![topic])).results[0].error_code
    };
    for count in [i32::MIN, -1, 0, 2, 3, 1000] {
        assert_eq!(add(count, &[1]), INVALID_PARTITIONS, "{count}");
    }
    assert_eq!((add(5, &[1]), add(5, &[1, 9])), (INVALID_REPLICA_ASSIGNMENT, INVALID_REPLICA_ASSIGNMENT));
    assert_eq!(add(5, &[1, 1]), 0);
}

#[test]
fn a_deletion_in_the_middle_of_which_the_broker_stops_is_finished_at_the_next_start() {
    const PARTITIONS: i32 = 2000;
    let dir = tempfile::tempdir().unwrap();
    let logs = || {
        let entries = std::fs::read_dir(dir.path().join("data")).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("t-"))
            .count()
    };
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, vec![topic("t", PARTITIONS)], false), [0]);
    // The connection goes, so that the stop does not wait for its answer.
    let named = DeleteTopicState::default().with_name(Some(TopicName(text("t"))));
    client.send(6, &DeleteTopicsRequest::default().with_topics(vec![named]).with_timeout_ms(30_000));
    while logs() == PARTITIONS as usize {}
    drop(client);
    let process = nix::unistd::Pid::from_raw(broker.pid() as i32);
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
    while broker.is_running() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(broker);
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(create(&mut client, vec![topic("t", 1)], false), [0], "its name is free");
    assert_eq!(logs(), 1);
}
