//! Keeps `__consumer_offsets` small: what counts is written again at the end of a log, and the log begins there.
//!
//! The old records are given up only when the new ones are durable. A crash at any moment leaves a log that tells
//! the same. (Kafka has the log cleaner for that, which this broker lacks.)

use super::group_record;
use super::offset_record::{self, OffsetKey};
use super::offset_store::{OffsetStore, State, WriteError, append_all, partition_of};
use ringmain_engine::{Completion, CutError, Log, Offset};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// A log is rewritten when no more than one in so many of its records counts.
const RECORDS_PER_LIVE_MIN: usize = 2;

/// Why a log was not rewritten. It is as good as before.
#[derive(Debug, Error)]
pub(crate) enum RewriteError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("its start cannot be moved: {0}")]
    Cut(#[from] CutError),
}

impl OffsetStore {
    /// Rewrites the logs that have at least this many records, most of them void. Blocks. Returns how many it
    /// rewrote.
    pub(super) fn rewrite(&self, records_min: usize) -> Result<usize, RewriteError> {
        let logs = self.logs();
        let mut rewritten = 0;
        for (number, log) in (0..).zip(&logs) {
            if let Some((base, last)) = self.write_again(number, logs.len(), log, records_min)? {
                last.wait().map_err(WriteError::from)?;
                log.advance_start(base)?;
                rewritten += 1;
            }
        }
        Ok(rewritten)
    }

    /// Writes what counts again. Everything before the offset returned is void once the completion is done: it
    /// is that of the last record, and records become durable in their order.
    pub(super) fn write_again(
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
        if records < records_min.max(1) {
            return Ok(None);
        }
        let mut live = state.live(number, partitions);
        if live.len() * RECORDS_PER_LIVE_MIN > records {
            return Ok(None);
        }
        if live.is_empty() {
            // The new end needs a record to wait for: that there is no group without a name.
            live.push((group_record::encode_key(""), None));
        }
        let mut last = None;
        append_all(log, live.into_iter(), |_, appended| last = Some(appended.completion))
            .map_err(WriteError::from)?;
        Ok(last.map(|last| (progress.written, last)))
    }
}

impl State {
    /// The records of all that counts in a log: the last commit of each partition, and each group. A commit that
    /// is not durable yet is among them, since its first record is to be given up.
    fn live(&self, number: i32, partitions: usize) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let own = |group: &str| partition_of(group, partitions) == number;
        let mut last = BTreeMap::new();
        for (group, partition, committed) in self.offsets.iter().filter(|(group, ..)| own(group)) {
            last.insert((group, partition), committed);
        }
        for one in self.pending.get(&number).into_iter().flat_map(|(_, queue)| queue) {
            last.insert((&one.key.group, &one.key.partition), &one.committed);
        }
        let offsets = last.into_iter().map(|((group, partition), committed)| {
            let key = OffsetKey { group: Arc::clone(group), partition: partition.clone() };
            (key.encode(), Some(offset_record::encode_value(committed)))
        });
        let groups = self.groups.iter().filter(|(group, _)| own(group));
        let groups = groups.map(|(group, value)| (group_record::encode_key(group), Some(value.clone())));
        offsets.chain(groups).collect()
    }
}
