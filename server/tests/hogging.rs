//! One client asks for much with little: memory stays bounded, and others do not wait for it.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use bytes::Bytes;
use proto_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use proto_kafka::messages::join_group_request::JoinGroupRequestProtocol;
use proto_kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use proto_kafka::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use proto_kafka::messages::offset_fetch_request::OffsetFetchRequestTopic;
use proto_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use proto_kafka::messages::*;
use ringmain_client::wire::compression::{self, Compression};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::protocol::{Client, text};
use support::{Process, create, produce_body, receive, request};

const MIB: u64 = 1 << 20;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const INVALID_TIMESTAMP: i16 = 32;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
/// Beyond `message.timestamp.after.max.ms`.
const LATE_MS: i64 = 2 * 3_600_000;
const ADMIN: [&str; 2] = ["--set", "admin.listener=127.0.0.1:0"];

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
    claiming(count, timestamp_ms, timestamp_ms)
}

/// As [`headers`], whose header claims another timestamp as the largest.
fn claiming(count: usize, timestamp_ms: i64, claimed_ms: i64) -> Vec<u8> {
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
    batch[35..43].copy_from_slice(&claimed_ms.to_be_bytes());
    // No producer, no epoch, no sequence; one record.
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&1_i32.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// A Produce request of version 7 with the same batch for the first partition of the topic, again and again.
fn produce_repeated(topic: &str, acks: i16, batch: &[u8], times: usize) -> Vec<u8> {
    let mut body = produce_body(topic, 0, acks, batch);
    let at = body.len() - batch.len() - 12;
    body[at..at + 4].copy_from_slice(&i32::try_from(times).unwrap().to_be_bytes());
    let one = body[at + 4..].to_vec();
    (1..times).for_each(|_| body.extend(&one));
    body
}

/// How many of its partitions it says had a timestamp to come.
fn invalid_timestamps(answer: &[u8]) -> usize {
    answer.windows(2).filter(|code| *code == INVALID_TIMESTAMP.to_be_bytes()).count()
}

/// Offset and timestamp.
fn list_offset(client: &mut Client, topic: &str, timestamp: i64) -> (i64, i64) {
    let search = ListOffsetsPartition::default().with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(named(topic)).with_partitions(vec![search]);
    let found = client.ask(7, &ListOffsetsRequest::default().with_topics(vec![topic]));
    let found = &found.topics[0].partitions[0];
    assert_eq!(found.error_code, 0);
    (found.offset, found.timestamp)
}

fn is_unanswered(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let early = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    early.is_err_and(|err| err.kind() == std::io::ErrorKind::WouldBlock)
}

/// A metric of a broker that was started with [`ADMIN`]; there are none of states that no group is in.
fn metric(dir: &Path, name: &str) -> Option<u64> {
    let log = std::fs::read_to_string(dir.join("log")).unwrap();
    let (_, address) = log.split_once("metrics and health are served address=").unwrap();
    let mut stream = TcpStream::connect(address.split_whitespace().next().unwrap()).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: broker\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

fn until_metric(dir: &Path, name: &str, enough: impl Fn(u64) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !metric(dir, name).is_some_and(&enough) {
        assert!(Instant::now() < deadline, "{name} is {:?}", metric(dir, name));
        std::thread::sleep(Duration::from_millis(10));
    }
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
    assert_eq!(list_offset(&mut client, "t", now), (0, now));
    let grown = broker.resident_max_bytes() - before;
    assert!(grown < 200 * MIB, "{} MiB were taken", grown / MIB);
}

/// The name stands in the request once; to keep it for each partition would take 960 MB.
#[test]
fn a_long_name_with_many_partitions_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let before = broker.resident_max_bytes();
    let name = "t".repeat(32_000);
    let indexes: Vec<_> = (0..30_000).chain([7]).collect();
    let topic = OffsetFetchRequestTopic::default().with_name(named(&name)).with_partition_indexes(indexes);
    let asked = OffsetFetchRequest::default().with_group_id(GroupId(text("g")));
    let found = client.ask(5, &asked.with_topics(Some(vec![topic])));
    assert_eq!(found.topics[0].partitions.len(), 30_000);
    let grown = broker.resident_max_bytes() - before;
    assert!(grown < 100 * MIB, "{} MiB were taken", grown / MIB);
}

#[test]
fn committed_offsets_end_at_the_memory_that_they_may_take() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "offsets.memory.max.bytes=1048576"]);
    let mut client = Client::new(&broker);
    create(&mut client.stream, "t");
    let said = "m".repeat(4096);
    let mut commit = |group: usize, said: &str| {
        let partition = OffsetCommitRequestPartition::default().with_committed_metadata(Some(text(said)));
        let topic =
            OffsetCommitRequestTopic::default().with_name(named("t")).with_partitions(vec![partition]);
        let asked = OffsetCommitRequest::default().with_group_id(GroupId(text(&group.to_string())));
        let asked = asked.with_generation_id_or_member_epoch(-1).with_topics(vec![topic]);
        client.ask(8, &asked).topics[0].partitions[0].error_code
    };
    let codes: Vec<i16> = (0..300).map(|group| commit(group, &said)).collect();
    let full = codes.iter().position(|code| *code != 0).unwrap();
    assert!((230..260).contains(&full), "{full}");
    assert!(codes[full..].iter().all(|code| *code == COORDINATOR_NOT_AVAILABLE));
    assert_eq!((commit(0, &said), commit(1, "less"), commit(300, "")), (0, 0, 0));
}

