//! The journal's entries: all that lie in a file, and those that the next start after a crash would need.

use super::{CheckpointFile, Problem};
use crate::batch::BatchHeader;
use crate::io::{IoFile, IoMode, OpenMode, backend};
use crate::journal::entry::{ENTRY_HEADER_BYTES, EntryHeader, Kind, Section, sections};
use crate::journal::files::{self, FileHeader, NoHeader};
use crate::offset::Offset;
use crate::store::JournalFacts;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries are looked for at multiples of this. They are written at multiples of 4096 or more.
const STEP_BYTES: u64 = 512;
/// The largest alignment that the place of a next entry is guessed with.
const ALIGN_BYTES_MAX: u64 = 64 << 10;
/// Bytes read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// What a section of an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SectionKind {
    /// Batches, with the segment and the position where they lie.
    Data,
    /// The log is about to be cut.
    Truncate,
    /// The log was cut.
    Truncated,
    /// The start of the log moved on.
    Start,
    /// The segments were synced.
    Synced,
    /// The log is deleted.
    Delete,
}

impl SectionKind {
    /// Its name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Truncate => "truncate",
            Self::Truncated => "truncated",
            Self::Start => "start",
            Self::Synced => "synced",
            Self::Delete => "delete",
        }
    }
}

impl From<Kind> for SectionKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Data => Self::Data,
            Kind::Truncate => Self::Truncate,
            Kind::Truncated => Self::Truncated,
            Kind::Start => Self::Start,
            Kind::Synced => Self::Synced,
            Kind::Delete => Self::Delete,
        }
    }
}

/// A section of an entry. What its fields mean depends on its kind; FORMAT.md tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSection {
    /// What it says.
    pub kind: SectionKind,
    /// Of which log: the number in the log's `ringmain-log`.
    pub log: u64,
    /// The first offset that it is about.
    pub offset: Offset,
    /// The end of what it is about.
    pub end: Offset,
    /// The base offset of the segment.
    pub segment: Offset,
    /// Where in the segment its bytes lie.
    pub position: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// An entry whose checksum holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Where it begins.
    pub position: u64,
    /// Bytes of it, without the zeros that follow.
    pub size_bytes: u64,
    /// The life of the store that wrote it.
    pub epoch: u64,
    /// One more than that of the entry before.
    pub sequence: u64,
    /// All entries before this one were durable when this one was written.
    pub proven: u64,
    /// What it says.
    pub sections: Vec<JournalSection>,
    /// Whether all of its sections are of a kind that this version knows.
    pub is_known: bool,
}

impl JournalEntry {
    fn new(position: u64, header: &EntryHeader, payload: &[u8]) -> Self {
        let all: Vec<_> = sections(payload).collect();
        let is_known = all.iter().all(Option::is_some) && all.len() as u64 == u64::from(header.sections);
        let section = |(section, bytes): (Section, &[u8])| JournalSection {
            kind: section.kind.into(),
            log: section.log,
            offset: section.offset,
            end: section.end,
            segment: section.segment,
            position: section.position,
            bytes: bytes.to_vec(),
        };
        Self {
            position,
            size_bytes: header.len() as u64,
            epoch: header.epoch,
            sequence: header.sequence,
            proven: header.proven,
            sections: all.into_iter().flatten().map(section).collect(),
            is_known,
        }
    }
}

/// The files of a `journal` directory, by number.
///
/// # Errors
/// The directory cannot be read.
pub fn journal_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let names = backend(IoMode::Blocking).list(dir)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| dir.join(number.to_string())).collect())
}

/// A file of the journal opened for looking, through the page cache.
#[derive(Debug)]
pub struct JournalReader {
    path: PathBuf,
    file: Arc<dyn IoFile>,
    len: u64,
    header: Result<FileHeader, NoHeader>,
}

