"""confluent-kafka in the client matrix. Usage: client.py features BROKER | client.py member BROKER TOPIC GROUP"""

import signal
import sys

import confluent_kafka
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)

from client_features import WAIT, Client, Record, Wrong, is_version, run
from client_members import REBALANCES

NAMES = {
    KafkaError.TOPIC_ALREADY_EXISTS: "TOPIC_ALREADY_EXISTS",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "UNKNOWN_TOPIC_OR_PARTITION",
    KafkaError.INVALID_CONFIG: "INVALID_CONFIG",
    KafkaError.TOPIC_EXCEPTION: "INVALID_TOPIC_EXCEPTION",
}


def settings(broker, group):
    return {
        "bootstrap.servers": broker,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "check.crcs": True,
        # New topics are found this often.
        "topic.metadata.refresh.interval.ms": 1000,
    }


def placed(places):
    return [TopicPartition(topic, partition) for topic, partition in places]


class Reader:
    def __init__(self, broker, group):
        self.consumer = Consumer(settings(broker, group or "unused"))

    def assign(self, places):
        self.consumer.assign([TopicPartition(*place) for place in places])

    def subscribe(self, topics):
        self.consumer.subscribe(topics)

    def subscribe_pattern(self, pattern):
        # A name that begins with ^ is a pattern.
        self.consumer.subscribe([pattern])

    def poll(self, seconds):
        records = []
        for m in self.consumer.consume(500, timeout=seconds):
            if m.error():
                raise KafkaException(m.error())
            records.append(Record(m.topic(), m.partition(), m.offset(), m.key(), m.value(), m.headers() or [], m.timestamp()[1]))
        return records

    def pause(self, places):
        self.consumer.pause(placed(places))

    def resume(self, places):
        self.consumer.resume(placed(places))

    def offset_for_time(self, topic, partition, time):
        found = self.consumer.offsets_for_times([TopicPartition(topic, partition, time)], timeout=WAIT)[0]
        if found.error:
            raise KafkaException(found.error)
        return None if found.offset == OFFSET_END else found.offset

    def commit(self, topic, partition, offset, metadata):
        self.consumer.commit(offsets=[TopicPartition(topic, partition, offset, metadata)], asynchronous=False)

    def committed(self, topic, partition):
        found = self.consumer.committed(placed([(topic, partition)]), timeout=WAIT)[0]
        return (found.offset, found.metadata) if found.offset >= 0 else None

    def close(self):
        self.consumer.close()


class Confluent(Client):
    def __init__(self, broker):
        super().__init__(broker)
        self.admin = AdminClient({"bootstrap.servers": broker})

    def produce(self, topic, messages, codec="none", idempotent=False):
        producer = Producer(
            {
                "bootstrap.servers": self.broker,
                "acks": "all",
                "compression.type": codec,
                "enable.idempotence": idempotent,
                "message.timeout.ms": WAIT * 1000,
            }
        )
        offsets, errors = [None] * len(messages), []

        def delivered(at):
            def callback(error, message):
                if error:
                    errors.append(error)
                else:
                    offsets[at] = message.offset()

            return callback

        for at, m in enumerate(messages):
            more = {} if m.timestamp is None else {"timestamp": m.timestamp}
            producer.produce(topic, m.value, m.key, m.partition, on_delivery=delivered(at), headers=m.headers or None, **more)
        if producer.flush(WAIT) or errors:
            raise KafkaException(errors[0]) if errors else Wrong("not everything was delivered")
        return offsets

    def consumer(self, group=None):
        return Reader(self.broker, group)

    def create(self, topic, partitions, configs={}):
        self.admin.create_topics([NewTopic(topic, partitions, 1, config=configs)])[topic].result(WAIT)

    def describe(self, topic):
        found = self.admin.describe_topics(confluent_kafka.TopicCollection([topic]))[topic].result(WAIT)
        return sorted(p.id for p in found.partitions)

    def configs(self, topic):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        found = self.admin.describe_configs([resource])[resource].result(WAIT)
        return {name: entry.value for name, entry in found.items()}

    def alter(self, topic, configs):
        entries = [ConfigEntry(n, v, incremental_operation=AlterConfigOpType.SET) for n, v in configs.items()]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(WAIT)

    def add_partitions(self, topic, total):
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result(WAIT)

    def delete(self, topic):
        self.admin.delete_topics([topic])[topic].result(WAIT)

    def error_of(self, error):
        if not isinstance(error, KafkaException):
            raise error
        return NAMES.get(error.args[0].code(), error.args[0].name())


def member(broker, topic, group):
    consumer = Consumer({**settings(broker, group), "session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))

    def assigned(_, partitions):
        print("assigned", ",".join(str(p.partition) for p in partitions), flush=True)

    consumer.subscribe([topic], on_assign=assigned)
    while not ended:
        messages = consumer.consume(50, timeout=0.2)
        for m in messages:
            if m.error():
                raise KafkaException(m.error())
            print(m.partition(), m.offset(), m.value().decode(), flush=True)
        if messages:
            try:
                consumer.commit(asynchronous=False)
            except KafkaException as error:
                # A rebalance has begun, which brings these records again.
                print(f"not committed: {error}", file=sys.stderr)
    consumer.close()


is_version(confluent_kafka.__version__)
if sys.argv[1] == "member":
    member(*sys.argv[2:])
else:
    run(Confluent(sys.argv[2]), REBALANCES)
