//! Syncing the files of a log: one at a time, and its directory under whatever name it has.

use super::Log;
use crate::store::deleted_dir;
use crate::sync::Listener;
use crate::sync::atomic::Ordering;
use std::io::{self, ErrorKind};
use std::sync::Arc;

impl Log {
    /// To be called before segments or the directory are synced, and [`Log::end_sync`] when the outcome is
    /// known to all. The kernel tells an error of write-back once: to one of two who sync at the same time,
    /// and the other would believe that all is well.
    pub(crate) fn begin_sync(&self) {
        while self.syncing.swap(true, Ordering::AcqRel) {
            if self.journal.pump(false) {
                continue;
            }
            let listener = self.sync_ended.listen();
            if self.syncing.load(Ordering::Acquire) {
                listener.wait();
            }
        }
    }

    /// As [`Log::begin_sync`], without waiting: if another syncs, the log is asked for again when that ends.
    pub(crate) fn try_begin_sync(&self) -> bool {
        if !self.syncing.swap(true, Ordering::AcqRel) {
            return true;
        }
        self.sync_wanted.store(true, Ordering::Release);
        // It may have ended between the two.
        !self.syncing.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_sync(self: &Arc<Self>) {
        self.syncing.store(false, Ordering::Release);
        self.sync_ended.notify(usize::MAX);
        if self.sync_wanted.swap(false, Ordering::AcqRel) {
            self.journal.request(self);
        }
    }

    /// Makes the names in its directory durable, if one was made since they were last.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        if self.take_changed_names() { self.names_synced(self.io.sync_dir(&self.dir)) } else { Ok(()) }
    }

    /// Whether a name was made in its directory since this was last asked. Who is told so syncs it, and asks
    /// [`Log::names_synced`] what the outcome means.
    pub(crate) fn take_changed_names(&self) -> bool {
        self.dir_changed.swap(false, Ordering::AcqRel)
    }

    /// What a sync of its directory has come to. While the log is being deleted its directory has another name, or is gone for
    /// good. Any other error counts, whether or not it is being deleted: a crash may still come before the deletion is
    /// durable, and bring the log back.
    pub(crate) fn names_synced(&self, outcome: io::Result<()>) -> io::Result<()> {
        let mut synced = outcome;
        if is_missing(&synced) && self.is_deleted() {
            // Its deletion need not be durable yet.
            synced = self.io.sync_dir(&deleted_dir(self.dir.parent().unwrap_or(&self.dir), self.number));
            if is_missing(&synced) {
                // Removed, which comes after its new name was durable.
                return Ok(());
            }
        }
        synced
    }

    #[cfg(test)]
    pub(crate) fn dir_changed_again(&self) -> &Self {
        self.dir_changed.store(true, Ordering::Release);
        self
    }
}

fn is_missing(synced: &io::Result<()>) -> bool {
    synced.as_ref().is_err_and(|err| err.kind() == ErrorKind::NotFound)
}
