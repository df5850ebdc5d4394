"""What confluent-kafka (librdkafka) does with a broker, part by part.

Usage: clients.py BROKER

Writes a line `ok NAME` or `FAILED NAME: PROBLEM` for each check. Leaves topics bulk-CODEC behind, of
BULK_RECORDS records each, for a look at the files.
"""

import random
import sys
import time
import traceback

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_CREATE_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
BULK_RECORDS = 4000
WAIT = 30


class Wrong(Exception):
    pass


def equal(what, got, expected):
    if got != expected:
        raise Wrong(f"{what} is {got!r}, expected {expected!r}")


def producer(broker, **settings):
    base = {"bootstrap.servers": broker, "enable.idempotence": True, "message.timeout.ms": WAIT * 1000}
    return Producer({**base, **{key.replace("_", "."): value for key, value in settings.items()}})


def consumer(broker, group="unused", **settings):
    base = {
        "bootstrap.servers": broker,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "check.crcs": True,
    }
    return Consumer({**base, **{key.replace("_", "."): value for key, value in settings.items()}})


def send(p, topic, records):
    """Sends (key, value, settings)s and returns the (partition, offset)s in their order."""
    places, failures = {}, []

    def delivered(at):
        def callback(error, message):
            if error:
                failures.append(error)
            else:
                places[at] = (message.partition(), message.offset())

        return callback

    for at, (key, value, settings) in enumerate(records):
        while True:
            try:
                p.produce(topic, value, key, on_delivery=delivered(at), **settings)
                break
            except BufferError:
                p.poll(0.1)
        p.poll(0)
    equal("the number of records not delivered", p.flush(WAIT), 0)
    if failures:
        raise KafkaException(failures[0])
    return [places[at] for at in range(len(records))]


def receive(c, count, seconds=WAIT):
    got, deadline = [], time.monotonic() + seconds
    while len(got) < count:
        if time.monotonic() > deadline:
            raise Wrong(f"{len(got)} of {count} records came within {seconds} s")
        for message in c.consume(count - len(got), timeout=0.2):
            if message.error():
                raise KafkaException(message.error())
            got.append(message)
    return got


def create(broker, name, partitions):
    # In a variable: the request is given up when its client goes.
    admin = AdminClient({"bootstrap.servers": broker})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(WAIT)


def error_code(call):
    try:
        call()
    except KafkaException as error:
        return error.args[0].code()
    return None


def defaults(broker):
    """With nothing set but the address, as most programs begin."""
    done = []
    p = Producer({"bootstrap.servers": broker})
    p.produce("defaults", b"value", on_delivery=lambda error, _: done.append(error))
    p.flush(WAIT)
    equal("the delivery report", done, [None])
    c = Consumer({"bootstrap.servers": broker, "group.id": "defaults", "auto.offset.reset": "earliest"})
    c.subscribe(["defaults"])
    equal("the value", [m.value() for m in receive(c, 1)], [b"value"])
    c.close()
    cluster = AdminClient({"bootstrap.servers": broker}).list_topics(timeout=WAIT)
    equal("the brokers", [f"{b.host}:{b.port}" for b in cluster.brokers.values()], [broker])
    if not cluster.cluster_id:
        raise Wrong("there is no cluster id")


def topics(broker):
    admin = AdminClient({"bootstrap.servers": broker})
    create(broker, "made", 3)
    equal("its partitions", sorted(admin.list_topics("made", timeout=WAIT).topics["made"].partitions), [0, 1, 2])
    again = error_code(lambda: create(broker, "made", 3))
    equal("the error of creating it again", again, KafkaError.TOPIC_ALREADY_EXISTS)
    wrong = error_code(lambda: create(broker, "not/allowed", 1))
    equal("the error of a wrong name", wrong, KafkaError.TOPIC_EXCEPTION)
    send(producer(broker), "made", [(None, b"gone", {"partition": n}) for n in range(3)])
    admin.delete_topics(["made"])["made"].result(WAIT)
    if "made" in admin.list_topics(timeout=WAIT).topics:
        raise Wrong("a deleted topic is listed")
    unknown = error_code(lambda: admin.delete_topics(["made"])["made"].result(WAIT))
    equal("the error of deleting it again", unknown, KafkaError.UNKNOWN_TOPIC_OR_PART)
    create(broker, "made", 1)
    c = consumer(broker)
    equal("the watermarks of its successor", c.get_watermark_offsets(TopicPartition("made", 0), timeout=WAIT), (0, 0))
    c.close()


