//! DescribeTopicPartitions (75), version 0. (KIP-966.)
//!
//! Topics in the order of their names, as many partitions as the client and `max.request.partition.size.limit`
//! allow, with a cursor from which to go on. What one may do with them, which is all: it is not asked for.

use crate::api::Context;
use crate::metadata::{Topic, topic_name_error};
use crate::wire::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::wire::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use crate::wire::{ErrorCode, NONE, text};
use std::collections::BTreeSet;

use super::authorized_operations::TOPIC;

pub(crate) async fn handle(
    context: Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let broker = &context.broker;
    let node = BrokerId(broker.config.node_id);
    let (from, first) = request.cursor.map_or((String::new(), 0), |cursor| {
        (cursor.topic_name.to_string(), usize::try_from(cursor.partition_index).unwrap_or(0))
    });
    let all = request.topics.is_empty();
    let names: BTreeSet<String> = if all {
        broker.catalog.all_topics().iter().map(|topic| topic.name.clone()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.to_string()).collect()
    };
    let asked = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut left = asked.clamp(1, broker.config.described_partitions_max);
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for name in names.into_iter().filter(|name| *name >= from) {
        let skipped = if name == from { first } else { 0 };
        let cursor = |index: usize| {
            Cursor::default()
                .with_topic_name(TopicName(text(name.clone())))
                .with_partition_index(i32::try_from(index).unwrap_or(i32::MAX))
        };
        if left == 0 {
            next_cursor = Some(cursor(skipped));
            break;
        }
        let Some(topic) = broker.catalog.topic(&name) else {
            if !all {
                topics.push(unknown(&name));
            }
            continue;
        };
        let told = topic.partitions.len().saturating_sub(skipped).min(left);
        topics.push(describe(&topic, node, skipped, told));
        left -= told;
        if skipped + told < topic.partitions.len() {
            next_cursor = Some(cursor(skipped + told));
            break;
        }
    }
    DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(next_cursor)
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match topic_name_error(name) {
        Some(_) => ErrorCode::InvalidTopicException,
        None => ErrorCode::UnknownTopicOrPartition,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(TopicName(text(name))))
}

fn describe(
    topic: &Topic,
    node: BrokerId,
    skipped: usize,
    told: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let partition = |(index, partition): (i32, &crate::metadata::Partition)| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(NONE)
            .with_partition_index(index)
            .with_leader_id(node)
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    };
    let partitions = (0..).zip(&topic.partitions).skip(skipped).take(told).map(partition);
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(NONE)
        .with_name(Some(TopicName(text(topic.name.clone()))))
        .with_topic_id(topic.id)
        .with_is_internal(topic.internal)
        .with_topic_authorized_operations(TOPIC)
        .with_partitions(partitions.collect())
}
