"""Removes guards from the engine one by one and has the simulation find out; see scripts/mutations.

Usage: mutations.py REPOSITORY (list | run SECONDS BASELINE_SEEDS [NAME...])
"""

import os
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import threading
import time

from guards import GUARDS

FAILURE = re.compile(r"sim: seed (\d+) FAILED: (.*)")
PASSED = re.compile(r"sim: (\d+) histories passed, 0 failed")
STUCK = "it does not end"
BUILD = ("cargo", "build", "--quiet", "--release", "-p", "ringmain-engine", "--features", "sim", "--example", "sim")
# More histories than there is time for.
MANY = 10**9
BUILD_SECONDS = 900
# Longer than the simulation itself waits for a history that does not end.
ONE_SEED_SECONDS = 60


class Stale(Exception):
    """The table does not fit the source."""


class Bench:
    """A copy of the source, and one target directory for all that is built of it."""

    def __init__(self, repository):
        self.repository = repository
        self.work = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or repository / "target") / "mutations"
        self.tree = self.work / "tree"
        self.unchanged = self.work / "sim-unchanged"
        self.built = self.work / "target/release/examples/sim"

    def copy_source(self):
        """Makes the copy equal to the source. A file that is equal keeps its time: then it is not built again."""
        listed = subprocess.run(
            ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
            cwd=self.repository, check=True, capture_output=True, text=True,
        ).stdout.split("\0")
        names = {name for name in listed if name and (self.repository / name).is_file()}
        for name in names:
            source, copy = self.repository / name, self.tree / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.is_file() or copy.read_bytes() != source.read_bytes():
                shutil.copyfile(source, copy)
        for copy in list(self.tree.rglob("*")):
            if copy.is_file() and str(copy.relative_to(self.tree)) not in names:
                copy.unlink()

    def edited(self, edits):
        """The contents of the files that the edits change."""
        contents = {}
        for name, text, instead in edits:
            source = contents.get(name) or (self.repository / name).read_text()
            if source.count(text) != 1:
                raise Stale(f"{name} has {source.count(text)} times what is to be replaced once:\n{text}")
            contents[name] = source.replace(text, instead)
        return contents

    def build(self):
        # A panic is a failed history. Building fast matters more than the last percent of speed.
        settings = {
            "CARGO_TARGET_DIR": str(self.work / "target"),
            "CARGO_INCREMENTAL": "1",
            "CARGO_PROFILE_RELEASE_PANIC": "unwind",
            "CARGO_PROFILE_RELEASE_LTO": "off",
            "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "64",
            "CARGO_PROFILE_RELEASE_DEBUG": "none",
        }
        done = subprocess.run(BUILD, cwd=self.tree, env={**os.environ, **settings}, timeout=BUILD_SECONDS,
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise Stale(f"it does not build:\n{done.stderr}")

    def build_with(self, edits):
        contents = self.edited(edits)
        originals = {name: (self.tree / name).read_text() for name in contents}
        try:
            for name, content in contents.items():
                (self.tree / name).write_text(content)
            self.build()
        finally:
            for name, content in originals.items():
                (self.tree / name).write_text(content)


def first_failure(program, from_seed, seconds):
    """Runs histories until one fails: its seed and what was violated. None if none did."""
    jobs = str(os.cpu_count() or 1)
    command = (program, "--from", str(from_seed), "--seeds", str(MANY), "--failures", "1", "--jobs", jobs)
    lines = queue.SimpleQueue()

    def read(output):
        for line in output:
            if found := FAILURE.search(line):
                lines.put((int(found[1]), found[2]))
        lines.put(None)

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        reader = threading.Thread(target=read, args=(process.stdout,))
        reader.start()
        try:
            return lines.get(timeout=max(seconds, 0.1))
        except queue.Empty:
            return None
        finally:
            process.kill()
            reader.join()


def passes(program, *arguments, seconds):
    """Whether all histories passed, and what was printed."""
    try:
        done = subprocess.run((program, *arguments), capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return False, f"it did not end within {seconds} s"
    return done.returncode == 0 and PASSED.search(done.stdout) is not None, done.stdout + done.stderr


def reported(bench, seconds):
    """The first seed that reports the mutation and passes without it, after how long, and what it says."""
    begun, seed = time.monotonic(), 0
    while (left := begun + seconds - time.monotonic()) > 0:
        failure = first_failure(bench.built, seed, left)
        if failure is None:
            return None
        seed, what = failure
        after = time.monotonic() - begun
        if what == STUCK:
            print(f"mutations: seed {seed} does not end, which tells nothing of a loss", file=sys.stderr)
        elif passes(bench.unchanged, "--seed", str(seed), seconds=ONE_SEED_SECONDS)[0]:
            return seed, after, what
        else:
            print(f"mutations: seed {seed} fails in the unchanged source, too", file=sys.stderr)
        seed += 1
    return None


def run(bench, seconds, baseline, names):
    known = [name for name, _, _ in GUARDS]
    if unknown := [name for name in names if name not in known]:
        raise Stale(f"there is no guard {unknown[0]}")
    chosen = [guard for guard in GUARDS if not names or guard[0] in names]
    # A stale table shows before anything is built.
    for name, _, edits in chosen:
        try:
            bench.edited(edits)
        except Stale as stale:
            raise Stale(f"{name}: {stale}") from None
    bench.copy_source()
    bench.build()
    shutil.copyfile(bench.built, bench.unchanged)
    bench.unchanged.chmod(0o755)
    begun = time.monotonic()
    jobs = str(os.cpu_count() or 1)
    passed, printed = passes(bench.unchanged, "--seeds", str(baseline), "--jobs", jobs, seconds=900)
    if not passed:
        sys.exit(f"{printed}\nmutations: the unchanged source does not pass")
    print(f"ok      nothing removed: {baseline} histories passed in {time.monotonic() - begun:.0f} s", flush=True)
    counts = [0, 0]
    for name, what, edits in chosen:
        try:
            bench.build_with(edits)
        except Stale as stale:
            raise Stale(f"{name}: {stale}") from None
        found = reported(bench, seconds)
        counts[found is None] += 1
        if found is None:
            print(f"MISSED  {name}: {what}: no history reports it within {seconds} s", flush=True)
        else:
            seed, after, violated = found
            print(f"ok      {name}: {what}: seed {seed} after {after:.1f} s: {violated}", flush=True)
    print(f"mutations: {counts[0]} reported, {counts[1]} not reported")
    return counts[1] == 0


def main(repository, command, *rest):
    if command == "list":
        for name, what, _ in GUARDS:
            print(f"{name:<24} {what}")
        return 0
    seconds, baseline, *names = rest
    return 0 if run(Bench(pathlib.Path(repository)), int(seconds), int(baseline), names) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Stale as stale:
        sys.exit(f"mutations: {stale}\nadapt the table in scripts/py/guards.py")
