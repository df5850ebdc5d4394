//! Open files, mappings and locks.

use super::Disk;
use super::content::SECTOR_BYTES;
use super::directory::InodeId;
use super::state::State;
use crate::io::{Block, DirectFile, IoFile, Locked, Mapping};
use crate::sync::MutexGuard;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::BorrowedFd;

/// What every handle has.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) disk: Disk,
    pub(super) file: InodeId,
    pub(super) generation: u64,
}

impl Handle {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.check(self.generation)?;
        Ok(state)
    }
}

/// A file open through the page cache.
#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) handle: Handle,
    pub(super) writable: bool,
}

impl SimFile {
    fn writable(&self) -> io::Result<MutexGuard<'_, State>> {
        if !self.writable {
            return Err(io::Error::from_raw_os_error(nix::errno::Errno::EBADF as i32));
        }
        self.handle.state()
    }
}

impl IoFile for SimFile {
    fn write_at(&self, bufs: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.writable()?.write(self.handle.file, &bytes, position)
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.handle.state()?;
        state.touched = self.handle.file;
        Ok(state.file(self.handle.file)?.read(buf, position))
    }

    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.read_at(buf, position)
    }

    fn is_cached(&self, _: u64, _: u64) -> bool {
        true
    }

    fn read_nothing_ahead(&self) {}

    fn read_ahead(&self, _: u64, _: u64) {}

    fn len(&self) -> io::Result<u64> {
        Ok(self.handle.state()?.file(self.handle.file)?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.writable()?.set_len(self.handle.file, len, false)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.writable()?.set_len(self.handle.file, len, true)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.handle.state()?.sync(self.handle.file)
    }

    fn write_back(&self, from: u64, len: u64) -> io::Result<()> {
        self.handle.state()?.write_back(self.handle.file, from, len);
        Ok(())
    }

    fn map(&self, len: usize) -> io::Result<Box<dyn Mapping>> {
        let mut state = self.writable()?;
        if !state.mappings {
            return Err(ErrorKind::OutOfMemory.into());
        }
        if state.file(self.handle.file)?.len() < len as u64 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the mapping is longer than its file"));
        }
        let handle = Handle {
            disk: self.handle.disk.clone(),
            file: self.handle.file,
            generation: self.handle.generation,
        };
        Ok(Box::new(SimMapping { handle, len }))
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Err(ErrorKind::Unsupported.into())
    }
}

/// A shared mapping. What the machine does after it was turned off changes nothing.
#[derive(Debug)]
struct SimMapping {
    handle: Handle,
    len: usize,
}

impl SimMapping {
    /// The file, if it is still there to be reached. The kernel kills a process that uses a page of a
    /// mapping beyond the end of its file, and so does this.
    fn reach(&self, to: usize) -> Option<MutexGuard<'_, State>> {
        assert!(to <= self.len, "byte {to} is beyond the mapping of {} bytes", self.len);
        let mut state = self.handle.state().ok()?;
        let len = state.file(self.handle.file).ok()?.len();
        drop(state);
        assert!(to as u64 <= len, "byte {to} of the mapping is beyond the end of its file of {len} bytes");
        self.handle.state().ok()
    }
}

impl Mapping for SimMapping {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        let reached = self.reach(at + out.len());
        if let Some(mut state) = reached
            && let Ok(content) = state.file(self.handle.file)
        {
            content.read(out, at as u64);
        } else {
            out.fill(0);
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        if let Some(mut state) = self.reach(at + bytes.len())
            && let Ok(content) = state.file(self.handle.file)
        {
            content.write(bytes, at as u64);
        }
    }
}

/// A file open past the page cache.
#[derive(Debug)]
pub(super) struct SimDirect(pub(super) Handle);

impl SimDirect {
    fn aligned(position: u64, len: usize) -> io::Result<()> {
        let aligned = position.is_multiple_of(SECTOR_BYTES) && (len as u64).is_multiple_of(SECTOR_BYTES);
        if aligned { Ok(()) } else { Err(ErrorKind::InvalidInput.into()) }
    }
}

impl DirectFile for SimDirect {
    fn read_at(&self, block: &mut Block, position: u64) -> io::Result<usize> {
        Self::aligned(position, block.bytes().len())?;
        self.0.state()?.read_direct(self.0.file, block.bytes_mut(), position)
    }

    fn write_at(&self, block: &Block, position: u64) -> io::Result<()> {
        Self::aligned(position, block.bytes().len())?;
        self.0.state()?.write_direct(self.0.file, block.bytes(), position)
    }

    fn align_bytes(&self) -> usize {
        usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX)
    }

    fn is_direct(&self) -> bool {
        self.0.disk.state().direct
    }

    fn durable_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Released when dropped, and by a crash.
#[derive(Debug)]
pub(super) struct SimLock(pub(super) Handle);

impl Locked for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.0.disk.state();
        if state.generation == self.0.generation {
            state.locked.remove(&self.0.file);
        }
    }
}
