"""kcat (librdkafka) in the client matrix, as far as its command line reaches. Usage: client.py features BROKER

kcat makes no topics and tells no committed offsets: `ringmain` does both here.
"""

import itertools
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time

from client_features import WAIT, Client, Message, Record, Wrong, equal, nothing_more, read, run
from client_members import REBALANCES

# Between keys and values, and between records, so that both may be any bytes.
BETWEEN, BEHIND = b"<key|value>", b"<end of record>"


def done(command, data=b""):
    """What a command printed, which must end well."""
    ended = subprocess.run(command, input=data, capture_output=True, timeout=2 * WAIT)
    if ended.returncode != 0:
        raise Wrong(f"{command[0]} ended with status {ended.returncode}: {ended.stderr.decode(errors='replace')}")
    return ended.stdout


def ringmain(*arguments):
    return done([os.environ["RINGMAIN"], *arguments])


def raw(text):
    return None if text is None else text.encode("utf-8", "surrogateescape")


class Reader:
    """A running kcat and what it has printed."""

    def __init__(self, client, group):
        self.client, self.group, self.running, self.came = client, group, [], queue.SimpleQueue()

    def start(self, *arguments):
        # As JSON, which tells null from empty.
        command = ["kcat", "-b", self.client.broker, "-J", "-u", "-q", "-X", "auto.offset.reset=earliest", "-X", "check.crcs=true"]
        # It commits by itself, and finds new topics this often.
        command += ["-X", "auto.commit.interval.ms=100", "-X", "topic.metadata.refresh.interval.ms=1000", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.running.append(process)
        threading.Thread(target=self.take, args=(process.stdout,), daemon=True).start()

    def take(self, lines):
        for line in lines:
            # What is not UTF-8 is printed as it is.
            found = json.loads(line.decode("utf-8", "surrogateescape"))
            headers = found.get("headers", [])
            pairs = [(name, raw(value)) for name, value in zip(headers[::2], headers[1::2], strict=True)]
            place = (found["topic"], found["partition"], found["offset"])
            self.came.put(Record(*place, raw(found["key"]), raw(found["payload"]), pairs, found["ts"]))

    def assign(self, places):
        for topic, partition, offset in places:
            self.start("-C", "-t", topic, "-p", str(partition), "-o", str(offset))

    def subscribe(self, topics):
        self.start("-G", self.group, *topics)

    def subscribe_pattern(self, pattern):
        # A name that begins with ^ is a pattern.
        self.subscribe([pattern])

    def poll(self, seconds):
        records = []
        try:
            records.append(self.came.get(timeout=seconds))
            while True:
                records.append(self.came.get_nowait())
        except queue.Empty:
            return records

    def commit(self, _topic, _partition, _offset, _metadata):
        """kcat has committed by itself what it printed when it gives a partition back."""

    def committed(self, topic, partition):
        found = self.client.committed(self.group)
        return (found[(topic, partition)], "") if (topic, partition) in found else None

    def close(self):
        for process in self.running:
            process.terminate()
        for process in self.running:
            equal("kcat's status at its end", process.wait(WAIT), 0)


def seek_time(client):
    client.create("times", 1)
    for n in range(5):
        client.produce("times", [Message(0, None, b"%d" % (20 * n + at)) for at in range(20)])
        # kcat cannot set timestamps: those of the next run are to differ.
        time.sleep(0.01)
    reader = client.consumer()
    reader.assign([("times", 0, 0)])
    records = read(reader, 100)
    reader.close()
    times = [r.timestamp for r in records]
    for at in (0, 20, 40, 99):
        expected = next(r.offset for r in records if r.timestamp >= times[at])
        equal(f"the offset at the time of {at}", client.offset_for_time("times", 0, times[at]), expected)
    equal("the offset beyond the end", client.offset_for_time("times", 0, max(times) + 1), -1)
    reader = client.consumer()
    reader.start("-C", "-t", "times", "-p", "0", "-o", f"s@{times[60]}")
    first = next(r.offset for r in records if r.timestamp >= times[60])
    equal("the records after the seek", read(reader, 100 - first), records[first:])
    nothing_more(reader)
    reader.close()


def commit_resume(client):
    client.create("commits", 1)
    client.produce("commits", [Message(0, None, b"%d" % n) for n in range(100)])
    first = client.consumer("commits-group")
    # Ends by itself after so many.
    first.start("-c", "37", "-G", "commits-group", "commits")
    equal("the first 37", [(r.offset, r.value) for r in read(first, 37)], [(n, b"%d" % n) for n in range(37)])
    first.close()
    second = client.consumer("commits-group")
    equal("what is committed", second.committed("commits", 0), (37, ""))
    second.subscribe(["commits"])
    equal("what comes next", [(r.offset, r.value) for r in read(second, 63)], [(n, b"%d" % n) for n in range(37, 100)])
    second.close()
    return "no metadata with the commit, which the command line cannot give"


class Kcat(Client):
    sends_timestamps = False
    own = {"seek-time": seek_time, "commit-resume": commit_resume}
    lacks = {
        "pause": "the command line has no option for it",
        "admin-create": "the command line makes no topics",
        "admin-describe": "the command line lists topics and partitions (-L), but no configurations",
        "admin-alter": "the command line alters no topics",
        "admin-delete": "the command line deletes no topics",
    }

    def __init__(self, broker):
        super().__init__(broker)
        self.ends = {}

    def produce(self, topic, messages, codec="none", idempotent=False):
        offsets = []
        for m in messages:
            # kcat does not tell them; reading back does.
            offsets.append(self.ends.get((topic, m.partition), 0))
            self.ends[(topic, m.partition)] = offsets[-1] + 1
        for partition in sorted({m.partition for m in messages}):
            # Headers and null are options of a run.
            of_one = [m for m in messages if m.partition == partition]
            for _, alike in itertools.groupby(of_one, lambda m: (m.headers, m.key is None, m.value is None)):
                self.send(topic, list(alike), codec, idempotent)
        return offsets

    def send(self, topic, messages, codec, idempotent):
        command = ["kcat", "-P", "-b", self.broker, "-t", topic, "-p", str(messages[0].partition), "-z", codec]
        command += ["-D", BEHIND.decode(), "-X", "acks=all", "-X", f"enable.idempotence={str(idempotent).lower()}"]
        for name, value in messages[0].headers:
            command += ["-H", os.fsencode(f"{name}=") + value]
        keys, values = messages[0].key is not None, messages[0].value is not None
        if values and not keys:
            done(command, b"".join(m.value + BEHIND for m in messages))
            return
        if not values:
            # Empty is null.
            command.append("-Z")
        done([*command, "-K", BETWEEN.decode()], b"".join((m.key or b"") + BETWEEN + (m.value or b"") + BEHIND for m in messages))

    def consumer(self, group=None):
        return Reader(self, group)

    def create(self, topic, partitions):
        ringmain("topic", "create", topic, "--partitions", str(partitions), "--broker", self.broker)

    def committed(self, group):
        (found,) = json.loads(ringmain("group", "describe", group, "--interval", "0", "--json", "--broker", self.broker))
        return {(o["topic"], o["partition"]): o["committed"] for o in found["offsets"]}

    def offset_for_time(self, topic, partition, time):
        (answer,) = done(["kcat", "-Q", "-b", self.broker, "-t", f"{topic}:{partition}:{time}"]).decode().splitlines()
        return int(answer.removeprefix(f"{topic} [{partition}] offset "))

    def member_line(self, line):
        if not line.startswith("%"):
            return line
        assigned = re.search(r"rebalanced \(.*\): assigned: (.*)", line)
        return "assigned " + ",".join(re.findall(r"\[(\d+)\]", assigned.group(1))) if assigned else ""


run(Kcat(sys.argv[2]), REBALANCES)
