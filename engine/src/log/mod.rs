//! A log: segments in a directory, one appender at a time, any number of readers.

mod append;
mod open;
mod read;
mod wait;

pub use append::Appended;
pub(crate) use open::{LogFiles, segment_base};
pub use read::{ReadBound, Slice};
pub use wait::{Completion, WaitError};

use crate::epochs::Epochs;
use crate::error::StoreFailed;
use crate::io::Io;
use crate::offset::{LeaderEpoch, Offset};
use crate::producers::Producers;
use crate::segment::{Indexer, Segment};
use crate::sync::Syncer;
use crate::watermark::{Progress, Watermarks};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

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
            batch_bytes_max: (1 << 20) + 12,
            producers_max: 10_000,
        }
    }
}

/// A log of record batches. Made by [`crate::Store::create_log`], shared by all who use it.
pub struct Log {
    pub(crate) name: String,
    pub(crate) id: LogId,
    pub(crate) dir: PathBuf,
    pub(crate) io: Arc<dyn Io>,
    pub(crate) syncer: Arc<Syncer>,
    pub(crate) watermarks: Watermarks,
    config: RwLock<LogConfig>,
    segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    appender: Mutex<Appender>,
    /// Set while the log waits for the syncing thread.
    pub(crate) sync_queued: AtomicBool,
    /// Set when a file was made since the directory was last synced.
    pub(crate) dir_changed: AtomicBool,
    deleted: AtomicBool,
}

/// What only the one who appends touches.
#[derive(Debug)]
struct Appender {
    next_offset: Offset,
    leader_epoch: LeaderEpoch,
    epochs: Epochs,
    producers: Producers,
    indexer: Indexer,
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
    pub fn raise_leader_epoch(&self, epoch: LeaderEpoch) {
        let mut appender = self.lock_appender();
        appender.leader_epoch = appender.leader_epoch.max(epoch);
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
        self.syncer.failure()
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
            segment.index.retire();
        }
        self.watermarks.wake_all();
    }

    pub(crate) fn segment_list(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_appender(&self) -> MutexGuard<'_, Appender> {
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
