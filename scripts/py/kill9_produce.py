"""Writes numbered records until told to end, and notes what becomes of each.

Usage: kill9_produce.py BROKER TOPIC KIND DIR SEED

KIND is acks-1 or acks-all (with idempotence). In DIR: `under-way` is made once records are being
acknowledged; the file `finish` tells it to end; `acked` gets a line NUMBER PARTITION OFFSET SENT ACKED
for every record in the order of callbacks, the last two in seconds; `sent` is made at the end and
holds a line NUMBER PARTITION for every record in the order of sending.
Any record that fails ends the program with an error: with its long timeouts none may.
"""

import pathlib
import random
import sys
import time

from confluent_kafka import Producer

PARTITIONS = 4
# Enough to have always something in flight, and few enough to be read back within a second.
RECORDS_A_SECOND = 80_000
OUTSTANDING_MAX = 10_000
SECONDS_MAX = 120
SETTINGS = {
    "acks-1": {"acks": "1", "enable.idempotence": False, "max.in.flight": 1},
    "acks-all": {"acks": "all", "enable.idempotence": True},
}


def main():
    broker, topic, kind, directory, seed = sys.argv[1:]
    random.seed(f"{seed} {topic}")
    directory = pathlib.Path(directory)
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "linger.ms": 1,
            "batch.num.messages": 200,
            "message.timeout.ms": 100_000,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100,
            "retry.backoff.ms": 20,
            "retry.backoff.max.ms": 100,
            "socket.timeout.ms": 10_000,
            "compression.type": random.choice(["none", "lz4", "zstd"]),
            **SETTINGS[kind],
        }
    )
    acked_log = open(directory / "acked", "w", buffering=1 << 16)
    failures, sent, acked = [], [], 0

    def delivered(number, sent_at):
        def callback(error, message):
            nonlocal acked
            if error:
                failures.append(f"record {number}: {error}")
                return
            acked += 1
            acked_log.write(f"{number} {message.partition()} {message.offset()} {sent_at} {time.time()}\n")

        return callback

    padding = "x" * random.randrange(20, 400)
    begun = time.monotonic()
    under_way = False
    finish = directory / "finish"
    while not finish.exists() and not failures:
        if time.monotonic() - begun > SECONDS_MAX:
            sys.exit(f"was not told to finish within {SECONDS_MAX} s")
        due = min(int((time.monotonic() - begun) * RECORDS_A_SECOND), len(sent) + 2000)
        while len(sent) < due and len(sent) - acked < OUTSTANDING_MAX:
            number = len(sent)
            partition = number * 7 % 11 % PARTITIONS
            value = f"{topic} {number} {padding}"
            producer.produce(topic, value, partition=partition, on_delivery=delivered(number, time.time()))
            sent.append(partition)
            if number % 100 == 0:
                producer.poll(0)
        producer.poll(0.002)
        acked_log.flush()
        if acked and not under_way:
            under_way = True
            (directory / "under-way").touch()
    left = producer.flush(60)
    acked_log.close()
    if failures:
        sys.exit(f"{len(failures)} records failed, the first: {failures[0]}")
    if left:
        sys.exit(f"{left} records were not acknowledged within 60 s")
    (directory / "sent").write_text("".join(f"{n} {p}\n" for n, p in enumerate(sent)))


main()
