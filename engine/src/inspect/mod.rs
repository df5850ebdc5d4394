//! Looking at the files of a store from outside, without opening it: for tools, on a copy, on a stopped
//! store or on one in use. Nothing is changed, and nothing is locked.
//!
//! `segments` reads batches and checks a log, `index` and `journal` read their entries, `checkpoint` reads
//! that file, `store` checks all of a data directory. FORMAT.md describes the bytes.

mod checkpoint;
mod index;
mod journal;
mod segments;
mod store;

pub use checkpoint::{
    CheckpointFile, CheckpointLog, CheckpointProducer, CheckpointReport, CheckpointSegment, read_checkpoint,
};
pub use index::{OffsetIndexEntry, TimeIndexEntry, offset_index, time_index};
pub use journal::{JournalEntry, JournalReader, JournalReport, JournalSection, SectionKind, journal_files};
pub use segments::{LogReport, SegmentReader, StoredBatch, check_log, segment_files};
pub use store::{StoreReport, check_store, is_store, log_dirs};

use std::path::PathBuf;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub position: u64,
    /// What is wrong.
    pub what: String,
}

impl Problem {
    fn new(file: impl Into<PathBuf>, position: u64, what: impl Into<String>) -> Self {
        Self { file: file.into(), position, what: what.into() }
    }
}
