//! A store: a directory of logs that share one syncing thread, one lock and one fate.

use crate::error::{CreateError, DeleteError, OpenError, StoreFailed};
use crate::io::{Io, IoMode, OpenMode, backend, read_file, replace_file};
use crate::log::{Log, LogConfig, LogFiles, LogId};
use crate::offset::LeaderEpoch;
use crate::partition_metadata;
use crate::recovery_points::{self, RecoveryPoints};
use crate::sync::{SyncThread, Syncer};
use crate::watermark::Durability;
use nix::fcntl::{Flock, FlockArg};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The file that makes a directory a store.
pub(crate) const VERSION_FILE: &str = "ringmain-store";
/// The format of the store that this version writes, and the only one that it reads.
const FORMAT: u32 = 1;
/// There after a clean stop only.
const CLEAN_FILE: &str = "clean-shutdown";
/// Locked while a process has the store open.
const LOCK_FILE: &str = "lock";
/// Directories that a crash may leave half made or half removed begin so.
const CREATING: &str = ".creating-";
const DELETED: &str = ".deleted-";

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// How I/O is done; found out by a probe if not given.
    pub io_mode: Option<IoMode>,
    /// Configuration that logs have unless they are given their own.
    pub log: LogConfig,
    /// Syncs that run at once where the backend can.
    pub sync_depth: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { io_mode: None, log: LogConfig::default(), sync_depth: 64 }
    }
}

/// A directory of logs. Dropped without [`Store::close`] it counts as crashed, which costs a check
/// of every log at the next opening and loses nothing that was acknowledged.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    io: Arc<dyn Io>,
    io_mode: IoMode,
    clean: bool,
    /// No batch of this store had a higher epoch when it was opened.
    epoch_floor: LeaderEpoch,
    logs: RwLock<HashMap<String, Arc<Log>>>,
    /// Held while directories are made and removed.
    changing: Mutex<()>,
    syncer: Arc<Syncer>,
    /// There until the store is dropped.
    thread: Option<SyncThread>,
    _lock: Flock<File>,
}

impl Drop for Store {
    fn drop(&mut self) {
        // Handles of logs may outlive the store, and another process may open it now.
        self.syncer.close();
        let logs = self.logs();
        logs.iter().for_each(|log| log.finish_append());
        self.thread = None;
        self.syncer.end();
        logs.iter().for_each(|log| log.watermarks.wake_all());
    }
}

impl Store {
    /// Opens the store in `dir`, which is made if it is not there, and all logs in it.
    ///
    /// After an unclean stop the tails of logs are checked and cut, and the leader epoch is raised,
    /// durably, above every epoch in the store: offsets that were lost may be given out again.
    ///
    /// # Errors
    /// The directory is in use, holds something else, was written by a later version, or cannot be
    /// read or written.
    pub fn open(dir: impl Into<PathBuf>, config: StoreConfig) -> Result<Self, OpenError> {
        let io_mode = config.io_mode.unwrap_or_else(IoMode::detect);
        Self::open_with(dir.into(), config, io_mode, backend(io_mode))
    }

