//! ListGroups (16), versions 0 to 5.
//!
//! Groups that have members or committed offsets; from 4 on those in certain states, from 5 on of certain types
//! (KIP-848), of which there is one: classic.

use crate::api::Context;
use crate::wire::messages::list_groups_response::ListedGroup;
use crate::wire::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use crate::wire::{StrBytes, text};

/// The type of every group here.
const CLASSIC: &str = "classic";

pub(crate) async fn handle(context: Context, request: ListGroupsRequest) -> ListGroupsResponse {
    let wanted = |filter: &[StrBytes], own: &str| {
        filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(own))
    };
    let groups = context.broker.groups.list().into_iter().filter(|(_, (_, state))| {
        wanted(&request.types_filter, CLASSIC) && wanted(&request.states_filter, state.name())
    });
    let listed = groups.map(|(id, (protocol_type, state))| {
        ListedGroup::default()
            .with_group_id(GroupId(text(id)))
            .with_protocol_type(text(protocol_type))
            .with_group_state(text(state.name()))
            .with_group_type(text(CLASSIC))
    });
    ListGroupsResponse::default().with_groups(listed.collect())
}
