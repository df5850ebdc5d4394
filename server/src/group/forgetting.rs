//! Forgetting what groups have committed, and groups: each key is written once more, without a value.

use super::group_record;
use super::offset_record::OffsetKey;
use super::offset_store::{OffsetStore, State, WriteError, append_all};
use super::offsets::{Committed, TopicPartition};
use ringmain_engine::Completion;
use std::collections::HashSet;

impl State {
    /// These keys, and those of commits that are not durable yet and match.
    fn with_pending(&self, mut keys: Vec<OffsetKey>, wanted: impl Fn(&OffsetKey) -> bool) -> Vec<OffsetKey> {
        keys.extend(self.pending_keys().filter(|key| wanted(key)).cloned());
        keys.sort_by(|a, b| (&a.group, &a.partition).cmp(&(&b.group, &b.partition)));
        keys.dedup();
        keys
    }

    /// Takes away what was committed before these records, durable or not.
    fn forget<'a>(&mut self, keys: impl Iterator<Item = (&'a OffsetKey, i64)>) {
        let mut gone = HashSet::new();
        for (key, at) in keys {
            self.remove(key, at);
            gone.insert(key);
        }
        self.give_up(None, |one| gone.contains(&one.key));
    }
}

impl OffsetStore {
    /// Forgets some of what a group has committed; `None` if there is none of it.
    pub(super) fn forget_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Option<Completion>, WriteError> {
        let mut state = self.lock();
        state.settle();
        let asked: HashSet<_> = partitions.iter().collect();
        let known = asked.iter().filter(|one| state.offsets.get(group, one).is_some());
        let known = known.map(|one| OffsetKey { group: group.into(), partition: (*one).clone() }).collect();
        let wanted = |key: &OffsetKey| &*key.group == group && asked.contains(&key.partition);
        let keys = state.with_pending(known, wanted);
        self.bury_one(&mut state, group, &keys, false)
    }

    /// Forgets what has lapsed of what a group has committed, and the group if `unused` and nothing is left. Says
    /// whether the group is forgotten. All under one lock: what is committed meanwhile is not lost.
    pub(super) fn forget_lapsed(
        &self,
        group: &str,
        unused: bool,
        lapses: impl Fn(&TopicPartition, &Committed) -> bool,
    ) -> Result<bool, WriteError> {
        let mut state = self.lock();
        state.settle();
        let pending: HashSet<_> = state.pending_keys().filter(|key| &*key.group == group).cloned().collect();
        let (mut keys, mut left) = (Vec::new(), pending.len());
        for (partition, committed) in state.offsets.of_group(group) {
            let lapses = lapses(&partition, &committed);
            let key = OffsetKey { group: group.into(), partition };
            // One that is just committed anew stays.
            if lapses && !pending.contains(&key) {
                keys.push(key);
            } else {
                left += 1;
            }
        }
        if !keys.is_empty() {
            tracing::info!(group, offsets = keys.len(), "committed offsets lapse");
        }
        let group_too = unused && left == 0;
        let kept = group_too && state.groups.contains_key(group);
        self.bury_one(&mut state, group, &keys, kept)?;
        Ok(group_too)
    }

    /// Forgets a group with all that it has committed; `None` if nothing is kept of it.
    pub(super) fn forget_group(&self, group: &str) -> Result<Option<Completion>, WriteError> {
        let mut state = self.lock();
        state.settle();
        let known = state.offsets.of_group(group).into_iter();
        let known = known.map(|(partition, _)| OffsetKey { group: group.into(), partition }).collect();
        let keys = state.with_pending(known, |key| &*key.group == group);
        let kept = state.groups.contains_key(group);
        self.bury_one(&mut state, group, &keys, kept)
    }

    /// Forgets, durably, what was committed for a topic that was deleted. Blocks.
    pub(crate) fn forget_topic(&self, topic: &str) -> Result<(), WriteError> {
        let mut begun = Vec::new();
        let buried = {
            let mut state = self.lock();
            state.settle();
            let known = state.offsets.of_topic(topic);
            let keys = state.with_pending(known, |key| key.partition.topic == topic);
            let mut groups = keys.chunk_by(|a, b| a.group == b.group);
            groups.try_for_each(|own| match own.first() {
                Some(first) => self.bury(&mut state, &first.group, own, false, &mut begun),
                None => Ok(()),
            })
        };
        // Also if some could not be written: who tries again finds no more of what was, and would not wait for it.
        begun.iter().try_for_each(|completion| completion.wait())?;
        buried
    }

    /// The same for who waits for the last only: what is durable in a log is so after all before it.
    fn bury_one(
        &self,
        state: &mut State,
        group: &str,
        keys: &[OffsetKey],
        group_too: bool,
    ) -> Result<Option<Completion>, WriteError> {
        let mut begun = Vec::new();
        self.bury(state, group, keys, group_too, &mut begun)?;
        Ok(begun.pop())
    }

    /// Appends that these keys of a group are gone, and the group itself at last. What was appended is forgotten,
    /// though not all could be.
    fn bury(
        &self,
        state: &mut State,
        group: &str,
        keys: &[OffsetKey],
        group_too: bool,
        begun: &mut Vec<Completion>,
    ) -> Result<(), WriteError> {
        if keys.is_empty() && !group_too {
            return Ok(());
        }
        let (_, log) = self.log_of(group)?;
        let own = group_too.then(|| (group_record::encode_key(group), None));
        let mut rest = keys.iter();
        append_all(&log, keys.iter().map(|key| (key.encode(), None)).chain(own), |records, appended| {
            state.forget(rest.by_ref().take(records).zip(appended.base_offset.0..));
            begun.push(appended.completion);
        })?;
        if group_too {
            state.keep(group, None);
        }
        Ok(())
    }
}
