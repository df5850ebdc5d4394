//! What a topic's configuration makes of batches: whose timestamps, which codec, what is refused, and how a
//! client is told.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use bytes::Bytes;
use proto_kafka::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use proto_kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use proto_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use proto_kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use proto_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use proto_kafka::messages::produce_response::PartitionProduceResponse;
use proto_kafka::messages::*;
use ringmain_client::wire::batch::{Batch, BatchBuilder, next_batch};
use ringmain_client::wire::compression::Compression;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};
use support::protocol::{Client, text};
use support::{Process, receive};
use uuid::Uuid;

const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TIMESTAMP: i16 = 32;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;
const UNSUPPORTED_COMPRESSION: i16 = 76;
const INVALID_RECORD: i16 = 87;
const UNKNOWN_TOPIC_ID: i16 = 100;
const HOUR: i64 = 3_600_000;

fn named(name: &str) -> TopicName {
    TopicName(text(name))
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn create(client: &mut Client, name: &str, configs: &[(&str, &str)]) -> Uuid {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(named(name))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect());
    let created = client.ask(7, &CreateTopicsRequest::default().with_topics(vec![topic])).topics[0].clone();
    assert_eq!(created.error_code, 0, "{:?}", created.error_message);
    created.topic_id
}

fn batch(timestamps: &[i64], value_bytes: usize, codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new();
    for timestamp in timestamps {
        builder.push(*timestamp, Some(b"key"), Some(&vec![b'v'; value_bytes]), &[]);
    }
    builder.finish(codec, None).unwrap()
}

fn request(topic: TopicProduceData, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic.with_partition_data(vec![data])])
}

fn produce(client: &mut Client, topic: &str, version: i16, records: Bytes) -> PartitionProduceResponse {
    let topic = TopicProduceData::default().with_name(named(topic));
    client.ask(version, &request(topic, records)).responses[0].partition_responses[0].clone()
}

/// The batches from `offset` on.
fn fetch(client: &mut Client, topic: &str, offset: i64) -> Vec<Batch> {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1);
    let asked = FetchTopic::default().with_topic(named(topic)).with_partitions(vec![partition]);
    let request =
        FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![asked]);
    let mut records = client.ask(12, &request).responses[0].partitions[0].records.clone().unwrap();
    std::iter::from_fn(|| next_batch(&mut records).unwrap()).collect()
}

fn timestamps(batch: Batch) -> Vec<i64> {
    batch.records(1 << 20).unwrap().map(|record| record.unwrap().timestamp).collect()
}

#[test]
fn the_brokers_time_is_written_where_the_topic_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "appended", &[("message.timestamp.type", "LogAppendTime")]);
    create(&mut client, "created", &[]);
    let before = now_ms();
    let far = before + 100 * HOUR;
    let answer = produce(&mut client, "appended", 9, batch(&[5, far], 10, Compression::Lz4));
    assert_eq!(answer.error_code, 0);
    let written = answer.log_append_time_ms;
    assert!((before..=now_ms()).contains(&written));
    let stored = fetch(&mut client, "appended", 0).remove(0);
    assert_eq!((stored.header.append_time, stored.header.compression), (Some(written), Compression::Lz4));
    assert_eq!(timestamps(stored), [written, written]);
    let search = ListOffsetsPartition::default().with_timestamp(before);
    let topic = ListOffsetsTopic::default().with_name(named("appended")).with_partitions(vec![search]);
    let found = client.ask(5, &ListOffsetsRequest::default().with_topics(vec![topic]));
    assert_eq!(found.topics[0].partitions[0].timestamp, written, "it can be found by that time");
    let answer = produce(&mut client, "created", 9, batch(&[5, 6], 10, Compression::None));
    assert_eq!((answer.error_code, answer.log_append_time_ms), (0, -1));
    assert_eq!(timestamps(fetch(&mut client, "created", 0).remove(0)), [5, 6]);
}

#[test]
fn records_out_of_time_are_refused_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t", &[("message.timestamp.before.max.ms", "60000")]);
    let now = now_ms();
    for codec in [Compression::None, Compression::Zstd] {
        let old = batch(&[now, now - HOUR, now + 2 * HOUR], 10, codec);
        let answer = produce(&mut client, "t", 9, old.clone());
        assert_eq!(answer.error_code, INVALID_TIMESTAMP);
        let at_fault: Vec<_> = answer.record_errors.iter().map(|error| error.batch_index).collect();
        assert_eq!(at_fault, [1, 2]);
        assert!(answer.record_errors[0].batch_index_error_message.as_ref().unwrap().contains("not within"));
        assert_eq!(produce(&mut client, "t", 7, old).error_code, INVALID_TIMESTAMP, "older clients too");
        assert_eq!(produce(&mut client, "t", 9, batch(&[now], 10, codec)).error_code, 0);
    }
    assert_eq!(fetch(&mut client, "t", 0).len(), 2, "a refused batch is not there");
}

