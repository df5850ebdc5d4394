"""Produces single-record batches with acks=all to all partitions of a new topic in turn, for some seconds, and counts
what was acknowledged; then asks the broker how many records it has.

Usage: durable_rate.py BROKER TOPIC PARTITIONS SECONDS CONFIG...   (CONFIG: key=value of the topic)
Prints one line of JSON. The client is librdkafka (confluent-kafka), its batches limited to one record.
"""

import json
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

VALUE = b"x" * 1024
# Requests that librdkafka has under way at most: it sends one batch a request.
IN_FLIGHT = 1000


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))] if sorted_values else None


def main(broker, topic, partitions, seconds, configs):
    admin = AdminClient({"bootstrap.servers": broker})
    new = NewTopic(topic, partitions, 1, config=dict(one.split("=", 1) for one in configs))
    admin.create_topics([new])[topic].result(60)
    producer = Producer({
        "bootstrap.servers": broker, "acks": "all", "linger.ms": 0, "batch.num.messages": 1,
        "max.in.flight.requests.per.connection": IN_FLIGHT, "queue.buffering.max.messages": 2 * IN_FLIGHT,
        "message.timeout.ms": 120000,
    })
    # Every partition has its leader known and its first record written before the clock starts.
    acked, errors, latencies = [0], [], []

    def delivered(sent):
        def done(error, _message):
            if error:
                errors.append(str(error))
            else:
                acked[0] += 1
                latencies.append(time.monotonic() - sent)
        return done

    for partition in range(partitions):
        producer.produce(topic, VALUE, partition=partition, on_delivery=delivered(time.monotonic()))
    producer.flush(120)
    warm, latencies[:] = acked[0], []
    began = time.monotonic()
    sent = 0
    while time.monotonic() - began < seconds and not errors:
        try:
            producer.produce(topic, VALUE, partition=sent % partitions, on_delivery=delivered(time.monotonic()))
            sent += 1
        except BufferError:
            producer.poll(0.001)
        producer.poll(0)
    left = producer.flush(120)
    took = time.monotonic() - began
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "durable-rate"})
    stored = sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=60)[1] for p in range(partitions))
    consumer.close()
    latencies.sort()
    figures = {
        "records_per_second": round((acked[0] - warm) / took), "acknowledged": acked[0], "stored": stored,
        "seconds": round(took, 2), "errors": errors[:3] + ([f"{left} not answered"] if left else []),
        "p50_ms": round(1000 * (percentile(latencies, 0.5) or 0), 2),
        "p99_ms": round(1000 * (percentile(latencies, 0.99) or 0), 2),
    }
    print(json.dumps(figures))
    sys.exit(0 if not figures["errors"] and stored == acked[0] else 1)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:])
