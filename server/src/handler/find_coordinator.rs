//! FindCoordinator (10), versions 0 to 6.
//!
//! This broker coordinates every group. From 4 on several keys at once. Omitted: transactions, share groups.

use crate::api::Context;
use crate::wire::messages::find_coordinator_response::Coordinator;
use crate::wire::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::wire::{ErrorCode, NONE, StrBytes, text};

/// The key type of consumer groups.
const GROUP: i8 = 0;
/// From here on keys come as a list.
const LIST_FROM: i16 = 4;

pub(crate) async fn handle(context: Context, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let endpoint = &context.broker.endpoint;
    let (code, message) = match request.key_type {
        GROUP => (NONE, None),
        other => {
            let reason = format!("coordinators of key type {other} are not served");
            (ErrorCode::InvalidRequest.code(), Some(text(reason)))
        }
    };
    let (node, host, port) = match code {
        NONE => (context.broker.config.node_id, text(endpoint.host.clone()), i32::from(endpoint.port)),
        _ => (-1, StrBytes::default(), -1),
    };
    if context.header.version < LIST_FROM {
        return FindCoordinatorResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_node_id(BrokerId(node))
            .with_host(host)
            .with_port(port);
    }
    let coordinator = |key| {
        Coordinator::default()
            .with_key(key)
            .with_node_id(BrokerId(node))
            .with_host(host.clone())
            .with_port(port)
            .with_error_code(code)
            .with_error_message(message.clone())
    };
    let coordinators = request.coordinator_keys.into_iter().map(coordinator).collect();
    FindCoordinatorResponse::default().with_coordinators(coordinators)
}