def records_with(codec):
    def every_kind(broker):
        topic = f"kinds-{codec}"
        create(broker, topic, 2)
        now = int(time.time() * 1000)
        repeated = b"the same again and again " * 100
        kinds = [
            (b"key", b"value", {"headers": [("a", b"1"), ("b", None), ("a", b"2"), ("empty", b"")]}),
            (b"deleted", None, {}),
            (None, b"", {}),
            (b"", b"key of no bytes", {}),
            (None, None, {"headers": [("only", b"a header")]}),
            ("ключ".encode(), "значение".encode() * 50, {}),
            (bytes(range(256)), repeated, {"headers": [("h", bytes(range(256)))]}),
        ]
        kinds = [(k, v, {**s, "partition": n % 2, "timestamp": now + n}) for n, (k, v, s) in enumerate(kinds * 50)]
        p = producer(broker, compression_type=codec, linger_ms=20)
        places = send(p, topic, kinds)
        for partition in (0, 1):
            offsets = [offset for where, offset in places if where == partition]
            equal(f"the offsets reported of partition {partition}", offsets, list(range(len(offsets))))
        c = consumer(broker)
        c.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in (0, 1)])
        got = {(m.partition(), m.offset()): m for m in receive(c, len(kinds))}
        for place, (key, value, settings) in zip(places, kinds, strict=True):
            m = got[place]
            # Without headers the client says None for what was given as no list.
            found = (m.key(), m.value(), m.headers() or [], m.timestamp())
            wanted = (key, value, settings.get("headers", []), (TIMESTAMP_CREATE_TIME, settings["timestamp"]))
            equal(f"the record at {place}", found, wanted)
        c.close()

    return every_kind


def bulk_with(codec):
    def bulk(broker):
        topic = f"bulk-{codec}"
        create(broker, topic, 1)
        dice = random.Random(codec)
        # Half noise, half zeros: it gets smaller with every codec and still fills several segments.
        values = [dice.randbytes(600) + bytes(600) for _ in range(BULK_RECORDS)]
        p = producer(broker, compression_type=codec, batch_num_messages=20)
        # A millisecond later each, so that the time index gets entries however fast this machine is.
        begin = int(time.time() * 1000) - BULK_RECORDS
        send(p, topic, [(str(n).encode(), value, {"timestamp": begin + n}) for n, value in enumerate(values)])
        c = consumer(broker)
        c.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        if [m.value() for m in receive(c, BULK_RECORDS)] != values:
            raise Wrong("the values that came are not those that were sent")
        c.close()

    return bulk


def too_large(broker):
    p = producer(broker, message_max_bytes=50_000_000)
    code = error_code(lambda: send(p, "too-large", [(None, bytes(30_000_000), {})]))
    equal("the error of a record of 30 MB", code, KafkaError.MSG_SIZE_TOO_LARGE)
    send(producer(broker), "too-large", [(None, bytes(900_000), {})])


def times(broker):
    topic, begin, step, count = "times", 1_700_000_000_000, 1000, 500
    create(broker, topic, 1)
    p = producer(broker, batch_num_messages=20)
    send(p, topic, [(None, str(n).encode(), {"timestamp": begin + n * step}) for n in range(count)])
    c = consumer(broker)

    def offset_of(timestamp):
        found = c.offsets_for_times([TopicPartition(topic, 0, timestamp)], timeout=WAIT)[0]
        if found.error:
            raise KafkaException(found.error)
        return found.offset

    equal("before the first", offset_of(begin - 1), 0)
    for n in (0, 1, 19, 20, 21, 250, count - 1):
        equal(f"at record {n}", offset_of(begin + n * step), n)
        if n:
            equal(f"just before record {n}", offset_of(begin + n * step - 1), n)
    # The broker's "none" is librdkafka's OFFSET_END.
    equal("behind the last", offset_of(begin + count * step), -1)
    c.assign([TopicPartition(topic, 0, offset_of(begin + 300 * step - 500))])
    equal("the record after a seek by time", receive(c, 1)[0].value(), b"300")
    c.seek(TopicPartition(topic, 0, 7))
    equal("the record after a seek by offset", receive(c, 1)[0].value(), b"7")
    c.close()


