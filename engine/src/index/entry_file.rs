//! One index: fixed-size entries, in memory while they are few, then in a mapped file.

use super::{IndexLimits, Summary};
use crate::io::{Io, Mapping, OpenMode};
use crate::sync::{Mutex, MutexGuard};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// Bytes that an index file first takes; it doubles when it is full.
const FIRST_BYTES: usize = 4096;

/// Entries of an index. A growing one has no file while it has few: ten thousand logs that begin at the same time
/// would make twenty thousand of them on the threads that append.
#[derive(Debug)]
pub(super) struct EntryFile<const N: usize> {
    io: Arc<dyn Io>,
    path: PathBuf,
    limits: IndexLimits,
    /// Lookups take microseconds and fetches are few beside records, so one lock does for both.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All entries, while they are few and the index grows.
    few: Option<Few>,
    /// A mapping needs no descriptor: the file is opened when it is to grow, which is rare, and to be cut or synced.
    map: Option<Box<dyn Mapping>>,
    entries: usize,
    /// CRC-32C of all entries.
    checksum: u32,
    file_bytes: usize,
    /// Set when the log is deleted: a file of this name may soon be another log's.
    retired: bool,
}

#[derive(Debug, Default)]
struct Few {
    bytes: Vec<u8>,
    /// How many of the entries the file begins with.
    saved_entries: usize,
}

