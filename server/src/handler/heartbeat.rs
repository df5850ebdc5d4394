//! Heartbeat (12), versions 0 to 2.
//!
//! Keeps a member alive, and tells it when the group rebalances. Omitted: static members (from 3 on).

use super::errors;
use crate::api::Context;
use crate::group::Generation;
use crate::wire::NONE;
use crate::wire::messages::{HeartbeatRequest, HeartbeatResponse};

pub(crate) async fn handle(context: Context, request: HeartbeatRequest) -> HeartbeatResponse {
    let generation = Generation { id: request.generation_id, member_id: request.member_id.to_string() };
    let beat = context.broker.groups.heartbeat(&request.group_id, &generation);
    HeartbeatResponse::default().with_error_code(beat.map_or_else(|err| errors::group(err).code(), |()| NONE))
}
