//! Plain system calls: the reference that the other backends must match.

use super::{Io, IoFile, Mapping, OpenMode, SyncQueue};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::uio::{pread, pwritev};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

/// Slices that one `pwritev` takes (IOV_MAX on Linux).
const SLICES_MAX: usize = 1024;

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

    fn map(&self, len: usize) -> io::Result<Mapping> {
        Mapping::of_file(&self.0, len)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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
        Ok(Arc::new(PlainFile(options.open(path)?)))
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
        File::open(path)?.sync_all()
    }

    fn sync_queue(&self, _depth: u32) -> io::Result<Box<dyn SyncQueue>> {
        Ok(Box::new(InTurn::default()))
    }
}

/// One sync after the other.
#[derive(Default)]
struct InTurn(Vec<(usize, io::Result<()>)>);

impl SyncQueue for InTurn {
    fn submit(&mut self, token: usize, file: Arc<dyn IoFile>) {
        self.0.push((token, file.sync_data()));
    }

    fn wait_all(&mut self) -> Vec<(usize, io::Result<()>)> {
        std::mem::take(&mut self.0)
    }
}
