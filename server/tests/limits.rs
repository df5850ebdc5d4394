//! What clients may take of the broker, each limit with what happens beyond it, while others are served.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use proto_kafka::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use proto_kafka::messages::describe_client_quotas_request::ComponentData;
use proto_kafka::messages::*;
use ringmain_engine::BatchBuilder;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::protocol::{Client, text};
use support::*;

const INVALID_REQUEST: i16 = 42;

fn batch(value_bytes: usize) -> Vec<u8> {
    let mut batch = BatchBuilder::new();
    batch.push(1, None, Some(&vec![b'x'; value_bytes]));
    batch.finish().unwrap()
}

/// Error code and throttle time of a Produce request of version 7 to the topic "t".
fn produce(stream: &mut TcpStream, value_bytes: usize) -> Option<(i16, i32)> {
    let answer = call(stream, &request(0, 7, 9, &produce_body("t", 0, 1, &batch(value_bytes))))?;
    let code = i16::from_be_bytes(answer[19..21].try_into().unwrap());
    Some((code, i32::from_be_bytes(answer[answer.len() - 4..].try_into().unwrap())))
}

fn is_served(stream: &mut TcpStream) -> bool {
    // It may have been closed while this was written.
    stream.write_all(&request(18, 0, 1, b"")).is_ok() && receive(stream).is_some()
}

fn logged(dir: &std::path::Path, reason: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let log = std::fs::read_to_string(dir.join("log")).unwrap();
        if log.contains(reason) {
            return;
        }
        assert!(Instant::now() < deadline, "{reason} is not in: {log}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn connections_are_counted_by_address_and_room_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "max.connections.per.ip=3"]);
    let mut held: Vec<_> = (0..3).map(|_| broker.connect()).collect();
    assert!(held.iter_mut().all(is_served));
    assert!(!is_served(&mut broker.connect()), "one too many");
    logged(dir.path(), "max.connections.per.ip");
    assert!(held.iter_mut().all(is_served), "those who were there stay");
    held.pop();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_served(&mut broker.connect()) {
        assert!(Instant::now() < deadline, "there is room again");
    }
}

#[test]
fn there_are_no_more_connections_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "max.connections=2"]);
    let mut held: Vec<_> = (0..2).map(|_| broker.connect()).collect();
    assert!(held.iter_mut().all(is_served));
    let before = broker.resident_bytes();
    for _ in 0..500 {
        assert!(!is_served(&mut broker.connect()));
    }
    assert!(broker.resident_bytes() < before + (20 << 20), "memory stays flat");
    logged(dir.path(), "which is max.connections");
    assert!(held.iter_mut().all(is_served));
}

#[test]
fn a_connection_that_does_nothing_is_closed_and_one_that_waits_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "connections.max.idle.ms=400"]);
    let (mut idle, mut half, mut waiting) = (broker.connect(), broker.connect(), broker.connect());
    create(&mut waiting, "t");
    assert!(is_served(&mut idle));
    half.write_all(&[0, 0, 0, 50, 0]).unwrap();
    // A fetch at the end that waits for 2 s: version 4.
    let mut fetch = [-1i32, 2000, 1, 1 << 20].map(i32::to_be_bytes).concat();
    fetch.push(0);
    fetch.extend(1i32.to_be_bytes());
    fetch.extend(string("t"));
    fetch.extend([1i32, 0].map(i32::to_be_bytes).concat());
    fetch.extend(0i64.to_be_bytes());
    fetch.extend((1i32 << 20).to_be_bytes());
    waiting.write_all(&request(1, 4, 7, &fetch)).unwrap();
    assert_eq!(receive(&mut idle), None, "idle");
    assert_eq!(receive(&mut half), None, "half a frame");
    logged(dir.path(), "idle for 400 ms");
    assert_eq!(receive(&mut waiting).unwrap()[..4], 7i32.to_be_bytes(), "it was answered");
    // Who goes on asking stays.
    let mut busy = broker.connect();
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert!(is_served(&mut busy));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_reader_that_never_reads_is_left_too() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "connections.max.idle.ms=400"]);
    let mut stream = broker.connect();
    stream.set_nonblocking(true).unwrap();
    let requests = request(18, 0, 1, b"").repeat(1000);
    // Until the broker has closed it, with the sockets' buffers full.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match stream.write(&requests) {
            Err(err) if err.kind() != std::io::ErrorKind::WouldBlock => break,
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
        assert!(Instant::now() < deadline, "it was not closed");
    }
    logged(dir.path(), "idle for 400 ms");
}

