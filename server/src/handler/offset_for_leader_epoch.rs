//! OffsetForLeaderEpoch (23), versions 2 to 4. (KIP-101, KIP-320.)
//!
//! The end of the latest epoch that is not after the one asked for; -1 for an epoch that the partition has not
//! come to. The end of the epoch it is in is the log's end.

use super::fetch::epoch_error;
use crate::api::Context;
use crate::metadata::Partition;
use crate::wire::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use crate::wire::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use crate::wire::{ErrorCode, NONE};
use ringmain_engine::LeaderEpoch;

pub(crate) async fn handle(
    context: Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = context.broker.catalog.topic(&asked.topic);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for one in asked.partitions {
            let partition = topic.as_ref().and_then(|topic| topic.partition(one.partition));
            let (code, (epoch, end)) = match find(partition, one.current_leader_epoch, one.leader_epoch) {
                Ok(found) => (NONE, found),
                Err(code) => (code.code(), (-1, -1)),
            };
            let answer = EpochEndOffset::default()
                .with_error_code(code)
                .with_partition(one.partition)
                .with_leader_epoch(epoch)
                .with_end_offset(end);
            partitions.push(answer);
        }
        topics
            .push(OffsetForLeaderTopicResult::default().with_topic(asked.topic).with_partitions(partitions));
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

fn find(partition: Option<&Partition>, known: i32, asked: i32) -> Result<(i32, i64), ErrorCode> {
    let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if let Some(code) = epoch_error(known, partition.leader_epoch) {
        return Err(code);
    }
    let found = partition.log.end_of_epoch(LeaderEpoch(asked));
    Ok(found.map_or((-1, -1), |(epoch, end)| (epoch.0, end.0)))
}
