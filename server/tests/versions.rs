//! Every version of every API that is advertised works: it is asked for with the codec's own types, and its answer is
//! decoded to the last byte. The broker uses the same codec for the control plane: that both err alike, the clients of
//! `scripts/interop` would tell.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "versions/leaders.rs"]
mod leaders;
mod support;

use bytes::Bytes;
use proto_kafka::messages::alter_client_quotas_request::OpData;
use proto_kafka::messages::create_partitions_request::CreatePartitionsTopic;
use proto_kafka::messages::create_topics_request::CreatableTopic;
use proto_kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use proto_kafka::messages::delete_topics_request::DeleteTopicState;
use proto_kafka::messages::describe_configs_request::DescribeConfigsResource;
use proto_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use proto_kafka::messages::incremental_alter_configs_request::AlterableConfig;
use proto_kafka::messages::join_group_request::JoinGroupRequestProtocol;
use proto_kafka::messages::leave_group_request::MemberIdentity;
use proto_kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use proto_kafka::messages::metadata_request::MetadataRequestTopic;
use proto_kafka::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use proto_kafka::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use proto_kafka::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use proto_kafka::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use proto_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use proto_kafka::messages::sync_group_request::SyncGroupRequestAssignment;
use proto_kafka::messages::*;
use proto_kafka::protocol::Request;
use ringmain_engine::BatchBuilder;
use std::collections::BTreeSet;
use support::Process;
use support::protocol::{Client, text};

trait Check {
    fn check<R: Request>(&mut self, make: impl Fn(i16) -> R, verify: impl Fn(i16, R::Response));
}

impl Check for Client {
    /// Asks in every advertised version.
    fn check<R: Request>(&mut self, make: impl Fn(i16) -> R, verify: impl Fn(i16, R::Response)) {
        let (min, max) = self.advertised[&R::KEY];
        // What the codec has no words for is tested with bytes elsewhere.
        for version in min.max(R::VERSIONS.min)..=max {
            let answer = self.ask(version, &make(version));
            verify(version, answer);
        }
        self.checked.insert(R::KEY);
    }
}

fn topic() -> TopicName {
    TopicName(text("t"))
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(1000, None, Some(b"value"));
    builder.finish().unwrap().into()
}

#[test]
fn every_advertised_version_works() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    client.check(
        |_| {
            ApiVersionsRequest::default()
                .with_client_software_name(text("t"))
                .with_client_software_version(text("1"))
        },
        |_, answer| {
            assert_eq!(answer.error_code, 0);
            assert!(answer.api_keys.len() >= 30);
        },
    );
    topics(&mut client);
    records(&mut client);
    configs(&mut client);
    descriptions(&mut client);
    leaders::leaders(&mut client);
    groups(&mut client);
    client.check(
        |_| InitProducerIdRequest::default().with_transactional_id(None),
        |_, answer| {
            assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        },
    );
    let advertised: BTreeSet<i16> = client.advertised.keys().copied().collect();
    assert_eq!(client.checked, advertised, "each API that is advertised was asked for");
}

fn topics(client: &mut Client) {
    let name = |version: i16| TopicName(text(&format!("made-{version}")));
    client.check(
        |version| {
            let topic = CreatableTopic::default()
                .with_name(name(version))
                .with_num_partitions(2)
                .with_replication_factor(1);
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
        },
        |version, answer| {
            assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
            assert_eq!(answer.topics[0].topic_id.is_nil(), version < 7);
        },
    );
    let (min, max) = client.advertised[&20];
    client.check(
        |version| {
            // As many names were made as there are versions to delete them with.
            let name = name(version + 2 - min);
            let by_state = DeleteTopicState::default().with_name(Some(name.clone()));
            match version {
                6.. => DeleteTopicsRequest::default().with_topics(vec![by_state]),
                _ => DeleteTopicsRequest::default().with_topic_names(vec![name]),
            }
        },
        |_, answer| assert_eq!(answer.responses[0].error_code, 0),
    );
    assert_eq!(max - min, 5);
    client.check(
        |_| {
            let asked = MetadataRequestTopic::default().with_name(Some(topic()));
            MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true)
        },
        |version, answer| {
            assert_eq!(answer.topics[0].error_code, 0);
            assert_eq!(answer.topics[0].partitions.len(), 1);
            assert_eq!(answer.topics[0].topic_id.is_nil(), version < 10);
            assert_eq!(answer.brokers.len(), 1);
        },
    );
}

