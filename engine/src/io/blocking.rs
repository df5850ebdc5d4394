//! Plain system calls: the reference that the other backends must match.

use super::direct::PlainDirect;
use super::mapping::FileMapping;
use super::open_to_sync;
use super::{
    Block, CommitQueue, DirectFile, Done, Io, IoFile, Locked, Mapping, OpenMode, SyncQueue, Wake, write_back,
};
use nix::fcntl::{FallocateFlags, Flock, FlockArg, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::sys::uio::{pread, pwritev};
use rustix::io::{ReadWriteFlags, preadv2};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Slices that one `pwritev` takes (IOV_MAX on Linux).
const SLICES_MAX: usize = 1024;
/// Where the kernel cannot tell how much of a range is cached, it is asked at places so far apart.
const CACHE_PROBE_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct BlockingIo;

#[derive(Debug)]
struct PlainFile(File);

fn offset(position: u64) -> io::Result<i64> {
    i64::try_from(position).map_err(|_| io::Error::from(ErrorKind::InvalidInput))
}

impl IoFile for PlainFile {
    fn write_at(&self, bufs: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut slices = bufs.to_vec();
        let mut rest = &mut slices[..];
        let mut at = position;
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let some = &rest[..rest.len().min(SLICES_MAX)];
            match pwritev(&self.0, some, offset(at)?) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match pread(&self.0, &mut buf[done..], offset(position + done as u64)?) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(done)
    }

    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let wanted = buf.len();
        match preadv2(&self.0, &mut [IoSliceMut::new(buf)], position, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == wanted => Ok(read),
            // At the end of the file, or where what is cached ends.
            Ok(read) if position + read as u64 >= self.len()? => Ok(read),
            Ok(_) => Err(ErrorKind::WouldBlock.into()),
            // Not every file system can tell.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.read_at(buf, position),
            Err(errno) => Err(errno.into()),
        }
    }

    fn is_cached(&self, from: u64, len: u64) -> bool {
        let Some(last) = len.checked_sub(1).map(|before| from + before) else { return true };
        let there = |at| self.read_cached_at(&mut [0], at).is_ok();
        let page = rustix::param::page_size() as u64;
        match write_back::cached_pages(&self.0, from, len) {
            // Pages that are on their way count there; those who bring them do so in order.
            Ok(pages) => pages > last / page - from / page && there(last),
            Err(_) => (from..last).step_by(CACHE_PROBE_BYTES).chain([last]).all(there),
        }
    }

    fn read_nothing_ahead(&self) {
        // It only makes reading better.
        let _ = posix_fadvise(&self.0, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
    }

    fn read_ahead(&self, from: u64, len: u64) {
        if let (Ok(from), Ok(len)) = (offset(from), offset(len)) {
            // It only makes reading better.
            let _ = posix_fadvise(&self.0, from, len, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        fallocate(&self.0, FallocateFlags::empty(), 0, offset(len)?)?;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write_back(&self, from: u64, len: u64) -> io::Result<()> {
        write_back::start(&self.0, from, len)
    }

    fn map(&self, len: usize) -> io::Result<Box<dyn Mapping>> {
        Ok(Box::new(FileMapping::of_file(&self.0, len)?))
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.0.as_fd())
    }
}

impl Io for BlockingIo {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::ReadOnly);
        match mode {
            OpenMode::Existing | OpenMode::ReadOnly => {}
            OpenMode::Any => {
                options.create(true).truncate(false);
            }
        }
        // Else the first read after each append changes the inode, too (relatime). Only its owner may ask for that.
        let file = match options.custom_flags(nix::libc::O_NOATIME).open(path) {
            Err(err) if err.kind() == ErrorKind::PermissionDenied => options.custom_flags(0).open(path)?,
            opened => opened?,
        };
        Ok(Arc::new(PlainFile(file)))
    }

    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DirectFile>> {
        Ok(Arc::new(PlainDirect::open(path)?))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Locked>> {
        let file = File::options().create(true).write(true).truncate(false).open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Box::new(FileLock(lock))),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        open_to_sync(|| File::open(path))?.sync_all()
    }

    fn random(&self) -> u64 {
        // Keyed by the system's randomness, each time anew.
        RandomState::new().hash_one(0)
    }

    fn sync_queue(&self, _depth: u32) -> io::Result<Box<dyn SyncQueue>> {
        Ok(Box::new(InTurn::default()))
    }

    fn commit_queue(&self, _depth: u32) -> io::Result<Box<dyn CommitQueue>> {
        Ok(Box::new(AtOnce { done: Vec::new(), bell: Arc::new(Bell::default()) }))
    }
}

/// A lock by flock(2).
#[derive(Debug)]
struct FileLock(#[expect(dead_code, reason = "held, not used")] Flock<File>);

impl Locked for FileLock {}

/// One sync after the other.
#[derive(Default)]
struct InTurn(Vec<(usize, io::Result<()>)>);

impl SyncQueue for InTurn {
    fn submit(&mut self, token: usize, file: Arc<dyn IoFile>) {
        self.0.push((token, file.sync_data()));
    }

    fn submit_dir(&mut self, token: usize, dir: &Path) {
        self.0.push((token, BlockingIo.sync_dir(dir)));
    }

    fn wait_all(&mut self) -> Vec<(usize, io::Result<()>)> {
        std::mem::take(&mut self.0)
    }
}

/// Each operation is done when it is begun.
struct AtOnce {
    done: Vec<Done>,
    bell: Arc<Bell>,
}

/// Wakes the thread of an [`AtOnce`].
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

impl CommitQueue for AtOnce {
    fn write(&mut self, token: u64, file: &Arc<dyn DirectFile>, position: u64, block: Block) {
        let outcome = file.write_at(&block, position);
        self.done.push(Done { token, outcome, block: Some(block) });
    }

    fn sync(&mut self, token: u64, file: &Arc<dyn IoFile>) {
        self.done.push(Done { token, outcome: file.sync_data(), block: None });
    }

    fn poll(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.done)
    }

    fn wait(&mut self) {
        if !self.done.is_empty() {
            return;
        }
        let mut rung = self.bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            rung = self.bell.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.bell) as Arc<dyn Wake>
    }
}
