//! A log: segments in a directory, one appender at a time, any number of readers.

mod append;
#[cfg(any(test, feature = "sim"))]
mod built;
mod cut;
mod files;
mod made;
mod open;
mod prove;
mod read;
mod state;
mod suspect;
mod sync;
mod wait;

pub use append::Appended;
pub(crate) use files::{is_intact, segment_base};
pub(crate) use open::{Known, LogFiles, Quarantine};
pub(crate) use prove::prove;
pub use read::{ReadBound, Slice};
pub(crate) use state::{LogState, SegmentState};
pub use wait::{Completion, WaitError};

use crate::epochs::Epochs;
use crate::error::{RaiseEpochError, StoreFailed};
use crate::io::Io;
use crate::journal::Journal;
use crate::offset::{LeaderEpoch, Offset};
use crate::producers::{ActiveProducer, Producers};
use crate::segment::{Indexer, Segment};
use crate::store::StoreFile;
use crate::sync::Event;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, RwLock};
use crate::watermark::{Progress, Range, Watermarks};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

/// Names a log for ever: a log deleted and created again under the same name has another id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// What can be set for each log. The names in comments are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is closed before it grows beyond this. At most 2^31-1.
    pub segment_bytes: u64,
    /// `index.interval.bytes`: an index entry every so many bytes.
    pub index_interval_bytes: u64,
    /// `segment.index.bytes`: the largest size of an index file.
    pub index_bytes_max: usize,
    /// Entries of each index of the segment that grows that are in memory alone, before it gets a file. After a crash
    /// what has no file is built again from the batches.
    pub index_memory_entries_max: usize,
    /// `max.message.bytes`: the largest batch, its header included.
    pub batch_bytes_max: usize,
    /// How many idempotent producers a log remembers.
    pub producers_max: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            index_interval_bytes: 4096,
            index_bytes_max: 10 << 20,
            index_memory_entries_max: 64,
            batch_bytes_max: (1 << 20) + 12,
            producers_max: 10_000,
        }
    }
}

/// A log of record batches. Made by [`crate::Store::create_log`], shared by all who use it.
pub struct Log {
    pub(crate) name: String,
    pub(crate) id: LogId,
    /// What the journal calls it; no other log of the store ever has it.
    pub(crate) number: u64,
    pub(crate) dir: PathBuf,
    pub(crate) io: Arc<dyn Io>,
    pub(crate) journal: Arc<Journal>,
    store_file: Arc<StoreFile>,
    pub(crate) watermarks: Watermarks,
    config: RwLock<LogConfig>,
    segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    appender: Mutex<Appender>,
    /// Set while the log waits for the journal's thread.
    pub(crate) queued: AtomicBool,
    /// Set while someone syncs its segments: see [`Log::begin_sync`].
    syncing: AtomicBool,
    sync_wanted: AtomicBool,
    sync_ended: Event,
    /// Held while its segments are read for the journal, and while they are cut.
    pub(crate) reading: Mutex<()>,
    /// Set when a file was made since the directory was last synced.
    dir_changed: AtomicBool,
    /// As the last checkpoint has it.
    checkpointed: Mutex<Option<Arc<LogState>>>,
    quarantine: Option<Quarantine>,
    deleted: AtomicBool,
}

/// Whole batches of one segment.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) segment: Arc<Segment>,
    pub(crate) position: u64,
    pub(crate) len: u64,
    pub(crate) offset: Offset,
    pub(crate) end: Offset,
}

/// What only the one who appends touches.
#[derive(Debug)]
struct Appender {
    next_offset: Offset,
    leader_epoch: LeaderEpoch,
    epochs: Epochs,
    producers: Producers,
    indexer: Indexer,
    /// The journal's entry that says where it was cut last.
    cut_sequence: u64,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Log {
    /// The name it was created with: that of its directory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.watermarks.progress()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> LogConfig {
        *self.config.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the configuration; it holds from the next append on.
    pub fn set_config(&self, config: LogConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The epoch that the next batch will carry.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.lock_appender().leader_epoch
    }

    /// Raises the epoch that batches carry from now on. A lower one is ignored: epochs never fall.
    /// When it returns, it is durable that the epoch was given out: should a crash take its batches, the next
    /// start gives out a higher one.
    ///
    /// # Errors
    /// The store failed, or cannot keep the epoch, which is not raised then.
    pub fn raise_leader_epoch(&self, epoch: LeaderEpoch) -> Result<(), RaiseEpochError> {
        if let Some(failed) = self.failure() {
            return Err(failed.into());
        }
        self.store_file
            .change(|version| version.epoch_ceiling = version.epoch_ceiling.max(epoch))
            .map_err(|source| RaiseEpochError::Io { epoch, source })?;
        let mut appender = self.lock_appender();
        appender.leader_epoch = appender.leader_epoch.max(epoch);
        Ok(())
    }

    /// The latest epoch that is not after `asked`, and where it ends: at the first batch of a later one, or at
    /// the end of the log if that is the epoch it is in. `None` for an epoch that it has not come to. (KIP-101.)
    #[must_use]
    pub fn end_of_epoch(&self, asked: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let appender = self.lock_appender();
        if asked == appender.leader_epoch {
            return Some((asked, appender.next_offset));
        }
        appender.epochs.end_of(asked, appender.leader_epoch, appender.next_offset)
    }

    /// The idempotent producers that it remembers, in no order.
    #[must_use]
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.lock_appender().producers.active()
    }

    /// Bytes of all segments, indexes not counted.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segment_list().iter().map(|segment| segment.extent().size_bytes).sum()
    }

    /// Whether the log was deleted. Readers who still have it read on.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// A failure after which the store takes no more writes.
    #[must_use]
    pub fn failure(&self) -> Option<StoreFailed> {
        self.journal.fate.failure()
    }

    /// Waits for an append that is under way.
    pub(crate) fn finish_append(&self) {
        drop(self.lock_appender());
    }

    pub(crate) fn mark_deleted(&self) {
        // Under the appender's lock: no append is under way or begins after it.
        let _appender = self.lock_appender();
        self.deleted.store(true, Ordering::Release);
        for segment in self.segment_list().iter() {
            segment.retire();
        }
        self.watermarks.wake_all();
    }

    /// The places of a range in the segments, in order.
    pub(crate) fn pieces(&self, range: &Range) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(1);
        for segment in self.segment_list().iter() {
            if segment.base < range.from.segment || segment.base > range.to.segment {
                continue;
            }
            let first = segment.base == range.from.segment;
            let (position, offset) =
                if first { (range.from.bytes, range.from.offset) } else { (0, segment.base) };
            let (bytes, end) = if segment.base == range.to.segment {
                (range.to.bytes, range.to.offset)
            } else {
                let extent = segment.extent();
                (extent.size_bytes, extent.end)
            };
            if position < bytes {
                let segment = Arc::clone(segment);
                pieces.push(Piece { segment, position, len: bytes - position, offset, end });
            }
        }
        pieces
    }

    pub(crate) fn segment_list(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_appender(&self) -> MutexGuard<'_, Appender> {
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
