//! Committed offsets with the topic that keeps them: commits are appended here, and forgotten here.

use super::offset_record::{OffsetKey, encode_value};
use super::offsets::{Committed, Offsets, TopicPartition};
use crate::clock::now_ms;
use crate::metadata::{Catalog, OFFSETS_TOPIC};
use crate::replay::{ReplayError, replay};
use ringmain_engine::{AppendError, Appended, BatchBuilder, Completion, Durability, Log, WaitError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// Why offsets were not written.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    #[error("{OFFSETS_TOPIC} does not exist")]
    NoTopic,
    #[error("{OFFSETS_TOPIC} cannot be written: {0}")]
    Append(#[from] AppendError),
    #[error("{OFFSETS_TOPIC} cannot be made durable: {0}")]
    Durable(#[from] WaitError),
}

#[derive(Debug, Default)]
struct State {
    offsets: Offsets,
    /// Appended and not durable yet: not to be told, and not to be missed by a deletion.
    pending: Vec<(OffsetKey, i64)>,
}

/// What groups have committed.
#[derive(Debug)]
pub(crate) struct OffsetStore {
    catalog: Arc<Catalog>,
    /// Held while records are appended, so that a deletion comes before a commit or after it.
    state: Mutex<State>,
}

/// A commit that was appended; it counts once it is durable.
pub(super) struct Commit {
    base: i64,
    offsets: Vec<(OffsetKey, Committed)>,
    pub(super) completion: Option<Completion>,
}

impl OffsetStore {
    /// Reads what was committed before.
    pub(crate) fn open(catalog: Arc<Catalog>) -> Result<Self, ReplayError> {
        let mut state = State::default();
        for partition in catalog.topic(OFFSETS_TOPIC).iter().flat_map(|topic| &topic.partitions) {
            replay(&partition.log, |record| {
                let applied = state.offsets.apply(record.offset.0, record.key, record.value);
                applied.map_err(|err| err.to_string())
            })?;
        }
        Ok(Self { catalog, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what was committed.
    pub(crate) fn with_offsets<T>(&self, look: impl FnOnce(&Offsets) -> T) -> T {
        look(&self.lock().offsets)
    }

    /// Appends a commit. Partitions of topics that are gone by now are left out.
    pub(super) fn begin(
        &self,
        group: &str,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<Commit, WriteError> {
        let mut state = self.lock();
        let there = |partition: &TopicPartition| self.catalog.topic(&partition.topic).is_some();
        let group: Arc<str> = group.into();
        let offsets: Vec<_> = offsets
            .into_iter()
            .filter(|(partition, _)| there(partition))
            .map(|(partition, committed)| (OffsetKey { group: Arc::clone(&group), partition }, committed))
            .collect();
        if offsets.is_empty() {
            return Ok(Commit { base: 0, offsets, completion: None });
        }
        let records = offsets.iter().map(|(key, committed)| (key.encode(), Some(encode_value(committed))));
        let appended = append(&self.log_of(&group)?, records)?;
        let base = appended.base_offset.0;
        state.pending.extend(offsets.iter().zip(base..).map(|((key, _), at)| (key.clone(), at)));
        Ok(Commit { base, offsets, completion: Some(appended.completion) })
    }

    /// Ends a commit, which counts if it became durable.
    pub(super) fn end(&self, commit: Commit, durable: bool) {
        let mut state = self.lock();
        for ((key, committed), at) in commit.offsets.into_iter().zip(commit.base..) {
            let pending = state.pending.iter().position(|one| *one == (key.clone(), at));
            // A deletion in between has taken it away.
            if let Some(pending) = pending {
                state.pending.swap_remove(pending);
                if durable {
                    state.offsets.insert(key, committed, at);
                }
            }
        }
    }

    /// Forgets, durably, what was committed for a topic that was deleted. Blocks.
    pub(crate) fn forget_topic(&self, topic: &str) -> Result<(), WriteError> {
        let mut waiting = Vec::new();
        {
            let mut state = self.lock();
            let mut keys = state.offsets.of_topic(topic);
            keys.extend(
                state.pending.iter().map(|(key, _)| key.clone()).filter(|key| key.partition.topic == topic),
            );
            for key in keys {
                let appended = append(&self.log_of(&key.group)?, std::iter::once((key.encode(), None)))?;
                state.offsets.remove(&key, appended.base_offset.0);
                waiting.push(appended.completion);
            }
            state.pending.retain(|(key, _)| key.partition.topic != topic);
        }
        waiting.iter().try_for_each(|completion| Ok(completion.wait()?))
    }

    /// The log that keeps what a group commits.
    fn log_of(&self, group: &str) -> Result<Arc<Log>, WriteError> {
        let topic = self.catalog.topic(OFFSETS_TOPIC).ok_or(WriteError::NoTopic)?;
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let partition = topic.partition((java_hash(group) & i32::MAX) % count).ok_or(WriteError::NoTopic)?;
        Ok(Arc::clone(&partition.log))
    }
}

/// Appends records as one batch.
fn append(
    log: &Arc<Log>,
    records: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
) -> Result<Appended, AppendError> {
    let mut builder = BatchBuilder::new();
    let now = now_ms();
    let bytes_max = log.config().batch_bytes_max;
    for (key, value) in records {
        builder.push(now, Some(&key), value.as_deref());
        if builder.size_bytes() > bytes_max {
            return Err(AppendError::TooLarge { size_bytes: builder.size_bytes(), max_bytes: bytes_max });
        }
    }
    let mut batch = builder.finish().ok_or(AppendError::Empty)?;
    log.append(&mut batch, Durability::Durable)
}

/// `String.hashCode` of Java: which partition keeps a group is part of the format.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::java_hash;

    #[test]
    fn the_hash_is_javas() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("hello"), 99_162_322);
        assert_eq!(java_hash("ünï"), 'ü' as i32 * 961 + 'n' as i32 * 31 + 'ï' as i32);
    }
}
