"""Plants every kind of violation that scripts/soak looks for, and sees that it is reported.

Usage: soak_self_test.py

Prints a line `ok NAME` or `FAILED NAME: WHY` for each.
"""

import copy
import threading

from soak_history import judge_flat, judge_group, judge_log
from soak_load import Load


def partition_of(number):
    return number % 2


def key_of(number):
    return number % 4


def log():
    """Ten records in two partitions, each where it was acknowledged."""
    acked = [number // 2 for number in range(10)]
    found = {p: [(number // 2, number) for number in range(10) if number % 2 == p] for p in range(2)}
    return acked, found


def group():
    """One partition with four records: a member reads two, commits one and dies; the next reads on."""
    return [
        ("assigned", 1.0, 0),
        ("read", 1.1, 0, 0, 0),
        ("commit", 1.2, 1.3, 0, 1),
        ("read", 1.4, 0, 1, 2),
        ("observed", 1.5, 1.6, 0, 1),
        ("assigned", 5.0, 0),
        ("read", 5.1, 0, 1, 2),
        ("read", 5.1, 0, 2, 4),
        ("read", 5.1, 0, 3, 6),
        ("commit", 5.2, 5.3, 0, 4),
        ("observed", 5.5, 5.6, 0, 4),
    ]


def tell(name, problems, wanted):
    """`wanted`: the kind that must be among the problems; None: there must be none."""
    good = not problems if wanted is None else any(f" x {wanted}" in problem for problem in problems)
    print(f"ok the judge: {name}" if good else f"FAILED the judge: {name}: it reports {problems}")


def log_case(name, wanted, change, exactly_once=True):
    acked, found = log()
    change(acked, found)
    tell(name, judge_log(acked, partition_of, found, exactly_once)[0], wanted)


def group_case(name, wanted, change, ends=None):
    events = copy.deepcopy(group())
    change(events)
    tell(name, judge_group(events, key_of, ends or {0: 4}), wanted)


def swap(records, a, b):
    """The records at two offsets change places."""
    (first, x), (second, y) = records[a], records[b]
    records[a], records[b] = (first, y), (second, x)


def again(found):
    """A record is stored a second time, behind the others."""
    found[0].append((5, 8))


class Broken(Load):
    """A mistake in each turn; with `ends`, one that ends the thread."""

    def __init__(self, ends):
        super().__init__("nowhere:1", threading.Event(), True, 0)
        self.ends, self.turned = ends, threading.Event()

    def turn(self):
        self.turned.set()
        raise SystemExit if self.ends else ValueError("planted")


def load_case(name, ends, wanted):
    load = Broken(ends)
    load.start()
    load.turned.wait(10)
    if ends:
        load.join(10)
    load.must_live()
    load.stop.set()
    load.must_end(10)
    good = len(load.problems) == 1 and wanted in load.problems[0]
    print(f"ok the load: {name}" if good else f"FAILED the load: {name}: it reports {load.problems}")


def main():
    log_case("a sound log", None, lambda acked, found: None)
    log_case("a lost record", "lost record", lambda acked, found: found[1].pop())
    log_case("a duplicate with idempotence", "duplicate", lambda acked, found: again(found))
    log_case("a duplicate without", None, lambda acked, found: again(found), exactly_once=False)
    log_case("a wrong order", "order of sending not kept", lambda acked, found: swap(found[0], 1, 2))
    moved = "record elsewhere than acknowledged"
    log_case("another offset than acknowledged", moved, lambda acked, found: acked.__setitem__(4, 3))
    stranger = "record that was not sent there"
    log_case("a record of another partition", stranger, lambda acked, found: found[0].append((5, 9)))
    log_case("a record that nobody sent", stranger, lambda acked, found: found[0].append((5, 100)))
    gap = "gap or repetition of offsets"
    log_case("a gap", gap, lambda acked, found: found[0].__setitem__(4, (7, 8)))
    silent = "record that was never acknowledged"
    log_case("a missing acknowledgement", silent, lambda acked, found: acked.__setitem__(3, -1))

    group_case("a sound group", None, lambda events: None)
    back = "committed offset that went back in partition 0"
    group_case("a commit that goes back", back, lambda events: events.append(("commit", 6.0, 6.1, 0, 3)))
    group_case("an older commit told", back, lambda events: events.insert(9, ("observed", 4.0, 4.1, 0, 0)))
    group_case("commits side by side", None, lambda events: events.insert(3, ("commit", 1.25, 1.35, 0, 0)))
    skipped = "record skipped"
    group_case("a skipped record", skipped, lambda events: events.__delitem__(6) or events.__delitem__(3))
    unread = "record never read"
    group_case("a record that is never read", unread, lambda events: events.__delitem__(8), ends={0: 4})
    repeated = "record read again after its commit"
    group_case("a start before the commit", repeated, lambda events: events.insert(6, ("read", 5.05, 0, 0, 0)))
    key = "order of a key not kept"
    group_case("a key out of order", key, lambda events: events.__setitem__(8, ("read", 5.1, 0, 3, 0)))
    group_case("an end that is not committed", "end not committed", lambda events: None, ends={0: 5})

    for name, samples, wanted in [
        ("a flat gauge", [10, 12, 11, 10, 11, 12, 12, 10, 11], None),
        ("a gauge that grows", list(range(10, 40)), "gauge that grew"),
        ("too few samples", [1, 2, 3], "gauge with few samples"),
    ]:
        problem, _, _ = judge_flat(samples, 2)
        tell(name, [f"1 x {problem}"] if problem else [], wanted)

    load_case("a mistake in a turn", False, "ValueError('planted') at ")
    load_case("a thread that is gone", True, "ended before its time")


main()
