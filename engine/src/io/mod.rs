//! Everything that the engine asks of the operating system, behind one small trait.
//!
//! Three backends: `uring` has many syncs and journal writes under way at once through a ring,
//! `blocking` uses plain system calls only, `sim` is a disk in memory that loses power on demand. The
//! first two append with `pwritev`: buffered writes through a ring are always handed to kernel workers
//! on ext4, which is slower than writing at once.

mod block;
mod blocking;
mod bounded;
mod direct;
mod mapping;
mod probe;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod sim;
mod uring;
mod write_back;

pub(crate) use block::Block;
pub(crate) use bounded::{BoundedIo, Pin, Pinned};
pub use probe::IoMode;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// As [`IoFile::read_at`], from the page cache alone: `WouldBlock` if any of it is not there.
    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
    /// Whether all of a range can be read without waiting for the medium.
    fn is_cached(&self, from: u64, len: u64) -> bool;
    /// Says that only what is asked for is to be read, and nothing ahead of it.
    fn read_nothing_ahead(&self);
    /// Has the kernel begin to read a range into the page cache, without waiting for it.
    fn read_ahead(&self, from: u64, len: u64);
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Sets the file's length.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Reserves blocks up to `len` and extends the file to it.
    fn preallocate(&self, len: u64) -> io::Result<()>;
    /// Makes data and length durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Starts writing a range to the medium without waiting for it, which proves nothing
    /// (sync_file_range).
    fn write_back(&self, from: u64, len: u64) -> io::Result<()>;
    /// Maps the first `len` bytes for reading and writing, shared with the file.
    fn map(&self, len: usize) -> io::Result<Box<dyn Mapping>>;
    /// The descriptor, for `sendfile` and rings.
    fn as_fd(&self) -> io::Result<BorrowedFd<'_>>;
    /// Keeps it open, if it is one that may be closed in between; then only what this gives has a descriptor.
    fn pin(&self) -> io::Result<Option<Pinned>> {
        Ok(None)
    }
    /// As [`IoFile::pin`], to sync it.
    fn pin_for_sync(&self) -> io::Result<Pin> {
        Ok(Pin::Always)
    }
    /// As [`IoFile::pin`], for bytes that are to be written and not synced: fails, changing nothing, where too many files
    /// would have to be open.
    fn pin_for_append(&self) -> io::Result<Option<Pinned>> {
        Ok(None)
    }
    /// Its name may be another file's from now on: one that may be closed in between is not opened again.
    fn retire(&self) {}
}

/// The first bytes of a file in memory, shared with it.
pub(crate) trait Mapping: Send + Sync + Debug {
    /// Bytes mapped.
    fn len(&self) -> usize;
    /// Copies from `at` on; all of `out` must lie inside.
    fn read(&self, at: usize, out: &mut [u8]);
    /// Copies to `at` on; all of `bytes` must lie inside.
    fn write(&mut self, at: usize, bytes: &[u8]);
}

/// A file that is read from the medium and written to it, past the page cache where the file system
/// allows that. Positions, and lengths of blocks, are multiples of [`DirectFile::align_bytes`].
pub(crate) trait DirectFile: Send + Sync + Debug {
    /// Reads into `block` from `position` on; fewer bytes than it has only at the end of the file.
    fn read_at(&self, block: &mut Block, position: u64) -> io::Result<usize>;
    /// Writes the whole block; returns when it is durable.
    fn write_at(&self, block: &Block, position: u64) -> io::Result<()>;
    /// What positions and lengths are multiples of; a power of two.
    fn align_bytes(&self) -> usize;
    /// Whether what is read comes from the medium, and not from the page cache.
    fn is_direct(&self) -> bool;
    /// The descriptor, if a write to it is durable when it is done (O_DIRECT and O_DSYNC).
    fn durable_fd(&self) -> Option<BorrowedFd<'_>>;
}

/// Syncs of many files under way at once.
pub(crate) trait SyncQueue: Send {
    /// Starts an fdatasync of `file`; its outcome is reported with `token`.
    /// Blocks for a completion where the queue is full.
    fn submit(&mut self, token: usize, file: Arc<dyn IoFile>);
    /// As [`SyncQueue::submit`], for the names in a directory, as [`Io::sync_dir`] syncs them.
    fn submit_dir(&mut self, token: usize, dir: &Path);
    /// Waits for everything submitted; outcomes in any order.
    fn wait_all(&mut self) -> Vec<(usize, io::Result<()>)>;
}

/// What a [`CommitQueue`] has done.
#[derive(Debug)]
pub(crate) struct Done {
    /// As given with the operation.
    pub(crate) token: u64,
    pub(crate) outcome: io::Result<()>,
    /// The block of a write, to be used again.
    pub(crate) block: Option<Block>,
}

/// The journal's operations: durable writes and syncs, several under way at once, done in any order.
/// Made for one thread. The caller bounds how many are under way.
pub(crate) trait CommitQueue: Send {
    /// Starts a durable write of `block`.
    fn write(&mut self, token: u64, file: &Arc<dyn DirectFile>, position: u64, block: Block);
    /// Starts an fdatasync.
    fn sync(&mut self, token: u64, file: &Arc<dyn IoFile>);
    /// What was done since the last call. Does not wait.
    fn poll(&mut self) -> Vec<Done>;
    /// Waits until something is done, or the waker was rung. May return for no reason.
    fn wait(&mut self);
    /// Ends a [`CommitQueue::wait`] from another thread, or the next one if none is under way.
    fn waker(&self) -> Arc<dyn Wake>;
}

/// Wakes the thread that waits in a [`CommitQueue`].
pub(crate) trait Wake: Send + Sync + Debug {
    fn wake(&self);
}

/// Held for as long as a directory is this process's own.
pub(crate) trait Locked: Send + Sync + Debug {}

/// The operating system, as far as the engine needs it.
pub(crate) trait Io: Send + Sync + Debug {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>>;
    /// Opens a file that exists for [`DirectFile`] I/O.
    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DirectFile>>;
    /// Locks the file at `path`, which is made; `WouldBlock` if another has it locked.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Locked>>;
    fn exists(&self, path: &Path) -> bool;
    fn is_dir(&self, path: &Path) -> bool;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that is in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// A number that nobody can guess.
    fn random(&self) -> u64;
    /// A queue for one thread's syncs, at most `depth` at once.
    fn sync_queue(&self, depth: u32) -> io::Result<Box<dyn SyncQueue>>;
    /// The journal's queue, at most `depth` operations at once.
    fn commit_queue(&self, depth: u32) -> io::Result<Box<dyn CommitQueue>>;
}

/// How long a sync waits for a descriptor while others have them all, before it counts as failed.
const DESCRIPTOR_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often it tries meanwhile.
const DESCRIPTOR_WAIT_STEP: Duration = Duration::from_millis(10);

/// Whether nothing was done for want of a descriptor, of the process or of the system. Only what opens says so.
pub(crate) fn no_descriptor(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(nix::libc::EMFILE | nix::libc::ENFILE))
}

/// Opens what is to be synced. A failed sync ends all writing to the store, and descriptors that others have taken come
/// back: so it waits for one, for a while.
fn open_to_sync<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + DESCRIPTOR_WAIT_MAX;
    loop {
        match open() {
            Err(err) if no_descriptor(&err) && Instant::now() < deadline => {
                std::thread::sleep(DESCRIPTOR_WAIT_STEP);
            }
            opened => return opened,
        }
    }
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
    // Not written over: an earlier try may have left one whose write-back failed, and the sync would say so.
    match io.remove(&staged) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let file = io.open(&staged, OpenMode::Any)?;
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
