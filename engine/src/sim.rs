//! A store on a simulated disk, for tests of crashes. Without threads: who waits does the work, and who
//! tests says when the journal and the checkpoints get on.

pub use crate::io::sim::{Disk, FaultHits, Faults};

use crate::error::OpenError;
use crate::io::IoMode;
use crate::log::Log;
use crate::store::{Store, StoreConfig};
use std::path::Path;
use std::sync::Arc;

/// Opens a store on the simulated disk.
///
/// # Errors
/// As [`Store::open`].
pub fn open(disk: &Disk, dir: &Path, config: StoreConfig) -> Result<Store, OpenError> {
    Store::open_with(dir.to_owned(), config, IoMode::Blocking, Arc::new(disk.clone()), false)
}

/// One step of the journal thread's work. Says whether anything was done.
pub fn step_journal(store: &Store) -> bool {
    store.core().journal.step()
}

/// The next phase of a checkpoint, and a file for the journal if one was asked for. Says whether there is a
/// further phase.
pub fn step_checkpoint(store: &Store) -> bool {
    store.core().step()
}

/// Whether what is kept beside the batches of a log equals what they tell: indexes and epochs. (Producers may
/// be known whose batches lie before the start.)
///
/// # Errors
/// The difference.
pub fn check_log(log: &Log) -> Result<(), String> {
    log.check_built()
}
