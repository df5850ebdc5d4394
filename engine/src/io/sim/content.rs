//! The bytes of a file: what the running system sees, and what the medium has of it.

use super::random::Random;
use std::collections::BTreeSet;
use std::io;

/// What a medium writes whole, or tears.
pub(super) const SECTOR_BYTES: u64 = 512;

/// What a file system gives to files.
const BLOCK_BYTES: u64 = 4096;

/// A file's bytes, twice.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// What the running system sees.
    cache: Vec<u8>,
    /// What the medium has. May reach beyond the durable size while a change of size is not synced.
    medium: Vec<u8>,
    /// The size that the medium has of the file.
    durable_len: u64,
    /// Sectors that the medium does not have as they are in the cache.
    dirty: BTreeSet<u64>,
    /// Whether the size changed since it last became durable.
    size_dirty: bool,
    /// The smallest size since the size last became durable.
    low: u64,
    /// Sectors of the medium that a truncation has cut off, and that it did not get anew since.
    stale: BTreeSet<u64>,
    /// Sectors that the medium got at some time.
    written: BTreeSet<u64>,
    /// Sectors whose first write-back failed: nothing that is written to them in place lasts.
    unwritten: BTreeSet<u64>,
    /// Sectors that a failed write-back left clean, and that the medium does not have.
    lost: BTreeSet<u64>,
    /// A write-back failed, which the next sync reports.
    sync_error: bool,
}

