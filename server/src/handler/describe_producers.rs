//! DescribeProducers (61), version 0. (KIP-664.)
//!
//! The idempotent producers that a partition remembers, with epoch and last sequence number. Omitted: when they
//! sent last, which is not kept, and transactions.

use crate::api::Context;
use crate::wire::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use crate::wire::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use crate::wire::{ErrorCode, NONE};
use ringmain_engine::ActiveProducer;
use std::collections::{HashMap, HashSet};

pub(crate) async fn handle(context: Context, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut seen: HashMap<_, HashSet<i32>> = HashMap::new();
    for asked in request.topics {
        let topic = context.broker.catalog.topic(&asked.name);
        let seen = seen.entry(asked.name.clone()).or_default();
        let mut partitions = Vec::new();
        for index in asked.partition_indexes {
            // Asked for twice, answered once: the answer is much larger than what asks for it.
            if !seen.insert(index) {
                continue;
            }
            let partition = topic.as_ref().and_then(|topic| topic.partition(index));
            let response = PartitionResponse::default().with_partition_index(index);
            partitions.push(match partition {
                None => response.with_error_code(ErrorCode::UnknownTopicOrPartition.code()),
                Some(partition) => {
                    let producers = partition.log.active_producers();
                    response
                        .with_error_code(NONE)
                        .with_active_producers(producers.iter().map(describe).collect())
                }
            });
        }
        topics.push(TopicResponse::default().with_name(asked.name).with_partitions(partitions));
    }
    DescribeProducersResponse::default().with_topics(topics)
}

fn describe(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch.into())
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(-1)
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}
