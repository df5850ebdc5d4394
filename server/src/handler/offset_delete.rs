//! OffsetDelete (47), version 0.
//!
//! What a group has committed for partitions, but for topics that one of its members wants. Answered when it is
//! durable.

use super::errors;
use crate::api::Context;
use crate::group::TopicPartition;
use crate::wire::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse, TopicName};
use crate::wire::{ErrorCode, NONE, text};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) async fn handle(context: Context, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let catalog = &context.broker.catalog;
    let mut topics: BTreeMap<String, Vec<OffsetDeleteResponsePartition>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    let answer = |partition: i32, code: i16| {
        OffsetDeleteResponsePartition::default().with_partition_index(partition).with_error_code(code)
    };
    for asked in request.topics {
        let topic = catalog.topic(&asked.name);
        let mut unknown = Vec::new();
        for one in asked.partitions {
            let index = one.partition_index;
            if topic.as_ref().is_some_and(|topic| topic.partition(index).is_some()) {
                known.insert(TopicPartition { topic: asked.name.to_string(), partition: index });
            } else {
                unknown.push(answer(index, ErrorCode::UnknownTopicOrPartition.code()));
            }
        }
        if !unknown.is_empty() {
            topics.entry(asked.name.to_string()).or_default().extend(unknown);
        }
    }
    match context.broker.groups.delete_offsets(&request.group_id, known.into_iter().collect()).await {
        Ok(outcomes) => {
            for (one, deleted) in outcomes {
                let code = if deleted { NONE } else { ErrorCode::GroupSubscribedToTopic.code() };
                topics.entry(one.topic).or_default().push(answer(one.partition, code));
            }
        }
        Err(err) => {
            tracing::debug!(group = request.group_id.as_str(), "no offsets were deleted: {err}");
            return OffsetDeleteResponse::default().with_error_code(errors::commit(&err).code());
        }
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        OffsetDeleteResponseTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
