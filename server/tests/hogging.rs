//! One client asks for much with little: memory stays bounded, and others do not wait for it.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use bytes::Bytes;
use proto_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use proto_kafka::messages::join_group_request::JoinGroupRequestProtocol;
use proto_kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use proto_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use proto_kafka::messages::*;
use ringmain_client::wire::compression::{self, Compression};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};
use support::protocol::{Client, text};
use support::{Process, create, produce_body, receive, request};

const MIB: u64 = 1 << 20;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const INVALID_TIMESTAMP: i16 = 32;
/// Beyond `message.timestamp.after.max.ms`.
const LATE_MS: i64 = 2 * 3_600_000;

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn varint(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1) ^ (value >> 63);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A batch of one record with so many empty headers, compressed.
fn headers(count: usize, timestamp_ms: i64) -> Vec<u8> {
    // Attributes, no delta of time or offset, no key, no value; then the headers, of two bytes each.
    let mut record = vec![0, 0, 0, 1, 1];
    varint(count as i64, &mut record);
    record.resize(record.len() + 2 * count, 0);
    let mut plain = Vec::new();
    varint(record.len() as i64, &mut plain);
    plain.extend(record);
    let mut batch = vec![0; 61];
    compression::compress(Compression::Zstd, &plain, &mut batch).unwrap();
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    batch[ATTRIBUTES_AT + 1] = Compression::Zstd.code() as u8;
    batch[27..35].copy_from_slice(&timestamp_ms.to_be_bytes());
    batch[35..43].copy_from_slice(&timestamp_ms.to_be_bytes());
    // No producer, no epoch, no sequence; one record.
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&1_i32.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn named(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Error code and offset.
fn produce(client: &mut Client, topic: &str, batch: Vec<u8>) -> (i16, i64) {
    let data = PartitionProduceData::default().with_records(Some(Bytes::from(batch)));
    let topic = TopicProduceData::default().with_name(named(topic)).with_partition_data(vec![data]);
    let asked = ProduceRequest::default().with_acks(1).with_topic_data(vec![topic]);
    let answer = client.ask(9, &asked).responses[0].partition_responses[0].clone();
    (answer.error_code, answer.base_offset)
}

#[test]
fn millions_of_headers_take_no_memory_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client.stream, "t");
    let before = broker.resident_max_bytes();
    let (count, now) = (8_000_000, now_ms());
    let late = headers(count, now + LATE_MS);
    assert!((late.len() as u64) < MIB, "{}", late.len());
    // Its records are looked into since their time is to come, and then since they are searched.
    assert_eq!(produce(&mut client, "t", late).0, INVALID_TIMESTAMP);
    assert_eq!(produce(&mut client, "t", headers(count, now)), (0, 0));
    let search = ListOffsetsPartition::default().with_timestamp(now);
    let topic = ListOffsetsTopic::default().with_name(named("t")).with_partitions(vec![search]);
    let found = client.ask(5, &ListOffsetsRequest::default().with_topics(vec![topic]));
    assert_eq!((found.topics[0].partitions[0].offset, found.topics[0].partitions[0].timestamp), (0, now));
    let grown = broker.resident_max_bytes() - before;
    assert!(grown < 200 * MIB, "{} MiB were taken", grown / MIB);
}

