//! A store: a directory of logs that share one journal, one lock and one fate.

mod create;
mod delete;
mod logs;
mod open;
pub(crate) mod version;

use crate::checkpoint::{Keeper, KeeperThread, StoreCore};
use crate::error::{OpenError, StoreFailed};
use crate::io::{BoundedIo, Io, IoMode, Locked, OpenMode, backend};
use crate::journal::{BLOCKS_PER_CUT, Committer, Journal, JournalStats, JournalThread, Limits};
use crate::log::{Log, LogConfig};
use crate::offset::LeaderEpoch;
use crate::sync::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

pub(crate) use delete::TOGETHER as DELETED_TOGETHER;
pub(crate) use version::{FILE as VERSION_FILE, JournalFacts, StoreFile};

/// There after a clean stop only.
pub(crate) const CLEAN_FILE: &str = "clean-shutdown";
/// Locked while a process has the store open.
const LOCK_FILE: &str = "lock";
/// Directories that a crash may leave half made or half removed begin so.
const CREATING: &str = ".creating-";
pub(crate) const DELETED: &str = ".deleted-";
/// What else is in a store's directory.
const RESERVED: [&str; 7] = [
    version::FILE,
    CLEAN_FILE,
    LOCK_FILE,
    crate::checkpoint::FILE,
    crate::journal::files::DIR,
    "checkpoint.tmp",
    "ringmain-store.tmp",
];

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// How I/O is done; found out by a probe if not given.
    pub io_mode: Option<IoMode>,
    /// Configuration that logs have unless they are given their own.
    pub log: LogConfig,
    /// Files that stay open at most, beside some for the journal and those in use. Segments beyond it are closed once they are synced, and
    /// opened when they are used. Appends to more segments than this between two checkpoints are refused for a
    /// while ([`crate::AppendError::Unopened`]).
    pub open_files_max: usize,
    /// Syncs that run at once where the backend can.
    pub sync_depth: u32,
    /// Size of each file of the journal, in bytes; the files are made when they are first needed.
    pub journal_file_bytes: u64,
    /// Files of the journal at most. When all are full, appends that ask for durability wait for a checkpoint.
    pub journal_files_max: usize,
    /// The largest journal entry, in bytes: what one durable write holds.
    pub journal_entry_bytes_max: usize,
    /// A log with more than so many bytes to be made durable has its segments synced instead of being
    /// written to the journal.
    pub journal_range_bytes_max: u64,
    /// Journal entries under way at once.
    pub journal_writes_max: usize,
    /// A checkpoint is made when so many bytes were appended since the last.
    pub checkpoint_bytes: u64,
    /// A checkpoint is made when the oldest append since the last is so old, in milliseconds.
    pub checkpoint_age_ms: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            io_mode: None,
            log: LogConfig::default(),
            open_files_max: usize::MAX,
            sync_depth: 64,
            journal_file_bytes: 32 << 20,
            journal_files_max: 8,
            journal_entry_bytes_max: 4 << 20,
            journal_range_bytes_max: 1 << 20,
            journal_writes_max: 4,
            checkpoint_bytes: 256 << 20,
            checkpoint_age_ms: 10_000,
        }
    }
}

/// A directory of logs. Dropped without [`Store::close`] it counts as crashed: the next opening puts back
/// what the journal holds and looks at what came after the last checkpoint.
#[derive(Debug)]
pub struct Store {
    core: Arc<StoreCore>,
    io_mode: IoMode,
    clean: bool,
    /// No batch of this store had a higher epoch when it was opened.
    epoch_floor: LeaderEpoch,
    /// The next log's number; durably taken up to the one in the store's file.
    next_number: Mutex<u64>,
    creating: create::Creating,
    /// There until the store is dropped.
    threads: Option<(KeeperThread, JournalThread)>,
    _lock: Box<dyn Locked>,
}

impl Drop for Store {
    fn drop(&mut self) {
        // Handles of logs may outlive the store, and another process may open it now.
        self.core.journal.fate.close();
        let logs = self.logs();
        logs.iter().for_each(|log| log.finish_append());
        self.threads = None;
        self.core.journal.end();
        logs.iter().for_each(|log| log.watermarks.wake_all());
    }
}

impl Store {
    /// Opens the store in `dir`, which is made if it is not there, and all logs in it.
    ///
    /// After an unclean stop the journal is put back, the tails of logs are checked and cut, and the
    /// leader epoch is raised, durably, above every epoch in the store: offsets that were lost may be given
    /// out again.
    ///
    /// # Errors
    /// The directory is in use, holds something else, was written by a later version, is damaged where
    /// nothing can replace it, or cannot be read or written.
    pub fn open(dir: impl Into<PathBuf>, config: StoreConfig) -> Result<Self, OpenError> {
        let io_mode = config.io_mode.unwrap_or_else(IoMode::detect);
        Self::open_with(dir.into(), within_bounds(config), io_mode, backend(io_mode), true)
    }

