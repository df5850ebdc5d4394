//! What a producer sends, and sends again.

mod fake;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fake::{Asked, Deed, start_with};
use proto_kafka::protocol::Request;
use ringmain_client::config::{Acks, ClientConfig, ProducerConfig};
use ringmain_client::producer::{ProduceError, ProducerRecord};
use ringmain_client::wire::BrokerError;
use ringmain_client::wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ringmain_client::wire::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use ringmain_client::wire::messages::{
    InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse,
};
use ringmain_client::{Client, Producer};

const APIS: &[(i16, i16, i16)] =
    &[(MetadataRequest::KEY, 1, 12), (ProduceRequest::KEY, 3, 12), (InitProducerIdRequest::KEY, 0, 4)];

/// The batches that a broker got, with what it answered.
type Log = Arc<Mutex<Vec<Bytes>>>;

/// A client of a broker that leads partition 0 of every topic, and answers the produce requests
/// with these codes in turn, then with 0.
async fn client(codes: &'static [i16]) -> (Client, Log) {
    let log = Log::default();
    let address = Arc::new(Mutex::new(String::new()));
    let (batches, own) = (Arc::clone(&log), Arc::clone(&address));
    let bound = start_with(APIS, move |asked| match asked.key {
        MetadataRequest::KEY => Deed::Say(metadata(&asked, &own.lock().expect("no panic before"))),
        InitProducerIdRequest::KEY => {
            let response = InitProducerIdResponse::default().with_producer_id(7.into());
            Deed::Say(asked.answer::<InitProducerIdRequest>(&response))
        }
        _ => {
            let request = asked.decode::<ProduceRequest>();
            let data = &request.topic_data[0].partition_data[0];
            let mut log = batches.lock().expect("no panic before");
            log.push(data.records.clone().expect("records"));
            if request.acks == 0 {
                return Deed::Nothing;
            }
            let code = codes.get(log.len() - 1).copied().unwrap_or(0);
            let partition = PartitionProduceResponse::default()
                .with_error_code(code)
                .with_base_offset(if code == 0 { 100 } else { -1 });
            let response = ProduceResponse::default().with_responses(vec![
                TopicProduceResponse::default()
                    .with_name(request.topic_data[0].name.clone())
                    .with_partition_responses(vec![partition]),
            ]);
            Deed::Say(asked.answer::<ProduceRequest>(&response))
        }
    })
    .await;
    address.lock().expect("no panic before").clone_from(&bound);
    let config = ClientConfig { backoff_first: Duration::from_millis(1), ..ClientConfig::default() };
    (Client::connect(&[bound], config).await.expect("a client"), log)
}

fn metadata(asked: &Asked, address: &str) -> Vec<u8> {
    let request = asked.decode::<MetadataRequest>();
    let (host, port) = address.split_once(':').expect("an address");
    let broker = MetadataResponseBroker::default()
        .with_node_id(1.into())
        .with_host(host.to_owned().into())
        .with_port(port.parse().expect("a port"));
    let partition = MetadataResponsePartition::default().with_leader_id(1.into());
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        MetadataResponseTopic::default().with_name(topic.name).with_partitions(vec![partition.clone()])
    });
    let response = MetadataResponse::default().with_brokers(vec![broker]).with_topics(topics.collect());
    asked.answer::<MetadataRequest>(&response)
}

fn record(value: &str) -> ProducerRecord {
    ProducerRecord { value: Some(Bytes::from(value.to_owned())), ..ProducerRecord::default() }
}

/// A configuration in which every record is a batch of its own.
fn single() -> ProducerConfig {
    ProducerConfig { batch_bytes_max: 1, ..ProducerConfig::default() }
}

/// The one-letter values of the batches that came, in order.
fn values(log: &Log) -> String {
    let log = log.lock().expect("no panic before");
    // Behind the value come the number of headers (0), and before it its length.
    log.iter().map(|batch| char::from(batch[batch.len() - 2])).collect()
}

fn sequences(log: &Log) -> Vec<i32> {
    let log = log.lock().expect("no panic before");
    let sequence = |batch: &Bytes| i32::from_be_bytes(batch[53..57].try_into().expect("four bytes"));
    log.iter().map(sequence).collect()
}

