"""Loads a broker for a while, and judges what it did; see scripts/soak.

Usage: soak.py BROKER PID_FILE SECONDS SEED DIR [--kills]

PID_FILE holds the broker's process id. Prints a line `ok NAME` or `FAILED NAME: WHY` for each check.
"""

import pathlib
import sys
import threading
import time

from confluent_kafka.admin import AdminClient, NewTopic

from soak_group import Group, Observer
from soak_history import judge_flat, judge_group, judge_log
from soak_load import (
    PARTITIONS,
    SETTINGS,
    Administration,
    Connections,
    Producing,
    Topics,
    client,
    done,
    key_of,
    partition_of,
    read_all,
)

# Records a second of each topic.
RATE = 400
# The part of them that must be acknowledged at least. A producer makes up for the time in which its broker was away or
# slow while it lives, so nearly all are; what is lost is the time in which one waits for its last answers. With much
# less there was hardly a load, and what is judged shows nothing.
ACKNOWLEDGED_MIN = 1 / 4
# What a gauge may grow by between the first and the last third of the time after the warm-up.
GROWTH_MAX = {"resident KiB": 16 << 10, "descriptors": 100, "threads": 16}
# And what it may never be above.
MOST = {"resident KiB": 256 << 10, "descriptors": 2000, "threads": 64}
# What may be held open after all clients have left, beyond what was before they came. The segments
# of the topics and the offsets stay.
DESCRIPTORS_LEFT_MAX = 64
RESIDENT_LEFT_KIB_MAX = 32 << 10
SETTLE_SECONDS = 20
DRAIN_SECONDS = 90
READ_SECONDS = 240


def check(name, problem):
    print(f"FAILED {name}: {problem}" if problem else f"ok {name}", flush=True)


def gauge(pid):
    """The broker's gauges now; None while it is away."""
    process = pathlib.Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return {
            "resident KiB": int(status["VmRSS"].split()[0]),
            "descriptors": sum(1 for _ in (process / "fd").iterdir()),
            "threads": int(status["Threads"]),
        }
    except (OSError, KeyError):
        return None


