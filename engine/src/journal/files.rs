//! The journal's files: `journal/0`, `journal/1` and so on, each written full of zeros before it is used,
//! so that a later write changes nothing but blocks. The first block tells which file of which journal it is;
//! `ringmain-store` counts those that are in use. So one that is lost, emptied or not its own is noticed.

use crate::error::OpenError;
use crate::io::{Block, DirectFile, Io, OpenMode};
use crate::store::JournalFacts;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory in a store.
pub(crate) const DIR: &str = "journal";
/// What a file is called until it is whole.
const HALF_MADE: &str = "making";
/// Bytes written at a time.
const PIECE_BYTES: usize = 1 << 20;

/// "RMJF".
const MAGIC: u32 = 0x524d_4a46;
const HEADER_VERSION: u32 = 1;
/// Magic, checksum, version, number, journal, bytes, beginning of the entries, zeros.
pub(crate) const HEADER_BYTES: usize = 64;
/// What the checksum covers begins after it.
const CHECKED_FROM: usize = 8;

pub(crate) fn path(store: &Path, number: usize) -> PathBuf {
    store.join(DIR).join(number.to_string())
}

/// A file with its size in bytes.
pub(crate) type JournalFile = (Arc<dyn DirectFile>, u64);

/// A file of which a start reads entries.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) file: Arc<dyn DirectFile>,
    pub(crate) bytes: u64,
    /// Where the first entry lies.
    pub(crate) begin: u64,
}

/// What the first block of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    /// That of the journal.
    pub(crate) id: u64,
    pub(crate) number: u32,
    pub(crate) bytes: u64,
    pub(crate) begin: u32,
}

/// Why a block is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// It does not hold.
    Damaged,
    /// It holds, and is of a later version.
    Later(u32),
}

impl FileHeader {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC.to_be_bytes());
        out[8..12].copy_from_slice(&HEADER_VERSION.to_be_bytes());
        out[12..16].copy_from_slice(&self.number.to_be_bytes());
        out[16..24].copy_from_slice(&self.id.to_be_bytes());
        out[24..32].copy_from_slice(&self.bytes.to_be_bytes());
        out[32..36].copy_from_slice(&self.begin.to_be_bytes());
        let checksum = crc32c::crc32c(&out[CHECKED_FROM..]);
        out[4..8].copy_from_slice(&checksum.to_be_bytes());
        out
    }

    /// The header at the start of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NoHeader> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(NoHeader::Damaged)?;
        let four = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let eight = |at: usize| u64::from(four(at)) << 32 | u64::from(four(at + 4));
        if four(0) != MAGIC || four(4) != crc32c::crc32c(&bytes[CHECKED_FROM..]) {
            return Err(NoHeader::Damaged);
        }
        if four(8) != HEADER_VERSION {
            return Err(NoHeader::Later(four(8)));
        }
        Ok(Self { number: four(12), id: eight(16), bytes: eight(24), begin: four(32) })
    }

    /// What is wrong with it as that of file `number` of a journal; nothing, if it is that.
    pub(crate) fn differs(&self, facts: &JournalFacts, number: usize) -> Option<String> {
        if self.id != facts.id {
            return Some("it is of the journal of another store, or of an earlier one of this store".into());
        }
        if u64::from(self.number) != number as u64 {
            return Some(format!("it is file {} of the journal", self.number));
        }
        let fits = self.bytes == facts.file_bytes && u64::from(self.begin) < self.bytes;
        (!fits).then(|| format!("it says that it has {} bytes", self.bytes))
    }
}

/// Makes a file of the journal `id` and opens it. Durable when it returns.
pub(crate) fn make(
    io: &dyn Io,
    store: &Path,
    number: usize,
    id: u64,
    bytes: u64,
) -> io::Result<Arc<dyn DirectFile>> {
    let dir = store.join(DIR);
    if !io.is_dir(&dir) {
        io.create_dir(&dir)?;
    }
    // Even if it was there: a crash may have come between its making and this.
    io.sync_dir(store)?;
    let half_made = dir.join(HALF_MADE);
    let made = fill(io, &half_made, number, id, bytes);
    if let Err(err) = made {
        // Room for something else.
        let _ = io.remove(&half_made);
        return Err(err);
    }
    let path = path(store, number);
    io.rename(&half_made, &path)?;
    io.sync_dir(&dir)?;
    io.open_direct(&path)
}

