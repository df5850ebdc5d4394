//! Keeps `__consumer_offsets` small: what counts is written again at the end of a log, and the log begins there.
//!
//! The old records are given up only when the new ones are durable. A crash at any moment leaves a log that tells
//! the same. (Kafka has the log cleaner for that, which this broker lacks.)

use super::group_record;
use super::offset_record::{self, OffsetKey};
use super::offset_store::{
    OffsetStore, RECORD_BYTES_MAX, Record, State, WriteError, append_all, partition_of,
};
use super::offsets::{Committed, TopicPartition};
use ringmain_engine::{Completion, CutError, Log, Offset};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// A log is rewritten when no more than one in so many of its records counts, or of its bytes.
const RECORDS_PER_LIVE_MIN: usize = 2;
/// Bytes of a log that is rewritten because of them, at least, and so many segments.
const BYTES_MIN: u64 = 32 << 20;
/// What comes before what counts in the same segment stays, and would be a reason again.
const SEGMENTS_MIN: u64 = 2;
/// What a record of a committed offset takes besides names and metadata.
const OFFSET_BYTES: usize = 40;

/// Why a log was not rewritten. It is as good as before.
#[derive(Debug, Error)]
pub(crate) enum RewriteError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("its start cannot be moved: {0}")]
    Cut(#[from] CutError),
}

impl OffsetStore {
    /// Rewrites the logs that have at least this many records, or many bytes, most of them void. Blocks. Returns how
    /// many it rewrote; the first that could not be does not hold up the others.
    pub(super) fn rewrite(&self, records_min: usize) -> Result<usize, RewriteError> {
        let logs = self.logs();
        let mut rewritten = 0;
        let mut first_err = None;
        for (number, log) in (0..).zip(&logs) {
            match self.rewrite_one(number, logs.len(), log, records_min) {
                Ok(done) => rewritten += usize::from(done),
                Err(err) => first_err = first_err.or(Some(err)),
            }
        }
        first_err.map_or(Ok(rewritten), Err)
    }

    fn rewrite_one(
        &self,
        number: i32,
        partitions: usize,
        log: &Arc<Log>,
        records_min: usize,
    ) -> Result<bool, RewriteError> {
        let Some((base, last)) = self.write_again(number, partitions, log, records_min)? else {
            return Ok(false);
        };
        last.wait().map_err(WriteError::from)?;
        log.advance_start(base)?;
        Ok(true)
    }

    /// Writes what counts again. Everything before the offset returned is void once the completion is done: it
    /// is that of the last record, and records become durable in their order.
    fn write_again(
        &self,
        number: i32,
        partitions: usize,
        log: &Arc<Log>,
        records_min: usize,
    ) -> Result<Option<(Offset, Completion)>, WriteError> {
        // Nothing is committed or forgotten meanwhile.
        let state = self.lock();
        let progress = log.progress();
        let records = usize::try_from(progress.written.0 - progress.start.0).unwrap_or(0);
        let bytes = log.size_bytes();
        let bytes_min = BYTES_MIN.max(SEGMENTS_MIN.saturating_mul(log.config().segment_bytes));
        let (many, large) = (records >= records_min.max(1), bytes > bytes_min);
        if !many && !large {
            return Ok(None);
        }
        let mut live = state.live(number, partitions);
        let live_bytes: usize = live.iter().map(Live::bytes).sum();
        let few_count = live.len() * RECORDS_PER_LIVE_MIN <= records;
        let little_counts = (live_bytes * RECORDS_PER_LIVE_MIN) as u64 <= bytes;
        if !(many && few_count || large && little_counts) {
            return Ok(None);
        }
        if live.is_empty() {
            // The new end needs a record to wait for: that there is no group without a name.
            live.push(Live::Group("", None));
        }
        // The largest first: if the log takes no such record any more, none is written in vain, again and again.
        let largest = (0..live.len()).max_by_key(|n| live[*n].bytes()).unwrap_or(0);
        live.swap(0, largest);
        let mut last = None;
        append_all(log, live.iter().map(Live::record), |_, appended| last = Some(appended.completion))?;
        Ok(last.map(|last| (progress.written, last)))
    }
}

/// What a record that counts is of.
enum Live<'a> {
    Offset(&'a Arc<str>, &'a TopicPartition, &'a Committed),
    Group(&'a str, Option<&'a Vec<u8>>),
}

impl Live<'_> {
    /// About what the record takes.
    fn bytes(&self) -> usize {
        let own = match self {
            Self::Offset(group, partition, committed) => {
                OFFSET_BYTES + group.len() + partition.topic.len() + committed.metadata.len()
            }
            Self::Group(group, value) => group.len() + value.map_or(0, Vec::len),
        };
        own + RECORD_BYTES_MAX
    }

    fn record(&self) -> Record {
        match *self {
            Self::Offset(group, partition, committed) => {
                let key = OffsetKey { group: Arc::clone(group), partition: partition.clone() };
                (key.encode(), Some(offset_record::encode_value(committed)))
            }
            Self::Group(group, value) => (group_record::encode_key(group), value.cloned()),
        }
    }
}

impl State {
    /// All that counts in a log: the last commit of each partition, and each group. A commit that is not durable yet
    /// is among them, since its first record is to be given up.
    fn live(&self, number: i32, partitions: usize) -> Vec<Live<'_>> {
        let own = |group: &str| partition_of(group, partitions) == number;
        let mut last = BTreeMap::new();
        for (group, partition, committed) in self.offsets.iter().filter(|(group, ..)| own(group)) {
            last.insert((group, partition), committed);
        }
        for one in self.pending.get(&number).into_iter().flat_map(|(_, queue)| queue) {
            last.insert((&one.key.group, &one.key.partition), &one.committed);
        }
        let offsets =
            last.into_iter().map(|((group, partition), committed)| Live::Offset(group, partition, committed));
        let groups = self.groups.iter().filter(|(group, _)| own(group));
        offsets.chain(groups.map(|(group, value)| Live::Group(group, Some(value)))).collect()
    }
}