def lag(broker):
    topic, group = "lag", "lag-group"
    create(broker, topic, 2)
    send(producer(broker), topic, [(None, b"x", {"partition": n % 2}) for n in range(200)])
    c = consumer(broker, group)
    c.subscribe([topic])
    receive(c, 1)
    offsets = [TopicPartition(topic, 0, 30), TopicPartition(topic, 1, 100, "a note")]
    c.commit(offsets=offsets, asynchronous=False)

    def lags(who):
        return [who.get_watermark_offsets(p, timeout=WAIT)[1] - p.offset for p in who.committed(offsets, timeout=WAIT)]

    equal("the lag", lags(c), [70, 0])
    equal("the commit's note", [p.metadata for p in c.committed(offsets, timeout=WAIT)][1], "a note")
    admin = AdminClient({"bootstrap.servers": broker})
    described = admin.describe_consumer_groups([group])[group].result(WAIT)
    equal("the state with a member", (described.state.name, len(described.members)), ("STABLE", 1))
    c.close()
    described = admin.describe_consumer_groups([group])[group].result(WAIT)
    equal("the state without members", (described.state.name, len(described.members)), ("EMPTY", 0))
    listed = [g.group_id for g in admin.list_consumer_groups().result(WAIT).valid]
    if group not in listed:
        raise Wrong(f"{group} is not listed: {listed}")
    found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(WAIT)
    offsets_found = sorted((p.partition, p.offset) for p in found.topic_partitions)
    equal("all offsets of the group", offsets_found, [(0, 30), (1, 100)])
    other = consumer(broker, group)
    equal("the lag that another member sees", lags(other), [70, 0])
    other.subscribe([topic])
    got = receive(other, 70)
    equal("what another member gets", {(m.partition(), m.offset()) for m in got}, {(0, n) for n in range(30, 100)})
    other.close()


def cooperative(broker):
    """Two members that keep partitions through a rebalance, one of which leaves."""
    topic, settings = "cooperative", {"partition_assignment_strategy": "cooperative-sticky"}
    create(broker, topic, 4)
    members = [consumer(broker, "cooperative-group", **settings) for _ in range(2)]
    got = []

    def until(condition, what):
        deadline = time.monotonic() + WAIT
        while not condition():
            if time.monotonic() > deadline:
                raise Wrong(f"{what}: {[[p.partition for p in m.assignment()] for m in members]} after {WAIT} s")
            for member in members:
                got.extend(m.value() for m in member.consume(100, timeout=0.05) if not m.error())

    members[0].subscribe([topic])
    until(lambda: len(members[0].assignment()) == 4, "the first member alone")
    members[1].subscribe([topic])
    until(lambda: [len(m.assignment()) for m in members] == [2, 2], "two members")
    values = [str(n).encode() for n in range(400)]
    send(producer(broker), topic, [(None, v, {"partition": n % 4}) for n, v in enumerate(values)])
    until(lambda: len(got) >= len(values), "both read")
    for member in members:
        member.commit(asynchronous=False)
    members.pop(0).close()
    until(lambda: len(members[0].assignment()) == 4, "the second member alone")
    equal("what both got", sorted(got), sorted(values))
    members[0].close()


def main():
    broker = sys.argv[1]
    parts = [("defaults", defaults), ("topics", topics)]
    parts += [(f"idempotent, headers, keys, nulls: {codec}", records_with(codec)) for codec in CODECS]
    parts += [(f"several segments: {codec}", bulk_with(codec)) for codec in CODECS]
    parts += [("a record too large", too_large), ("offsets for times, seek", times)]
    parts += [("lag", lag), ("cooperative group", cooperative)]
    for name, part in parts:
        begun = time.monotonic()
        try:
            part(broker)
            print(f"ok confluent-kafka: {name} ({time.monotonic() - begun:.1f} s)")
        except Exception as error:
            reason = str(error) or "?"
            if not isinstance(error, (Wrong, KafkaException)):
                reason += f" ({traceback.format_exc().splitlines()[-3].strip()})"
            print(f"FAILED confluent-kafka: {name}: {reason}")


main()
