//! One index: fixed-size entries, in memory while they are few, then in a mapped file as long as it grows.
//!
//! A closed one is read from its file, and so is one that cannot be mapped: a process may have only so many mappings
//! (`vm.max_map_count`), and one too many is missing where threads and the allocator need one.

use super::{IndexLimits, Summary};
use crate::io::{Io, IoFile, Mapping, OpenMode};
use crate::sync::{Mutex, MutexGuard};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// Bytes that an index file first takes; it doubles when it is full.
const FIRST_BYTES: usize = 4096;
/// A search in a file reads this much at once when it has come so close.
const READ_BYTES: usize = 4096;

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
    /// Of an index that grows. It needs no descriptor: the file is opened when it is to grow, which is rare, and to be cut
    /// or synced.
    map: Option<Box<dyn Mapping>>,
    /// A mapping was refused: entries are written to the file one by one, until it is to grow.
    unmapped: bool,
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

    /// What reads the entries; `None` if there is none. It holds the lock.
    fn reader(&self) -> Option<Reader<'_, N>> {
        let state = self.lock();
        let in_file = state.few.is_none() && state.map.is_none();
        if state.entries == 0 || (state.retired && in_file) {
            return None;
        }
        let file = in_file.then(|| self.io.open(&self.path, OpenMode::ReadOnly)).transpose();
        let file = file.inspect_err(|err| self.unusable(err)).ok()?;
        Some(Reader { state, file })
    }

    /// It only helps: reads go on without it, which costs a scan.
    fn unusable(&self, err: &io::Error) {
        tracing::debug!(index = %self.path.display(), "it cannot be used: {err}");
    }

    /// The last entry for which `before` holds; it holds for a prefix of the entries.
    pub(super) fn last_where(&self, before: impl Fn([u8; N]) -> bool) -> Option<[u8; N]> {
        let reader = self.reader()?;
        reader.last_where(before).inspect_err(|err| self.unusable(err)).ok()?
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
            self.put(&mut state, entry)?;
        }
        state.checksum = crc32c::crc32c_append(state.checksum, &entry);
        state.entries += 1;
        Ok(true)
    }

    /// Puts an entry behind those that there are, into the mapping or else into the file.
    fn put(&self, state: &mut State, entry: [u8; N]) -> io::Result<()> {
        let (at, end) = (state.entries * N, (state.entries + 1) * N);
        let grows = state.few.is_some() || state.file_bytes < end;
        if (state.map.is_none() && !state.unmapped) || grows {
            self.grow(state, end)?;
        }
        match &mut state.map {
            Some(map) => map.write(at, &entry),
            None => {
                let file = self.io.open(&self.path, OpenMode::Existing)?;
                file.write_at(&[IoSlice::new(&entry)], at as u64)?;
            }
        }
        Ok(())
    }

    /// A file of at least `end` bytes with the entries that there are, mapped if that can be.
    fn grow(&self, state: &mut State, end: usize) -> io::Result<()> {
        let bytes = (state.file_bytes * 2).max(FIRST_BYTES).max(end).min(self.limits.bytes_max);
        let file = self.io.open(&self.path, OpenMode::Any)?;
        if let Some(few) = &mut state.few {
            // What a crash left behind the entries is none of them. Nothing maps the file yet.
            few.saved_entries = 0;
            file.truncate(0)?;
        }
        file.preallocate(bytes as u64)?;
        let mut map = file.map(bytes).inspect_err(|err| {
            tracing::debug!(index = %self.path.display(), "it is not mapped: {err}");
        });
        if let Some(few) = &state.few {
            match &mut map {
                Ok(map) => map.write(0, &few.bytes),
                Err(_) => file.write_at(&[IoSlice::new(&few.bytes)], 0)?,
            }
        }
        (state.few, state.unmapped) = (None, map.is_err());
        state.map = map.ok();
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
        let Some(reader) = self.reader() else {
            let state = self.lock();
            return entries.is_empty() && state.entries == 0 && state.file_bytes == 0;
        };
        let state = &reader.state;
        let no_more = state.few.is_some() || state.file_bytes == entries.len() * N;
        let all = if no_more && state.entries == entries.len() { reader.all().ok() } else { None };
        all.is_some_and(|all| all == entries.as_flattened())
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn content(&self) -> io::Result<Vec<[u8; N]>> {
        let Some(reader) = self.reader() else { return Ok(Vec::new()) };
        Ok(reader.all()?.as_chunks().0.to_vec())
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

    /// Puts all entries into a file that has no more than these, and closes it.
    pub(super) fn close(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.retired {
            return Ok(());
        }
        let bytes = state.entries * N;
        // The mapping goes first: it must never reach beyond the file.
        (state.map, state.unmapped) = (None, false);
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

/// The entries at hand.
struct Reader<'a, const N: usize> {
    state: MutexGuard<'a, State>,
    /// Where they are, if they are neither in memory nor mapped.
    file: Option<Arc<dyn IoFile>>,
}

impl<const N: usize> Reader<'_, N> {
    fn last_where(&self, before: impl Fn([u8; N]) -> bool) -> io::Result<Option<[u8; N]>> {
        let (mut low, mut high) = (0, self.state.entries);
        // What is left of the file once it is little: it is not read for each entry.
        let mut near = Vec::new();
        let mut near_at = usize::MAX;
        let entry = |at: usize, near_at: usize, near: &[u8]| {
            let known = at.checked_sub(near_at).and_then(|at| near.get(at * N..(at + 1) * N));
            let mut out = [0; N];
            match known {
                Some(known) => out.copy_from_slice(known),
                None => self.read(at, &mut out)?,
            }
            Ok::<_, io::Error>(out)
        };
        while low < high {
            if self.file.is_some() && near.is_empty() && (high - low) * N <= READ_BYTES {
                near.resize((high - low) * N, 0);
                near_at = low;
                self.read(low, &mut near)?;
            }
            let middle = usize::midpoint(low, high);
            if before(entry(middle, near_at, &near)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).map(|at| entry(at, near_at, &near)).transpose()
    }

    fn all(&self) -> io::Result<Vec<u8>> {
        let mut all = vec![0; self.state.entries * N];
        self.read(0, &mut all)?;
        Ok(all)
    }

    /// The bytes of entries from `at` on, which are there.
    fn read(&self, at: usize, out: &mut [u8]) -> io::Result<()> {
        let (from, to) = (at * N, at * N + out.len());
        if let Some(file) = &self.file {
            if file.read_at(out, from as u64)? < out.len() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        } else if let Some(few) = &self.state.few {
            out.copy_from_slice(few.bytes.get(from..to).ok_or(ErrorKind::UnexpectedEof)?);
        } else if let Some(map) = self.state.map.as_ref().filter(|map| to <= map.len()) {
            map.read(from, out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::Disk;

    const PATH: &str = "/0.index";
    const LIMITS: IndexLimits = IndexLimits { bytes_max: 40_000, memory_entries_max: 4 };

    fn open(disk: &Disk) -> EntryFile<8> {
        EntryFile::open(&(Arc::new(disk.clone()) as Arc<dyn Io>), Path::new(PATH), LIMITS).unwrap()
    }

    fn entry(number: u64) -> [u8; 8] {
        (number * 10).to_be_bytes()
    }

    /// It has the first so many entries, and finds each.
    fn has(index: &EntryFile<8>, count: u64) {
        let all: Vec<_> = (0..count).map(entry).collect();
        assert_eq!(index.content().unwrap(), all);
        assert!(index.equals(&all) || index.lock().map.is_some() || index.lock().unmapped);
        for wanted in [0, 1, 9, 10, 11, count * 5, count * 10 - 11, count * 10 - 10, count * 10, u64::MAX] {
            let expected = all.iter().rfind(|entry| u64::from_be_bytes(**entry) <= wanted);
            let found = index.last_where(|entry| u64::from_be_bytes(entry) <= wanted);
            assert_eq!(found.as_ref(), expected, "{wanted} of {count}");
        }
    }

    #[test]
    fn entries_are_found_wherever_they_are() {
        // Whether files can be mapped before and after it was opened again.
        for (before, after) in [(true, true), (false, false), (true, false), (false, true)] {
            let disk = Disk::new(7);
            disk.set_mappings(before);
            let index = open(&disk);
            for number in 0..2000 {
                assert!(index.push(entry(number)).unwrap());
                if matches!(number, 3 | 4 | 5 | 511 | 512 | 1999) {
                    has(&index, number + 1);
                    let kept = index.lock();
                    let in_memory = number < 4;
                    assert_eq!((kept.few.is_some(), kept.map.is_some()), (in_memory, before && !in_memory));
                }
            }
            index.close().unwrap();
            has(&index, 2000);
            assert!(index.lock().map.is_none(), "a closed one is not mapped when it is read");
            let known = index.summary().unwrap();

            disk.set_mappings(after);
            let index = open(&disk);
            assert!(index.resume(known).unwrap());
            has(&index, 2000);
            for number in 2000..5000 {
                assert!(index.push(entry(number)).unwrap());
            }
            assert!(!index.push(entry(5000)).unwrap(), "it is full");
            assert_eq!(index.lock().map.is_some(), after);
            index.close().unwrap();
            has(&index, 5000);
            assert_eq!(index.lock().file_bytes, 40_000);
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_found() {
        let disk = Disk::new(7);
        let index = open(&disk);
        (0..1000).for_each(|number| assert!(index.push(entry(number)).unwrap()));
        index.close().unwrap();
        disk.remove(Path::new(PATH)).unwrap();
        assert_eq!(index.last_where(|_| true), None);
        index.retire();
        assert_eq!(index.last_where(|_| true), None);
    }
}
