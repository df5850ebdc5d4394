//! Reading: which bytes of which segment, for `sendfile` or into memory.

use super::{Log, suspect};
use crate::batch::{BatchError, BatchHeader, HEADER_BYTES};
use crate::error::ReadError;
use crate::journal::Journal;
use crate::offset::Offset;
use crate::scan::Reads;
use crate::segment::Segment;
use nix::sys::sendfile::sendfile64;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Bytes that are read at a time to bring them into the page cache.
const WARM_PIECE_BYTES: usize = 256 << 10;

/// Whole batches that lie together in one segment. Holds the file open, whatever becomes of the log.
#[derive(Clone, Debug)]
pub struct Slice {
    pub(super) segment: Arc<Segment>,
    pub(super) position: u64,
    pub(super) len: u64,
    /// Whether there were visible batches behind it.
    followed: bool,
    /// Set where it was made in a store that had failed.
    pub(super) checked: bool,
    /// The bytes, where the file cannot be relied on any more.
    pub(super) held: Option<Arc<[u8]>>,
    journal: Arc<Journal>,
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

    /// Whether there was more to read behind it when it was made: its size was limited, or a segment ended.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.followed
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
    /// file; `UnexpectedEof` if the file is shorter than it was. A [`crate::StoreFailed`] if the store failed since the
    /// slice was made: the file may not hold what was written any more, and another read checks it.
    pub fn send_to(&self, socket: impl AsFd, done: u64) -> io::Result<u64> {
        self.send_some_to(socket, done, u64::MAX)
    }

