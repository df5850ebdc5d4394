"""The scenarios of scripts/diskfaults.

Usage: diskfaults.py TORTURE SEED
"""

import sys
import time

from medium import Rig, RigError, Torture, main, run
from storage_daemon import StorageDaemon

IMAGE_MIB = 128
FULL_MIB = 40
BALLAST_MIB = 16
# Of a place in memory that is nearly full: room for what the file system itself needs, and some data.
MEMORY_MIB = 48


def check_reads(rig, process, what):
    """While nothing can be written, all that was acknowledged must be read."""
    before = process.read_to
    line = process.expect("reads", 120)
    told = process.text[before:process.read_to].decode(errors="replace").splitlines()
    losses = [lost for lost in told if lost.startswith("LOSS")]
    if line.startswith("reads ok"):
        rig.ok(f"{what}: reads go on: {line}")
    else:
        rig.failed(f"{what}: {line}: {'; '.join(losses)}")


class Writer:
    """`torture fail` up to its failure, and after it."""

    def __init__(self, rig, torture, seed):
        self.rig = rig
        self.process = rig.start(torture.start("fail", seed, "--keep-logs"))
        self.process.expect("running", 60)

    def fails(self, what):
        """Waits for the failure; what was asked of the store then is checked by the writer."""
        failure = self.process.expect("failed", 60)
        self.rig.ok(f"{what}: the writer is told: {failure.removeprefix('failed: ')}")
        self.rig.ok(f"{what}: appends are refused")
        check_reads(self.rig, self.process, what)

    def mended(self, what):
        self.process.say("mended")
        if self.process.status(60) == 0:
            self.rig.ok(f"{what}: appends stay refused with the disk mended")
        else:
            self.rig.failed(f"{what}: {self.process.all_text()}")


def injected(rig, program, seed, what, kind):
    """Every write of the device fails from some moment on, and no more from another one on; or one flush does."""
    image = rig.image(f"{what}.img", IMAGE_MIB, "ext4")
    acks = rig.dir / f"{what}.acks"
    error = {"event": "none", "iotype": kind, "errno": 5, "once": kind == "flush", "immediately": True}
    top = {"driver": "raw", "node-name": "top", "file": "good"}
    nodes = [
        {"driver": "file", "node-name": "medium", "filename": str(image)},
        {"driver": "blkdebug", "node-name": "good", "image": "medium"},
        {"driver": "blkdebug", "node-name": "bad", "image": "medium", "inject-error": [error]},
        top,
    ]
    daemon = StorageDaemon(rig, nodes, "top", IMAGE_MIB << 20)
    at = rig.mount(daemon.path, "disk")
    torture = Torture(program, at / "store", acks)
    writer = Writer(rig, torture, seed)
    time.sleep(rig.random.uniform(0.05, 0.3))
    daemon.ask("blockdev-reopen", {"options": [top | {"file": "bad"}]})
    writer.fails(what)
    if kind == "write":
        daemon.ask("blockdev-reopen", {"options": [top]})
    writer.mended(what)
    rig.umount(at)
    at = rig.mount(daemon.path, "disk")
    rig.check(f"{what}: after the restart", torture.check("--note"))
    # Once more, as after any start.
    rig.check(f"{what}: after another restart", torture.check())
    rig.umount(at)
    daemon.stop()


def full_memory(rig, program, seed, what):
    """The file below the file system cannot grow: data is accepted, and its write-back fails."""
    place = rig.dir / "memory"
    rig.mount_memory(place, MEMORY_MIB)
    image = rig.image("memory/disk.img", IMAGE_MIB, "ext4")
    torture = Torture(program, rig.dir / "disk" / "store", rig.dir / f"{what}.acks")
    at = rig.mount(image, "disk")
    rig.write_single_pages(at)
    writer = Writer(rig, torture, seed)
    writer.fails(what)
    run("mount", "-o", f"remount,size={3 * IMAGE_MIB}m", place)
    writer.mended(what)
    rig.umount(at)
    at = rig.mount(image, "disk")
    rig.check(f"{what}: after the restart", torture.check("--note"))
    rig.check(f"{what}: after another restart", torture.check())
    rig.check_checker(torture, rig.dir / f"{what}.acks")
    rig.umount(at)
    rig.umount(place)


def full_disk(rig, program, seed, what):
    image = rig.image(f"{what}.img", FULL_MIB, "ext4")
    at = rig.mount(image, "disk")
    ballast = [at / f"ballast-{number}" for number in (1, 2)]
    for file in ballast:
        file.write_bytes(bytes(BALLAST_MIB // 2 << 20))
    acks = rig.dir / f"{what}.acks"
    torture = Torture(program, at / "store", acks)
    # As many logs as leave room on a small disk for a segment of each.
    writer = rig.start(torture.start("fill", seed, "--logs", 4, "--keep-logs"))
    for number, file in enumerate(ballast, 1):
        check_reads(rig, writer, what)
        writer.expect("full", 60)
        rig.ok(f"{what}: appends are refused, the store has not failed ({number})")
        if number == 1:
            file.unlink()
            writer.say("room")
            writer.expect("room", 60)
            rig.ok(f"{what}: appends of both kinds succeed again by themselves")
    writer.kill()
    good, found = torture.check("--written")
    if good or "make room" in found:
        rig.ok(f"{what}: opened while it is full: {found}")
    else:
        rig.failed(f"{what}: opened while it is full: {found}")
    ballast[1].unlink()
    rig.check(f"{what}: with room again", torture.check("--written", "--note"))
    rig.check(f"{what}: after another restart", torture.check("--written", "--close"))
    writer = rig.start(torture.start("write", seed + 1, "--logs", 4, "--batches", 50))
    if writer.status(60) == 0:
        rig.check(f"{what}: written after it", torture.check("--written"))
    else:
        rig.failed(f"{what}: cannot be written after it: {writer.all_text()}")
    rig.umount(at)


def work(rig):
    program, seed = sys.argv[1], (rig.seed & 0xFFFFF) << 12
    scenarios = (
        (injected, "failed writes", "write"),
        (injected, "failed flushes", "flush"),
        (full_memory, "failed write-back"),
        (full_disk, "full disk"),
    )
    for number, (scenario, what, *more) in enumerate(scenarios):
        try:
            scenario(rig, program, seed + 2 * number, what, *more)
        except RigError as err:
            # The other scenarios are worth their results.
            rig.failed(f"{what}: {err}")
            rig.give_back()


main(Rig("diskfaults", int(sys.argv[2]), 2048), work)
