//! Staying in a group, leaving it, and being removed from it.

use super::{Effect, Error, Generation, Group, GroupState, Identity, Millis, Now};

impl Group {
    pub(crate) fn heartbeat(&mut self, generation: &Generation, now: Millis) -> Result<(), Error> {
        self.check(generation)?;
        self.heard_of(&generation.member.member_id, now);
        match self.state {
            GroupState::Empty => Err(Error::UnknownMember),
            GroupState::PreparingRebalance => Err(Error::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    fn heard_of(&mut self, member_id: &str, now: Millis) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.expires = now + member.session_timeout_ms;
        }
    }

    /// Members leave, with their reasons; the others share out anew once. A static member may be named by its
    /// instance id alone.
    pub(crate) fn leave(
        &mut self,
        who: &[(Identity, String)],
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Vec<Result<(), Error>> {
        let mut left = Vec::new();
        let mut outcomes = Vec::with_capacity(who.len());
        for (one, reason) in who {
            let named = one.instance_id.as_ref().and_then(|id| self.instances.get(id)).cloned();
            let id = if one.member_id.is_empty() {
                named.ok_or(Error::UnknownMember)
            } else if self.expected.contains_key(&one.member_id) {
                Ok(one.member_id.clone())
            } else {
                self.identify(one).map(|()| one.member_id.clone())
            };
            outcomes.push(id.map(|id| {
                if self.drop_member(&id, out) {
                    left.push(format!("{id}: {reason}"));
                }
            }));
        }
        if left.is_empty() {
            self.try_complete(now, out);
        } else {
            self.rebalance(format!("members leave: {}", left.join(", ")), now, out);
        }
        outcomes
    }

    /// Removes a member, if there is one, and has the others share out anew.
    pub(super) fn expel(&mut self, id: &str, why: &str, now: Now, out: &mut Vec<Effect>) {
        if self.drop_member(id, out) {
            self.rebalance(format!("member {id} is removed: {why}"), now, out);
        } else {
            self.try_complete(now, out);
        }
    }

    /// Says whether a member went: one that is only expected is none yet.
    fn drop_member(&mut self, id: &str, out: &mut Vec<Effect>) -> bool {
        self.expected.remove(id);
        self.give_up_returned(id, Error::UnknownMember, out);
        let Some(member) = self.members.remove(id) else { return false };
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        let gone = || (Error::UnknownMember, String::new());
        out.extend(member.joining.map(|token| Effect::Joined(token, Err(gone()))));
        out.extend(member.syncing.map(|token| Effect::Synced(token, Err(Error::UnknownMember))));
        true
    }

    /// Whether a member may commit offsets now. A group without members takes commits of anyone who
    /// claims no generation (consumers that assign partitions themselves).
    pub(crate) fn may_commit(&mut self, generation: &Generation, now: Millis) -> Result<(), Error> {
        if generation.id < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        self.check(generation)?;
        self.heard_of(&generation.member.member_id, now);
        match self.state {
            // Before a rebalance members commit what they have done; during it they have nothing.
            GroupState::CompletingRebalance => Err(Error::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// When [`Group::tick`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        let ends = |member: &super::Member| {
            if member.is_waiting() {
                member.new_until.filter(|_| member.joining.is_some())
            } else {
                Some(member.expires)
            }
        };
        let members = self.members.values().filter_map(ends);
        members.chain(self.expected.values().map(|one| one.lapses)).chain(self.deadline).min()
    }

    /// Removes who has not been heard of, and ends a rebalance whose time is over.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Vec<Effect>) {
        let lapsed = self.expected.len();
        self.expected.retain(|_, one| one.lapses > now.ms);
        if self.expected.len() < lapsed {
            self.try_complete(now, out);
        }
        let silent = |member: &super::Member| {
            if member.joining.is_some() {
                member.new_until.is_some_and(|until| until <= now.ms)
            } else {
                member.syncing.is_none() && member.expires <= now.ms
            }
        };
        let dead: Vec<_> = self.members.iter().filter(|(_, m)| silent(m)).map(|(id, _)| id.clone()).collect();
        for id in dead {
            self.expel(&id, "it was not heard of in time", now, out);
        }
        if self.deadline.is_none_or(|deadline| deadline > now.ms) {
            return;
        }
        match self.state {
            GroupState::PreparingRebalance => self.end_wait(now, out),
            GroupState::CompletingRebalance | GroupState::Stable => {
                // Those who did not ask for their share in time are gone.
                let late = self.members.iter().filter(|(_, member)| !member.synced);
                let late: Vec<_> = late.map(|(id, _)| id.clone()).collect();
                self.deadline = None;
                for id in &late {
                    self.drop_member(id, out);
                }
                // With none of them late it is the leader's store that takes its time.
                if !late.is_empty() {
                    self.rebalance(format!("members asked for no share: {}", late.join(", ")), now, out);
                }
            }
            GroupState::Empty => self.deadline = None,
        }
    }

    /// A rebalance has waited long enough, but for a first one to which members keep coming.
    fn end_wait(&mut self, now: Now, out: &mut Vec<Effect>) {
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.grown && hold.left_ms > 0) {
            let more = self.settings.initial_delay_ms.min(hold.left_ms);
            hold.left_ms -= more;
            hold.grown = false;
            self.deadline = Some(now.ms + more);
            return;
        }
        self.complete(now, out);
    }

    /// Whether it may be forgotten with all that it has committed.
    pub(crate) fn may_delete(&self) -> Result<(), Error> {
        if self.state == GroupState::Empty { Ok(()) } else { Err(Error::NotEmpty) }
    }
}
