//! Writing past the page cache, without unsafe code.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc::{O_DIRECT, O_DSYNC};

/// Alignment of memory, position and length: enough for every device with blocks of up to 4 KiB.
pub(crate) const ALIGN_BYTES: usize = 4096;
/// What is written at once when a file is made.
const FILL_BYTES: usize = 1 << 20;

/// Bytes whose address is aligned for O_DIRECT: a larger vector of which a part is used.
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` bytes, all `value`.
    pub(crate) fn filled(len: usize, value: u8) -> Self {
        let bytes = vec![value; len + ALIGN_BYTES];
        let start = bytes.as_ptr().align_offset(ALIGN_BYTES);
        assert!(start < ALIGN_BYTES, "a byte pointer can always be aligned");
        Self { bytes, start, len }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // A vector that is moved leaves its bytes where they are.
        &self.bytes[self.start..self.start + self.len]
    }
}

/// A file that was written once already, so that writing it again changes no metadata but times.
/// A write returns when it is on the medium.
#[derive(Debug)]
pub(crate) struct DirectFile {
    file: File,
    bytes: u64,
    at: u64,
}

impl DirectFile {
    /// Allocates and writes `bytes`, syncs, and opens the file for direct writes. The outer error is
    /// one of the disk; the inner one says that this file system has no direct writes.
    pub(crate) fn create(path: &Path, bytes: u64) -> io::Result<Result<Self, io::Error>> {
        assert_eq!(bytes % ALIGN_BYTES as u64, 0);
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        // A help only: not every file system can.
        let _ = fallocate(&file, FallocateFlags::empty(), 0, bytes as i64);
        let block = vec![0x5a; FILL_BYTES];
        let mut left = bytes;
        while left > 0 {
            let count = left.min(FILL_BYTES as u64) as usize;
            file.write_all(&block[..count])?;
            left -= count as u64;
        }
        file.sync_all()?;
        match OpenOptions::new().write(true).custom_flags(O_DIRECT | O_DSYNC).open(path) {
            Ok(file) => Ok(Ok(Self { file, bytes, at: 0 })),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Err(error)),
            Err(error) => Err(error),
        }
    }

    /// Writes behind the last write, or at the start where the rest of the file is too short.
    pub(crate) fn write_next(&mut self, buffer: &[u8]) -> io::Result<()> {
        let len = buffer.len() as u64;
        assert!(len <= self.bytes && len.is_multiple_of(ALIGN_BYTES as u64));
        if self.at + len > self.bytes {
            self.at = 0;
        }
        self.file.write_all_at(buffer, self.at)?;
        self.at += len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_stays_so() {
        let buffers: Vec<_> = (1..5).map(|n| AlignedBuffer::filled(n * ALIGN_BYTES, n as u8)).collect();
        for (n, buffer) in (1..).zip(&buffers) {
            assert_eq!(buffer.as_slice().as_ptr() as usize % ALIGN_BYTES, 0);
            assert_eq!(buffer.as_slice(), vec![n as u8; n * ALIGN_BYTES]);
        }
    }

    #[test]
    fn writing_goes_round_in_a_file_that_does_not_grow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("direct");
        let created = DirectFile::create(&path, 12 << 10).unwrap();
        let Ok(mut file) = created else { return }; // the file system of the tests has no direct writes
        file.write_next(AlignedBuffer::filled(8 << 10, 1).as_slice()).unwrap();
        file.write_next(AlignedBuffer::filled(8 << 10, 2).as_slice()).unwrap();
        file.write_next(AlignedBuffer::filled(4 << 10, 3).as_slice()).unwrap();
        let written = std::fs::read(&path).unwrap();
        assert_eq!((written.len(), written[0], written[8 << 10]), (12 << 10, 2, 3));
    }
}
