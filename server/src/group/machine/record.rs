//! A group as it is kept over restarts.

use super::{Group, GroupState, Life, Member, Millis, Now, Protocol, Settings};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A member as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberRecord {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) rebalance_timeout_ms: Millis,
    pub(crate) session_timeout_ms: Millis,
    /// What it said for the group's protocol.
    pub(crate) subscription: Bytes,
    pub(crate) assignment: Bytes,
}

/// A group as it is kept: stable, or without members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupRecord {
    pub(crate) protocol_type: String,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<String>,
    pub(crate) leader: Option<String>,
    /// The time of day when the group came into the state that it is kept in.
    pub(crate) since_ms: Option<Millis>,
    pub(crate) members: Vec<MemberRecord>,
}

impl Group {
    /// The group as it is to be kept, with these shares.
    pub(super) fn record(&self, shares: &BTreeMap<String, Bytes>) -> GroupRecord {
        let kept = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let members = self.members.iter().map(|(id, member)| MemberRecord {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(&self.protocol),
            assignment: shares.get(id).cloned().unwrap_or_default(),
        });
        GroupRecord {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: kept(&self.protocol),
            leader: kept(&self.leader),
            since_ms: Some(self.since_ms),
            members: members.collect(),
        }
    }

    /// A group that was kept. Its members have a whole session to be heard of.
    pub(crate) fn load(record: GroupRecord, settings: Settings, life: Life, now: Now) -> Self {
        let mut group = Self::new(settings, life, record.since_ms.unwrap_or(now.wall_ms));
        group.generation = record.generation;
        group.protocol_type = record.protocol_type;
        group.protocol = record.protocol.unwrap_or_default();
        group.leader = record.leader.unwrap_or_default();
        for kept in record.members {
            if let Some(instance) = &kept.instance_id {
                group.instances.insert(instance.clone(), kept.member_id.clone());
            }
            let protocols = vec![Protocol { name: group.protocol.clone(), metadata: kept.subscription }];
            let member = Member {
                client_id: kept.client_id,
                client_host: kept.client_host,
                instance_id: kept.instance_id,
                session_timeout_ms: kept.session_timeout_ms,
                rebalance_timeout_ms: kept.rebalance_timeout_ms,
                protocols,
                assignment: kept.assignment,
                synced: true,
                expires: now.ms + kept.session_timeout_ms,
                ..Member::default()
            };
            group.members.insert(kept.member_id, member);
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
        }
        group
    }
}
