//! What groups have committed, as the records of `__consumer_offsets` tell.

use super::offset_record::{OffsetKey, decode_value};
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
}

#[derive(Debug)]
struct Entry {
    committed: Committed,
    /// Where its record is: a later record wins, in whatever order they become durable.
    at: i64,
}

/// The committed offsets of all groups.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    groups: HashMap<Arc<str>, BTreeMap<TopicPartition, Entry>>,
}

impl Offsets {
    /// Applies a record of the log; `at` is its offset.
    pub(crate) fn apply(
        &mut self,
        at: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), crate::wire::Malformed> {
        let Some(key) = OffsetKey::decode(key.unwrap_or_default())? else { return Ok(()) };
        match value {
            Some(value) => {
                let committed = decode_value(value)?;
                self.insert(key, committed, at);
            }
            None => self.remove(&key, at),
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, key: OffsetKey, committed: Committed, at: i64) {
        let group = self.groups.entry(key.group).or_default();
        if group.get(&key.partition).is_none_or(|entry| entry.at < at) {
            group.insert(key.partition, Entry { committed, at });
        }
    }

    pub(super) fn remove(&mut self, key: &OffsetKey, at: i64) {
        let Some(group) = self.groups.get_mut(&key.group) else { return };
        if group.get(&key.partition).is_some_and(|entry| entry.at < at) {
            group.remove(&key.partition);
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
    use super::super::offset_record::encode_value;
    use super::*;

    #[test]
    fn the_later_record_wins_in_whatever_order_they_arrive() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let key = OffsetKey { group: "g".into(), partition: partition.clone() };
        let value =
            |offset| Committed { offset, leader_epoch: -1, metadata: String::new(), committed_at_ms: 0 };
        let mut offsets = Offsets::default();
        offsets.apply(5, Some(&key.encode()), Some(&encode_value(&value(50)))).unwrap();
        offsets.apply(4, Some(&key.encode()), Some(&encode_value(&value(40)))).unwrap();
        assert_eq!(offsets.get("g", &partition).unwrap().offset, 50);
        offsets.apply(6, Some(&key.encode()), None).unwrap();
        assert!(offsets.get("g", &partition).is_none());
        assert_eq!(offsets.groups().count(), 0);
    }
}
