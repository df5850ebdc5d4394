//! A segment: a file of batches with its two indexes. The last one of a log grows.

use crate::batch::BatchHeader;
use crate::error::ReadError;
use crate::index::{IndexEntries, IndexLimits, OffsetEntry, SegmentIndex, TimeEntry};
use crate::io::{Io, IoFile, OpenMode};
use crate::offset::Offset;
use crate::scan::{Reads, Scanner};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// The file name without ending of the segment that begins at `base`.
pub(crate) fn stem(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}", base.0))
}

/// The largest timestamp of a segment and the last offset of the first batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxTimestamp {
    pub(crate) timestamp_ms: i64,
    pub(crate) offset: Offset,
}

/// How far a segment is. Changed as one, so that readers see size and end agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) size_bytes: u64,
    pub(crate) end: Offset,
    pub(crate) max_timestamp: Option<MaxTimestamp>,
    /// The CRC in the header of the first batch: what tells the segment from that of another log.
    pub(crate) first_crc: Option<u32>,
}

impl Extent {
    /// Of a segment without batches.
    pub(crate) fn empty(base: Offset) -> Self {
        Self { size_bytes: 0, end: base, max_timestamp: None, first_crc: None }
    }

    /// Takes a batch that follows at `position`.
    pub(crate) fn add(&mut self, header: &BatchHeader, position: u64) {
        self.first_crc.get_or_insert(header.crc);
        self.size_bytes = position + header.size_bytes as u64;
        self.end = header.end_offset();
    }
}

/// Decides which batches the sparse indexes point to. The same rule serves appends and rebuilding.
#[derive(Clone, Debug)]
pub(crate) struct Indexer {
    base: Offset,
    interval_bytes: u64,
    since_last_entry_bytes: u64,
    max_timestamp: Option<MaxTimestamp>,
    last_time_ms: i64,
}

impl Indexer {
    pub(crate) fn new(base: Offset, interval_bytes: u64) -> Self {
        Self { base, interval_bytes, since_last_entry_bytes: 0, max_timestamp: None, last_time_ms: i64::MIN }
    }

    fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset.0 - self.base.0).unwrap_or(u32::MAX)
    }

    /// Takes a batch that lies at `position`; gives the entries that it calls for.
    pub(crate) fn batch(
        &mut self,
        header: &BatchHeader,
        position: u64,
    ) -> (Option<OffsetEntry>, Option<TimeEntry>) {
        if self.max_timestamp.is_none_or(|max| header.max_timestamp_ms > max.timestamp_ms) {
            self.max_timestamp =
                Some(MaxTimestamp { timestamp_ms: header.max_timestamp_ms, offset: header.last_offset() });
        }
        let mut entries = (None, None);
        if self.since_last_entry_bytes > self.interval_bytes {
            self.since_last_entry_bytes = 0;
            entries.0 = Some(OffsetEntry {
                relative_offset: self.relative(header.last_offset()),
                position: u32::try_from(position).unwrap_or(u32::MAX),
            });
            entries.1 = self.time();
        }
        self.since_last_entry_bytes += header.size_bytes as u64;
        entries
    }

    /// The time entry that is due: at an index interval, and when the segment is sealed.
    pub(crate) fn time(&mut self) -> Option<TimeEntry> {
        let max = self.max_timestamp?;
        if max.timestamp_ms <= self.last_time_ms {
            return None;
        }
        self.last_time_ms = max.timestamp_ms;
        Some(TimeEntry { timestamp_ms: max.timestamp_ms, relative_offset: self.relative(max.offset) })
    }

    pub(crate) fn max_timestamp(&self) -> Option<MaxTimestamp> {
        self.max_timestamp
    }

    pub(crate) fn state(&self) -> IndexerState {
        let (since_last_entry_bytes, last_time_ms) = (self.since_last_entry_bytes, self.last_time_ms);
        IndexerState { since_last_entry_bytes, last_time_ms }
    }

    /// As it was when [`Indexer::state`] was taken.
    pub(crate) fn restored(
        base: Offset,
        interval_bytes: u64,
        state: IndexerState,
        max_timestamp: Option<MaxTimestamp>,
    ) -> Self {
        let IndexerState { since_last_entry_bytes, last_time_ms } = state;
        Self { base, interval_bytes, since_last_entry_bytes, max_timestamp, last_time_ms }
    }
}

