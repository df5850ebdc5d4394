//! Sparse indexes in Kafka's format: offset to position (8 bytes an entry) and timestamp to offset
//! (12 bytes an entry). Keys rise. Offsets are relative to the segment's base offset.
//!
//! An index is a help, never the truth: it is rebuilt from the segment whenever it disagrees.

mod entry_file;

use crate::io::Io;
use crate::log::LogConfig;
use crate::sync::atomic::{AtomicBool, Ordering};
use entry_file::EntryFile;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How large the indexes of a segment become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexLimits {
    /// Of each file.
    bytes_max: usize,
    /// Of each index that grows, before it gets a file.
    memory_entries_max: usize,
}

impl From<&LogConfig> for IndexLimits {
    fn from(config: &LogConfig) -> Self {
        Self { bytes_max: config.index_bytes_max, memory_entries_max: config.index_memory_entries_max }
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

impl IndexState {
    /// No file agrees with it.
    pub(crate) const UNKNOWN: Self = {
        let none = Summary { entries: 0, checksum: u32::MAX };
        Self { offsets: none, times: none }
    };
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
    pub(crate) fn open(io: &Arc<dyn Io>, stem: &Path, limits: IndexLimits) -> io::Result<Self> {
        Ok(Self {
            offsets: EntryFile::open(io, &stem.with_extension("index"), limits)?,
            times: EntryFile::open(io, &stem.with_extension("timeindex"), limits)?,
            incomplete: AtomicBool::new(false),
        })
    }

    /// Whether one of the two has no room for a further entry.
    pub(crate) fn is_full(&self) -> bool {
        // One entry of the time index is kept for sealing.
        self.offsets.is_full(1) || self.times.is_full(2)
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
    pub(crate) fn position_before(&self, relative_offset: u32) -> u64 {
        let found = self.offsets.last_where(|e| OffsetEntry::decode(e).relative_offset <= relative_offset);
        found.map_or(0, |entry| u64::from(OffsetEntry::decode(entry).position))
    }

    /// The last indexed batch boundary at or before `position`.
    pub(crate) fn boundary_before(&self, position: u64) -> u64 {
        let found = self.offsets.last_where(|e| u64::from(OffsetEntry::decode(e).position) <= position);
        found.map_or(0, |entry| u64::from(OffsetEntry::decode(entry).position))
    }

    /// A relative offset at or before the first record with a timestamp of `timestamp_ms` or later.
    pub(crate) fn offset_before(&self, timestamp_ms: i64) -> u32 {
        let found = self.times.last_where(|e| TimeEntry::decode(e).timestamp_ms <= timestamp_ms);
        found.map_or(0, |entry| TimeEntry::decode(entry).relative_offset)
    }

    /// The last entry of a record before `relative_offset`: its timestamp, that no record up to it exceeds, and its relative
    /// offset.
    pub(crate) fn time_before(&self, relative_offset: u32) -> Option<(i64, u32)> {
        let found = self.times.last_where(|e| TimeEntry::decode(e).relative_offset < relative_offset)?;
        let TimeEntry { timestamp_ms, relative_offset } = TimeEntry::decode(found);
        Some((timestamp_ms, relative_offset))
    }

    /// Makes both hold exactly `entries`, and their files no more. Says whether one of them had to be changed.
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

    /// For a checkpoint. An index that is incomplete, or not in its file yet, is not vouched for.
    pub(crate) fn state(&self) -> IndexState {
        if self.incomplete.load(Ordering::Relaxed) {
            return IndexState::UNKNOWN;
        }
        match (self.offsets.summary(), self.times.summary()) {
            (Some(offsets), Some(times)) => IndexState { offsets, times },
            _ => IndexState::UNKNOWN,
        }
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
        let offsets = &offsets[..offsets.len().min(self.offsets.entries_max())];
        let times = &times[..times.len().min(self.times.entries_max())];
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

    /// Cuts the files to their entries; what is in memory stays there.
    pub(crate) fn cut(&self) -> io::Result<()> {
        self.offsets.cut()?;
        self.times.cut()
    }

    /// Nothing follows for now: puts all entries into files of exactly these.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.offsets.close()?;
        self.times.close()
    }
}
