//! After a crash: what the journal holds is put back into the segments.
//!
//! First all entries from the checkpoint's head on are read, up to the first gap; they tell how far each
//! log was durable, and where it was cut later. Then their data is written to the segments, whatever is
//! there: what a page cache shows need not be on the medium.

use super::Head;
use super::entry::{ENTRY_HEADER_BYTES, EntryHeader, Kind, Section, sections};
use super::files::{self, Readable};
use crate::batch::BatchHeader;
use crate::error::OpenError;
use crate::io::{Block, Io, IoFile, OpenMode};
use crate::offset::Offset;
use crate::segment::stem;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Segments held open while data is put back.
const OPEN_MAX: usize = 128;

/// Bytes read at a time when looking for what comes after a gap.
const GAP_PIECE_BYTES: usize = 1 << 20;

/// What the journal tells of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogStory {
    /// The end of what was durable, as far as the journal knows.
    pub(crate) durable: Offset,
    /// Log start and the base of the first segment, if they moved.
    pub(crate) start: Option<(Offset, Offset)>,
    /// Where it was cut, and by which entry.
    pub(crate) cuts: Vec<(u64, Offset)>,
    /// Where it was about to be cut when the crash came.
    pub(crate) cut_to: Option<Offset>,
    pub(crate) deleted: bool,
}

/// What the journal held.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// The entry after the last.
    pub(crate) next_sequence: u64,
    pub(crate) logs: BTreeMap<u64, LogStory>,
    entries: Vec<(usize, u64)>,
    files: Vec<Readable>,
}

impl Replay {
    /// After a clean stop: nothing in the journal is needed.
    pub(crate) fn nothing(next_sequence: u64) -> Self {
        Self { next_sequence, ..Self::default() }
    }

    /// Reads `files`, the journal of the store in `dir`, from `head` on.
    ///
    /// # Errors
    /// It cannot be read, or entries are missing of which later ones say that they were durable.
    pub(crate) fn read(
        files: Vec<Readable>,
        dir: &Path,
        epoch: u64,
        head: Head,
        durable: impl Fn(u64) -> (Offset, u64),
    ) -> Result<Self, OpenError> {
        let journal = dir.join(files::DIR);
        let mut replay = Self { files, next_sequence: head.sequence, ..Self::default() };
        let mut place = (head.file, head.position);
        while let Some((found, block)) = replay.find(epoch, place).map_err(OpenError::io("read", &journal))? {
            let Some((header, payload)) = EntryHeader::open(block.bytes()) else { break };
            for section in sections(payload) {
                let Some((section, _)) = section else {
                    return Err(OpenError::Version {
                        file: files::path(dir, found.0),
                        reason: format!("the entry at byte {} has a section of an unknown kind", found.1),
                    });
                };
                replay.note(header.sequence, &section, &durable);
            }
            replay.entries.push(found);
            place = (found.0, found.1 + block.bytes().len() as u64);
            replay.next_sequence += 1;
        }
        replay.check_gap(dir, epoch, place)?;
        Ok(replay)
    }

    /// The entry that comes next: where the one before ends, or at the beginning of a file.
    fn find(&self, epoch: u64, place: (usize, u64)) -> io::Result<Option<((usize, u64), Block)>> {
        let beginnings = self.beginnings().filter(|other| *other != place);
        for place in std::iter::once(place).chain(beginnings) {
            if let Some(block) = self.entry(place)?
                && let Some((header, _)) = EntryHeader::open(block.bytes())
                && (header.epoch, header.sequence) == (epoch, self.next_sequence)
            {
                return Ok(Some((place, block)));
            }
        }
        Ok(None)
    }

    /// Where the first entry of each file lies.
    fn beginnings(&self) -> impl Iterator<Item = (usize, u64)> {
        self.files.iter().enumerate().map(|(number, file)| (number, file.begin))
    }

    /// The blocks of what may be an entry.
    fn entry(&self, (file, position): (usize, u64)) -> io::Result<Option<Block>> {
        let Some(Readable { file, bytes, .. }) = self.files.get(file) else { return Ok(None) };
        let align = file.align_bytes();
        if position + align as u64 > *bytes {
            return Ok(None);
        }
        let mut first = Block::zeroed(align);
        if file.read_at(&mut first, position)? < align {
            return Ok(None);
        }
        let Some(header) = EntryHeader::peek(first.bytes()) else { return Ok(None) };
        let len = header.len().next_multiple_of(align);
        if len as u64 > *bytes - position || len < ENTRY_HEADER_BYTES {
            return Ok(None);
        }
        if len == align {
            return Ok(Some(first));
        }
        let mut whole = Block::zeroed(len);
        let read = file.read_at(&mut whole, position)?;
        Ok((read == len).then_some(whole))
    }

    fn note(&mut self, sequence: u64, section: &Section, durable: impl Fn(u64) -> (Offset, u64)) {
        let (known, cut_known) = durable(section.log);
        let story = self
            .logs
            .entry(section.log)
            .or_insert_with(|| LogStory { durable: known, ..LogStory::default() });
        match section.kind {
            // The checkpoint knows a later cut, and with it all that this one left.
            Kind::Data | Kind::Synced if sequence < cut_known => {}
            Kind::Data => story.durable = story.durable.max(section.end),
            // Of what was there before the cut that is under way.
            Kind::Synced if story.cut_to.is_some() => {}
            Kind::Synced => story.durable = story.durable.max(section.end),
            Kind::Truncate | Kind::Truncated => {
                story.cut_to = (section.kind == Kind::Truncate).then_some(section.offset);
                story.cuts.push((sequence, section.offset));
                if sequence > cut_known {
                    story.durable = story.durable.min(section.offset);
                }
            }
            Kind::Start => story.start = story.start.max(Some((section.offset, section.segment))),
            Kind::Delete => story.deleted = true,
        }
    }

