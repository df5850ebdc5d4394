//! CreateTopics (19), versions 2 to 7.
//!
//! Topics with a number of partitions, or with replicas assigned partition by partition, and with
//! configuration, which from 5 on is in the answer; or only says whether they could be created. What does not do is told
//! in Kafka's order: the name, that the topic exists, then the rest. Omitted: more than one replica, since there is one
//! broker.

use super::config_entries::{Entry, Layers, of_topic};
use super::errors;
use crate::api::Context;
use crate::metadata::{ChangeError, NewTopic, OFFSETS_TOPIC, check_new_name};
use crate::wire::messages::create_topics_request::CreatableTopic;
use crate::wire::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use crate::wire::messages::{CreateTopicsRequest, CreateTopicsResponse};
use crate::wire::{ErrorCode, NONE, StrBytes, text};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Partitions that one request may ask for in all; Kafka's limit. Each topic counts, since its answer has all of its
/// configuration: about 2 KB.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

pub(crate) async fn handle(context: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let asked = partitions_asked(&request.topics, context.broker.catalog.config().num_partitions);
    let too_many = (asked > PARTITIONS_PER_REQUEST_MAX).then(|| {
        format!("a request creates at most {PARTITIONS_PER_REQUEST_MAX} partitions, {asked} were asked for")
    });
    let mut named: HashMap<_, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(named.len());
    for topic in request.topics {
        let name = topic.name.clone();
        // A topic that is named twice is answered once, as in Kafka.
        let Some(times) = named.remove(&name) else { continue };
        let created = match (&too_many, times) {
            (Some(reason), _) => Err((ErrorCode::PolicyViolation, reason.clone())),
            (None, 1) => create(&context, topic, request.validate_only).await,
            _ => Err((ErrorCode::InvalidRequest, "the topic is named twice".into())),
        };
        let result = CreatableTopicResult::default().with_name(name).with_replication_factor(1);
        results.push(match created {
            Ok(created) => result
                .with_error_code(NONE)
                .with_error_message(None)
                .with_topic_id(created.id)
                .with_num_partitions(created.partitions)
                .with_configs(Some(created.configs)),
            Err((code, reason)) => result
                .with_error_code(code.code())
                .with_error_message(Some(text(reason)))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

/// Partitions that are asked for in all; no topic counts as none.
fn partitions_asked(topics: &[CreatableTopic], default: i32) -> usize {
    let of_topic = |topic: &CreatableTopic| match (topic.num_partitions, topic.assignments.len()) {
        (-1, 0) => usize::try_from(default).unwrap_or(0),
        (count, 0) => usize::try_from(count).unwrap_or(0),
        (_, assigned) => assigned,
    };
    topics.iter().map(|topic| of_topic(topic).max(1)).fold(0, usize::saturating_add)
}

/// What became of a topic that was asked for.
struct Created {
    id: Uuid,
    partitions: i32,
    configs: Vec<CreatableTopicConfigs>,
}

async fn create(
    context: &Context,
    topic: CreatableTopic,
    validate_only: bool,
) -> Result<Created, (ErrorCode, String)> {
    let refused = |err: &ChangeError| (errors::change(err), err.to_string());
    check_name(context, &topic.name).await.map_err(|err| refused(&err))?;
    let node = context.broker.config.node_id;
    if !matches!(topic.replication_factor, -1 | 1) {
        let reason = format!(
            "a replication factor of {} needs as many brokers; there is one",
            topic.replication_factor
        );
        return Err((ErrorCode::InvalidReplicationFactor, reason));
    }
    let partitions = match (topic.num_partitions, topic.assignments.len()) {
        (-1, 0) => context.broker.catalog.config().num_partitions,
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
        return Err(refused(&ChangeError::Internal(OFFSETS_TOPIC.into())));
    }
    let mut config = BTreeMap::new();
    for one in &topic.configs {
        let Some(value) = &one.value else {
            return Err((ErrorCode::InvalidConfig, format!("{} has no value", one.name)));
        };
        config.insert(one.name.to_string(), value.to_string());
    }
    let configs = of_topic(&config, &Layers::of(&context.broker)).into_iter().map(tell).collect();
    let new = NewTopic { name: topic.name.to_string(), partitions, config, validate_only };
    match context.broker.controller.create(new).await {
        Ok(topic) => Ok(Created { id: topic.map_or(Uuid::nil(), |topic| topic.id), partitions, configs }),
        Err(err) => Err(refused(&err)),
    }
}

/// Whether a topic can be asked for by this name.
async fn check_name(context: &Context, name: &str) -> Result<(), ChangeError> {
    match check_new_name(&context.broker.catalog, name) {
        // It may not be durable yet. The controller makes one change at a time, and knows.
        Err(ChangeError::Exists(name)) => {
            let asked = NewTopic { name, partitions: 1, config: BTreeMap::new(), validate_only: true };
            match context.broker.controller.create(asked).await {
                Err(err @ (ChangeError::Exists(_) | ChangeError::Stopping)) => Err(err),
                // It could not be created, or is deleted meanwhile.
                _ => Ok(()),
            }
        }
        checked => checked,
    }
}

fn tell(entry: Entry) -> CreatableTopicConfigs {
    CreatableTopicConfigs::default()
        .with_name(StrBytes::from_static_str(entry.name))
        .with_value(Some(text(entry.value)))
        .with_config_source(entry.source as i8)
}
