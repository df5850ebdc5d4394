//! What the journal's thread is asked for, and copies of what was appended while it was at hand.

use super::{EAGER_BYTES, Note, files};
use crate::log::Log;
use crate::watermark::Range;
use std::collections::HashMap;
use std::sync::Arc;

/// Larger appends are not copied: reading them back from the page cache costs little in comparison.
const COPIED_APPEND_BYTES_MAX: usize = 16 << 10;

/// At most one entry for each log, and the notes of one cut or deletion.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) logs: Vec<Arc<Log>>,
    /// Somebody waits for the logs.
    pub(super) hurried: bool,
    /// Bytes that were appended to them.
    eager_bytes: usize,
    copies: Copies,
    pub(super) notes: Vec<Arc<Note>>,
    pub(super) files: Vec<files::JournalFile>,
    /// The last attempt to make a file failed: notes are not kept waiting for one.
    pub(super) no_file: bool,
    pub(super) free_before: Option<u64>,
    pub(super) stop: bool,
}

impl Inbox {
    /// Whether there are logs, and they are worth an entry now.
    pub(super) fn is_ripe(&self) -> bool {
        !self.logs.is_empty() && (self.hurried || self.stop || self.eager_bytes >= EAGER_BYTES)
    }

    /// Whether there is nothing for the thread to do.
    pub(super) fn is_quiet(&self) -> bool {
        !self.is_ripe()
            && self.notes.is_empty()
            && self.files.is_empty()
            && self.free_before.is_none()
            && !self.no_file
            && !self.stop
    }

    /// Counts an append to a log, and keeps a copy if it is all that the log has pending and is here for the first time.
    pub(super) fn appended(&mut self, log: &Log, is_new: bool, bytes: &[u8], pending: &Range) {
        self.eager_bytes += bytes.len();
        if is_new {
            self.copies.add(log.number, bytes, pending);
        }
    }

    /// Takes what there is; logs only if they are worth an entry. Copies of logs taken before are forgotten.
    pub(super) fn take(&mut self, copies: &mut Copies) -> Self {
        let mut taken = Self { stop: self.stop, ..Self::default() };
        if self.is_ripe() {
            copies.clear();
            std::mem::swap(copies, &mut self.copies);
        } else {
            taken.logs = std::mem::take(&mut self.logs);
            // Without logs these are of such as were taken already.
            taken.eager_bytes = if taken.logs.is_empty() { 0 } else { self.eager_bytes };
        }
        // What stays, or empty, with the memory of the one before.
        std::mem::swap(&mut taken.copies, &mut self.copies);
        std::mem::swap(self, &mut taken);
        taken
    }
}

/// Appended bytes by the number of their log, [`EAGER_BYTES`] at most.
#[derive(Debug, Default)]
pub(super) struct Copies {
    bytes: Vec<u8>,
    of: HashMap<u64, Copy>,
}

#[derive(Clone, Copy, Debug)]
struct Copy {
    at: usize,
    len: usize,
    range: Range,
}

impl Copies {
    fn clear(&mut self) {
        self.bytes.clear();
        self.of.clear();
    }

    fn add(&mut self, number: u64, bytes: &[u8], pending: &Range) {
        let is_whole = pending.from.segment == pending.to.segment
            && pending.to.bytes - pending.from.bytes == bytes.len() as u64;
        let fits = bytes.len() <= COPIED_APPEND_BYTES_MAX && self.bytes.len() + bytes.len() <= EAGER_BYTES;
        if is_whole && fits {
            let copy = Copy { at: self.bytes.len(), len: bytes.len(), range: *pending };
            self.bytes.extend_from_slice(bytes);
            self.of.insert(number, copy);
        }
    }

    /// The bytes of a range of a log, if it is what the log had pending when they were copied.
    pub(super) fn get(&self, number: u64, range: &Range) -> Option<&[u8]> {
        let copy = self.of.get(&number)?;
        let same = copy.range.from == range.from
            && copy.range.to == range.to
            && copy.range.generation == range.generation;
        same.then(|| &self.bytes[copy.at..copy.at + copy.len])
    }
}
