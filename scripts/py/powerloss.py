"""The cycles of scripts/powerloss.

Usage: powerloss.py TORTURE CYCLES SEED FS...
"""

import fcntl
import os
import struct
import sys
import time

from medium import Rig, Torture, copy, main

# EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number, and so is the flag for: write out nothing more,
# the file system's own journal included.
IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2

IMAGE_MIB = {"ext4": 256, "xfs": 320}
# The image is made anew after so many cycles.
CYCLES_PER_IMAGE = 25
# In one cycle of so many the power is lost while the store is opened.
CYCLES_PER_EARLY_LOSS = 4


def shut_down(at):
    directory = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(directory, IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(directory)


def forget_confirmations(acks, begun, ended):
    """Drops what was confirmed while the file system was being shut down, if it was tried before the end of that.

    A sync that is under way then may return success and lose what it synced: ext4 takes a transaction that
    was aborted for one that was committed, XFS an inode that was unpinned for one that was written. (Four
    threads that only write and fdatasync saw that in every second shutdown, and never for a sync that
    returned before it.) The loss of power does no such thing. What is tried later must fail or hold.
    """
    with open(acks, "r+b") as history:
        history.seek(begun)
        kept, later = [], set()
        at = begun
        for line in history.read().splitlines(keepends=True):
            word, _, *fields = line.split()
            if at >= ended and word in (b"try", b"creating", b"deleting"):
                # By the tag of a batch, or the id of a log.
                later.add(fields[1])
            at += len(line)
            named = {b"ack": 3, b"created": 1, b"deleted": 1}.get(word)
            if word not in (b"found", b"absent") and (named is None or fields[named] in later):
                kept.append(line)
        history.seek(begun)
        history.truncate()
        history.writelines(kept)


class Cycles:
    """The cycles on one file system."""

    def __init__(self, rig, program, fs, cycles):
        self.rig, self.program, self.fs, self.cycles = rig, program, fs, cycles
        self.at = self.image = self.torture = self.acks = None
        self.durable = self.early = self.histories = 0

    def renew(self):
        if self.at:
            self.rig.umount(self.at)
        self.image = self.rig.image("disk.img", IMAGE_MIB[self.fs], self.fs)
        self.histories += 1
        self.acks = self.rig.dir / f"{self.fs}-{self.histories}.acks"
        self.acks.touch()
        self.at = self.rig.mount(self.image, "disk")
        self.torture = Torture(self.program, self.at / "store", self.acks)

    def lose_power(self, cycle):
        """What is wrong with what the writer did, or None."""
        pick = self.rig.random
        early = cycle % CYCLES_PER_EARLY_LOSS == 0
        seed = (self.rig.seed & 0xFFFFF) << 12 | cycle
        before = self.acks.stat().st_size
        writer = self.rig.start(self.torture.start("write", seed))
        if early:
            self.early += 1
            time.sleep(pick.uniform(0.001, 0.04))
        else:
            if writer.line(60) != "running":
                return f"the writer did not begin: {writer.all_text()}"
            time.sleep(pick.uniform(0.02, 0.3))
        if not writer.is_alive():
            return f"the writer ended by itself: {writer.all_text()}"
        begun = self.acks.stat().st_size
        shut_down(self.at)
        ended = self.acks.stat().st_size
        # It may go on for a moment, and must not believe that anything is durable now.
        time.sleep(pick.choice((0, 0, 0.001, 0.005)))
        writer.kill()
        if not early and not self.acks.read_bytes().count(b" D\n", before, begun):
            return "nothing was acknowledged as durable"
        forget_confirmations(self.acks, begun, ended)
        return None

    def run(self):
        rig = self.rig
        for cycle in range(1, self.cycles + 1):
            rig.progress(f"{self.fs}, cycle {cycle} of {self.cycles}")
            if self.at is None or cycle % CYCLES_PER_IMAGE == 1:
                self.renew()
            wrong = self.lose_power(cycle)
            rig.umount(self.at)
            self.at = None
            # As the loss of power left it: the check changes it.
            before = rig.dir / "before.img"
            copy(self.image, before)
            if wrong is None:
                self.at = rig.mount(self.image, "disk")
                last = cycle == self.cycles
                close = ["--close"] if rig.random.randrange(3) == 0 and not last else []
                good, found = self.torture.check("--note", *close)
                if good:
                    self.durable += int(found.split(" ")[1])
                    rig.ok()
                    continue
                wrong = found
                rig.umount(self.at)
                self.at = None
            rig.failed(f"{self.fs}, cycle {cycle}: {wrong}; {rig.keep(f'{self.fs}-{cycle}', before, self.acks)}")
        if self.at is None:
            return
        rig.say(f"{self.fs}: {self.cycles} cycles, {self.early} of them while the store was opened; "
                f"{self.durable} times a durable record was looked for")
        if self.durable == 0:
            rig.failed(f"{self.fs}: no durable record was ever looked for")
        rig.check_checker(self.torture, self.acks)
        rig.umount(self.at)
        self.at = None


def work(rig):
    for fs in sys.argv[4:]:
        Cycles(rig, sys.argv[1], fs, int(sys.argv[2])).run()


main(Rig("powerloss", int(sys.argv[3]), 1024), work)
