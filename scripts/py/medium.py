"""What the rigs for real media share: a place in memory, file systems on loop devices, processes that
end with the script, and the counting of checks.

The scripts start Python in a mount namespace of its own (`unshare --mount`), and every process that is
started here is killed with its parent. So whatever ends a script, its mounts and loop devices go with it.
"""

import ctypes
import os
import pathlib
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)

MKFS = {
    # Everything is written at once: no thread of the kernel goes on with it after the mount.
    "ext4": ["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
}


class RigError(Exception):
    """The rig itself does not work: there is nothing to judge."""


def with_parent():
    """In a child: be killed when the parent ends, and do not take the terminal's Ctrl-C."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()


def run(*command, seconds=60, fine=(0,)):
    """Runs a command and returns what it writes."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=seconds, preexec_fn=with_parent, text=True, errors="replace", check=False)
    except subprocess.TimeoutExpired as err:
        raise RigError(f"{' '.join(command)} took more than {seconds} s") from err
    if done.returncode not in fine:
        raise RigError(f"{' '.join(command)} ended with status {done.returncode}: {done.stdout.strip()}")
    return done.stdout


def copy(source, target):
    """Copies a file with its holes."""
    run("cp", "--sparse=always", source, target)


class Process:
    """A process whose lines are read with a bound."""

    def __init__(self, *command):
        self.command = [str(word) for word in command]
        self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, preexec_fn=with_parent)
        self.text = b""
        self.read_to = 0

    def line(self, seconds):
        """The next line, or None if there is none within the time or any more."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.text[self.read_to:]:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [], left)[0]:
                return None
            chunk = os.read(self.child.stdout.fileno(), 1 << 16)
            if not chunk:
                return None
            self.text += chunk
        end = self.text.index(b"\n", self.read_to)
        line = self.text[self.read_to:end].decode(errors="replace")
        self.read_to = end + 1
        return line

    def expect(self, word, seconds):
        """Reads lines up to one that begins with the word, which is returned."""
        while (line := self.line(seconds)) is not None:
            if line.split(" ")[0].rstrip(":") == word:
                return line
        raise RigError(f"no {word!r} came within {seconds} s, but: {self.all_text()}")

    def say(self, line):
        self.child.stdin.write(line.encode() + b"\n")
        self.child.stdin.flush()

    def all_text(self):
        return self.text.decode(errors="replace").strip() or "nothing"

    def is_alive(self):
        return self.child.poll() is None

    def status(self, seconds):
        """Waits for the end."""
        while self.line(seconds) is not None:
            pass
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired as err:
            raise RigError(f"{' '.join(self.command)} did not end within {seconds} s") from err

    def kill(self):
        """As a crash."""
        self.child.kill()
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired as err:
            raise RigError(f"{' '.join(self.command)} cannot be killed") from err
        for pipe in (self.child.stdin, self.child.stdout):
            try:
                pipe.close()
            except OSError:
                pass


class Torture:
    """The engine's example program of that name, on one store and its history."""

    def __init__(self, program, store, acks, *always):
        self.program, self.store, self.acks, self.always = program, store, acks, always

    def start(self, command, seed, *args):
        return Process(self.program, command, self.store, "--acks", self.acks, "--seed", seed, *self.always, *args)

    def check(self, *args, acks=None, seconds=120):
        """What the check found: whether all is there, and what it wrote."""
        done = Process(self.program, "check", self.store, "--acks", acks or self.acks, *self.always, *args)
        try:
            status = done.status(seconds)
        except RigError as err:
            done.kill()
            return False, str(err)
        return status == 0, done.all_text().replace("\n", "; ")