impl JournalReader {
    /// Opens a file of a journal.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let file = backend(IoMode::Blocking).open(&path, OpenMode::ReadOnly)?;
        let len = file.len()?;
        let mut first = [0; files::HEADER_BYTES];
        let read = file.read_at(&mut first, 0)?;
        let header = FileHeader::decode(&first[..read]);
        Ok(Self { path, file, len, header })
    }

    /// Calls `each` with every entry that holds, of whatever epoch, in the order in which they lie. In a file
    /// that is used again the older ones follow the newer ones.
    ///
    /// # Errors
    /// The file cannot be read, or `each` failed.
    pub fn entries<E: From<io::Error>>(
        &self,
        mut each: impl FnMut(JournalEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut piece = vec![0; PIECE_BYTES];
        let (mut at, mut piece_at, mut have) = (0, 0, 0);
        while at < self.len {
            if at < piece_at || at + STEP_BYTES > piece_at + have {
                piece_at = at;
                have = self.file.read_at(&mut piece, at)? as u64;
                if have == 0 {
                    break;
                }
            }
            let from = usize::try_from(at - piece_at).unwrap_or(usize::MAX);
            let until = usize::try_from(have).unwrap_or(usize::MAX);
            let begins = piece.get(from..until).and_then(EntryHeader::peek).is_some();
            match begins.then(|| self.entry(at)).transpose()?.flatten() {
                Some(entry) => {
                    at += entry.size_bytes.next_multiple_of(STEP_BYTES);
                    each(entry)?;
                }
                None => at += STEP_BYTES,
            }
        }
        Ok(())
    }

    /// What is wrong with it as that file of a journal.
    fn differs(&self, facts: &JournalFacts, number: usize) -> Option<String> {
        match self.header {
            _ if self.len != facts.file_bytes => {
                Some(format!("the file has {} bytes, and was made with {}", self.len, facts.file_bytes))
            }
            Err(NoHeader::Damaged) => Some("it does not begin as a file of the journal".into()),
            Err(NoHeader::Later(version)) => {
                Some(format!("it is of version {version}, which is a later one"))
            }
            Ok(header) => header.differs(facts, number),
        }
    }

    /// The entry at a place, if there is one that holds.
    fn entry(&self, position: u64) -> io::Result<Option<JournalEntry>> {
        let mut bytes = vec![0; ENTRY_HEADER_BYTES];
        if self.file.read_at(&mut bytes, position)? < bytes.len() {
            return Ok(None);
        }
        let Some(header) = EntryHeader::peek(&bytes) else { return Ok(None) };
        if header.len() as u64 > self.len.saturating_sub(position) {
            return Ok(None);
        }
        bytes.resize(header.len(), 0);
        let read = self.file.read_at(&mut bytes, position)?;
        let opened = EntryHeader::open(&bytes[..read]);
        Ok(opened.map(|(header, payload)| JournalEntry::new(position, &header, payload)))
    }
}

/// What checking a journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalReport {
    /// Files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Entries that a start after a crash would put back.
    pub entries: u64,
    /// Batches in these.
    pub batches: u64,
    /// Bytes of the batches.
    pub batch_bytes: u64,
}

/// What the journal says of a log since the checkpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// The first entry that tells of it, for a problem's place.
    pub(super) first: (PathBuf, u64),
    /// Where it was cut, the lowest, by entries that the checkpoint does not know of.
    pub(super) cut: Option<Offset>,
    /// The base of its first segment, if the start moved on.
    pub(super) first_segment: Option<Offset>,
    pub(super) deleted: bool,
}

/// What was found by [`check`].
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) report: JournalReport,
    pub(super) logs: BTreeMap<u64, Story>,
    pub(super) problems: Vec<Problem>,
}

/// Checks the files that are in use, and the entries from the checkpoint's head on, as a start after a crash would
/// read them. Without `facts` all files are in use, as in a store of format 2.
pub(super) fn check(
    dir: &Path,
    checkpoint: &CheckpointFile,
    facts: Option<JournalFacts>,
    clean: bool,
) -> io::Result<Checked> {
    let journal = dir.join(files::DIR);
    let mut checked = Checked::default();
    let mut paths = match backend(IoMode::Blocking).is_dir(&journal) {
        true => journal_files(&journal)?,
        false => Vec::new(),
    };
    if let Some(facts) = facts {
        paths.truncate(facts.files);
    }
    let readers = paths.into_iter().map(JournalReader::open).collect::<io::Result<Vec<_>>>()?;
    for number in 0..facts.map_or(0, |facts| facts.files) {
        let (path, facts) = (files::path(dir, number), facts.unwrap_or_default());
        let wrong = match readers.iter().find(|reader| reader.path == path) {
            None => Some("the file is missing".to_owned()),
            Some(reader) => reader.differs(&facts, number),
        };
        checked.problems.extend(wrong.map(|what| Problem::new(path, 0, what)));
    }
    checked.report.files = readers.len() as u64;
    checked.report.bytes = readers.iter().map(|reader| reader.len).sum();
    let mut next = checkpoint.sequence;
    let mut place = (usize::try_from(checkpoint.file).unwrap_or(usize::MAX), checkpoint.position);
    while let Some((file, entry)) = find(&readers, checkpoint.epoch, next, place)? {
        checked.entry(&readers[file].path, &entry, checkpoint);
        place = (file, entry.position + entry.size_bytes);
        next += 1;
    }
    // After a clean stop the journal is not read: what was under way then may be torn.
    if !clean {
        for reader in &readers {
            reader.entries(|entry| {
                if entry.epoch == checkpoint.epoch && entry.proven > next {
                    let what = format!(
                        "entry {} says that all before {} were durable, and entry {next} is missing",
                        entry.sequence, entry.proven
                    );
                    checked.problems.push(Problem::new(&reader.path, entry.position, what));
                }
                Ok::<(), io::Error>(())
            })?;
        }
    }
    Ok(checked)
}

