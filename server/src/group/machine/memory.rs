//! What members take of the memory for groups. Whoever comes again takes no more than it says more than before: else
//! a group could not rebalance when the memory is taken.

use super::{Group, GroupState, Identity, JoinRequest, Protocol, SyncRequest};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What a member takes besides what it says.
pub(in crate::group) const MEMBER_BYTES: usize = 512;
/// What an id that was given out takes besides itself.
pub(in crate::group) const EXPECTED_BYTES: usize = 128;

/// Memory that what a member or leader said takes; given back when that is forgotten.
pub(crate) type Held = Option<Arc<Memory>>;

/// Some of the memory for groups.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes: OwnedSemaphorePermit,
    /// Of that for ids which members have not come with yet.
    _ids: Option<OwnedSemaphorePermit>,
}

impl Memory {
    pub(in crate::group) fn new(bytes: OwnedSemaphorePermit, ids: Option<OwnedSemaphorePermit>) -> Held {
        Some(Arc::new(Self { bytes, _ids: ids }))
    }
}

fn bytes_of(held: &Held) -> usize {
    held.as_ref().map_or(0, |memory| memory.bytes.num_permits())
}

/// Both, up to so many bytes. The rest is given back.
pub(super) fn together(had: Held, more: Held, bytes: usize) -> Held {
    let mut parts = [had, more].into_iter().flatten().filter_map(Arc::into_inner).map(|memory| memory.bytes);
    let mut all = parts.next()?;
    parts.for_each(|part| all.merge(part));
    let beyond = all.num_permits().saturating_sub(bytes);
    drop(all.split(beyond));
    Memory::new(all, None)
}

impl JoinRequest {
    /// What is kept of it.
    pub(crate) fn bytes_kept(&self) -> usize {
        if self.asks_for_id() {
            return EXPECTED_BYTES + self.new_member_id.len();
        }
        let Identity { member_id, instance_id } = &self.member;
        let id = if member_id.is_empty() { &self.new_member_id } else { member_id };
        let named = id.len() + instance_id.as_ref().map_or(0, String::len) + self.client_id.len();
        let said = |one: &Protocol| size_of::<Protocol>() + one.name.len() + one.metadata.len();
        MEMBER_BYTES + named + self.protocols.iter().map(said).sum::<usize>()
    }
}

impl SyncRequest {
    /// What the shares that it brings take.
    pub(super) fn shares_bytes(&self) -> usize {
        self.assignments.iter().map(|(id, share)| id.len() + share.len()).sum()
    }
}

impl Group {
    /// What is taken already for the one who joins.
    pub(crate) fn bytes_held(&self, who: &Identity) -> usize {
        if let Some(expected) = self.expected.get(&who.member_id) {
            return bytes_of(&expected.held);
        }
        let named = who.instance_id.as_ref().and_then(|instance| self.instances.get(instance));
        let id = if who.member_id.is_empty() { named } else { Some(&who.member_id) };
        id.and_then(|id| self.members.get(id)).map_or(0, |member| bytes_of(&member.held))
    }

    /// What the shares of a request take beyond those that were brought before; none if they are not to be kept.
    pub(crate) fn shares_bytes_more(&self, request: &SyncRequest) -> usize {
        if self.takes_shares_of(&request.generation.member.member_id) {
            request.shares_bytes().saturating_sub(bytes_of(&self.shares_held))
        } else {
            0
        }
    }

    /// Whether it waits for this member to bring the shares.
    pub(super) fn takes_shares_of(&self, id: &str) -> bool {
        self.state == GroupState::CompletingRebalance && id == self.leader && self.storing.is_none()
    }
}
