//! Everything that the engine asks of the operating system, behind one small trait.
//!
//! Two backends: `uring` runs many syncs at once through a ring, `blocking` uses plain system calls
//! only. Both append with `pwritev`: buffered writes through a ring are always handed to kernel
//! workers on ext4, which is slower than writing at once.

mod blocking;
#[cfg(test)]
pub(crate) mod faulty;
mod mapping;
mod probe;
mod uring;

pub(crate) use mapping::Mapping;
pub use probe::IoMode;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// It must exist.
    Existing,
    /// It must exist, and is not written.
    ReadOnly,
    /// Either.
    Any,
}

/// An open file. Writes and reads are positioned: a handle has no cursor.
pub(crate) trait IoFile: Send + Sync + Debug {
    /// Writes all of `bufs` at `position`; a short write is completed.
    fn write_at(&self, bufs: &[IoSlice<'_>], position: u64) -> io::Result<()>;
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Sets the file's length.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Reserves blocks up to `len` and extends the file to it.
    fn preallocate(&self, len: u64) -> io::Result<()>;
    /// Makes data and length durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Maps the first `len` bytes for reading and writing, shared with the file.
    fn map(&self, len: usize) -> io::Result<Mapping>;
    /// The descriptor, for `sendfile`.
    fn as_fd(&self) -> BorrowedFd<'_>;
}

/// Syncs of many files under way at once.
pub(crate) trait SyncQueue: Send {
    /// Starts an fdatasync of `file`; its outcome is reported with `token`.
    /// Blocks for a completion where the queue is full.
    fn submit(&mut self, token: usize, file: Arc<dyn IoFile>);
    /// Waits for everything submitted; outcomes in any order.
    fn wait_all(&mut self) -> Vec<(usize, io::Result<()>)>;
}

/// The operating system, as far as the engine needs it.
pub(crate) trait Io: Send + Sync + Debug {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that is in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// A queue for one thread's syncs, at most `depth` at once.
    fn sync_queue(&self, depth: u32) -> io::Result<Box<dyn SyncQueue>>;
}

/// The backend of a mode that the probe has settled.
pub(crate) fn backend(mode: IoMode) -> Arc<dyn Io> {
    match mode {
        IoMode::Uring => Arc::new(uring::UringIo::default()),
        IoMode::Blocking => Arc::new(blocking::BlockingIo),
    }
}

/// Replaces a small file so that after a crash the old or the new content is there, never neither.
pub(crate) fn replace_file(io: &dyn Io, path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
    let staged = path.with_extension("tmp");
    let file = io.open(&staged, OpenMode::Any)?;
    file.truncate(0)?;
    file.write_at(&[IoSlice::new(content)], 0)?;
    if durable {
        file.sync_data()?;
    }
    io.rename(&staged, path)?;
    if durable && let Some(parent) = path.parent() {
        io.sync_dir(parent)?;
    }
    Ok(())
}

/// The whole content of a small file, at most `bytes_max`.
pub(crate) fn read_file(io: &dyn Io, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = io.open(path, OpenMode::ReadOnly)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if len > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} has {len} bytes, more than the {bytes_max} expected", path.display()),
        ));
    }
    let mut content = vec![0; len];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(content)
}
