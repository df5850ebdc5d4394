"""The features of the client matrix (scripts/client), for clients that Python programs can use.

A client is a class with the methods of `Client` below. What comes back is compared with what was sent,
never only counted, and every wait ends.
"""

import os
import random
import sys
import time
import traceback
from typing import NamedTuple

WAIT = 30
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Wrong(Exception):
    pass


class Message(NamedTuple):
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list = []  # (name, bytes or None)
    timestamp: int | None = None  # ms since the epoch


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list
    timestamp: int


class Client:
    """What a program of the matrix does with a client."""

    # What it has no means for: feature to reason.
    lacks: dict = {}
    # Features that it does in its own way.
    own: dict = {}
    # Whether it sends records with neither key nor value, and with timestamps of the program's own.
    sends_null_records = True
    sends_timestamps = True

    def __init__(self, broker):
        self.broker = broker

    def member_line(self, line):
        return line

    # produce(topic, messages, codec="none", idempotent=False): with acks=all; returns the offsets, in order.
    # consumer(group=None): an object with assign([(topic, partition, offset)]), subscribe([topic]), subscribe_pattern(str),
    #   poll(seconds): [Record], pause / resume([(topic, partition)]),
    #   offset_for_time(topic, partition, ms): offset or None, commit(topic, partition, offset, metadata),
    #   committed(topic, partition): (offset, metadata) or None, close().
    # create(topic, partitions, configs={}), describe(topic): the partitions' ids, configs(topic): {name: value},
    #   alter(topic, {name: value}), add_partitions(topic, total), delete(topic): these raise the client's own errors.
    # error_of(exception): Kafka's name of the error in it, as TOPIC_ALREADY_EXISTS.


def equal(what, got, expected):
    if got != expected:
        raise Wrong(f"{what}: {shortly(got)}, expected {shortly(expected)}")


def shortly(thing):
    text = repr(thing)
    return text if len(text) < 400 else text[:400] + "..."


def until(what, condition, seconds=WAIT):
    """Calls the condition until it is true; it must itself take its time, or this waits a little."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Wrong(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def error_when(client, call):
    try:
        call()
    except Exception as error:
        return client.error_of(error)
    return "none"


def read(consumer, count, seconds=WAIT):
    """The next records, of which `count` must come."""
    got, deadline = [], time.monotonic() + seconds
    while len(got) < count:
        if time.monotonic() > deadline:
            raise Wrong(f"{len(got)} of {count} records came within {seconds} s")
        got += consumer.poll(0.5)
    equal("the number of records that came", len(got), count)
    return got


def nothing_more(consumer, seconds=1.0):
    """What would come wrongly would come by then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        equal("records that must not come", consumer.poll(0.2), [])


def sent_and_read(topic, messages, offsets, got):
    """Whether what was read is what was sent: every field, in the order of each partition."""
    expected = {}
    for message, offset in zip(messages, offsets, strict=True):
        expected.setdefault(message.partition, []).append((offset, message.key, message.value, list(message.headers)))
    found = {}
    for record in got:
        equal("the topic of a record", record.topic, topic)
        found.setdefault(record.partition, []).append((record.offset, record.key, record.value, list(record.headers)))
    equal("the partitions of the records", sorted(found), sorted(expected))
    for partition, records in expected.items():
        equal(f"offsets of partition {partition}", [r[0] for r in records], list(range(records[0][0], records[0][0] + len(records))))
        for sent, came in zip(records, found[partition], strict=True):
            equal(f"a record of partition {partition}", came, sent)


def read_back(client, topic, messages, offsets):
    consumer = client.consumer()
    consumer.assign([(topic, p, 0) for p in sorted({m.partition for m in messages})])
    got = read(consumer, len(messages))
    consumer.close()
    sent_and_read(topic, messages, offsets, got)
    return got


def produce_with(codec):
    def produce(client):
        topic, dice = f"produce-{codec}", random.Random(codec)
        client.create(topic, 3)
        messages = [Message(n % 3, b"key %d" % n, dice.randbytes(60) + b"the same " * dice.randrange(60)) for n in range(500)]
        read_back(client, topic, messages, client.produce(topic, messages, codec=codec))

    return produce


