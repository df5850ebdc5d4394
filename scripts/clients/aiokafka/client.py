"""aiokafka in the client matrix. Usage: client.py features BROKER | client.py member BROKER TOPIC GROUP"""

import asyncio
import signal
import sys
import threading

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import BrokerResponseError, CommitFailedError, KafkaError, for_code

from client_features import WAIT, Client, Record, is_version, run
from client_members import REBALANCES

NAMES = {
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    17: "INVALID_TOPIC_EXCEPTION",
    36: "TOPIC_ALREADY_EXISTS",
    40: "INVALID_CONFIG",
}
LOOP = asyncio.new_event_loop()


def wait_for(coroutine):
    """Its result; the loop runs in a thread of its own, so that members go on heartbeating in between."""
    return asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, 2 * WAIT), LOOP).result()


def consumer(broker, group, **more):
    return AIOKafkaConsumer(
        bootstrap_servers=broker,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        check_crcs=True,
        # New topics are found this often.
        metadata_max_age_ms=1000,
        **more,
    )


def placed(places):
    return [TopicPartition(*place) for place in places]


class Reader:
    def __init__(self, broker, group):
        self.group = group
        self.consumer = wait_for(self.started(broker, group))

    async def started(self, broker, group):
        found = consumer(broker, group)
        await found.start()
        return found

    async def now(self, call, *arguments, **more):
        """For what is no coroutine, and still belongs on the loop."""
        return call(*arguments, **more)

    def assign(self, places):
        wait_for(self.now(self.consumer.assign, placed((topic, partition) for topic, partition, _ in places)))
        for topic, partition, offset in places:
            wait_for(self.now(self.consumer.seek, TopicPartition(topic, partition), offset))

    def subscribe(self, topics):
        wait_for(self.now(self.consumer.subscribe, topics))

    def subscribe_pattern(self, pattern):
        wait_for(self.now(self.consumer.subscribe, pattern=pattern))

    def poll(self, seconds):
        return [
            Record(r.topic, r.partition, r.offset, r.key, r.value, list(r.headers), r.timestamp)
            for records in wait_for(self.consumer.getmany(timeout_ms=seconds * 1000)).values()
            for r in records
        ]

    def pause(self, places):
        wait_for(self.now(self.consumer.pause, *placed(places)))

    def resume(self, places):
        wait_for(self.now(self.consumer.resume, *placed(places)))

    def offset_for_time(self, topic, partition, time):
        place = TopicPartition(topic, partition)
        found = wait_for(self.consumer.offsets_for_times({place: time}))[place]
        return None if found is None else found.offset

    def commit(self, topic, partition, offset, metadata):
        wait_for(self.consumer.commit({TopicPartition(topic, partition): (offset, metadata)}))

    def committed(self, topic, partition):
        # The consumer gives the offset alone; the admin client the metadata, too.
        place = TopicPartition(topic, partition)
        offset = wait_for(self.consumer.committed(place))
        if offset is None:
            return None
        found = ADMIN.call("list_consumer_group_offsets", self.group)[place]
        if found.offset != offset:
            raise KafkaError(f"the consumer tells {offset}, the admin client {found.offset}")
        return found.offset, found.metadata

    def close(self):
        wait_for(self.consumer.stop())


class Admin:
    def __init__(self, broker):
        self.admin = wait_for(self.started(broker))

    async def started(self, broker):
        found = AIOKafkaAdminClient(bootstrap_servers=broker)
        await found.start()
        return found

    def call(self, name, *arguments):
        return wait_for(getattr(self.admin, name)(*arguments))


class Aiokafka(Client):
    sends_null_records = False

    def produce(self, topic, messages, codec="none", idempotent=False):
        return wait_for(self._produce(topic, messages, None if codec == "none" else codec, idempotent))

    async def _produce(self, topic, messages, codec, idempotent):
        producer = AIOKafkaProducer(
            bootstrap_servers=self.broker, acks="all", compression_type=codec, enable_idempotence=idempotent, linger_ms=5
        )
        await producer.start()
        try:
            sent = [await producer.send(topic, m.value, m.key, m.partition, m.timestamp, m.headers) for m in messages]
            return [(await one).offset for one in sent]
        finally:
            await producer.stop()

    def consumer(self, group=None):
        return Reader(self.broker, group)

    def create(self, topic, partitions, configs={}):
        answer = ADMIN.call("create_topics", [NewTopic(topic, partitions, 1, topic_configs=configs)])
        raise_for((topic_error[1] for topic_error in answer.topic_errors), topic)

    def describe(self, topic):
        # describe_topics would create it, as metadata requests of that age do.
        if topic not in ADMIN.call("list_topics"):
            raise for_code(3)(topic)
        (found,) = ADMIN.call("describe_topics", [topic])
        raise_for([found["error_code"]], topic)
        return sorted(p["partition"] for p in found["partitions"])

    def configs(self, topic):
        (answer,) = ADMIN.call("describe_configs", [ConfigResource(ConfigResourceType.TOPIC, topic)])
        ((code, _, _, _, entries),) = answer.resources
        raise_for([code], topic)
        return {entry[0]: entry[1] for entry in entries}

    def alter(self, topic, configs):
        (answer,) = ADMIN.call("alter_configs", [ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
        raise_for((resource[0] for resource in answer.resources), topic)

    def add_partitions(self, topic, total):
        ADMIN.call("create_partitions", {topic: NewPartitions(total)})

    def delete(self, topic):
        answer = ADMIN.call("delete_topics", [topic])
        raise_for((code for _, code in answer.topic_error_codes), topic)

    def error_of(self, error):
        if not isinstance(error, BrokerResponseError):
            raise error
        return NAMES.get(error.errno, type(error).__name__)


def raise_for(codes, what):
    for code in codes:
        if code:
            raise for_code(code)(what)


class Assigned(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        print("assigned", ",".join(str(p.partition) for p in assigned), flush=True)


async def member(broker, topic, group):
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    c = consumer(broker, group, session_timeout_ms=6000, heartbeat_interval_ms=500)
    await c.start()
    c.subscribe([topic], listener=Assigned())
    while not ended.is_set():
        records = [r for of_one in (await c.getmany(timeout_ms=200)).values() for r in of_one]
        for r in records:
            print(r.partition, r.offset, r.value.decode(), flush=True)
        if records:
            try:
                await c.commit()
            except CommitFailedError as error:
                # A rebalance has begun, which brings these records again.
                print(f"not committed: {error}", file=sys.stderr)
    await c.stop()


is_version(aiokafka.__version__)
if sys.argv[1] == "member":
    asyncio.run(member(*sys.argv[2:]))
else:
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
    ADMIN = Admin(sys.argv[2])
    run(Aiokafka(sys.argv[2]), REBALANCES)
