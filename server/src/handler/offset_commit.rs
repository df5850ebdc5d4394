//! OffsetCommit (8), versions 2 to 9.
//!
//! Answered when the offsets are durable. Up to 4 the client may say how long they are kept; from 7 on static
//! members (KIP-345).

use super::errors;
use crate::api::Context;
use crate::clock::now_ms;
use crate::group::{Committed, Generation, GroupError, Identity, TopicPartition};
use crate::wire::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::wire::messages::{OffsetCommitRequest, OffsetCommitResponse};
use crate::wire::{ErrorCode, NONE};
use std::collections::{HashMap, HashSet};

pub(crate) async fn handle(context: Context, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let catalog = &context.broker.catalog;
    let metadata_max = context.broker.config.offset_metadata_bytes_max;
    let now = now_ms();
    // Such a commit has no epoch: the format of its record has either.
    let expires_at_ms =
        (request.retention_time_ms >= 0).then(|| now.saturating_add(request.retention_time_ms));
    let mut accepted = Vec::new();
    let mut seen: HashMap<_, HashSet<i32>> = HashMap::new();
    // Each partition with what is wrong with it alone.
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = catalog.topic(&asked.name);
        let seen = seen.entry(asked.name.clone()).or_default();
        let mut results = Vec::with_capacity(asked.partitions.len());
        for one in asked.partitions {
            // The first word for a partition counts; repeating it would only take memory.
            if !seen.insert(one.partition_index) {
                continue;
            }
            let metadata = one.committed_metadata.as_deref().unwrap_or_default().to_owned();
            let known = topic.as_ref().is_some_and(|topic| topic.partition(one.partition_index).is_some());
            let code = if !known {
                ErrorCode::UnknownTopicOrPartition.code()
            } else if metadata.len() > metadata_max {
                ErrorCode::OffsetMetadataTooLarge.code()
            } else {
                let partition =
                    TopicPartition { topic: asked.name.to_string(), partition: one.partition_index };
                let committed = Committed {
                    offset: one.committed_offset,
                    leader_epoch: one.committed_leader_epoch,
                    metadata,
                    committed_at_ms: now,
                    expires_at_ms,
                };
                accepted.push((partition, committed));
                NONE
            };
            results.push((one.partition_index, code));
        }
        topics.push((asked.name, results));
    }
    let member = Identity {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
    };
    let generation = Generation { id: request.generation_id_or_member_epoch, member };
    let outcome = context.broker.groups.commit(&request.group_id, &generation, accepted).await;
    let mut refused: HashMap<String, HashSet<i32>> = HashMap::new();
    let code = match outcome {
        Ok(places) => {
            for TopicPartition { topic, partition } in places {
                refused.entry(topic).or_default().insert(partition);
            }
            NONE
        }
        Err(err) => {
            tracing::debug!(group = request.group_id.as_str(), "offsets were not committed: {err}");
            errors::commit(&err).code()
        }
    };
    let topics = topics.into_iter().map(|(name, results)| {
        let refused = refused.get(name.as_str());
        let partition = |(index, own): (i32, i16)| {
            let code = match own {
                NONE if refused.is_some_and(|refused| refused.contains(&index)) => {
                    errors::group(GroupError::NoMemory).code()
                }
                NONE => code,
                own => own,
            };
            OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
        };
        let partitions = results.into_iter().map(partition).collect();
        OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