fn fill(io: &dyn Io, path: &Path, number: usize, id: u64, bytes: u64) -> io::Result<()> {
    // Not written over: an earlier try may have left one whose write-back failed.
    match io.remove(path) {
        Err(err) if err.kind() != ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let file = io.open(path, OpenMode::Any)?;
    file.preallocate(bytes)?;
    let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(bytes).unwrap_or(PIECE_BYTES))];
    let align = io.open_direct(path)?.align_bytes();
    let (begin, number) = (u32::try_from(align), u32::try_from(number));
    let (Ok(begin), Ok(number), true) = (begin, number, piece.len() > HEADER_BYTES) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    piece[..HEADER_BYTES].copy_from_slice(&FileHeader { id, number, bytes, begin }.encode());
    let mut at = 0;
    while at < bytes {
        let len = piece.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
        file.write_at(&[IoSlice::new(&piece[..len])], at)?;
        piece[..HEADER_BYTES].fill(0);
        at += len as u64;
    }
    file.sync_data()
}

/// The files in use: those that are counted, which are counted when they and their names are durable.
///
/// # Errors
/// One of them is missing, or is not what it was made as.
pub(crate) fn open(io: &dyn Io, store: &Path, facts: &JournalFacts) -> Result<Vec<Readable>, OpenError> {
    if facts.files == 0 {
        return Ok(Vec::new());
    }
    (0..facts.files).map(|number| open_one(io, store, facts, number)).collect()
}

fn open_one(io: &dyn Io, store: &Path, facts: &JournalFacts, number: usize) -> Result<Readable, OpenError> {
    let path = path(store, number);
    let damaged = |position: u64, what: String| OpenError::Damaged {
        file: path.clone(),
        position,
        reason: format!("{what}; what was acknowledged may be nowhere else"),
    };
    let len = match io.open(&path, OpenMode::ReadOnly).and_then(|file| file.len()) {
        Ok(len) => len,
        Err(err) if err.kind() == ErrorKind::NotFound => {
            return Err(damaged(0, "this file of the journal is missing".into()));
        }
        Err(err) => return Err(OpenError::io("read", &path)(err)),
    };
    if len != facts.file_bytes {
        let what =
            format!("this file of the journal has {len} bytes, and was made with {}", facts.file_bytes);
        return Err(damaged(len.min(facts.file_bytes), what));
    }
    let file = io.open_direct(&path).map_err(OpenError::io("read", &path))?;
    let mut first = Block::zeroed(file.align_bytes());
    let read = file.read_at(&mut first, 0).map_err(OpenError::io("read", &path))?;
    let header = match FileHeader::decode(&first.bytes()[..read]) {
        Ok(header) => header,
        Err(NoHeader::Damaged) => {
            return Err(damaged(0, "it does not begin as a file of the journal".into()));
        }
        Err(NoHeader::Later(version)) => {
            let reason = format!("it is of version {version}; use the version that wrote it");
            return Err(OpenError::Version { file: path, reason });
        }
    };
    if let Some(what) = header.differs(facts, number) {
        return Err(damaged(0, what));
    }
    Ok(Readable { file, bytes: len, begin: u64::from(header.begin) })
}

/// The files of a store of format 2, which are not counted and have no header.
pub(crate) fn open_uncounted(io: &dyn Io, store: &Path) -> io::Result<Vec<Readable>> {
    let mut found = Vec::new();
    while io.exists(&path(store, found.len())) {
        let path = path(store, found.len());
        let bytes = io.open(&path, OpenMode::ReadOnly)?.len()?;
        found.push(Readable { file: io.open_direct(&path)?, bytes, begin: 0 });
    }
    Ok(found)
}

/// Removes what is not in use of the journal's directory, and the directory if nothing is.
pub(crate) fn remove_unused(io: &dyn Io, store: &Path, facts: &JournalFacts) -> io::Result<()> {
    let dir = store.join(DIR);
    if !io.is_dir(&dir) {
        return Ok(());
    }
    if facts.files == 0 {
        io.remove_dir(&dir)?;
        return io.sync_dir(store);
    }
    for name in io.list(&dir)? {
        let is_used = name.parse::<usize>().is_ok_and(|number| number < facts.files);
        if !is_used {
            io.remove(&dir.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_written_and_any_flipped_bit_is_noticed() {
        let header = FileHeader { id: 77, number: 3, bytes: 1 << 20, begin: 4096 };
        let bytes = header.encode();
        assert_eq!(FileHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&flipped), Err(NoHeader::Damaged), "bit {bit}");
        }
        assert_eq!(FileHeader::decode(&bytes[..63]), Err(NoHeader::Damaged));
    }

    #[test]
    fn only_the_file_of_that_number_of_that_journal_will_do() {
        let facts = JournalFacts { id: 77, files: 4, file_bytes: 1 << 20 };
        let header = FileHeader { id: 77, number: 3, bytes: 1 << 20, begin: 4096 };
        assert_eq!(header.differs(&facts, 3), None);
        assert!(header.differs(&facts, 2).is_some());
        assert!(header.differs(&JournalFacts { id: 78, ..facts }, 3).is_some());
        assert!(header.differs(&JournalFacts { file_bytes: 1 << 21, ..facts }, 3).is_some());
    }
}
