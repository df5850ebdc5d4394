"""Compares keyed records that went in with those that came out of several partitions.

Usage: key_order.py INPUT OUTPUT PARTITIONS

INPUT has lines KEY<tab>VALUE with distinct values; OUTPUT has lines PARTITION<tab>KEY<tab>VALUE.
"""

import collections
import sys


def check(name, problem):
    print(f"FAILED keyed: {name}: {problem}" if problem else f"ok keyed: {name}")


def main():
    sent, received, partitions = collections.defaultdict(list), collections.defaultdict(list), {}
    with open(sys.argv[1], "rb") as lines:
        for line in lines:
            key, value = line.rstrip(b"\n").split(b"\t", 1)
            sent[key].append(value)
    split = set()
    with open(sys.argv[2], "rb") as lines:
        for line in lines:
            partition, key, value = line.rstrip(b"\n").split(b"\t", 2)
            received[key].append(value)
            if partitions.setdefault(key, partition) != partition:
                split.add(key)
    wanted, came = (sum(map(len, side.values())) for side in (sent, received))
    check(f"{wanted} records of {len(sent)} keys", came != wanted and f"{came} came")
    wrong = [key for key, values in sent.items() if received[key] != values]
    check("the order within each key", wrong and f"{len(wrong)} keys differ, one is {wrong[0]!r}")
    check("one partition for each key", split and f"{len(split)} keys are in several")
    used = len(set(partitions.values()))
    check("every partition is used", used != int(sys.argv[3]) and f"{used} of {sys.argv[3]}")


main()
