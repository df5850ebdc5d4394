"""The load of scripts/soak: producers, topics that come and go, administration, connections that misbehave.

Each is a thread that runs until the event `stop` is set. What goes wrong is appended to a list of
problems; nothing is raised. With `kills` the broker comes and goes, and what fails meanwhile is tried again.
"""

import array
import random
import socket
import struct
import threading
import time
import traceback
from concurrent.futures import TimeoutError as FutureTimeout

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

PARTITIONS = 4
KEYS = 64
OUTSTANDING_MAX = 5000
# How long one producer lives before the next takes its place.
PRODUCER_SECONDS = 12
# Longer than any time for which a test keeps the broker away.
DELIVERY_MS = 120_000
SETTINGS = {
    "idempotent": {"acks": "all", "enable.idempotence": True},
    "acks-all": {"acks": "all", "enable.idempotence": False, "max.in.flight": 1},
    "acks-1": {"acks": "1", "enable.idempotence": False, "max.in.flight": 1},
}


def key_of(number):
    return number * 7919 % 10_007 % KEYS


def partition_of(number):
    return key_of(number) % PARTITIONS


def client(broker, **settings):
    """Settings that all clients have; names with _ for the dots."""
    # Failures that count are told by calls: librdkafka need not tell of each connection that is lost.
    common = {"bootstrap.servers": broker, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 500, "log_level": 2}
    return common | {name.replace("_", "."): value for name, value in settings.items()}


class Load(threading.Thread):
    """Runs `turn` again and again until it is stopped, and notes when that fails."""

    def __init__(self, broker, stop, kills, seed):
        super().__init__(name=type(self).__name__, daemon=True)
        self.broker, self.stop, self.kills = broker, stop, kills
        self.random = random.Random(f"{seed} {self.name}")
        self.problems, self.turns = [], 0

    def run(self):
        while not self.stop.is_set():
            try:
                self.turn()
                self.turns += 1
            # A future's timeout is an OSError only from Python 3.11 on.
            except (KafkaException, OSError, FutureTimeout) as err:
                if not self.kills and not self.stop.is_set():
                    self.problems.append(f"{self.name}: {err}")
                self.stop.wait(0.5)
            except AssertionError as err:
                self.problems.append(f"{self.name}: {err}")
            except Exception as err:
                # Whatever it is: a thread that ends loads nothing, and nobody notices.
                where = traceback.extract_tb(err.__traceback__)[-1]
                self.problems.append(f"{self.name}: {err!r} at {where.filename}:{where.lineno}")
                self.stop.wait(0.5)

    def must_live(self):
        """Call before it is stopped."""
        if not self.is_alive():
            self.problems.append(f"{self.name}: its thread ended before its time")

    def must_end(self, seconds):
        """Call after it was stopped."""
        self.join(seconds)
        if self.is_alive():
            self.problems.append(f"{self.name}: did not end within {seconds} s")


class Producing(Load):
    """Numbered records to a topic, by one producer after the other. A turn is a producer's life."""

    def __init__(self, broker, stop, kills, seed, kind, rate):
        super().__init__(broker, stop, kills, f"{seed} {kind}")
        self.kind, self.rate, self.topic = kind, rate, f"soak-{kind}"
        self.name = f"producers of {self.topic}"
        # For each number its offset, -1 until it is acknowledged.
        self.acked = array.array("q")
        self.acknowledged = 0

    def turn(self):
        codec = self.random.choice(["none", "lz4", "zstd", "snappy", "gzip"])
        limits = {"linger_ms": 5, "message_timeout_ms": DELIVERY_MS, "compression_type": codec}
        # A transport's failure is retried by the client itself; only records count.
        producer = Producer(client(self.broker, **limits) | SETTINGS[self.kind])
        begun, sent = time.monotonic(), 0
        while not self.stop.is_set() and time.monotonic() - begun < PRODUCER_SECONDS:
            due = int((time.monotonic() - begun) * self.rate)
            while sent < due and len(self.acked) - self.acknowledged < OUTSTANDING_MAX:
                self.send(producer)
                sent += 1
            producer.poll(0.01)
        left = producer.flush(DELIVERY_MS / 1000)
        if left:
            self.problems.append(f"{self.topic}: {left} records were not acknowledged")

    def send(self, producer):
        number = len(self.acked)

        def delivered(error, message):
            if error:
                self.problems.append(f"{self.topic}: record {number}: {error}")
                return
            self.acked[number] = message.offset()
            self.acknowledged += 1

        value = f"{number} " + "x" * self.random.randrange(20, 300)
        producer.produce(self.topic, value, str(key_of(number)), partition_of(number), on_delivery=delivered)
        self.acked.append(-1)


def read_all(broker, topic, partitions, parse, seconds):
    """For each partition what `parse` makes of the offsets and values of all its records."""
    consumer = Consumer(client(broker, group_id="unused", enable_auto_commit=False, auto_offset_reset="error", check_crcs=True))
    try:
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=20)[1] for p in range(partitions)}
        consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        found, at = {p: [] for p in ends}, dict.fromkeys(ends, 0)
        deadline = time.monotonic() + seconds
        while any(at[p] < end for p, end in ends.items()):
            assert time.monotonic() < deadline, f"{topic} was read up to {at} of {ends} within {seconds} s"
            for message in consumer.consume(10_000, timeout=0.2):
                if message.error():
                    raise KafkaException(message.error())
                found[message.partition()].append(parse(message.offset(), message.value()))
                at[message.partition()] = message.offset() + 1
        return found
    finally:
        consumer.close()


