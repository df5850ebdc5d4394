//! The classic group protocol for one group, without I/O, clock or randomness.
//!
//! Source: Kafka's group membership protocol as its clients rely on it; KIP-62 (session and
//! rebalance timeouts), KIP-394 (a member id before the first join).

use bytes::Bytes;
use std::collections::BTreeMap;
use thiserror::Error;

/// Who waits for an answer; chosen by the shell.
pub(crate) type Token = u64;
/// Milliseconds on the shell's clock.
pub(crate) type Millis = u64;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Error {
    #[error("the group does not know this member")]
    UnknownMember,
    #[error("the generation is over")]
    IllegalGeneration,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("the members' protocols have nothing in common")]
    InconsistentProtocol,
    #[error("join again with the member id given")]
    MemberIdRequired,
    #[error("the group is full")]
    GroupFull,
    #[error("the session timeout is out of bounds")]
    SessionTimeout,
    #[error("the group id is not valid")]
    InvalidGroup,
    #[error("there are too many groups")]
    TooManyGroups,
}

/// A way of sharing out partitions that a member offers, with what it wants to say for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: String,
    pub(crate) metadata: Bytes,
}

/// What a member says when it joins.
#[derive(Clone, Debug)]
pub(crate) struct JoinRequest {
    pub(crate) member_id: String,
    /// The id that a new member is given.
    pub(crate) new_member_id: String,
    /// Whether a new member must come again with its id (from version 4 on).
    pub(crate) id_required: bool,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout_ms: Millis,
    pub(crate) rebalance_timeout_ms: Millis,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<Protocol>,
}

/// A generation that a member belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    /// All members with what they said; for the leader only.
    pub(crate) members: Vec<(String, Bytes)>,
}

/// The answer to a join, with the id to use from then on.
pub(crate) type JoinReply = Result<Joined, (Error, String)>;
/// The answer to a sync: the member's share.
pub(crate) type SyncReply = Result<Bytes, Error>;

/// A member and the generation that it takes part in.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) id: i32,
    pub(crate) member_id: String,
}

/// A request for one's share; the leader's brings everybody's.
#[derive(Clone, Debug)]
pub(crate) struct SyncRequest {
    pub(crate) generation: Generation,
    pub(crate) assignments: Vec<(String, Bytes)>,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Joined(Token, JoinReply),
    Synced(Token, SyncReply),
}

/// Kafka's names for where a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl GroupState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    session_timeout_ms: Millis,
    rebalance_timeout_ms: Millis,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// Set while the member waits for an answer; it is alive so long.
    joining: Option<Token>,
    syncing: Option<Token>,
    expires: Millis,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) state: GroupState,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    leader: String,
    pub(crate) members: BTreeMap<String, Member>,
    /// Ids given out to members that have not come again, with the time they lapse.
    expected: BTreeMap<String, Millis>,
    /// When a rebalance goes on without those who are missing.
    deadline: Option<Millis>,
    /// Whether the deadline is to be waited for even if all are there: a first rebalance.
    hold: bool,
    initial_delay_ms: Millis,
    members_max: usize,
}

impl Group {
    pub(crate) fn new(initial_delay_ms: Millis, members_max: usize) -> Self {
        Self {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            expected: BTreeMap::new(),
            deadline: None,
            hold: false,
            initial_delay_ms,
            members_max,
        }
    }

