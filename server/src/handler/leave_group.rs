//! LeaveGroup (13), versions 0 to 2.
//!
//! The others share out anew at once. Omitted: leaving for several static members (from 3 on).

use super::errors;
use crate::api::Context;
use crate::wire::NONE;
use crate::wire::messages::{LeaveGroupRequest, LeaveGroupResponse};

pub(crate) async fn handle(context: Context, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let left = context.broker.groups.leave(&request.group_id, &request.member_id);
    LeaveGroupResponse::default()
        .with_error_code(left.map_or_else(|err| errors::group(err).code(), |()| NONE))
}
