//! Memory for direct I/O, which wants its buffers aligned.

/// What every block is aligned to: no device asks for more.
const ALIGN_BYTES: usize = 4096;

/// Bytes in memory, aligned for direct I/O. They never move.
pub(crate) struct Block {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Block {
    /// Of `capacity` zeros, all of them in use.
    pub(crate) fn zeroed(capacity: usize) -> Self {
        // Asked of the system as zeros: what is not used takes no memory.
        let bytes = vec![0; capacity + ALIGN_BYTES];
        let from = bytes.as_ptr().align_offset(ALIGN_BYTES).min(ALIGN_BYTES);
        Self { bytes, from, len: capacity }
    }

    /// Bytes that it can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len() - ALIGN_BYTES
    }

    /// Uses the first `len` bytes from now on, whatever is in them.
    pub(crate) fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity());
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.from..self.from + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..self.from + self.len]
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_hold_what_was_asked_for() {
        for capacity in [0, 1, 512, 4096, 100_000] {
            let mut block = Block::zeroed(capacity);
            assert_eq!(block.bytes().len(), capacity);
            assert_eq!(block.bytes().as_ptr().align_offset(ALIGN_BYTES), 0);
            block.set_len(capacity / 2);
            assert_eq!(block.bytes_mut().len(), capacity / 2);
            assert_eq!(block.capacity(), capacity);
        }
    }
}
