//! What groups have committed, and the groups themselves, with the topic that keeps them: all is appended here.

use super::group_record;
use super::machine::GroupRecord;
use super::offset_record::{self, OffsetKey};
use super::offsets::{self, Committed, Offsets, TopicPartition};
use crate::clock::{monotonic_ms, now_ms};
use crate::line_budget::LineBudget;
use crate::metadata::{Catalog, OFFSETS_TOPIC};
use crate::replay::{ReplayError, replay};
use crate::wire::{Cursor, Malformed};
use ringmain_engine::{
    AppendError, Appended, BatchBuilder, Completion, Durability, HEADER_BYTES, Log, WaitError,
};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// Why nothing was written.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    #[error("{OFFSETS_TOPIC} does not exist")]
    NoTopic,
    #[error("{OFFSETS_TOPIC} cannot be written: {0}")]
    Append(#[from] AppendError),
    #[error("{OFFSETS_TOPIC} cannot be made durable: {0}")]
    Durable(#[from] WaitError),
}

/// A commit that was appended and is not durable yet: not to be told, and not to be missed by who forgets.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: OffsetKey,
    pub(super) committed: Committed,
    pub(super) at: i64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) offsets: Offsets,
    /// The value of each group's last record.
    pub(super) groups: HashMap<Arc<str>, Vec<u8>>,
    /// Groups that are kept and have committed something.
    both: usize,
    /// By partition of the internal topic, in the order of its log.
    pub(super) pending: BTreeMap<i32, (Arc<Log>, VecDeque<Pending>)>,
    /// What these take in memory.
    pending_bytes: usize,
}

/// What groups have committed.
#[derive(Debug)]
pub(crate) struct OffsetStore {
    catalog: Arc<Catalog>,
    /// Held while records are appended, so that what forgets comes before a commit or after it.
    state: Mutex<State>,
    /// Lines on commits that find no memory.
    refusals: LineBudget,
}

/// A commit that was appended; it counts once it is durable.
pub(super) struct Commit {
    partition: i32,
    offsets: std::ops::Range<i64>,
    pub(super) completion: Option<Completion>,
    /// What was left out, since there is no memory for it.
    pub(super) refused: Vec<TopicPartition>,
}

impl Pending {
    fn bytes(&self) -> usize {
        offsets::bytes(&self.key.group, &self.key.partition, &self.committed)
    }
}

impl State {
    /// What became durable counts from here on. A later commit may be asked for before the one who made an earlier
    /// one hears of it, so this goes by the log and not by who waits.
    pub(super) fn settle(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|_, (log, queue)| {
            let durable = log.progress().durable.0;
            while queue.front().is_some_and(|first| first.at < durable) {
                if let Some(one) = queue.pop_front() {
                    self.pending_bytes -= one.bytes();
                    let Pending { key, committed, at } = one;
                    self.insert(key, committed, at);
                }
            }
            !queue.is_empty()
        });
        self.pending = pending;
    }

    /// Gives up commits that are not durable yet, of one partition of the internal topic or of all.
    pub(super) fn give_up(&mut self, partition: Option<i32>, gone: impl Fn(&Pending) -> bool) {
        let queues =
            self.pending.iter_mut().filter(|(own, _)| partition.is_none_or(|partition| partition == **own));
        for (_, (_, queue)) in queues {
            queue.retain(|one| {
                let gone = gone(one);
                if gone {
                    self.pending_bytes -= one.bytes();
                }
                !gone
            });
        }
    }

    /// Takes away what there is no memory for: what a partition has committed may be replaced by what takes no more.
    fn refuse(&self, offsets: &mut Vec<(OffsetKey, Committed)>, bytes_max: usize) -> Vec<TopicPartition> {
        let mut taken = self.offsets.bytes() + self.pending_bytes;
        let mut refused = Vec::new();
        offsets.retain(|(key, committed)| {
            let bytes_of = |committed| offsets::bytes(&key.group, &key.partition, committed);
            let bytes = bytes_of(committed);
            let before = self.offsets.get(&key.group, &key.partition).map(bytes_of);
            let fits = taken + bytes <= bytes_max;
            if fits {
                taken += bytes;
            } else if before.is_none_or(|before| before < bytes) {
                refused.push(key.partition.clone());
                return false;
            }
            true
        });
        refused
    }

    /// Groups that have committed something and are not kept themselves: nobody was ever in them, or they are new.
    fn only_committed(&self) -> usize {
        self.offsets.groups_count().saturating_sub(self.both)
    }

    /// Does something with a group, and counts it anew.
    fn counted<T>(&mut self, group: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let is_both = |state: &Self| state.offsets.has_group(group) && state.groups.contains_key(group);
        let before = is_both(self);
        let done = work(self);
        self.both = (self.both + usize::from(is_both(self))).saturating_sub(usize::from(before));
        done
    }

    fn insert(&mut self, key: OffsetKey, committed: Committed, at: i64) {
        let group = Arc::clone(&key.group);
        self.counted(&group, |state| state.offsets.insert(key, committed, at));
    }

    pub(super) fn remove(&mut self, key: &OffsetKey, at: i64) {
        self.counted(&key.group, |state| state.offsets.remove(key, at));
    }

    /// Keeps a group as this value says, or no more.
    pub(super) fn keep(&mut self, group: &str, value: Option<Vec<u8>>) {
        self.counted(group, |state| match value {
            Some(value) => drop(state.groups.insert(group.into(), value)),
            None => drop(state.groups.remove(group)),
        });
    }

    /// The keys of commits that are not durable yet.
    pub(super) fn pending_keys(&self) -> impl Iterator<Item = &OffsetKey> {
        self.pending.values().flat_map(|(_, queue)| queue.iter().map(|one| &one.key))
    }

    /// Applies a record of the log; `at` is its offset.
    fn apply(&mut self, at: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(key.unwrap_or_default());
        match cursor.i16()? {
            0 | 1 => {
                let key = OffsetKey::decode(&mut cursor)?;
                match value {
                    Some(value) => self.insert(key, offset_record::decode_value(value)?, at),
                    None => self.remove(&key, at),
                }
            }
            group_record::KEY_VERSION => {
                let group = group_record::decode_key(&mut cursor)?;
                if let Some(value) = value {
                    // What cannot be read later is refused now.
                    group_record::decode_value(value)?;
                }
                self.keep(&group, value.map(<[u8]>::to_owned));
            }
            // Kafka keeps more in the same topic.
            _ => {}
        }
        Ok(())
    }
}

