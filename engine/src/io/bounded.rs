//! Files beyond a number are closed while nobody uses them, and opened again by name when they are: for where a process may
//! have fewer files open than a store has segments.
//!
//! A file is closed only when all that was written to it was synced. The kernel keeps the error of a failed write-back
//! for those who have the file open; a file that is opened afterwards may never be told.

use super::{Block, CommitQueue, DirectFile, Done, Io, IoFile, Locked, Mapping, OpenMode, SyncQueue, Wake};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, Weak};

/// Files that are gone and still remembered, beside as many as are open.
const FORGOTTEN_MAX: usize = 64;

/// A backend of which at most so many files stay open.
#[derive(Debug)]
pub(crate) struct BoundedIo {
    inner: Arc<dyn Io>,
    files: Arc<OpenFiles>,
}

impl BoundedIo {
    pub(crate) fn new(inner: Arc<dyn Io>, open_max: usize) -> Self {
        let files = OpenFiles { open_max, open: AtomicUsize::new(0), clock: Mutex::new(VecDeque::new()) };
        Self { inner, files: Arc::new(files) }
    }
}

/// Which files are open, and which of them is closed next.
#[derive(Debug)]
struct OpenFiles {
    open_max: usize,
    open: AtomicUsize,
    /// In the order in which they are looked at: who was used since the last look is passed over (the clock algorithm).
    clock: Mutex<VecDeque<Weak<Handle>>>,
}

impl OpenFiles {
    /// Counts one more open file, for which another may have to be closed. `false` if all are in use or not synced.
    fn take_room(&self) -> bool {
        let more = |open: usize| (open < self.open_max).then_some(open + 1);
        if self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok() {
            return true;
        }
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..2 * clock.len() {
            let Some(next) = clock.pop_front() else { break };
            let Some(handle) = next.upgrade() else { continue };
            if handle.used.swap(false, Ordering::Relaxed) || !handle.close_if_idle() {
                clock.push_back(next);
            } else if self.open.load(Ordering::Acquire) <= self.open_max {
                return true; // its place is ours now
            } else {
                // One of those that were opened though there was no room.
                self.open.fetch_sub(1, Ordering::AcqRel);
            }
        }
        false
    }

    fn is_open(&self, handle: &Arc<Handle>) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        // Most are opened for a moment.
        if clock.len() >= 2 * self.open.load(Ordering::Relaxed) + FORGOTTEN_MAX {
            clock.retain(|handle| handle.strong_count() > 0);
        }
        clock.push_back(Arc::downgrade(handle));
    }
}

