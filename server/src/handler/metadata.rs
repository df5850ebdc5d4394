//! Metadata (3), versions 0 to 13.
//!
//! All topics, or those asked for by name or (from 12 on) by id, whatever name goes with it: Java's client sends an
//! empty one. An unknown name is created where the client and the configuration allow it. What one may do with the
//! topics and (from 8 to 10) the cluster, which is all, if that is asked for. Omitted: racks.

use crate::api::Context;
use crate::metadata::{ChangeError, NewTopic, OFFSETS_TOPIC, Topic, topic_name_error};
use crate::wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use crate::wire::{ErrorCode, NONE, text};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::authorized_operations::{CLUSTER, TOPIC, told};
use super::errors;

/// From here on topics can be asked for by id.
const IDS_FROM: i16 = 12;

pub(crate) async fn handle(context: Context, request: MetadataRequest) -> MetadataResponse {
    let broker = &context.broker;
    let node = BrokerId(broker.config.node_id);
    // In version 0 an empty list means all, later only a null does.
    let all = |topics: &Vec<_>| context.header.version == 0 && topics.is_empty();
    let operations = told(request.include_topic_authorized_operations, TOPIC);
    let describe = |topic: &Topic| describe(topic, node).with_topic_authorized_operations(operations);
    let topics = match request.topics.filter(|topics| !all(topics)) {
        None => broker.catalog.all_topics().iter().map(|topic| describe(topic)).collect(),
        Some(asked) => {
            let create = context.header.version < 4 || request.allow_auto_topic_creation;
            let mut topics = Vec::new();
            // A name asked for twice is answered once, or a small request could ask for any amount.
            let mut seen = HashSet::new();
            for one in asked.into_iter().filter(|one| seen.insert((one.name.clone(), one.topic_id))) {
                let by_id = context.header.version >= IDS_FROM && !one.topic_id.is_nil();
                topics.push(match one.name.filter(|_| !by_id) {
                    Some(name) => match find(&context, &name, create).await {
                        Ok(topic) => describe(&topic),
                        Err(code) => MetadataResponseTopic::default()
                            .with_name(Some(name))
                            .with_error_code(code.code()),
                    },
                    None => match broker.catalog.topic_by_id(one.topic_id) {
                        Some(topic) => describe(&topic),
                        None => MetadataResponseTopic::default()
                            .with_name(None)
                            .with_topic_id(one.topic_id)
                            .with_error_code(ErrorCode::UnknownTopicId.code()),
                    },
                });
            }
            topics
        }
    };
    let host = MetadataResponseBroker::default()
        .with_node_id(node)
        .with_host(text(broker.endpoint.host.clone()))
        .with_port(broker.endpoint.port.into());
    MetadataResponse::default()
        .with_brokers(vec![host])
        .with_cluster_id(Some(text(broker.catalog.cluster_id())))
        .with_controller_id(node)
        .with_cluster_authorized_operations(told(request.include_cluster_authorized_operations, CLUSTER))
        .with_topics(topics)
}

async fn find(context: &Context, name: &str, create: bool) -> Result<Arc<Topic>, ErrorCode> {
    let broker = &context.broker;
    if let Some(topic) = broker.catalog.topic(name) {
        return Ok(topic);
    }
    if topic_name_error(name).is_some() {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !create || !broker.catalog.config().auto_create_topics {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    if name == OFFSETS_TOPIC {
        return broker.groups.offsets_topic().await.map_err(|err| errors::change(&err));
    }
    let partitions = broker.catalog.config().num_partitions;
    let new = NewTopic { name: name.to_owned(), partitions, config: BTreeMap::new(), validate_only: false };
    match broker.controller.create(new).await {
        Ok(Some(topic)) => Ok(topic),
        // Somebody else was faster.
        Ok(None) | Err(ChangeError::Exists(_)) => {
            broker.catalog.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)
        }
        Err(err) => {
            tracing::warn!(topic = name, "a topic was not created: {err}");
            Err(errors::change(&err))
        }
    }
}

fn describe(topic: &Topic, node: BrokerId) -> MetadataResponseTopic {
    let partition = |(index, partition): (i32, &crate::metadata::Partition)| {
        MetadataResponsePartition::default()
            .with_error_code(NONE)
            .with_partition_index(index)
            .with_leader_id(node)
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.clone()))))
        .with_topic_id(topic.id)
        .with_is_internal(topic.internal)
        .with_partitions((0..).zip(&topic.partitions).map(partition).collect())
}