fn at(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

fn sectors(from: u64, to: u64) -> std::ops::Range<u64> {
    if from >= to { 0..0 } else { from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) }
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The dirty sectors that touch the range.
    pub(super) fn dirty_within(&self, from: u64, len: u64) -> Vec<u64> {
        self.dirty.range(sectors(from, from.saturating_add(len))).copied().collect()
    }

    /// Copies from the cache; bytes copied.
    pub(super) fn read(&self, out: &mut [u8], position: u64) -> usize {
        let from = at(position).min(self.cache.len());
        let len = out.len().min(self.cache.len() - from);
        out[..len].copy_from_slice(&self.cache[from..from + len]);
        len
    }

    /// Copies from the medium, as far as the file reaches; bytes copied.
    pub(super) fn read_medium(&self, out: &mut [u8], position: u64) -> usize {
        let from = at(position).min(self.cache.len());
        let len = out.len().min(self.cache.len() - from);
        for (n, byte) in out[..len].iter_mut().enumerate() {
            *byte = self.medium.get(from + n).copied().unwrap_or(0);
        }
        len
    }

    /// Writes to the cache.
    pub(super) fn write(&mut self, bytes: &[u8], position: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len() as u64;
        if end > self.len() {
            self.grow(end);
        }
        self.cache[at(position)..at(end)].copy_from_slice(bytes);
        self.dirty.extend(sectors(position, end));
        self.lost.retain(|sector| !sectors(position, end).contains(sector));
    }

    /// The kernel needs the memory: of clean pages it has what the medium has.
    pub(super) fn drop_lost(&mut self) {
        for sector in std::mem::take(&mut self.lost) {
            let from = at(sector * SECTOR_BYTES).min(self.cache.len());
            let to = at((sector + 1) * SECTOR_BYTES).min(self.cache.len());
            for at in from..to {
                self.cache[at] = self.medium.get(at).copied().unwrap_or(0);
            }
        }
    }

    fn grow(&mut self, len: u64) {
        // What lies between is zero, which the medium may have otherwise of before a truncation.
        self.dirty.extend(sectors(self.len(), len));
        self.cache.resize(at(len), 0);
        self.size_dirty = true;
    }

    /// Sets the size in the cache.
    pub(super) fn set_len(&mut self, len: u64) {
        let before = self.len();
        if len > before {
            self.grow(len);
        } else if len < before {
            self.cache.truncate(at(len));
            self.low = self.low.min(len);
            self.size_dirty = true;
            self.dirty.retain(|sector| sector * SECTOR_BYTES < len);
            if !len.is_multiple_of(SECTOR_BYTES) {
                self.dirty.insert(len / SECTOR_BYTES);
            }
            // The blocks beyond are given back; what comes there later gets new ones.
            self.unwritten.retain(|sector| sector * SECTOR_BYTES < len.next_multiple_of(BLOCK_BYTES));
            self.stale.extend(sectors(len.next_multiple_of(SECTOR_BYTES), self.medium.len() as u64));
        }
    }

    /// The first `bytes` of a sector go to the medium, which for a whole one is all of it.
    fn put(&mut self, sector: u64, bytes: u64) {
        let from = at(sector * SECTOR_BYTES);
        let to = at(sector * SECTOR_BYTES + bytes).min(self.cache.len());
        if from >= to || self.unwritten.contains(&sector) {
            return;
        }
        if self.medium.len() < to {
            self.medium.resize(to, 0);
        }
        self.medium[from..to].copy_from_slice(&self.cache[from..to]);
        self.stale.remove(&sector);
        self.lost.remove(&sector);
        self.written.insert(sector);
    }

    /// Dirty sectors go to the medium, and are clean then. Proves nothing about the size.
    pub(super) fn write_back(&mut self, chosen: &[u64]) {
        for sector in chosen {
            self.put(*sector, SECTOR_BYTES);
            self.dirty.remove(sector);
        }
    }

    /// The sectors are clean from now on and the medium did not get them.
    pub(super) fn fail_write_back(&mut self, chosen: &[u64], unwritten: bool) {
        for sector in chosen {
            self.dirty.remove(sector);
            self.lost.insert(*sector);
            // The file system knows whole blocks: one of which a part was ever written is written.
            let block = sector - sector % (BLOCK_BYTES / SECTOR_BYTES);
            let known = self.written.range(block..block + BLOCK_BYTES / SECTOR_BYTES).next().is_some();
            if unwritten && !known {
                self.unwritten.extend(block..block + BLOCK_BYTES / SECTOR_BYTES);
            }
        }
        self.sync_error = true;
    }

    fn settle_size(&mut self) {
        self.medium.resize(self.cache.len(), 0);
        self.durable_len = self.len();
        self.low = self.len();
        self.size_dirty = false;
        self.stale.clear();
    }

    /// Everything that is dirty goes to the medium. An error of an earlier write-back is told once.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let all: Vec<u64> = self.dirty.iter().copied().collect();
        self.write_back(&all);
        self.settle_size();
        if std::mem::take(&mut self.sync_error) { Err(eio()) } else { Ok(()) }
    }

    /// A sync that fails: at least one dirty sector is lost, and all are clean.
    pub(super) fn fail_sync(&mut self, random: &mut Random, unwritten: bool) -> io::Result<()> {
        let mut all: Vec<u64> = self.dirty.iter().copied().collect();
        random.shuffle(&mut all);
        let lost = if all.is_empty() { 0 } else { 1 + random.index(all.len()) };
        self.fail_write_back(&all[..lost], unwritten);
        self.write_back(&all[lost..]);
        if random.coin() {
            self.settle_size();
        }
        self.sync_error = false;
        Err(eio())
    }

    /// Some sectors of `bytes` go to the medium, past the cache, which follows. `position` is that of
    /// a sector. What is written lasts: the file reaches at least to its end.
    pub(super) fn write_direct(&mut self, bytes: &[u8], position: u64, mut part: impl FnMut() -> Part) {
        for (n, piece) in bytes.chunks(at(SECTOR_BYTES)).enumerate() {
            let len = match part() {
                Part::All => piece.len(),
                Part::Nothing => continue,
                Part::First(len) => at(len).min(piece.len()),
            };
            let from = position + n as u64 * SECTOR_BYTES;
            let end = from + len as u64;
            let sector = from / SECTOR_BYTES;
            if end > self.len() {
                self.grow(end);
            }
            self.cache[at(from)..at(end)].copy_from_slice(&piece[..len]);
            self.unwritten.remove(&sector);
            self.put(sector, SECTOR_BYTES);
            self.dirty.remove(&sector);
            self.low = self.low.max(end).min(self.len());
            if self.durable_len < end {
                self.durable_len = end;
            }
            self.size_dirty = self.durable_len != self.len();
        }
    }

    /// Power is lost: each dirty sector is kept, dropped or torn, and a change of size that was not
    /// synced is kept, dropped, or kept in part. What is seen from now on is what the medium has.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        let mut len = self.durable_len;
        if self.size_dirty {
            let low = self.low.min(self.durable_len).min(self.len());
            len = match random.below(3) {
                0 => self.durable_len,
                1 => self.len(),
                _ => low + random.below(self.len() - low + 1),
            };
            if len != self.durable_len && random.coin() {
                for sector in std::mem::take(&mut self.stale) {
                    let from = at(sector * SECTOR_BYTES).min(self.medium.len());
                    let to = at((sector + 1) * SECTOR_BYTES).min(self.medium.len());
                    self.medium[from..to].fill(0);
                }
            }
        }
        for sector in std::mem::take(&mut self.dirty) {
            match Part::random(random) {
                Part::All => self.put(sector, SECTOR_BYTES),
                Part::Nothing => {}
                Part::First(bytes) => self.put(sector, bytes),
            }
        }
        self.medium.resize(at(len), 0);
        let medium = std::mem::take(&mut self.medium);
        *self = Self {
            cache: medium.clone(),
            durable_len: len,
            low: len,
            written: sectors(0, len).collect(),
            medium,
            ..Self::default()
        };
    }
}

/// What becomes of a sector at a crash.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    All,
    Nothing,
    /// So many bytes of it.
    First(u64),
}

impl Part {
    pub(super) fn random(random: &mut Random) -> Self {
        match random.below(5) {
            0 | 1 => Self::All,
            2 | 3 => Self::Nothing,
            _ => Self::First(random.below(SECTOR_BYTES)),
        }
    }
}

/// What the system answers when the medium does not do what it should.
pub(super) fn eio() -> io::Error {
    io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32)
}