    fn open_with(
        dir: PathBuf,
        config: StoreConfig,
        io_mode: IoMode,
        io: Arc<dyn Io>,
    ) -> Result<Self, OpenError> {
        make_dirs(&*io, &dir)?;
        // Before the lock, so that nothing is put into a directory of something else; and after it,
        // since another process may have changed what is there.
        list_store(&*io, &dir)?;
        let lock = lock(&dir)?;
        let names = list_store(&*io, &dir)?;
        let version_file = dir.join(VERSION_FILE);
        let is_new = !names.iter().any(|name| name == VERSION_FILE);
        let mut epoch_floor = LeaderEpoch(0);
        if !is_new {
            let content =
                read_file(&*io, &version_file, 4096).map_err(OpenError::io("read", &version_file))?;
            epoch_floor = decode_version(&content)
                .map_err(|reason| OpenError::Version { file: version_file.clone(), reason })?;
        }
        let marked = names.iter().any(|name| name == CLEAN_FILE);
        let clean = is_new || marked;
        if !clean {
            tracing::warn!(store = %dir.display(), "the last stop was not clean: every log is checked before it is served");
        }
        let points = if is_new { RecoveryPoints::default() } else { RecoveryPoints::read(&*io, &dir) };
        let mut found = Vec::new();
        for name in names {
            let path = dir.join(&name);
            if name.starts_with(CREATING) || name.starts_with(DELETED) {
                io.remove_dir(&path).map_err(OpenError::io("removed", &path))?;
            } else if path.join(partition_metadata::FILE).exists() {
                let id = partition_metadata::read(&*io, &path)
                    .map_err(OpenError::io("read", path.join(partition_metadata::FILE)))?;
                let durable = (!clean).then(|| points.of(&name, id));
                found.push((name, id, LogFiles::open(&io, path, &config.log, durable)?));
            }
        }
        // What was cut from a log gives its offsets out again, however the last stop was.
        let clean = clean && !found.iter().any(|(_, _, files)| files.was_cut());
        if !clean {
            let latest = found.iter().filter_map(|(_, _, files)| files.latest_epoch()).max();
            epoch_floor = LeaderEpoch(latest.unwrap_or_default().max(epoch_floor).0 + 1);
        }
        if is_new || !clean {
            replace_file(&*io, &version_file, encode_version(epoch_floor).as_bytes(), true)
                .map_err(OpenError::io("written", &version_file))?;
        }
        if !clean {
            // All that was kept is on the medium now; a further crash need not prove it again.
            let all = found.iter().map(|(name, id, files)| (name.as_str(), *id, files.proven_end()));
            RecoveryPoints::write(&*io, &dir, all).map_err(OpenError::io("written", &dir))?;
        }
        if marked && !is_new {
            // Durable before anything is appended: the next start must know.
            let marker = dir.join(CLEAN_FILE);
            io.remove(&marker).and_then(|()| io.sync_dir(&dir)).map_err(OpenError::io("removed", &marker))?;
        }
        let syncer = Arc::new(Syncer::default());
        let thread =
            syncer.start(&io, config.sync_depth.max(1)).map_err(OpenError::io("served by a thread", &dir))?;
        let mut logs = HashMap::new();
        for (name, id, files) in found {
            let log = files.into_log(
                name.clone(),
                id,
                config.log,
                epoch_floor,
                Arc::clone(&io),
                Arc::clone(&syncer),
            );
            logs.insert(name, Arc::new(log));
        }
        Ok(Self {
            dir,
            io,
            io_mode,
            clean,
            epoch_floor,
            logs: RwLock::new(logs),
            changing: Mutex::new(()),
            syncer,
            thread: Some(thread),
            _lock: lock,
        })
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
        self.syncer.failure()
    }