impl OffsetStore {
    /// Reads what was committed before.
    pub(crate) fn open(catalog: Arc<Catalog>) -> Result<Self, ReplayError> {
        let mut state = State::default();
        for partition in catalog.topic(OFFSETS_TOPIC).iter().flat_map(|topic| &topic.partitions) {
            replay(&partition.log, |record| {
                let applied = state.apply(record.offset.0, record.key, record.value);
                applied.map_err(|err| err.to_string())
            })?;
        }
        Ok(Self { catalog, state: Mutex::new(state), refusals: LineBudget::default() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what was committed.
    pub(crate) fn with_offsets<T>(&self, look: impl FnOnce(&Offsets) -> T) -> T {
        let mut state = self.lock();
        state.settle();
        look(&state.offsets)
    }

    /// Whether a group that nobody is in may commit: it has before, or there are fewer such groups than this, with
    /// those whose first commit is under way.
    pub(super) fn has_room_for(&self, group: &str, only_committed_max: usize) -> bool {
        let mut state = self.lock();
        state.settle();
        if state.offsets.has_group(group) {
            return true;
        }
        let is_new = |group: &str| !state.offsets.has_group(group) && !state.groups.contains_key(group);
        let begun: HashSet<&str> =
            state.pending_keys().map(|key| &*key.group).filter(|group| is_new(group)).collect();
        begun.contains(group) || state.only_committed() + begun.len() < only_committed_max
    }

    /// The groups that were kept.
    pub(super) fn kept_groups(&self) -> Vec<(String, GroupRecord)> {
        let state = self.lock();
        let groups = state.groups.iter();
        let read = groups.map(|(id, kept)| Ok((id.to_string(), group_record::decode_value(kept)?)));
        // They could be read when the log was replayed.
        read.collect::<Result<_, Malformed>>().unwrap_or_default()
    }

    /// Appends a commit. Partitions of topics that are gone by now are left out, and those that there is no memory for.
    pub(super) fn begin(
        &self,
        group: &str,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<Commit, WriteError> {
        let mut state = self.lock();
        let there = |partition: &TopicPartition| self.catalog.topic(&partition.topic).is_some();
        let group: Arc<str> = group.into();
        let mut offsets: Vec<_> = offsets
            .into_iter()
            .filter(|(partition, _)| there(partition))
            .map(|(partition, committed)| (OffsetKey { group: Arc::clone(&group), partition }, committed))
            .collect();
        let (partition, log) = self.log_of(&group)?;
        state.settle();
        let refused = state.refuse(&mut offsets, self.catalog.config().offsets_memory_bytes_max);
        self.tell_refused(&group, refused.len());
        if offsets.is_empty() {
            return Ok(Commit { partition, offsets: 0..0, completion: None, refused });
        }
        let value = |committed| Some(offset_record::encode_value(committed));
        let records = offsets.iter().map(|(key, committed)| (key.encode(), value(committed)));
        let appended = append(&log, records)?;
        let base = appended.base_offset.0;
        let end = base + offsets.len() as i64;
        let (_, queue) = state.pending.entry(partition).or_insert_with(|| (log, VecDeque::new()));
        let pending = offsets.into_iter().zip(base..);
        let before = queue.len();
        queue.extend(pending.map(|((key, committed), at)| Pending { key, committed, at }));
        let bytes: usize = queue.range(before..).map(Pending::bytes).sum();
        state.pending_bytes += bytes;
        Ok(Commit { partition, offsets: base..end, completion: Some(appended.completion), refused })
    }

    fn tell_refused(&self, group: &str, count: usize) {
        if count > 0
            && let Some(left_out) = self.refusals.take(monotonic_ms())
        {
            tracing::warn!(
                group,
                left_out,
                "refused: offsets of {count} partitions, for which offsets.memory.max.bytes leaves no room"
            );
        }
    }

    /// Ends a commit, which counts if it became durable.
    pub(super) fn end(&self, commit: &Commit, durable: bool) {
        let mut state = self.lock();
        state.settle();
        if !durable {
            state.give_up(Some(commit.partition), |one| commit.offsets.contains(&one.at));
        }
    }

    /// Keeps a group as it is.
    pub(super) fn keep_group(&self, group: &str, record: &GroupRecord) -> Result<Completion, WriteError> {
        let mut state = self.lock();
        let (_, log) = self.log_of(group)?;
        let value = group_record::encode_value(record);
        let one = (group_record::encode_key(group), Some(value.clone()));
        let appended = append(&log, std::iter::once(one))?;
        state.keep(group, Some(value));
        Ok(appended.completion)
    }

    /// The logs of the internal topic, if it exists.
    pub(super) fn logs(&self) -> Vec<Arc<Log>> {
        let topic = self.catalog.topic(OFFSETS_TOPIC);
        topic.iter().flat_map(|topic| &topic.partitions).map(|one| Arc::clone(&one.log)).collect()
    }

    /// The log that keeps what a group commits, with its number.
    pub(super) fn log_of(&self, group: &str) -> Result<(i32, Arc<Log>), WriteError> {
        let topic = self.catalog.topic(OFFSETS_TOPIC).ok_or(WriteError::NoTopic)?;
        let number = partition_of(group, topic.partitions.len());
        let partition = topic.partition(number).ok_or(WriteError::NoTopic)?;
        Ok((number, Arc::clone(&partition.log)))
    }
}

/// A record of the internal topic: key and value. Without one the key is void.
pub(super) type Record = (Vec<u8>, Option<Vec<u8>>);

/// Records that need not be in one batch are put into batches of about this size, but no larger than the log takes.
const BATCH_BYTES: usize = 1 << 20;
/// The most that a record takes in a batch besides its key and value: six numbers of up to five bytes.
pub(super) const RECORD_BYTES_MAX: usize = 30;

/// Appends records as several batches, if there are many, and tells of each how many records it has.
pub(super) fn append_all(
    log: &Arc<Log>,
    records: impl Iterator<Item = Record>,
    mut appended: impl FnMut(usize, Appended),
) -> Result<(), AppendError> {
    let bytes_max = BATCH_BYTES.min(log.config().batch_bytes_max);
    let mut rest = records.peekable();
    while rest.peek().is_some() {
        let mut batch = Vec::new();
        let mut bytes = HEADER_BYTES;
        let size = |(key, value): &Record| key.len() + value.as_ref().map_or(0, Vec::len) + RECORD_BYTES_MAX;
        // A record that is larger by itself goes alone.
        while let Some(one) = rest.next_if(|one| batch.is_empty() || bytes + size(one) <= bytes_max) {
            bytes += size(&one);
            batch.push(one);
        }
        appended(batch.len(), append(log, batch.into_iter())?);
    }
    Ok(())
}

/// Appends records as one batch.
fn append(log: &Arc<Log>, records: impl Iterator<Item = Record>) -> Result<Appended, AppendError> {
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

/// Which partition keeps a group: part of the format.
pub(super) fn partition_of(group: &str, partitions: usize) -> i32 {
    (java_hash(group) & i32::MAX) % i32::try_from(partitions).unwrap_or(i32::MAX).max(1)
}

/// `String.hashCode` of Java.
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