def done(futures):
    for future in futures.values():
        future.result(30)


class Topics(Load):
    """Topics that are made, grown, written, read and deleted; some names come again."""

    def __init__(self, *args):
        super().__init__(*args)
        self.admin = AdminClient(client(self.broker))

    def turn(self):
        name = f"soak-temporary-{self.random.randrange(3)}"
        if name in self.admin.list_topics(timeout=20).topics:
            # Left by a turn that a kill cut short.
            done(self.admin.delete_topics([name], operation_timeout=20))
        done(self.admin.create_topics([NewTopic(name, 2, 1)], operation_timeout=20))
        done(self.admin.create_partitions([NewPartitions(name, 3)], operation_timeout=20))
        failures = []
        producer = Producer(client(self.broker, message_timeout_ms=20_000, enable_idempotence=True))
        for partition in range(3):
            for number in range(10):
                value = f"{self.turns} {number}"
                producer.produce(name, value, partition=partition, on_delivery=lambda err, _: failures.append(err) if err else None)
        left = producer.flush(25)
        if left or failures:
            raise KafkaException(failures[0] if failures else None)
        found = read_all(self.broker, name, 3, lambda offset, value: (offset, value), 20)
        wanted = [(n, f"{self.turns} {n}".encode()) for n in range(10)]
        wrong = {p: records for p, records in found.items() if records != wanted}
        assert not wrong, f"{name} of turn {self.turns} holds {str(wrong)[:300]}"
        done(self.admin.delete_topics([name], operation_timeout=20))
        self.stop.wait(0.5)


class Administration(Load):
    """What tools ask all day, and records deleted from the beginning of a topic."""

    def __init__(self, *args):
        super().__init__(*args)
        self.admin = AdminClient(client(self.broker))

    def turn(self):
        topic, admin = "soak-trimmed", self.admin
        bytes_max = str(1_000_000 + self.turns % 10)
        entry = ConfigEntry("max.message.bytes", bytes_max, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic)
        done(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]))
        configs = admin.describe_configs([resource])[resource].result(20)
        told = configs["max.message.bytes"].value
        assert told == bytes_max, f"max.message.bytes of {topic} is {told}, not {bytes_max}"
        producer = Producer(client(self.broker, message_timeout_ms=20_000))
        producer.produce(topic, b"x" * 1000, partition=0)
        left = producer.flush(25)
        assert self.kills or not left, f"a record to {topic} was not acknowledged"
        consumer = Consumer(client(self.broker, group_id="soak-tool"))
        try:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
            done(admin.delete_records([TopicPartition(topic, 0, end)]))
            low, _ = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
            assert low >= end, f"{topic} begins at {low} after its records up to {end} were deleted"
        finally:
            consumer.close()
        groups = [group.group_id for group in admin.list_consumer_groups().result(20).valid]
        if groups:
            done(admin.describe_consumer_groups(groups))
            done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(groups[0])]))
        self.stop.wait(1)


def frame(key, version, body):
    """A request with header version 1."""
    head = struct.pack(">hhi", key, version, 1) + struct.pack(">h", 4) + b"soak"
    return struct.pack(">i", len(head + body)) + head + body


def fetch_from_start(topic):
    """Fetch version 4 of partition 0 from offset 0, as much as there is."""
    head = struct.pack(">iiiib", -1, 100, 1, 1 << 20, 0)
    name = struct.pack(">h", len(topic)) + topic.encode()
    return frame(1, 4, head + struct.pack(">i", 1) + name + struct.pack(">iiqi", 1, 0, 0, 1 << 20))


API_VERSIONS = frame(18, 0, b"")
FETCH = fetch_from_start("soak-acks-1")


class Connections(Load):
    """Connections that do nothing, that ask and never read, that send and read in drops. A turn holds
    all of them for a while."""

    IDLE, NEVER_READING, SLOW = 30, 5, 5

    def turn(self):
        host, port = self.broker.rsplit(":", 1)
        held = []
        try:
            for _ in range(self.IDLE + self.NEVER_READING + self.SLOW):
                held.append(socket.create_connection((host, int(port)), 10))
            greedy = held[self.IDLE : self.IDLE + self.NEVER_READING]
            slow = held[-self.SLOW :]
            sent = dict.fromkeys(held, 0)

            def send(connection, request, bytes_max):
                """The next bytes of the request, which is repeated without end."""
                at = sent[connection] % len(request)
                try:
                    sent[connection] += connection.send(request[at : at + bytes_max])
                except BlockingIOError:
                    pass

            until = time.monotonic() + self.random.uniform(4, 8)
            for connection in held:
                connection.setblocking(False)
            while time.monotonic() < until and not self.stop.is_set():
                for connection in greedy:
                    send(connection, FETCH, len(FETCH))
                for connection in slow:
                    send(connection, API_VERSIONS, 3)
                    try:
                        if not connection.recv(7):
                            # A kill does it too.
                            raise ConnectionError("the broker closed a slow connection")
                    except BlockingIOError:
                        pass
                self.stop.wait(0.05)
        finally:
            for connection in held:
                connection.close()
