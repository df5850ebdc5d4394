//! How a consumer follows leaders and offsets, and what it makes of bad answers.

mod fake;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fake::{Asked, Deed, start_with};
use proto_kafka::protocol::Request;
use ringmain_client::config::{ClientConfig, ConsumerConfig, OutOfRange};
use ringmain_client::consumer::{Assigned, ConsumeError, Start};
use ringmain_client::offsets::OffsetSpec;
use ringmain_client::wire::batch::BatchBuilder;
use ringmain_client::wire::compression::Compression;
use ringmain_client::wire::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use ringmain_client::wire::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use ringmain_client::wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ringmain_client::wire::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
};
use ringmain_client::{Client, Consumer};

const APIS: &[(i16, i16, i16)] =
    &[(MetadataRequest::KEY, 1, 12), (FetchRequest::KEY, 4, 12), (ListOffsetsRequest::KEY, 1, 10)];
/// Offsets 5 to 9 are in the log, in one batch.
const FIRST: i64 = 5;
const END: i64 = 10;

/// A broker that leads partition 0 of "t".
#[derive(Default)]
struct Broker {
    address: String,
    /// Errors of the first fetches, one after the other.
    codes: Vec<i16>,
    /// Bytes changed in what is fetched.
    damage: Option<usize>,
    /// Bytes left of what is fetched.
    cut: Option<usize>,
    /// Closes this many connections at their first fetch.
    closes: usize,
    /// The offsets asked for.
    asked: Vec<i64>,
}

impl Broker {
    fn deed(&mut self, asked: &Asked) -> Deed {
        match asked.key {
            MetadataRequest::KEY => Deed::Say(self.metadata(asked)),
            ListOffsetsRequest::KEY => Deed::Say(offsets(asked)),
            _ => self.fetch(asked),
        }
    }

    fn metadata(&self, asked: &Asked) -> Vec<u8> {
        let (host, port) = self.address.split_once(':').expect("an address");
        let broker = MetadataResponseBroker::default()
            .with_node_id(1.into())
            .with_host(host.to_owned().into())
            .with_port(port.parse().expect("a port"));
        let partition = MetadataResponsePartition::default().with_leader_id(1.into());
        let topic = MetadataResponseTopic::default()
            .with_name(Some(ringmain_client::wire::topic_name("t")))
            .with_partitions(vec![partition]);
        let response = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
        asked.answer::<MetadataRequest>(&response)
    }

    fn fetch(&mut self, asked: &Asked) -> Deed {
        if self.closes > 0 {
            self.closes -= 1;
            return Deed::Close;
        }
        let request = asked.decode::<FetchRequest>();
        let from = request.topics[0].partitions[0].fetch_offset;
        self.asked.push(from);
        let code = match (self.codes.is_empty(), from) {
            (false, _) => self.codes.remove(0),
            (true, FIRST..=END) => 0,
            (true, _) => 1,
        };
        let mut records = BytesMut::new();
        if code == 0 && from < END {
            records.extend_from_slice(&batch());
        }
        if let Some(at) = self.damage {
            records[at] ^= 1;
        }
        if let Some(length) = self.cut {
            records.truncate(length);
        }
        let partition = PartitionData::default()
            .with_error_code(code)
            .with_high_watermark(END)
            .with_last_stable_offset(END)
            .with_records(Some(records.freeze()));
        let topic = FetchableTopicResponse::default()
            .with_topic(request.topics[0].topic.clone())
            .with_partitions(vec![partition]);
        let response = FetchResponse::default().with_responses(vec![topic]);
        Deed::Say(asked.answer::<FetchRequest>(&response))
    }
}

fn offsets(asked: &Asked) -> Vec<u8> {
    let request = asked.decode::<ListOffsetsRequest>();
    let offset = match request.topics[0].partitions[0].timestamp {
        -1 => END,
        -2 => FIRST,
        0..=1000 => FIRST + 1,
        // Nothing is as young.
        _ => -1,
    };
    let partition = ListOffsetsPartitionResponse::default().with_offset(offset);
    let topic = ListOffsetsTopicResponse::default()
        .with_name(request.topics[0].name.clone())
        .with_partitions(vec![partition]);
    let response = ListOffsetsResponse::default().with_topics(vec![topic]);
    asked.answer::<ListOffsetsRequest>(&response)
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new();
    for offset in FIRST..END {
        builder.push(0, None, Some(offset.to_string().as_bytes()), &[]);
    }
    let built = builder.finish(Compression::None, None).expect("a batch");
    // The base offset lies outside of the checksum.
    let mut batch = BytesMut::from(&built[..]);
    batch[..8].copy_from_slice(&FIRST.to_be_bytes());
    batch.freeze()
}

