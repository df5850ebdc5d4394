//! Sparse indexes in Kafka's format: offset to position (8 bytes an entry) and timestamp to offset
//! (12 bytes an entry). Keys rise. Offsets are relative to the segment's base offset.
//!
//! An index is a help, never the truth: it is rebuilt from the segment whenever it disagrees.

use crate::io::{Io, IoFile, Mapping, OpenMode};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// Bytes that an index file first takes; it doubles when it is full.
const FIRST_BYTES: usize = 4096;

/// A file of fixed-size entries, mapped when first used, made when first written.
#[derive(Debug)]
struct EntryFile<const N: usize> {
    io: Arc<dyn Io>,
    path: PathBuf,
    bytes_max: usize,
    /// Lookups take microseconds and fetches are few beside records, so one lock does for both.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<dyn IoFile>>,
    map: Option<Box<dyn Mapping>>,
    entries: usize,
    /// CRC-32C of all entries.
    checksum: u32,
    file_bytes: usize,
    /// Set when the log is deleted: a file of this name may soon be another log's.
    retired: bool,
}

impl<const N: usize> EntryFile<N> {
    fn open(io: &Arc<dyn Io>, path: &Path, bytes_max: usize) -> io::Result<Self> {
        let mut state = State::default();
        match io.open(path, OpenMode::Existing) {
            Ok(file) => {
                state.file_bytes = usize::try_from(file.len()?).unwrap_or(usize::MAX);
                state.entries = state.file_bytes / N;
            }
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
        Ok(Self { io: Arc::clone(io), path: path.to_owned(), bytes_max, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state with the file mapped; `None` if there is no entry.
    fn mapped(&self) -> io::Result<Option<MutexGuard<'_, State>>> {
        let mut state = self.lock();
        if state.entries == 0 || (state.retired && state.map.is_none()) {
            return Ok(None);
        }
        if state.map.is_none() {
            let opened = self.io.open(&self.path, OpenMode::Existing);
            match opened.and_then(|file| file.map(state.entries * N)) {
                Ok(map) => state.map = Some(map),
                // It only helps: on a file system that became read-only reads go on without it.
                Err(err) => {
                    tracing::debug!(index = %self.path.display(), "it cannot be used: {err}");
                    return Ok(None);
                }
            }
        }
        Ok(Some(state))
    }

    /// The last entry for which `before` holds; it holds for a prefix of the entries.
    fn last_where(&self, before: impl Fn([u8; N]) -> bool) -> io::Result<Option<[u8; N]>> {
        let Some(state) = self.mapped()? else { return Ok(None) };
        let (mut low, mut high) = (0, state.entries);
        while low < high {
            let middle = usize::midpoint(low, high);
            if before(state.entry(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1).map(|at| state.entry(at)))
    }

    /// Adds an entry. `false` if the index has reached its largest size.
    fn push(&self, entry: [u8; N]) -> io::Result<bool> {
        let mut state = self.lock();
        let end = (state.entries + 1) * N;
        if end > self.bytes_max {
            return Ok(false);
        }
        if state.map.as_ref().is_none_or(|map| map.len() < end) {
            let bytes = (state.file_bytes * 2).max(FIRST_BYTES).max(end).min(self.bytes_max);
            let file = match state.file.take() {
                Some(file) => file,
                None => self.io.open(&self.path, OpenMode::Any)?,
            };
            file.preallocate(bytes as u64)?;
            state.map = Some(file.map(bytes)?);
            state.file = Some(file);
            state.file_bytes = bytes;
        }
        let at = state.entries * N;
        if let Some(map) = &mut state.map {
            map.write(at, &entry);
        }
        state.checksum = crc32c::crc32c_append(state.checksum, &entry);
        state.entries += 1;
        Ok(true)
    }

    fn summary(&self) -> Summary {
        let state = self.lock();
        Summary { entries: state.entries, checksum: state.checksum }
    }

    /// Goes on after the first entries, if the file has these and no others were among them.
    fn resume(&self, known: Summary) -> io::Result<bool> {
        let mut state = self.lock();
        if state.file_bytes < known.entries * N {
            return Ok(false);
        }
        let mut content = vec![0; known.entries * N];
        if known.entries > 0 {
            let file = self.io.open(&self.path, OpenMode::ReadOnly)?;
            if file.read_at(&mut content, 0)? < content.len() {
                return Ok(false);
            }
        }
        let holds = crc32c::crc32c(&content) == known.checksum;
        if holds {
            (state.entries, state.checksum) = (known.entries, known.checksum);
        }
        Ok(holds)
    }

    /// Makes the file's content durable, if there is one.
    fn sync(&self) -> io::Result<()> {
        let file = {
            let state = self.lock();
            if state.entries == 0 || state.retired {
                return Ok(());
            }
            state.file.clone()
        };
        match file {
            Some(file) => file.sync_data(),
            None => self.io.open(&self.path, OpenMode::ReadOnly)?.sync_data(),
        }
    }

    /// Whether the file holds exactly `entries`.
    fn equals(&self, entries: &[[u8; N]]) -> bool {
        let Ok(state) = self.mapped() else { return false };
        match state {
            None => entries.is_empty() && self.lock().file_bytes == 0,
            Some(state) => {
                state.file_bytes == entries.len() * N
                    && state.entries == entries.len()
                    && (0..entries.len()).all(|at| state.entry(at) == entries[at])
            }
        }
    }

    #[cfg(any(test, feature = "sim"))]
    fn content(&self) -> io::Result<Vec<[u8; N]>> {
        let Some(state) = self.mapped()? else { return Ok(Vec::new()) };
        Ok((0..state.entries).map(|at| state.entry(at)).collect())
    }

    /// After [`EntryFile::equals`] said so.
    fn settle(&self, entries: &[[u8; N]]) {
        self.lock().checksum = crc32c::crc32c(entries.as_flattened());
    }

    /// Replaces the content.
    fn rewrite(&self, entries: &[[u8; N]]) -> io::Result<()> {
        {
            let mut state = self.lock();
            *state = State::default();
            match self.io.remove(&self.path) {
                Err(err) if err.kind() != ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        for entry in entries {
            self.push(*entry)?;
        }
        self.trim()
    }

    /// Opens no file any more. Without a mapping a lookup finds nothing, which only costs a scan.
    fn retire(&self) {
        self.lock().retired = true;
    }

    /// Cuts the file to its entries and closes it; it is mapped again when read.
    fn trim(&self) -> io::Result<()> {
        let mut state = self.lock();
        let bytes = state.entries * N;
        // The mapping goes first: it must never reach beyond the file.
        state.map = None;
        let file = state.file.take();
        if state.file_bytes != bytes {
            let file = match file {
                Some(file) => file,
                None => self.io.open(&self.path, OpenMode::Existing)?,
            };
            file.truncate(bytes as u64)?;
            state.file_bytes = bytes;
        }
        Ok(())
    }
}

impl State {
    /// Only with a map and `at < entries`; anything else reads as zeros.
    fn entry<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        if let Some(map) = self.map.as_ref().filter(|map| (at + 1) * N <= map.len()) {
            map.read(at * N, &mut out);
        }
        out
    }
}

/// An entry of the offset index: the last offset of a batch, relative, and the batch's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) relative_offset: u32,
    pub(crate) position: u32,
}

impl OffsetEntry {
    fn encode(self) -> [u8; 8] {
        let mut out = [0; 8];
        out[..4].copy_from_slice(&self.relative_offset.to_be_bytes());
        out[4..].copy_from_slice(&self.position.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { relative_offset: u32::from_be_bytes([a, b, c, d]), position: u32::from_be_bytes([e, f, g, h]) }
    }
}

/// An entry of the time index: up to `relative_offset`, no timestamp is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp_ms: i64,
    pub(crate) relative_offset: u32,
}

impl TimeEntry {
    fn encode(self) -> [u8; 12] {
        let mut out = [0; 12];
        out[..8].copy_from_slice(&self.timestamp_ms.to_be_bytes());
        out[8..].copy_from_slice(&self.relative_offset.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: [u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Self {
            timestamp_ms: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            relative_offset: u32::from_be_bytes([i, j, k, l]),
        }
    }
}

/// The entries that a segment's content calls for, as a scan of it finds them.
#[derive(Debug, Default)]
pub(crate) struct IndexEntries {
    pub(crate) offsets: Vec<OffsetEntry>,
    pub(crate) times: Vec<TimeEntry>,
}

/// How many entries an index has, and their checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) entries: usize,
    pub(crate) checksum: u32,
}

/// What a checkpoint keeps of a segment's indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexState {
    pub(crate) offsets: Summary,
    pub(crate) times: Summary,
}

/// The two indexes of a segment.
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    offsets: EntryFile<8>,
    times: EntryFile<12>,
    /// An entry could not be written: what is there is right, and not all.
    incomplete: AtomicBool,
}

impl SegmentIndex {
    pub(crate) fn open(io: &Arc<dyn Io>, stem: &Path, bytes_max: usize) -> io::Result<Self> {
        Ok(Self {
            offsets: EntryFile::open(io, &stem.with_extension("index"), bytes_max)?,
            times: EntryFile::open(io, &stem.with_extension("timeindex"), bytes_max)?,
            incomplete: AtomicBool::new(false),
        })
    }

    /// Whether one of the two has no room for a further entry.
    pub(crate) fn is_full(&self) -> bool {
        let full = |entries: usize, bytes: usize, max: usize| (entries + 1) * bytes > max;
        // One entry of the time index is kept for sealing.
        full(self.offsets.lock().entries, 8, self.offsets.bytes_max)
            || full(self.times.lock().entries + 1, 12, self.times.bytes_max)
    }

    pub(crate) fn push_offset(&self, entry: OffsetEntry) -> io::Result<bool> {
        self.note(self.offsets.push(entry.encode()))
    }

    pub(crate) fn push_time(&self, entry: TimeEntry) -> io::Result<bool> {
        self.note(self.times.push(entry.encode()))
    }

    fn note(&self, pushed: io::Result<bool>) -> io::Result<bool> {
        if pushed.is_err() {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        pushed
    }

    /// A position at or before the batch that holds this offset.
    pub(crate) fn position_before(&self, relative_offset: u32) -> io::Result<u64> {
        let found = self.offsets.last_where(|e| OffsetEntry::decode(e).relative_offset <= relative_offset)?;
        Ok(found.map_or(0, |entry| u64::from(OffsetEntry::decode(entry).position)))
    }

    /// The last indexed batch boundary at or before `position`.
    pub(crate) fn boundary_before(&self, position: u64) -> io::Result<u64> {
        let found = self.offsets.last_where(|e| u64::from(OffsetEntry::decode(e).position) <= position)?;
        Ok(found.map_or(0, |entry| u64::from(OffsetEntry::decode(entry).position)))
    }

    /// A relative offset at or before the first record with a timestamp of `timestamp_ms` or later.
    pub(crate) fn offset_before(&self, timestamp_ms: i64) -> io::Result<u32> {
        let found = self.times.last_where(|e| TimeEntry::decode(e).timestamp_ms <= timestamp_ms)?;
        Ok(found.map_or(0, |entry| TimeEntry::decode(entry).relative_offset))
    }

    /// Makes both files hold exactly `entries`. Says whether one of them had to be written.
    pub(crate) fn repair(&self, entries: &IndexEntries) -> io::Result<bool> {
        let offsets: Vec<_> = entries.offsets.iter().map(|entry| entry.encode()).collect();
        let times: Vec<_> = entries.times.iter().map(|entry| entry.encode()).collect();
        let mut repaired = false;
        // Until both are done.
        self.incomplete.store(true, Ordering::Relaxed);
        if !self.offsets.equals(&offsets) {
            self.offsets.rewrite(&offsets)?;
            repaired = true;
        }
        if !self.times.equals(&times) {
            self.times.rewrite(&times)?;
            repaired = true;
        }
        self.incomplete.store(false, Ordering::Relaxed);
        self.offsets.settle(&offsets);
        self.times.settle(&times);
        Ok(repaired)
    }

    /// For a checkpoint. An incomplete index has a state that no file agrees with.
    pub(crate) fn state(&self) -> IndexState {
        if self.incomplete.load(Ordering::Relaxed) {
            let none = Summary { entries: 0, checksum: u32::MAX };
            return IndexState { offsets: none, times: none };
        }
        IndexState { offsets: self.offsets.summary(), times: self.times.summary() }
    }

    /// Goes on after what a checkpoint knew of, if that is there unchanged. Else nothing is changed, and
    /// the indexes must be built again.
    pub(crate) fn resume(&self, known: IndexState) -> io::Result<bool> {
        Ok(self.offsets.resume(known.offsets)? && self.times.resume(known.times)?)
    }

    /// Whether both hold exactly `entries`; the files may have room for more.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn agrees(&self, entries: &IndexEntries) -> io::Result<bool> {
        if self.incomplete.load(Ordering::Relaxed) {
            return Ok(true); // the next opening makes it whole
        }
        let offsets: Vec<_> = entries.offsets.iter().map(|entry| entry.encode()).collect();
        let times: Vec<_> = entries.times.iter().map(|entry| entry.encode()).collect();
        // A full index takes no more.
        let offsets = &offsets[..offsets.len().min(self.offsets.bytes_max / 8)];
        let times = &times[..times.len().min(self.times.bytes_max / 12)];
        let agree = self.offsets.content()? == offsets && self.times.content()? == times;
        if !agree {
            let found = (self.offsets.content()?, self.times.content()?);
            tracing::error!(?found, ?offsets, ?times, "indexes differ");
        }
        Ok(agree)
    }

    /// Adds entries that were found after what was resumed.
    pub(crate) fn add(&self, entries: &IndexEntries) -> io::Result<()> {
        for entry in &entries.offsets {
            self.push_offset(*entry)?;
        }
        for entry in &entries.times {
            self.push_time(*entry)?;
        }
        Ok(())
    }

    /// Makes both files durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.offsets.sync()?;
        self.times.sync()
    }

    pub(crate) fn retire(&self) {
        self.offsets.retire();
        self.times.retire();
    }

    pub(crate) fn trim(&self) -> io::Result<()> {
        self.offsets.trim()?;
        self.times.trim()
    }
}
