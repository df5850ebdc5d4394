//! JoinGroup (11), versions 0 to 4.
//!
//! Answered when the group's next generation begins. From 4 on a new member is given its id first and
//! joins with it (KIP-394). Omitted: static members (from 5 on).

use super::errors;
use crate::api::Context;
use crate::group::{JoinRequest, Joined, Protocol};
use crate::wire::messages::join_group_response::JoinGroupResponseMember;
use crate::wire::messages::{JoinGroupRequest, JoinGroupResponse};
use crate::wire::{NONE, text};
use uuid::Uuid;

/// From here on a member that is new is sent away with its id.
const ID_REQUIRED_FROM: i16 = 4;
/// Before this version the session timeout serves for rebalances, too.
const REBALANCE_TIMEOUT_FROM: i16 = 1;

pub(crate) async fn handle(context: Context, request: JoinGroupRequest) -> JoinGroupResponse {
    let millis = |value: i32| u64::try_from(value).unwrap_or(0);
    let version = context.header.version;
    let session_timeout_ms = millis(request.session_timeout_ms);
    let rebalance = if version >= REBALANCE_TIMEOUT_FROM { request.rebalance_timeout_ms } else { -1 };
    let protocol = |one: crate::wire::messages::join_group_request::JoinGroupRequestProtocol| Protocol {
        name: one.name.to_string(),
        metadata: one.metadata,
    };
    let client_id = context.header.client_id.clone();
    let join = JoinRequest {
        member_id: request.member_id.to_string(),
        new_member_id: format!("{client_id}-{}", Uuid::new_v4()),
        id_required: version >= ID_REQUIRED_FROM,
        client_id,
        client_host: format!("/{}", context.peer.ip()),
        session_timeout_ms,
        rebalance_timeout_ms: if rebalance > 0 { millis(rebalance) } else { session_timeout_ms },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(protocol).collect(),
    };
    match context.broker.groups.join(&request.group_id, join).await {
        Ok(joined) => answer(joined),
        Err((err, member_id)) => JoinGroupResponse::default()
            .with_error_code(errors::group(err).code())
            .with_generation_id(-1)
            .with_protocol_name(Some(text("")))
            .with_member_id(text(member_id)),
    }
}

fn answer(joined: Joined) -> JoinGroupResponse {
    let member = |(id, metadata): (String, bytes::Bytes)| {
        JoinGroupResponseMember::default().with_member_id(text(id)).with_metadata(metadata)
    };
    JoinGroupResponse::default()
        .with_error_code(NONE)
        .with_generation_id(joined.generation)
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member_id))
        .with_members(joined.members.into_iter().map(member).collect())
}