    /// The log of this name.
    #[must_use]
    pub fn log(&self, name: &str) -> Option<Arc<Log>> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All logs, in no order.
    #[must_use]
    pub fn logs(&self) -> Vec<Arc<Log>> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Creates a log, durably. `name` is that of its directory; `id` is for the caller to choose and
    /// never to use again.
    ///
    /// # Errors
    /// A name that no directory can have, one that is taken, a store that failed, or a refusal of
    /// the operating system.
    pub fn create_log(&self, name: &str, id: LogId, config: LogConfig) -> Result<Arc<Log>, CreateError> {
        let bad = name.is_empty()
            || name.len() > 255
            || name == "."
            || name == ".."
            || name.starts_with(CREATING)
            || name.starts_with(DELETED)
            || name.contains(['/', '\0'])
            || [VERSION_FILE, CLEAN_FILE, LOCK_FILE, recovery_points::FILE].contains(&name);
        if bad {
            return Err(CreateError::Name(name.into()));
        }
        if let Some(failed) = self.failure() {
            return Err(failed.into());
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.dir.join(name);
        if self.log(name).is_some() || dir.exists() {
            return Err(CreateError::Exists(name.into()));
        }
        self.make_dir(&dir, id).map_err(|source| CreateError::Io { name: name.into(), source })?;
        let files = LogFiles::empty(dir, &config);
        let (io, syncer) = (Arc::clone(&self.io), Arc::clone(&self.syncer));
        let log = Arc::new(files.into_log(name.into(), id, config, self.epoch_floor, io, syncer));
        self.logs.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), Arc::clone(&log));
        Ok(log)
    }

    /// Made whole under another name first, so that a crash leaves all of it or nothing.
    fn make_dir(&self, dir: &Path, id: LogId) -> io::Result<()> {
        let staged = self.dir.join(format!("{CREATING}{id:?}"));
        match self.io.create_dir(&staged) {
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
        partition_metadata::write(&*self.io, &staged, id)?;
        self.io.sync_dir(&staged)?;
        self.io.rename(&staged, dir)?;
        self.sync_own_dir()
    }

    /// A failed sync of a directory ends all writing, as that of a file does.
    fn sync_own_dir(&self) -> io::Result<()> {
        self.io
            .sync_dir(&self.dir)
            .map_err(|err| io::Error::other(self.syncer.fail(format!("syncing {}", self.dir.display()), err)))
    }

    /// Deletes a log, durably, with all its files. Who still reads it reads on; waiting for its
    /// durability ends with an error. No such log is no error.
    ///
    /// # Errors
    /// The operating system refused. The log is gone from the store all the same.
    pub fn delete_log(&self, name: &str) -> Result<(), DeleteError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = self.logs.write().unwrap_or_else(PoisonError::into_inner).remove(name) else {
            return Ok(());
        };
        log.mark_deleted();
        let unused = |n: &u32| !self.dir.join(format!("{DELETED}{:?}-{n}", log.id())).exists();
        let n = (0..).find(unused).unwrap_or_default();
        let gone = self.dir.join(format!("{DELETED}{:?}-{n}", log.id()));
        self.io
            .rename(&self.dir.join(name), &gone)
            .and_then(|()| self.sync_own_dir())
            .and_then(|()| self.io.remove_dir(&gone))
            .map_err(|source| DeleteError::Io { name: name.into(), source })
    }

    /// Refuses appends from now on, makes everything durable and leaves the mark of a clean stop, so
    /// that the next opening is quick.
    ///
    /// # Errors
    /// Something could not be made durable; the mark is not set then.
    pub fn close(&self) -> io::Result<()> {
        self.syncer.close();
        let logs = self.logs();
        for log in &logs {
            log.finish_append();
        }
        self.refuse_failed()?;
        let waiting: Vec<_> = logs.iter().map(|log| log.complete(Durability::Durable)).collect();
        for completion in waiting {
            completion.wait().map_err(io::Error::other)?;
        }
        for log in &logs {
            if let Some(active) = log.segment_list().last() {
                active.index.trim()?;
            }
        }
        let all = logs.iter().map(|log| (log.name(), log.id(), log.progress().written));
        RecoveryPoints::write(&*self.io, &self.dir, all)?;
        self.refuse_failed()?;
        self.io.open(&self.dir.join(CLEAN_FILE), OpenMode::Any)?.sync_data()?;
        self.io.sync_dir(&self.dir)
    }

    /// A store that failed is checked at the next opening, whatever its logs say.
    fn refuse_failed(&self) -> io::Result<()> {
        self.failure().map_or(Ok(()), |failed| Err(io::Error::other(failed)))
    }
}

/// The names in a store's directory, or in one that can become a store.
fn list_store(io: &dyn Io, dir: &Path) -> Result<Vec<String>, OpenError> {
    let names = io.list(dir).map_err(OpenError::io("listed", dir))?;
    // A lock alone, or a version file under way, is what a crash in the first start leaves.
    let first_start = |name: &String| [LOCK_FILE, "ringmain-store.tmp"].contains(&name.as_str());
    if names.iter().any(|name| name == VERSION_FILE) || names.iter().all(first_start) {
        return Ok(names);
    }
    Err(OpenError::NotAStore { dir: dir.to_owned() })
}

/// Makes a directory with those above it, durably: a store whose directory the loss of power takes
/// away has lost everything.
fn make_dirs(io: &dyn Io, dir: &Path) -> Result<(), OpenError> {
    let missing: Vec<_> =
        dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        io.create_dir(dir).map_err(OpenError::io("created", dir))?;
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        io.sync_dir(above).map_err(OpenError::io("synced", above))?;
    }
    if dir.is_dir() {
        Ok(())
    } else {
        Err(OpenError::io("used as a directory", dir)(ErrorKind::NotADirectory.into()))
    }
}

fn lock(dir: &Path) -> Result<Flock<File>, OpenError> {
    let path = dir.join(LOCK_FILE);
    let mut options = File::options();
    let file = options
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(OpenError::io("opened", &path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => OpenError::Locked(dir.to_owned()),
        errno => OpenError::io("locked", &path)(errno.into()),
    })
}

fn encode_version(epoch_floor: LeaderEpoch) -> String {
    format!("format={FORMAT}\nepoch_floor={epoch_floor}\n")
}

fn decode_version(content: &[u8]) -> Result<LeaderEpoch, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not text".to_owned())?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.and_then(|value| value.parse::<i32>().ok()).ok_or_else(|| format!("it has no valid {key}"))
    };
    let format = value("format")?;
    if format != FORMAT.cast_signed() {
        return Err(format!(
            "it has format {format}, this version reads format {FORMAT}; use the version that wrote it"
        ));
    }
    value("epoch_floor").map(LeaderEpoch)
}

#[cfg(test)]
mod tests;
