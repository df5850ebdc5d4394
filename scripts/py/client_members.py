"""Groups of two members, each a process of its own: the rebalances of the client matrix.

A member is `$CLIENT_SELF member BROKER TOPIC GROUP`. It prints `assigned P,P` for each assignment and
`PARTITION OFFSET VALUE` for each record, which it commits afterwards.
"""

import os
import shlex
import signal
import subprocess
import threading

from client_features import Message, Wrong, equal, until

PARTITIONS = 4
KEYS = 20


class Member:
    def __init__(self, client, topic, group):
        command = [*shlex.split(os.environ["CLIENT_SELF"]), "member", client.broker, topic, group]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.translate = client.member_line
        # One list of records for each assignment, beside the partitions that it had.
        self.spans = []
        self.problem = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            word, _, rest = self.translate(line.rstrip("\n")).partition(" ")
            if word == "assigned":
                self.spans.append((sorted(int(p) for p in rest.split(",") if p), []))
            elif word.isdigit() and self.spans:
                offset, value = rest.split(" ", 1)
                self.spans[-1][1].append((int(word), int(offset), value))
            elif word:
                self.problem = f"a member printed {line!r}"

    def assigned(self):
        return self.spans[-1][0] if self.spans else []

    def records(self):
        return [record for _, records in list(self.spans) for record in list(records)]

    def leave(self):
        """Cleanly, as told by SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.reader.join(30)
        equal("the status of a member that left", self.process.returncode, 0)

    def crash(self):
        self.process.kill()
        self.process.wait(30)
        self.reader.join(30)

    def check(self):
        """Each assignment's records are of its partitions, and follow each other without a gap in each."""
        if self.problem:
            raise Wrong(self.problem)
        for partitions, records in self.spans:
            at = {}
            for partition, offset, _ in records:
                if partition not in partitions:
                    raise Wrong(f"a record of partition {partition} came to a member with {partitions}")
                equal(f"the next offset of partition {partition}", offset, at.get(partition, offset))
                at[partition] = offset + 1


class Sent:
    """What was sent: KEYS keys, each with values that count up, to the partition of the key."""

    def __init__(self, client, topic):
        self.client, self.topic, self.count, self.where = client, topic, 0, {}

    def more(self, count):
        numbers = range(self.count, self.count + count)
        messages = [Message(n % KEYS % PARTITIONS, b"key %d" % (n % KEYS), b"%d" % n) for n in numbers]
        for n, message, offset in zip(numbers, messages, self.client.produce(self.topic, messages), strict=True):
            self.where[(message.partition, offset)] = str(n)
        self.count += count

    def all_came_to(self, members):
        return len({r[:2] for member in members for r in member.records()}) >= self.count

    def compare(self, members):
        came = {}
        for member in members:
            member.check()
            for partition, offset, value in member.records():
                equal(f"the value at {partition}/{offset}", value, self.where.get((partition, offset)))
                came[(partition, offset)] = value
        equal("all records", came, self.where)


def rebalance(client, name, end_first):
    topic, group, everything = name, f"{name}-group", list(range(PARTITIONS))
    client.create(topic, PARTITIONS)
    sent = Sent(client, topic)
    members = [Member(client, topic, group)]
    try:
        until("the first member has all partitions", lambda: members[0].assigned() == everything)
        sent.more(250)
        members.append(Member(client, topic, group))
        # While they share anew.
        sent.more(250)
        first, second = members
        shared = lambda: sorted(first.assigned() + second.assigned()) == everything and len(first.assigned()) == 2
        until("both have two partitions", shared)
        sent.more(250)
        until("750 records came", lambda: sent.all_came_to(members))
        taken_over = first.assigned()
        committed = end_first(client, topic, group, first)
        sent.more(250)
        until("the second member has all partitions", lambda: second.assigned() == everything)
        until("1000 records came", lambda: sent.all_came_to(members))
        # It goes on where the other's commits end.
        for partition in taken_over:
            begin = next(offset for p, offset, _ in second.spans[-1][1] if p == partition)
            if committed is not None:
                equal(f"where partition {partition} goes on", begin, committed[partition])
        second.leave()
        sent.compare(members)
    finally:
        for member in members:
            member.crash()


def leaves(_client, _topic, _group, first):
    first.leave()


def crashes(client, topic, group, first):
    first.crash()
    # A dead member commits nothing more.
    consumer = client.consumer(group)
    committed = {p: consumer.committed(topic, p)[0] for p in range(PARTITIONS)}
    consumer.close()
    return committed


REBALANCES = {
    "rebalance-join-leave": lambda client: rebalance(client, "join-leave", leaves),
    "rebalance-crash": lambda client: rebalance(client, "crash", crashes),
}
