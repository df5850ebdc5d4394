//! SyncGroup (14), versions 0 to 5.
//!
//! Answered with the member's share once the leader has brought everybody's and they are durable. From 3 on static
//! members (KIP-345); from 5 on with protocol type and name (KIP-559).

use super::errors;
use crate::api::Context;
use crate::group::{Generation, Identity, SyncRequest};
use crate::wire::messages::{SyncGroupRequest, SyncGroupResponse};
use crate::wire::{NONE, text};
use bytes::Bytes;

pub(crate) async fn handle(context: Context, request: SyncGroupRequest) -> SyncGroupResponse {
    let member = Identity {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
    };
    let share = |one: crate::wire::messages::sync_group_request::SyncGroupRequestAssignment| {
        // What is kept must not keep the whole request.
        (one.member_id.to_string(), Bytes::copy_from_slice(&one.assignment))
    };
    let sync = SyncRequest {
        generation: Generation { id: request.generation_id, member },
        protocol_type: request.protocol_type.map(|name| name.to_string()),
        protocol: request.protocol_name.map(|name| name.to_string()),
        assignments: request.assignments.into_iter().map(share).collect(),
        held: None,
    };
    match context.broker.groups.sync(&request.group_id, sync).await {
        Ok(synced) => SyncGroupResponse::default()
            .with_error_code(NONE)
            .with_protocol_type(Some(text(synced.protocol_type)))
            .with_protocol_name(Some(text(synced.protocol)))
            .with_assignment(synced.assignment),
        Err(err) => SyncGroupResponse::default().with_error_code(errors::group(err).code()),
    }
}