#[test]
fn batches_that_grow_are_no_work_for_the_thread_that_serves_connections() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "num.shards=1"]);
    let (mut other, mut stream) = (Client::new(&broker), broker.connect());
    create(&mut stream, "t");
    let late = headers(500_000, now_ms() + LATE_MS);
    stream.write_all(&request(0, 7, 3, &produce_repeated("t", 1, &late, 40))).unwrap();
    for _ in 0..3 {
        let table = other.ask(0, &ApiVersionsRequest::default());
        assert_eq!(table.error_code, 0);
    }
    assert!(is_unanswered(&mut stream), "others waited for it");
    stream.set_read_timeout(None).unwrap();
    assert!(invalid_timestamps(&receive(&mut stream).unwrap()) >= 40);
}

#[test]
fn a_connection_is_not_idle_while_its_request_is_worked_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "connections.max.idle.ms=40"]);
    let late = headers(1_000_000, now_ms() + LATE_MS);
    create(&mut broker.connect(), "t");
    let mut stream = broker.connect();
    stream.write_all(&request(0, 7, 3, &produce_repeated("t", 1, &late, 40))).unwrap();
    stream.set_read_timeout(None).unwrap();
    assert!(invalid_timestamps(&receive(&mut stream).expect("it was closed")) >= 40);
}

/// Sends a request with a small batch for the topic "plain" and so many for the topic "late" that are much work, and
/// waits until the first is seen: the broker is at the others then.
fn start_work(broker: &Process, late_batches: usize, late: &[u8]) -> TcpStream {
    let (mut other, mut stream) = (Client::new(broker), broker.connect());
    create(&mut stream, "plain");
    create(&mut stream, "late");
    let mut builder = ringmain_engine::BatchBuilder::new();
    builder.push(1, None, Some(b"value"));
    let mut body = produce_body("plain", 0, -1, &builder.finish().unwrap());
    // Behind the transactional id, acks and the timeout: the number of topics, and these.
    let topics_at = 8;
    body[topics_at..topics_at + 4].copy_from_slice(&2_i32.to_be_bytes());
    body.extend(&produce_repeated("late", -1, late, late_batches)[topics_at + 4..]);
    stream.write_all(&request(0, 7, 3, &body)).unwrap();
    while list_offset(&mut other, "plain", -1).0 == 0 {}
    stream
}

#[test]
fn what_was_appended_is_seen_while_a_later_batch_of_the_request_is_worked_on() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing else makes it durable.
    let broker = Process::start_with(dir.path(), &["--set", "checkpoint.interval.ms=3600000"]);
    let mut stream = start_work(&broker, 60, &headers(1_000_000, now_ms() + LATE_MS));
    // An answer that was ready would have come meanwhile.
    let mut other = Client::new(&broker);
    (0..100).for_each(|_| drop(other.ask(0, &ApiVersionsRequest::default())));
    assert!(is_unanswered(&mut stream), "it was seen only with the answer");
    stream.set_read_timeout(None).unwrap();
    assert!(invalid_timestamps(&receive(&mut stream).unwrap()) >= 60);
}

#[test]
fn what_is_worked_on_is_finished_and_answered_at_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut stream = start_work(&broker, 5, &headers(500_000, now_ms() + LATE_MS));
    let process = nix::unistd::Pid::from_raw(broker.pid() as i32);
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(invalid_timestamps(&receive(&mut stream).expect("it was dropped")) >= 5);
}

#[test]
fn searches_by_time_bear_with_headers_that_claim_what_no_record_has() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client.stream, "t");
    let now = now_ms();
    for n in 0..20 {
        let batch = claiming(1, now + n, now + 59 * 60_000);
        assert_eq!(produce(&mut client, "t", batch), (0, n));
    }
    // The largest is that of some record; and it is not all of the log that is looked into.
    assert_eq!(list_offset(&mut client, "t", -3), (0, now));
    assert_eq!(list_offset(&mut client, "t", now + 7), (7, now + 7));
    assert_eq!(list_offset(&mut client, "t", now + 30 * 60_000), (16, now + 59 * 60_000));
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
    let args = settings.iter().flat_map(|setting| ["--set", setting.as_str()]);
    let args: Vec<_> = args.chain(ADMIN).collect();
    Process::start_with(dir, &args)
}

