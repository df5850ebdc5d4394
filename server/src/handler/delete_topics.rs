//! DeleteTopics (20), versions 1 to 6.
//!
//! By name, from 6 on by id too. What groups have committed for a deleted topic is forgotten before the
//! name can be used again: a topic that is created later is another. A deletion that failed halfway can be asked for
//! again. A topic that is named twice, though once by name and once by id, is answered once and not deleted, as in Kafka.

use super::errors;
use crate::api::Context;
use crate::metadata::{Catalog, ChangeError, WhichTopic};
use crate::wire::messages::delete_topics_request::DeleteTopicState;
use crate::wire::messages::delete_topics_response::DeletableTopicResult;
use crate::wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use crate::wire::{ErrorCode, NONE, text};
use std::collections::HashMap;
use uuid::Uuid;

pub(crate) async fn handle(context: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = |name| DeleteTopicState::default().with_name(Some(name));
    let asked: Vec<_> =
        request.topics.into_iter().chain(request.topic_names.into_iter().map(by_name)).collect();
    let mut named: HashMap<_, usize> = HashMap::new();
    for topic in asked.iter().filter_map(|one| which(one).ok()) {
        *named.entry(topic).or_default() += 1;
    }
    let both_ways = named_both_ways(&context.broker.catalog, &named);
    let mut results = Vec::with_capacity(asked.len());
    for one in asked {
        let result = DeletableTopicResult::default().with_name(one.name.clone()).with_topic_id(one.topic_id);
        let refuse = |result: DeletableTopicResult, reason: &str| {
            result.with_error_code(ErrorCode::InvalidRequest.code()).with_error_message(Some(text(reason)))
        };
        let which = match which(&one) {
            Ok(which) => which,
            Err(reason) => {
                results.push(refuse(result, reason));
                continue;
            }
        };
        let Some(times) = named.remove(&which) else { continue };
        results.push(match (times, both_ways.get(&which), &which) {
            (1, None, _) => delete(&context, which, result).await,
            // It is answered under its name.
            (1, Some(_), WhichTopic::Id(_)) => continue,
            (1, Some(id), WhichTopic::Name(_)) => {
                refuse(result.with_topic_id(*id), "the topic is named twice, by its name and by its id")
            }
            _ => refuse(result, "the topic is named twice"),
        });
    }
    DeleteTopicsResponse::default().with_responses(results)
}

/// The topic that is meant, or why none can be.
fn which(one: &DeleteTopicState) -> Result<WhichTopic, &'static str> {
    match (&one.name, one.topic_id) {
        (Some(name), id) if id.is_nil() => Ok(WhichTopic::Name(name.to_string())),
        (Some(_), _) => Err("a topic is told by its name or by its id, not by both"),
        (None, id) if id.is_nil() => Err("a topic is told by its name or by its id, and neither is there"),
        (None, id) => Ok(WhichTopic::Id(id)),
    }
}

/// Names whose topics' ids are there, too, and these ids; each with the id.
fn named_both_ways(catalog: &Catalog, named: &HashMap<WhichTopic, usize>) -> HashMap<WhichTopic, Uuid> {
    let mut both_ways = HashMap::new();
    for which in named.iter().filter(|(_, times)| **times == 1).map(|(which, _)| which) {
        let WhichTopic::Name(name) = which else { continue };
        let id = catalog.with_image(|image| image.topics.get(name).map(|topic| topic.id));
        if let Some(id) = id.filter(|id| named.contains_key(&WhichTopic::Id(*id))) {
            both_ways.insert(which.clone(), id);
            both_ways.insert(WhichTopic::Id(id), id);
        }
    }
    both_ways
}

async fn delete(context: &Context, which: WhichTopic, result: DeletableTopicResult) -> DeletableTopicResult {
    let unknown = match which {
        WhichTopic::Name(_) => ErrorCode::UnknownTopicOrPartition,
        WhichTopic::Id(_) => ErrorCode::UnknownTopicId,
    };
    match context.broker.controller.delete(which).await {
        Ok((id, name)) => {
            result.with_error_code(NONE).with_name(Some(TopicName(text(name)))).with_topic_id(id)
        }
        Err(ChangeError::Unknown) => result.with_error_code(unknown.code()),
        Err(err) => result
            .with_error_code(errors::change(&err).code())
            .with_error_message(Some(text(err.to_string()))),
    }
}
