//! What groups have committed, as the records of `__consumer_offsets` tell.

use super::offset_record::OffsetKey;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A partition of a topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TopicPartition {
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    /// The epoch of the last record consumed, or -1.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) committed_at_ms: i64,
    /// When it lapses, if the one who committed it said so (OffsetCommit up to version 4).
    pub(crate) expires_at_ms: Option<i64>,
}

#[derive(Debug)]
struct Entry {
    committed: Committed,
    /// Where its record is: a later record wins, in whatever order they become durable.
    at: i64,
}

/// What a committed offset takes besides names and metadata, about: itself, its place in a map, and what the allocator
/// adds to each text.
const ENTRY_BYTES: usize = 256;

/// What a committed offset takes in memory.
pub(super) fn bytes(group: &str, partition: &TopicPartition, committed: &Committed) -> usize {
    ENTRY_BYTES + group.len() + partition.topic.len() + committed.metadata.len()
}

/// The committed offsets of all groups.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    groups: HashMap<Arc<str>, BTreeMap<TopicPartition, Entry>>,
    /// What they take.
    bytes: usize,
}

impl Offsets {
    pub(super) fn insert(&mut self, key: OffsetKey, committed: Committed, at: i64) {
        let own = self.groups.entry(Arc::clone(&key.group)).or_default();
        if own.get(&key.partition).is_some_and(|entry| entry.at >= at) {
            return;
        }
        self.bytes += bytes(&key.group, &key.partition, &committed);
        if let Some(before) = own.get(&key.partition) {
            self.bytes -= bytes(&key.group, &key.partition, &before.committed);
        }
        own.insert(key.partition, Entry { committed, at });
    }

    /// What all of them take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn remove(&mut self, key: &OffsetKey, at: i64) {
        let Some(group) = self.groups.get_mut(&key.group) else { return };
        if group.get(&key.partition).is_some_and(|entry| entry.at < at)
            && let Some(gone) = group.remove(&key.partition)
        {
            self.bytes -= bytes(&key.group, &key.partition, &gone.committed);
        }
        if group.is_empty() {
            self.groups.remove(&key.group);
        }
    }

    pub(crate) fn get(&self, group: &str, partition: &TopicPartition) -> Option<&Committed> {
        self.groups.get(group)?.get(partition).map(|entry| &entry.committed)
    }

    /// All that a group has committed, by topic and partition.
    pub(crate) fn of_group(&self, group: &str) -> Vec<(TopicPartition, Committed)> {
        let entries = self.groups.get(group).into_iter().flatten();
        entries.map(|(partition, entry)| (partition.clone(), entry.committed.clone())).collect()
    }

    /// Groups that have committed something.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(|group| &**group)
    }

    pub(super) fn groups_count(&self) -> usize {
        self.groups.len()
    }

    /// Whether a group has committed anything.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// Everything: group, partition, what was committed.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &TopicPartition, &Committed)> {
        let groups = self.groups.iter();
        groups.flat_map(|(group, entries)| {
            entries.iter().map(move |(partition, entry)| (group, partition, &entry.committed))
        })
    }

    /// The keys of all that was committed for a topic.
    pub(super) fn of_topic(&self, topic: &str) -> Vec<OffsetKey> {
        let keys = self.groups.iter().flat_map(|(group, entries)| {
            let own = entries.keys().filter(|partition| partition.topic == topic);
            own.map(|partition| OffsetKey { group: Arc::clone(group), partition: partition.clone() })
        });
        keys.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_record_wins_in_whatever_order_they_arrive() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let key = OffsetKey { group: "g".into(), partition: partition.clone() };
        let value = |offset| Committed {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            committed_at_ms: 0,
            expires_at_ms: None,
        };
        let mut offsets = Offsets::default();
        offsets.insert(key.clone(), value(50), 5);
        offsets.insert(key.clone(), value(40), 4);
        assert_eq!(offsets.get("g", &partition).unwrap().offset, 50);
        assert_eq!(offsets.bytes(), ENTRY_BYTES + 2);
        let said = Committed { metadata: "said".into(), ..value(55) };
        offsets.insert(key.clone(), said, 5);
        assert_eq!(offsets.bytes(), ENTRY_BYTES + 2);
        let said = Committed { metadata: "said".into(), ..value(55) };
        offsets.insert(key.clone(), said, 6);
        assert_eq!(offsets.bytes(), ENTRY_BYTES + 6);
        offsets.remove(&key, 6);
        assert_eq!(offsets.bytes(), ENTRY_BYTES + 6);
        offsets.remove(&key, 7);
        assert_eq!(offsets.bytes(), 0);
        assert!(offsets.get("g", &partition).is_none());
        assert_eq!(offsets.groups().count(), 0);
    }
}