/// What a checkpoint keeps of an [`Indexer`], beside the segment's largest timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexerState {
    pub(crate) since_last_entry_bytes: u64,
    pub(crate) last_time_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: Offset,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn IoFile>,
    pub(crate) index: SegmentIndex,
    /// Set once the index of a closed segment is on the medium.
    pub(crate) index_synced: AtomicBool,
    known: Mutex<Known>,
}

/// Boundaries of batches that a segment remembers.
const BOUNDARIES: usize = 4;

/// What changes of a segment while it is read.
#[derive(Debug)]
struct Known {
    extent: Extent,
    /// Offsets at which readers came to the end, and where that was: there they go on, without a search.
    boundaries: [(Offset, u64); BOUNDARIES],
    /// Which of them is forgotten next.
    next: usize,
    /// Counts how often the segment became shorter, after which offsets are at other places.
    cuts: u64,
}

impl Known {
    fn new(extent: Extent) -> Self {
        Self { extent, boundaries: [(Offset(-1), 0); BOUNDARIES], next: 0, cuts: 0 }
    }
}

/// What a reader sees of a segment at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) extent: Extent,
    /// Where the offset is that was asked for, if that is remembered.
    pub(crate) position: Option<u64>,
    cuts: u64,
}

impl Segment {
    /// A new, empty segment.
    pub(crate) fn create(
        io: &Arc<dyn Io>,
        dir: &Path,
        base: Offset,
        limits: IndexLimits,
    ) -> io::Result<Self> {
        let stem = stem(dir, base);
        let path = stem.with_extension("log");
        // An empty one may be left of an earlier try that ran out of something.
        let file = io.open(&path, OpenMode::Any)?;
        if file.len()? > 0 {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a segment of this offset"));
        }
        let index = SegmentIndex::open(io, &stem, limits)?;
        let segment = Self::with(base, path, file, index, Extent::empty(base));
        // Indexes that an earlier segment of this name left behind are none of this one's.
        segment.index.repair(&IndexEntries::default())?;
        Ok(segment)
    }

    pub(crate) fn with(
        base: Offset,
        path: PathBuf,
        file: Arc<dyn IoFile>,
        index: SegmentIndex,
        extent: Extent,
    ) -> Self {
        // What is cold is brought by those who want it, in pieces of their own.
        file.read_nothing_ahead();
        let known = Mutex::new(Known::new(extent));
        Self { base, path, file, index, index_synced: AtomicBool::new(false), known }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn extent(&self) -> Extent {
        self.known().extent
    }

    /// The extent, and whether it is known where `offset` is.
    pub(crate) fn sight(&self, offset: Offset) -> Sight {
        let known = self.known();
        let found = known.boundaries.iter().find(|(boundary, _)| *boundary == offset);
        Sight { extent: known.extent, position: found.map(|(_, position)| *position), cuts: known.cuts }
    }

    /// Remembers that what follows `offset` begins at `position`, as was found out after `sight`.
    pub(crate) fn remember(&self, offset: Offset, position: u64, sight: &Sight) {
        let mut known = self.known();
        let is_new = known.boundaries.iter().all(|(boundary, _)| *boundary != offset);
        if is_new && known.cuts == sight.cuts {
            let next = known.next;
            known.boundaries[next] = (offset, position);
            known.next = (next + 1) % BOUNDARIES;
        }
    }

    /// Writes `bytes` after the end. Nothing is visible before [`Segment::extend`].
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(&[IoSlice::new(bytes)], self.extent().size_bytes)
    }

    /// Other files may have its names from now on.
    pub(crate) fn retire(&self) {
        self.index.retire();
        self.file.retire();
    }

    /// Removes its files. Who still reads it reads on.
    pub(crate) fn remove(&self, io: &dyn Io) -> io::Result<()> {
        self.retire();
        io.remove(&self.path)?;
        for ending in ["index", "timeindex"] {
            match io.remove(&self.path.with_extension(ending)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the index of a closed segment durable, once.
    pub(crate) fn sync_index(&self) {
        if self.index_synced.load(Ordering::Relaxed) {
            return;
        }
        match self.index.sync() {
            Ok(()) => self.index_synced.store(true, Ordering::Relaxed),
            // The next start finds by the checksum what became of it.
            Err(err) => tracing::warn!(segment = %self.path.display(), "its index was not synced: {err}"),
        }
    }

    /// Counts what was written.
    pub(crate) fn extend(&self, extent: Extent) {
        let mut known = self.known();
        if extent.size_bytes < known.extent.size_bytes {
            *known = Known { cuts: known.cuts + 1, ..Known::new(extent) };
        }
        known.extent = extent;
    }

    pub(crate) fn io_error(&self) -> impl Fn(io::Error) -> ReadError + '_ {
        |source| ReadError::Io { file: self.path.clone(), source }
    }

    fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset.0 - self.base.0).unwrap_or(0)
    }

