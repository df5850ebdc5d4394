//! ListConfigResources (74), versions 0 and 1. (KIP-1142.)
//!
//! Topics, and the broker with its loggers, by the kinds asked for; all kinds if none is. In version 0 only the
//! subscriptions of client metrics can be asked for, of which there are none, as of configured groups.

use crate::api::Context;
use crate::wire::messages::list_config_resources_response::ConfigResource;
use crate::wire::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use crate::wire::{ErrorCode, resource, text};
use std::collections::BTreeSet;

const SERVED: [i8; 5] =
    [resource::TOPIC, resource::BROKER, resource::BROKER_LOGGER, resource::CLIENT_METRICS, resource::GROUP];

pub(crate) async fn handle(
    context: Context,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let broker = &context.broker;
    let asked: BTreeSet<i8> = match (context.header.version, request.resource_types.is_empty()) {
        (0, _) => BTreeSet::from([resource::CLIENT_METRICS]),
        (_, true) => BTreeSet::from(SERVED),
        (_, false) => request.resource_types.into_iter().collect(),
    };
    if !asked.iter().all(|one| SERVED.contains(one)) {
        return ListConfigResourcesResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code());
    }
    let of = |resource_type: i8, name: String| {
        ConfigResource::default().with_resource_type(resource_type).with_resource_name(text(name))
    };
    let mut resources = Vec::new();
    for resource_type in asked {
        match resource_type {
            resource::TOPIC => {
                let topics = broker.catalog.all_topics();
                resources.extend(topics.iter().map(|topic| of(resource_type, topic.name.clone())));
            }
            resource::BROKER | resource::BROKER_LOGGER => {
                resources.push(of(resource_type, broker.config.node_id.to_string()));
            }
            _ => {}
        }
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}
