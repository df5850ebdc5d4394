//! Syncs through a ring: many at once, where plain calls do one after the other. One of the
//! engine's two files with `unsafe`.
//!
//! fdatasync through a ring is always run by a kernel worker, so a ring gains nothing for one file
//! and much for several.

use super::blocking::BlockingIo;
use super::{Io, IoFile, OpenMode, SyncQueue};
use io_uring::{IoUring, opcode, types};
use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct UringIo {
    plain: BlockingIo,
}

impl Default for UringIo {
    fn default() -> Self {
        Self { plain: BlockingIo }
    }
}

impl Io for UringIo {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        self.plain.open(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plain.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.plain.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.plain.remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.plain.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.plain.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.plain.sync_dir(path)
    }

    fn sync_queue(&self, depth: u32) -> io::Result<Box<dyn SyncQueue>> {
        Ok(Box::new(RingQueue {
            ring: IoUring::new(depth)?,
            in_flight: HashMap::new(),
            next_operation: 0,
            depth: depth as usize,
            finished: Vec::new(),
        }))
    }
}

struct RingQueue {
    ring: IoUring,
    /// What the kernel works on, by operation. A file stays open until its completion was seen.
    in_flight: HashMap<u64, (usize, Arc<dyn IoFile>)>,
    next_operation: u64,
    depth: usize,
    finished: Vec<(usize, io::Result<()>)>,
}

impl RingQueue {
    /// Submits what is queued, waits for one completion at least and takes all that are there.
    fn reap(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        match self.ring.submit_and_wait(1) {
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::Interrupted => return,
            Err(err) => {
                // The ring itself is broken: nothing in flight may count as durable.
                let errno = err.raw_os_error().unwrap_or(nix::libc::EIO);
                self.finished.extend(
                    self.in_flight
                        .drain()
                        .map(|(_, (token, _))| (token, Err(io::Error::from_raw_os_error(errno)))),
                );
                return;
            }
        }
        for completion in self.ring.completion() {
            let Some((token, _)) = self.in_flight.remove(&completion.user_data()) else { continue };
            let outcome = match completion.result() {
                result if result < 0 => Err(io::Error::from_raw_os_error(-result)),
                _ => Ok(()),
            };
            self.finished.push((token, outcome));
        }
    }
}

impl SyncQueue for RingQueue {
    #[allow(unsafe_code)]
    fn submit(&mut self, token: usize, file: Arc<dyn IoFile>) {
        while self.in_flight.len() >= self.depth {
            self.reap();
        }
        let fd = types::Fd(file.as_fd().as_raw_fd());
        let entry =
            opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build().user_data(self.next_operation);
        let operation = self.next_operation;
        self.next_operation += 1;
        self.in_flight.insert(operation, (token, file));
        // SAFETY: the entry refers to no memory, only to a descriptor, and `in_flight` holds the
        // file open until its completion was taken from the ring.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            // Never with at most `depth` in flight; if it were, the sync is done here instead.
            if let Some((token, file)) = self.in_flight.remove(&operation) {
                self.finished.push((token, file.sync_data()));
            }
        }
    }

    fn wait_all(&mut self) -> Vec<(usize, io::Result<()>)> {
        while !self.in_flight.is_empty() {
            self.reap();
        }
        std::mem::take(&mut self.finished)
    }
}

impl Drop for RingQueue {
    fn drop(&mut self) {
        while !self.in_flight.is_empty() {
            self.reap();
        }
    }
}
