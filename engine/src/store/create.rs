//! New logs: many are made with few waits for the disk.

use super::{CREATING, DELETED, RESERVED, Store};
use crate::error::CreateError;
use crate::io::{Io, OpenMode, SyncQueue};
use crate::log::{Log, LogConfig, LogFiles, LogId};
use crate::sync::Mutex;
use crate::{log_number, partition_metadata};
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// Log numbers reserved at once.
pub(super) const NUMBERS_RESERVED: u64 = 1024;
/// Logs made together: deletions and checkpoints wait for no more than these.
const TOGETHER: usize = 32;
/// Syncs of them at once.
const SYNCS_AT_ONCE: u32 = 32;

/// The syncs of logs that are being created.
pub(super) struct Creating(Mutex<Box<dyn SyncQueue>>);

impl Creating {
    pub(super) fn new(io: &dyn Io) -> io::Result<Self> {
        Ok(Self(Mutex::new(io.sync_queue(SYNCS_AT_ONCE)?)))
    }
}

impl fmt::Debug for Creating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Creating").finish_non_exhaustive()
    }
}

/// A log whose directory is being made.
struct New<'a> {
    name: &'a str,
    number: u64,
    dir: PathBuf,
    /// What the directory is called until it is whole.
    staged: PathBuf,
}

impl Store {
    /// Creates a log, durably. `name` is that of its directory; `id` is for the caller to choose and
    /// never to use again.
    ///
    /// # Errors
    /// A name that no directory can have, one that is taken, a store that failed, or a refusal of
    /// the operating system.
    pub fn create_log(&self, name: &str, id: LogId, config: LogConfig) -> Result<Arc<Log>, CreateError> {
        // One for each name.
        self.create_together(&[name], id, config).map(|mut made| made.swap_remove(0))
    }

    /// As [`Store::create_log`] for each of `names`, in less time: the logs of a topic.
    ///
    /// # Errors
    /// As of [`Store::create_log`]. Some of the logs may have been created then.
    pub fn create_logs(
        &self,
        names: &[String],
        id: LogId,
        config: LogConfig,
    ) -> Result<Vec<Arc<Log>>, CreateError> {
        let mut made = Vec::with_capacity(names.len());
        for some in names.chunks(TOGETHER) {
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            made.extend(self.create_together(&some, id, config)?);
        }
        Ok(made)
    }

    fn create_together(
        &self,
        names: &[&str],
        id: LogId,
        config: LogConfig,
    ) -> Result<Vec<Arc<Log>>, CreateError> {
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(CreateError::Name((*bad).into()));
        }
        if let Some(failed) = self.failure() {
            return Err(failed.into());
        }
        let core = &self.core;
        let _changing = core.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            let dir = core.dir.join(name);
            if names[..at].contains(name) || self.log(name).is_some() || core.io.exists(&dir) {
                return Err(CreateError::Exists((*name).into()));
            }
            let number =
                self.next_number().map_err(|source| CreateError::Io { name: (*name).into(), source })?;
            let staged = core.dir.join(format!("{CREATING}{number}"));
            new.push(New { name, number, dir, staged });
        }
        let failed = |(at, source): (usize, io::Error)| CreateError::Io { name: names[at].into(), source };
        if let Err(err) = self.stage(&new, id) {
            self.unstage(&new);
            return Err(failed(err));
        }
        let mut renamed = Ok(());
        let mut whole = 0;
        while renamed.is_ok() && whole < new.len() {
            renamed = core.io.rename(&new[whole].staged, &new[whole].dir).map_err(|err| (whole, err));
            whole += usize::from(renamed.is_ok());
        }
        self.unstage(&new[whole..]);
        self.sync_own_dir().map_err(|err| failed((0, err)))?;
        let mut logs = core.logs.write().unwrap_or_else(PoisonError::into_inner);
        let mut made = Vec::with_capacity(whole);
        for one in new.into_iter().take(whole) {
            let files = LogFiles::empty(one.dir, &config);
            let shared = (Arc::clone(&core.io), Arc::clone(&core.journal), Arc::clone(&core.file));
            let log = files.into_log((one.name.into(), one.number, id), config, self.epoch_floor, shared);
            made.push(Arc::new(log));
        }
        logs.extend(made.iter().map(|log| (log.name().to_owned(), Arc::clone(log))));
        renamed.map(|()| made).map_err(failed)
    }

    /// Durably never given out again.
    fn next_number(&self) -> io::Result<u64> {
        let mut next = self.next_number.lock().unwrap_or_else(PoisonError::into_inner);
        let file = &self.core.file;
        if *next >= file.get().next_log {
            file.change(|version| version.next_log = *next + NUMBERS_RESERVED)?;
        }
        *next += 1;
        Ok(*next - 1)
    }

    /// Makes directories whole and durable under another name, so that a crash leaves all of one or nothing. Tells of which
    /// log an error is.
    fn stage(&self, new: &[New], id: LogId) -> Result<(), (usize, io::Error)> {
        let io = &*self.core.io;
        let mut queue = self.creating.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = Ok(());
        for (at, one) in new.iter().enumerate() {
            if outcome.is_ok() {
                outcome = stage(io, &mut **queue, at, one, id).map_err(|err| (at, err));
            }
        }
        // Of all that were begun: the queue is for others, too.
        for (at, synced) in queue.wait_all() {
            outcome = outcome.and_then(|()| synced.map_err(|err| (at, err)));
        }
        outcome
    }

    /// Room for something else.
    fn unstage(&self, new: &[New]) {
        for one in new {
            let _ = self.core.io.remove_dir(&one.staged);
        }
    }
}

fn stage(io: &dyn Io, queue: &mut dyn SyncQueue, at: usize, one: &New, id: LogId) -> io::Result<()> {
    if io.exists(&one.staged) {
        io.remove_dir(&one.staged)?;
    }
    io.create_dir(&one.staged)?;
    let mut write = |path: &Path, content: String| {
        let file = io.open(path, OpenMode::Any)?;
        file.write_at(&[IoSlice::new(content.as_bytes())], 0)?;
        queue.submit(at, file);
        io::Result::Ok(())
    };
    write(&one.staged.join(partition_metadata::FILE), partition_metadata::content(id))?;
    write(&one.staged.join(log_number::FILE), log_number::content(one.number))?;
    queue.submit_dir(at, &one.staged);
    Ok(())
}

fn is_name(name: &str) -> bool {
    let is_other = name.starts_with(CREATING) || name.starts_with(DELETED) || RESERVED.contains(&name);
    let is_bad = name.is_empty() || name.len() > 255 || name == "." || name == "..";
    !(is_bad || is_other || name.contains(['/', '\0']))
}