#[test]
fn batches_are_stored_with_the_codec_of_their_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let codecs = [
        ("uncompressed", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    for (name, stored) in codecs {
        create(&mut client, name, &[("compression.type", name)]);
        for (offset, (_, sent)) in (0..).zip(codecs) {
            let answer = produce(&mut client, name, 9, batch(&[7], 1000, sent));
            assert_eq!((answer.error_code, answer.base_offset), (0, offset));
            let batch = fetch(&mut client, name, offset).remove(0);
            assert_eq!(batch.header.compression, stored);
            let record = batch.records(1 << 20).unwrap().next().unwrap().unwrap();
            assert_eq!((record.timestamp, record.value.unwrap().len()), (7, 1000));
        }
    }
}

#[test]
fn bombs_and_unknown_codecs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "recompress.max.bytes=1048576"]);
    let mut client = Client::new(&broker);
    let mut other = Client::new(&broker);
    create(&mut client, "t", &[("compression.type", "uncompressed")]);
    create(&mut client, "kept", &[]);
    let before = broker.resident_bytes();
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        // 100 MiB of zeros, but for snappy, which makes too much of them for a batch.
        let bytes = if codec == Compression::Snappy { 4 << 20 } else { 100 << 20 };
        let mut builder = BatchBuilder::new();
        builder.push(1, None, Some(&vec![0; bytes]), &[]);
        let bomb = builder.finish(codec, None).unwrap();
        assert!(bomb.len() < 1 << 20, "{codec}: {}", bomb.len());
        assert_eq!(produce(&mut client, "t", 9, bomb).error_code, MESSAGE_TOO_LARGE, "{codec}");
        let mut cut = batch(&[1], 1000, codec).to_vec();
        cut[64..].fill(0xff);
        let crc = crc32c::crc32c(&cut[21..]);
        cut[17..21].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(produce(&mut client, "t", 9, cut.into()).error_code, INVALID_RECORD, "{codec}");
        assert_eq!(produce(&mut other, "kept", 9, batch(&[1], 10, codec)).error_code, 0, "others go on");
    }
    assert!(broker.resident_bytes() < before + (30 << 20), "memory stays bounded");
    let mut unknown = batch(&[1], 10, Compression::None).to_vec();
    unknown[22] |= 5;
    let crc = crc32c::crc32c(&unknown[21..]);
    unknown[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(produce(&mut client, "t", 9, unknown.into()).error_code, INVALID_RECORD);
    let zstd = batch(&[1], 10, Compression::Zstd);
    assert_eq!(produce(&mut client, "t", 6, zstd).error_code, UNSUPPORTED_COMPRESSION);
    assert!(fetch(&mut client, "t", 0).is_empty());
}

#[test]
fn a_batch_that_grows_beyond_the_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t", &[("compression.type", "uncompressed"), ("max.message.bytes", "2000")]);
    assert_eq!(
        produce(&mut client, "t", 9, batch(&[1], 5000, Compression::Gzip)).error_code,
        MESSAGE_TOO_LARGE
    );
    assert_eq!(produce(&mut client, "t", 9, batch(&[1], 1000, Compression::Gzip)).error_code, 0);
}

#[test]
fn every_special_timestamp_finds_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t", &[]);
    let now = now_ms();
    for (codec, times) in [(Compression::None, [now - 9, now]), (Compression::Zstd, [now - 5, now - 7])] {
        assert_eq!(produce(&mut client, "t", 9, batch(&times, 10, codec)).error_code, 0);
    }
    let mut find = |timestamp| found(&mut client, timestamp);
    assert_eq!(find(-1), (0, 4, -1), "the end");
    assert_eq!(find(-2), (0, 0, -1), "the start");
    assert_eq!(find(-3), (0, 1, now), "the largest timestamp");
    assert_eq!(find(-4), (0, 0, -1), "the start of what is here");
    assert_eq!(find(-5), (0, -1, -1), "nothing is elsewhere");
    assert_eq!(find(-6), (INVALID_REQUEST, -1, -1));
    assert_eq!(find(now - 8), (0, 1, now), "the first record of that time or later");
    assert_eq!(find(now + 1), (0, -1, -1), "none");
    // What lies before the start is not found, though its batch is still there.
    let partition = DeleteRecordsPartition::default().with_offset(1);
    let topic = DeleteRecordsTopic::default().with_name(named("t")).with_partitions(vec![partition]);
    client.ask(2, &DeleteRecordsRequest::default().with_topics(vec![topic]));
    assert_eq!(found(&mut client, now - 9), (0, 1, now));
    assert_eq!(found(&mut client, -3), (0, 1, now));
    // Neither is the largest timestamp that is left looked for among what was deleted.
    for (offset, largest) in [(2, (0, 2, now - 5)), (3, (0, 3, now - 7)), (4, (0, -1, -1))] {
        let partition = DeleteRecordsPartition::default().with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(named("t")).with_partitions(vec![partition]);
        client.ask(2, &DeleteRecordsRequest::default().with_topics(vec![topic]));
        assert_eq!(found(&mut client, now - 9), largest);
        assert_eq!(found(&mut client, -3), largest);
    }
}

