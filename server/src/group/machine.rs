//! The classic group protocol for one group, without I/O, clock or randomness.
//!
//! Source: Kafka's group membership protocol as its clients rely on it; KIP-62 (session and rebalance timeouts),
//! KIP-345 (static members), KIP-394 (a member id before the first join), KIP-559 (protocol type and name
//! in answers), KIP-800 (reasons), KIP-814 (a static leader need not assign anew).

mod join;
mod membership;
pub(super) mod memory;
mod messages;
mod record;
mod sync;

pub(crate) use memory::Held;
pub(crate) use messages::{
    Effect, Error, Generation, Identity, JoinReply, JoinRequest, Joined, JoinedMember, Life, Millis, Notice,
    Now, Protocol, StoreId, SyncReply, SyncRequest, Synced, Token,
};
pub(crate) use record::{GroupRecord, MemberRecord};

use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};

/// How long a member that is new may wait for a generation: one that is gone and comes again with a new id would
/// otherwise be waited for again and again.
const NEW_MEMBER_WAIT_MS: Millis = 300_000;

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

#[derive(Debug, Default)]
pub(crate) struct Member {
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) instance_id: Option<String>,
    session_timeout_ms: Millis,
    rebalance_timeout_ms: Millis,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// Set while the member waits for an answer; it is alive so long.
    joining: Option<Token>,
    syncing: Option<Token>,
    /// Whether it has asked for its share of this generation.
    synced: bool,
    expires: Millis,
    /// Until when a new member may wait.
    new_until: Option<Millis>,
    /// For what it says of itself.
    held: Held,
}

impl Member {
    /// What it says for a protocol.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let chosen = self.protocols.iter().find(|one| one.name == protocol);
        chosen.map(|one| one.metadata.clone()).unwrap_or_default()
    }

    fn is_waiting(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }
}

/// What bounds a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) initial_delay_ms: Millis,
    pub(crate) members_max: usize,
}

/// A first rebalance that waits for further members though all are there.
#[derive(Debug)]
struct Hold {
    /// Whether somebody joined since it was last prolonged.
    grown: bool,
    left_ms: Millis,
}

/// A static member that came again, to be answered when its new id is stored.
#[derive(Debug)]
struct Returned {
    token: Token,
    member_id: String,
    may_skip: bool,
    /// Who led when it came.
    leader: String,
}

/// An id that was given out to a member that has not come again.
#[derive(Debug)]
struct Expected {
    lapses: Millis,
    /// For the id.
    held: Held,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    settings: Settings,
    life: Life,
    pub(crate) state: GroupState,
    /// The time of day when it came into this state.
    pub(crate) since_ms: Millis,
    pub(crate) generation: i32,
    /// Empty until the first member joins.
    pub(crate) protocol_type: String,
    /// Empty without members.
    pub(crate) protocol: String,
    leader: String,
    pub(crate) members: BTreeMap<String, Member>,
    /// Member ids of static members, by instance id.
    instances: BTreeMap<String, String>,
    /// By the id given out.
    expected: BTreeMap<String, Expected>,
    /// When a rebalance goes on without those who are missing.
    deadline: Option<Millis>,
    hold: Option<Hold>,
    /// The leader's shares, which count once they are stored.
    storing: Option<(StoreId, BTreeMap<String, Bytes>)>,
    /// For the shares that were brought last, and those that come after them.
    shares_held: Held,
    returned: BTreeMap<StoreId, Returned>,
    /// How often it was given to be stored.
    stores: u64,
}

impl Group {
    pub(crate) fn new(settings: Settings, life: Life, wall_ms: Millis) -> Self {
        Self {
            settings,
            life,
            state: GroupState::Empty,
            since_ms: wall_ms,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            expected: BTreeMap::new(),
            deadline: None,
            hold: None,
            storing: None,
            shares_held: None,
            returned: BTreeMap::new(),
            stores: 0,
        }
    }

