//! All groups together: the same pure machine, group by group.

use super::machine::{
    Effect, Error, Generation, Group, GroupRecord, Identity, JoinRequest, Life, Millis, Now, Settings,
    StoreId, SyncRequest, Token,
};
use std::collections::HashMap;

/// The longest id of a group: it stands in the key of every offset that the group commits.
const GROUP_ID_BYTES_MAX: usize = 1024;

/// What bounds groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) session_min_ms: Millis,
    pub(crate) session_max_ms: Millis,
    pub(crate) initial_delay_ms: Millis,
    pub(crate) members_max: usize,
    pub(crate) groups_max: usize,
    /// Bytes that what members say and are given takes, of all groups.
    pub(crate) memory_bytes_max: usize,
}

impl Limits {
    fn settings(&self) -> Settings {
        Settings { initial_delay_ms: self.initial_delay_ms, members_max: self.members_max }
    }
}

#[derive(Debug)]
pub(crate) struct Coordinator {
    limits: Limits,
    groups: HashMap<String, Group>,
    /// Counts groups, those that were forgotten too: what one gave to be stored is not taken for another's.
    lives: Life,
}

impl Coordinator {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, groups: HashMap::new(), lives: 0 }
    }

    /// Takes over a group that was kept.
    pub(crate) fn load(&mut self, id: String, record: GroupRecord, now: Now) {
        self.lives += 1;
        self.groups.insert(id, Group::load(record, self.limits.settings(), self.lives, now));
    }

    pub(crate) fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&String, &Group)> {
        self.groups.iter()
    }

    /// Whether a group that is not known yet would find no room.
    pub(crate) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// How many groups that only commit find room besides those that are known.
    pub(crate) fn room(&self) -> usize {
        self.limits.groups_max.saturating_sub(self.groups.len())
    }

    /// A group may be called so.
    pub(crate) fn check_id(id: &str) -> Result<(), Error> {
        if id.len() > GROUP_ID_BYTES_MAX { Err(Error::InvalidGroup) } else { Ok(()) }
    }

    pub(crate) fn join(
        &mut self,
        group: &str,
        request: JoinRequest,
        token: Token,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let refuse = |error| Effect::Joined(token, Err((error, request.member.member_id.clone())));
        if group.is_empty() || Self::check_id(group).is_err() {
            out.push(refuse(Error::InvalidGroup));
            return;
        }
        if !(self.limits.session_min_ms..=self.limits.session_max_ms).contains(&request.session_timeout_ms) {
            out.push(refuse(Error::SessionTimeout));
            return;
        }
        if !self.groups.contains_key(group) {
            // A group of nobody comes into being only for a member that is new.
            if !request.member.member_id.is_empty() {
                out.push(refuse(Error::UnknownMember));
                return;
            }
            if self.is_full() {
                out.push(refuse(Error::TooManyGroups));
                return;
            }
        }
        let settings = self.limits.settings();
        let entry = self.groups.entry(group.to_owned()).or_insert_with(|| {
            self.lives += 1;
            Group::new(settings, self.lives, now.wall_ms)
        });
        entry.join(request, token, now, out);
        self.forget_idle(group);
    }

    pub(crate) fn sync(
        &mut self,
        group: &str,
        request: SyncRequest,
        token: Token,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        match self.groups.get_mut(group) {
            Some(group) => group.sync(request, token, now, out),
            None => out.push(Effect::Synced(token, Err(Error::UnknownMember))),
        }
    }

    pub(crate) fn stored(&mut self, group: &str, store: StoreId, ok: bool, now: Now, out: &mut Vec<Effect>) {
        if let Some(group) = self.groups.get_mut(group) {
            group.stored(store, ok, now, out);
        }
    }

    pub(crate) fn heartbeat(
        &mut self,
        group: &str,
        generation: &Generation,
        now: Millis,
    ) -> Result<(), Error> {
        self.groups.get_mut(group).ok_or(Error::UnknownMember)?.heartbeat(generation, now)
    }

    pub(crate) fn leave(
        &mut self,
        group: &str,
        who: &[(Identity, String)],
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Vec<Result<(), Error>> {
        let Some(known) = self.groups.get_mut(group) else {
            return who.iter().map(|_| Err(Error::UnknownMember)).collect();
        };
        let left = known.leave(who, now, out);
        self.forget_idle(group);
        left
    }

    pub(crate) fn may_commit(
        &mut self,
        group: &str,
        generation: &Generation,
        now: Millis,
    ) -> Result<(), Error> {
        match self.groups.get_mut(group) {
            Some(group) => group.may_commit(generation, now),
            None => {
                Self::check_id(group)?;
                // Nobody is in it: only those who assign partitions themselves commit to it.
                if generation.id < 0 { Ok(()) } else { Err(Error::IllegalGeneration) }
            }
        }
    }

    pub(crate) fn may_delete(&self, group: &str) -> Result<(), Error> {
        self.groups.get(group).map_or(Ok(()), Group::may_delete)
    }

    /// Forgets a group without members.
    pub(crate) fn forget(&mut self, group: &str) {
        self.groups.remove(group);
    }

    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        self.groups.values().filter_map(Group::next_deadline).min()
    }

    /// Lets time pass; effects come with the group that they are of.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Vec<(String, Vec<Effect>)>) {
        let due = |group: &Group| group.next_deadline().is_some_and(|deadline| deadline <= now.ms);
        let ids: Vec<_> =
            self.groups.iter().filter(|(_, group)| due(group)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            let mut effects = Vec::new();
            if let Some(group) = self.groups.get_mut(&id) {
                group.tick(now, &mut effects);
            }
            self.forget_idle(&id);
            out.push((id, effects));
        }
    }

    /// What a group without members has committed is not here, so nothing is lost.
    fn forget_idle(&mut self, group: &str) {
        if self.groups.get(group).is_some_and(Group::is_idle) {
            self.groups.remove(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::Protocol;
    use super::*;

    const LIMITS: Limits = Limits {
        session_min_ms: 1,
        session_max_ms: 100_000,
        initial_delay_ms: 0,
        members_max: 10,
        groups_max: 10,
        memory_bytes_max: 1 << 20,
    };
    const NOW: Now = Now { ms: 0, wall_ms: 1_700_000_000_000 };

    /// One member joins and brings its share, which is given to be stored under the id returned.
    fn begin(coordinator: &mut Coordinator, member_id: &str) -> StoreId {
        let request = JoinRequest {
            member: Identity::default(),
            new_member_id: member_id.to_owned(),
            id_required: false,
            may_skip: true,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 50_000,
            rebalance_timeout_ms: 50_000,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: "range".into(), metadata: Default::default() }],
            reason: "a test".into(),
            held: None,
        };
        let mut out = Vec::new();
        coordinator.join("g", request, 1, NOW, &mut out);
        let member = Identity { member_id: member_id.to_owned(), instance_id: None };
        let id = coordinator.group("g").unwrap().generation;
        let request = SyncRequest {
            generation: Generation { id, member },
            protocol_type: None,
            protocol: None,
            assignments: vec![(member_id.to_owned(), "share".into())],
            held: None,
        };
        coordinator.sync("g", request, 2, NOW.ms, &mut out);
        let store = out.iter().find_map(|effect| match effect {
            Effect::Store(store, _) => Some(*store),
            _ => None,
        });
        store.unwrap()
    }

    /// The disk takes its time for a group that is deleted meanwhile, and made anew.
    #[test]
    fn what_a_forgotten_group_had_stored_is_not_taken_for_what_the_next_one_has() {
        let mut coordinator = Coordinator::new(LIMITS);
        let first = begin(&mut coordinator, "a");
        let member = Identity { member_id: "a".into(), instance_id: None };
        let mut out = Vec::new();
        coordinator.leave("g", &[(member, "done".into())], NOW, &mut out);
        coordinator.may_delete("g").unwrap();
        coordinator.forget("g");
        let second = begin(&mut coordinator, "b");
        out.clear();
        coordinator.stored("g", first, true, NOW, &mut out);
        assert_eq!(out, [], "its own share is not durable yet");
        coordinator.stored("g", second, true, NOW, &mut out);
        assert!(matches!(&out[..], [Effect::Synced(2, Ok(_))]), "{out:?}");
    }
}