/// A fetch of so many times the first partition of a topic, which waits for more than there is.
fn fetch(topic: &str, partitions: usize, wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(named(topic)).with_partitions(vec![partition; partitions]);
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1 << 20)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

#[test]
fn a_fetch_that_waits_gives_up_when_others_need_the_memory_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start_with_memory(dir.path(), MIB, MIB);
    let (mut waits, mut other) = (Client::new(&broker), Client::new(&broker));
    create(&mut other.stream, "t");
    let asked = fetch("t", 18_000, 300_000);
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

/// A JoinGroup that waits for other members, with a subscription of so many bytes.
fn join(group: &str, bytes: usize) -> Vec<u8> {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let asked = JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(300_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol.with_metadata(vec![0; bytes].into())]);
    Client::frame(3, &asked)
}

/// A client's everyday requests: small ones, and an append that is not.
fn is_served(client: &mut Client) {
    assert_eq!(client.ask(0, &ApiVersionsRequest::default()).error_code, 0);
    assert!(!client.ask(5, &MetadataRequest::default().with_topics(None)).topics.is_empty());
    let mut builder = ringmain_engine::BatchBuilder::new();
    builder.push(1, None, Some(&[0; 900_000]));
    assert_eq!(produce(client, "t", builder.finish().unwrap()).0, 0);
}

/// Sends on a connection of its own, for as long as somebody reads; what ends that.
fn send(broker: &Process, frames: Vec<Vec<u8>>) -> (TcpStream, std::thread::JoinHandle<()>) {
    let stream = broker.connect();
    let mut sending = stream.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        let _ = frames.iter().try_for_each(|frame| sending.write_all(frame));
    });
    (stream, thread)
}

fn end(all: Vec<(TcpStream, std::thread::JoinHandle<()>)>) {
    for (stream, thread) in all {
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        thread.join().unwrap();
    }
}

#[test]
fn what_connections_have_under_way_leaves_memory_to_others() {
    // One has two of them under way at most, so it leaves memory; many have all of it.
    for connections in [1, 8] {
        let dir = tempfile::tempdir().unwrap();
        let broker = start_with_memory(dir.path(), 16 * MIB, 4 * MIB);
        let mut other = Client::new(&broker);
        create(&mut other.stream, "t");
        let joins = |n: usize| (0..8).map(|_| join(&n.to_string(), 3_000_000)).collect();
        let all: Vec<_> = (0..connections).map(|n| send(&broker, joins(n))).collect();
        let (name, enough) = match connections {
            1 => (r#"ringmain_request_memory_bytes{until="answered"}"#, 6_000_000),
            _ => (r#"ringmain_request_memory_waiting{until="answered"}"#, 1),
        };
        until_metric(dir.path(), name, |value| value >= enough);
        let mut waits = Client::new(&broker);
        create(&mut waits.stream, "idle");
        waits.send(12, &fetch("idle", 1, 300_000));
        (0..20).for_each(|_| is_served(&mut other));
        // All at once: each is the only one when the one before it is answered.
        other.stream.write_all(&request(18, 0, 1, b"").repeat(20)).unwrap();
        assert!((0..20).all(|_| receive(&mut other.stream).is_some()));
        assert!(is_unanswered(&mut waits.stream), "it has no memory to give up");
        end(all);
    }
}

#[test]
fn appends_that_wait_for_their_turn_leave_memory_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start_with_memory(dir.path(), 32 * MIB, 12 * MIB);
    let mut other = Client::new(&broker);
    create(&mut other.stream, "t");
    let append = request(0, 7, 3, &produce_body("t", 0, 1, &vec![0; 7 << 20]));
    // Behind a request that waits for others.
    let all: Vec<_> = (0..6).map(|n| send(&broker, vec![join(&n.to_string(), 1), append.clone()])).collect();
    until_metric(dir.path(), r#"ringmain_groups{state="PreparingRebalance"}"#, |groups| groups == 6);
    for _ in 0..50 {
        is_served(&mut other);
        let received = metric(dir.path(), r#"ringmain_request_memory_bytes{until="received"}"#);
        assert_eq!(received, Some(0), "they are not received before their turn");
    }
    end(all);
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
    until_metric(dir.path(), r#"ringmain_request_memory_bytes{until="received"}"#, |bytes| bytes > 11 * MIB);
    until_metric(dir.path(), r#"ringmain_request_memory_waiting{until="received"}"#, |count| count == 2);
    is_served(&mut client);
    // So is a large one that appends nothing.
    let topic = OffsetFetchRequestTopic::default().with_name(named("t"));
    let asked = OffsetFetchRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_topics(Some(vec![topic.with_partition_indexes((0..20_000).collect())]));
    assert!(Client::frame(5, &asked).len() > 65_536);
    assert_eq!(client.ask(5, &asked).topics[0].partitions.len(), 20_000);
    drop(slow);
}
