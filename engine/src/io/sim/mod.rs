//! A disk in memory that one seed decides: it writes back when it likes, loses power on demand, and
//! fails when it is told to.
//!
//! What a file system promises, and no more, holds after [`Disk::power_loss`]: data that was synced is
//! there, and entries of directories that were synced. Of all else each sector of 512 bytes is kept,
//! dropped or torn, and each change of a directory kept or dropped, independently of each other. After
//! [`Disk::process_kill`] everything is as the last process saw it.
//!
//! There are no threads, no clock, and no order that depends on addresses: the same calls on a disk of
//! the same seed have the same outcomes.

mod content;
mod directory;
mod handles;
mod queue;
mod random;
mod state;
#[cfg(test)]
mod tests;
mod tree;

use super::{CommitQueue, DirectFile, Io, IoFile, Locked, OpenMode, SyncQueue};
use crate::sync::{Mutex, MutexGuard};
use handles::{Handle, SimDirect, SimFile, SimLock};
use queue::{SimCommits, SimSyncs};
use state::State;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// What goes wrong, and how often: chances in a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A write through the page cache fails with EIO after a part of it.
    pub write_per_mille: u32,
    /// A durable write past the page cache fails with EIO, and left any part of itself.
    pub direct_write_per_mille: u32,
    /// An fdatasync fails with EIO. Some of what was dirty is lost, all of it is clean.
    pub sync_per_mille: u32,
    /// A write-back fails: what it took is clean and lost, and the next fdatasync of the file fails.
    pub write_back_per_mille: u32,
    /// A sync of a directory fails with EIO.
    pub sync_dir_per_mille: u32,
    /// What never reached the medium and was lost by a failed write-back or sync does not reach it by
    /// being written again to the same file, as seen on ext4. A new file or a restart helps.
    pub unwritten: bool,
    /// Each kind comes once, then never again.
    pub once: bool,
}

/// How often what went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultHits {
    /// Writes through the page cache.
    pub writes: u64,
    /// Writes past the page cache.
    pub direct_writes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Write-backs.
    pub write_backs: u64,
    /// Syncs of directories.
    pub sync_dirs: u64,
    /// Whatever found no space.
    pub full: u64,
}

/// The simulated disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// An empty disk. The seed and what is asked of it decide everything.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(seed))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine loses power and starts again. Handles of before are of no use.
    pub fn power_loss(&self) {
        self.state().lose_power();
    }

    /// The process ends without warning; the machine runs on. Handles of before are of no use.
    pub fn process_kill(&self) {
        self.state().kill_process();
    }

    /// Has the machine turn off in the middle of the operation that comes `operations` from now on
    /// (the next one for 0 and 1). That one happens in part or not at all, and it and all later ones
    /// fail until [`Disk::power_loss`] or [`Disk::process_kill`].
    pub fn stop_after(&self, operations: u64) {
        let mut state = self.state();
        state.stop_at = Some(state.operations.saturating_add(operations.max(1)));
    }

    /// Takes back [`Disk::stop_after`], if the machine is not off yet.
    pub fn keep_running(&self) {
        self.state().stop_at = None;
    }

    /// Whether the machine is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// How many operations that change something there were so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// What went wrong so far.
    #[must_use]
    pub fn fault_hits(&self) -> FaultHits {
        self.state().hits
    }

    /// Bytes that all files may have together; `u64::MAX` is no limit.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Bytes that all files have together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Whether there is I/O past the page cache; else it goes through the cache, and is synced.
    pub fn set_direct(&self, direct: bool) {
        self.state().direct = direct;
    }

    /// Whether files can be mapped; else each try ends with ENOMEM, as beyond `vm.max_map_count`.
    pub fn set_mappings(&self, can_be: bool) {
        self.state().mappings = can_be;
    }

    /// Pages that a failed write-back left clean leave the page cache: what is read of them from now on is what
    /// the medium has.
    pub fn drop_lost_pages(&self) {
        self.state().drop_lost();
    }

    /// How often, of a thousand operations, the kernel writes something back meanwhile.
    pub fn set_write_back(&self, per_mille: u32) {
        self.state().write_back_per_mille = per_mille;
    }

    /// The state, if a new process may use the disk.
    fn running(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        state.check(state.generation)?;
        Ok(state)
    }

    fn handle(&self, state: &State, file: u64) -> Handle {
        Handle { disk: self.clone(), file, generation: state.generation }
    }
}

impl Io for Disk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        let mut state = self.running()?;
        let file = state.open(path, mode)?;
        let handle = self.handle(&state, file);
        Ok(Arc::new(SimFile { handle, writable: mode != OpenMode::ReadOnly }))
    }

    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DirectFile>> {
        let mut state = self.running()?;
        let file = state.open(path, OpenMode::Existing)?;
        Ok(Arc::new(SimDirect(self.handle(&state, file))))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Locked>> {
        let mut state = self.running()?;
        let file = state.open(path, OpenMode::Any)?;
        if !state.locked.insert(file) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock(self.handle(&state, file))))
    }

    fn exists(&self, path: &Path) -> bool {
        self.running().is_ok_and(|mut state| state.find(path).is_ok())
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.running().is_ok_and(|mut state| state.find(path).is_ok_and(|id| state.is_dir(id)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.running()?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.running()?.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.running()?.remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.running()?.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.running()?;
        let dir = state.find(path)?;
        Ok(state.dir(dir)?.names())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.running()?;
        let dir = state.find(path)?;
        state.sync_dir(dir)
    }

    fn random(&self) -> u64 {
        self.state().random.below(u64::MAX)
    }

    fn sync_queue(&self, _depth: u32) -> io::Result<Box<dyn SyncQueue>> {
        drop(self.running()?);
        Ok(Box::new(SimSyncs { disk: self.clone(), submitted: Vec::new() }))
    }

    fn commit_queue(&self, _depth: u32) -> io::Result<Box<dyn CommitQueue>> {
        let mut state = self.running()?;
        let (queue, generation) = (state.new_queue(), state.generation);
        Ok(Box::new(SimCommits { disk: self.clone(), generation, queue, waited: false }))
    }
}