def headers_keys_nulls(client):
    client.create("kinds", 2)
    now = int(time.time() * 1000)
    kinds = [
        Message(0, b"key", b"value", [("a", b"1"), ("empty", b""), ("a", b"2"), ("b", bytes(range(1, 256)))]),
        Message(1, b"null value", None),
        Message(0, None, b"null key"),
        Message(1, b"empty value", b""),
        Message(0, b"", b"empty key"),
        Message(1, None, None, [("only", b"a header")]),
        Message(0, "ключ".encode(), bytes(range(256)) * 20),
    ]
    remarks = []
    if not client.sends_null_records:
        remarks.append("no record with neither key nor value, which the client refuses to send")
        kinds = [kind for kind in kinds if kind.key is not None or kind.value is not None]
    if client.sends_timestamps:
        kinds = [kind._replace(timestamp=now + n) for n, kind in enumerate(kinds)]
    got = read_back(client, "kinds", kinds, client.produce("kinds", kinds))
    if client.sends_timestamps:
        equal("the timestamps", sorted(r.timestamp for r in got), [kind.timestamp for kind in kinds])
    else:
        remarks.append("no timestamps, which the client cannot set")
    return "; ".join(remarks)


def idempotent(client):
    client.create("idempotent", 1)
    messages = [Message(0, b"%d" % (n % 7), b"value %d" % n) for n in range(2000)]
    offsets = client.produce("idempotent", messages, idempotent=True)
    equal("the offsets", offsets, list(range(2000)))
    read_back(client, "idempotent", messages, offsets)


def assign(client):
    client.create("assign", 2)
    client.produce("assign", [Message(n % 2, None, b"%d" % n) for n in range(200)])
    consumer = client.consumer()
    consumer.assign([("assign", 1, 40)])
    got = read(consumer, 60)
    equal("the records", [(r.partition, r.offset, r.value) for r in got], [(1, o, b"%d" % (2 * o + 1)) for o in range(40, 100)])
    nothing_more(consumer)
    consumer.close()


