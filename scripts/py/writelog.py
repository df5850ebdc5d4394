"""The write log and the replays of scripts/writelog.

Usage: writelog.py TORTURE REPLAYS SEED kept|lost

With `lost` the program is one whose engine syncs nothing, and the replays must report that.
"""

import filecmp
import sys
import time

from medium import Rig, RigError, Torture, copy, main
from storage_daemon import StorageDaemon
from write_log import FLUSH, WriteLog

IMAGE_MIB = 128
# Runs of the writer; all but the last are ended by SIGKILL, and followed by a recovery.
RUNS = 4
RUN_BATCHES_MAX = 1500
LAST_RUN_BATCHES = 300


def record(rig, program):
    """Lets the writer run on a logged medium. Returns the medium as it was before, the log and the history."""
    image = rig.image("medium.img", IMAGE_MIB, "ext4")
    before = rig.dir / "before.img"
    copy(image, before)
    log, acks = rig.dir / "write.log", rig.dir / "history.acks"
    log.touch()
    nodes = [
        {"driver": "file", "node-name": "medium", "filename": str(image)},
        {"driver": "file", "node-name": "log", "filename": str(log)},
        # The count of entries is brought up to date with each of them: the writer notes it with all it does.
        {"driver": "blklogwrites", "node-name": "logged", "file": "medium", "log": "log", "log-super-update-interval": 1},
    ]
    daemon = StorageDaemon(rig, nodes, "logged", IMAGE_MIB << 20)
    at = rig.mount(daemon.path, "disk")
    torture = Torture(program, at / "store", acks)
    for run in range(1, RUNS + 1):
        rig.progress(f"writing, run {run} of {RUNS}")
        seed = (rig.seed & 0xFFFFF) << 12 | run
        last = run == RUNS
        batches = LAST_RUN_BATCHES if last else RUN_BATCHES_MAX
        writer = rig.start(torture.start("write", seed, "--batches", batches, "--position", log))
        if last:
            if writer.status(120) != 0:
                raise RigError(f"the writer ended by itself: {writer.all_text()}")
            continue
        writer.expect("running", 60)
        time.sleep(rig.random.uniform(0.05, 0.4))
        writer.kill()
        rig.check(f"run {run}, after a crash of the process", torture.check("--written", "--note", "--position", log))
    rig.umount(at)
    daemon.stop()
    return before, image, log, acks


class Replays:
    """Media as they could be after the loss of power, from earlier to later ones."""

    def __init__(self, rig, program, base, log, acks):
        self.rig, self.program, self.log, self.acks = rig, program, WriteLog(log), acks
        self.base = base
        self.applied = 0
        self.medium = rig.dir / "replay.img"
        self.durable = self.dropped = self.torn = 0

    def moments(self, count):
        """Numbers of entries: any; those at which something had just been acknowledged as durable; and those
        right before a flush, with several writes that were not flushed."""
        entries = self.log.entries
        lines = [line.split(" ") for line in self.acks.read_text().splitlines()]
        acked = sorted({int(line[1]) for line in lines if line[0] == "ack" and line[-1] == "D"})
        # Half of what is not flushed for the longest time.
        flushes = [number for number, entry in enumerate(entries) if entry.flags & FLUSH]
        crowded = sorted(zip(flushes, flushes[1:]), key=lambda two: two[0] - two[1])
        crowded = [after for _, after in crowded[:len(crowded) // 2 + 1]]
        pick = self.rig.random
        kinds = (range(1, len(entries) + 1), acked, crowded)
        return sorted(pick.choice(pick.choice(kinds)) for _ in range(count))

    def advance(self, base, end):
        for entry in self.log.entries[self.applied:end]:
            self.log.apply(base, entry)
        self.applied = max(self.applied, end)

    def make(self, end):
        """The medium after `end` entries, or a random one of those that could be then. Returns what it is."""
        pick = self.rig.random
        flushed = self.log.flushed_before(end)
        with open(self.base, "r+b") as base:
            self.advance(base, flushed)
        copy(self.base, self.medium)
        with open(self.medium, "r+b") as medium:
            kind = pick.randrange(3)
            if kind == 0:
                for entry in self.log.entries[flushed:end]:
                    self.log.apply(medium, entry)
                return f"entry {end}"
            dropped, total = self.log.apply_some(medium, flushed, end, pick, torn=kind == 2)
            self.dropped += dropped
            self.torn += kind == 2
            what = "pieces" if kind == 2 else "writes"
            return f"entry {end} without {dropped} of {total} {what} after the last flush"

    def run(self, count, on_loss):
        rig = self.rig
        for number, end in enumerate(self.moments(count), 1):
            rig.progress(f"replay {number} of {count}")
            what = self.make(end)
            at = rig.mount(self.medium, "replayed")
            good, found = Torture(self.program, at / "store", self.acks).check("--at", end)
            rig.umount(at)
            if good:
                self.durable += int(found.split(" ")[1])
            if not on_loss(good, end, what, found):
                return

    def check_whole(self, image, base):
        """The log must give the very medium that was written, or it shows nothing about it."""
        with open(base, "r+b") as whole:
            for entry in self.log.entries:
                self.log.apply(whole, entry)
        if filecmp.cmp(base, image, shallow=False):
            self.rig.ok("the whole log gives the medium")
        else:
            self.rig.failed("the whole log does not give the medium")


def work(rig):
    program, count, expected = sys.argv[1], int(sys.argv[2]), sys.argv[4]
    base, image, log, acks = record(rig, program)
    whole = rig.dir / "whole.img"
    copy(base, whole)
    replays = Replays(rig, program, base, log, acks)
    replays.check_whole(image, whole)
    whole.unlink()
    entries = replays.log.entries
    rig.say(f"{len(entries)} entries, {sum(entry.flags & FLUSH != 0 for entry in entries)} of them flushes, "
            f"{sum(entry.size for entry in entries) >> 20} MiB")

    def kept(good, end, what, found):
        if good:
            rig.ok()
        else:
            # The medium as it was before the check is made again.
            rig.failed(f"{what}: {found}; {rig.keep(f'entry-{end}', log, acks)}")
        return True

    losses = []

    def lost(good, _, what, found):
        if not good and "was acknowledged as durable and is lost" in found:
            losses.append(f"{what}: {found}")
        return len(losses) < 3

    replays.run(count, kept if expected == "kept" else lost)
    rig.say(f"{replays.durable} times a durable record was looked for; {replays.dropped} writes or pieces were left "
            f"out, {replays.torn} replays had torn writes")
    if expected == "lost":
        for loss in losses:
            rig.say(loss[:300])
        rig.check("an engine without O_DSYNC is reported", (bool(losses), f"{len(losses)} losses seen"))
    else:
        if replays.durable == 0 or replays.dropped == 0:
            rig.failed("no replay showed anything")
        at = rig.mount(image, "disk")
        rig.check_checker(Torture(program, at / "store", acks), acks)
        rig.umount(at)
    replays.log.close()


main(Rig("writelog", int(sys.argv[3]), 2048), work)
