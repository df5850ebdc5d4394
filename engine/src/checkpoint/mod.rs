//! Checkpoints: from time to time the segments of all logs are synced, and a file says how far, so that
//! the journal before that is not needed any more and the next start reads little.
//!
//! `file` is the file's content, `keeper` makes checkpoints, journal files and write-back happen.

mod file;
mod keeper;

pub(crate) use file::{Checkpoint, FILE};
pub(crate) use keeper::{Keeper, KeeperThread, StoreCore};
