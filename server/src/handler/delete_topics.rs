//! DeleteTopics (20), versions 1 to 6.
//!
//! By name, from 6 on by id too. What groups have committed for a deleted topic is forgotten before the
//! name can be used again: a topic that is created later is another. A deletion that failed halfway can be asked for
//! again.

use super::errors;
use crate::api::Context;
use crate::metadata::{ChangeError, WhichTopic};
use crate::wire::messages::delete_topics_request::DeleteTopicState;
use crate::wire::messages::delete_topics_response::DeletableTopicResult;
use crate::wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use crate::wire::{ErrorCode, NONE, text};

pub(crate) async fn handle(context: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = |name| DeleteTopicState::default().with_name(Some(name));
    let asked = request.topics.into_iter().chain(request.topic_names.into_iter().map(by_name));
    let mut results = Vec::new();
    for one in asked {
        let (which, unknown) = match &one.name {
            Some(name) => (WhichTopic::Name(name.to_string()), ErrorCode::UnknownTopicOrPartition),
            None => (WhichTopic::Id(one.topic_id), ErrorCode::UnknownTopicId),
        };
        let result = DeletableTopicResult::default().with_name(one.name.clone()).with_topic_id(one.topic_id);
        if one.name.is_some() && !one.topic_id.is_nil() {
            let reason = Some(text("a topic is told by its name or by its id, not by both"));
            results.push(result.with_error_code(ErrorCode::InvalidRequest.code()).with_error_message(reason));
            continue;
        }
        results.push(match context.broker.controller.delete(which).await {
            Ok((id, name)) => {
                result.with_error_code(NONE).with_name(Some(TopicName(text(name)))).with_topic_id(id)
            }
            Err(ChangeError::Unknown) => result.with_error_code(unknown.code()),
            Err(err) => result
                .with_error_code(errors::change(&err).code())
                .with_error_message(Some(text(err.to_string()))),
        });
    }
    DeleteTopicsResponse::default().with_responses(results)
}