class Rig:
    """Counts checks, and holds what must be given back."""

    def __init__(self, name, seed, mib):
        self.name, self.seed, self.mib = name, seed, mib
        self.random = random.Random(seed)
        self.passed = self.failures = 0
        self.processes, self.mounts = [], []
        self.dir = None
        self.progress_shown = False

    def __enter__(self):
        if os.geteuid() != 0:
            raise RigError("mounting needs root")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"ringmain-{self.name}."))
        run("mount", "-t", "tmpfs", "-o", f"size={self.mib}m", "ringmain", self.dir)
        return self

    def __exit__(self, *_):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.clear_progress()
        self.give_back()
        # The place in memory may be in use by a loop device that is about to go.
        subprocess.run(["umount", "-l", self.dir], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def give_back(self):
        """Ends all processes and mounts, whatever their state."""
        for mounted in reversed(self.mounts):
            subprocess.run(["umount", "-l", mounted], check=False, stderr=subprocess.DEVNULL)
        for process in self.processes:
            process.kill()
        self.mounts, self.processes = [], []

    # ---- what people see ----

    def clear_progress(self):
        if self.progress_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self.progress_shown = False

    def progress(self, text):
        if sys.stderr.isatty():
            print(f"\r\033[K{self.name}: {text}, {self.failures} failed", end="", file=sys.stderr, flush=True)
            self.progress_shown = True

    def say(self, text):
        self.clear_progress()
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def ok(self, text=None):
        """Counts a check, and tells it unless it is one of very many."""
        self.passed += 1
        if text:
            self.clear_progress()
            print(f"ok      {text}", file=sys.stderr, flush=True)

    def failed(self, text):
        self.failures += 1
        self.clear_progress()
        print(f"FAILED  {text}", file=sys.stderr, flush=True)

    def check(self, text, outcome):
        """Counts what Torture.check found."""
        good, found = outcome
        (self.ok if good else self.failed)(f"{text}: {found}")

    # ---- media ----

    def image(self, name, mib, fs):
        """A file with a new file system in it."""
        image = self.dir / name
        image.unlink(missing_ok=True)
        image.touch()
        os.truncate(image, mib << 20)
        run(*MKFS[fs], image)
        return image

    def mount_memory(self, at, mib):
        """A place in memory of its own."""
        at.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "ringmain", at)
        self.mounts.append(at)

    def mount(self, medium, name):
        """Mounts a file by a loop device, which goes away with the mount."""
        at = self.dir / name
        at.mkdir(exist_ok=True)
        run("mount", "-o", "loop", medium, at)
        self.mounts.append(at)
        return at

    def write_single_pages(self, at):
        """Has the loop device below a mount write no more than a page at once. It reports a write that was cut
        short (the place in memory became full) as done, which a disk does not do."""
        device = os.stat(at).st_dev
        sysfs = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue/max_sectors_kb")
        try:
            sysfs.write_text("4")
        except OSError as err:
            raise RigError(f"{sysfs} must be writable: {err}") from err

    def umount(self, at):
        """A killed process may leave work of the kernel behind that ends soon."""
        for _ in range(100):
            if not (said := run("umount", at, fine=(0, 32))):
                break
            if "busy" not in said:
                raise RigError(said.strip())
            time.sleep(0.05)
        else:
            raise RigError(f"{at} stays busy")
        self.mounts.remove(at)

    def start(self, process):
        """A process that is killed at the end, at the latest."""
        self.processes = [known for known in self.processes if known.is_alive()]
        self.processes.append(process)
        return process

    def keep(self, what, *files):
        """Copies files to where they outlive the script, and tells their names."""
        kept = []
        for file in files:
            target = pathlib.Path(tempfile.gettempdir()) / f"ringmain-{self.name}-{self.seed}-{what}{file.suffix}"
            copy(file, target)
            kept.append(str(target))
        return "kept " + " ".join(kept)

    def check_checker(self, torture, acks):
        """A check that finds nothing must have been seen to find something: the same store, with histories
        that claim what never was, or do not know what was."""
        lines = acks.read_text().splitlines()
        split = [line.split(" ") for line in lines]
        recovered = {line[2] for line in split if line[0] == "seen" and int(line[3]) > 0}
        there = {line[3] for line in split if line[0] in ("found", "created")}
        usable = sorted(recovered & there - {line[3] for line in split if line[0] in ("deleting", "deleted")})
        if not usable:
            self.failed("the checker could not be tested: no log is left")
            return
        log = usable[-1]
        forged = self.dir / "forged.acks"
        for what, history, word in (
            ("a lost record", [*lines, f"ack 0 {log} 900000000 900000001 1 D"], "is lost"),
            ("a record from nowhere", [line for line in lines if not line.startswith("try ") or log not in line],
             "was never appended"),
            ("a lost log", [*lines, "creating 0 log-none 00", "created 0 log-none 00"], "is not there"),
        ):
            forged.write_text("\n".join(history) + "\n")
            good, found = torture.check(acks=forged)
            if not good and word in found:
                self.ok(f"the checker reports {what}")
            else:
                self.failed(f"the checker does not report {what}: {found}")


def main(rig, work):
    """Runs `work` and ends with the closing line."""

    def end(number, _):
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    status = None
    try:
        with rig:
            rig.say(f"seed {rig.seed}")
            work(rig)
    except RigError as err:
        rig.failed(str(err))
    except SystemExit as err:
        rig.failed("ended early")
        status = err.code
    except Exception:  # a bug of the rig: the closing line must come all the same
        traceback.print_exc()
        rig.failed("the rig broke")
    if rig.passed + rig.failures == 0:
        rig.failed("nothing was checked")
    if rig.failures:
        rig.say(f"seed was {rig.seed}")
    print(f"{rig.name}: {rig.passed} passed, {rig.failures} failed", flush=True)
    sys.exit(status or (1 if rig.failures else 0))
