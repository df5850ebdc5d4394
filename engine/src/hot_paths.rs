//! What micro-benchmarks call of the engine's inside, with the feature `bench` only. No part of the public
//! interface: it changes whenever what it measures does.

use crate::io::{Block, IoFile, IoMode, OpenMode, backend};
use crate::journal::draft::Draft;
use crate::journal::entry::{Kind, SECTION_HEADER_BYTES, Section};
use crate::offset::Offset;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// What entries are padded to, as in a journal on a device with blocks of 4 KiB.
const ALIGN_BYTES: usize = 4096;

/// Puts journal entries together, again and again in the same memory, as the journal's thread does.
#[derive(Debug)]
pub struct JournalEntries {
    file: Arc<dyn IoFile>,
    block: Option<Block>,
    sections: u32,
    section_bytes: u32,
    sequence: u64,
}

impl JournalEntries {
    /// For entries of so many `sections`, each of another log and with `section_bytes` from the page
    /// cache; of zero, the sections are notes. The file at `path` is made, and stands for the segments.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(path: &Path, sections: u32, section_bytes: u32) -> io::Result<Self> {
        let file = backend(IoMode::Blocking).open(path, OpenMode::Any)?;
        file.write_at(&[IoSlice::new(&vec![0xa5; section_bytes as usize])], 0)?;
        let entry = (sections as usize + 1) * (SECTION_HEADER_BYTES + section_bytes as usize);
        let block = Some(Block::zeroed(entry.next_multiple_of(ALIGN_BYTES)));
        Ok(Self { file, block, sections, section_bytes, sequence: 0 })
    }

    /// Puts the next entry together: its sections with their bytes, padding, header and checksum. Gives
    /// what would be written to the device.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn encode(&mut self) -> io::Result<&[u8]> {
        let block = self.block.take().ok_or(io::ErrorKind::Other)?;
        let mut draft = Draft::new(block, usize::MAX);
        for log in 0..u64::from(self.sections) {
            let end = Offset(1);
            if self.section_bytes == 0 {
                draft.note(&Section::note(Kind::Synced, log, Offset::ZERO, end, Offset::ZERO));
            } else {
                let section = Section {
                    payload_bytes: self.section_bytes,
                    ..Section::note(Kind::Data, log, Offset::ZERO, end, Offset::ZERO)
                };
                draft.data(&section, &*self.file)?;
            }
        }
        self.sequence += 1;
        let padded = draft.len.next_multiple_of(ALIGN_BYTES);
        Ok(self.block.insert(draft.sealed(1, self.sequence, self.sequence, padded)).bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::entry::{EntryHeader, sections};

    #[test]
    fn what_is_measured_are_whole_entries() {
        let dir = tempfile::tempdir().unwrap();
        for (count, bytes) in [(1, 0), (3, 100), (128, 4096)] {
            let mut entries = JournalEntries::new(&dir.path().join("segment"), count, bytes).unwrap();
            for sequence in 1..3 {
                let entry = entries.encode().unwrap();
                assert!(entry.len().is_multiple_of(ALIGN_BYTES));
                let (header, payload) = EntryHeader::open(entry).unwrap();
                assert_eq!((header.sequence, header.sections), (sequence, count));
                let found: Vec<_> = sections(payload).map(Option::unwrap).collect();
                assert_eq!(found.len(), count as usize);
                assert!(found.iter().all(|(_, data)| *data == vec![0xa5; bytes as usize]));
            }
        }
    }
}
