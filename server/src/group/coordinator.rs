//! All groups together: the same pure machine, group by group.

use super::machine::{Effect, Error, Generation, Group, JoinRequest, Millis, SyncRequest, Token};
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
}

#[derive(Debug)]
pub(crate) struct Coordinator {
    limits: Limits,
    groups: HashMap<String, Group>,
}

impl Coordinator {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, groups: HashMap::new() }
    }

    pub(crate) fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&String, &Group)> {
        self.groups.iter()
    }

    pub(crate) fn join(
        &mut self,
        group: &str,
        request: JoinRequest,
        token: Token,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let refuse = |error| Effect::Joined(token, Err((error, request.member_id.clone())));
        if group.is_empty() || group.len() > GROUP_ID_BYTES_MAX {
            out.push(refuse(Error::InvalidGroup));
            return;
        }
        if !(self.limits.session_min_ms..=self.limits.session_max_ms).contains(&request.session_timeout_ms) {
            out.push(refuse(Error::SessionTimeout));
            return;
        }
        if !self.groups.contains_key(group) {
            // A group of nobody comes into being only for a member that is new.
            if !request.member_id.is_empty() {
                out.push(refuse(Error::UnknownMember));
                return;
            }
            if self.groups.len() >= self.limits.groups_max {
                out.push(refuse(Error::TooManyGroups));
                return;
            }
        }
        let (delay, max) = (self.limits.initial_delay_ms, self.limits.members_max);
        let entry = self.groups.entry(group.to_owned()).or_insert_with(|| Group::new(delay, max));
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
        member_id: &str,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        let left = self.groups.get_mut(group).ok_or(Error::UnknownMember)?.leave(member_id, now, out);
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
            // Nobody is in it: only those who assign partitions themselves commit to it.
            None if group.is_empty() || group.len() > GROUP_ID_BYTES_MAX => Err(Error::InvalidGroup),
            None if generation.id < 0 => Ok(()),
            None => Err(Error::UnknownMember),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        self.groups.values().filter_map(Group::next_deadline).min()
    }

    pub(crate) fn tick(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let due = |group: &Group| group.next_deadline().is_some_and(|deadline| deadline <= now);
        let ids: Vec<_> =
            self.groups.iter().filter(|(_, group)| due(group)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                group.tick(now, out);
            }
            self.forget_idle(&id);
        }
    }

    /// What a group without members has committed is not here, so nothing is lost.
    fn forget_idle(&mut self, group: &str) {
        if self.groups.get(group).is_some_and(Group::is_idle) {
            self.groups.remove(group);
        }
    }
}
