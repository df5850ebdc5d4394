//! DeleteGroups (42), versions 0 to 2.
//!
//! Groups without members, with all that they have committed. Answered when it is durable.

use super::errors;
use crate::api::Context;
use crate::wire::NONE;
use crate::wire::messages::delete_groups_response::DeletableGroupResult;
use crate::wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use std::collections::HashSet;

pub(crate) async fn handle(context: Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut seen = HashSet::new();
    let mut results = Vec::new();
    for id in request.groups_names {
        if !seen.insert(id.clone()) {
            continue;
        }
        let code = match context.broker.groups.delete(&id).await {
            Ok(()) => NONE,
            Err(err) => {
                tracing::debug!(group = id.as_str(), "the group was not deleted: {err}");
                errors::commit(&err).code()
            }
        };
        results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code));
    }
    DeleteGroupsResponse::default().with_results(results)
}
