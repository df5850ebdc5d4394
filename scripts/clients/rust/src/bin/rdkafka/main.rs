//! rdkafka through the features of the client matrix.
//!
//! Usage: `rdkafka features BROKER`, `rdkafka member BROKER TOPIC GROUP`.

#![forbid(unsafe_code)]

mod administration;
mod groups;
mod member;
mod records;

use matrix_clients::{Deadline, Outcome, PATIENCE, Row, fresh, report, same};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use std::process::ExitCode;
use tokio::runtime::Runtime;

/// The broker and what is used throughout.
struct Client {
    broker: String,
    runtime: Runtime,
    admin: AdminClient<DefaultClientContext>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["features", broker] => features(broker),
        ["member", broker, topic, group] => member::run(broker, topic, group),
        _ => Err("usage: rdkafka features BROKER | rdkafka member BROKER TOPIC GROUP".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("rdkafka: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn features(broker: &str) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin = settings(broker, &[]).create()?;
    let client = Client { broker: broker.to_owned(), runtime, admin };
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        report(&format!("produce-{codec}"), records::produce(&client, codec));
    }
    report("headers-keys-nulls", records::headers(&client));
    report("idempotent", records::idempotent(&client));
    report("assign", records::assign(&client));
    report("subscribe", groups::subscribe(&client));
    report("regex", groups::regex(&client));
    report("seek-time", records::seek_time(&client));
    report("pause", records::pause(&client));
    report("rebalance-join-leave", groups::join_leave(&client));
    report("rebalance-crash", groups::crash(&client));
    report("commit-resume", groups::commit_resume(&client));
    report("admin-create", administration::create(&client));
    report("admin-describe", administration::describe(&client));
    report("admin-alter", administration::alter(&client));
    report("admin-delete", administration::delete(&client));
    Ok(())
}

fn settings(broker: &str, more: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    for (name, value) in more {
        config.set(*name, *value);
    }
    config
}

impl Client {
    fn make<T: FromClientConfig>(&self, defaults: &[(&str, &str)], more: &[(&str, &str)]) -> Outcome<T> {
        Ok(settings(&self.broker, &[defaults, more].concat()).create()?)
    }

    fn producer(&self, more: &[(&str, &str)]) -> Outcome<FutureProducer> {
        self.make(&[("acks", "all"), ("message.timeout.ms", "30000")], more)
    }

    /// Without a group of its own, one that commits nothing.
    fn consumer(&self, more: &[(&str, &str)]) -> Outcome<BaseConsumer> {
        let defaults = [
            ("group.id", "none"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("check.crcs", "true"),
        ];
        self.make(&defaults, more)
    }

    fn assigned(&self, topic: &str, partitions: i32) -> Outcome<BaseConsumer> {
        let consumer = self.consumer(&[])?;
        consumer.assign(&places(topic, 0..partitions, Offset::Beginning)?)?;
        Ok(consumer)
    }

    fn create(&self, topic: NewTopic<'_>) -> Outcome<TopicResult> {
        let created = self.runtime.block_on(self.admin.create_topics([&topic], &options()))?;
        created.into_iter().next().ok_or_else(|| "no answer for the topic".into())
    }

    /// Makes a topic.
    fn topic(&self, name: &str, partitions: i32) -> Outcome<String> {
        let topic = fresh(name);
        let created = self.create(NewTopic::new(&topic, partitions, TopicReplication::Fixed(1)))?;
        same("a new topic", Ok(topic.clone()), created)?;
        Ok(topic)
    }

    /// Sends records to where they must be, and sees that they are told to be there.
    fn send(&self, producer: &FutureProducer, rows: &[Row]) -> Outcome {
        let begin = |row: &Row| {
            let mut record = FutureRecord::to(&row.topic).partition(row.partition);
            record.key = row.key.as_ref();
            record.payload = row.value.as_ref();
            producer.send_result(record).map_err(|(err, _)| err)
        };
        let sent = rows.iter().map(begin).collect::<Result<Vec<_>, _>>()?;
        for (row, delivery) in rows.iter().zip(sent) {
            same("the place told", (row.partition, row.offset), self.delivered(delivery)?)?;
        }
        Ok(())
    }

    /// Partition and offset of a record that was sent.
    fn delivered(&self, delivery: DeliveryFuture) -> Outcome<(i32, i64)> {
        let delivery = self.runtime.block_on(delivery)?.map_err(|(err, _)| err)?;
        Ok((delivery.partition, delivery.offset))
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn places(topic: &str, partitions: std::ops::Range<i32>, offset: Offset) -> Outcome<TopicPartitionList> {
    let mut places = TopicPartitionList::new();
    for partition in partitions {
        places.add_partition_offset(topic, partition, offset)?;
    }
    Ok(places)
}

/// Polls until so many records came.
fn poll(consumer: &BaseConsumer, count: usize) -> Outcome<Vec<OwnedMessage>> {
    let deadline = Deadline::new("the records come");
    let mut came = Vec::new();
    while came.len() < count {
        deadline.check().map_err(|err| format!("{err}, {} of {count} are here", came.len()))?;
        if let Some(message) = consumer.poll(std::time::Duration::from_millis(100)) {
            came.push(message?.detach());
        }
    }
    Ok(came)
}

fn rows(consumer: &BaseConsumer, count: usize) -> Outcome<Vec<Row>> {
    Ok(poll(consumer, count)?.iter().map(row).collect())
}

fn row(message: &OwnedMessage) -> Row {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Row {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: text(message.key()),
        value: text(message.payload()),
    }
}

/// Nothing may be left behind what was read.
fn at_end(consumer: &BaseConsumer) -> Outcome {
    for place in consumer.position()?.elements() {
        let (_, end) = consumer.fetch_watermarks(place.topic(), place.partition(), PATIENCE)?;
        same("the position", Offset::Offset(end), place.offset())?;
    }
    Ok(())
}
