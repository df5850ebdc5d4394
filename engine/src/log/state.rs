//! What a checkpoint keeps of a log, so that the next start need not read what lies before it.

use super::Log;
use crate::epochs::Epochs;
use crate::index::IndexState;
use crate::offset::{LeaderEpoch, Offset};
use crate::producers::ProducerState;
use crate::segment::{IndexerState, MaxTimestamp, Segment};
use crate::watermark::Position;
use std::sync::{Arc, PoisonError};

/// A log at a batch boundary, with all that was built from the batches before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) number: u64,
    /// That of its directory; empty in a checkpoint of a store of format 2.
    pub(crate) name: String,
    pub(crate) start: Offset,
    /// Where the state is of. Everything before is on the medium once the checkpoint counts.
    pub(crate) end: Position,
    /// What must be there: beyond `end` only in a log whose damage was found and not mended.
    pub(crate) durable: Offset,
    /// What its next batch would have carried.
    pub(crate) leader_epoch: LeaderEpoch,
    /// Cuts that the journal tells of up to this entry are in the state.
    pub(crate) cut_sequence: u64,
    pub(crate) epochs: Epochs,
    pub(crate) indexer: IndexerState,
    pub(crate) segments: Vec<SegmentState>,
    pub(crate) producers: Vec<ProducerState>,
}

/// A segment in a [`LogState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentState {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    pub(crate) max_timestamp: Option<MaxTimestamp>,
    /// Of the first batch; none if there is no batch, or it was not kept.
    pub(crate) first_crc: Option<u32>,
    pub(crate) index: IndexState,
}

impl SegmentState {
    pub(super) fn of(segment: &Segment) -> Self {
        let extent = segment.extent();
        Self {
            base: segment.base,
            end: extent.end,
            bytes: extent.size_bytes,
            max_timestamp: extent.max_timestamp,
            first_crc: extent.first_crc,
            index: segment.index.state(),
        }
    }
}

impl Log {
    /// The state of now, and whether it differs from what the last checkpoint has; and the generation of
    /// the watermarks. Waits for an append or a cut that is under way.
    pub(crate) fn capture(&self) -> (Arc<LogState>, bool, u64) {
        let appender = self.lock_appender();
        let (end, generation) = self.watermarks.written();
        let start = self.progress().start;
        let known = self.checkpointed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let segments = self.segment_list();
        if self.quarantine.is_some()
            && let Some(known) = &known
        {
            // Nothing changes in it, and what it must have is what it had.
            return (Arc::clone(known), false, generation);
        }
        if let Some(known) = known.filter(|known| {
            known.end.offset == end.offset
                && known.start == start
                && known.cut_sequence == appender.cut_sequence
                && known.leader_epoch == appender.leader_epoch
                && known.segments.len() == segments.len()
                // Indexes get files when a store is closed.
                && known.segments.last().map(|last| last.index) == segments.last().map(|last| last.index.state())
        }) {
            return (known, false, generation);
        }
        let durable = self.quarantine.as_ref().map_or(end.offset, |damage| damage.durable);
        let state = LogState {
            number: self.number,
            name: self.name.clone(),
            start,
            end,
            durable,
            leader_epoch: appender.leader_epoch,
            cut_sequence: appender.cut_sequence,
            epochs: appender.epochs.clone(),
            indexer: appender.indexer.state(),
            segments: segments.iter().map(|segment| SegmentState::of(segment)).collect(),
            producers: appender.producers.states(),
        };
        (Arc::new(state), true, generation)
    }

    /// What the last checkpoint has of it.
    pub(crate) fn checkpointed_end(&self) -> Offset {
        let known = self.checkpointed.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map_or(Offset::ZERO, |state| state.end.offset)
    }

    /// A checkpoint with this state counts, unless the log was cut since the state was taken.
    pub(crate) fn set_checkpointed(&self, state: Arc<LogState>, generation: u64) {
        let _appender = self.lock_appender();
        if self.watermarks.written().1 == generation {
            *self.checkpointed.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        }
    }

    /// After a cut: what is synced from now on begins at the beginning.
    pub(super) fn forget_checkpoint(&self) {
        *self.checkpointed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