    /// Whether nothing would be lost by forgetting the group: nobody is in it, and nothing of it is stored.
    pub(crate) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.expected.is_empty() && self.generation == 0
    }

    /// Whether somebody was given an id and is to come again with it.
    pub(crate) fn is_expecting(&self) -> bool {
        !self.expected.is_empty()
    }

    /// The longest that one of the members asks the others to wait.
    fn patience(&self) -> Millis {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn enter(&mut self, state: GroupState, now: Now) {
        self.state = state;
        self.since_ms = now.wall_ms;
    }

    /// The member is who it says it is.
    fn identify(&self, who: &Identity) -> Result<(), Error> {
        if let Some(instance) = &who.instance_id {
            match self.instances.get(instance) {
                None => return Err(Error::UnknownMember),
                Some(id) if *id != who.member_id => return Err(Error::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(&who.member_id) { Ok(()) } else { Err(Error::UnknownMember) }
    }

    fn check(&self, generation: &Generation) -> Result<(), Error> {
        self.identify(&generation.member)?;
        if generation.id == self.generation { Ok(()) } else { Err(Error::IllegalGeneration) }
    }

    /// Begins a rebalance, and ends it at once if all are there.
    fn rebalance(&mut self, reason: String, now: Now, out: &mut Vec<Effect>) {
        if self.state != GroupState::PreparingRebalance {
            self.prepare(reason, now, out);
        }
        self.try_complete(now, out);
    }

    fn prepare(&mut self, reason: String, now: Now, out: &mut Vec<Effect>) {
        out.push(Effect::Notice(Notice::Rebalancing { generation: self.generation, reason }));
        // What is being stored counts no more.
        self.storing = None;
        let completing = self.state == GroupState::CompletingRebalance;
        for member in self.members.values_mut() {
            if completing {
                member.assignment = Bytes::new();
            }
            if let Some(token) = member.syncing.take() {
                member.expires = now.ms + member.session_timeout_ms;
                out.push(Effect::Synced(token, Err(Error::RebalanceInProgress)));
            }
        }
        let (patience, delay) = (self.patience(), self.settings.initial_delay_ms);
        let first = self.state == GroupState::Empty && delay > 0;
        self.hold = first.then(|| Hold { grown: false, left_ms: patience.saturating_sub(delay) });
        self.deadline = Some(now.ms + if first { delay.min(patience) } else { patience });
        self.enter(GroupState::PreparingRebalance, now);
    }

    /// Begins the next generation once all are there, or nobody is left to wait for.
    fn try_complete(&mut self, now: Now, out: &mut Vec<Effect>) {
        let all_there =
            self.expected.is_empty() && self.members.values().all(|member| member.joining.is_some());
        let ready = self.members.is_empty() || (all_there && self.hold.is_none());
        if self.state == GroupState::PreparingRebalance && ready {
            self.complete(now, out);
        }
    }

    /// Begins the next generation. Static members that are away stay until their sessions end.
    fn complete(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.members.retain(|_, member| member.joining.is_some() || member.instance_id.is_some());
        self.hold = None;
        if self.members.is_empty() {
            self.become_empty(now, out);
            return;
        }
        let joined = |member: &Member| member.joining.is_some();
        if !self.members.get(&self.leader).is_some_and(joined) {
            let Some((id, _)) = self.members.iter().find(|(_, member)| joined(member)) else {
                // All are static and away: nobody could lead.
                self.deadline = Some(now.ms + self.patience());
                return;
            };
            self.leader = id.clone();
        }
        self.generation += 1;
        self.protocol = self.choose_protocol();
        self.enter(GroupState::CompletingRebalance, now);
        self.deadline = Some(now.ms + self.patience());
        out.push(Effect::Notice(Notice::Generation { id: self.generation, members: self.members.len() }));
        let answers: Vec<_> = self.members.keys().map(|id| self.joined(id)).collect();
        for (member, answer) in self.members.values_mut().zip(answers) {
            member.assignment = Bytes::new();
            member.synced = false;
            member.new_until = None;
            member.expires = now.ms + member.session_timeout_ms;
            if let Some(token) = member.joining.take() {
                out.push(Effect::Joined(token, Ok(answer)));
            }
        }
    }

    fn become_empty(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.generation += 1;
        self.enter(GroupState::Empty, now);
        self.deadline = None;
        self.protocol.clear();
        self.leader.clear();
        self.shares_held = None;
        out.push(Effect::Notice(Notice::Generation { id: self.generation, members: 0 }));
        self.store(&BTreeMap::new(), out);
    }

    /// Of the protocols that all support, the one that most prefer.
    fn choose_protocol(&self) -> String {
        let first = self.members.values().next();
        let supported = supported(first.map_or(&[], |member| &member.protocols), self.members.values());
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|protocol| supported.contains(protocol.name.as_str()));
            if let Some(choice) = choice {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    /// Has the group stored as it is, with these shares.
    fn store(&mut self, shares: &BTreeMap<String, Bytes>, out: &mut Vec<Effect>) -> StoreId {
        self.stores += 1;
        let store = StoreId { life: self.life, number: self.stores };
        out.push(Effect::Store(store, self.record(shares)));
        store
    }
}

/// The names among these that all members support. Looks at each protocol of a member once: it runs while other
/// groups wait.
fn supported<'a>(offered: &'a [Protocol], members: impl Iterator<Item = &'a Member>) -> HashSet<&'a str> {
    let mut names: HashSet<&str> = offered.iter().map(|one| one.name.as_str()).collect();
    for member in members {
        if names.is_empty() {
            break;
        }
        let own = member.protocols.iter().map(|one| one.name.as_str());
        names = own.filter(|name| names.contains(name)).collect();
    }
    names
}

#[cfg(test)]
mod tests;
