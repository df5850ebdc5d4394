//! The broker's configuration, changed while it runs: it holds at once, and after a crash.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use proto_kafka::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use proto_kafka::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use proto_kafka::messages::describe_configs_request::DescribeConfigsResource;
use proto_kafka::messages::describe_configs_response::DescribeConfigsResourceResult;
use proto_kafka::messages::metadata_request::MetadataRequestTopic;
use proto_kafka::messages::*;
use ringmain_engine::BatchBuilder;
use std::io::Write;
use std::net::TcpStream;
use support::protocol::{Client, text};
use support::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Where a value is from.
const OF_TOPIC: i8 = 1;
const OF_THE_BROKER: i8 = 2;
const OF_ALL_BROKERS: i8 = 3;
const OF_THE_START: i8 = 4;
const SHIPPED: i8 = 5;

const UNKNOWN_TOPIC: i16 = 3;
const TOO_LARGE: i16 = 10;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;

/// Key, operation, value.
type Edit<'a> = (&'a str, i8, &'a str);

/// What IncrementalAlterConfigs answers to the edits of a broker; "" is all of them.
fn alter(client: &mut Client, broker: &str, edits: &[Edit<'_>], validate_only: bool) -> i16 {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let edit = |(name, operation, value): &Edit<'_>| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value((*operation != DELETE).then(|| text(value)))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text(broker))
        .with_configs(edits.iter().map(edit).collect());
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only);
    client.ask(1, &request).responses[0].error_code
}

fn describe(client: &mut Client, resource_type: i8, name: &str) -> Vec<DescribeConfigsResourceResult> {
    let resource =
        DescribeConfigsResource::default().with_resource_type(resource_type).with_resource_name(text(name));
    let request =
        DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    let result = client.ask(4, &request).results.remove(0);
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    result.configs
}

/// The value of a key, where it is from, and from where it would be without, and so on.
fn value(client: &mut Client, resource_type: i8, name: &str, key: &str) -> (String, Vec<i8>) {
    let entries = describe(client, resource_type, name);
    let entry = entries.iter().find(|entry| &*entry.name == key).unwrap();
    let sources: Vec<i8> = entry.synonyms.iter().map(|one| one.source).collect();
    assert_eq!(entry.config_source, sources[0]);
    (entry.value.as_ref().unwrap().to_string(), sources)
}