fn records(client: &mut Client) {
    let id = client
        .ask(12, &MetadataRequest::default().with_topics(None))
        .topics
        .iter()
        .find(|t| t.name == Some(topic()))
        .unwrap()
        .topic_id;
    client.check(
        |version| {
            let data = PartitionProduceData::default().with_index(0).with_records(Some(batch()));
            let asked = TopicProduceData::default().with_partition_data(vec![data]);
            let topic = if version >= 13 { asked.with_topic_id(id) } else { asked.with_name(topic()) };
            ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic])
        },
        |version, answer| {
            let partition = &answer.responses[0].partition_responses[0];
            assert_eq!((partition.error_code, partition.base_offset), (0, i64::from(version - 3)));
        },
    );
    client.check(
        |version| {
            let partition = FetchPartition::default()
                .with_partition(0)
                .with_fetch_offset(2)
                .with_partition_max_bytes(1 << 20)
                .with_current_leader_epoch(-1);
            let asked = FetchTopic::default().with_partitions(vec![partition]);
            let asked = if version >= 13 { asked.with_topic_id(id) } else { asked.with_topic(topic()) };
            FetchRequest::default()
                .with_max_wait_ms(100)
                .with_min_bytes(1)
                .with_max_bytes(1 << 20)
                .with_topics(vec![asked])
                .with_session_epoch(-1)
        },
        |version, answer| {
            let partition = &answer.responses[0].partitions[0];
            assert_eq!((partition.error_code, partition.high_watermark), (0, 11), "version {version}");
            assert_eq!(partition.records.as_ref().unwrap().len(), batch().len() * 9);
        },
    );
    client.check(
        |_| {
            let partitions =
                [-1, -2, 1000].map(|timestamp| ListOffsetsPartition::default().with_timestamp(timestamp));
            let asked = ListOffsetsTopic::default().with_name(topic()).with_partitions(partitions.to_vec());
            ListOffsetsRequest::default().with_topics(vec![asked]).with_replica_id(BrokerId(-1))
        },
        |_, answer| {
            let found: Vec<_> =
                answer.topics[0].partitions.iter().map(|p| (p.error_code, p.offset)).collect();
            assert_eq!(found, [(0, 11), (0, 0), (0, 0)]);
        },
    );
}

fn configs(client: &mut Client) {
    client.check(
        |version| {
            let topic =
                DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text("t"));
            let broker =
                DescribeConfigsResource::default().with_resource_type(4).with_resource_name(text("1"));
            DescribeConfigsRequest::default()
                .with_resources(vec![
                    topic.with_configuration_keys(None),
                    broker.with_configuration_keys(None),
                ])
                .with_include_synonyms(true)
                .with_include_documentation(version >= 3)
        },
        |version, answer| {
            for (result, name) in answer.results.iter().zip(["segment.bytes", "log.segment.bytes"]) {
                assert_eq!(result.error_code, 0);
                let segment = result.configs.iter().find(|config| &*config.name == name).unwrap();
                assert_eq!(segment.value, Some(text("1073741824")));
                assert_eq!((segment.config_source, segment.synonyms.len()), (5, 1));
                let documented = segment.documentation.as_ref().is_some_and(|text| !text.is_empty());
                assert_eq!(documented, version >= 3);
            }
        },
    );
    client.check(
        |version| {
            let config = AlterableConfig::default()
                .with_name(text("segment.bytes"))
                .with_value(Some(text(&format!("{}", 5000 + version))));
            let topic = incremental_alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("t"))
                .with_configs(vec![config]);
            IncrementalAlterConfigsRequest::default().with_resources(vec![topic])
        },
        |_, answer| assert_eq!(answer.responses[0].error_code, 0),
    );
    client.check(
        |_| {
            let topic = alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("t"));
            AlterConfigsRequest::default().with_resources(vec![topic])
        },
        |_, answer| assert_eq!(answer.responses[0].error_code, 0),
    );
    client.check(
        |version| {
            let entity = alter_client_quotas_request::EntityData::default()
                .with_entity_type(text("client-id"))
                .with_entity_name(Some(text(&format!("client-{version}"))));
            let op = OpData::default().with_key(text("producer_byte_rate")).with_value(1e9);
            let entry = alter_client_quotas_request::EntryData::default()
                .with_entity(vec![entity])
                .with_ops(vec![op]);
            AlterClientQuotasRequest::default().with_entries(vec![entry])
        },
        |_, answer| assert_eq!(answer.entries[0].error_code, 0),
    );
    client.check(
        |_| DescribeClientQuotasRequest::default(),
        |_, answer| assert_eq!((answer.error_code, answer.entries.unwrap().len()), (0, 2)),
    );
    client.check(
        |_| ListConfigResourcesRequest::default(),
        |version, answer| {
            assert_eq!(answer.error_code, 0);
            let topic =
                answer.config_resources.iter().any(|r| r.resource_type == 2 && &*r.resource_name == "t");
            assert_eq!(topic, version >= 1);
        },
    );
    client.check(
        |version| {
            let topic =
                CreatePartitionsTopic::default().with_name(topic()).with_count(2 + i32::from(version));
            CreatePartitionsRequest::default().with_topics(vec![topic.with_assignments(None)])
        },
        |_, answer| assert_eq!(answer.results[0].error_code, 0),
    );
}

