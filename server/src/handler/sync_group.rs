//! SyncGroup (14), versions 0 to 2.
//!
//! Answered with the member's share once the leader has brought everybody's. Omitted: static members
//! (from 3 on).

use super::errors;
use crate::api::Context;
use crate::group::{Generation, SyncRequest};
use crate::wire::NONE;
use crate::wire::messages::{SyncGroupRequest, SyncGroupResponse};

pub(crate) async fn handle(context: Context, request: SyncGroupRequest) -> SyncGroupResponse {
    let generation = Generation { id: request.generation_id, member_id: request.member_id.to_string() };
    let share = |one: crate::wire::messages::sync_group_request::SyncGroupRequestAssignment| {
        (one.member_id.to_string(), one.assignment)
    };
    let assignments = request.assignments.into_iter().map(share).collect();
    match context.broker.groups.sync(&request.group_id, SyncRequest { generation, assignments }).await {
        Ok(assignment) => SyncGroupResponse::default().with_error_code(NONE).with_assignment(assignment),
        Err(err) => SyncGroupResponse::default().with_error_code(errors::group(err).code()),
    }
}
