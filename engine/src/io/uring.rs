//! Syncs and journal writes through a ring: many at once, where plain calls do one after the other.
//! One of the engine's three files with `unsafe`.
//!
//! fdatasync through a ring is always run by a kernel worker, so a ring gains nothing for one file
//! and much for several.

use super::blocking::BlockingIo;
use super::{
    Block, CommitQueue, DirectFile, Done, Io, IoFile, Locked, OpenMode, SyncQueue, Wake, open_to_sync,
};
use io_uring::{IoUring, opcode, squeue, types};
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
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

    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DirectFile>> {
        self.plain.open_direct(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Locked>> {
        self.plain.lock(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.plain.exists(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.plain.is_dir(path)
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

    fn random(&self) -> u64 {
        self.plain.random()
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

    fn commit_queue(&self, depth: u32) -> io::Result<Box<dyn CommitQueue>> {
        // One entry more, for the poll of the bell.
        let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Box::new(RingCommits {
            ring: IoUring::new(depth + 1)?,
            in_flight: HashMap::new(),
            next_operation: 0,
            bell: Arc::new(Bell(bell)),
            listening: false,
            finished: Vec::new(),
        }))
    }
}

/// Whether the kernel was interrupted, or short of memory for a moment (io_uring_enter(2): EINTR, EBUSY, EAGAIN).
fn is_passing(err: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, ResourceBusy, WouldBlock};
    matches!(err.kind(), Interrupted | ResourceBusy | WouldBlock)
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
            Err(err) if is_passing(&err) => return,
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

    fn make_room(&mut self) {
        while self.in_flight.len() >= self.depth {
            self.reap();
        }
    }

    /// `false` for what has no descriptor, or where the ring is full, which it never is with at most `depth` in flight.
    #[allow(unsafe_code)]
    fn begin(&mut self, token: usize, file: &Arc<dyn IoFile>, flags: types::FsyncFlags) -> bool {
        let Ok(fd) = file.as_fd().map(|fd| types::Fd(fd.as_raw_fd())) else { return false };
        let operation = self.next_operation;
        let entry = opcode::Fsync::new(fd).flags(flags).build().user_data(operation);
        self.next_operation += 1;
        self.in_flight.insert(operation, (token, Arc::clone(file)));
        // SAFETY: the entry refers to no memory, only to a descriptor, and `in_flight` holds the
        // file open until its completion was taken from the ring.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            self.in_flight.remove(&operation);
        }
        pushed.is_ok()
    }
}

impl SyncQueue for RingQueue {
    fn submit(&mut self, token: usize, file: Arc<dyn IoFile>) {
        self.make_room();
        if !self.begin(token, &file, types::FsyncFlags::DATASYNC) {
            self.finished.push((token, file.sync_data()));
        }
    }

    fn submit_dir(&mut self, token: usize, dir: &Path) {
        self.make_room();
        match open_to_sync(|| BlockingIo.open(dir, OpenMode::ReadOnly)) {
            // All of it: a name is no data to fdatasync.
            Ok(opened) if self.begin(token, &opened, types::FsyncFlags::empty()) => {}
            Ok(_) => self.finished.push((token, BlockingIo.sync_dir(dir))),
            Err(err) => self.finished.push((token, Err(err))),
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

/// What a [`RingCommits`] has under way, and what must live until it is done.
enum Commit {
    Write { token: u64, file: Arc<dyn DirectFile>, position: u64, block: Block },
    Sync { token: u64, _file: Arc<dyn IoFile> },
}

/// An eventfd that the ring polls.
#[derive(Debug)]
struct Bell(EventFd);

impl Wake for Bell {
    fn wake(&self) {
        // Full means that it was rung 2^64 times and not heard: it will be.
        let _ = self.0.write(1);
    }
}

/// The operation number of the poll of the bell.
const BELL: u64 = u64::MAX;

struct RingCommits {
    ring: IoUring,
    in_flight: HashMap<u64, Commit>,
    next_operation: u64,
    bell: Arc<Bell>,
    /// Whether the ring polls the bell.
    listening: bool,
    finished: Vec<Done>,
}

impl RingCommits {
    fn operation(&mut self) -> u64 {
        self.next_operation += 1;
        self.next_operation
    }

    #[allow(unsafe_code)]
    fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the memory that a write refers to belongs to a `Block` in `in_flight`, whose bytes do
        // not move with it, and which is given up only when its completion was taken from the ring
        // (`poll`, and `drop` waits for all). Descriptors are held open there, too; that of the bell
        // lives as long as the ring does.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.is_ok()
    }

    /// Ends an operation. A write that was cut short is finished by a plain call.
    fn finish(&mut self, commit: Commit, result: i32) {
        let error = (result < 0).then(|| io::Error::from_raw_os_error(-result));
        let done = match commit {
            Commit::Write { token, file, position, block } => {
                let whole = usize::try_from(result).is_ok_and(|written| written == block.bytes().len());
                let outcome = match error {
                    Some(err) if err.kind() != io::ErrorKind::Interrupted => Err(err),
                    None if whole => Ok(()),
                    _ => file.write_at(&block, position),
                };
                Done { token, outcome, block: Some(block) }
            }
            Commit::Sync { token, .. } => Done { token, outcome: error.map_or(Ok(()), Err), block: None },
        };
        self.finished.push(done);
    }

    /// Takes what the ring has done.
    fn reap(&mut self) {
        let done: Vec<(u64, i32)> =
            self.ring.completion().map(|one| (one.user_data(), one.result())).collect();
        for (operation, result) in done {
            if operation == BELL {
                self.listening = false;
                // Nothing to read means that another poll read it.
                let _ = self.bell.0.read();
            } else if let Some(commit) = self.in_flight.remove(&operation) {
                self.finish(commit, result);
            }
        }
    }

    fn enter(&mut self, wait_for: usize) {
        match self.ring.submit_and_wait(wait_for) {
            Ok(_) => {}
            Err(err) if is_passing(&err) => {}
            Err(err) => {
                // The ring itself is broken. What is under way stays in `in_flight`, since the kernel may
                // still use its memory, and is reported as failed.
                let errno = err.raw_os_error().unwrap_or(nix::libc::EIO);
                for commit in self.in_flight.values() {
                    let (Commit::Write { token, .. } | Commit::Sync { token, .. }) = commit;
                    let outcome = Err(io::Error::from_raw_os_error(errno));
                    self.finished.push(Done { token: *token, outcome, block: None });
                }
            }
        }
    }
}

impl CommitQueue for RingCommits {
    fn write(&mut self, token: u64, file: &Arc<dyn DirectFile>, position: u64, block: Block) {
        let Some(fd) = file.durable_fd().map(|fd| types::Fd(fd.as_raw_fd())) else {
            let outcome = file.write_at(&block, position);
            self.finished.push(Done { token, outcome, block: Some(block) });
            return;
        };
        let operation = self.operation();
        let len = u32::try_from(block.bytes().len()).unwrap_or(u32::MAX);
        let entry =
            opcode::Write::new(fd, block.bytes().as_ptr(), len).offset(position).build().user_data(operation);
        let commit = Commit::Write { token, file: Arc::clone(file), position, block };
        self.in_flight.insert(operation, commit);
        if !self.push(&entry)
            && let Some(Commit::Write { token, file, position, block }) = self.in_flight.remove(&operation)
        {
            // Never with at most `depth` under way; if it were, it is done here instead.
            let outcome = file.write_at(&block, position);
            self.finished.push(Done { token, outcome, block: Some(block) });
        }
        self.enter(0);
    }

    fn sync(&mut self, token: u64, file: &Arc<dyn IoFile>) {
        let operation = self.operation();
        let entry = file.as_fd().ok().map(|fd| {
            let fd = types::Fd(fd.as_raw_fd());
            opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build().user_data(operation)
        });
        self.in_flight.insert(operation, Commit::Sync { token, _file: Arc::clone(file) });
        if entry.is_none_or(|entry| !self.push(&entry)) {
            self.in_flight.remove(&operation);
            self.finished.push(Done { token, outcome: file.sync_data(), block: None });
        }
        self.enter(0);
    }

    fn poll(&mut self) -> Vec<Done> {
        self.reap();
        std::mem::take(&mut self.finished)
    }

    fn wait(&mut self) {
        if !self.finished.is_empty() {
            return;
        }
        if !self.listening {
            let fd = types::Fd(self.bell.0.as_fd().as_raw_fd());
            let flags = u32::from(PollFlags::POLLIN.bits().cast_unsigned());
            let entry = opcode::PollAdd::new(fd, flags).build().user_data(BELL);
            self.listening = self.push(&entry);
        }
        self.enter(1);
        self.reap();
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.bell) as Arc<dyn Wake>
    }
}

impl Drop for RingCommits {
    fn drop(&mut self) {
        while !self.in_flight.is_empty() {
            if self.ring.submit_and_wait(1).is_err() {
                // The kernel may still use the memory: better lost than given to someone else.
                std::mem::forget(std::mem::take(&mut self.in_flight));
                return;
            }
            self.reap();
        }
    }
}