def subscribe(client):
    topics, sent = ["subscribe-one", "subscribe-two"], set()
    for topic in topics:
        client.create(topic, 2)
        client.produce(topic, [Message(n % 2, None, b"%s %d" % (topic.encode(), n)) for n in range(100)])
        sent |= {(topic, n % 2, n // 2, b"%s %d" % (topic.encode(), n)) for n in range(100)}
    consumer = client.consumer("subscribe-group")
    consumer.subscribe(topics)
    got = read(consumer, 200)
    equal("the records", {(r.topic, r.partition, r.offset, r.value) for r in got}, sent)
    consumer.close()


def regex(client):
    for topic in ("regex-1", "other-regex-1"):
        client.create(topic, 1)
        client.produce(topic, [Message(0, None, topic.encode())])
    consumer = client.consumer("regex-group")
    consumer.subscribe_pattern("^regex-.*")
    equal("the first", [(r.topic, r.value) for r in read(consumer, 1)], [("regex-1", b"regex-1")])
    # Where it goes on after the rebalance that the new topic brings.
    consumer.commit("regex-1", 0, 1, "")
    client.create("regex-2", 1)
    client.produce("regex-2", [Message(0, None, b"made later")])
    equal("of a topic made later", [(r.topic, r.value) for r in read(consumer, 1)], [("regex-2", b"made later")])
    consumer.close()


def seek_time(client):
    begin, step, count = 1_700_000_000_000, 1000, 300
    client.create("times", 1)
    client.produce("times", [Message(0, None, b"%d" % n, [], begin + n * step) for n in range(count)])
    consumer = client.consumer()
    for n in (0, 1, 57, count - 1):
        equal(f"the offset at {n}", consumer.offset_for_time("times", 0, begin + n * step), n)
        equal(f"the offset before {n}", consumer.offset_for_time("times", 0, begin + n * step - 1), n)
    equal("the offset beyond the end", consumer.offset_for_time("times", 0, begin + count * step), None)
    consumer.assign([("times", 0, consumer.offset_for_time("times", 0, begin + 200 * step - 500))])
    got = read(consumer, 100)
    equal("the records after the seek", [(r.value, r.timestamp) for r in got], [(b"%d" % n, begin + n * step) for n in range(200, 300)])
    consumer.close()


def pause(client):
    client.create("pause", 2)
    consumer = client.consumer()
    consumer.assign([("pause", 0, 0), ("pause", 1, 0)])
    client.produce("pause", [Message(n, None, b"before") for n in range(2)])
    equal("before", sorted((r.partition, r.value) for r in read(consumer, 2)), [(0, b"before"), (1, b"before")])
    consumer.pause([("pause", 0)])
    client.produce("pause", [Message(n % 2, None, b"%d" % n) for n in range(100)])
    got = read(consumer, 50)
    equal("of the other", [(r.partition, r.value) for r in got], [(1, b"%d" % n) for n in range(1, 100, 2)])
    nothing_more(consumer)
    consumer.resume([("pause", 0)])
    got = read(consumer, 50)
    equal("after resume", [(r.partition, r.value) for r in got], [(0, b"%d" % n) for n in range(0, 100, 2)])
    consumer.close()


def commit_resume(client):
    client.create("commits", 1)
    client.produce("commits", [Message(0, None, b"%d" % n) for n in range(100)])
    first = client.consumer("commits-group")
    first.subscribe(["commits"])
    got = read_at_least(first, 37)
    equal("the first 37", [(r.offset, r.value) for r in got[:37]], [(n, b"%d" % n) for n in range(37)])
    first.commit("commits", 0, 37, "a note")
    first.close()
    second = client.consumer("commits-group")
    equal("what is committed", second.committed("commits", 0), (37, "a note"))
    second.subscribe(["commits"])
    equal("what comes next", [(r.offset, r.value) for r in read(second, 63)], [(n, b"%d" % n) for n in range(37, 100)])
    second.close()


def read_at_least(consumer, count):
    got = []

    def enough():
        got.extend(consumer.poll(0.5))
        return len(got) >= count

    until(f"{count} records", enough)
    return got


def admin_create(client):
    client.create("admin", 3, {"max.message.bytes": "123456", "segment.bytes": "1048576"})
    equal("its partitions", client.describe("admin"), [0, 1, 2])
    equal("an error for one that exists", error_when(client, lambda: client.create("admin", 3)), "TOPIC_ALREADY_EXISTS")
    equal("an error for a config that is none", error_when(client, lambda: client.create("wrong", 1, {"no.such.config": "1"})), "INVALID_CONFIG")
    equal("an error for a name that is none", error_when(client, lambda: client.create("not/a/name", 1)), "INVALID_TOPIC_EXCEPTION")


def admin_describe(client):
    client.create("described", 2, {"max.message.bytes": "123456"})
    equal("its partitions", client.describe("described"), [0, 1])
    found = client.configs("described")
    names = ("max.message.bytes", "cleanup.policy", "compression.type")
    equal("its configs", [found.get(name) for name in names], ["123456", "delete", "producer"])
    equal("an error for one that is unknown", error_when(client, lambda: client.describe("never-made")), "UNKNOWN_TOPIC_OR_PARTITION")


def admin_alter(client):
    client.create("altered", 1)
    client.alter("altered", {"max.message.bytes": "234567"})
    equal("the config", client.configs("altered").get("max.message.bytes"), "234567")
    code = error_when(client, lambda: client.alter("altered", {"no.such.config": "1"}))
    equal("an error for a config that is none", code, "INVALID_CONFIG")
    client.add_partitions("altered", 3)
    until("three partitions", lambda: client.describe("altered") == [0, 1, 2])
    code = error_when(client, lambda: client.add_partitions("never-made", 3))
    equal("an error for one that is unknown", code, "UNKNOWN_TOPIC_OR_PARTITION")


def admin_delete(client):
    client.create("deleted", 1)
    client.delete("deleted")
    equal("an error afterwards", error_when(client, lambda: client.delete("deleted")), "UNKNOWN_TOPIC_OR_PARTITION")
    equal("a description afterwards", error_when(client, lambda: client.describe("deleted")), "UNKNOWN_TOPIC_OR_PARTITION")


def run(client, rebalances):
    """Runs all features, those of the rebalances as given, and prints a line for each."""
    parts = {f"produce-{codec}": produce_with(codec) for codec in CODECS}
    parts |= {"headers-keys-nulls": headers_keys_nulls, "idempotent": idempotent, "assign": assign, "subscribe": subscribe}
    parts |= {"regex": regex, "seek-time": seek_time, "pause": pause, **rebalances, "commit-resume": commit_resume}
    parts |= {"admin-create": admin_create, "admin-describe": admin_describe, "admin-alter": admin_alter, "admin-delete": admin_delete}
    parts |= client.own
    for feature, part in parts.items():
        begun = time.monotonic()
        if feature in client.lacks:
            print(f"none {feature}: {client.lacks[feature]}", flush=True)
            continue
        try:
            remark = part(client)
            print(f"ok {feature}: {remark}" if remark else f"ok {feature}", flush=True)
        except Exception as error:
            print(f"FAILED {feature}: {type(error).__name__}: {' '.join(str(error).split())}", flush=True)
            traceback.print_exc(file=sys.stderr)
        print(f"{feature} took {time.monotonic() - begun:.1f} s", file=sys.stderr)


def is_version(found):
    """The table tells the version: the client that runs must be of it."""
    if found != os.environ.get("CLIENT_VERSION", found):
        raise SystemExit(f"the client's version is {found}, expected {os.environ['CLIENT_VERSION']}")