impl<const N: usize> EntryFile<N> {
    pub(super) fn open(io: &Arc<dyn Io>, path: &Path, limits: IndexLimits) -> io::Result<Self> {
        let mut state = State::default();
        match io.open(path, OpenMode::Existing) {
            Ok(file) => {
                state.file_bytes = usize::try_from(file.len()?).unwrap_or(usize::MAX);
                state.entries = state.file_bytes / N;
            }
            Err(err) if err.kind() == ErrorKind::NotFound => state.few = Some(Few::default()),
            Err(err) => return Err(err),
        }
        Ok(Self { io: Arc::clone(io), path: path.to_owned(), limits, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is no room for so many further entries.
    pub(super) fn is_full(&self, further: usize) -> bool {
        (self.lock().entries + further) * N > self.limits.bytes_max
    }

    /// The most that it may have.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn entries_max(&self) -> usize {
        self.limits.bytes_max / N
    }

    /// The state with the entries at hand; `None` if there is none.
    fn readable(&self) -> io::Result<Option<MutexGuard<'_, State>>> {
        let mut state = self.lock();
        if state.entries == 0 || (state.retired && state.map.is_none() && state.few.is_none()) {
            return Ok(None);
        }
        if state.map.is_none() && state.few.is_none() {
            let opened = self.io.open(&self.path, OpenMode::Existing);
            match opened.and_then(|file| file.map(state.entries * N)) {
                Ok(map) => state.map = Some(map),
                // It only helps: on a file system that became read-only reads go on without it.
                Err(err) => {
                    tracing::debug!(index = %self.path.display(), "it cannot be used: {err}");
                    return Ok(None);
                }
            }
        }
        Ok(Some(state))
    }

    /// The last entry for which `before` holds; it holds for a prefix of the entries.
    pub(super) fn last_where(&self, before: impl Fn([u8; N]) -> bool) -> io::Result<Option<[u8; N]>> {
        let Some(state) = self.readable()? else { return Ok(None) };
        let (mut low, mut high) = (0, state.entries);
        while low < high {
            let middle = usize::midpoint(low, high);
            if before(state.entry(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1).map(|at| state.entry(at)))
    }

    /// Adds an entry. `false` if the index has reached its largest size.
    pub(super) fn push(&self, entry: [u8; N]) -> io::Result<bool> {
        let mut state = self.lock();
        let end = (state.entries + 1) * N;
        if end > self.limits.bytes_max {
            return Ok(false);
        }
        let in_memory = state.entries < self.limits.memory_entries_max;
        if let Some(few) = state.few.as_mut().filter(|_| in_memory) {
            few.bytes.extend_from_slice(&entry);
        } else {
            self.make_room(&mut state, end)?;
            let at = state.entries * N;
            if let Some(map) = &mut state.map {
                map.write(at, &entry);
            }
        }
        state.checksum = crc32c::crc32c_append(state.checksum, &entry);
        state.entries += 1;
        Ok(true)
    }

    /// A mapped file of at least `end` bytes, with the entries that there are.
    fn make_room(&self, state: &mut State, end: usize) -> io::Result<()> {
        if state.few.is_none() && state.map.as_ref().is_some_and(|map| map.len() >= end) {
            return Ok(());
        }
        let bytes = (state.file_bytes * 2).max(FIRST_BYTES).max(end).min(self.limits.bytes_max);
        let file = self.io.open(&self.path, OpenMode::Any)?;
        if let Some(few) = &mut state.few {
            // What a crash left behind the entries is none of them. Nothing maps the file yet.
            few.saved_entries = 0;
            file.truncate(0)?;
        }
        file.preallocate(bytes as u64)?;
        let mut map = file.map(bytes)?;
        if let Some(few) = state.few.take() {
            map.write(0, &few.bytes);
        }
        state.map = Some(map);
        state.file_bytes = bytes;
        Ok(())
    }

    /// What the file begins with; `None` while it does not have all entries.
    pub(super) fn summary(&self) -> Option<Summary> {
        let state = self.lock();
        let saved = state.few.as_ref().is_none_or(|few| few.saved_entries == state.entries);
        saved.then_some(Summary { entries: state.entries, checksum: state.checksum })
    }

    /// Goes on after the first entries, if the file has these and no others were among them.
    pub(super) fn resume(&self, known: Summary) -> io::Result<bool> {
        let mut state = self.lock();
        if state.file_bytes < known.entries * N {
            return Ok(false);
        }
        let mut content = vec![0; known.entries * N];
        if known.entries > 0 {
            let file = self.io.open(&self.path, OpenMode::ReadOnly)?;
            if file.read_at(&mut content, 0)? < content.len() {
                return Ok(false);
            }
        }
        let holds = crc32c::crc32c(&content) == known.checksum;
        if holds {
            (state.entries, state.checksum) = (known.entries, known.checksum);
            let few = known.entries <= self.limits.memory_entries_max;
            state.few = few.then_some(Few { bytes: content, saved_entries: known.entries });
        }
        Ok(holds)
    }

    /// Makes the file's content durable, if there is one.
    pub(super) fn sync(&self) -> io::Result<()> {
        {
            let state = self.lock();
            if state.entries == 0 || state.retired || state.few.is_some() {
                return Ok(());
            }
        }
        self.io.open(&self.path, OpenMode::ReadOnly)?.sync_data()
    }

    /// Whether the index holds exactly `entries`, and its file no more.
    pub(super) fn equals(&self, entries: &[[u8; N]]) -> bool {
        let Ok(state) = self.readable() else { return false };
        match state {
            None => entries.is_empty() && self.lock().file_bytes == 0,
            Some(state) => {
                (state.few.is_some() || state.file_bytes == entries.len() * N)
                    && state.entries == entries.len()
                    && (0..entries.len()).all(|at| state.entry(at) == entries[at])
            }
        }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn content(&self) -> io::Result<Vec<[u8; N]>> {
        let Some(state) = self.readable()? else { return Ok(Vec::new()) };
        Ok((0..state.entries).map(|at| state.entry(at)).collect())
    }

    /// After [`EntryFile::equals`] said so.
    pub(super) fn settle(&self, entries: &[[u8; N]]) {
        self.lock().checksum = crc32c::crc32c(entries.as_flattened());
    }

    /// Replaces the content, and what is in the file; few entries are in memory then.
    pub(super) fn rewrite(&self, entries: &[[u8; N]]) -> io::Result<()> {
        {
            let mut state = self.lock();
            *state = State { few: Some(Few::default()), ..State::default() };
            match self.io.remove(&self.path) {
                Err(err) if err.kind() != ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        for entry in entries {
            self.push(*entry)?;
        }
        self.cut()
    }

    /// Opens no file any more. Without a mapping a lookup finds nothing, which only costs a scan.
    pub(super) fn retire(&self) {
        self.lock().retired = true;
    }

    /// Cuts the file to its entries, if that is where they are.
    pub(super) fn cut(&self) -> io::Result<()> {
        if self.lock().few.is_some() {
            return Ok(());
        }
        self.close()
    }

    /// Puts all entries into a file that has no more than these, and closes it; it is mapped when read.
    pub(super) fn close(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.retired {
            return Ok(());
        }
        let bytes = state.entries * N;
        // The mapping goes first: it must never reach beyond the file.
        state.map = None;
        let unsaved = state.few.as_ref().is_some_and(|few| few.saved_entries < state.entries);
        if unsaved || state.file_bytes != bytes {
            let file = self.io.open(&self.path, if unsaved { OpenMode::Any } else { OpenMode::Existing })?;
            if let Some(few) = state.few.as_ref().filter(|_| unsaved) {
                file.write_at(&[IoSlice::new(&few.bytes)], 0)?;
            }
            file.truncate(bytes as u64)?;
            state.file_bytes = bytes;
        }
        if state.entries > 0 {
            state.few = None;
        }
        Ok(())
    }
}

impl State {
    /// Only where [`EntryFile::readable`] gave it and `at < entries`; anything else reads as zeros.
    fn entry<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        if let Some(few) = &self.few {
            if let Some(bytes) = few.bytes.get(at * N..(at + 1) * N) {
                out.copy_from_slice(bytes);
            }
        } else if let Some(map) = self.map.as_ref().filter(|map| (at + 1) * N <= map.len()) {
            map.read(at * N, &mut out);
        }
        out
    }
}
