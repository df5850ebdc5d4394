//! Putting an entry together in memory that direct I/O takes.

use super::entry::{ENTRY_HEADER_BYTES, EntryHeader, SECTION_HEADER_BYTES, Section};
use crate::io::{Block, IoFile};
use std::io;

/// An entry that is being put together.
pub(crate) struct Draft {
    pub(crate) block: Block,
    pub(crate) len: usize,
    pub(crate) sections: u32,
    pub(crate) limit: usize,
}

impl Draft {
    /// An empty entry in a block, of at most `limit` bytes.
    pub(crate) fn new(mut block: Block, limit: usize) -> Self {
        block.set_len(block.capacity());
        let limit = limit.min(block.capacity());
        Self { block, len: ENTRY_HEADER_BYTES, sections: 0, limit }
    }

    pub(crate) fn note(&mut self, section: &Section) {
        section.encode(&mut self.block.bytes_mut()[self.len..]);
        self.len += SECTION_HEADER_BYTES;
        self.sections += 1;
    }

    /// Puts the section's bytes, which are at hand, into the entry.
    pub(super) fn copied(&mut self, section: &Section, bytes: &[u8]) {
        debug_assert_eq!(section.payload_bytes as usize, bytes.len());
        self.note(section);
        self.block.bytes_mut()[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Reads the section's bytes from the page cache into the entry.
    pub(crate) fn data(&mut self, section: &Section, file: &dyn IoFile) -> io::Result<()> {
        let bytes = section.payload_bytes as usize;
        self.note(section);
        let out = &mut self.block.bytes_mut()[self.len..self.len + bytes];
        if file.read_at(out, section.position)? < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.len += bytes;
        Ok(())
    }

    pub(crate) fn sealed(self, epoch: u64, sequence: u64, proven: u64, padded: usize) -> Block {
        let Self { mut block, len, sections, .. } = self;
        let payload_bytes = u32::try_from(len - ENTRY_HEADER_BYTES).unwrap_or(u32::MAX);
        let bytes = block.bytes_mut();
        bytes[len..padded].fill(0);
        EntryHeader { epoch, sequence, proven, payload_bytes, sections }.seal(&mut bytes[..len]);
        block.set_len(padded);
        block
    }
}