#[tokio::test]
async fn records_are_gathered_and_learn_their_offsets() {
    let (client, log) = client(&[]).await;
    let producer = Producer::new(client, ProducerConfig::default()).await.unwrap();
    let first = producer.send("t", record("a")).await.unwrap();
    let second = producer.send("t", record("b")).await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(first.wait().await.unwrap(), Some(100));
    assert_eq!(second.wait().await.unwrap(), Some(101));
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn order_is_kept_across_retries() {
    // 6 and 7 are retriable.
    let (client, log) = client(&[6, 7, 0, 6]).await;
    let producer = Producer::new(client, single()).await.unwrap();
    for value in ["a", "b", "c"] {
        producer.send("t", record(value)).await.unwrap();
    }
    producer.flush().await.unwrap();
    assert_eq!(values(&log), "aaabbc");
}

#[tokio::test]
async fn an_idempotent_producer_sends_again_with_the_same_numbers_in_order() {
    // The first fails, so those behind it are out of order for the broker.
    let (client, log) = client(&[6, 45, 45]).await;
    let config = ProducerConfig { idempotent: true, ..single() };
    let producer = Producer::new(client, config).await.unwrap();
    for value in ["a", "b", "c"] {
        producer.send("t", record(value)).await.unwrap();
    }
    producer.flush().await.unwrap();
    assert_eq!(values(&log), "abcabc");
    assert_eq!(sequences(&log), [0, 1, 2, 0, 1, 2]);
    let log = log.lock().unwrap();
    assert_eq!(log[0], log[3], "not the same bytes");
}

#[tokio::test]
async fn an_idempotent_producer_stops_after_giving_up() {
    let (client, _) = client(&[10]).await;
    let config = ProducerConfig { idempotent: true, ..single() };
    let producer = Producer::new(client, config).await.unwrap();
    producer.send("t", record("a")).await.unwrap();
    let error = producer.flush().await.unwrap_err();
    let code = BrokerError::MessageTooLarge;
    assert!(matches!(error, ProduceError::Refused { code: found, .. } if found == code), "{error}");
    let error = producer.send("t", record("b")).await.unwrap_err();
    assert!(matches!(error, ProduceError::Stopped { .. }), "{error}");
}

#[tokio::test]
async fn a_refused_batch_fails_alone_and_once() {
    let (client, log) = client(&[10]).await;
    let producer = Producer::new(client, single()).await.unwrap();
    let first = producer.send("t", record("a")).await.unwrap();
    let second = producer.send("t", record("b")).await.unwrap();
    assert!(producer.flush().await.is_err());
    assert!(matches!(first.wait().await, Err(ProduceError::Refused { partition: 0, .. })));
    assert_eq!(second.wait().await.unwrap(), Some(100));
    assert_eq!(values(&log), "ab");
    // The failure has been told; the next flush is about the next records.
    producer.flush().await.unwrap();
}

#[tokio::test]
async fn records_without_acknowledgement_are_just_sent() {
    let (client, log) = client(&[]).await;
    let config = ProducerConfig { acks: Acks::None, ..single() };
    let producer = Producer::new(client, config).await.unwrap();
    let delivery = producer.send("t", record("a")).await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(delivery.wait().await.unwrap(), None);
    assert_eq!(values(&log), "a", "flushed, and not arrived");
}

#[tokio::test]
async fn delivery_ends_with_its_time() {
    const ALWAYS: &[i16] = &[6; 10_000];
    let (client, _) = client(ALWAYS).await;
    let config = ProducerConfig { delivery_timeout: Duration::from_millis(60), ..single() };
    let producer = Producer::new(client, config).await.unwrap();
    producer.send("t", record("a")).await.unwrap();
    let error = producer.flush().await.unwrap_err();
    let ProduceError::DeliveryTimedOut { last, .. } = &error else {
        panic!("{error}");
    };
    assert!(matches!(**last, ProduceError::Refused { code: BrokerError::NotLeaderOrFollower, .. }));
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_at_once() {
    let (client, log) = client(&[]).await;
    let config = ProducerConfig { record_bytes_max: 50, ..ProducerConfig::default() };
    let producer = Producer::new(client.clone(), config).await.unwrap();
    let error = producer.send("t", record(&"x".repeat(60))).await.unwrap_err();
    assert!(matches!(error, ProduceError::RecordTooLarge { limit: 50, .. }), "{error}");
    let astray = ProducerRecord { partition: Some(3), ..record("a") };
    let error = producer.send("t", astray).await.unwrap_err();
    assert!(matches!(error, ProduceError::Cluster(_)), "{error}");
    let contradiction = ProducerConfig { idempotent: true, acks: Acks::Leader, ..ProducerConfig::default() };
    let error = Producer::new(client, contradiction).await.unwrap_err();
    assert!(matches!(error, ProduceError::IdempotenceNeedsAcksAll), "{error}");
    assert!(log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_full_buffer_makes_senders_wait_not_fail() {
    let (client, log) = client(&[]).await;
    let config = ProducerConfig {
        buffered_bytes_max: 64,
        batch_bytes_max: 100,
        linger: Duration::from_millis(1),
        ..ProducerConfig::default()
    };
    let producer = Producer::new(client, config).await.unwrap();
    for _ in 0..50 {
        producer.send("t", record("a")).await.unwrap();
    }
    // Larger than the whole buffer: it goes through all the same.
    producer.send("t", record(&"x".repeat(200))).await.unwrap();
    producer.flush().await.unwrap();
    assert!(log.lock().unwrap().len() > 1);
}

#[tokio::test]
async fn a_dropped_producer_tells_those_who_wait() {
    let (client, _) = client(&[]).await;
    let config = ProducerConfig { linger: Duration::from_secs(3600), ..ProducerConfig::default() };
    let producer = Producer::new(client, config).await.unwrap();
    let delivery = producer.send("t", record("a")).await.unwrap();
    drop(producer);
    assert!(matches!(delivery.wait().await, Err(ProduceError::Dropped)));
}
