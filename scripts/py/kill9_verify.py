"""Reads what a round of scripts/kill9 wrote and compares it with what its producer noted.

Usage: kill9_verify.py BROKER TOPIC KIND DIR

Prints one line: what the round showed, or what is wrong with it (status 1).
"""

import collections
import pathlib
import sys
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

DEADLINE_SECONDS = 50


def read_all(broker, topic, partitions):
    """For each partition its (offset, record number)s."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
        }
    )
    ends = {}
    for p in partitions:
        low, ends[p] = consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=20)
        if low != 0:
            sys.exit(f"partition {p} begins at offset {low}")
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    found = {p: [] for p in partitions}
    at = {p: 0 for p in partitions}
    deadline = time.monotonic() + DEADLINE_SECONDS
    while any(at[p] < ends[p] for p in partitions):
        if time.monotonic() > deadline:
            sys.exit(f"read up to {at} of {ends} within {DEADLINE_SECONDS} s")
        for message in consumer.consume(20000, timeout=0.2):
            if message.error():
                raise KafkaException(message.error())
            name, number, _ = message.value().split(b" ", 2)
            if name.decode() != topic:
                sys.exit(f"a record of {name.decode()} is in {topic}")
            found[message.partition()].append((message.offset(), int(number)))
            at[message.partition()] = message.offset() + 1
    consumer.close()
    return found


def main():
    broker, topic, kind, directory = sys.argv[1:]
    directory = pathlib.Path(directory)
    sent = collections.defaultdict(list)
    for line in (directory / "sent").read_text().splitlines():
        number, partition = map(int, line.split())
        sent[partition].append(number)
    acked = []
    for line in (directory / "acked").read_text().splitlines():
        number, partition, offset, sent_at, acked_at = line.split()
        acked.append((int(number), int(partition), int(offset), float(sent_at), float(acked_at)))
    moments = [line.split() for line in (directory / "moments").read_text().splitlines()]
    kills = [float(at) for kind_of, at in moments if kind_of == "kill"]

    # Did the round test anything?
    waiting = [sum(1 for a in acked if a[3] < at < a[4]) for at in kills]
    before = sum(1 for a in acked if a[4] < kills[0])
    after = sum(1 for a in acked if a[4] > float(moments[-1][1]))
    if not (all(waiting) and before and after):
        sys.exit(f"no load: {before} acknowledged before, {waiting} waiting at the kills, {after} after")
    total = sum(map(len, sent.values()))
    if len(acked) != total or len({a[0] for a in acked}) != total:
        sys.exit(f"{total} records were sent, {len(acked)} acknowledgements came")

    found = read_all(broker, topic, sorted(sent))
    lost = misplaced = 0
    last_offset = collections.defaultdict(lambda: -1)
    by_offset = {p: dict(records) for p, records in found.items()}
    everywhere = {number for records in found.values() for _, number in records}
    for number, partition, offset, _, _ in sorted(acked):
        if number not in everywhere:
            lost += 1
        elif by_offset[partition].get(offset) != number:
            misplaced += 1
        if offset <= last_offset[partition]:
            sys.exit(f"record {number} was acknowledged at offset {offset} after {last_offset[partition]}")
        last_offset[partition] = offset
    if lost or misplaced:
        sys.exit(f"of {len(acked)} acknowledged records {lost} are lost and {misplaced} not where reported")

    duplicates = 0
    for partition, records in found.items():
        offsets = [offset for offset, _ in records]
        if offsets != list(range(len(offsets))):
            sys.exit(f"partition {partition} has gaps in its offsets")
        numbers = [number for _, number in records]
        first_seen = list(dict.fromkeys(numbers))
        duplicates += len(numbers) - len(first_seen)
        if first_seen != sent[partition]:
            sys.exit(f"partition {partition} is not in the order of sending")
    if kind == "acks-all" and duplicates:
        sys.exit(f"{duplicates} duplicates in spite of idempotence")
    down = sum(float(b[1]) - float(a[1]) for a, b in zip(moments[::2], moments[1::2], strict=True))
    print(
        f"{total} records, killed {len(kills)} times with {' and '.join(map(str, waiting))} waiting,"
        f" down {down:.2f} s, {duplicates} duplicates"
    )


main()