    /// Without threads, who waits does the work of the journal.
    pub(crate) fn open_with(
        dir: PathBuf,
        config: StoreConfig,
        io_mode: IoMode,
        io: Arc<dyn Io>,
        threads: bool,
    ) -> Result<Self, OpenError> {
        let mut config = config;
        // What direct I/O is aligned to, at least.
        config.journal_file_bytes = config.journal_file_bytes.next_multiple_of(4096).max(4096);
        let io = match config.open_files_max {
            usize::MAX => io,
            open_max => Arc::new(BoundedIo::new(io, open_max)),
        };
        let opened = open::open(&dir, &config, &io)?;
        let journal = Arc::new(Journal::default());
        let served = |source| OpenError::io("served by a thread", &dir)(source);
        let committer = Committer::new(&*io, limits(&config), opened.epoch, opened.next_sequence);
        let mut committer = committer.map_err(served)?;
        let store_file = Arc::new(StoreFile::new(&io, &dir, opened.version));
        let files = opened.files.len();
        opened.files.into_iter().for_each(|(file, bytes)| committer.add_file(file, bytes));
        let (depth, epoch) = (config.sync_depth.max(1), opened.epoch);
        let file_bytes = config.journal_file_bytes;
        let keeper = Keeper::new(&*io, depth, epoch, file_bytes, files, config.journal_files_max);
        let keeper = keeper.map_err(served)?;
        let creating = create::Creating::new(&*io).map_err(served)?;
        let mut logs = BTreeMap::new();
        let epoch_floor = opened.version.epoch_floor;
        for found in opened.logs {
            let names = (found.name.clone(), found.number, found.id);
            let shared = (Arc::clone(&io), Arc::clone(&journal), Arc::clone(&store_file));
            let log = found.files.into_log(names, config.log, epoch_floor, shared);
            log.set_checkpointed(found.state, 0);
            logs.insert(found.name, Arc::new(log));
        }
        let core = Arc::new(StoreCore {
            dir: dir.clone(),
            io,
            logs: RwLock::new(logs),
            changing: Mutex::new(()),
            journal,
            file: store_file,
            keeper: Mutex::new(keeper),
            checkpoint_bytes: config.checkpoint_bytes,
            checkpoint_age: Duration::from_millis(config.checkpoint_age_ms),
        });
        let threads = if threads {
            Some((core.start().map_err(served)?, core.journal.start(committer).map_err(served)?))
        } else {
            core.journal.start_manual(committer, Arc::downgrade(&core));
            None
        };
        let (clean, next_number) = (opened.clean, Mutex::new(opened.next_number));
        Ok(Self { core, io_mode, clean, epoch_floor, next_number, creating, threads, _lock: opened.lock })
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn core(&self) -> &StoreCore {
        &self.core
    }

    /// How I/O is done.
    #[must_use]
    pub fn io_mode(&self) -> IoMode {
        self.io_mode
    }

    /// Whether the store was stopped cleanly before (or is new).
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// The least epoch that new batches carry.
    #[must_use]
    pub fn epoch_floor(&self) -> LeaderEpoch {
        self.epoch_floor
    }

    /// The failure after which the store takes no more writes, if there was one.
    #[must_use]
    pub fn failure(&self) -> Option<StoreFailed> {
        self.core.journal.fate.failure()
    }

    /// What the journal did since the store was opened.
    #[must_use]
    pub fn journal_stats(&self) -> JournalStats {
        self.core.journal.stats()
    }

    /// The log of this name.
    #[must_use]
    pub fn log(&self, name: &str) -> Option<Arc<Log>> {
        self.core.logs.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All logs, in no order.
    #[must_use]
    pub fn logs(&self) -> Vec<Arc<Log>> {
        self.core.logs.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A failed sync of a directory ends all writing, as that of a file does.
    fn sync_own_dir(&self) -> io::Result<()> {
        let dir = &self.core.dir;
        self.core.io.sync_dir(dir).map_err(|err| {
            io::Error::other(self.core.journal.fail(format!("syncing {}", dir.display()), err))
        })
    }

    /// Refuses appends and deletions from now on, makes everything durable and leaves the mark of a clean stop, so
    /// that the next opening is quick.
    ///
    /// # Errors
    /// Something could not be made durable; the mark is not set then.
    pub fn close(&self) -> io::Result<()> {
        let core = &self.core;
        core.journal.fate.close();
        let logs = self.logs();
        for log in &logs {
            log.finish_append();
        }
        self.refuse_failed()?;
        for log in &logs {
            for segment in log.segment_list().iter() {
                segment.index.close()?;
                segment.sync_index();
            }
        }
        core.checkpoint(true)?;
        self.refuse_failed()?;
        core.io.open(&core.dir.join(CLEAN_FILE), OpenMode::Any)?.sync_data()?;
        core.io.sync_dir(&core.dir)
    }

    /// A store that failed is checked at the next opening, whatever its logs say.
    fn refuse_failed(&self) -> io::Result<()> {
        self.failure().map_or(Ok(()), |failed| Err(io::Error::other(failed)))
    }
}

/// What the directory of a log in the store `dir` becomes while the log is deleted.
pub(crate) fn deleted_dir(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{DELETED}{number}"))
}

/// Removes the files in a log's directory, and leaves the directory.
fn empty_dir(io: &dyn Io, dir: &Path) -> io::Result<()> {
    io.list(dir)?.iter().try_for_each(|name| io.remove(&dir.join(name)))
}

/// Whole blocks of any device, and room for the notes of a cut in the quarter of a file that is kept for them.
fn within_bounds(mut config: StoreConfig) -> StoreConfig {
    let least = 4 * BLOCKS_PER_CUT * 4096;
    config.journal_file_bytes = config.journal_file_bytes.max(least).next_multiple_of(4096);
    config.journal_files_max = config.journal_files_max.max(1);
    config
}

fn limits(config: &StoreConfig) -> Limits {
    Limits {
        entry_bytes_max: config.journal_entry_bytes_max.max(4096),
        range_bytes_max: config.journal_range_bytes_max,
        writes_max: config.journal_writes_max.max(1),
        syncs_max: config.sync_depth.max(1) as usize,
        files_max: config.journal_files_max.max(1),
    }
}

#[cfg(test)]
mod tests;
