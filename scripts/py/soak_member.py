"""A member of a consumer group in scripts/soak, until SIGTERM (it leaves) or SIGKILL (it crashes).

Usage: soak_member.py BROKER TOPIC GROUP STRATEGY FILE

Notes each event in FILE at once, a line each, as soak_history.py describes them.
"""

import signal
import sys
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

BATCH_MAX = 200
stopped = False


def stop(*_):
    global stopped
    stopped = True


def main():
    broker, topic, group, strategy, path = sys.argv[1:]
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Unbuffered, whole lines: what a SIGKILL leaves is what happened.
    log = open(path, "ab", buffering=0)

    def assigned(_, partitions):
        log.write("".join(f"assigned {time.monotonic()} {p.partition}\n" for p in partitions).encode())

    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": group,
            "partition.assignment.strategy": strategy,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1000,
            "reconnect.backoff.max.ms": 500,
            "check.crcs": True,
            "log_level": 2,
        }
    )
    consumer.subscribe([topic], on_assign=assigned)
    while not stopped:
        messages = consumer.consume(BATCH_MAX, timeout=0.2)
        now, lines, ends = time.monotonic(), [], {}
        for message in messages:
            if message.error():
                # Such as a broker that is away; the client tries again by itself.
                continue
            number = int(message.value().split(b" ", 1)[0])
            lines.append(f"read {now} {message.partition()} {message.offset()} {number}\n")
            ends[message.partition()] = message.offset() + 1
        if not ends:
            continue
        log.write("".join(lines).encode())
        begun = time.monotonic()
        try:
            committed = consumer.commit(offsets=[TopicPartition(topic, p, end) for p, end in ends.items()], asynchronous=False)
        except KafkaException:
            # Refused, as during a rebalance, or unknown: nothing is claimed.
            continue
        done = time.monotonic()
        good = [p for p in committed if p.error is None]
        log.write("".join(f"commit {begun} {done} {p.partition} {p.offset}\n" for p in good).encode())
    consumer.close()


main()
