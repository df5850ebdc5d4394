//! Elections and reassignments, which one broker has no use for; topics by id; what one may do.

use super::{Check, Client, text, topic};
use proto_kafka::messages::elect_leaders_request::TopicPartitions;
use proto_kafka::messages::metadata_request::MetadataRequestTopic;
use proto_kafka::messages::*;
use uuid::Uuid;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const ELECTION_NOT_NEEDED: i16 = 84;
const UNKNOWN_TOPIC_ID: i16 = 100;

pub(super) fn leaders(client: &mut Client) {
    client.check(
        |version| {
            let of = |name| TopicPartitions::default().with_topic(name).with_partitions(vec![0, 99]);
            let asked = vec![of(topic()), of(TopicName(text("nowhere")))];
            ElectLeadersRequest::default()
                .with_topic_partitions(Some(asked))
                .with_election_type(i8::from(version == 2))
        },
        |_, answer| {
            let codes = |at: usize| {
                let of: &elect_leaders_response::ReplicaElectionResult = &answer.replica_election_results[at];
                let codes: Vec<_> =
                    of.partition_result.iter().map(|one| (one.partition_id, one.error_code)).collect();
                (of.topic.to_string(), codes)
            };
            assert_eq!(answer.error_code, 0);
            let one = vec![(0, ELECTION_NOT_NEEDED), (99, UNKNOWN_TOPIC_OR_PARTITION)];
            assert_eq!(codes(0), ("t".to_owned(), one));
            let none = vec![(0, UNKNOWN_TOPIC_OR_PARTITION), (99, UNKNOWN_TOPIC_OR_PARTITION)];
            assert_eq!(codes(1), ("nowhere".to_owned(), none));
        },
    );
    let all = client.ask(2, &ElectLeadersRequest::default().with_topic_partitions(None));
    assert_eq!((all.error_code, all.replica_election_results), (0, Vec::new()));
    client.check(
        |_| ListPartitionReassignmentsRequest::default().with_topics(None),
        |_, answer| assert_eq!((answer.error_code, answer.topics), (0, Vec::new())),
    );
    by_id(client);
    operations(client);
}

/// With no name and with an empty one, as Java's admin client asks.
fn by_id(client: &mut Client) {
    let ask = |client: &mut Client, version: i16, name: Option<TopicName>, id: Uuid| {
        let asked = MetadataRequestTopic::default().with_name(name).with_topic_id(id);
        client.ask(version, &MetadataRequest::default().with_topics(Some(vec![asked]))).topics.remove(0)
    };
    let known = ask(client, 12, Some(topic()), Uuid::nil());
    assert_eq!(known.error_code, 0);
    for version in 12..=13 {
        for name in [None, Some(TopicName(text("")))] {
            let found = ask(client, version, name.clone(), known.topic_id);
            assert_eq!((found.error_code, found.name, found.topic_id), (0, Some(topic()), known.topic_id));
            let other = Uuid::from_u128(77);
            let unknown = ask(client, version, name, other);
            assert_eq!((unknown.error_code, unknown.name, unknown.topic_id), (UNKNOWN_TOPIC_ID, None, other));
        }
    }
}

fn operations(client: &mut Client) {
    let (topics, cluster) = (0b1101_1111_1000, 0b1_1111_1010_0000);
    for asked in [true, false] {
        let or_omitted = |all: i32| if asked { all } else { i32::MIN };
        let metadata = MetadataRequest::default()
            .with_topics(None)
            .with_include_topic_authorized_operations(asked)
            .with_include_cluster_authorized_operations(asked);
        let told = client.ask(10, &metadata);
        assert_eq!(told.topics[0].topic_authorized_operations, or_omitted(topics));
        assert_eq!(told.cluster_authorized_operations, or_omitted(cluster));
        let described = DescribeClusterRequest::default()
            .with_endpoint_type(1)
            .with_include_cluster_authorized_operations(asked);
        assert_eq!(client.ask(2, &described).cluster_authorized_operations, or_omitted(cluster));
    }
}
