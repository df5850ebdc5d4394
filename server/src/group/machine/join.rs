//! Joining a group: new members, members that come again, static members that were away.

use super::memory::together;
use super::{
    Effect, Error, Expected, Group, GroupState, Identity, JoinRequest, Joined, JoinedMember,
    NEW_MEMBER_WAIT_MS, Notice, Now, Returned, StoreId, Token, supported,
};

/// The longest name of a protocol or of a type of protocols.
const NAME_BYTES_MAX: usize = 1024;
/// The longest instance id; clients hold to the rule of topic names.
const INSTANCE_ID_BYTES_MAX: usize = 249;

impl Group {
    pub(crate) fn join(&mut self, mut request: JoinRequest, token: Token, now: Now, out: &mut Vec<Effect>) {
        let Identity { member_id, instance_id } = request.member.clone();
        let refuse = |error, id: &str| Effect::Joined(token, Err((error, id.to_owned())));
        if instance_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > INSTANCE_ID_BYTES_MAX) {
            out.push(refuse(Error::InvalidInstance, &member_id));
            return;
        }
        let before = instance_id.as_ref().and_then(|id| self.instances.get(id)).cloned();
        let own_id = if member_id.is_empty() { before.as_deref().unwrap_or_default() } else { &member_id };
        if !self.has_room_for(own_id) {
            out.push(refuse(Error::GroupFull, ""));
            self.expel(&member_id, "the group is full", now, out);
            return;
        }
        if !self.accepts(&request, own_id) {
            out.push(refuse(Error::InconsistentProtocol, &member_id));
            return;
        }
        if member_id.is_empty() {
            match before {
                Some(before) => self.replace(&before, request, token, now, out),
                None if request.asks_for_id() => {
                    if self.expected.len() >= self.settings.members_max {
                        out.push(refuse(Error::GroupFull, ""));
                        return;
                    }
                    out.push(refuse(Error::MemberIdRequired, &request.new_member_id));
                    let lapses = now.ms + request.session_timeout_ms;
                    self.expected.insert(request.new_member_id, Expected { lapses, held: request.held });
                }
                None => self.add(request.new_member_id.clone(), request, token, now, out),
            }
        } else if instance_id.is_none()
            && let Some(expected) = self.expected.remove(&member_id)
        {
            let held = together(expected.held, request.held.take(), usize::MAX);
            self.add(member_id, JoinRequest { held, ..request }, token, now, out);
        } else if let Err(error) = self.identify(&request.member) {
            out.push(refuse(error, &member_id));
        } else {
            self.join_again(&member_id, request, token, now, out);
        }
    }

    /// While a rebalance is prepared those who wait count, so that of too many members the last are expelled.
    fn has_room_for(&self, own_id: &str) -> bool {
        let max = self.settings.members_max;
        match self.state {
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                self.members.get(own_id).is_some_and(|member| member.joining.is_some())
                    || self.members.values().filter(|member| member.joining.is_some()).count() < max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(own_id) || self.members.len() < max
            }
        }
    }

    /// Whether some protocol of the request is supported by every other member.
    pub(super) fn accepts(&self, request: &JoinRequest, own_id: &str) -> bool {
        let sound = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
        if request.protocols.is_empty()
            || !sound(&request.protocol_type)
            || !request.protocols.iter().all(|protocol| sound(&protocol.name))
        {
            return false;
        }
        let others = || self.members.iter().filter(|(id, _)| *id != own_id);
        if others().next().is_none() {
            return true;
        }
        request.protocol_type == self.protocol_type
            && !supported(&request.protocols, others().map(|(_, member)| member)).is_empty()
    }

    fn add(&mut self, id: String, request: JoinRequest, token: Token, now: Now, out: &mut Vec<Effect>) {
        let reason = format!("member {id} joins: {}", request.reason);
        if self.members.is_empty() {
            self.leader.clone_from(&id);
        }
        if let Some(hold) = &mut self.hold {
            hold.grown = true;
        }
        self.admit(&id, request, now);
        if let Some(member) = self.members.get_mut(&id) {
            member.joining = Some(token);
            member.new_until = Some(now.ms + NEW_MEMBER_WAIT_MS);
        }
        self.rebalance(reason, now, out);
    }

    /// What the member says of itself counts from here on.
    fn admit(&mut self, id: &str, request: JoinRequest, now: Now) {
        let bytes = request.bytes_kept();
        self.protocol_type = request.protocol_type;
        if let Some(instance) = &request.member.instance_id {
            self.instances.insert(instance.clone(), id.to_owned());
        }
        let member = self.members.entry(id.to_owned()).or_default();
        if request.member.instance_id.is_some() {
            member.instance_id = request.member.instance_id;
        }
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.protocols = request.protocols;
        member.held = together(member.held.take(), request.held, bytes);
        member.expires = now.ms + request.session_timeout_ms;
    }

    fn join_again(&mut self, id: &str, request: JoinRequest, token: Token, now: Now, out: &mut Vec<Effect>) {
        let unchanged = self.members.get(id).is_some_and(|member| member.protocols == request.protocols);
        let missed_answer = match self.state {
            // A leader comes again because something has changed that only it sees: the topics, say.
            GroupState::Stable => unchanged && id != self.leader,
            GroupState::CompletingRebalance => unchanged,
            GroupState::Empty | GroupState::PreparingRebalance => false,
        };
        let reason = format!("member {id} joins again: {}", request.reason);
        self.admit(id, request, now);
        if missed_answer {
            out.push(Effect::Joined(token, Ok(self.joined(id))));
            return;
        }
        self.wait_to_join(id, token, out);
        self.rebalance(reason, now, out);
    }

    fn wait_to_join(&mut self, id: &str, token: Token, out: &mut Vec<Effect>) {
        let member = self.members.get_mut(id);
        if let Some(earlier) = member.and_then(|member| member.joining.replace(token)) {
            out.push(Effect::Joined(earlier, Err((Error::UnknownMember, id.to_owned()))));
        }
    }

    /// A static member comes again without its id: it takes the place of the one before it.
    fn replace(&mut self, before: &str, request: JoinRequest, token: Token, now: Now, out: &mut Vec<Effect>) {
        let Some(mut member) = self.members.remove(before) else { return };
        let id = request.new_member_id.clone();
        let fenced = || (Error::FencedInstance, before.to_owned());
        out.extend(member.joining.take().map(|token| Effect::Joined(token, Err(fenced()))));
        out.extend(member.syncing.take().map(|token| Effect::Synced(token, Err(Error::FencedInstance))));
        self.give_up_returned(before, Error::FencedInstance, out);
        let instance_id = request.member.instance_id.clone().unwrap_or_default();
        out.push(Effect::Notice(Notice::Replaced {
            instance_id: instance_id.clone(),
            member_id: id.clone(),
        }));
        self.members.insert(id.clone(), member);
        let leader = self.leader.clone();
        if self.leader == before {
            self.leader.clone_from(&id);
        }
        let may_skip = request.may_skip;
        let reason = format!("static member {instance_id} joins again: {}", request.reason);
        self.admit(&id, request, now);
        if self.state == GroupState::Stable && self.choose_protocol() == self.protocol {
            // Nothing changes for the others. The new id must not be lost once the member has it.
            let shares = self.members.iter().map(|(id, member)| (id.clone(), member.assignment.clone()));
            let shares = shares.collect();
            let store = self.store(&shares, out);
            self.returned.insert(store, Returned { token, member_id: id, may_skip, leader });
            return;
        }
        self.wait_to_join(&id, token, out);
        self.rebalance(reason, now, out);
    }

    /// Nobody waits for a static member's new id to be stored any more.
    pub(super) fn give_up_returned(&mut self, id: &str, error: Error, out: &mut Vec<Effect>) {
        self.returned.retain(|_, one| {
            let stays = one.member_id != id;
            if !stays {
                out.push(Effect::Joined(one.token, Err((error, id.to_owned()))));
            }
            stays
        });
    }

    /// A static member's new id is stored.
    pub(super) fn returned(&mut self, store: StoreId, ok: bool, now: Now, out: &mut Vec<Effect>) {
        let Some(Returned { token, member_id, may_skip, leader }) = self.returned.remove(&store) else {
            return;
        };
        if !ok {
            out.push(Effect::Joined(token, Err((Error::NotStored, String::new()))));
            return;
        }
        if !self.members.contains_key(&member_id) {
            out.push(Effect::Joined(token, Err((Error::UnknownMember, member_id))));
            return;
        }
        match self.state {
            GroupState::Stable => {
                let mut joined = self.joined(&member_id);
                if may_skip {
                    joined.skip_assignment = member_id == self.leader;
                } else if leader != self.leader {
                    // Older clients would assign anew if they were told that they lead.
                    joined.leader = leader;
                    joined.members.clear();
                }
                out.push(Effect::Joined(token, Ok(joined)));
            }
            GroupState::CompletingRebalance => {
                out.push(Effect::Joined(token, Ok(self.joined(&member_id))));
            }
            GroupState::Empty | GroupState::PreparingRebalance => {
                self.wait_to_join(&member_id, token, out);
                self.try_complete(now, out);
            }
        }
    }

    /// The present generation as a member is told.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let told = || {
            self.members.iter().map(|(id, member)| JoinedMember {
                member_id: id.clone(),
                instance_id: member.instance_id.clone(),
                metadata: member.metadata(&self.protocol),
            })
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: id.to_owned(),
            members: if id == self.leader { told().collect() } else { Vec::new() },
            skip_assignment: false,
        }
    }
}