#[test]
fn searches_in_batches_that_grow_take_turns() {
    const GROWN_BYTES: usize = 60 << 20;
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "timestamp.scans.max=1"]);
    let mut client = Client::new(&broker);
    create(&mut client, "t", &[]);
    let mut builder = BatchBuilder::new();
    builder.push(1, None, Some(&vec![0; GROWN_BYTES]), &[]);
    assert_eq!(produce(&mut client, "t", 9, builder.finish(Compression::Zstd, None).unwrap()).error_code, 0);
    let before = broker.resident_bytes();
    let asked = ListOffsetsPartition::default().with_timestamp(1).with_current_leader_epoch(-1);
    let topic = ListOffsetsTopic::default().with_name(named("t")).with_partitions(vec![asked]);
    let frame = Client::frame(10, &ListOffsetsRequest::default().with_topics(vec![topic]));
    let mut streams: Vec<_> = (0..12).map(|_| broker.connect()).collect();
    streams.iter_mut().for_each(|stream| stream.write_all(&frame).unwrap());
    assert_eq!(
        produce(&mut client, "t", 9, batch(&[2], 10, Compression::None)).error_code,
        0,
        "others go on"
    );
    for stream in &mut streams {
        assert!(receive(stream).is_some());
    }
    let grown_bytes = broker.resident_max_bytes().saturating_sub(before);
    assert!(grown_bytes < 4 * GROWN_BYTES as u64, "{grown_bytes} bytes for twelve searches");
    assert_eq!(found(&mut client, 1), (0, 0, 1));
}

/// Error code, offset and timestamp that a search in "t" gives.
fn found(client: &mut Client, timestamp: i64) -> (i16, i64, i64) {
    let asked = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
    let topic = ListOffsetsTopic::default().with_name(named("t")).with_partitions(vec![asked]);
    let answer = client.ask(10, &ListOffsetsRequest::default().with_topics(vec![topic]));
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp)
}

#[test]
fn topics_are_told_by_id_and_another_id_is_another_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let id = create(&mut client, "t", &[]);
    let mut code = |id| {
        let topic = TopicProduceData::default().with_topic_id(id);
        let answer = client.ask(13, &request(topic, batch(&[1], 10, Compression::None)));
        assert_eq!(answer.responses[0].topic_id, id);
        answer.responses[0].partition_responses[0].error_code
    };
    assert_eq!(code(id), 0);
    assert_eq!(code(Uuid::from_u128(7)), UNKNOWN_TOPIC_ID);
}

#[test]
fn transactions_are_refused_and_nothing_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t", &[]);
    let topic = TopicProduceData::default().with_name(named("t"));
    let request = request(topic, batch(&[1], 10, Compression::None))
        .with_transactional_id(Some(TransactionalId(text("tx"))));
    let answer = client.ask(9, &request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, UNSUPPORTED_VERSION);
    let mut marked = batch(&[1], 10, Compression::None).to_vec();
    marked[22] |= 0x10;
    let crc = crc32c::crc32c(&marked[21..]);
    marked[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(produce(&mut client, "t", 9, marked.into()).error_code, INVALID_RECORD);
    assert!(fetch(&mut client, "t", 0).is_empty());
}

#[test]
fn many_partitions_in_one_request_are_answered_each_and_too_many_end_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "max.partitions=2000"]);
    let mut client = Client::new(&broker);
    let topic = CreatableTopic::default()
        .with_name(named("wide"))
        .with_num_partitions(1500)
        .with_replication_factor(1);
    let created = client.ask(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    assert_eq!(created.topics[0].error_code, 0);
    let many = |count: i32| {
        let records = batch(&[1], 10, Compression::None);
        let data =
            |index| PartitionProduceData::default().with_index(index).with_records(Some(records.clone()));
        let topic = TopicProduceData::default()
            .with_name(named("wide"))
            .with_partition_data((0..count).map(data).collect());
        ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic])
    };
    let answer = client.ask(9, &many(1501));
    let codes: Vec<_> =
        answer.responses[0].partition_responses.iter().map(|one| (one.index, one.error_code)).collect();
    let expected: Vec<_> = (0..1500).map(|index| (index, 0)).chain([(1500, 3)]).collect();
    assert_eq!(codes, expected);
    // Empty places cost a client next to nothing: 4 million of them are 32 MiB.
    let before = broker.resident_bytes();
    let mut body = support::produce_body("wide", 0, 1, b"");
    let at = body.len() - 12;
    body[at..at + 4].copy_from_slice(&4_000_000i32.to_be_bytes());
    let place = body[at + 4..].to_vec();
    body.truncate(at + 4);
    body.extend(place.repeat(4_000_000));
    let answer = support::call(&mut client.stream, &support::request(0, 7, 1, &body));
    assert_eq!(answer, None, "the connection is closed");
    assert!(broker.resident_bytes() < before + (60 << 20), "the request itself, and next to nothing more");
    let mut other = Client::new(&broker);
    assert_eq!(produce(&mut other, "wide", 9, batch(&[1], 10, Compression::None)).error_code, 0);
}
