"""Consumer groups of scripts/soak: members are processes that join, leave and are killed."""

import pathlib
import signal
import subprocess
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from soak_load import PARTITIONS, Load, client

MEMBERS_MAX = 3
MEMBER = pathlib.Path(__file__).with_name("soak_member.py")
LEAVE_SECONDS_MAX = 30


class Group(Load):
    """A turn changes the members: one more, one that leaves, or one that is killed."""

    def __init__(self, broker, stop, kills, seed, topic, strategy, directory):
        super().__init__(broker, stop, kills, f"{seed} {strategy}")
        self.name = f"soak-{strategy}"
        self.topic, self.strategy = topic, strategy
        self.directory = directory / self.name
        self.directory.mkdir()
        self.members, self.started, self.killed = [], 0, 0

    def turn(self):
        for member in self.members:
            if member.poll() is not None:
                self.problems.append(f"{self.name}: a member ended with status {member.returncode}")
        self.members = [member for member in self.members if member.poll() is None]
        what = self.random.choice(["join", "leave", "kill"])
        if not self.members or (what == "join" and len(self.members) < MEMBERS_MAX):
            self.join_one()
        elif what == "leave":
            self.leave(self.members.pop(self.random.randrange(len(self.members))))
        elif what == "kill":
            member = self.members.pop(self.random.randrange(len(self.members)))
            member.kill()
            member.wait()
            self.killed += 1
        self.stop.wait(self.random.uniform(2, 6))

    def join_one(self):
        path = self.directory / str(self.started)
        self.started += 1
        command = [sys.executable, MEMBER, self.broker, self.topic, self.name, self.strategy, path]
        with open(self.directory / "errors", "ab") as errors:
            self.members.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors))

    def leave(self, member):
        member.send_signal(signal.SIGTERM)
        try:
            if member.wait(LEAVE_SECONDS_MAX):
                self.problems.append(f"{self.name}: a member left with status {member.returncode}")
        except subprocess.TimeoutExpired:
            self.problems.append(f"{self.name}: a member did not leave within {LEAVE_SECONDS_MAX} s")
            member.kill()

    def drain(self, ends, observer, seconds):
        """Lets the members read up to the ends, and leave. Call after the thread has ended."""
        if not self.members:
            self.join_one()
        deadline = time.monotonic() + seconds
        while observer.last != ends and time.monotonic() < deadline:
            time.sleep(0.2)
        for member in self.members:
            self.leave(member)

    def events(self):
        """All that the members noted, each member's events in order."""
        events = []
        for number in range(self.started):
            path = self.directory / str(number)
            for line in path.read_text().splitlines() if path.exists() else []:
                kind, *fields = line.split()
                # Times first: two of a commit, one of all else.
                times = 2 if kind == "commit" else 1
                events.append((kind, *map(float, fields[:times]), *map(int, fields[times:])))
        return events


class Observer(Load):
    """Asks for a group's committed offsets, as a tool does, again and again."""

    def __init__(self, broker, kills, group):
        super().__init__(broker, threading.Event(), kills, 0)
        self.name = f"observer of {group.name}"
        self.topic, self.events, self.last = group.topic, [], {}
        self.consumer = Consumer(client(broker, group_id=group.name, enable_auto_commit=False))

    def turn(self):
        begun = time.monotonic()
        told = self.consumer.committed([TopicPartition(self.topic, p) for p in range(PARTITIONS)], timeout=20)
        done = time.monotonic()
        errors = [p.error for p in told if p.error]
        if errors:
            raise KafkaException(errors[0])
        offsets = {p.partition: p.offset for p in told if p.offset >= 0}
        self.events += [("observed", begun, done, p, offset) for p, offset in offsets.items()]
        # -1 where nothing is committed: that must not come after an offset either.
        for partition in self.last.keys() - offsets.keys():
            self.problems.append(f"{self.topic}: the committed offset of partition {partition} is gone")
        self.last = offsets
        self.stop.wait(0.25)