fn create_with(client: &mut Client, name: &str, partitions: i32, max_message_bytes: Option<&str>) {
    let config = max_message_bytes.map(|value| {
        CreatableTopicConfig::default().with_name(text("max.message.bytes")).with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(config.into_iter().collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = client.ask(5, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
}

/// The error of a produce request with so large a value.
fn produce(client: &mut Client, topic: &str, value_bytes: usize) -> i16 {
    let mut batch = BatchBuilder::new();
    batch.push(1, None, Some(&vec![b'x'; value_bytes]));
    let body = produce_body(topic, 0, 1, &batch.finish().unwrap());
    let answer = call(&mut client.stream, &request(0, 7, 9, &body)).unwrap();
    // Correlation id, number of topics, name, number of partitions, index.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    i16::from_be_bytes(answer[at..at + 2].try_into().unwrap())
}

/// Asks for a topic as a producer does: its error, and how many partitions it has.
fn find(client: &mut Client, topic: &str) -> (i16, usize) {
    let asked = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
    let request =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true);
    let topic = client.ask(9, &request).topics.remove(0);
    (topic.error_code, topic.partitions.len())
}

fn is_served(stream: &mut TcpStream) -> bool {
    // It may have been closed while this was written.
    stream.write_all(&request(18, 0, 1, b"")).is_ok() && receive(stream).is_some()
}

#[test]
fn what_topics_have_is_changed_at_once_and_stays_changed_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["--set", "message.max.bytes=900000"];
    let broker = Process::start_with(dir.path(), &options);
    let mut client = Client::new(&broker);
    create_with(&mut client, "plain", 1, None);
    create_with(&mut client, "own", 1, Some("5000"));
    assert_eq!(produce(&mut client, "plain", 2000), 0);

    assert_eq!(alter(&mut client, "", &[("message.max.bytes", SET, "1000")], true), 0);
    assert_eq!(produce(&mut client, "plain", 2000), 0, "it was only validated");
    assert_eq!(alter(&mut client, "", &[("message.max.bytes", SET, "1000")], false), 0);
    assert_eq!(produce(&mut client, "plain", 2000), TOO_LARGE);
    assert_eq!(produce(&mut client, "own", 2000), 0, "what a topic sets counts first");
    let at_the_start = "900000".to_owned();
    assert_eq!(
        value(&mut client, BROKER, "1", "message.max.bytes"),
        ("1000".to_owned(), vec![OF_ALL_BROKERS, OF_THE_START, SHIPPED])
    );
    let all = describe(&mut client, BROKER, "");
    assert_eq!((all.len(), &*all[0].name, all[0].read_only), (1, "message.max.bytes", false));

    assert_eq!(alter(&mut client, "1", &[("message.max.bytes", SET, "3000")], false), 0);
    assert_eq!(produce(&mut client, "plain", 2000), 0, "what this broker sets counts before what all do");
    assert_eq!(
        value(&mut client, TOPIC, "own", "max.message.bytes"),
        ("5000".to_owned(), vec![OF_TOPIC, OF_THE_BROKER, OF_ALL_BROKERS, OF_THE_START, SHIPPED])
    );

    drop(broker);
    let broker = Process::start_with(dir.path(), &options);
    let mut client = Client::new(&broker);
    assert_eq!(value(&mut client, TOPIC, "plain", "max.message.bytes").0, "3000");
    assert_eq!((produce(&mut client, "plain", 2000), produce(&mut client, "plain", 4000)), (0, TOO_LARGE));
    // AlterConfigs replaces all that is set: with nothing, here.
    for name in ["", "1"] {
        let resource =
            AlterConfigsResource::default().with_resource_type(BROKER).with_resource_name(text(name));
        let answer = client.ask(2, &AlterConfigsRequest::default().with_resources(vec![resource]));
        assert_eq!(answer.responses[0].error_code, 0);
    }
    assert_eq!(
        value(&mut client, TOPIC, "plain", "max.message.bytes"),
        (at_the_start, vec![OF_THE_START, SHIPPED])
    );
    assert_eq!(produce(&mut client, "plain", 4000), 0);
    assert!(describe(&mut client, BROKER, "").is_empty());
}

#[test]
fn limits_and_new_topics_follow_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(alter(&mut client, "1", &[("num.partitions", SET, "3")], false), 0);
    assert_eq!(find(&mut client, "three"), (0, 3));
    create_with(&mut client, "three-too", -1, None);
    assert_eq!(find(&mut client, "three-too"), (0, 3));
    let edits = [("auto.create.topics.enable", SET, "false"), ("num.partitions", DELETE, "")];
    assert_eq!(alter(&mut client, "1", &edits, false), 0);
    assert_eq!(find(&mut client, "none").0, UNKNOWN_TOPIC);
    create_with(&mut client, "one", -1, None);
    assert_eq!(find(&mut client, "one"), (0, 1));

    let mut others: Vec<_> = (0..9).map(|_| broker.connect()).collect();
    assert!(others.iter_mut().all(is_served));
    for limit in ["max.connections", "max.connections.per.ip"] {
        assert_eq!(alter(&mut client, "", &[(limit, SET, "10")], false), 0);
        assert!(!is_served(&mut broker.connect()), "{limit}: one too many");
        assert!(others.iter_mut().all(is_served), "{limit}: who was there stays");
        assert_eq!(alter(&mut client, "", &[(limit, DELETE, "")], false), 0);
        assert!(is_served(&mut broker.connect()), "{limit}: there is room again");
    }
}

#[test]
fn what_cannot_be_changed_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let cases: [(&str, &[Edit<'_>], i16); 7] = [
        ("1", &[("log.dirs", SET, "/tmp")], INVALID_REQUEST),
        ("1", &[("num.partitions", SET, "2"), ("node.id", SET, "7")], INVALID_REQUEST),
        ("1", &[("num.partitions", SET, "2"), ("no.such.key", SET, "7")], INVALID_CONFIG),
        ("1", &[("num.partitions", SET, "none")], INVALID_CONFIG),
        ("1", &[("max.connections.per.ip", SET, "1")], INVALID_CONFIG),
        ("2", &[("num.partitions", SET, "2")], INVALID_REQUEST),
        ("broker", &[("num.partitions", SET, "2")], INVALID_REQUEST),
    ];
    for (name, edits, code) in cases {
        assert_eq!(alter(&mut client, name, edits, false), code, "{name} {edits:?}");
    }
    let replacement = AlterableConfig::default().with_name(text("log.dirs")).with_value(Some(text("/tmp")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text("1"))
        .with_configs(vec![replacement]);
    let answer = client.ask(2, &AlterConfigsRequest::default().with_resources(vec![resource]));
    assert_eq!(answer.responses[0].error_code, INVALID_REQUEST);
    assert_eq!(value(&mut client, BROKER, "1", "num.partitions"), ("1".to_owned(), vec![SHIPPED]));
    let read_only = |key: &str, entries: &[DescribeConfigsResourceResult]| {
        entries.iter().find(|entry| &*entry.name == key).unwrap().read_only
    };
    let entries = describe(&mut client, BROKER, "1");
    assert!(read_only("log.dirs", &entries) && !read_only("num.partitions", &entries));
}
