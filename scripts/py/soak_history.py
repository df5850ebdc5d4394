"""Judges what a run of scripts/soak noted: pure functions from histories to lists of problems.

A topic's records are numbered 0, 1, ... in the order of sending. `partition_of` tells where a number
belongs. Times are seconds of the machine's monotonic clock, which all processes share.

A group's events are tuples by kind, in each member's order:
  ("assigned", at, partition)
  ("read", at, partition, offset, number)
  ("commit", invoked, done, partition, offset)    acknowledged ones only
  ("observed", invoked, done, partition, offset)  the committed offset that somebody else was told
"""

import collections

# Problems of one kind that are told one by one.
TOLD_MAX = 3


class Problems:
    """Counts problems by kind; tells the first few of each."""

    def __init__(self):
        self.kinds = collections.defaultdict(list)
        self.counts = collections.Counter()

    def add(self, kind, detail):
        self.counts[kind] += 1
        if self.counts[kind] <= TOLD_MAX:
            self.kinds[kind].append(detail)

    def told(self):
        return [f"{self.counts[kind]} x {kind}: {'; '.join(details)}" for kind, details in self.kinds.items()]


def judge_log(acked, partition_of, found, exactly_once):
    """What a topic holds against what its producers were told.

    acked: for each number its offset, or -1 while it is not acknowledged.
    found: for each partition the (offset, number)s that were read, from the beginning to the end.
    Returns the problems and how many records were there more than once.
    """
    problems = Problems()
    copies = bytearray(len(acked))
    duplicates = 0
    for partition, records in found.items():
        last = -1
        for position, (offset, number) in enumerate(records):
            if offset != position:
                problems.add("gap or repetition of offsets", f"{partition}/{offset} is at position {position}")
                break
        for offset, number in records:
            if not 0 <= number < len(acked) or partition_of(number) != partition:
                problems.add("record that was not sent there", f"{number} at {partition}/{offset}")
                continue
            if copies[number]:
                duplicates += 1
                if exactly_once:
                    problems.add("duplicate", f"{number} again at {partition}/{offset}")
            else:
                if number < last:
                    problems.add("order of sending not kept", f"{number} after {last} at {partition}/{offset}")
                last = max(last, number)
            copies[number] = 1
    for number, offset in enumerate(acked):
        partition = partition_of(number)
        if offset < 0:
            problems.add("record that was never acknowledged", f"{number}")
        elif not copies[number]:
            problems.add("lost record", f"{number} was acknowledged at {partition}/{offset}")
        elif found[partition][offset : offset + 1] != [(offset, number)]:
            problems.add("record elsewhere than acknowledged", f"{number}, at {partition}/{offset}")
    return problems.told(), duplicates


def went_back(problems, kind, operations):
    """Operations (invoked, done, offset) of one partition: none may tell less than one that was done before."""
    # By their begin, against all that were done before that.
    done = sorted((done, offset) for _, done, offset in operations)
    highest, at = -1, 0
    for invoked, _, offset in sorted(operations):
        while at < len(done) and done[at][0] < invoked:
            highest = max(highest, done[at][1])
            at += 1
        if offset < highest:
            problems.add(kind, f"{offset} after {highest}")


def judge_group(events, key_of, ends):
    """What a group's members did. `ends`: for each partition its end, which must be committed at last.

    Returns the problems.
    """
    problems = Problems()
    committed = collections.defaultdict(list)
    for event in events:
        if event[0] in ("commit", "observed"):
            committed[event[3]].append((event[1], event[2], event[4]))
    for partition, operations in committed.items():
        went_back(problems, f"committed offset that went back in partition {partition}", operations)

    # What had been committed when something happened, in the order of time.
    steps = []
    for order, event in enumerate(events):
        if event[0] == "commit":
            steps.append((event[2], order, event))
        elif event[0] != "observed":
            steps.append((event[1], order, event))
    steps.sort(key=lambda step: step[:2])
    highest = collections.Counter()
    unseen = collections.Counter()
    last_of_key = {}
    floor = {}
    for _, _, event in steps:
        if event[0] == "commit":
            highest[event[3]] = max(highest[event[3]], event[4])
        elif event[0] == "assigned":
            floor[event[2]] = highest[event[2]]
        else:
            _, _, partition, offset, number = event
            if offset < floor.get(partition, 0):
                detail = f"{partition}/{offset}, {floor[partition]} was committed before"
                problems.add("record read again after its commit", detail)
            if offset > unseen[partition]:
                problems.add("record skipped", f"{partition}/{offset} was read before {unseen[partition]}")
            if offset >= unseen[partition]:
                unseen[partition] = offset + 1
                key = key_of(number)
                if number <= last_of_key.get(key, -1):
                    problems.add("order of a key not kept", f"key {key}: {number} after {last_of_key[key]}")
                last_of_key[key] = number
    for partition, end in ends.items():
        if unseen[partition] < end:
            problems.add("record never read", f"partition {partition} up to {unseen[partition]} of {end}")
        last = max((done, offset) for _, done, offset in committed[partition])[1] if committed[partition] else -1
        if last != end:
            problems.add("end not committed", f"partition {partition}: {last} of {end}")
    return problems.told()


def judge_flat(samples, growth_max):
    """Whether a gauge stopped growing: the highest of the last third of its samples, taken after the
    warm-up, against the highest of the first third. Returns a problem or None, and both figures."""
    third = len(samples) // 3
    if third < 3:
        return f"gauge with few samples: {len(samples)}", 0, 0
    first, last = max(samples[:third]), max(samples[-third:])
    return (f"gauge that grew by {last - first}" if last - first > growth_max else None), first, last
