//! What is served after a crash is on the medium.
//!
//! After a failed write-back the page cache holds pages that look clean and valid and are not on the disk,
//! and a sync does not write them. So what no checkpoint proved is synced and then read past the page cache.

use super::LogFiles;
use super::files::{RENEWED, copy_range};
use crate::error::OpenError;
use crate::io::{Block, Io, IoFile, OpenMode, SyncQueue};
use crate::segment::Segment;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Bytes compared at a time.
const PIECE_BYTES: usize = 1 << 20;

impl LogFiles {
    /// Segments with something that no checkpoint proved, and from where on.
    fn unproven(&self) -> impl Iterator<Item = (usize, u64)> {
        let proven = self.proven;
        self.segments.iter().enumerate().filter_map(move |(at, segment)| {
            let from = if segment.base == proven.segment { proven.bytes } else { 0 };
            (segment.extent().size_bytes > from && segment.extent().end > proven.offset).then_some((at, from))
        })
    }
}

/// Makes sure that everything in `logs` is on the medium.
pub(crate) fn prove<'a>(
    io: &dyn Io,
    queue: &mut dyn SyncQueue,
    logs: impl Iterator<Item = &'a mut LogFiles>,
) -> Result<(), OpenError> {
    let mut work = Vec::new();
    for log in logs.filter(|log| log.quarantine.is_none()) {
        let mut unproven: Vec<_> = log.unproven().collect();
        // An earlier start may have cut it and crashed before that was durable.
        if let Some(last) = log.segments.last()
            && unproven.last().is_none_or(|(at, _)| *at + 1 < log.segments.len())
        {
            unproven.push((log.segments.len() - 1, last.extent().size_bytes));
        }
        work.push((log, unproven));
    }
    let mut places = Vec::new();
    for (number, (log, unproven)) in work.iter().enumerate() {
        for (at, from) in unproven {
            queue.submit(places.len(), Arc::clone(&log.segments[*at].file));
            places.push((number, *at, *from, true));
        }
    }
    for (token, outcome) in queue.wait_all() {
        // An error of a write-back that is told now: what it is about shows below.
        places[token].3 = outcome.is_ok();
    }
    for (number, at, from, synced) in places {
        let log = &mut work[number].0;
        let path = log.segments[at].path.clone();
        let size_bytes = log.segments[at].extent().size_bytes;
        let found = if synced { compare(io, &log.segments[at], from, size_bytes) } else { Medium::Differs };
        if found == Medium::Agrees {
            continue;
        }
        tracing::warn!(segment = %path.display(), "not all of it is proven to be on the disk; it is copied");
        match renew(io, &path, size_bytes) {
            Ok(file) => {
                if let Some(segment) = log.segments.get_mut(at).and_then(Arc::get_mut) {
                    segment.file = file;
                }
            }
            Err(source) => return Err(OpenError::io("copied", &path)(source)),
        }
    }
    work.iter().enumerate().for_each(|(number, (log, _))| queue.submit_dir(number, &log.dir));
    for (number, outcome) in queue.wait_all() {
        outcome.map_err(OpenError::io("synced", &work[number].0.dir))?;
    }
    Ok(())
}

/// What reading past the page cache told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Agrees,
    Differs,
    /// The file system cannot read past the page cache.
    Unknown,
}

/// Compares the medium with what the page cache shows.
fn compare(io: &dyn Io, segment: &Segment, from: u64, to: u64) -> Medium {
    match io.open_direct(&segment.path) {
        Ok(direct) if direct.is_direct() => {}
        _ => return Medium::Unknown,
    }
    match is_on_medium(io, segment, from, to) {
        Ok(true) => Medium::Agrees,
        // What cannot be read is copied, too.
        Ok(false) | Err(_) => Medium::Differs,
    }
}

fn is_on_medium(io: &dyn Io, segment: &Segment, from: u64, to: u64) -> io::Result<bool> {
    let direct = io.open_direct(&segment.path)?;
    let align = direct.align_bytes() as u64;
    let mut at = from / align * align;
    let piece = PIECE_BYTES.min(usize::try_from((to - at).next_multiple_of(align)).unwrap_or(PIECE_BYTES));
    let (mut medium, mut cached) = (Block::zeroed(piece), vec![0; piece]);
    while at < to {
        let bytes = piece.min(usize::try_from(to - at).unwrap_or(piece));
        let read = direct.read_at(&mut medium, at)?;
        let seen = segment.file.read_at(&mut cached[..bytes], at)?;
        if read < bytes || seen < bytes || medium.bytes()[..bytes] != cached[..bytes] {
            return Ok(false);
        }
        at += bytes as u64;
    }
    Ok(true)
}

/// Replaces a file by a copy of its first `size_bytes`, durably, and opens that.
///
/// Writing again in place is not enough. After a failed write-back ext4 holds pages and block
/// mappings that look whole: a second write goes to the blocks and the file still reads as zeros after
/// the next mount, since the extent was never marked as written. A new file has nothing to look back on.
fn renew(io: &dyn Io, path: &Path, size_bytes: u64) -> io::Result<Arc<dyn IoFile>> {
    let copy = path.with_extension(RENEWED);
    let copied = copy_range(io, path, 0, size_bytes, &copy);
    if let Err(err) = copied {
        // It is read from the old file then, as it was before.
        let _ = io.remove(&copy);
        return Err(err);
    }
    io.rename(&copy, path)?;
    io.open(path, OpenMode::Existing)
}