    /// As [`Slice::send_to`], at most `bytes_max`.
    ///
    /// # Errors
    /// As [`Slice::send_to`].
    pub fn send_some_to(&self, socket: impl AsFd, done: u64, bytes_max: u64) -> io::Result<u64> {
        let left = self.len.saturating_sub(done).min(bytes_max);
        if left == 0 {
            return Ok(0);
        }
        if let Some(held) = &self.held {
            let from = usize::try_from(done).map_err(|_| io::ErrorKind::InvalidInput)?;
            let to = from.saturating_add(usize::try_from(left).unwrap_or(usize::MAX)).min(held.len());
            return Ok(nix::unistd::write(socket, &held[from..to])? as u64);
        }
        if let Some(failed) = self.journal.fate.failure().filter(|_| !self.checked) {
            return Err(io::Error::other(failed));
        }
        let mut at = i64::try_from(self.position + done).map_err(|_| io::ErrorKind::InvalidInput)?;
        let count = usize::try_from(left).unwrap_or(usize::MAX);
        let file = &self.segment.file;
        let pinned = file.pin()?;
        let file = pinned.as_ref().map_or(file, |pinned| pinned.file());
        match sendfile64(socket, file.as_fd()?, Some(&mut at), count)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => Ok(sent as u64),
        }
    }

    /// Whether up to `bytes_max` bytes after the first `done` can be sent without waiting for the medium: they
    /// are in the page cache. They may leave it at any time.
    #[must_use]
    pub fn is_cached(&self, done: u64, bytes_max: u64) -> bool {
        let len = self.len.saturating_sub(done).min(bytes_max);
        self.held.is_some() || self.segment.file.is_cached(self.position + done, len)
    }

    /// Copies all of it behind what is in `out`, if that needs no waiting for the medium. To send a few hundred bytes from many
    /// logs this costs a fraction of as many calls of [`Slice::send_to`].
    ///
    /// # Errors
    /// `WouldBlock` where some of it is not in the page cache; all else as [`Slice::send_to`]. `out` is as before then.
    pub fn copy_cached(&self, out: &mut Vec<u8>) -> io::Result<()> {
        if let Some(held) = &self.held {
            out.extend_from_slice(held);
            return Ok(());
        }
        if let Some(failed) = self.journal.fate.failure().filter(|_| !self.checked) {
            return Err(io::Error::other(failed));
        }
        let (before, len) = (out.len(), usize::try_from(self.len).map_err(|_| io::ErrorKind::InvalidInput)?);
        out.resize(before + len, 0);
        let outcome = match self.segment.file.read_cached_at(&mut out[before..], self.position) {
            Ok(read) if read == len => return Ok(()),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(err) => Err(err),
        };
        out.truncate(before);
        outcome
    }

    /// Reads up to `bytes_max` bytes after the first `done` into the page cache, and has the kernel begin with
    /// as many after them. Blocks while the medium reads.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn warm(&self, done: u64, bytes_max: u64) -> io::Result<()> {
        if self.held.is_some() {
            return Ok(());
        }
        let file = &self.segment.file;
        let end = self.len.min(done.saturating_add(bytes_max));
        file.read_ahead(
            self.position + done,
            self.len.min(end.saturating_add(bytes_max)).saturating_sub(done),
        );
        let mut piece = vec![0; WARM_PIECE_BYTES];
        let mut at = done;
        while at < end {
            let bytes = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
            match file.read_at(&mut piece[..bytes], self.position + at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => at += read as u64,
            }
        }
        Ok(())
    }

    /// The bytes, in memory.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than it was, or the store failed and it does not hold what was written.
    pub fn read(&self) -> Result<Vec<u8>, ReadError> {
        if let Some(held) = &self.held {
            return Ok(held.to_vec());
        }
        let bytes = self.bytes()?;
        if let Some(failed) = self.journal.fate.failure().filter(|_| !self.checked) {
            suspect::check(&self.segment, self.position, &bytes, failed)?;
        }
        Ok(bytes)
    }

    /// As the file has them.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, ReadError> {
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
        self.vouched(self.find(offset, (bytes_max, one_at_least), bound, Reads::Any), Some(offset))
    }

    /// As [`Log::read`], without waiting for the medium where headers of batches are not in the page cache.
    ///
    /// # Errors
    /// As [`Log::read`]; [`ReadError::is_cold`] tells that it would have had to wait.
    pub fn read_cached(
        &self,
        offset: Offset,
        bytes_max: u64,
        one_at_least: bool,
        bound: ReadBound,
    ) -> Result<Option<Slice>, ReadError> {
        self.vouched(self.find(offset, (bytes_max, one_at_least), bound, Reads::Cached), Some(offset))
    }

    fn find(
        &self,
        offset: Offset,
        size: (u64, bool),
        bound: ReadBound,
        reads: Reads,
    ) -> Result<Option<Slice>, ReadError> {
        let progress = self.progress();
        let end = match bound {
            ReadBound::Visible => progress.visible,
            ReadBound::Written => progress.written,
        };
        if offset < progress.start || offset > progress.written {
            return Err(ReadError::OutOfRange { offset, start: progress.start, end });
        }
        let none_fits = size == (0, false);
        if offset >= end || none_fits {
            return Ok(None);
        }
        let segments = self.segment_list();
        let after = segments.partition_point(|segment| segment.base <= offset);
        for segment in &segments[after.saturating_sub(1)..] {
            let sight = segment.sight(offset);
            let extent = sight.extent;
            if extent.end <= offset {
                continue;
            }
            let (position, first_bytes) = match sight.position {
                Some(position) => (position, None),
                None => match segment.locate(offset, extent.size_bytes, reads)? {
                    Some((position, first)) => (position, Some(first.size_bytes as u64)),
                    None => continue,
                },
            };
            let boundary = if end >= extent.end {
                Some((extent.end, extent.size_bytes))
            } else {
                let hidden = segment.locate(end, extent.size_bytes, reads)?;
                hidden.map(|(position, _)| (end, position))
            };
            let limit = boundary.map_or(extent.size_bytes, |(_, limit)| limit);
            if position >= limit {
                break;
            }
            let mut slice = self.cut(segment, (position, first_bytes), limit, size, reads)?;
            if let Some(slice) = &mut slice {
                let goes_on = boundary.is_some_and(|(reaches, _)| reaches < end);
                slice.followed = goes_on || slice.position + slice.len < limit;
            }
            if let (Some(slice), Some((end, limit))) = (&slice, boundary)
                && slice.position + slice.len == limit
            {
                segment.remember(end, limit, &sight);
            }
            return Ok(slice);
        }
        match segments.last().filter(|_| self.failure().is_some()) {
            // The kernel dropped pages of segment or index.
            Some(last) => {
                let reason = BatchError::Incomplete { have_bytes: 0, need_bytes: HEADER_BYTES };
                Err(ReadError::Damaged {
                    file: last.path.clone(),
                    position: last.extent().size_bytes,
                    reason,
                })
            }
            // The log was cut meanwhile.
            None => Ok(None),
        }
    }

    /// Of the batches from `position` on, where one begins: as many as fit.
    fn cut(
        &self,
        segment: &Arc<Segment>,
        (position, first_bytes): (u64, Option<u64>),
        limit: u64,
        (bytes_max, one_at_least): (u64, bool),
        reads: Reads,
    ) -> Result<Option<Slice>, ReadError> {
        let slice = |len| Some(self.slice(segment, position, len));
        if limit - position <= bytes_max {
            return Ok(slice(limit - position));
        }
        let first_bytes = match first_bytes {
            Some(bytes) => bytes,
            None => segment.batch_bytes(position, limit, reads)?,
        };
        if first_bytes > bytes_max {
            return Ok(if one_at_least { slice(first_bytes) } else { None });
        }
        let end = segment.last_boundary(position, position + bytes_max, limit, reads)?;
        Ok(slice(end.max(position + first_bytes) - position))
    }

    fn slice(&self, segment: &Arc<Segment>, position: u64, len: u64) -> Slice {
        let (segment, journal) = (Arc::clone(segment), Arc::clone(&self.journal));
        Slice { segment, position, len, followed: false, checked: false, held: None, journal }
    }

    /// The first visible batch with a record of `timestamp_ms` or later: its header and itself.
    /// Which of its records it is, is inside, perhaps compressed.
    ///
    /// # Errors
    /// A segment is damaged or cannot be read.
    pub fn find_timestamp(&self, timestamp_ms: i64) -> Result<Option<(BatchHeader, Slice)>, ReadError> {
        self.find_timestamp_from(timestamp_ms, Offset::ZERO)
    }

    /// As [`Log::find_timestamp`], of the batches that end after `from`: to go on behind one whose records of that
    /// time lie before the log's start.
    ///
    /// # Errors
    /// As [`Log::find_timestamp`].
    pub fn find_timestamp_from(
        &self,
        timestamp_ms: i64,
        from: Offset,
    ) -> Result<Option<(BatchHeader, Slice)>, ReadError> {
        let (header, found) = match self.plan_timestamp(timestamp_ms, from) {
            Ok(Some((header, slice))) => (Some(header), Ok(Some(slice))),
            Ok(None) => (None, Ok(None)),
            Err(err) => (None, Err(err)),
        };
        let first = header.as_ref().map(|header| header.base_offset);
        Ok(header.zip(self.vouched(found, first)?))
    }

    fn plan_timestamp(
        &self,
        timestamp_ms: i64,
        from: Offset,
    ) -> Result<Option<(BatchHeader, Slice)>, ReadError> {
        let progress = self.progress();
        let from = from.max(progress.start);
        for segment in self.segment_list().iter() {
            let extent = segment.extent();
            let reaches = extent.max_timestamp.is_some_and(|max| max.timestamp_ms >= timestamp_ms);
            if !reaches || extent.end <= from {
                continue;
            }
            let Some((position, header)) = segment.locate_time(timestamp_ms, from, extent.size_bytes)? else {
                continue;
            };
            if header.end_offset() > progress.visible {
                return Ok(None);
            }
            let len = header.size_bytes as u64;
            return Ok(Some((header, self.slice(segment, position, len))));
        }
        Ok(None)
    }

    /// The largest timestamp of the batches that begin at `from` or later and may be read; `None` if there are none. May
    /// read headers of a segment whose largest timestamp lies elsewhere.
    ///
    /// # Errors
    /// Headers that cannot be read.
    pub fn max_timestamp_ms(&self, from: Offset) -> Result<Option<i64>, ReadError> {
        let visible = self.progress().visible;
        let mut largest = None;
        for segment in self.segment_list().iter() {
            let extent = segment.extent();
            if extent.end > from && segment.base < visible {
                largest = largest.max(segment.max_timestamp_within(from, visible, &extent)?);
            }
        }
        Ok(largest)
    }
}
