//! JoinGroup (11), versions 0 to 9.
//!
//! Answered when the group's next generation begins. From 4 on a new member is given its id first and
//! joins with it (KIP-394). From 5 on members may be static (KIP-345); from 7 on the answer has the protocol type
//! (KIP-559); from 8 on members say why they join, which is logged (KIP-800); from 9 on a static leader that comes
//! again is told that it need not assign (KIP-814).

use super::errors;
use crate::api::Context;
use crate::group::{Identity, JoinRequest, Joined, Protocol};
use crate::wire::messages::join_group_response::JoinGroupResponseMember;
use crate::wire::messages::{JoinGroupRequest, JoinGroupResponse};
use crate::wire::{NONE, text};
use bytes::Bytes;
use uuid::Uuid;

/// From here on a member that is new is sent away with its id.
const ID_REQUIRED_FROM: i16 = 4;
/// Before this version the session timeout serves for rebalances, too.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// From here on the name of no protocol is null.
const NULL_NAME_FROM: i16 = 7;
/// From here on a leader can be told not to assign.
const SKIP_FROM: i16 = 9;
/// Of a client's id so much is kept; it may be as long as a request.
const CLIENT_ID_CHARS_MAX: usize = 255;

pub(crate) async fn handle(context: Context, request: JoinGroupRequest) -> JoinGroupResponse {
    let millis = |value: i32| u64::try_from(value).unwrap_or(0);
    let version = context.header.version;
    let session_timeout_ms = millis(request.session_timeout_ms);
    let rebalance = if version >= REBALANCE_TIMEOUT_FROM { request.rebalance_timeout_ms } else { -1 };
    let protocol = |one: crate::wire::messages::join_group_request::JoinGroupRequestProtocol| Protocol {
        name: one.name.to_string(),
        // What is kept must not keep the whole request.
        metadata: Bytes::copy_from_slice(&one.metadata),
    };
    let client_id: String = context.header.client_id.chars().take(CLIENT_ID_CHARS_MAX).collect();
    let instance_id = request.group_instance_id.map(|id| id.to_string());
    let join = JoinRequest {
        new_member_id: format!("{}-{}", instance_id.as_ref().unwrap_or(&client_id), Uuid::new_v4()),
        member: Identity { member_id: request.member_id.to_string(), instance_id },
        id_required: version >= ID_REQUIRED_FROM,
        may_skip: version >= SKIP_FROM,
        client_id,
        client_host: format!("/{}", context.peer.ip()),
        session_timeout_ms,
        rebalance_timeout_ms: if rebalance > 0 { millis(rebalance) } else { session_timeout_ms },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(protocol).collect(),
        reason: errors::reason(request.reason.as_deref()),
        held: None,
    };
    match context.broker.groups.join(&request.group_id, join).await {
        Ok(joined) => answer(joined),
        Err((err, member_id)) => JoinGroupResponse::default()
            .with_error_code(errors::group(err).code())
            .with_generation_id(-1)
            .with_protocol_name((version < NULL_NAME_FROM).then(|| text("")))
            .with_member_id(text(member_id)),
    }
}

fn answer(joined: Joined) -> JoinGroupResponse {
    let member = |one: crate::group::JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(one.member_id))
            .with_group_instance_id(one.instance_id.map(text))
            .with_metadata(one.metadata)
    };
    JoinGroupResponse::default()
        .with_error_code(NONE)
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(text(joined.protocol_type)))
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member_id))
        .with_members(joined.members.into_iter().map(member).collect())
}
