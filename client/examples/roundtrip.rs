//! Creates a topic, writes records to it and reads them back:
//! `cargo run -p ringmain-client --example roundtrip -- 127.0.0.1:9092 1000`

use std::error::Error;
use std::time::{Duration, Instant};

use ringmain_client::admin::NewTopic;
use ringmain_client::config::{ClientConfig, ConsumerConfig, ProducerConfig};
use ringmain_client::consumer::{Assigned, Start};
use ringmain_client::offsets::OffsetSpec;
use ringmain_client::producer::ProducerRecord;
use ringmain_client::{Admin, Client, Consumer, Producer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let records: usize = arguments.next().map_or(Ok(1000), |count| count.parse())?;
    let client = Client::connect(&[address], ClientConfig::default()).await?;

    let topic = format!("roundtrip-{}", std::process::id());
    let admin = Admin::new(client.clone());
    let new = NewTopic { name: topic.clone(), partitions: Some(3), ..NewTopic::default() };
    admin.create_topic(&new).await?;

    let started = Instant::now();
    let producer = Producer::new(client.clone(), ProducerConfig::default()).await?;
    for number in 0..records {
        let record = ProducerRecord {
            key: Some(format!("key {number}").into()),
            value: Some(format!("value {number}").into()),
            ..ProducerRecord::default()
        };
        producer.send(&topic, record).await?;
    }
    producer.flush().await?;
    println!("wrote {records} records in {:?}", started.elapsed());

    let started = Instant::now();
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    let assigned = (0..3).map(|partition| Assigned {
        topic: topic.as_str().into(),
        partition,
        start: Start::At(OffsetSpec::Earliest),
    });
    consumer.assign(assigned.collect());
    let mut read = 0;
    while !consumer.at_end() {
        if let Some(fetched) = consumer.poll(Duration::from_secs(1)).await? {
            read += fetched.records.len();
        }
    }
    println!("read {read} records in {:?}", started.elapsed());
    for partition in admin.describe_topic(&topic).await? {
        println!("{partition:?}");
    }
    admin.delete_topic(&topic).await?;
    Ok(())
}