    /// The first batch at or after `from` (a batch boundary) that `wanted` accepts.
    fn find(
        &self,
        from: u64,
        end: u64,
        reads: Reads,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<(u64, BatchHeader)>, ReadError> {
        let mut scan = Scanner::headers(&*self.file, from, end).with(reads);
        while let Some(step) = scan.step().map_err(self.io_error())? {
            let (position, header) = step.map_err(|damage| ReadError::Damaged {
                file: self.path.clone(),
                position: damage.position,
                reason: damage.reason,
            })?;
            if wanted(&header) {
                return Ok(Some((position, header)));
            }
        }
        Ok(None)
    }

    /// The batch that holds `offset`, or the first one after it.
    pub(crate) fn locate(
        &self,
        offset: Offset,
        size_bytes: u64,
        reads: Reads,
    ) -> Result<Option<(u64, BatchHeader)>, ReadError> {
        let from = self.index.position_before(self.relative(offset));
        self.find(from, size_bytes, reads, |header| header.last_offset() >= offset)
    }

    /// Bytes of the batch that begins at `position`.
    pub(crate) fn batch_bytes(&self, position: u64, size_bytes: u64, reads: Reads) -> Result<u64, ReadError> {
        let batch = self.find(position, size_bytes, reads, |_| true)?;
        Ok(batch.map_or(0, |(_, header)| header.size_bytes as u64))
    }

    /// The first batch that ends after `from` and holds a record of `timestamp_ms` or later.
    pub(crate) fn locate_time(
        &self,
        timestamp_ms: i64,
        from: Offset,
        size_bytes: u64,
    ) -> Result<Option<(u64, BatchHeader)>, ReadError> {
        let relative = self.index.offset_before(timestamp_ms);
        let relative = relative.max(self.relative(from));
        let position = self.index.position_before(relative);
        let wanted =
            |header: &BatchHeader| header.max_timestamp_ms >= timestamp_ms && header.last_offset() >= from;
        self.find(position, size_bytes, Reads::Any, wanted)
    }

    /// The largest timestamp of the batches that lie within `from..to`.
    pub(crate) fn max_timestamp_within(
        &self,
        from: Offset,
        to: Offset,
        extent: &Extent,
    ) -> Result<Option<i64>, ReadError> {
        if let Some(max) = extent.max_timestamp
            && (from..to).contains(&max.offset)
        {
            return Ok(Some(max.timestamp_ms));
        }
        // The largest lies elsewhere. Up to some batch the time index tells; after it only the headers do.
        let indexed = self.index.time_before(self.relative(to));
        let indexed = indexed.map(|(time, relative)| (time, Offset(self.base.0 + i64::from(relative))));
        let indexed = indexed.filter(|(_, offset)| *offset >= from);
        let rest = indexed.map_or(from, |(_, offset)| offset);
        let position = self.index.position_before(self.relative(rest));
        let largest = Cell::new(indexed.map(|(time, _)| time));
        self.find(position, extent.size_bytes, Reads::Any, |header| {
            let is_past = header.last_offset() >= to;
            if !is_past && header.base_offset >= rest {
                largest.set(largest.get().max(Some(header.max_timestamp_ms)));
            }
            is_past
        })?;
        Ok(largest.get())
    }

    /// The last batch boundary in `from..=limit`, where `from` is one.
    pub(crate) fn last_boundary(
        &self,
        from: u64,
        limit: u64,
        size_bytes: u64,
        reads: Reads,
    ) -> Result<u64, ReadError> {
        let indexed = self.index.boundary_before(limit);
        let mut boundary = from.max(indexed);
        let mut scan = Scanner::headers(&*self.file, boundary, size_bytes).with(reads);
        while let Some(Ok((position, header))) = scan.step().map_err(self.io_error())? {
            let end = position + header.size_bytes as u64;
            if end > limit {
                break;
            }
            boundary = end;
        }
        Ok(boundary)
    }
}
