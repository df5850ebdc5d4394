//! Walks over the batches of a segment file, from any batch boundary on.

use crate::batch::{BatchError, BatchHeader, CRC_COVERS_FROM, HEADER_BYTES};
use crate::io::IoFile;
use std::io;

/// A place in a segment where no valid batch begins.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) position: u64,
    pub(crate) reason: BatchError,
}

/// What a scan comes across.
pub(crate) type Step = Result<(u64, BatchHeader), Damage>;

/// What a reader puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Waits for the medium.
    Any,
    /// Fails with `WouldBlock` where it had to.
    Cached,
}

pub(crate) struct Scanner<'a> {
    file: &'a dyn IoFile,
    /// Where to stop; the file may be longer.
    end: u64,
    position: u64,
    window: Vec<u8>,
    window_at: u64,
    window_bytes: usize,
    check_crc: bool,
    /// Whether a read that has to wait for the medium fails instead.
    cached_only: bool,
}

impl<'a> Scanner<'a> {
    /// Bytes read at a time where only headers are looked at.
    const HEADERS_WINDOW_BYTES: usize = 8 * 1024;
    /// Bytes read at a time where all are.
    const WHOLE_WINDOW_BYTES: usize = 512 * 1024;

    /// A scan of headers alone: they must make sense and the batches must fit.
    pub(crate) fn headers(file: &'a dyn IoFile, from: u64, end: u64) -> Self {
        Self::new(file, from, end, Self::HEADERS_WINDOW_BYTES, false)
    }

    /// With `reads` as they are to be done.
    pub(crate) fn with(mut self, reads: Reads) -> Self {
        self.cached_only = reads == Reads::Cached;
        self
    }

    /// A scan that checks every CRC.
    pub(crate) fn checked(file: &'a dyn IoFile, from: u64, end: u64) -> Self {
        Self::new(file, from, end, Self::WHOLE_WINDOW_BYTES, true)
    }

    fn new(file: &'a dyn IoFile, from: u64, end: u64, window_bytes: usize, check_crc: bool) -> Self {
        let window = Vec::new();
        Self {
            file,
            end,
            position: from,
            window,
            window_at: from,
            window_bytes,
            check_crc,
            cached_only: false,
        }
    }

    /// At least one byte from `position` on, as far as the window reaches; nothing at the end.
    fn at(&mut self, position: u64, want_bytes: usize) -> io::Result<&[u8]> {
        let inside = position >= self.window_at
            && position + want_bytes as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            let bytes = self
                .window_bytes
                .max(want_bytes)
                .min(usize::try_from(self.end - position).unwrap_or(usize::MAX));
            self.window.resize(bytes, 0);
            let read = if self.cached_only {
                self.file.read_cached_at(&mut self.window, position)?
            } else {
                self.file.read_at(&mut self.window, position)?
            };
            self.window.truncate(read);
            self.window_at = position;
        }
        let from = (position - self.window_at) as usize;
        Ok(&self.window[from.min(self.window.len())..])
    }

    /// The next batch; `None` at the end; after damage the scan is over.
    pub(crate) fn step(&mut self) -> io::Result<Option<Step>> {
        if self.position >= self.end {
            return Ok(None);
        }
        let position = self.position;
        let left = self.end - position;
        let want = HEADER_BYTES.min(usize::try_from(left).unwrap_or(HEADER_BYTES));
        let header = match BatchHeader::parse(self.at(position, want)?) {
            Ok(header) if header.size_bytes as u64 <= left => header,
            Ok(header) => {
                let reason = BatchError::Incomplete {
                    have_bytes: usize::try_from(left).unwrap_or(usize::MAX),
                    need_bytes: header.size_bytes,
                };
                return Ok(Some(self.damage(position, reason)));
            }
            Err(reason) => return Ok(Some(self.damage(position, reason))),
        };
        if self.check_crc {
            let computed =
                self.crc(position + CRC_COVERS_FROM as u64, position + header.size_bytes as u64)?;
            if computed != header.crc {
                let reason = BatchError::Crc { stored: header.crc, computed };
                return Ok(Some(self.damage(position, reason)));
            }
        }
        self.position = position + header.size_bytes as u64;
        Ok(Some(Ok((position, header))))
    }

    fn damage(&mut self, position: u64, reason: BatchError) -> Step {
        self.position = self.end;
        Err(Damage { position, reason })
    }

    /// In pieces, so that the length found in a damaged header asks for no memory.
    fn crc(&mut self, from: u64, to: u64) -> io::Result<u32> {
        let mut crc = 0;
        let mut position = from;
        while position < to {
            let left = usize::try_from(to - position).unwrap_or(usize::MAX);
            let piece = self.at(position, 1)?;
            if piece.is_empty() {
                break;
            }
            let piece = &piece[..piece.len().min(left)];
            crc = crc32c::crc32c_append(crc, piece);
            position += piece.len() as u64;
        }
        Ok(crc)
    }
}