    /// A torn end is what a crash leaves; a gap below what was durable is not. What may come after the gap
    /// lies in the same file, or at the beginning of another.
    fn check_gap(&self, dir: &Path, epoch: u64, gap: (usize, u64)) -> Result<(), OpenError> {
        let mut places: Vec<_> = self.beginnings().collect();
        if let Some(Readable { file, bytes, .. }) = self.files.get(gap.0) {
            let align = file.align_bytes() as u64;
            let mut block = Block::zeroed(GAP_PIECE_BYTES);
            let mut at = gap.1;
            while at < *bytes {
                block.set_len(GAP_PIECE_BYTES.min(usize::try_from(*bytes - at).unwrap_or(GAP_PIECE_BYTES)));
                let path = files::path(dir, gap.0);
                let read = file.read_at(&mut block, at).map_err(OpenError::io("read", &path))?;
                for (number, piece) in block.bytes()[..read].chunks(file.align_bytes()).enumerate() {
                    if EntryHeader::peek(piece).is_some() {
                        places.push((gap.0, at + number as u64 * align));
                    }
                }
                at += GAP_PIECE_BYTES as u64;
            }
        }
        for place in places {
            let path = files::path(dir, place.0);
            let entry = self.entry(place).map_err(OpenError::io("read", &path))?;
            let header = entry.as_ref().and_then(|block| EntryHeader::open(block.bytes())).map(|open| open.0);
            let later = header.filter(|header| header.epoch == epoch && header.proven > self.next_sequence);
            if let Some(later) = later {
                let reason = format!(
                    "entry {} of the journal says that all before {} were durable, and entry {} is missing",
                    later.sequence, later.proven, self.next_sequence
                );
                return Err(OpenError::Damaged { file: path, position: place.1, reason });
            }
        }
        Ok(())
    }

    /// Writes the data of all entries to the segments of the logs in `dirs`, except what was cut later.
    ///
    /// # Errors
    /// A segment cannot be written, or the journal not be read.
    pub(crate) fn restore(&self, io: &dyn Io, dirs: &HashMap<u64, PathBuf>) -> Result<(), OpenError> {
        let mut open: HashMap<(u64, Offset), Arc<dyn IoFile>> = HashMap::new();
        for (number, place) in self.entries.iter().enumerate() {
            let sequence = self.next_sequence - (self.entries.len() - number) as u64;
            let block = self.entry(*place).map_err(OpenError::io("read", "journal"))?;
            let Some((_, payload)) = block.as_ref().and_then(|block| EntryHeader::open(block.bytes())) else {
                return Err(OpenError::io("read again", "journal")(io::ErrorKind::InvalidData.into()));
            };
            for (section, bytes) in sections(payload).flatten() {
                let (Some(dir), Some(story)) = (dirs.get(&section.log), self.logs.get(&section.log)) else {
                    continue;
                };
                let void = story.deleted || story.start.is_some_and(|(_, first)| section.segment < first);
                if section.kind != Kind::Data || void {
                    continue;
                }
                let bytes = story.kept(sequence, bytes);
                if bytes.is_empty() {
                    continue;
                }
                let path = stem(dir, section.segment).with_extension("log");
                let key = (section.log, section.segment);
                if !open.contains_key(&key) {
                    if open.len() >= OPEN_MAX {
                        open.clear();
                    }
                    let file = io.open(&path, OpenMode::Any).map_err(OpenError::io("opened", &path))?;
                    open.insert(key, file);
                }
                let written = open[&key].write_at(&[IoSlice::new(bytes)], section.position);
                written.map_err(OpenError::io("written", &path))?;
            }
        }
        Ok(())
    }

    /// The journal's files. The entries in them were put back.
    pub(crate) fn into_files(self) -> Vec<Readable> {
        self.files
    }

    /// How many entries there were.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl LogStory {
    /// The batches of an entry's data that no later entry took away.
    fn kept<'a>(&self, sequence: u64, bytes: &'a [u8]) -> &'a [u8] {
        let cuts = self.cuts.iter().filter(|(cut, _)| *cut > sequence);
        let Some(end) = cuts.map(|(_, offset)| *offset).min() else { return bytes };
        let mut kept = 0;
        while let Ok(header) = BatchHeader::parse(&bytes[kept..]) {
            if header.base_offset >= end || kept + header.size_bytes > bytes.len() {
                break;
            }
            kept += header.size_bytes;
        }
        &bytes[..kept]
    }

    /// What the checkpoint knows of the log holds up to here only.
    pub(crate) fn cut_since(&self, sequence: u64) -> Option<Offset> {
        self.cuts.iter().filter(|(cut, _)| *cut > sequence).map(|(_, offset)| *offset).min()
    }
}

#[cfg(test)]
mod review {
    use super::*;
    /// E: head, then (while other logs are captured) data, a cut and appends of this log, then its state.
    #[test]
    fn e_data_before_a_cut_that_the_checkpoint_knows() {
        let mut replay = Replay::default();
        let known = |_: u64| (Offset(60), 12);
        let note = |kind, at, end| Section::note(kind, 7, Offset(at), Offset(end), Offset(0));
        replay.note(10, &note(Kind::Data, 50, 100), known);
        replay.note(11, &note(Kind::Truncate, 50, 50), known);
        replay.note(12, &note(Kind::Truncated, 50, 50), known);
        assert_eq!(replay.logs[&7].durable, Offset(60), "the log has 60, so it is put into quarantine");
    }
}