#[test]
fn requests_take_no_more_memory_than_allowed_and_all_are_served_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    // Without buffers that are kept for the next request, which are bounded by themselves.
    let settings =
        ["queued.max.request.bytes=8388608", "socket.request.max.bytes=8388608", "shard.buffer.pool.bytes=0"];
    let args: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let broker = Process::start_with(dir.path(), &args);
    let mut others = broker.connect();
    create(&mut others, "t");
    let before = broker.resident_bytes();
    // Sixteen requests of 4 MiB, each but for its last byte: together eight times what is allowed.
    let whole = request(0, 7, 9, &produce_body("t", 0, 1, &vec![0; 4 << 20]));
    let senders: Vec<_> = (0..16)
        .map(|_| {
            let (mut stream, whole) = (broker.connect(), whole.clone());
            std::thread::spawn(move || {
                // The broker stops reading, so this blocks until there is memory, or the broker gives up.
                stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
                let sent = stream.write_all(&whole[..whole.len() - 1]).is_ok();
                std::thread::sleep(Duration::from_millis(200));
                sent && stream.write_all(&whole[whole.len() - 1..]).is_ok() && receive(&mut stream).is_some()
            })
        })
        .collect();
    let mut most = 0;
    while !senders.iter().all(std::thread::JoinHandle::is_finished) {
        most = most.max(broker.resident_bytes());
        assert_eq!(produce(&mut others, 100).unwrap().0, 0, "small requests are served meanwhile");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Six times what is allowed: a buffer is copied while it grows, and the allocator keeps for seconds what was freed. All
    // requests at once would be 64 MiB, and as much again while they grow.
    assert!(most < before + (48 << 20), "{} MiB were taken", (most - before) >> 20);
    assert!(senders.into_iter().all(|sender| sender.join().unwrap()), "all were served in turn");
}

#[test]
fn who_holds_half_a_request_open_is_left_and_the_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let settings =
        ["queued.max.request.bytes=8388608", "socket.request.max.bytes=8388608", "request.stall.max.ms=500"];
    let args: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let broker = Process::start_with(dir.path(), &args);
    let mut others = broker.connect();
    create(&mut others, "t");
    // Each promises all that there is, and sends what it takes to be believed.
    let half = {
        let mut half = (8_000_000i32).to_be_bytes().to_vec();
        half.extend([0; 100_000]);
        half
    };
    let mut held: Vec<_> = (0..4).map(|_| broker.connect()).collect();
    held.iter_mut().for_each(|stream| stream.write_all(&half).unwrap());
    let whole = request(0, 7, 9, &produce_body("t", 0, 1, &vec![0; 4 << 20]));
    let mut large = broker.connect();
    let waiting = std::thread::spawn(move || call(&mut large, &whole).is_some());
    while !waiting.is_finished() {
        assert_eq!(produce(&mut others, 100).unwrap().0, 0, "small requests are served meanwhile");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(waiting.join().unwrap(), "and large ones when it is their turn");
    assert!(held.iter_mut().all(|stream| receive(stream).is_none()), "closed");
    logged(dir.path(), "of its request came within 500 ms");
}

fn alter(client: &mut Client, kind: &str, name: Option<&str>, ops: &[(&str, Option<f64>)]) -> i16 {
    let entity = EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text));
    let op = |(key, value): &(&str, Option<f64>)| {
        OpData::default().with_key(text(key)).with_value(value.unwrap_or(0.0)).with_remove(value.is_none())
    };
    let entry = EntryData::default().with_entity(vec![entity]).with_ops(ops.iter().map(op).collect());
    client.ask(1, &AlterClientQuotasRequest::default().with_entries(vec![entry])).entries[0].error_code
}

fn describe(client: &mut Client) -> BTreeMap<Option<String>, BTreeMap<String, f64>> {
    let any = ComponentData::default().with_entity_type(text("client-id")).with_match_type(2);
    let answer = client.ask(1, &DescribeClientQuotasRequest::default().with_components(vec![any]));
    assert_eq!(answer.error_code, 0);
    let entry = |entry: &describe_client_quotas_response::EntryData| {
        let values = entry.values.iter().map(|value| (value.key.to_string(), value.value));
        (entry.entity[0].entity_name.as_ref().map(ToString::to_string), values.collect())
    };
    answer.entries.unwrap().iter().map(entry).collect()
}

