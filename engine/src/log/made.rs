//! What is made of a log's files once they were looked at: its state for a checkpoint, and the log itself.

use super::{Appender, Log, LogConfig, LogFiles, LogId, LogState, SegmentState};
use crate::io::Io;
use crate::journal::Journal;
use crate::offset::LeaderEpoch;
use crate::store::StoreFile;
use crate::sync::atomic::AtomicBool;
use crate::sync::{Mutex, RwLock};
use crate::watermark::{Position, Watermarks};
use std::sync::Arc;

impl LogFiles {
    fn end_position(&self) -> Position {
        let last = self.segments.last();
        let (segment, bytes) = last.map_or((self.end, 0), |last| (last.base, last.extent().size_bytes));
        Position { offset: self.end, segment, bytes }
    }

    /// What the next batch carries.
    fn epoch(&self, floor: LeaderEpoch) -> LeaderEpoch {
        self.epochs.latest().unwrap_or_default().max(floor).max(self.leader_epoch)
    }

    /// For a checkpoint.
    pub(crate) fn state(&self, name: &str, number: u64, floor: LeaderEpoch) -> LogState {
        if let Some(foreign) = &self.foreign {
            return foreign.clone();
        }
        LogState {
            number,
            name: name.to_owned(),
            start: self.start,
            end: self.end_position(),
            durable: self.quarantine.as_ref().map_or(self.end, |damage| damage.durable),
            leader_epoch: self.epoch(floor),
            cut_sequence: self.cut_sequence,
            epochs: self.epochs.clone(),
            indexer: self.indexer.state(),
            segments: self.segments.iter().map(|segment| SegmentState::of(segment)).collect(),
            producers: self.producers.states(),
        }
    }

    /// The log, ready for use.
    pub(crate) fn into_log(
        self,
        (name, number, id): (String, u64, LogId),
        config: LogConfig,
        leader_epoch: LeaderEpoch,
        (io, journal, store_file): (Arc<dyn Io>, Arc<Journal>, Arc<StoreFile>),
    ) -> Log {
        let leader_epoch = self.epoch(leader_epoch);
        let end = self.end_position();
        Log {
            name,
            id,
            number,
            dir: self.dir,
            io,
            journal,
            store_file,
            watermarks: Watermarks::recovered(self.start, end),
            config: RwLock::new(config),
            segments: RwLock::new(Arc::new(self.segments)),
            appender: Mutex::new(Appender {
                next_offset: self.end,
                leader_epoch,
                epochs: self.epochs,
                producers: self.producers,
                indexer: self.indexer,
                cut_sequence: self.cut_sequence,
            }),
            queued: AtomicBool::new(false),
            syncing: AtomicBool::new(false),
            sync_wanted: AtomicBool::new(false),
            sync_ended: crate::sync::Event::new(),
            reading: Mutex::new(()),
            dir_changed: AtomicBool::new(false),
            checkpointed: Mutex::new(None),
            quarantine: self.quarantine,
            deleted: AtomicBool::new(false),
        }
    }
}