/// A consumer of what `broker` leads, from `start` on.
async fn consumer(broker: Broker, start: Start, out_of_range: OutOfRange) -> (Consumer, Arc<Mutex<Broker>>) {
    let broker = Arc::new(Mutex::new(broker));
    let shared = Arc::clone(&broker);
    let deed = move |asked: Asked| shared.lock().expect("no panic before").deed(&asked);
    let address = start_with(APIS, deed).await;
    broker.lock().expect("no panic before").address.clone_from(&address);
    let config = ClientConfig { backoff_first: Duration::from_millis(1), ..ClientConfig::default() };
    let client = Client::connect(&[address], config).await.expect("a client");
    let config = ConsumerConfig { out_of_range, ..ConsumerConfig::default() };
    let mut consumer = Consumer::new(client, config);
    consumer.assign(vec![Assigned { topic: "t".into(), partition: 0, start }]);
    (consumer, broker)
}

/// The offsets of all records up to the end.
async fn read(consumer: &mut Consumer) -> Result<Vec<i64>, ConsumeError> {
    let mut offsets = Vec::new();
    for _ in 0..100 {
        if let Some(fetched) = consumer.poll(Duration::from_secs(10)).await? {
            assert_eq!(fetched.high_watermark, END);
            offsets.extend(fetched.records.iter().map(|record| record.offset));
        }
        if consumer.at_end() {
            return Ok(offsets);
        }
    }
    panic!("no end");
}

#[tokio::test]
async fn every_start_finds_its_records() {
    for (start, offsets) in [
        (Start::At(OffsetSpec::Earliest), vec![5, 6, 7, 8, 9]),
        (Start::At(OffsetSpec::Latest), vec![]),
        (Start::At(OffsetSpec::Timestamp(500)), vec![6, 7, 8, 9]),
        (Start::At(OffsetSpec::Timestamp(5000)), vec![]),
        (Start::Offset(8), vec![8, 9]),
    ] {
        let (mut consumer, _) = consumer(Broker::default(), start, OutOfRange::Fail).await;
        assert_eq!(read(&mut consumer).await.unwrap(), offsets, "{start:?}");
        assert_eq!(consumer.positions()[0].next_offset, Some(END));
    }
}

#[tokio::test]
async fn a_consumer_follows_the_leader_and_loses_nothing() {
    let broker = Broker {
        closes: 2,
        // Not the leader, no leader, unknown topic: all of them may pass.
        codes: vec![6, 5, 3],
        ..Broker::default()
    };
    let (mut consumer, broker) = consumer(broker, Start::Offset(7), OutOfRange::Fail).await;
    assert_eq!(read(&mut consumer).await.unwrap(), [7, 8, 9]);
    let asked = broker.lock().unwrap().asked.clone();
    assert_eq!(&asked[..4], [7, 7, 7, 7]);
}

#[tokio::test]
async fn an_offset_that_is_gone_is_dealt_with_as_configured() {
    let start = Start::Offset(2);
    let (mut earliest, _) = consumer(Broker::default(), start, OutOfRange::Earliest).await;
    assert_eq!(read(&mut earliest).await.unwrap(), [5, 6, 7, 8, 9]);
    let (mut latest, _) = consumer(Broker::default(), start, OutOfRange::Latest).await;
    assert!(read(&mut latest).await.unwrap().is_empty());
    let (mut fail, _) = consumer(Broker::default(), start, OutOfRange::Fail).await;
    let error = read(&mut fail).await.unwrap_err();
    assert!(matches!(error, ConsumeError::OutOfRange { offset: 2, .. }), "{error}");
}

#[tokio::test]
async fn unreadable_and_refused_partitions_are_told_of() {
    let start = Start::Offset(5);
    let damaged = Broker { damage: Some(70), ..Broker::default() };
    let (mut consumer_of_damaged, _) = consumer(damaged, start, OutOfRange::Fail).await;
    let error = read(&mut consumer_of_damaged).await.unwrap_err();
    assert!(matches!(error, ConsumeError::Damaged { offset: 5, .. }), "{error}");
    let cut = Broker { cut: Some(60), ..Broker::default() };
    let (mut consumer_of_cut, _) = consumer(cut, start, OutOfRange::Fail).await;
    let error = read(&mut consumer_of_cut).await.unwrap_err();
    assert!(matches!(error, ConsumeError::Cut { offset: 5, .. }), "{error}");
    let refusing = Broker { codes: vec![29], ..Broker::default() };
    let (mut consumer_of_refused, _) = consumer(refusing, start, OutOfRange::Fail).await;
    let error = read(&mut consumer_of_refused).await.unwrap_err();
    assert!(matches!(error, ConsumeError::Refused { partition: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_new_assignment_starts_afresh() {
    let (mut consumer, _) = consumer(Broker::default(), Start::Offset(5), OutOfRange::Fail).await;
    assert_eq!(read(&mut consumer).await.unwrap().len(), 5);
    consumer.assign(vec![Assigned { topic: "t".into(), partition: 0, start: Start::Offset(9) }]);
    assert!(!consumer.at_end());
    assert_eq!(read(&mut consumer).await.unwrap(), [9]);
}
