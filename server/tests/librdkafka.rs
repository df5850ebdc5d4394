//! librdkafka, the client most programs use, against the broker: records, groups, restarts.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use ringmain::Running;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{start, start_at};

const PATIENCE: Duration = Duration::from_secs(60);

type Sender = ThreadedProducer<DefaultProducerContext>;

fn client(broker: &Running) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.address().to_string());
    // Restarts are part of these tests: do not wait seconds for the next try.
    config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "100");
    config
}

fn producer(broker: &Running, settings: &[(&str, &str)]) -> Sender {
    let mut config = client(broker);
    config.set("linger.ms", "5");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

fn consumer(broker: &Running, group: &str) -> BaseConsumer {
    let mut config = client(broker);
    config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "200");
    config.create().unwrap()
}

fn create(broker: &Running, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = client(broker).create().unwrap();
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let created = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).unwrap();
    created[0].as_ref().unwrap();
}

fn send(producer: &Sender, topic: &str, numbers: std::ops::Range<i32>) {
    for n in numbers {
        let (key, value) = (format!("key-{}", n % 7), format!("value-{n}"));
        let headers = OwnedHeaders::new().insert(Header { key: "n", value: Some(&n.to_string()) });
        producer.send(BaseRecord::to(topic).key(&key).payload(&value).headers(headers)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Polls until `count` records have come, and gives their numbers.
fn receive(consumer: &BaseConsumer, count: usize) -> Vec<i32> {
    let deadline = Instant::now() + PATIENCE;
    let mut numbers = Vec::new();
    while numbers.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} records came", numbers.len());
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
            let n: i32 = value.strip_prefix("value-").unwrap().parse().unwrap();
            assert_eq!(message.key().unwrap(), format!("key-{}", n % 7).as_bytes());
            assert_eq!(message.headers().unwrap().get(0).value.unwrap(), n.to_string().as_bytes());
            numbers.push(n);
        }
    }
    numbers
}

/// Polls until the consumer has this many partitions.
fn await_partitions(consumers: &[&BaseConsumer], counts: &[usize]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for consumer in consumers {
            if let Some(message) = consumer.poll(Duration::from_millis(20)) {
                message.unwrap();
            }
        }
        let have: Vec<_> = consumers.iter().map(|consumer| consumer.assignment().unwrap().count()).collect();
        if have == counts {
            return;
        }
        assert!(Instant::now() < deadline, "{have:?} partitions instead of {counts:?}");
    }
}

#[test]
fn records_come_back_in_order_with_every_built_in_codec() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    for codec in ["none", "snappy", "lz4"] {
        for acks in ["1", "all"] {
            let topic = format!("{codec}-{acks}");
            send(&producer(&broker, &[("compression.type", codec), ("acks", acks)]), &topic, 0..2000);
            let consumer = consumer(&broker, "unused");
            let mut start = TopicPartitionList::new();
            start.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
            consumer.assign(&start).unwrap();
            assert_eq!(receive(&consumer, 2000), (0..2000).collect::<Vec<_>>());
        }
    }
    broker.stop().unwrap();
}

#[test]
fn a_group_resumes_where_it_committed_after_leaving_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = start(dir.path());
    let address = broker.address();
    create(&broker, "orders", 3);
    send(&producer(&broker, &[]), "orders", 0..300);
    let mut seen = Vec::new();
    // A clean stop, then none: what was committed survives both.
    for round in 0..3 {
        let consumer = consumer(&broker, "billing");
        consumer.subscribe(&["orders"]).unwrap();
        seen.extend(receive(&consumer, 100));
        consumer.commit_consumer_state(CommitMode::Sync).unwrap();
        drop(consumer);
        if round == 0 {
            broker.stop().unwrap();
        } else {
            drop(broker);
        }
        broker = start_at(dir.path(), address);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..300).collect::<Vec<_>>(), "each once");
    let consumer = consumer(&broker, "billing");
    consumer.subscribe(&["orders"]).unwrap();
    await_partitions(&[&consumer], &[3]);
    assert!(consumer.poll(Duration::from_millis(500)).is_none(), "nothing is left");
}

#[test]
fn members_share_the_partitions_and_take_over_from_one_that_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    create(&broker, "shared", 4);
    let (a, b) = (consumer(&broker, "pair"), consumer(&broker, "pair"));
    a.subscribe(&["shared"]).unwrap();
    await_partitions(&[&a], &[4]);
    b.subscribe(&["shared"]).unwrap();
    await_partitions(&[&a, &b], &[2, 2]);
    let of = |consumer: &BaseConsumer| -> BTreeSet<i32> {
        consumer.assignment().unwrap().elements().iter().map(|one| one.partition()).collect()
    };
    assert!(of(&a).is_disjoint(&of(&b)));
    drop(a);
    await_partitions(&[&b], &[4]);
}

/// Counts rebalances.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl ClientContext for Counting {}

