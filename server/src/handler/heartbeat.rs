//! Heartbeat (12), versions 0 to 4.
//!
//! Keeps a member alive, and tells it when the group rebalances. From 3 on static members (KIP-345).

use super::errors;
use crate::api::Context;
use crate::group::{Generation, Identity};
use crate::wire::NONE;
use crate::wire::messages::{HeartbeatRequest, HeartbeatResponse};

pub(crate) async fn handle(context: Context, request: HeartbeatRequest) -> HeartbeatResponse {
    let member = Identity {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
    };
    let generation = Generation { id: request.generation_id, member };
    let beat = context.broker.groups.heartbeat(&request.group_id, &generation);
    HeartbeatResponse::default().with_error_code(beat.map_or_else(|err| errors::group(err).code(), |()| NONE))
}
