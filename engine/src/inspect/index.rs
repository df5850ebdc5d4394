//! Index files, entry by entry.

use super::segments::INDEX_BYTES_MAX;
use crate::index::{OffsetEntry, TimeEntry};
use crate::io::{IoMode, backend, read_file};
use crate::log::segment_base;
use crate::offset::Offset;
use std::io::{self, ErrorKind};
use std::path::Path;

/// An entry of an `.index` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetIndexEntry {
    /// Where the entry lies in the index file.
    pub at: u64,
    /// The last offset of the batch that it points to.
    pub offset: Offset,
    /// Where that batch begins in the segment.
    pub position: u64,
}

/// An entry of a `.timeindex` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeIndexEntry {
    /// Where the entry lies in the index file.
    pub at: u64,
    /// The largest timestamp in the segment up to `offset`, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The last offset of the first batch that has it.
    pub offset: Offset,
}

/// The entries of an `.index` file. Room for entries to come, which is zeros, is left out.
///
/// # Errors
/// The file cannot be read, or its name does not tell the base offset.
pub fn offset_index(path: &Path) -> io::Result<Vec<OffsetIndexEntry>> {
    let base = base_of(path)?;
    let entry = |(at, bytes)| {
        let OffsetEntry { relative_offset, position } = OffsetEntry::decode(bytes);
        let offset = base.plus(i64::from(relative_offset));
        OffsetIndexEntry { at, offset, position: u64::from(position) }
    };
    Ok(entries(path)?.into_iter().map(entry).collect())
}

/// The entries of a `.timeindex` file, as [`offset_index`].
///
/// # Errors
/// As [`offset_index`].
pub fn time_index(path: &Path) -> io::Result<Vec<TimeIndexEntry>> {
    let base = base_of(path)?;
    let entry = |(at, bytes)| {
        let TimeEntry { timestamp_ms, relative_offset } = TimeEntry::decode(bytes);
        TimeIndexEntry { at, timestamp_ms, offset: base.plus(i64::from(relative_offset)) }
    };
    Ok(entries(path)?.into_iter().map(entry).collect())
}

fn base_of(path: &Path) -> io::Result<Offset> {
    let name = path.with_extension("log");
    let base = name.file_name().and_then(|name| segment_base(name.to_str()?));
    base.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "its name is not a base offset of 20 digits"))
}

/// Up to the first entry of zeros: no entry that was written is.
fn entries<const N: usize>(path: &Path) -> io::Result<Vec<(u64, [u8; N])>> {
    let content = read_file(&*backend(IoMode::Blocking), path, INDEX_BYTES_MAX)?;
    let whole = content.chunks_exact(N).filter_map(|bytes| <[u8; N]>::try_from(bytes).ok());
    let used = whole.take_while(|bytes| bytes.iter().any(|byte| *byte != 0));
    Ok(used.enumerate().map(|(number, bytes)| ((number * N) as u64, bytes)).collect())
}
