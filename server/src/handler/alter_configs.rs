//! AlterConfigs (33), versions 0 to 2.
//!
//! Replaces all that is set for a topic or while it runs for a broker: what is not named is back at its default.

use super::errors;
use crate::api::Context;
use crate::metadata::ConfigChange;
use crate::wire::messages::alter_configs_request::AlterConfigsResource;
use crate::wire::messages::alter_configs_response::AlterConfigsResourceResponse;
use crate::wire::messages::{AlterConfigsRequest, AlterConfigsResponse};
use crate::wire::{ErrorCode, NONE, resource, text};
use std::collections::{BTreeMap, HashMap};

pub(crate) async fn handle(context: Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    let mut named: HashMap<_, usize> = HashMap::new();
    for asked in &request.resources {
        *named.entry((asked.resource_type, asked.resource_name.clone())).or_default() += 1;
    }
    for asked in request.resources {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        // One that is named twice is refused each time, as in Kafka.
        let altered = match named.get(&(asked.resource_type, asked.resource_name.clone())) {
            Some(1) => alter(&context, asked, request.validate_only).await,
            _ => Err((ErrorCode::InvalidRequest, "the resource is named twice".into())),
        };
        responses.push(match altered {
            Ok(()) => response.with_error_code(NONE),
            Err((code, reason)) => {
                response.with_error_code(code.code()).with_error_message(Some(text(reason)))
            }
        });
    }
    AlterConfigsResponse::default().with_responses(responses)
}

async fn alter(
    context: &Context,
    asked: AlterConfigsResource,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    let node_id = context.broker.config.node_id;
    let what = resource::configurable(asked.resource_type, &asked.resource_name, node_id)?;
    let mut all = BTreeMap::new();
    for one in &asked.configs {
        let Some(value) = &one.value else {
            return Err((ErrorCode::InvalidRequest, format!("{} has no value", one.name)));
        };
        if all.insert(one.name.to_string(), value.to_string()).is_some() {
            return Err((ErrorCode::InvalidRequest, format!("{} is named twice", one.name)));
        }
    }
    let changed = context.broker.controller.configure(what, ConfigChange::Replace(all), validate_only).await;
    changed.map_err(|err| (errors::change(&err), err.to_string()))
}
