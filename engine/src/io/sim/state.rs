//! All that the simulated disk is: inodes, what is in flight, faults, and the rules of each operation.

use super::content::{Content, Part, eio};
use super::directory::{Directory, InodeId};
use super::queue::InFlight;
use super::random::Random;
use super::{FaultHits, Faults};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

pub(super) const ROOT: InodeId = 0;

/// A file or a directory.
#[derive(Debug)]
pub(super) enum Inode {
    File(Content),
    Dir(Directory),
}

/// How an operation is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Whole,
    /// The machine is turned off in the middle of it.
    Last,
}

/// The disk.
#[derive(Debug)]
pub(super) struct State {
    pub(super) random: Random,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    /// Counts the crashes: handles of before one are of no use.
    pub(super) generation: u64,
    pub(super) off: bool,
    pub(super) stop_at: Option<u64>,
    pub(super) operations: u64,
    pub(super) faults: Faults,
    pub(super) hits: FaultHits,
    pub(super) capacity: u64,
    pub(super) direct: bool,
    pub(super) mappings: bool,
    pub(super) write_back_per_mille: u32,
    pub(super) locked: BTreeSet<InodeId>,
    pub(super) in_flight: InFlight,
    /// The file that was read last, which tells a queue whose file it was given.
    pub(super) touched: InodeId,
}

pub(super) fn off() -> io::Error {
    io::Error::other("the simulated machine is off")
}

