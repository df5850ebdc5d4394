//! LeaveGroup (13), versions 0 to 5.
//!
//! The others share out anew at once. From 3 on several members at once, static ones by their instance ids, too
//! (KIP-345); from 5 on with their reasons, which are logged (KIP-800).

use super::errors;
use crate::api::Context;
use crate::group::Identity;
use crate::wire::messages::leave_group_response::MemberResponse;
use crate::wire::messages::{LeaveGroupRequest, LeaveGroupResponse};
use crate::wire::{ErrorCode, NONE};

/// From here on members come as a list, and each has its own answer.
const LIST_FROM: i16 = 3;

pub(crate) async fn handle(context: Context, request: LeaveGroupRequest) -> LeaveGroupResponse {
    if request.group_id.is_empty() {
        return LeaveGroupResponse::default().with_error_code(ErrorCode::InvalidGroupId.code());
    }
    let code = |outcome: &Result<_, _>| outcome.map_or_else(|err| errors::group(err).code(), |()| NONE);
    let groups = &context.broker.groups;
    if context.header.version < LIST_FROM {
        let one = Identity { member_id: request.member_id.to_string(), instance_id: None };
        let left = groups.leave(&request.group_id, &[(one, "it asked to".into())]).await;
        return LeaveGroupResponse::default().with_error_code(left.first().map_or(NONE, code));
    }
    let who: Vec<_> = request
        .members
        .iter()
        .map(|member| {
            let reason = errors::reason(member.reason.as_deref());
            let instance_id = member.group_instance_id.as_ref().map(|id| id.to_string());
            (Identity { member_id: member.member_id.to_string(), instance_id }, reason)
        })
        .collect();
    let left = groups.leave(&request.group_id, &who).await;
    let members = request.members.into_iter().zip(&left).map(|(member, outcome)| {
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(code(outcome))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