#[test]
fn a_client_over_its_quota_is_told_to_wait_and_is_not_read_from() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut admin = Client::new(&broker);
    let (mut fast, mut slow) = (broker.connect(), broker.connect());
    create(&mut fast, "t");
    assert_eq!(produce(&mut fast, 50_000).unwrap(), (0, 0), "no quota yet");
    // The clients of `request` are called "test".
    assert_eq!(alter(&mut admin, "client-id", Some("test"), &[("producer_byte_rate", Some(40_000.0))]), 0);
    let began = Instant::now();
    let (code, throttle_ms) = produce(&mut slow, 60_000).unwrap();
    assert_eq!(code, 0, "what it sent is taken");
    assert!((400..2000).contains(&throttle_ms), "{throttle_ms} ms for half a second's worth too much");
    assert!(is_served(&mut slow));
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(400), "it was read from after {waited:?}");
    // acks=0 is answered by nothing, and waits all the same.
    slow.write_all(&request(0, 7, 9, &produce_body("t", 0, 0, &batch(60_000)))).unwrap();
    let began = Instant::now();
    assert!(is_served(&mut slow));
    assert!(began.elapsed() >= Duration::from_millis(400));
    // Fetches: what is there is given, and then paid for.
    let fetch = [("producer_byte_rate", None), ("consumer_byte_rate", Some(50_000.0))];
    assert_eq!(alter(&mut admin, "client-id", Some("test"), &fetch), 0);
    assert_eq!(produce(&mut slow, 60_000).unwrap().1, 0, "the quota is gone");
    let mut body = [-1i32, 0, 1, 1 << 20].map(i32::to_be_bytes).concat();
    body.push(0);
    body.extend(1i32.to_be_bytes());
    body.extend(string("t"));
    body.extend([1i32, 0].map(i32::to_be_bytes).concat());
    body.extend(0i64.to_be_bytes());
    body.extend((1i32 << 20).to_be_bytes());
    let answer = call(&mut slow, &request(1, 4, 7, &body)).unwrap();
    let throttle_ms = i32::from_be_bytes(answer[4..8].try_into().unwrap());
    assert!(throttle_ms > 1000, "{throttle_ms}");
}

#[test]
fn all_requests_count_for_the_quota_of_time() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut admin = Client::new(&broker);
    let mut slow = broker.connect();
    // Throttle time of a Metadata request of version 3, for no topic.
    let metadata = request(3, 3, 9, &0i32.to_be_bytes());
    let mut ask = || {
        let answer = call(&mut slow, &metadata).unwrap();
        i32::from_be_bytes(answer[4..8].try_into().unwrap())
    };
    assert_eq!(ask(), 0, "no quota yet");
    // Ten microseconds of a thread in each second.
    assert_eq!(alter(&mut admin, "client-id", Some("test"), &[("request_percentage", Some(0.001))]), 0);
    // However little one of them takes, together they take more.
    let throttle_ms = (0..100_000).map(|_| ask()).find(|throttle_ms| *throttle_ms > 50).unwrap();
    let began = Instant::now();
    ask();
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(throttle_ms as u64 - 20), "{throttle_ms} ms, but {waited:?}");
}

#[test]
fn quotas_are_kept_over_crashes_and_described() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert!(describe(&mut client).is_empty());
    assert_eq!(alter(&mut client, "client-id", Some("a"), &[("producer_byte_rate", Some(1e9))]), 0);
    assert_eq!(alter(&mut client, "client-id", None, &[("request_percentage", Some(250.5))]), 0);
    assert_eq!(alter(&mut client, "client-id", Some("a"), &[("consumer_byte_rate", Some(2e9))]), 0);
    for (kind, key, value) in [
        ("user", "producer_byte_rate", 1.0),
        ("ip", "connection_creation_rate", 1.0),
        ("client-id", "no_such_rate", 1.0),
        ("client-id", "producer_byte_rate", -1.0),
        ("client-id", "producer_byte_rate", 0.5),
    ] {
        assert_eq!(
            alter(&mut client, kind, Some("b"), &[(key, Some(value))]),
            INVALID_REQUEST,
            "{kind} {key}"
        );
    }
    let quotas =
        |pairs: &[(&str, f64)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    let expected = BTreeMap::from([
        (None, quotas(&[("request_percentage", 250.5)])),
        (Some("a".to_owned()), quotas(&[("producer_byte_rate", 1e9), ("consumer_byte_rate", 2e9)])),
    ]);
    assert_eq!(describe(&mut client), expected);
    drop(broker);
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    assert_eq!(describe(&mut client), expected);
    let none = [("producer_byte_rate", None), ("consumer_byte_rate", None)];
    assert_eq!(alter(&mut client, "client-id", Some("a"), &none), 0);
    assert_eq!(describe(&mut client).len(), 1);
}
