//! A log's files, one by one: adopting a segment that is known, cutting damage, setting bytes aside.

use super::{LogConfig, LogState, SegmentState};
use crate::batch::{BatchError, BatchHeader, HEADER_BYTES};
use crate::index::{IndexEntries, IndexState, SegmentIndex};
use crate::io::{Io, IoFile, OpenMode};
use crate::offset::Offset;
use crate::scan::{Damage, Scanner};
use crate::segment::{Extent, Indexer, Segment, stem};
use crate::sync::atomic::Ordering;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes copied at a time when damaged bytes are set aside.
const COPY_BYTES: usize = 1 << 20;

/// What a copy of a segment is called until it takes its place.
pub(super) const RENEWED: &str = "log.renewed";

/// What a segment that a checkpoint knows turned out to be.
pub(super) enum Adopted {
    Known(Arc<Segment>),
    /// The files disagree: they are to be looked at.
    Unknown,
    /// Another log's, or of another time: its first batch is not the one that was there.
    Foreign(String),
}

/// A segment of which a checkpoint knows all, or all up to its own end.
pub(super) fn adopt_segment(
    io: &Arc<dyn Io>,
    dir: &Path,
    config: &LogConfig,
    known: &SegmentState,
    sealed: bool,
    clean: bool,
) -> io::Result<Adopted> {
    let stem = stem(dir, known.base);
    let path = stem.with_extension("log");
    let file = io.open(&path, OpenMode::Existing)?;
    let size_bytes = file.len()?;
    if size_bytes < known.bytes || (sealed && size_bytes > known.bytes) {
        return Ok(Adopted::Unknown);
    }
    if let Some(reason) = foreign(&*file, known)? {
        return Ok(Adopted::Foreign(reason));
    }
    let index = SegmentIndex::open(io, &stem, config.into())?;
    let holds = index.resume(known.index)?;
    if !holds {
        let mut indexer = Indexer::new(known.base, config.index_interval_bytes);
        let mut entries = IndexEntries::default();
        let mut scan = Scanner::headers(&*file, 0, known.bytes);
        while let Some(step) = scan.step()? {
            let Ok((position, header)) = step else { return Ok(Adopted::Unknown) };
            let (offset, time) = indexer.batch(&header, position);
            entries.offsets.extend(offset);
            entries.times.extend(time);
        }
        if sealed {
            entries.times.extend(indexer.time());
        }
        index.repair(&entries)?;
        if known.index != IndexState::UNKNOWN {
            tracing::info!(segment = %path.display(), "its indexes were rebuilt");
        }
    }
    // What a crash left after the last entry that is known is no entry.
    if sealed {
        index.close()?
    } else {
        index.cut()?
    }
    let SegmentState { end, bytes, max_timestamp, first_crc, .. } = *known;
    let extent = Extent { size_bytes: bytes, end, max_timestamp, first_crc };
    let segment = Segment::with(known.base, path, file, index, extent);
    // A clean stop syncs all indexes; what a crash left was read from the page cache.
    segment.index_synced.store(clean && holds && sealed, Ordering::Relaxed);
    Ok(Adopted::Known(Arc::new(segment)))
}

/// How the file's first batch is not the one that a checkpoint knows.
fn foreign(file: &dyn IoFile, known: &SegmentState) -> io::Result<Option<String>> {
    let Some(crc) = known.first_crc else { return Ok(None) };
    let mut first = [0; HEADER_BYTES];
    let read = file.read_at(&mut first, 0)?;
    Ok(match BatchHeader::parse(&first[..read]) {
        Ok(header) if header.crc == crc && header.base_offset == known.base => None,
        Ok(header) => Some(format!(
            "it begins with a batch of offset {} and CRC {:08x}, and did with one of CRC {crc:08x}: it is of another log or time",
            header.base_offset, header.crc
        )),
        Err(reason) => Some(format!("it does not begin with a batch: {reason}")),
    })
}

/// Whether a log's files are those that a checkpoint knows, at least as long as it says. `first` is the base of
/// the first segment now, and `cut` where the log was cut since.
pub(crate) fn is_intact(
    io: &dyn Io,
    dir: &Path,
    state: &LogState,
    first: Option<Offset>,
    cut: Option<Offset>,
) -> io::Result<bool> {
    for known in &state.segments {
        let removed = first.is_some_and(|first| known.base < first);
        if removed || cut.is_some_and(|cut| cut < known.end) {
            continue;
        }
        let file = match io.open(&stem(dir, known.base).with_extension("log"), OpenMode::ReadOnly) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(err) => return Err(err),
        };
        if file.len()? < known.bytes || foreign(&*file, known)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Zeros and a batch cut short at the end are what a crash leaves; anything else may be worth a look by a
/// person.
pub(super) fn cut_damage(
    io: &dyn Io,
    file: &dyn IoFile,
    path: &Path,
    damage: &Damage,
    size_bytes: u64,
    last: bool,
) -> io::Result<()> {
    let torn = last && matches!(damage.reason, BatchError::Incomplete { .. });
    if torn {
        tracing::warn!(segment = %path.display(), position = damage.position,
            bytes = size_bytes - damage.position, "a torn tail was cut: {}", damage.reason);
    } else {
        let aside = unused(io, path, &format!("log.damaged-at-{}", damage.position));
        copy_range(io, path, damage.position, size_bytes, &aside)?;
        tracing::error!(segment = %path.display(), position = damage.position, kept = %aside.display(),
            "the log is damaged: {}; what follows was set aside", damage.reason);
    }
    file.truncate(damage.position)
}

pub(super) fn remove_segment(io: &dyn Io, dir: &Path, base: Offset) -> io::Result<()> {
    for ending in ["log", "index", "timeindex"] {
        match io.remove(&stem(dir, base).with_extension(ending)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
    }
    Ok(())
}

/// The base offset in a segment's file name.
pub(crate) fn segment_base(name: &str) -> Option<Offset> {
    let is_number = |digits: &&str| digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let digits = name.strip_suffix(".log").filter(is_number)?;
    digits.parse().ok().map(Offset)
}

/// A name beside `path` that no file has: what was set aside before is kept, too.
pub(super) fn unused(io: &dyn Io, path: &Path, ending: &str) -> PathBuf {
    let first = path.with_extension(ending);
    let numbered = (1..).map(|n| path.with_extension(format!("{ending}-{n}")));
    std::iter::once(first.clone()).chain(numbered).find(|name| !io.exists(name)).unwrap_or(first)
}

/// Copies a part of a file to a new one, durably.
pub(super) fn copy_range(io: &dyn Io, from: &Path, start: u64, end: u64, to: &Path) -> io::Result<()> {
    let source = io.open(from, OpenMode::ReadOnly)?;
    let target = io.open(to, OpenMode::Any)?;
    target.truncate(0)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = start;
    while at < end {
        let want = COPY_BYTES.min(usize::try_from(end - at).unwrap_or(COPY_BYTES));
        let read = source.read_at(&mut buffer[..want], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        target.write_at(&[IoSlice::new(&buffer[..read])], at - start)?;
        at += read as u64;
    }
    target.sync_data()
}
