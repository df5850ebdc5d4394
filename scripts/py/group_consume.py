"""Reads a topic of one partition as the only member of a consumer group, up to its end offset.

Usage: group_consume.py BROKER TOPIC GROUP COUNT FILE

COUNT records must come, whose values are written to FILE with a newline after each. Offsets are
committed at the end, not before. COUNT 0 means that the group has read everything: then nothing may
come within three seconds of having got the partition.
"""

import sys
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

QUIET_SECONDS = 3
DEADLINE_SECONDS = 240


def main():
    broker, topic, group, count, path = sys.argv[1:]
    count = int(count)
    assigned = []
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "check.crcs": True,
        }
    )
    consumer.subscribe([topic], on_assign=lambda _, partitions: assigned.extend(partitions))
    deadline = time.monotonic() + DEADLINE_SECONDS
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    got, last, quiet_since = 0, -1, None
    with open(path, "wb") as out:
        while True:
            if time.monotonic() > deadline:
                sys.exit(f"{got} records came within {DEADLINE_SECONDS} s, expected {count}")
            messages = consumer.consume(20000, timeout=0.5)
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
                if message.offset() != last + 1 and last >= 0:
                    sys.exit(f"offset {message.offset()} came after {last}")
                last = message.offset()
                got += 1
            out.writelines(message.value() + b"\n" for message in messages)
            if count and last + 1 >= end:
                break
            if not count and assigned:
                quiet_since = quiet_since or time.monotonic()
                if time.monotonic() - quiet_since > QUIET_SECONDS:
                    break
    if [p.partition for p in assigned] != [0]:
        sys.exit(f"the member was given {assigned}, expected partition 0 once")
    if got != count:
        sys.exit(f"{got} records came, expected {count}")
    if count:
        committed = consumer.commit(asynchronous=False)
        if [p.offset for p in committed] != [end]:
            sys.exit(f"committed {committed}, expected offset {end}")
    committed = consumer.committed([TopicPartition(topic, 0)], timeout=30)
    if committed[0].offset != end:
        sys.exit(f"the committed offset is {committed[0].offset}, expected {end}")
    consumer.close()


main()
