//! Where in the journal's files entries go, and when a file may be used again. No I/O.
//!
//! A file is filled from its second block on (the first is its header) and is free again when a checkpoint has made all its entries
//! superfluous. So no block that holds acknowledged bytes is ever written to.

/// The room of the journal.
#[derive(Debug)]
pub(crate) struct Space {
    align_bytes: u64,
    files: Vec<Room>,
    /// The file that is being filled, and how far.
    current: Option<(usize, u64)>,
}

#[derive(Debug)]
struct Room {
    bytes: u64,
    /// The last entry in it; none if it is free.
    last: Option<u64>,
}

/// Where an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) position: u64,
}

/// Blocks kept for notes (truncations, deletions and the like): who makes one may hold what the
/// checkpoint needs that would free the room.
const RESERVED_BLOCKS: u64 = 64;

impl Space {
    pub(crate) fn new(align_bytes: usize) -> Self {
        Self { align_bytes: align_bytes as u64, files: Vec::new(), current: None }
    }

    pub(crate) fn add_file(&mut self, bytes: u64) {
        self.files.push(Room { bytes, last: None });
    }

    /// Bytes that an entry takes, padding included.
    pub(crate) fn padded(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(self.align_bytes)
    }

    fn free(&self) -> impl Iterator<Item = usize> {
        let current = self.current.map(|(file, _)| file);
        let free =
            move |(at, room): (usize, &Room)| (room.last.is_none() && Some(at) != current).then_some(at);
        self.files.iter().enumerate().filter_map(free)
    }

    fn left_in_current(&self) -> u64 {
        self.current.map_or(0, |(file, position)| self.files[file].bytes - position)
    }

    /// Bytes for entries in a file of so many.
    fn usable(&self, file: usize) -> u64 {
        self.files[file].bytes.saturating_sub(self.align_bytes)
    }

    fn reserve_bytes(&self) -> u64 {
        let least = (0..self.files.len()).map(|at| self.usable(at)).min().unwrap_or(0);
        (RESERVED_BLOCKS * self.align_bytes).min(self.padded(least / 4))
    }

    /// The largest entry with data that there is room for now.
    pub(crate) fn room_bytes(&self) -> u64 {
        let free: Vec<u64> = self.free().map(|at| self.usable(at)).collect();
        match free[..] {
            [] => self.left_in_current().saturating_sub(self.reserve_bytes()),
            [one] => self.left_in_current().max(one.saturating_sub(self.reserve_bytes())),
            _ => free.into_iter().max().unwrap_or(0),
        }
    }

    /// The largest entry with data that there can ever be room for.
    pub(crate) fn entry_bytes_max(&self) -> u64 {
        let most = (0..self.files.len()).map(|at| self.usable(at)).max().unwrap_or(0);
        most.saturating_sub(self.reserve_bytes())
    }

    /// Blocks that notes may take.
    pub(crate) fn note_blocks(&self) -> u64 {
        let free: u64 = self.free().map(|at| self.usable(at)).sum();
        (free + self.left_in_current()) / self.align_bytes
    }

    /// Takes the room for an entry of `bytes`. An entry with data is within [`Space::room_bytes`]; one
    /// with notes only may use what is reserved.
    pub(crate) fn place(&mut self, sequence: u64, bytes: u64) -> Option<Place> {
        let bytes = self.padded(bytes);
        if self.left_in_current() < bytes {
            let next = self.free().find(|at| self.usable(*at) >= bytes)?;
            self.current = Some((next, self.align_bytes));
        }
        let (file, position) = self.current?;
        self.files[file].last = Some(sequence);
        self.current = Some((file, position + bytes));
        Some(Place { file, position })
    }

    /// Frees the files all of whose entries are before `sequence`.
    pub(crate) fn free_before(&mut self, sequence: u64) {
        for room in &mut self.files {
            if room.last.is_some_and(|last| last < sequence) {
                room.last = None;
            }
        }
        if let Some((file, _)) = self.current
            && self.files[file].last.is_none()
        {
            self.current = None;
        }
    }

    /// Where the next entry goes if it fits there.
    pub(crate) fn head(&self) -> Place {
        self.current.map_or(Place { file: 0, position: 0 }, |(file, position)| Place { file, position })
    }

    /// Whether half of the room, or more, is taken.
    pub(crate) fn is_crowded(&self, files_max: usize) -> bool {
        let taken = self.files.len() - self.free().count();
        taken * 2 > files_max || (files_max == 1 && self.left_in_current() * 2 < self.files[0].bytes)
    }

    /// Whether another file should be made: soon there is none to go on with.
    pub(crate) fn wants_file(&self, files_max: usize) -> bool {
        let half_left = self.current.is_some_and(|(file, position)| position * 2 < self.files[file].bytes);
        self.files.len() < files_max && !half_left && self.free().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(files: usize) -> Space {
        let mut space = Space::new(512);
        (0..files).for_each(|_| space.add_file(512 + 8192));
        space
    }

    #[test]
    fn entries_follow_one_another_and_go_on_in_a_free_file() {
        let mut space = space(2);
        assert_eq!(space.place(0, 5000), Some(Place { file: 0, position: 512 }));
        assert_eq!(space.place(1, 1000), Some(Place { file: 0, position: 5632 }));
        assert_eq!(space.place(2, 3000), Some(Place { file: 1, position: 512 }));
        assert_eq!(space.place(3, 6000), None, "no file is free");
        space.free_before(2);
        assert_eq!(space.place(3, 6000), Some(Place { file: 0, position: 512 }));
    }

    #[test]
    fn a_file_with_an_entry_that_is_needed_is_not_used_again() {
        let mut space = space(2);
        space.place(0, 8192);
        space.place(1, 8192);
        space.free_before(0);
        assert_eq!(space.room_bytes(), 0);
        assert_eq!(space.place(2, 1), None);
        space.free_before(1);
        assert_eq!(space.place(2, 1), Some(Place { file: 0, position: 512 }));
    }

    #[test]
    fn data_leaves_room_for_notes() {
        let mut space = space(1);
        assert_eq!(space.room_bytes(), 8192 - 2048);
        space.place(0, 6144);
        assert_eq!(space.room_bytes(), 0);
        assert!(space.place(1, 100).is_some(), "a note");
    }

    #[test]
    fn whatever_room_there_is_said_to_be_can_be_placed() {
        for files in 1..4 {
            let mut space = space(files);
            let mut sequence = 0;
            while space.room_bytes() > 0 {
                let bytes = space.room_bytes().min(1 + (sequence * 977) % 4000);
                assert!(space.place(sequence, bytes).is_some());
                sequence += 1;
            }
            assert!(space.place(sequence, 1).is_some(), "a note, with {files} files");
        }
    }
}