class Run:
    def __init__(self, broker, pid_file, seconds, seed, directory, kills):
        self.broker, self.pid_file, self.seconds, self.kills = broker, pid_file, seconds, kills
        self.stop = threading.Event()
        args = (broker, self.stop, kills, seed)
        self.producing = {kind: Producing(*args, kind, RATE) for kind in SETTINGS}
        self.groups = [Group(*args, "soak-idempotent", strategy, directory) for strategy in ("range", "cooperative-sticky")]
        self.observers = [Observer(broker, kills, group) for group in self.groups]
        self.others = [Topics(*args), Administration(*args), Connections(*args)]
        self.loads = [*self.producing.values(), *self.groups, *self.others]
        self.samples = []

    def pid(self):
        return self.pid_file.read_text().strip()

    def now(self):
        return gauge(self.pid())

    def progress(self, text):
        if sys.stderr.isatty():
            print(f"\r\033[Ksoak: {text}", end="", file=sys.stderr, flush=True)

    def load(self):
        """Everything at once, for as long as asked; gauges once a second after the warm-up."""
        for load in self.loads + self.observers:
            load.start()
        begun = time.monotonic()
        warm = begun + min(60, self.seconds / 4)
        while (passed := time.monotonic() - begun) < self.seconds:
            now = self.now()
            if now and time.monotonic() > warm:
                self.samples.append(now)
            acknowledged = sum(load.acknowledged for load in self.producing.values())
            gauges = ", ".join(f"{count} {name}" for name, count in (now or {}).items())
            self.progress(f"{passed:.0f} s of {self.seconds:.0f} s, {acknowledged} acknowledged, {gauges}")
            time.sleep(1)
        for load in self.loads:
            load.must_live()
        self.stop.set()
        self.progress("the load ends")
        for load in self.loads:
            load.must_end(150)

    def drain(self):
        """The groups read what is left, and leave."""
        ends = dict.fromkeys(range(PARTITIONS), 0)
        for number in range(len(self.producing["idempotent"].acked)):
            ends[partition_of(number)] += 1
        for group, observer in zip(self.groups, self.observers, strict=True):
            self.progress(f"{group.name} reads what is left")
            group.drain(ends, observer, DRAIN_SECONDS)
            observer.must_live()
            observer.stop.set()
            observer.must_end(30)
        return ends

    def judge(self, ends):
        for load in self.loads + self.observers:
            first = f"{len(load.problems)} problems, the first: {load.problems[0]}" if load.problems else None
            check(f"{load.name}: {load.turns} turns without a problem", first or (load.turns == 0 and "no turn was done"))
        for kind, producing in self.producing.items():
            self.progress(f"{producing.topic} is read")

            def parse(offset, value):
                return offset, int(value.split(b" ", 1)[0])

            found = read_all(self.broker, producing.topic, PARTITIONS, parse, READ_SECONDS)
            problems, duplicates = judge_log(producing.acked, partition_of, found, kind == "idempotent")
            least = round(ACKNOWLEDGED_MIN * RATE * self.seconds)
            few = producing.acknowledged < least and f"only {producing.acknowledged} records, not {least} at least"
            check(
                f"{producing.topic}: {producing.acknowledged} acknowledged records are in place and in order, {duplicates} twice",
                " | ".join(problems) or few,
            )
        for group, observer in zip(self.groups, self.observers, strict=True):
            self.progress(f"{group.name} is judged")
            events = group.events()
            commits = sum(1 for event in events if event[0] == "commit")
            problems = judge_group(events + observer.events, key_of, ends)
            check(
                f"{group.name}: {group.started} members, {group.killed} killed, {commits} commits: order of keys kept,"
                " nothing skipped, no committed offset went back",
                " | ".join(problems) or (group.started < 2 and "no member came or left"),
            )

    def judge_gauges(self, before):
        for name, most in MOST.items():
            values = [sample[name] for sample in self.samples]
            highest = max(values, default=0)
            check(f"at most {most} {name}: {highest}", (not 0 < highest <= most) and f"{highest}")
            # A broker that is killed begins anew each time.
            if not self.kills:
                problem, first, last = judge_flat(values, GROWTH_MAX[name])
                check(f"{name} are flat: {first} in the first third, {last} in the last", problem)
        if self.kills:
            return
        self.progress("the broker settles")
        limits = {
            "descriptors": before["descriptors"] + DESCRIPTORS_LEFT_MAX,
            "resident KiB": before["resident KiB"] + RESIDENT_LEFT_KIB_MAX,
            "threads": before["threads"] + 1,
        }
        deadline = time.monotonic() + SETTLE_SECONDS
        while any((after := self.now())[name] > most for name, most in limits.items()) and time.monotonic() < deadline:
            time.sleep(0.5)
        for name, most in limits.items():
            text = f"{before[name]} {name} before, {after[name]} after all clients have left"
            check(text, after[name] > most and f"more than {most}")


def main():
    broker, pid_file, seconds, seed, directory, *rest = sys.argv[1:]
    run = Run(broker, pathlib.Path(pid_file), float(seconds), seed, pathlib.Path(directory), rest == ["--kills"])
    admin = AdminClient(client(broker))
    names = [f"soak-{kind}" for kind in SETTINGS]
    topics = [NewTopic(name, PARTITIONS, 1) for name in names] + [NewTopic("soak-trimmed", 1, 1)]
    done(admin.create_topics(topics, operation_timeout=20))
    before = run.now()
    run.load()
    run.judge(run.drain())
    # Their clients hold connections.
    del admin
    run.observers.clear()
    run.others.clear()
    run.loads.clear()
    run.judge_gauges(before)
    run.progress("")


main()
