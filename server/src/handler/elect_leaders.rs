//! ElectLeaders (43), versions 0 to 2.
//!
//! Every partition has one replica, which leads it: no election is needed, preferred or unclean, and each partition
//! that is named is answered so. Where all are asked for, those that need one are told, which are none.

use crate::api::Context;
use crate::wire::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use crate::wire::messages::{ElectLeadersRequest, ElectLeadersResponse};
use crate::wire::{ErrorCode, NONE, text};

pub(crate) async fn handle(context: Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let catalog = &context.broker.catalog;
    let answer = |asked: crate::wire::messages::elect_leaders_request::TopicPartitions| {
        let topic = catalog.topic(&asked.topic);
        let partitions = topic.map_or(0, |topic| topic.partitions.len());
        let result = |index: i32| {
            let known = usize::try_from(index).is_ok_and(|index| index < partitions);
            let (code, reason) = match known {
                true => (ErrorCode::ElectionNotNeeded, "the leader is the one replica"),
                false => (ErrorCode::UnknownTopicOrPartition, "there is no such partition"),
            };
            PartitionResult::default()
                .with_partition_id(index)
                .with_error_code(code.code())
                .with_error_message(Some(text(reason)))
        };
        ReplicaElectionResult::default()
            .with_partition_result(asked.partitions.into_iter().map(result).collect())
            .with_topic(asked.topic)
    };
    ElectLeadersResponse::default().with_error_code(NONE).with_replica_election_results(
        request.topic_partitions.unwrap_or_default().into_iter().map(answer).collect(),
    )
}