fn descriptions(client: &mut Client) {
    client.check(
        |_| DescribeClusterRequest::default().with_endpoint_type(1),
        |_, answer| {
            assert_eq!((answer.error_code, answer.brokers.len()), (0, 1));
            assert_eq!(answer.brokers[0].broker_id, answer.controller_id);
        },
    );
    client.check(
        |_| DescribeLogDirsRequest::default().with_topics(None),
        |version, answer| {
            let dir = &answer.results[0];
            assert_eq!((answer.error_code, dir.error_code), (0, 0));
            let stored = dir.topics.iter().find(|t| t.name == topic()).unwrap();
            assert_eq!(stored.partitions[0].partition_size, i64::try_from(batch().len() * 11).unwrap());
            assert_eq!(dir.total_bytes > 0 && dir.usable_bytes > 0, version >= 4);
        },
    );
    client.check(
        |_| {
            let asked = describe_topic_partitions_request::TopicRequest::default().with_name(topic());
            DescribeTopicPartitionsRequest::default()
                .with_topics(vec![asked])
                .with_response_partition_limit(3)
        },
        |_, answer| {
            assert_eq!((answer.topics[0].error_code, answer.topics[0].partitions.len()), (0, 3));
            assert_eq!(answer.next_cursor.unwrap().partition_index, 3);
        },
    );
    client.check(
        |_| {
            let asked = describe_producers_request::TopicRequest::default()
                .with_name(topic())
                .with_partition_indexes(vec![0, 99]);
            DescribeProducersRequest::default().with_topics(vec![asked])
        },
        |_, answer| {
            let codes: Vec<_> = answer.topics[0].partitions.iter().map(|p| p.error_code).collect();
            assert_eq!(codes, [0, 3]);
        },
    );
    client.check(
        |_| {
            let asked = [0, -1, 5].map(|epoch| {
                OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(epoch)
            });
            let topic = OffsetForLeaderTopic::default().with_topic(topic()).with_partitions(asked.to_vec());
            OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
        },
        |_, answer| {
            let found: Vec<_> = answer.topics[0]
                .partitions
                .iter()
                .map(|p| (p.error_code, p.leader_epoch, p.end_offset))
                .collect();
            assert_eq!(found, [(0, 0, 11), (0, -1, -1), (0, -1, -1)]);
        },
    );
    client.check(
        |version| {
            let partition = DeleteRecordsPartition::default().with_offset(i64::from(version) + 1);
            let topic = DeleteRecordsTopic::default().with_name(topic()).with_partitions(vec![partition]);
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
        },
        |version, answer| {
            let deleted = &answer.topics[0].partitions[0];
            assert_eq!((deleted.error_code, deleted.low_watermark), (0, i64::from(version) + 1));
        },
    );
}

