//! DescribeGroups (15), versions 0 to 3.
//!
//! State, protocol and members with their shares. A group that nobody knows is Dead, as in Kafka.
//! Omitted: authorized operations, static members (from 4 on).

use crate::api::Context;
use crate::group::GroupState;
use crate::wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use crate::wire::{NONE, text};
use std::collections::BTreeSet;

pub(crate) async fn handle(context: Context, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    // Each once, however often it is asked for.
    let groups: BTreeSet<_> = request.groups.into_iter().map(|id| id.0).collect();
    let groups = groups.into_iter().map(|id| describe(&context, GroupId(id))).collect();
    DescribeGroupsResponse::default().with_groups(groups)
}

fn describe(context: &Context, id: GroupId) -> DescribedGroup {
    let groups = &context.broker.groups;
    let committed = groups.with_offsets(|offsets| !offsets.of_group(&id).is_empty());
    let described = DescribedGroup::default().with_error_code(NONE).with_group_id(id.clone());
    groups.with_group(&id, |group| {
        let Some(group) = group else {
            let state = if committed { GroupState::Empty.name() } else { "Dead" };
            return described.with_group_state(text(state));
        };
        let members = group.members.iter().map(|(id, member)| {
            let metadata = member.protocols.iter().find(|protocol| protocol.name == group.protocol);
            DescribedGroupMember::default()
                .with_member_id(text(id.clone()))
                .with_client_id(text(member.client_id.clone()))
                .with_client_host(text(member.client_host.clone()))
                .with_member_metadata(metadata.map(|protocol| protocol.metadata.clone()).unwrap_or_default())
                .with_member_assignment(member.assignment.clone())
        });
        described
            .with_group_state(text(group.state.name()))
            .with_protocol_type(text(group.protocol_type.clone()))
            .with_protocol_data(text(group.protocol.clone()))
            .with_members(members.collect())
    })
}