    /// Whether nothing would be lost by forgetting the group.
    pub(crate) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.expected.is_empty()
    }

    pub(crate) fn join(&mut self, request: JoinRequest, token: Token, now: Millis, out: &mut Vec<Effect>) {
        let refuse = |error, id: &str| Effect::Joined(token, Err((error, id.to_owned())));
        if !self.accepts(&request) {
            out.push(refuse(Error::InconsistentProtocol, &request.member_id));
            return;
        }
        let id = if request.member_id.is_empty() {
            if self.members.len() + self.expected.len() >= self.members_max {
                out.push(refuse(Error::GroupFull, ""));
                return;
            }
            if request.id_required {
                self.expected.insert(request.new_member_id.clone(), now + request.session_timeout_ms);
                out.push(refuse(Error::MemberIdRequired, &request.new_member_id));
                return;
            }
            request.new_member_id.clone()
        } else if self.expected.remove(&request.member_id).is_some()
            || self.members.contains_key(&request.member_id)
        {
            request.member_id.clone()
        } else {
            out.push(refuse(Error::UnknownMember, &request.member_id));
            return;
        };
        let known = self.members.get(&id);
        let unchanged = known.is_some_and(|member| member.protocols == request.protocols);
        let in_generation = match self.state {
            GroupState::Stable => unchanged && id != self.leader,
            GroupState::CompletingRebalance => unchanged,
            GroupState::Empty | GroupState::PreparingRebalance => false,
        };
        self.admit(&id, request, now);
        if in_generation {
            // It missed the answer, and nothing has changed since.
            out.push(Effect::Joined(token, Ok(self.joined(&id))));
            return;
        }
        if let Some(member) = self.members.get_mut(&id)
            && let Some(earlier) = member.joining.replace(token)
        {
            out.push(Effect::Joined(earlier, Err((Error::UnknownMember, id.clone()))));
        }
        if self.state != GroupState::PreparingRebalance {
            self.prepare(now, out);
        }
        self.try_complete(now, out);
    }

    /// Whether some protocol of the request is supported by every member.
    fn accepts(&self, request: &JoinRequest) -> bool {
        if request.protocols.is_empty() || request.protocol_type.is_empty() {
            return false;
        }
        let others = || self.members.iter().filter(|(id, _)| **id != request.member_id);
        if others().next().is_none() {
            return true;
        }
        request.protocol_type == self.protocol_type
            && request.protocols.iter().any(|one| {
                others().all(|(_, member)| member.protocols.iter().any(|other| other.name == one.name))
            })
    }

    fn admit(&mut self, id: &str, request: JoinRequest, now: Millis) {
        if self.members.is_empty() {
            id.clone_into(&mut self.leader);
        }
        self.protocol_type = request.protocol_type;
        let member = self.members.entry(id.to_owned()).or_insert_with(|| Member {
            client_id: String::new(),
            client_host: String::new(),
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            expires: 0,
        });
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.protocols = request.protocols;
        member.expires = now + request.session_timeout_ms;
    }

    fn prepare(&mut self, now: Millis, out: &mut Vec<Effect>) {
        for member in self.members.values_mut() {
            if let Some(token) = member.syncing.take() {
                member.expires = now + member.session_timeout_ms;
                out.push(Effect::Synced(token, Err(Error::RebalanceInProgress)));
            }
        }
        self.hold = self.state == GroupState::Empty && self.initial_delay_ms > 0;
        let patience = self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0);
        self.deadline = Some(now + if self.hold { self.initial_delay_ms.min(patience) } else { patience });
        self.state = GroupState::PreparingRebalance;
    }

    /// Begins the next generation once all are there, or nobody is left to wait for.
    fn try_complete(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let all_there =
            self.expected.is_empty() && self.members.values().all(|member| member.joining.is_some());
        let ready = self.members.is_empty() || (all_there && !self.hold);
        if self.state == GroupState::PreparingRebalance && ready {
            self.complete(now, out);
        }
    }

    fn complete(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.members.retain(|_, member| member.joining.is_some());
        self.generation += 1;
        self.hold = false;
        if self.members.is_empty() {
            self.state = GroupState::Empty;
            self.deadline = None;
            self.protocol.clear();
            return;
        }
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        self.protocol = self.choose_protocol();
        self.state = GroupState::CompletingRebalance;
        let patience = self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0);
        self.deadline = Some(now + patience);
        let answers: Vec<_> = self.members.keys().map(|id| self.joined(id)).collect();
        for (member, answer) in self.members.values_mut().zip(answers) {
            member.assignment = Bytes::new();
            member.expires = now + member.session_timeout_ms;
            if let Some(token) = member.joining.take() {
                out.push(Effect::Joined(token, Ok(answer)));
            }
        }
    }

    /// Of the protocols that all support, the one that most prefer.
    fn choose_protocol(&self) -> String {
        let supported =
            |name: &str| self.members.values().all(|m| m.protocols.iter().any(|p| p.name == name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(choice) = member.protocols.iter().find(|protocol| supported(&protocol.name)) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    fn joined(&self, id: &str) -> Joined {
        let metadata = |member: &Member| {
            let chosen = member.protocols.iter().find(|protocol| protocol.name == self.protocol);
            chosen.map(|protocol| protocol.metadata.clone()).unwrap_or_default()
        };
        let members = if id == self.leader {
            self.members.iter().map(|(id, member)| (id.clone(), metadata(member))).collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: id.to_owned(),
            members,
        }
    }

    fn check(&self, generation: &Generation) -> Result<(), Error> {
        if !self.members.contains_key(&generation.member_id) {
            return Err(Error::UnknownMember);
        }
        if generation.id != self.generation {
            return Err(Error::IllegalGeneration);
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self, request: SyncRequest, token: Token, now: Millis, out: &mut Vec<Effect>) {
        let checked = self.check(&request.generation).and(match self.state {
            GroupState::Empty => Err(Error::UnknownMember),
            GroupState::PreparingRebalance => Err(Error::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        });
        if let Err(error) = checked {
            out.push(Effect::Synced(token, Err(error)));
            return;
        }
        let id = request.generation.member_id;
        let Some(member) = self.members.get_mut(&id) else { return };
        member.expires = now + member.session_timeout_ms;
        if self.state == GroupState::Stable {
            out.push(Effect::Synced(token, Ok(member.assignment.clone())));
            return;
        }
        if let Some(earlier) = member.syncing.replace(token) {
            out.push(Effect::Synced(earlier, Err(Error::UnknownMember)));
        }
        if id == self.leader {
            for (id, assignment) in request.assignments {
                if let Some(member) = self.members.get_mut(&id) {
                    member.assignment = assignment;
                }
            }
            self.state = GroupState::Stable;
            self.deadline = None;
            for member in self.members.values_mut() {
                if let Some(token) = member.syncing.take() {
                    member.expires = now + member.session_timeout_ms;
                    out.push(Effect::Synced(token, Ok(member.assignment.clone())));
                }
            }
        }
    }

    pub(crate) fn heartbeat(&mut self, generation: &Generation, now: Millis) -> Result<(), Error> {
        self.check(generation)?;
        if let Some(member) = self.members.get_mut(&generation.member_id) {
            member.expires = now + member.session_timeout_ms;
        }
        match self.state {
            GroupState::Empty => Err(Error::UnknownMember),
            GroupState::PreparingRebalance => Err(Error::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    pub(crate) fn leave(&mut self, member_id: &str, now: Millis, out: &mut Vec<Effect>) -> Result<(), Error> {
        if self.expected.remove(member_id).is_some() {
            self.try_complete(now, out);
            return Ok(());
        }
        if !self.members.contains_key(member_id) {
            return Err(Error::UnknownMember);
        }
        self.remove(member_id, now, out);
        Ok(())
    }

    fn remove(&mut self, member_id: &str, now: Millis, out: &mut Vec<Effect>) {
        if let Some(member) = self.members.remove(member_id) {
            let gone = || (Error::UnknownMember, member_id.to_owned());
            out.extend(member.joining.map(|token| Effect::Joined(token, Err(gone()))));
            out.extend(member.syncing.map(|token| Effect::Synced(token, Err(Error::UnknownMember))));
        }
        if matches!(self.state, GroupState::Stable | GroupState::CompletingRebalance) {
            self.prepare(now, out);
        }
        self.try_complete(now, out);
    }

    /// Whether a member may commit offsets now. A group without members takes commits of anyone who
    /// claims no generation (consumers that assign partitions themselves).
    pub(crate) fn may_commit(&mut self, generation: &Generation, now: Millis) -> Result<(), Error> {
        if generation.id < 0 && generation.member_id.is_empty() && self.members.is_empty() {
            return Ok(());
        }
        self.check(generation)?;
        if let Some(member) = self.members.get_mut(&generation.member_id) {
            member.expires = now + member.session_timeout_ms;
        }
        match self.state {
            // Before a rebalance members commit what they have done; during it they have nothing.
            GroupState::CompletingRebalance => Err(Error::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// When [`Group::tick`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        let waiting = |member: &&Member| member.joining.is_none() && member.syncing.is_none();
        let members = self.members.values().filter(waiting).map(|member| member.expires);
        members.chain(self.expected.values().copied()).chain(self.deadline).min()
    }

    /// Removes who has not been heard of, and ends a rebalance whose time is over.
    pub(crate) fn tick(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let lapsed = self.expected.len();
        self.expected.retain(|_, lapses| *lapses > now);
        if self.expected.len() < lapsed {
            self.try_complete(now, out);
        }
        let silent =
            |member: &Member| member.joining.is_none() && member.syncing.is_none() && member.expires <= now;
        let dead: Vec<_> = self.members.iter().filter(|(_, m)| silent(m)).map(|(id, _)| id.clone()).collect();
        for id in dead {
            tracing::info!(member = id, "a group member was not heard of in time and is removed");
            self.remove(&id, now, out);
        }
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        match self.state {
            GroupState::PreparingRebalance => self.complete(now, out),
            GroupState::CompletingRebalance => {
                // Those who did not ask for their share in time are gone.
                let missing: Vec<_> = self
                    .members
                    .iter()
                    .filter(|(_, m)| m.syncing.is_none())
                    .map(|(id, _)| id.clone())
                    .collect();
                self.deadline = None;
                for id in missing {
                    self.remove(&id, now, out);
                }
            }
            GroupState::Empty | GroupState::Stable => self.deadline = None,
        }
    }
}

#[cfg(test)]
mod tests;