/// The entry that comes next: where the one before ends, or at the beginning of a file.
fn find(
    readers: &[JournalReader],
    epoch: u64,
    sequence: u64,
    (file, position): (usize, u64),
) -> io::Result<Option<(usize, JournalEntry)>> {
    let mut align = STEP_BYTES;
    let mut places = Vec::new();
    while align <= ALIGN_BYTES_MAX {
        places.push((file, position.next_multiple_of(align)));
        align *= 2;
    }
    places.dedup();
    let begin = |reader: &JournalReader| reader.header.map_or(0, |header| u64::from(header.begin));
    places.extend(readers.iter().enumerate().map(|(file, reader)| (file, begin(reader))));
    for (file, position) in places {
        let Some(reader) = readers.get(file) else { continue };
        if let Some(entry) = reader.entry(position)?
            && (entry.epoch, entry.sequence) == (epoch, sequence)
        {
            return Ok(Some((file, entry)));
        }
    }
    Ok(None)
}

impl Checked {
    fn entry(&mut self, path: &Path, entry: &JournalEntry, checkpoint: &CheckpointFile) {
        self.report.entries += 1;
        let problem = |what: String| Problem::new(path, entry.position, what);
        if !entry.is_known {
            self.problems.push(problem("the entry has a section that this version does not know".into()));
        }
        if entry.proven > entry.sequence {
            let what = format!("entry {} says that entry {} is durable", entry.sequence, entry.proven - 1);
            self.problems.push(problem(what));
        }
        for section in &entry.sections {
            let known = checkpoint.logs.iter().find(|log| log.number == section.log);
            let story = self.logs.entry(section.log).or_default();
            if story.first.0.as_os_str().is_empty() {
                story.first = (path.to_owned(), entry.position);
            }
            match section.kind {
                SectionKind::Data => match batches(section) {
                    Ok(count) => {
                        self.report.batches += count;
                        self.report.batch_bytes += section.bytes.len() as u64;
                    }
                    Err(what) => {
                        let what = format!("entry {}, log {}: {what}", entry.sequence, section.log);
                        self.problems.push(problem(what));
                    }
                },
                SectionKind::Truncate | SectionKind::Truncated
                    if entry.sequence > known.map_or(0, |log| log.cut_sequence) =>
                {
                    story.cut = Some(story.cut.map_or(section.offset, |cut| cut.min(section.offset)));
                }
                SectionKind::Start => story.first_segment = story.first_segment.max(Some(section.segment)),
                SectionKind::Delete => story.deleted = true,
                _ => {}
            }
        }
    }
}

/// How many batches a section has; they are whole and go from its offset to its end without a gap.
fn batches(section: &JournalSection) -> Result<u64, String> {
    let mut next = section.offset;
    let mut count = 0;
    let mut rest = &section.bytes[..];
    while !rest.is_empty() {
        let header = BatchHeader::parse_whole(rest).map_err(|err| err.to_string())?;
        if header.base_offset != next {
            return Err(format!("a batch has base offset {}; {next} follows", header.base_offset));
        }
        next = header.end_offset();
        count += 1;
        rest = &rest[header.size_bytes..];
    }
    if next == section.end {
        Ok(count)
    } else {
        Err(format!("its batches end at offset {next}, and it says {}", section.end))
    }
}
