//! A writable shared mapping of a file. One of the engine's three files with `unsafe`.

use super::Mapping;
use memmap2::{MmapMut, MmapOptions};
use std::fs::File;
use std::io;

/// A mapping by mmap(2).
#[derive(Debug)]
pub(super) struct FileMapping(MmapMut);

impl FileMapping {
    #[allow(unsafe_code)]
    pub(super) fn of_file(file: &File, len: usize) -> io::Result<Self> {
        if file.metadata()?.len() < len as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the mapping is longer than its file"));
        }
        // SAFETY: a mapping is undefined behaviour where another process or another part of this
        // one changes the file under a `&[u8]` of it. The store's directory is locked against
        // other processes (`store::lock`), an index file is opened by its `IndexFile` alone, and
        // that one hands out no reference to the mapped bytes: it copies entries out and in under
        // its own lock. Once its log is deleted it opens no file any more, so that it never maps
        // that of another log of the same name. It cuts the file shorter only after dropping the mapping, and the blocks
        // under the mapping are allocated (`preallocate`), so that no store to it can fault for
        // want of space.
        let map = unsafe { MmapOptions::new().len(len).map_mut(file)? };
        Ok(Self(map))
    }
}

impl Mapping for FileMapping {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.0[at..at + out.len()]);
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
