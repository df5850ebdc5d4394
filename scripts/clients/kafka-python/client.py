"""kafka-python in the client matrix. Usage: client.py features BROKER | client.py member BROKER TOPIC GROUP"""

import signal
import sys

import kafka
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import BrokerResponseError, CommitFailedError, RebalanceInProgressError, for_code

from client_features import WAIT, Client, Record, is_version, run
from client_members import REBALANCES

NAMES = {
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    17: "INVALID_TOPIC_EXCEPTION",
    36: "TOPIC_ALREADY_EXISTS",
    40: "INVALID_CONFIG",
}


def consumer(broker, group, **more):
    return KafkaConsumer(
        bootstrap_servers=broker,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        check_crcs=True,
        # New topics are found this often.
        metadata_max_age_ms=1000,
        **more,
    )


def subscribe(consumer, topics, **more):
    """Subscribes, and fetches the topics' metadata before the first join.

    Metadata that comes after a join makes this client join again, without a note that it has to: where a poll's timeout ends
    before the join does, it loses track of it, and neither reads nor sends heartbeats any more (3.0.12, with any broker).
    """
    consumer.subscribe(topics, **more)
    consumer.topics()


def placed(places):
    return [TopicPartition(*place) for place in places]


class Reader:
    def __init__(self, broker, group):
        self.consumer = consumer(broker, group)

    def assign(self, places):
        self.consumer.assign(placed((topic, partition) for topic, partition, _ in places))
        for topic, partition, offset in places:
            self.consumer.seek(TopicPartition(topic, partition), offset)

    def subscribe(self, topics):
        subscribe(self.consumer, topics)

    def subscribe_pattern(self, pattern):
        self.consumer.subscribe(pattern=pattern)

    def poll(self, seconds):
        return [
            Record(r.topic, r.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
            for records in self.consumer.poll(timeout_ms=seconds * 1000).values()
            for r in records
        ]

    def pause(self, places):
        self.consumer.pause(*placed(places))

    def resume(self, places):
        self.consumer.resume(*placed(places))

    def offset_for_time(self, topic, partition, time):
        place = TopicPartition(topic, partition)
        found = self.consumer.offsets_for_times({place: time}, timeout_ms=WAIT * 1000)[place]
        return None if found is None else found.offset

    def commit(self, topic, partition, offset, metadata):
        self.consumer.commit({TopicPartition(topic, partition): OffsetAndMetadata(offset, metadata, -1)}, timeout_ms=WAIT * 1000)

    def committed(self, topic, partition):
        found = self.consumer.committed(TopicPartition(topic, partition), metadata=True, timeout_ms=WAIT * 1000)
        return (found.offset, found.metadata) if found is not None else None

    def close(self):
        self.consumer.close()


class KafkaPython(Client):
    sends_null_records = False

    def __init__(self, broker):
        super().__init__(broker)
        self.admin = KafkaAdminClient(bootstrap_servers=broker)

    def produce(self, topic, messages, codec="none", idempotent=False):
        producer = KafkaProducer(
            bootstrap_servers=self.broker,
            acks="all",
            compression_type=None if codec == "none" else codec,
            enable_idempotence=idempotent,
            linger_ms=5,
        )
        try:
            futures = [producer.send(topic, m.value, m.key, m.headers, m.partition, m.timestamp) for m in messages]
            producer.flush(WAIT)
            return [future.get(WAIT).offset for future in futures]
        finally:
            producer.close(WAIT)

    def consumer(self, group=None):
        return Reader(self.broker, group)

    def create(self, topic, partitions, configs={}):
        self.admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}})

    def describe(self, topic):
        found = next(t for t in self.admin.describe_topics([topic]) if t["name"] == topic)
        if found["error_code"]:
            raise for_code(found["error_code"])(topic)
        return sorted(p["partition_index"] for p in found["partitions"])

    def configs(self, topic):
        found = self.admin.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")["topic"][topic]
        return {name: config["value"] for name, config in found.items()}

    def alter(self, topic, configs):
        # The broker is to refuse what it does not know, not the client.
        answer = self.admin.alter_configs([ConfigResource("TOPIC", topic, configs)], raise_on_unknown=False)["topic"][topic]
        if answer != "OK":
            # The client tells the error by its text alone, which begins with `[Error CODE]`.
            raise for_code(int(answer.removeprefix("[Error ").split("]")[0]))(answer)

    def add_partitions(self, topic, total):
        self.admin.create_partitions({topic: total})

    def delete(self, topic):
        self.admin.delete_topics([topic])

    def error_of(self, error):
        if not isinstance(error, BrokerResponseError):
            raise error
        return NAMES.get(error.errno, type(error).__name__)


class Assigned(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        print("assigned", ",".join(str(p.partition) for p in assigned), flush=True)


def member(broker, topic, group):
    c = consumer(broker, group, session_timeout_ms=6000, heartbeat_interval_ms=500)
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    subscribe(c, [topic], listener=Assigned())
    while not ended:
        records = [r for of_one in c.poll(timeout_ms=200).values() for r in of_one]
        for r in records:
            print(r.partition, r.offset, r.value.decode(), flush=True)
        if records:
            try:
                c.commit(timeout_ms=WAIT * 1000)
            except (CommitFailedError, RebalanceInProgressError) as error:
                # A rebalance has begun, which brings these records again.
                print(f"not committed: {error}", file=sys.stderr)
    c.close()


is_version(kafka.__version__)
if sys.argv[1] == "member":
    member(*sys.argv[2:])
else:
    run(KafkaPython(sys.argv[2]), REBALANCES)
