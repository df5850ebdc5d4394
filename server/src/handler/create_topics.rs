//! CreateTopics (19), versions 2 to 7.
//!
//! Topics with a number of partitions, or with replicas assigned partition by partition, and with
//! configuration. Omitted: more than one replica, since there is one broker, and (from 5 on) the
//! configuration in the answer.

use super::errors;
use crate::api::Context;
use crate::metadata::{ChangeError, NewTopic, OFFSETS_TOPIC};
use crate::wire::messages::create_topics_request::CreatableTopic;
use crate::wire::messages::create_topics_response::CreatableTopicResult;
use crate::wire::messages::{CreateTopicsRequest, CreateTopicsResponse};
use crate::wire::{ErrorCode, NONE, text};
use uuid::Uuid;

pub(crate) async fn handle(context: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let name = topic.name.clone();
        let created = create(&context, topic, request.validate_only).await;
        let result = CreatableTopicResult::default().with_name(name).with_replication_factor(1);
        results.push(match created {
            Ok((id, partitions)) => result
                .with_error_code(NONE)
                .with_error_message(None)
                .with_topic_id(id)
                .with_num_partitions(partitions),
            Err((code, reason)) => result
                .with_error_code(code.code())
                .with_error_message(Some(text(reason)))
                .with_num_partitions(-1),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

async fn create(
    context: &Context,
    topic: CreatableTopic,
    validate_only: bool,
) -> Result<(Uuid, i32), (ErrorCode, String)> {
    let node = context.broker.config.node_id;
    if !matches!(topic.replication_factor, -1 | 1) {
        let reason = format!(
            "a replication factor of {} needs as many brokers; there is one",
            topic.replication_factor
        );
        return Err((ErrorCode::InvalidReplicationFactor, reason));
    }
    let partitions = match (topic.num_partitions, topic.assignments.len()) {
        (-1, 0) => context.broker.config.num_partitions,
        (count, 0) => count,
        (-1, count) => {
            let mut indexes: Vec<_> = topic.assignments.iter().map(|one| one.partition_index).collect();
            indexes.sort_unstable();
            let alone =
                topic.assignments.iter().all(|one| one.broker_ids.len() == 1 && one.broker_ids[0].0 == node);
            if !alone || !(0..).zip(&indexes).all(|(expected, index)| expected == *index) {
                let reason = format!("assignments must name each partition once, with broker {node} alone");
                return Err((ErrorCode::InvalidReplicaAssignment, reason));
            }
            i32::try_from(count).unwrap_or(i32::MAX)
        }
        _ => return Err((ErrorCode::InvalidRequest, "partitions are counted or assigned, not both".into())),
    };
    if topic.name.as_str() == OFFSETS_TOPIC {
        let internal = ChangeError::Internal(OFFSETS_TOPIC.into());
        return Err((errors::change(&internal), internal.to_string()));
    }
    let config =
        topic.configs.iter().filter_map(|one| Some((one.name.to_string(), one.value.as_ref()?.to_string())));
    let new = NewTopic { name: topic.name.to_string(), partitions, config: config.collect(), validate_only };
    match context.broker.controller.create(new).await {
        Ok(created) => Ok((created.map_or(Uuid::nil(), |topic| topic.id), partitions)),
        Err(err) => Err((errors::change(&err), err.to_string())),
    }
}
