//! A writable shared mapping of a file. One of the engine's three files with `unsafe`.

use super::Mapping;
use memmap2::{MmapMut, MmapOptions};
use std::fs::File;
use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The kernel's usual limit of mappings.
const MAX_MAP_COUNT: usize = 65_530;

/// Mappings that this process may still make: half of what the kernel allows it (`vm.max_map_count`). The other half
/// is for the stacks of threads and for the allocator, which ends the process when it gets none.
static ROOM: LazyLock<Room> = LazyLock::new(|| {
    let allowed = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    let allowed = allowed.and_then(|text| text.trim().parse().ok()).unwrap_or(MAX_MAP_COUNT);
    Room { taken: AtomicUsize::new(0), max: allowed / 2 }
});

#[derive(Debug)]
struct Room {
    taken: AtomicUsize,
    max: usize,
}

impl Room {
    fn take(&self) -> io::Result<Place<'_>> {
        let more = |taken| (taken < self.max).then_some(taken + 1);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Place(self)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!("{} files are mapped, which is half of vm.max_map_count", self.max),
            )),
        }
    }
}

/// Held by a mapping.
#[derive(Debug)]
struct Place<'a>(&'a Room);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A mapping by mmap(2).
#[derive(Debug)]
pub(super) struct FileMapping(MmapMut, #[expect(dead_code, reason = "held, not used")] Place<'static>);

impl FileMapping {
    #[allow(unsafe_code)]
    pub(super) fn of_file(file: &File, len: usize) -> io::Result<Self> {
        if file.metadata()?.len() < len as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the mapping is longer than its file"));
        }
        let place = ROOM.take()?;
        // SAFETY: a mapping is undefined behaviour where another process or another part of this
        // one changes the file under a `&[u8]` of it. The store's directory is locked against
        // other processes (`store::lock`), an index file is opened by its `EntryFile` alone, and
        // that one hands out no reference to the mapped bytes: it copies entries out and in under
        // its own lock. Once its log is deleted it opens no file any more, so that it never maps
        // that of another log of the same name. It cuts the file shorter only after dropping the mapping, and the blocks
        // under the mapping are allocated (`preallocate`), so that no store to it can fault for
        // want of space.
        let map = unsafe { MmapOptions::new().len(len).map_mut(file)? };
        Ok(Self(map, place))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_than_may_be_and_room_comes_back() {
        let room = Room { taken: AtomicUsize::new(0), max: 2 };
        let (one, _other) = (room.take().unwrap(), room.take().unwrap());
        assert_eq!(room.take().unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        drop(one);
        assert!(room.take().is_ok());
        assert!((1..10_000_000).contains(&ROOM.max));
    }
}
