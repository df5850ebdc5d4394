"""A log of writes to a block device, in the format of the kernel's dm-log-writes, which QEMU's
blklogwrites writes too, and states of the medium made from it.

A superblock in the first sector, then entries: a sector with the header, then the data.
"""

import mmap
import struct
from typing import NamedTuple

MAGIC = 0x6A736677736872
SUPERBLOCK = struct.Struct("<QQQI")
HEADER = struct.Struct("<QQQQ")
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
# Writes are torn at these boundaries. A smaller write of a file system is not expected to survive in parts.
PIECE_BYTES = 4096


class Entry(NamedTuple):
    """One write, or a flush alone: `at` and `size` are bytes of the medium, `data_at` is where in the log."""

    at: int
    size: int
    flags: int
    data_at: int


class WriteLog:
    """The log, complete."""

    def __init__(self, path):
        self.file = open(path, "rb")
        self.bytes = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, version, count, sector = SUPERBLOCK.unpack_from(self.bytes)
        if (magic, version) != (MAGIC, 1):
            raise ValueError(f"{path} is no write log: magic {magic:#x}, version {version}")
        self.entries = []
        at = sector
        for _ in range(count):
            to, sectors, flags, _ = HEADER.unpack_from(self.bytes, at)
            at += sector
            self.entries.append(Entry(to * sector, sectors * sector, flags, at))
            if not flags & DISCARD:
                at += sectors * sector

    def close(self):
        self.bytes.close()
        self.file.close()

    def apply(self, medium, entry, at=0, size=None):
        """Writes an entry, or a part of it, to an open file."""
        size = entry.size - at if size is None else min(size, entry.size - at)
        if size == 0:
            return
        if entry.flags & DISCARD:
            data = bytes(size)
        else:
            data = self.bytes[entry.data_at + at:entry.data_at + at + size]
        medium.seek(entry.at + at)
        medium.write(data)

    def flushed_before(self, end):
        """How many of the first `end` entries are on the medium whatever happens: those before the last flush.

        A write that was under way when the flush came counts as flushed, since the log has no ends of writes.
        """
        for number in range(end - 1, -1, -1):
            if self.entries[number].flags & FLUSH:
                return number
        return 0

    def apply_some(self, medium, first, end, random, torn):
        """Writes a random part of the entries, whole ones or pieces: none of them was flushed. Some are certain:
        a write with FUA was on the medium when it ended. Returns how many were left out, of how many."""
        share = random.choice((0.1, 0.5, 0.9))
        dropped = total = 0
        for entry in self.entries[first:end]:
            if entry.size == 0 or entry.flags & FUA:
                self.apply(medium, entry)
                continue
            piece = PIECE_BYTES if torn else entry.size
            at = 0
            while at < entry.size:
                # Pieces end where blocks of the medium end.
                size = piece - (entry.at + at) % piece if torn else piece
                total += 1
                if random.random() < share:
                    self.apply(medium, entry, at, size)
                else:
                    dropped += 1
                at += size
        return dropped, total