fn stale() -> io::Error {
    io::Error::other("the handle is of before the simulated crash")
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(nix::errno::Errno::ENOSPC as i32)
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            inodes: BTreeMap::from([(ROOT, Inode::Dir(Directory::default()))]),
            next_inode: ROOT + 1,
            generation: 0,
            off: false,
            stop_at: None,
            operations: 0,
            faults: Faults::default(),
            hits: FaultHits::default(),
            capacity: u64::MAX,
            direct: true,
            mappings: true,
            write_back_per_mille: 30,
            locked: BTreeSet::new(),
            in_flight: InFlight::default(),
            touched: ROOT,
        }
    }

    /// Whether a handle of that generation may be used.
    pub(super) fn check(&self, generation: u64) -> io::Result<()> {
        if self.off {
            return Err(off());
        }
        if generation == self.generation { Ok(()) } else { Err(stale()) }
    }

    /// Begins an operation that changes something: counts it, and sometimes the kernel writes
    /// something back meanwhile. `Err` if the machine is off.
    pub(super) fn begin(&mut self) -> io::Result<Turn> {
        if self.off {
            return Err(off());
        }
        self.operations += 1;
        if self.random.per_mille(self.write_back_per_mille) {
            self.write_something_back();
        }
        if self.stop_at.is_some_and(|stop| self.operations >= stop) {
            self.off = true;
            return Ok(Turn::Last);
        }
        Ok(Turn::Whole)
    }

    /// Whether something happens to an operation under way when the machine is turned off.
    fn happens(&mut self, turn: Turn) -> bool {
        turn == Turn::Whole || self.random.coin()
    }

    fn end(turn: Turn) -> io::Result<()> {
        if turn == Turn::Whole { Ok(()) } else { Err(off()) }
    }

    /// Whether a fault of the kind that `of` names comes now.
    fn fault(&mut self, of: impl Fn(&mut Faults) -> &mut u32) -> bool {
        let chance = of(&mut self.faults);
        let hit = self.random.per_mille(*chance);
        if hit && self.faults.once {
            *of(&mut self.faults) = 0;
        }
        hit
    }

    pub(super) fn drop_lost(&mut self) {
        for inode in self.inodes.values_mut() {
            if let Inode::File(content) = inode {
                content.drop_lost();
            }
        }
    }

    fn write_something_back(&mut self) {
        let dirty = |(id, inode): (&InodeId, &Inode)| match inode {
            Inode::File(content) if content.is_dirty() => Some(*id),
            _ => None,
        };
        let files: Vec<InodeId> = self.inodes.iter().filter_map(dirty).collect();
        if !files.is_empty() {
            let chosen = files[self.random.index(files.len())];
            self.write_back(chosen, 0, u64::MAX);
        }
    }

    /// Some of the dirty sectors of a range go to the medium, or are lost.
    pub(super) fn write_back(&mut self, file: InodeId, from: u64, len: u64) {
        let Some(Inode::File(content)) = self.inodes.get(&file) else { return };
        let mut chosen = content.dirty_within(from, len);
        chosen.retain(|_| self.random.coin());
        self.write_back_sectors(file, &chosen);
    }

    fn write_back_sectors(&mut self, file: InodeId, chosen: &[u64]) {
        if chosen.is_empty() {
            return;
        }
        let fails = self.fault(|faults| &mut faults.write_back_per_mille);
        let unwritten = self.faults.unwritten;
        let Some(Inode::File(content)) = self.inodes.get_mut(&file) else { return };
        if fails {
            self.hits.write_backs += 1;
            content.fail_write_back(chosen, unwritten);
        } else {
            content.write_back(chosen);
        }
    }

    pub(super) fn file(&mut self, id: InodeId) -> io::Result<&mut Content> {
        match self.inodes.get_mut(&id) {
            Some(Inode::File(content)) => Ok(content),
            Some(Inode::Dir(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn add(&mut self, inode: Inode) -> InodeId {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, inode);
        id
    }

    /// Bytes of all files that have a name.
    pub(super) fn used_bytes(&self) -> u64 {
        let reachable = self.reachable(Directory::inodes);
        let len = |id| match self.inodes.get(id) {
            Some(Inode::File(content)) => content.len(),
            _ => 0,
        };
        reachable.iter().map(len).sum()
    }

    /// What directories have, from the root on; `inside` tells it of one.
    fn reachable(&self, inside: impl Fn(&Directory) -> Vec<InodeId>) -> BTreeSet<InodeId> {
        let mut found = BTreeSet::from([ROOT]);
        let mut left = vec![ROOT];
        while let Some(id) = left.pop() {
            if let Some(Inode::Dir(dir)) = self.inodes.get(&id) {
                left.extend(inside(dir).into_iter().filter(|inode| found.insert(*inode)));
            }
        }
        found
    }

    /// How far a file may grow towards `len`; an error if that is not far enough.
    fn room(&mut self, file: InodeId, len: u64) -> io::Result<Result<(), u64>> {
        let have = self.file(file)?.len();
        if self.capacity == u64::MAX || len <= have {
            return Ok(Ok(()));
        }
        let free = self.capacity.saturating_sub(self.used_bytes());
        if len - have <= free { Ok(Ok(())) } else { Ok(Err(have + free)) }
    }

    /// A file or directory can be made.
    pub(super) fn room_for_name(&mut self) -> io::Result<()> {
        if self.capacity != u64::MAX && self.used_bytes() >= self.capacity {
            self.hits.full += 1;
            return Err(full());
        }
        Ok(())
    }

    /// Writes to the cache.
    pub(super) fn write(&mut self, file: InodeId, bytes: &[u8], position: u64) -> io::Result<()> {
        let turn = self.begin()?;
        let fails = self.fault(|faults| &mut faults.write_per_mille);
        let room = self.room(file, position + bytes.len() as u64)?;
        let mut fits = bytes.len();
        let mut outcome = Self::end(turn);
        if let Err(end) = room {
            self.hits.full += 1;
            fits = usize::try_from(end.saturating_sub(position)).unwrap_or(0).min(fits);
            // The kernel may give up before it has used all that is left.
            fits = if self.random.coin() { 0 } else { self.random.index(fits + 1) };
            outcome = outcome.and(Err(full()));
        }
        if fails {
            self.hits.writes += 1;
            fits = self.random.index(fits + 1);
            outcome = outcome.and(Err(eio()));
        }
        if turn == Turn::Last {
            fits = self.random.index(fits + 1);
        }
        self.file(file)?.write(&bytes[..fits], position);
        outcome
    }

    /// Sets the length; `grow_only` never cuts.
    pub(super) fn set_len(&mut self, file: InodeId, len: u64, grow_only: bool) -> io::Result<()> {
        let turn = self.begin()?;
        if self.room(file, len)?.is_err() {
            self.hits.full += 1;
            return Err(full());
        }
        if self.happens(turn) {
            let content = self.file(file)?;
            if !grow_only || content.len() < len {
                content.set_len(len);
            }
        }
        Self::end(turn)
    }

    /// Makes a file's data and size durable.
    pub(super) fn sync(&mut self, file: InodeId) -> io::Result<()> {
        Self::end(self.begin()?)?;
        let fails = self.fault(|faults| &mut faults.sync_per_mille);
        let unwritten = self.faults.unwritten;
        match self.inodes.get_mut(&file) {
            Some(Inode::File(content)) if fails => {
                self.hits.syncs += 1;
                content.fail_sync(&mut self.random, unwritten)
            }
            Some(Inode::File(content)) => {
                let outcome = content.sync();
                // A write-back failed before, perhaps under another process, and is told now.
                self.hits.syncs += u64::from(outcome.is_err());
                outcome
            }
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Reads from the medium, after what is dirty was written back, as Linux does for O_DIRECT.
    pub(super) fn read_direct(&mut self, file: InodeId, out: &mut [u8], position: u64) -> io::Result<usize> {
        self.touched = file;
        if !self.direct {
            return Ok(self.file(file)?.read(out, position));
        }
        let dirty = self.file(file)?.dirty_within(position, out.len() as u64);
        self.write_back_sectors(file, &dirty);
        Ok(self.file(file)?.read_medium(out, position))
    }

    /// A durable write past the cache.
    pub(super) fn write_direct(&mut self, file: InodeId, bytes: &[u8], position: u64) -> io::Result<()> {
        let turn = self.begin()?;
        let fails = self.fault(|faults| &mut faults.direct_write_per_mille);
        if self.room(file, position + bytes.len() as u64)?.is_err() {
            self.hits.full += 1;
            return Err(full());
        }
        if fails {
            self.hits.direct_writes += 1;
        }
        if fails || turn == Turn::Last {
            self.write_direct_in_part(file, bytes, position);
            return Self::end(turn).and(Err(eio()));
        }
        if self.direct {
            self.file(file)?.write_direct(bytes, position, || Part::All);
            return Ok(());
        }
        self.file(file)?.write(bytes, position);
        self.file(file)?.sync()
    }

    /// What a direct write that did not end well leaves: each sector kept, dropped or torn.
    pub(super) fn write_direct_in_part(&mut self, file: InodeId, bytes: &[u8], position: u64) {
        if let Some(Inode::File(content)) = self.inodes.get_mut(&file) {
            content.write_direct(bytes, position, || Part::random(&mut self.random));
        }
    }

    pub(super) fn sync_dir(&mut self, dir: InodeId) -> io::Result<()> {
        Self::end(self.begin()?)?;
        if self.fault(|faults| &mut faults.sync_dir_per_mille) {
            self.hits.sync_dirs += 1;
            return Err(eio());
        }
        self.dir(dir)?.sync();
        Ok(())
    }

    /// Begins a change of names. `Ok(false)`: it does not happen, since the machine goes off.
    pub(super) fn begin_change(&mut self) -> io::Result<(Turn, bool)> {
        let turn = self.begin()?;
        let happens = self.happens(turn);
        Ok((turn, happens))
    }

    pub(super) fn end_change(turn: Turn) -> io::Result<()> {
        Self::end(turn)
    }

    /// Power comes back, or another process starts: nothing of before is open.
    fn restart(&mut self) {
        self.generation += 1;
        self.off = false;
        self.stop_at = None;
        self.locked.clear();
        // What was removed may come back with a later loss of power.
        let reachable = self.reachable(Directory::inodes_ever);
        self.inodes.retain(|id, _| reachable.contains(id));
    }

    pub(super) fn lose_power(&mut self) {
        self.land_in_flight();
        for inode in self.inodes.values_mut() {
            match inode {
                Inode::File(content) => content.lose_power(&mut self.random),
                Inode::Dir(dir) => dir.lose_power(&mut self.random),
            }
        }
        self.restart();
    }

    pub(super) fn kill_process(&mut self) {
        self.land_in_flight();
        self.restart();
    }
}