impl ConsumerContext for Counting {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Two members, the first of them static; the rebalances of the first are counted.
fn pair(broker: &Running, strategy: &str) -> (BaseConsumer<Counting>, BaseConsumer, Counting) {
    let counting = Counting::default();
    let mut config = client(broker);
    config.set("group.id", "pair").set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    config.set("session.timeout.ms", "20000").set("heartbeat.interval.ms", "200");
    config.set("partition.assignment.strategy", strategy);
    let other = config.create().unwrap();
    config.set("group.instance.id", "one");
    (config.create_with_context(counting.clone()).unwrap(), other, counting)
}

#[test]
fn members_keep_their_partitions_over_a_crash_of_the_broker_without_a_rebalance() {
    for strategy in ["range", "cooperative-sticky"] {
        let dir = tempfile::tempdir().unwrap();
        let broker = start(dir.path());
        let address = broker.address();
        create(&broker, "orders", 4);
        let (a, b, counting) = pair(&broker, strategy);
        a.subscribe(&["orders"]).unwrap();
        b.subscribe(&["orders"]).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let counts = || (a.assignment().unwrap().count(), b.assignment().unwrap().count());
        while counts() != (2, 2) {
            a.poll(Duration::from_millis(20)).map(Result::unwrap);
            b.poll(Duration::from_millis(20)).map(Result::unwrap);
            assert!(Instant::now() < deadline, "{strategy}: {:?}", counts());
        }
        let before = (counting.0.load(Ordering::Relaxed), a.assignment().unwrap());
        drop(broker);
        let broker = start_at(dir.path(), address);
        send(&producer(&broker, &[]), "orders", 0..400);
        let mut seen = 0;
        while seen < 400 {
            for message in [a.poll(Duration::from_millis(20)), b.poll(Duration::from_millis(20))] {
                // What was lost with the connection comes again.
                seen += usize::from(message.is_some_and(|message| message.is_ok()));
            }
            assert!(Instant::now() < deadline, "{strategy}: only {seen} came");
        }
        a.commit_consumer_state(CommitMode::Sync).unwrap();
        assert_eq!((counting.0.load(Ordering::Relaxed), a.assignment().unwrap()), before, "{strategy}");
    }
}

#[test]
fn an_idempotent_producer_survives_a_crash_of_the_broker_without_a_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let address = broker.address();
    let producer = producer(&broker, &[("enable.idempotence", "true"), ("retry.backoff.ms", "20")]);
    send(&producer, "once", 0..500);
    for n in 500..1000 {
        let (key, value) = (format!("key-{}", n % 7), format!("value-{n}"));
        let headers = OwnedHeaders::new().insert(Header { key: "n", value: Some(&n.to_string()) });
        producer.send(BaseRecord::to("once").key(&key).payload(&value).headers(headers)).unwrap();
    }
    // In flight, or about to be.
    drop(broker);
    let broker = start_at(dir.path(), address);
    producer.flush(PATIENCE).unwrap();
    send(&producer, "once", 1000..1100);
    let consumer = consumer(&broker, "unused");
    let mut start = TopicPartitionList::new();
    start.add_partition_offset("once", 0, Offset::Beginning).unwrap();
    consumer.assign(&start).unwrap();
    assert_eq!(receive(&consumer, 1100), (0..1100).collect::<Vec<_>>());
    assert!(consumer.poll(Duration::from_millis(300)).is_none());
}

#[test]
fn offsets_are_found_by_time_and_watermarks_told() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let producer = producer(&broker, &[("compression.type", "lz4")]);
    for n in 0..1000 {
        let value = format!("value-{n}");
        producer.send(BaseRecord::<(), _>::to("timed").payload(&value).timestamp(10_000 + n)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let consumer = consumer(&broker, "unused");
    assert_eq!(consumer.fetch_watermarks("timed", 0, PATIENCE).unwrap(), (0, 1000));
    for (time, offset) in [(0, 0), (10_000, 0), (10_437, 437), (10_999, 999)] {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset("timed", 0, Offset::Offset(time)).unwrap();
        let found = consumer.offsets_for_times(asked, PATIENCE).unwrap();
        assert_eq!(found.elements()[0].offset(), Offset::Offset(offset), "time {time}");
    }
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset("timed", 0, Offset::Offset(11_000)).unwrap();
    assert_eq!(consumer.offsets_for_times(asked, PATIENCE).unwrap().elements()[0].offset(), Offset::End);
}

#[test]
fn topics_are_created_listed_and_deleted_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let address = broker.address();
    create(&broker, "kept", 2);
    create(&broker, "gone", 2);
    let admin: AdminClient<DefaultClientContext> = client(&broker).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deleted = runtime.block_on(admin.delete_topics(&["gone"], &AdminOptions::new())).unwrap();
    deleted[0].as_ref().unwrap();
    broker.stop().unwrap();
    let broker = start_at(dir.path(), address);
    let consumer = consumer(&broker, "unused");
    let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
    let topics: Vec<_> =
        metadata.topics().iter().map(|topic| (topic.name(), topic.partitions().len())).collect();
    assert_eq!(topics, [("kept", 2)]);
    let again = runtime.block_on(
        admin.create_topics([&NewTopic::new("kept", 1, TopicReplication::Fixed(1))], &AdminOptions::new()),
    );
    assert!(again.unwrap()[0].is_err(), "it exists");
}