#[test]
fn batches_that_grow_are_no_work_for_the_thread_that_serves_connections() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "num.shards=1"]);
    let (mut other, mut stream) = (Client::new(&broker), broker.connect());
    create(&mut stream, "t");
    let late = headers(500_000, now_ms() + LATE_MS);
    // The same partition again and again: array of 40.
    let mut body = produce_body("t", 0, 1, &late);
    let at = body.len() - late.len() - 12;
    body[at..at + 4].copy_from_slice(&40_i32.to_be_bytes());
    let one = body[at + 4..].to_vec();
    (1..40).for_each(|_| body.extend(&one));
    stream.write_all(&request(0, 7, 3, &body)).unwrap();
    for _ in 0..3 {
        let table = other.ask(0, &ApiVersionsRequest::default());
        assert_eq!(table.error_code, 0);
    }
    stream.set_nonblocking(true).unwrap();
    let early = stream.peek(&mut [0]);
    assert!(early.is_err_and(|err| err.kind() == std::io::ErrorKind::WouldBlock), "others waited for it");
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(None).unwrap();
    let answer = receive(&mut stream).unwrap();
    let codes = answer.windows(2).filter(|code| *code == INVALID_TIMESTAMP.to_be_bytes());
    assert!(codes.count() >= 40);
}

/// With little memory for requests.
fn start_with_memory(dir: &std::path::Path, bytes: u64, request_bytes: u64) -> Process {
    let settings = [
        format!("queued.max.request.bytes={bytes}"),
        format!("socket.request.max.bytes={request_bytes}"),
        format!("control.request.max.bytes={}", request_bytes.min(4 * MIB)),
        "group.initial.rebalance.delay.ms=300000".into(),
        "request.stall.max.ms=60000".into(),
    ];
    let args: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
    Process::start_with(dir, &args)
}

#[test]
fn a_fetch_that_waits_gives_up_when_others_need_the_memory_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start_with_memory(dir.path(), MIB, MIB);
    let (mut waits, mut other) = (Client::new(&broker), Client::new(&broker));
    create(&mut other.stream, "t");
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(named("t")).with_partitions(vec![partition; 18_000]);
    let asked = FetchRequest::default()
        .with_max_wait_ms(300_000)
        .with_min_bytes(1 << 20)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    assert!(Client::frame(12, &asked).len() > 550_000, "two take more than there is");
    // Answers that are not read keep those behind them waiting, with their memory.
    let mut answers = waits.stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || (0..3).all(|_| receive(&mut answers).is_some()));
    for _ in 0..4 {
        waits.send(12, &asked);
    }
    for _ in 0..50 {
        assert_eq!(other.ask(5, &MetadataRequest::default().with_topics(None)).topics.len(), 1);
    }
    assert!(reading.join().unwrap(), "with nothing, before their time");
}

#[test]
fn what_a_connection_has_under_way_leaves_memory_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start_with_memory(dir.path(), 16 * MIB, 4 * MIB);
    let (mut waits, mut other) = (Client::new(&broker), Client::new(&broker));
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let asked = JoinGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(300_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol.with_metadata(vec![0; 3_000_000].into())]);
    // The first of them waits for other members, and those after it for the first.
    let frame = Client::frame(3, &asked);
    let mut stream = waits.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || (0..8).try_for_each(|_| stream.write_all(&frame)));
    for _ in 0..50 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert_eq!(other.ask(0, &ApiVersionsRequest::default()).error_code, 0);
    }
    waits.stream.shutdown(std::net::Shutdown::Both).unwrap();
    let _ = sending.join().unwrap();
    waits = Client::new(&broker);
    assert_eq!(waits.ask(0, &ApiVersionsRequest::default()).error_code, 0);
}

#[test]
fn huge_requests_that_come_slowly_leave_memory_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start_with_memory(dir.path(), 32 * MIB, 12 * MIB);
    let mut client = Client::new(&broker);
    create(&mut client.stream, "t");
    let slow: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = broker.connect();
            let mut head = i32::try_from(12 * MIB - 100).unwrap().to_be_bytes().to_vec();
            // A Produce request, of which the first part comes.
            head.resize(200_000, 0);
            stream.write_all(&head).unwrap();
            stream
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(300)); // most likely they hold or wait by now; either is right
    let mut builder = ringmain_engine::BatchBuilder::new();
    builder.push(1, None, Some(&[0; 900_000]));
    assert_eq!(produce(&mut client, "t", builder.finish().unwrap()), (0, 0));
    drop(slow);
}
