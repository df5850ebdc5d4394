//! DescribeConfigs (32), versions 1 to 4.
//!
//! Of topics and of this broker, all keys or those asked for, with synonyms and documentation where these are
//! asked for. The broker named "" stands for what was set for all brokers while they run.
//! Omitted: loggers, client metrics and groups, of which nothing can be set.

use super::config_entries::{Entry, Layers, of_all_brokers, of_broker, of_topic};
use crate::api::Context;
use crate::metadata::topic_name_error;
use crate::wire::messages::describe_configs_request::DescribeConfigsResource;
use crate::wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::wire::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use crate::wire::{ErrorCode, NONE, StrBytes, resource, text};
use std::collections::HashSet;

pub(crate) async fn handle(context: Context, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let mut results = Vec::new();
    // Asked for twice, answered once: the answer is much larger than what asks for it.
    let mut seen = HashSet::new();
    for asked in request.resources {
        if !seen.insert((asked.resource_type, asked.resource_name.clone())) {
            continue;
        }
        let result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        results.push(match entries(&context, &asked) {
            Ok(entries) => {
                let named = entries.iter().filter(|entry| is_asked(&asked, entry.name));
                let configs =
                    named.map(|entry| tell(entry, request.include_synonyms, request.include_documentation));
                result.with_error_code(NONE).with_configs(configs.collect())
            }
            Err((code, reason)) => result.with_error_code(code.code()).with_error_message(Some(text(reason))),
        });
    }
    DescribeConfigsResponse::default().with_results(results)
}

/// No keys, like none named, means all.
fn is_asked(asked: &DescribeConfigsResource, name: &str) -> bool {
    let keys = asked.configuration_keys.as_deref().unwrap_or_default();
    keys.is_empty() || keys.iter().any(|key| key.as_str() == name)
}

fn entries(context: &Context, asked: &DescribeConfigsResource) -> Result<Vec<Entry>, (ErrorCode, String)> {
    let (broker, name) = (&context.broker, asked.resource_name.as_str());
    match asked.resource_type {
        resource::TOPIC => {
            if let Some(reason) = topic_name_error(name) {
                return Err((ErrorCode::InvalidTopicException, reason.into()));
            }
            let set =
                broker.catalog.with_image(|image| image.topics.get(name).map(|topic| topic.config.clone()));
            let set =
                set.ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, format!("there is no topic {name}")))?;
            Ok(of_topic(&set, &Layers::of(broker)))
        }
        resource::BROKER if name.is_empty() => Ok(of_all_brokers(&Layers::of(broker))),
        resource::BROKER if name == broker.config.node_id.to_string() => Ok(of_broker(&Layers::of(broker))),
        resource::BROKER => {
            let node = broker.config.node_id;
            Err((ErrorCode::InvalidRequest, format!("broker {name:?} was asked for, this is {node}")))
        }
        other => Err((ErrorCode::InvalidRequest, format!("resources of type {other} have no configuration"))),
    }
}

fn tell(entry: &Entry, with_synonyms: bool, with_documentation: bool) -> DescribeConfigsResourceResult {
    let synonym = |(name, value, source): &(&'static str, String, super::config_entries::Source)| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(text(value.clone())))
            .with_source(*source as i8)
    };
    let synonyms = if with_synonyms { entry.synonyms.iter().map(synonym).collect() } else { Vec::new() };
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(entry.name))
        .with_value(Some(text(entry.value.clone())))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source as i8)
        .with_synonyms(synonyms)
        .with_config_type(entry.kind)
        .with_documentation(with_documentation.then(|| StrBytes::from_static_str(entry.doc)))
}
