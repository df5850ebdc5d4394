//! Static members on the wire: versions 5 and up of JoinGroup and what goes with it.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use bytes::Bytes;
use proto_kafka::messages::join_group_request::JoinGroupRequestProtocol;
use proto_kafka::messages::leave_group_request::MemberIdentity;
use proto_kafka::messages::metadata_request::MetadataRequestTopic;
use proto_kafka::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use proto_kafka::messages::*;
use proto_kafka::protocol::StrBytes;
use support::Process;
use support::protocol::{Client, text};

#[test]
fn a_static_member_comes_again_and_the_one_before_it_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let client = &mut Client::new(&broker);
    let topic = || TopicName(text("t"));
    let asked = MetadataRequestTopic::default().with_name(Some(topic()));
    client.ask(
        12,
        &MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true),
    );
    let fixed = |member: &str| {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(b"m"));
        JoinGroupRequest::default()
            .with_group_id(GroupId(text("fixed")))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_member_id(text(member))
            .with_group_instance_id(Some(text("i")))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    };
    let sync = |member: &StrBytes, generation: i32| {
        SyncGroupRequest::default()
            .with_group_id(GroupId(text("fixed")))
            .with_generation_id(generation)
            .with_member_id(member.clone())
            .with_group_instance_id(Some(text("i")))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
    };
    let first = client.ask(9, &fixed(""));
    assert_eq!((first.error_code, first.protocol_type), (0, Some(text("consumer"))));
    let synced = client.ask(5, &sync(&first.member_id, first.generation_id));
    assert_eq!((synced.error_code, synced.protocol_name), (0, Some(text("range"))));
    for version in 5..=9 {
        let again = client.ask(version, &fixed(""));
        assert_eq!((again.error_code, again.generation_id), (0, first.generation_id));
        assert_eq!(again.skip_assignment, version == 9);
    }
    assert_eq!(client.ask(9, &fixed(&first.member_id)).error_code, 82);
    assert_eq!(client.ask(5, &sync(&first.member_id, first.generation_id)).error_code, 82);
    let beat = HeartbeatRequest::default()
        .with_group_id(GroupId(text("fixed")))
        .with_generation_id(first.generation_id)
        .with_member_id(first.member_id.clone())
        .with_group_instance_id(Some(text("i")));
    assert_eq!(client.ask(4, &beat).error_code, 82);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("fixed")))
        .with_generation_id_or_member_epoch(first.generation_id)
        .with_member_id(first.member_id)
        .with_group_instance_id(Some(text("i")))
        .with_topics(vec![
            OffsetCommitRequestTopic::default().with_name(topic()).with_partitions(vec![partition]),
        ]);
    assert_eq!(client.ask(9, &commit).topics[0].partitions[0].error_code, 82);
    let members = [
        MemberIdentity::default().with_group_instance_id(Some(text("nobody"))),
        MemberIdentity::default().with_group_instance_id(Some(text("i"))),
    ];
    let busy = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text("fixed"))]);
    assert_eq!(client.ask(2, &busy).results[0].error_code, 68);
    let leave =
        LeaveGroupRequest::default().with_group_id(GroupId(text("fixed"))).with_members(members.into());
    let left: Vec<_> = client.ask(5, &leave).members.iter().map(|one| one.error_code).collect();
    assert_eq!(left, [25, 0]);
    assert_eq!(client.ask(2, &busy).results[0].error_code, 0);
}