/// A file that may be closed.
#[derive(Debug)]
struct Handle {
    io: Arc<dyn Io>,
    path: PathBuf,
    mode: OpenMode,
    files: Arc<OpenFiles>,
    state: Mutex<State>,
    used: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<dyn IoFile>>,
    /// Counts what changed the file.
    writes: u64,
    /// How many of these were made before a sync that succeeded began.
    synced: u64,
    /// A sync has succeeded: a file that was closed since needs no other one. Before, what an earlier process wrote may
    /// not be durable.
    proven: bool,
    nothing_ahead: bool,
    /// The name may be another file's from now on.
    retired: bool,
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_if_idle(&self) -> bool {
        let Ok(mut state) = self.state.try_lock() else { return false };
        let idle = state.file.as_ref().is_some_and(|file| Arc::strong_count(file) == 1);
        if idle && state.writes == state.synced {
            state.file = None;
            return true;
        }
        false
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.lock().file.is_some() {
            self.files.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// What a file is wanted for where there is no room for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// It is closed again right after its use.
    Read,
    /// It is refused: it has to stay open until it was synced.
    Append,
    /// It is opened all the same: one of few, and what it is for must not fail.
    Change,
}

/// A file that is kept open.
#[derive(Debug)]
pub(crate) struct Pinned {
    file: Arc<dyn IoFile>,
    handle: Arc<Handle>,
    writes: u64,
}

impl Pinned {
    pub(crate) fn file(&self) -> &Arc<dyn IoFile> {
        &self.file
    }

    /// A sync that began after it was pinned has succeeded.
    fn synced(&self) {
        let mut state = self.handle.lock();
        state.synced = state.synced.max(self.writes);
        state.proven = true;
    }
}

/// What a sync has to do with a file.
#[derive(Debug)]
pub(crate) enum Pin {
    /// It is never closed in between.
    Always,
    Held(Pinned),
    /// All of it was synced before, or it is gone.
    Nothing,
}

#[derive(Debug)]
struct BoundedFile(Arc<Handle>);

impl BoundedFile {
    fn acquire(&self, want: Want) -> io::Result<Pinned> {
        let handle = &self.0;
        handle.used.store(true, Ordering::Relaxed);
        let mut state = handle.lock();
        if let Some(file) = &state.file {
            return Ok(self.pinned(Arc::clone(file), &state));
        }
        if state.retired {
            return Err(ErrorKind::NotFound.into());
        }
        let room = handle.files.take_room();
        if !room && want == Want::Append {
            return Err(io::Error::other("as many files are open as may be, and none of them is synced"));
        }
        let opened = handle.io.open(&handle.path, handle.mode);
        let file = opened.inspect_err(|_| {
            if room {
                handle.files.open.fetch_sub(1, Ordering::AcqRel);
            }
        })?;
        if state.nothing_ahead {
            file.read_nothing_ahead();
        }
        if room || want == Want::Change {
            if !room {
                handle.files.open.fetch_add(1, Ordering::AcqRel);
            }
            state.file = Some(Arc::clone(&file));
            handle.files.is_open(handle);
        }
        Ok(self.pinned(file, &state))
    }

    /// As [`BoundedFile::acquire`], for a sync. Nothing for a file that was closed after a sync, or is gone: it is not
    /// opened for nothing, for which there may be no descriptor.
    fn acquire_for_sync(&self) -> io::Result<Option<Pinned>> {
        {
            let state = self.0.lock();
            if state.file.is_none() && (state.retired || state.proven) {
                return Ok(None);
            }
        }
        self.acquire(Want::Read).map(Some)
    }

    fn pinned(&self, file: Arc<dyn IoFile>, state: &State) -> Pinned {
        Pinned { file, handle: Arc::clone(&self.0), writes: state.writes }
    }

    /// Counted, whatever became of it, when it is over: a sync that begins before need not cover it. Until then the file
    /// is pinned.
    fn change<T>(&self, change: impl FnOnce(&dyn IoFile) -> io::Result<T>) -> io::Result<T> {
        let pinned = self.acquire(Want::Change)?;
        let outcome = change(&*pinned.file);
        self.0.lock().writes += 1;
        outcome
    }
}

impl IoFile for BoundedFile {
    fn write_at(&self, bufs: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.change(|file| file.write_at(bufs, position))
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.acquire(Want::Read)?.file.read_at(buf, position)
    }

    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.acquire(Want::Read)?.file.read_cached_at(buf, position)
    }

    fn is_cached(&self, from: u64, len: u64) -> bool {
        self.acquire(Want::Read).is_ok_and(|pinned| pinned.file.is_cached(from, len))
    }

    fn read_nothing_ahead(&self) {
        let mut state = self.0.lock();
        state.nothing_ahead = true;
        if let Some(file) = &state.file {
            file.read_nothing_ahead();
        }
    }

    fn read_ahead(&self, from: u64, len: u64) {
        if let Ok(pinned) = self.acquire(Want::Read) {
            pinned.file.read_ahead(from, len);
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.acquire(Want::Read)?.file.len()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.change(|file| file.truncate(len))
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.change(|file| file.preallocate(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let Some(pinned) = self.acquire_for_sync()? else { return Ok(()) };
        pinned.file.sync_data()?;
        pinned.synced();
        Ok(())
    }

    fn write_back(&self, from: u64, len: u64) -> io::Result<()> {
        // One that is closed was synced.
        let file = self.0.lock().file.clone();
        file.map_or(Ok(()), |file| file.write_back(from, len))
    }

    fn map(&self, len: usize) -> io::Result<Box<dyn Mapping>> {
        self.change(|file| file.map(len))
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        // It could be closed meanwhile: who wants it pins the file.
        Err(ErrorKind::Unsupported.into())
    }

    fn pin(&self) -> io::Result<Option<Pinned>> {
        self.acquire(Want::Read).map(Some)
    }

    fn pin_for_sync(&self) -> io::Result<Pin> {
        Ok(self.acquire_for_sync()?.map_or(Pin::Nothing, Pin::Held))
    }

    fn pin_for_append(&self) -> io::Result<Option<Pinned>> {
        self.acquire(Want::Append).map(Some)
    }

    fn retire(&self) {
        self.0.lock().retired = true;
    }
}

impl Io for BoundedIo {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        // Whether it is there is told now.
        let file = self.inner.open(path, mode)?;
        // It is not made again.
        let again = if mode == OpenMode::Any { OpenMode::Existing } else { mode };
        let room = self.files.take_room();
        let handle = Arc::new(Handle {
            io: Arc::clone(&self.inner),
            path: path.to_owned(),
            mode: again,
            files: Arc::clone(&self.files),
            state: Mutex::new(State { file: room.then_some(file), ..State::default() }),
            used: AtomicBool::new(true),
        });
        if room {
            self.files.is_open(&handle);
        }
        Ok(Arc::new(BoundedFile(handle)))
    }

    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DirectFile>> {
        self.inner.open_direct(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Locked>> {
        self.inner.lock(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.inner.is_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn sync_queue(&self, depth: u32) -> io::Result<Box<dyn SyncQueue>> {
        Ok(Box::new(BoundedSyncs {
            inner: self.inner.sync_queue(depth)?,
            begun: Vec::new(),
            ended: Vec::new(),
        }))
    }

    fn commit_queue(&self, depth: u32) -> io::Result<Box<dyn CommitQueue>> {
        let inner = self.inner.commit_queue(depth)?;
        Ok(Box::new(BoundedCommits { inner, begun: HashMap::new(), next: 0, ended: Vec::new() }))
    }
}

/// Syncs of files that are pinned meanwhile.
struct BoundedSyncs {
    inner: Box<dyn SyncQueue>,
    /// By the token that the queue below knows.
    begun: Vec<(usize, Option<Pinned>)>,
    ended: Vec<(usize, io::Result<()>)>,
}

impl SyncQueue for BoundedSyncs {
    fn submit(&mut self, token: usize, file: Arc<dyn IoFile>) {
        let (file, pinned) = match file.pin_for_sync() {
            Ok(Pin::Held(pinned)) => (Arc::clone(&pinned.file), Some(pinned)),
            Ok(Pin::Always) => (file, None),
            Ok(Pin::Nothing) => return self.ended.push((token, Ok(()))),
            Err(err) => return self.ended.push((token, Err(err))),
        };
        self.inner.submit(self.begun.len(), file);
        self.begun.push((token, pinned));
    }

    fn submit_dir(&mut self, token: usize, dir: &Path) {
        self.inner.submit_dir(self.begun.len(), dir);
        self.begun.push((token, None));
    }

    fn wait_all(&mut self) -> Vec<(usize, io::Result<()>)> {
        let mut all = std::mem::take(&mut self.ended);
        let done = self.inner.wait_all();
        let begun = std::mem::take(&mut self.begun);
        for (below, outcome) in done {
            let (token, pinned) = &begun[below];
            if let (Ok(()), Some(pinned)) = (&outcome, pinned) {
                pinned.synced();
            }
            all.push((*token, outcome));
        }
        all
    }
}

/// The journal's operations on files of which some are pinned meanwhile.
struct BoundedCommits {
    inner: Box<dyn CommitQueue>,
    /// By the token that the queue below knows.
    begun: HashMap<u64, (u64, Option<Pinned>)>,
    next: u64,
    ended: Vec<Done>,
}

impl BoundedCommits {
    fn begin(&mut self, token: u64, pinned: Option<Pinned>) -> u64 {
        self.next += 1;
        self.begun.insert(self.next, (token, pinned));
        self.next
    }
}

impl CommitQueue for BoundedCommits {
    fn write(&mut self, token: u64, file: &Arc<dyn DirectFile>, position: u64, block: Block) {
        let below = self.begin(token, None);
        self.inner.write(below, file, position, block);
    }

    fn sync(&mut self, token: u64, file: &Arc<dyn IoFile>) {
        let ended = |outcome| Done { token, outcome, block: None };
        let (file, pinned) = match file.pin_for_sync() {
            Ok(Pin::Held(pinned)) => (Arc::clone(&pinned.file), Some(pinned)),
            Ok(Pin::Always) => (Arc::clone(file), None),
            Ok(Pin::Nothing) => return self.ended.push(ended(Ok(()))),
            Err(err) => return self.ended.push(ended(Err(err))),
        };
        let below = self.begin(token, pinned);
        self.inner.sync(below, &file);
    }

    fn poll(&mut self) -> Vec<Done> {
        let mut all = std::mem::take(&mut self.ended);
        for done in self.inner.poll() {
            // A queue that broke may tell of an operation twice.
            let Some((token, pinned)) = self.begun.remove(&done.token) else { continue };
            if let (Ok(()), Some(pinned)) = (&done.outcome, &pinned) {
                pinned.synced();
            }
            all.push(Done { token, ..done });
        }
        all
    }

    fn wait(&mut self) {
        if self.ended.is_empty() {
            self.inner.wait();
        }
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.inner.waker()
    }
}
