//! Getting one's share: the leader's are stored first, then everybody gets theirs.

use super::memory::together;
use super::{Effect, Error, Group, GroupState, Millis, Now, StoreId, SyncRequest, Synced, Token};

impl Group {
    pub(crate) fn sync(&mut self, request: SyncRequest, token: Token, now: Millis, out: &mut Vec<Effect>) {
        if let Err(error) = self.may_sync(&request) {
            out.push(Effect::Synced(token, Err(error)));
            return;
        }
        let bytes = request.shares_bytes();
        let id = request.generation.member.member_id;
        let Some(member) = self.members.get_mut(&id) else { return };
        member.expires = now + member.session_timeout_ms;
        member.synced = true;
        if self.state == GroupState::Stable {
            let synced = self.synced(&id);
            out.push(Effect::Synced(token, Ok(synced)));
            self.all_synced();
            return;
        }
        if let Some(earlier) = member.syncing.replace(token) {
            out.push(Effect::Synced(earlier, Err(Error::UnknownMember)));
        }
        if self.takes_shares_of(&id) {
            let known = |id: &String| self.members.contains_key(id);
            let shares = request.assignments.into_iter().filter(|(id, _)| known(id)).collect();
            let store = self.store(&shares, out);
            self.storing = Some((store, shares));
            self.shares_held = together(self.shares_held.take(), request.held, bytes);
        }
    }

    fn may_sync(&self, request: &SyncRequest) -> Result<(), Error> {
        self.check(&request.generation)?;
        let differs = |said: &Option<String>, own: &String| said.as_ref().is_some_and(|said| said != own);
        match self.state {
            GroupState::Empty => Err(Error::UnknownMember),
            GroupState::PreparingRebalance => Err(Error::RebalanceInProgress),
            _ if differs(&request.protocol_type, &self.protocol_type)
                || differs(&request.protocol, &self.protocol) =>
            {
                Err(Error::InconsistentProtocol)
            }
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    /// Nobody is waited for any more once all have asked for their shares.
    fn all_synced(&mut self) {
        if self.state == GroupState::Stable && self.members.values().all(|member| member.synced) {
            self.deadline = None;
        }
    }

    /// What was given to be stored is durable, or could not be made so.
    pub(crate) fn stored(&mut self, store: StoreId, ok: bool, now: Now, out: &mut Vec<Effect>) {
        if self.returned.contains_key(&store) {
            self.returned(store, ok, now, out);
            return;
        }
        let Some((_, shares)) = self.storing.take_if(|(storing, _)| *storing == store) else { return };
        if !ok {
            for member in self.members.values_mut() {
                member.expires = now.ms + member.session_timeout_ms;
                let token = member.syncing.take();
                out.extend(token.map(|token| Effect::Synced(token, Err(Error::NotStored))));
            }
            self.rebalance("the shares could not be stored".into(), now, out);
            return;
        }
        for (id, assignment) in shares {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.enter(GroupState::Stable, now);
        for member in self.members.values_mut() {
            if let Some(token) = member.syncing.take() {
                member.expires = now.ms + member.session_timeout_ms;
                let (protocol_type, protocol) = (self.protocol_type.clone(), self.protocol.clone());
                let assignment = member.assignment.clone();
                out.push(Effect::Synced(token, Ok(Synced { protocol_type, protocol, assignment })));
            }
        }
        self.all_synced();
    }
}
