//! For tests: the real backend, with faults on demand and a memory of what was synced.

use super::blocking::BlockingIo;
use super::{Io, IoFile, Mapping, OpenMode, SyncQueue};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

/// What is to go wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Write(i32),
    Sync(i32),
    SyncDir(i32),
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    /// Bytes of each file that its last sync covered.
    synced_bytes: BTreeMap<PathBuf, u64>,
    /// Names in each directory at its last sync.
    synced_names: BTreeMap<PathBuf, BTreeSet<String>>,
    /// Bytes written to each file.
    written_bytes: BTreeMap<PathBuf, u64>,
    /// While set, syncs of files wait.
    held: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyIo {
    state: Arc<(Mutex<State>, Condvar)>,
}

impl FaultyIo {
    pub(crate) fn inject(&self, fault: Fault) {
        self.state.0.lock().unwrap().faults.push(fault);
    }

    pub(crate) fn hold_syncs(&self, held: bool) {
        self.state.0.lock().unwrap().held = held;
        self.state.1.notify_all();
    }

    /// Whether the loss of power would leave the first `bytes` of a file, and its name.
    pub(crate) fn survives(&self, path: &Path, bytes: u64) -> bool {
        let state = self.state.0.lock().unwrap();
        let names = state.synced_names.get(path.parent().unwrap());
        let name = path.file_name().unwrap().to_str().unwrap();
        names.is_some_and(|names| names.contains(name))
            && state.synced_bytes.get(path).is_some_and(|have| *have >= bytes)
    }

    /// Whether the loss of power would leave a name in a directory.
    pub(crate) fn names_survive(&self, dir: &Path, name: &str) -> bool {
        self.state.0.lock().unwrap().synced_names.get(dir).is_some_and(|names| names.contains(name))
    }

    /// Bytes written to a file through this backend.
    pub(crate) fn written_bytes(&self, path: &Path) -> u64 {
        self.state.0.lock().unwrap().written_bytes.get(path).copied().unwrap_or(0)
    }

    fn take(&self, matches: impl Fn(&Fault) -> Option<i32>) -> io::Result<()> {
        let mut state = self.state.0.lock().unwrap();
        let Some(at) = state.faults.iter().position(|fault| matches(fault).is_some()) else { return Ok(()) };
        let errno = matches(&state.faults.remove(at)).unwrap_or_default();
        Err(io::Error::from_raw_os_error(errno))
    }
}

#[derive(Debug)]
struct FaultyFile {
    path: PathBuf,
    plain: Arc<dyn IoFile>,
    io: FaultyIo,
}

impl IoFile for FaultyFile {
    fn write_at(&self, bufs: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let fault = self.io.take(|fault| if let Fault::Write(errno) = fault { Some(*errno) } else { None });
        if fault.is_err() {
            // A part may be there when a write fails.
            let half: Vec<u8> = bufs.iter().flat_map(|buf| buf[..buf.len() / 2].to_vec()).collect();
            self.plain.write_at(&[IoSlice::new(&half)], position)?;
        }
        fault?;
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        *self.io.state.0.lock().unwrap().written_bytes.entry(self.path.clone()).or_default() += bytes as u64;
        self.plain.write_at(bufs, position)
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.plain.read_at(buf, position)
    }

    fn len(&self) -> io::Result<u64> {
        self.plain.len()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.plain.truncate(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.plain.preallocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let len = self.plain.len()?;
        {
            let mut state = self.io.state.0.lock().unwrap();
            while state.held {
                state = self.io.state.1.wait(state).unwrap();
            }
        }
        self.io.take(|fault| if let Fault::Sync(errno) = fault { Some(*errno) } else { None })?;
        self.io.state.0.lock().unwrap().synced_bytes.insert(self.path.clone(), len);
        Ok(())
    }

    fn map(&self, len: usize) -> io::Result<Mapping> {
        self.plain.map(len)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.plain.as_fd()
    }
}

impl Io for FaultyIo {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        let plain = BlockingIo.open(path, mode)?;
        Ok(Arc::new(FaultyFile { path: path.to_owned(), plain, io: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        BlockingIo.rename(from, to)?;
        // With a directory goes all that is in it.
        let moved = |path: PathBuf| path.strip_prefix(from).map(|rest| to.join(rest)).unwrap_or(path);
        let moved = |path: PathBuf| if path == from { to.to_owned() } else { moved(path) };
        let mut state = self.state.0.lock().unwrap();
        state.synced_bytes =
            std::mem::take(&mut state.synced_bytes).into_iter().map(|(k, v)| (moved(k), v)).collect();
        state.written_bytes =
            std::mem::take(&mut state.written_bytes).into_iter().map(|(k, v)| (moved(k), v)).collect();
        state.synced_names =
            std::mem::take(&mut state.synced_names).into_iter().map(|(k, v)| (moved(k), v)).collect();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        BlockingIo.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        BlockingIo.remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        BlockingIo.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        BlockingIo.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.take(|fault| if let Fault::SyncDir(errno) = fault { Some(*errno) } else { None })?;
        let names = BlockingIo.list(path)?.into_iter().collect();
        self.state.0.lock().unwrap().synced_names.insert(path.to_owned(), names);
        Ok(())
    }

    fn sync_queue(&self, depth: u32) -> io::Result<Box<dyn SyncQueue>> {
        BlockingIo.sync_queue(depth)
    }
}
