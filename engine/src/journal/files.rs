//! The journal's files: `journal/0`, `journal/1` and so on, each written full of zeros before it is used,
//! so that a later write changes nothing but blocks.

use crate::io::{DirectFile, Io, OpenMode};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory in a store.
pub(crate) const DIR: &str = "journal";
/// What a file is called until it is whole.
const HALF_MADE: &str = "making";
/// Bytes written at a time.
const PIECE_BYTES: usize = 1 << 20;

pub(crate) fn path(store: &Path, number: usize) -> PathBuf {
    store.join(DIR).join(number.to_string())
}

/// A file with its size in bytes.
pub(crate) type JournalFile = (Arc<dyn DirectFile>, u64);

/// Makes a file and opens it. Durable when it returns.
pub(crate) fn make(io: &dyn Io, store: &Path, number: usize, bytes: u64) -> io::Result<Arc<dyn DirectFile>> {
    let dir = store.join(DIR);
    if !io.is_dir(&dir) {
        io.create_dir(&dir)?;
    }
    // Even if it was there: a crash may have come between its making and this.
    io.sync_dir(store)?;
    let half_made = dir.join(HALF_MADE);
    let made = fill(io, &half_made, bytes);
    if let Err(err) = made {
        // Room for something else.
        let _ = io.remove(&half_made);
        return Err(err);
    }
    let path = path(store, number);
    io.rename(&half_made, &path)?;
    io.sync_dir(&dir)?;
    io.open_direct(&path)
}

fn fill(io: &dyn Io, path: &Path, bytes: u64) -> io::Result<()> {
    // Not written over: an earlier try may have left one whose write-back failed.
    match io.remove(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let file = io.open(path, OpenMode::Any)?;
    file.preallocate(bytes)?;
    let zeros = vec![0; PIECE_BYTES.min(usize::try_from(bytes).unwrap_or(PIECE_BYTES))];
    let mut at = 0;
    while at < bytes {
        let piece = zeros.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
        file.write_at(&[IoSlice::new(&zeros[..piece])], at)?;
        at += piece as u64;
    }
    file.sync_data()
}

/// The files that are there, by number, with their sizes. Their names are durable when it returns: who made
/// them may have crashed before they were.
pub(crate) fn open_all(io: &dyn Io, store: &Path) -> io::Result<Vec<JournalFile>> {
    if !io.is_dir(&store.join(DIR)) {
        return Ok(Vec::new());
    }
    io.sync_dir(&store.join(DIR))?;
    io.sync_dir(store)?;
    let mut found = Vec::new();
    while io.exists(&path(store, found.len())) {
        let path = path(store, found.len());
        let bytes = io.open(&path, OpenMode::ReadOnly)?.len()?;
        found.push((io.open_direct(&path)?, bytes));
    }
    Ok(found)
}
