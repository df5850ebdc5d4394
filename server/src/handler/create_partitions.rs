//! CreatePartitions (37), versions 0 to 3.
//!
//! Raises the number of a topic's partitions, or only says whether that could be. Assignments, if there are
//! any, must name this broker for each new partition. Omitted: the broker's own topics, where the number says
//! which partition keeps what.

use super::errors;
use crate::api::Context;
use crate::wire::messages::create_partitions_request::CreatePartitionsTopic;
use crate::wire::messages::create_partitions_response::CreatePartitionsTopicResult;
use crate::wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use crate::wire::{ErrorCode, NONE, text};
use std::collections::HashMap;

pub(crate) async fn handle(context: Context, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut named: HashMap<_, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        // A topic that is named twice is answered once, as in Kafka.
        let Some(times) = named.remove(&topic.name) else { continue };
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        let added = match times {
            1 => add(&context, topic, request.validate_only).await,
            _ => Err((ErrorCode::InvalidRequest, "the topic is named twice".into())),
        };
        results.push(match added {
            Ok(()) => result.with_error_code(NONE).with_error_message(None),
            Err((code, reason)) => result.with_error_code(code.code()).with_error_message(Some(text(reason))),
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn add(
    context: &Context,
    topic: CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    let (broker, node) = (&context.broker, context.broker.config.node_id);
    let ask = async |validate_only| {
        let added =
            broker.controller.add_partitions(topic.name.to_string(), topic.count, validate_only).await;
        added.map_err(|err| (errors::change(&err), err.to_string()))
    };
    if let Some(assignments) = &topic.assignments {
        // In Kafka's order: first whether there can be so many.
        ask(true).await?;
        let has = broker.catalog.topic(&topic.name).map_or(0, |topic| topic.partitions.len());
        let added = usize::try_from(topic.count).unwrap_or(0).saturating_sub(has);
        let alone = |one: &[crate::wire::messages::BrokerId]| one.len() == 1 && one[0].0 == node;
        if assignments.len() != added || !assignments.iter().all(|one| alone(&one.broker_ids)) {
            let reason =
                format!("assignments must give each of the {added} new partitions to broker {node} alone");
            return Err((ErrorCode::InvalidReplicaAssignment, reason));
        }
    }
    ask(validate_only).await
}
