//! ListGroups (16), versions 0 to 4.
//!
//! Groups that have members or committed offsets; from 4 on those in certain states.

use crate::api::Context;
use crate::wire::messages::list_groups_response::ListedGroup;
use crate::wire::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use crate::wire::text;

pub(crate) async fn handle(context: Context, request: ListGroupsRequest) -> ListGroupsResponse {
    let wanted = |state: &str| {
        request.states_filter.is_empty()
            || request.states_filter.iter().any(|one| one.eq_ignore_ascii_case(state))
    };
    let groups = context.broker.groups.list().into_iter().filter(|(_, (_, state))| wanted(state.name()));
    let listed = groups.map(|(id, (protocol_type, state))| {
        ListedGroup::default()
            .with_group_id(GroupId(text(id)))
            .with_protocol_type(text(protocol_type))
            .with_group_state(text(state.name()))
    });
    ListGroupsResponse::default().with_groups(listed.collect())
}
