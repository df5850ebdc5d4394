//! IncrementalAlterConfigs (44), versions 0 and 1.
//!
//! Sets, deletes, and for lists adds to or takes from keys of topics and brokers (KIP-339, KIP-226). A change is durable
//! and in force when it is answered. Omitted: levels of loggers, client metrics and groups.

use super::errors;
use crate::api::Context;
use crate::metadata::{ConfigChange, Edit};
use crate::wire::messages::incremental_alter_configs_request::AlterConfigsResource;
use crate::wire::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use crate::wire::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use crate::wire::{ErrorCode, NONE, resource, text};
use std::collections::{HashMap, HashSet};

pub(crate) async fn handle(
    context: Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
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
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

async fn alter(
    context: &Context,
    asked: AlterConfigsResource,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    let node_id = context.broker.config.node_id;
    let what = resource::configurable(asked.resource_type, &asked.resource_name, node_id)?;
    let edits = edits(&asked).map_err(|reason| (ErrorCode::InvalidRequest, reason))?;
    let changed = context.broker.controller.configure(what, ConfigChange::Edit(edits), validate_only).await;
    changed.map_err(|err| (errors::change(&err), err.to_string()))
}

fn edits(asked: &AlterConfigsResource) -> Result<Vec<(String, Edit)>, String> {
    let mut seen = HashSet::new();
    let edit = |one: &crate::wire::messages::incremental_alter_configs_request::AlterableConfig| {
        let name = one.name.to_string();
        if !seen.insert(name.clone()) {
            return Err(format!("{name} is named twice"));
        }
        let value = || match &one.value {
            Some(value) => Ok(value.to_string()),
            None => Err(format!("{name} has no value")),
        };
        let edit = match one.config_operation {
            0 => Edit::Set(value()?),
            1 => Edit::Delete,
            2 => Edit::Append(value()?),
            3 => Edit::Subtract(value()?),
            other => return Err(format!("there is no operation {other}")),
        };
        Ok((name, edit))
    };
    asked.configs.iter().map(edit).collect()
}
