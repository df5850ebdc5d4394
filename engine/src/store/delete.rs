//! Logs that are removed: many are with few waits for the disk.

use super::{Store, deleted_dir, empty_dir};
use crate::error::DeleteError;
use crate::journal::NoteError;
use crate::journal::entry::{Kind, Section};
use crate::offset::Offset;
use std::io;
use std::sync::PoisonError;

/// Logs removed together: others wait for no more than these. Their notes are one entry of the journal, for which there is
/// room ([`crate::journal::BLOCKS_PER_CUT`]) whatever the size of a block.
pub(crate) const TOGETHER: usize = 32;

impl Store {
    /// Deletes a log, durably, with all its files. Who still reads it reads on; waiting for its
    /// durability ends with an error. No such log is no error.
    ///
    /// # Errors
    /// The operating system refused, or the store failed: the log takes no appends all the same. Or the store was closed.
    pub fn delete_log(&self, name: &str) -> Result<(), DeleteError> {
        self.delete_together(&[name])
    }

    /// As [`Store::delete_log`] for each of `names`, in less time: the logs of a topic.
    ///
    /// # Errors
    /// As of [`Store::delete_log`], of the first that failed. The others were deleted.
    pub fn delete_logs(&self, names: &[String]) -> Result<(), DeleteError> {
        let mut outcome = Ok(());
        for some in names.chunks(TOGETHER) {
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            outcome = outcome.and(self.delete_together(&some));
        }
        outcome
    }

    fn delete_together(&self, names: &[&str]) -> Result<(), DeleteError> {
        let core = &self.core;
        let _cutting = core.journal.begin_cut();
        let _changing = core.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let logs: Vec<_> = names.iter().filter_map(|name| self.log(name)).collect();
        if logs.is_empty() {
            return Ok(());
        }
        // A checkpoint takes its logs under the same lock: none is gone that the last one has, after which nobody asks
        // the journal.
        if let Some(log) = logs.first().filter(|_| core.journal.fate.is_closed()) {
            return Err(DeleteError::Closed { name: log.name().into() });
        }
        logs.iter().for_each(|log| log.mark_deleted());
        let zero = Offset::ZERO;
        let sections = logs.iter().map(|log| Section::note(Kind::Delete, log.number, zero, zero, zero));
        let mut outcome = Ok(());
        let mut gone = Vec::with_capacity(logs.len());
        for (log, noted) in logs.iter().zip(core.journal.notes(sections)) {
            let failed = |source| DeleteError::Io { name: log.name().into(), source };
            let dir = deleted_dir(&core.dir, log.number);
            let moved = match noted {
                Ok(_) => Ok(true),
                Err(NoteError::NoFile) => Ok(false),
                Err(err) => Err(io::Error::other(err)),
            };
            let moved =
                moved.and_then(|noted| core.io.rename(&core.dir.join(log.name()), &dir).map(|()| noted));
            match moved {
                Ok(noted) => gone.push((log, dir, noted)),
                Err(err) => outcome = outcome.and(Err(failed(err))),
            }
        }
        let mut known = core.logs.write().unwrap_or_else(PoisonError::into_inner);
        gone.iter().for_each(|(log, ..)| drop(known.remove(log.name())));
        drop(known);
        if let Some((log, ..)) = gone.first() {
            self.sync_own_dir().map_err(|source| DeleteError::Io { name: log.name().into(), source })?;
        }
        for (log, dir, noted) in &gone {
            // Where the journal has no room for the note, the empty directory says that the log was deleted.
            let removed = if *noted { core.io.remove_dir(dir) } else { empty_dir(&*core.io, dir) };
            let failed = |source| DeleteError::Io { name: log.name().into(), source };
            outcome = outcome.and(removed.map_err(failed));
        }
        outcome
    }
}
