//! DescribeGroups (15), versions 0 to 6.
//!
//! State, protocol and members with their shares. A group that nobody knows is Dead, and from 6 on an error
//! (KIP-1043). From 3 on what one may do with the group, which is all; from 4 on instance ids.

use crate::api::Context;
use crate::group::GroupState;
use crate::wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use crate::wire::{ErrorCode, NONE, text};
use std::collections::BTreeSet;

use super::authorized_operations::{GROUP, told};

/// From here on a group that is not there is an error.
const NOT_FOUND_FROM: i16 = 6;

pub(crate) async fn handle(context: Context, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    // Each once, however often it is asked for.
    let groups: BTreeSet<_> = request.groups.into_iter().map(|id| id.0).collect();
    let asked = request.include_authorized_operations;
    let described = groups.into_iter().map(|id| {
        let described = describe(&context, GroupId(id));
        let operations = told(asked && described.error_code == NONE, GROUP);
        described.with_authorized_operations(operations)
    });
    DescribeGroupsResponse::default().with_groups(described.collect())
}

fn describe(context: &Context, id: GroupId) -> DescribedGroup {
    let groups = &context.broker.groups;
    let committed = groups.with_offsets(|offsets| offsets.has_group(&id));
    let described = DescribedGroup::default().with_error_code(NONE).with_group_id(id.clone());
    groups.with_group(&id, |group| {
        let Some(group) = group else {
            if committed {
                return described.with_group_state(text(GroupState::Empty.name()));
            }
            let dead = described.with_group_state(text("Dead"));
            if context.header.version < NOT_FOUND_FROM {
                return dead;
            }
            let reason = format!("there is no group {}", id.as_str());
            return dead
                .with_error_code(ErrorCode::GroupIdNotFound.code())
                .with_error_message(Some(text(reason)));
        };
        let members = group.members.iter().map(|(id, member)| {
            DescribedGroupMember::default()
                .with_member_id(text(id.clone()))
                .with_group_instance_id(member.instance_id.clone().map(text))
                .with_client_id(text(member.client_id.clone()))
                .with_client_host(text(member.client_host.clone()))
                .with_member_metadata(member.metadata(&group.protocol))
                .with_member_assignment(member.assignment.clone())
        });
        described
            .with_group_state(text(group.state.name()))
            .with_protocol_type(text(group.protocol_type.clone()))
            .with_protocol_data(text(group.protocol.clone()))
            .with_members(members.collect())
    })
}
