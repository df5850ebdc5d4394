//! Reading: which bytes of which segment, for `sendfile` or into memory.

use super::Log;
use crate::batch::BatchHeader;
use crate::error::ReadError;
use crate::offset::Offset;
use crate::segment::{MaxTimestamp, Segment};
use nix::sys::sendfile::sendfile64;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Whole batches that lie together in one segment. Holds the file open, whatever becomes of the log.
#[derive(Clone, Debug)]
pub struct Slice {
    segment: Arc<Segment>,
    position: u64,
    len: u64,
}

impl Slice {
    /// Where in the segment file the first batch begins.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sends what follows after the first `done` bytes to a socket, from the page cache, without a
    /// copy through this process. Returns the bytes sent: fewer than asked for where the socket's
    /// buffer is full.
    ///
    /// Source: sendfile(2).
    ///
    /// # Errors
    /// Those of the socket (`WouldBlock` for one that does not block and has no room) and of the
    /// file; `UnexpectedEof` if the file is shorter than it was.
    pub fn send_to(&self, socket: impl AsFd, done: u64) -> io::Result<u64> {
        let left = self.len.saturating_sub(done);
        if left == 0 {
            return Ok(0);
        }
        let mut at = i64::try_from(self.position + done).map_err(|_| io::ErrorKind::InvalidInput)?;
        let count = usize::try_from(left).unwrap_or(usize::MAX);
        match sendfile64(socket, self.segment.file.as_fd()?, Some(&mut at), count)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => Ok(sent as u64),
        }
    }

    /// The bytes, in memory.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than it was.
    pub fn read(&self) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        let read = self.segment.file.read_at(&mut bytes, self.position).map_err(self.segment.io_error())?;
        if read < bytes.len() {
            return Err(self.segment.io_error()(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }
}

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBound {
    /// Up to what is visible: the rule for all who consume.
    Visible,
    /// Up to the end, durable or not: for recovery and tools.
    Written,
}

impl Log {
    /// The batches from the one that holds `offset` on: as many whole ones as fit `bytes_max` and lie
    /// in one segment. Where the first alone is larger, it is given if `one_at_least`, else nothing.
    /// Nothing, too, at the end of what `bound` allows.
    ///
    /// # Errors
    /// `offset` is before the start or beyond the end; the segment is damaged or cannot be read.
    pub fn read(
        &self,
        offset: Offset,
        bytes_max: u64,
        one_at_least: bool,
        bound: ReadBound,
    ) -> Result<Option<Slice>, ReadError> {
        let progress = self.progress();
        let end = match bound {
            ReadBound::Visible => progress.visible,
            ReadBound::Written => progress.written,
        };
        if offset < progress.start || offset > progress.written {
            return Err(ReadError::OutOfRange { offset, start: progress.start, end });
        }
        if offset >= end {
            return Ok(None);
        }
        let segments = self.segment_list();
        let after = segments.partition_point(|segment| segment.base <= offset);
        for segment in &segments[after.saturating_sub(1)..] {
            let extent = segment.extent();
            if extent.end <= offset {
                continue;
            }
            let Some((position, first)) = segment.locate(offset, extent.size_bytes)? else { continue };
            let limit = if end >= extent.end {
                extent.size_bytes
            } else {
                let hidden = segment.locate(end, extent.size_bytes)?;
                hidden.map_or(extent.size_bytes, |(position, _)| position)
            };
            return self.cut(segment, position, &first, limit, bytes_max, one_at_least);
        }
        Ok(None)
    }

    fn cut(
        &self,
        segment: &Arc<Segment>,
        position: u64,
        first: &BatchHeader,
        limit: u64,
        bytes_max: u64,
        one_at_least: bool,
    ) -> Result<Option<Slice>, ReadError> {
        let slice = |len| Some(Slice { segment: Arc::clone(segment), position, len });
        let first_bytes = first.size_bytes as u64;
        if position >= limit {
            return Ok(None);
        }
        if limit - position <= bytes_max {
            return Ok(slice(limit - position));
        }
        if first_bytes > bytes_max {
            return Ok(if one_at_least { slice(first_bytes) } else { None });
        }
        let end = segment.last_boundary(position, position + bytes_max, limit)?;
        Ok(slice(end.max(position + first_bytes) - position))
    }

    /// The first visible batch with a record of `timestamp_ms` or later: its header and itself.
    /// Which of its records it is, is inside, perhaps compressed.
    ///
    /// # Errors
    /// A segment is damaged or cannot be read.
    pub fn find_timestamp(&self, timestamp_ms: i64) -> Result<Option<(BatchHeader, Slice)>, ReadError> {
        let progress = self.progress();
        for segment in self.segment_list().iter() {
            let extent = segment.extent();
            let reaches = extent.max_timestamp.is_some_and(|max| max.timestamp_ms >= timestamp_ms);
            if !reaches || extent.end <= progress.start {
                continue;
            }
            let Some((position, header)) = segment.locate_time(timestamp_ms, extent.size_bytes)? else {
                continue;
            };
            if header.end_offset() > progress.visible {
                return Ok(None);
            }
            let len = header.size_bytes as u64;
            return Ok(Some((header, Slice { segment: Arc::clone(segment), position, len })));
        }
        Ok(None)
    }

    /// The largest timestamp in the log; `None` if the log is empty.
    #[must_use]
    pub fn max_timestamp_ms(&self) -> Option<i64> {
        let all = self.segment_list();
        let max = all.iter().filter_map(|segment| segment.extent().max_timestamp);
        max.map(|max: MaxTimestamp| max.timestamp_ms).max()
    }
}