fn groups(client: &mut Client) {
    client.check(
        |version| match version {
            4.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]),
            _ => FindCoordinatorRequest::default().with_key(text("g")),
        },
        |version, answer| {
            let node = if version >= 4 { answer.coordinators[0].node_id } else { answer.node_id };
            assert_eq!(node, BrokerId(1));
        },
    );
    let join = |group: &str, member: &str| {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(b"m"));
        JoinGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_member_id(text(member))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    };
    client.check(
        |version| join(&format!("join-{version}"), ""),
        |version, answer| {
            assert_eq!(answer.error_code, if version >= 4 { 79 } else { 0 });
            assert!(!answer.member_id.is_empty());
        },
    );
    let joined = client.ask(3, &join("g", ""));
    let (generation, member) = (joined.generation_id, joined.member_id);
    client.check(
        |_| {
            let share = SyncGroupRequestAssignment::default()
                .with_member_id(member.clone())
                .with_assignment(Bytes::from_static(b"share"));
            SyncGroupRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_generation_id(generation)
                .with_member_id(member.clone())
                .with_assignments(vec![share])
        },
        |_, answer| assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"share"[..])),
    );
    client.check(
        |_| {
            HeartbeatRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_generation_id(generation)
                .with_member_id(member.clone())
        },
        |_, answer| assert_eq!(answer.error_code, 0),
    );
    client.check(
        |version| {
            let partition = OffsetCommitRequestPartition::default()
                .with_committed_offset(version.into())
                .with_committed_metadata(Some(text("m")));
            let topic =
                OffsetCommitRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
            OffsetCommitRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_generation_id_or_member_epoch(generation)
                .with_member_id(member.clone())
                .with_topics(vec![topic])
        },
        |_, answer| assert_eq!(answer.topics[0].partitions[0].error_code, 0),
    );
    client.check(
        |version| {
            if version >= 8 {
                let group =
                    OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g"))).with_topics(None);
                return OffsetFetchRequest::default().with_groups(vec![group]);
            }
            let asked = OffsetFetchRequestTopic::default().with_name(topic()).with_partition_indexes(vec![0]);
            OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics(Some(vec![asked]))
        },
        |version, answer| {
            let committed = if version >= 8 {
                answer.groups[0].topics[0].partitions[0].committed_offset
            } else {
                answer.topics[0].partitions[0].committed_offset
            };
            assert_eq!(committed, 9);
        },
    );
    client.check(
        |_| DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g")), GroupId(text("nobody"))]),
        |version, answer| {
            assert_eq!(&*answer.groups[0].group_state, "Stable");
            assert_eq!(&answer.groups[0].members[0].member_assignment[..], b"share");
            assert_eq!(&*answer.groups[1].group_state, "Dead");
            assert_eq!(answer.groups[1].error_code, if version >= 6 { 69 } else { 0 });
        },
    );
    client.check(
        |_| ListGroupsRequest::default(),
        |_, answer| assert!(answer.groups.iter().any(|g| &*g.group_id.0 == "g")),
    );
    client.check(
        |version| {
            let asked = LeaveGroupRequest::default().with_group_id(GroupId(text("g")));
            if version < 3 {
                return asked.with_member_id(member.clone());
            }
            asked.with_members(vec![MemberIdentity::default().with_member_id(member.clone())])
        },
        |version, answer| {
            let code = if version < 3 { answer.error_code } else { answer.members[0].error_code };
            assert_eq!(code, if version == 0 { 0 } else { 25 });
        },
    );
    client.check(
        |_| {
            let partitions = [0, 7].map(|n| OffsetDeleteRequestPartition::default().with_partition_index(n));
            let asked = OffsetDeleteRequestTopic::default().with_name(topic());
            let asked = asked.with_partitions(partitions.to_vec());
            OffsetDeleteRequest::default().with_group_id(GroupId(text("g"))).with_topics(vec![asked])
        },
        |_, answer| {
            assert_eq!(answer.error_code, 0);
            let mut codes: Vec<_> =
                answer.topics[0].partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
            codes.sort_unstable();
            assert_eq!(codes, [(0, 0), (7, 3)]);
        },
    );
    client.check(
        |_| {
            DeleteGroupsRequest::default()
                .with_groups_names(["g", "nobody"].map(|id| GroupId(text(id))).into())
        },
        |version, answer| {
            let codes: Vec<_> = answer.results.iter().map(|one| one.error_code).collect();
            assert_eq!(codes, [if version == 0 { 0 } else { 69 }, 69]);
        },
    );
}
