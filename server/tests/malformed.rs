//! Requests that are not what their header says, and requests of more than there may be: an error or a closed
//! connection with a logged reason, memory bounded, nothing stored touched, others served.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::BatchBuilder;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::protocol::Client;
use support::*;

const METADATA: i16 = 3;
const MIB: usize = 1 << 20;
const OUT_OF_ORDER_SEQUENCE: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;

/// A topic with one record and a connection that was there before; both stay as they are.
struct Witness {
    stream: TcpStream,
    before: Vec<u8>,
    resident: u64,
}

impl Witness {
    fn new(broker: &Process) -> Self {
        let mut stream = broker.connect();
        create(&mut stream, "kept");
        let mut builder = BatchBuilder::new();
        builder.push(1, None, Some(b"value"));
        let body = produce_body("kept", 0, -1, &builder.finish().unwrap());
        call(&mut stream, &request(0, 7, 1, &body)).unwrap();
        let before = fetch(&mut stream, "kept");
        Self { stream, before, resident: broker.resident_bytes() }
    }

    fn check(&mut self, broker: &Process, grown_max: usize) {
        assert_eq!(fetch(&mut self.stream, "kept"), self.before);
        let grown = broker.resident_bytes().saturating_sub(self.resident);
        assert!(grown < grown_max as u64, "{} MiB were taken", grown >> 20);
    }
}

/// The answer to a fetch of version 4 from the start.
fn fetch(stream: &mut TcpStream, topic: &str) -> Vec<u8> {
    let mut body = [-1i32, 0, 0, 1 << 20].map(i32::to_be_bytes).concat();
    body.push(0);
    body.extend(1i32.to_be_bytes());
    body.extend(string(topic));
    body.extend([1i32, 0].map(i32::to_be_bytes).concat());
    body.extend(0i64.to_be_bytes());
    body.extend((1i32 << 20).to_be_bytes());
    call(stream, &request(1, 4, 7, &body)).unwrap()
}

/// Sends bytes on a connection of their own; the answer, or `None` if it is closed instead.
fn sent(broker: &Process, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream = broker.connect();
    // It may be closed before all is sent.
    let _ = stream.write_all(bytes);
    // No more follows: what is cut will not be waited for.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    receive(&mut stream)
}

fn logged(dir: &std::path::Path, reason: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(dir.join("log")).unwrap().contains(reason) {
        assert!(Instant::now() < deadline, "{reason} is not logged");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn no_version_of_any_api_believes_what_its_body_claims() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let advertised = Client::new(&broker).advertised;
    assert!(advertised.len() >= 30);
    let mut tried = 0;
    for (key, (min, max)) in advertised {
        for version in min..=max {
            let bodies: [&[u8]; 7] = [
                b"",
                // Numbers of -1, lengths and counts of -1, numbers of varying length that do not end.
                &[0xff; 64],
                // Lengths and counts of 2^31-1; in flexible versions, of 127.
                &[0x7f; 64],
                // A minimum, whatever it is a length of.
                &[0x80; 64],
                // Flexible: no tagged fields in the header, then 2^32-1, in five bytes.
                b"\0\xff\xff\xff\xff\x0f\xff\xff\xff\xff\x0f\xff\xff\xff\xff\x0f",
                // The same in more bytes than a number may have.
                b"\0\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
                // Five bytes whose number has more than 32 bits.
                b"\0\xff\xff\xff\xff\x7f\xff\xff\xff\xff\x7f",
            ];
            for body in bodies {
                // Either is right; what is not is silence, which `sent` takes for a failure.
                sent(&broker, &request(key, version, 1, body));
                tried += 1;
            }
        }
    }
    assert!(tried > 1000, "{tried}");
    witness.check(&broker, 40 * MIB);
}

#[test]
fn cut_texts_and_numbers_too_long_end_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let cases: [(&[u8], i16); 7] = [
        // An array of one name of 100 bytes, of which four come; of -2 bytes; and one that is not UTF-8.
        (b"\0\0\0\x01\0\x64name", 1),
        (b"\0\0\0\x01\xff\xfename", 1),
        (b"\0\0\0\x01\0\x04\xff\xfe\xfd\xfc", 1),
        // Compact: the same, and a count in six bytes, and one of 35 bits.
        (b"\0\x02\x65name", 9),
        (b"\0\x02\xff\xff\xff\xff\x0fname", 9),
        (b"\0\x82\x80\x80\x80\x80\x00\x05name\0\x01\0\0\0", 9),
        (b"\0\x82\x80\x80\x80\x40\x05name\0\x01\0\0\0", 9),
    ];
    for (body, version) in cases {
        assert_eq!(sent(&broker, &request(METADATA, version, 1, body)), None, "{body:?}");
    }
    logged(dir.path(), "a Metadata request of version 9 is malformed");
    // The client id of the header: a length of -2, and one beyond the frame.
    for length in [-2i16, i16::MAX] {
        let mut frame = [METADATA, 1].map(i16::to_be_bytes).concat();
        frame.extend(1i32.to_be_bytes());
        frame.extend(length.to_be_bytes());
        assert_eq!(sent(&broker, &framed(&frame)), None);
    }
    logged(dir.path(), "the request's header is malformed");
    witness.check(&broker, 20 * MIB);
}

#[test]
fn a_request_beyond_its_limit_is_refused_before_it_is_received() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    for (key, limit) in [(METADATA, 4 * MIB), (0, 100 * MIB)] {
        let mut stream = broker.connect();
        let mut head = i32::try_from(limit + 1).unwrap().to_be_bytes().to_vec();
        head.extend(key.to_be_bytes());
        stream.write_all(&head).unwrap();
        assert_eq!(receive(&mut stream), None, "key {key}");
    }
    logged(dir.path(), "more than the 4194304 that control.request.max.bytes allows");
    logged(dir.path(), "more than the 104857600 that socket.request.max.bytes allows");
    witness.check(&broker, 20 * MIB);
}

#[test]
fn elements_that_take_more_in_memory_than_in_the_request_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "auto.create.topics.enable=false"]);
    let mut witness = Witness::new(&broker);
    let count = |count: usize| u32::try_from(count).unwrap().to_be_bytes().to_vec();
    // Names of no bytes: two in the request, a hundred in memory, and as many in the answer.
    let names = 4 * MIB / 2 - 50;
    let topics = [count(names), vec![0; 2 * names]].concat();
    // Partitions of a topic, and protocols of a member.
    let partitions = 4 * MIB / 4 - 50;
    let offsets =
        [&string("g")[..], &count(1), &string("kept"), &count(partitions), &vec![0; 4 * partitions]].concat();
    let groups = [count(names), vec![0; 2 * names]].concat();
    for (key, version, body) in [(METADATA, 1, topics), (9, 1, offsets), (15, 0, groups)] {
        assert_eq!(sent(&broker, &request(key, version, 1, &body)), None, "key {key}");
    }
    logged(dir.path(), "at most 400000 fields are read");
    // Of so many as are allowed, memory is what they take, and it is given back.
    let names = 100_000;
    let topics = [count(names), vec![0; 2 * names]].concat();
    for _ in 0..8 {
        assert!(sent(&broker, &request(METADATA, 1, 1, &topics)).is_some(), "served");
    }
    witness.check(&broker, 100 * MIB);
}

#[test]
fn millions_of_tagged_fields_take_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "shard.buffer.pool.bytes=0"]);
    let mut witness = Witness::new(&broker);
    // 20 million: each a tag and a length, no bytes. The count in four bytes.
    let tagged = |fields: u32, distinct: bool| {
        let mut bytes = Vec::new();
        let varint = |mut value: u32, bytes: &mut Vec<u8>| {
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        };
        varint(fields, &mut bytes);
        for tag in 0..fields {
            varint(if distinct { tag } else { 0 }, &mut bytes);
            bytes.push(0);
        }
        bytes
    };
    let many = tagged(20_000_000, false);
    // In the header of a Produce request, and at its end: transactional id, acks, timeout, no topics.
    let end = [&b"\0\0\0\x01\0\0\0\x01\x01"[..], &many].concat();
    for body in [many, [&b"\0"[..], &end].concat()] {
        assert!(body.len() > 40_000_000);
        sent(&broker, &request(0, 9, 1, &body));
        witness.check(&broker, 60 * MIB);
    }
    // As many as a request of another kind can have, in the header and at its end.
    let many = tagged(700_000, true);
    for body in [many.clone(), [&b"\0\x01\0\0\0"[..], &many].concat()] {
        assert!(body.len() > 2 * MIB && body.len() < 4 * MIB);
        sent(&broker, &request(METADATA, 9, 1, &body));
        witness.check(&broker, 60 * MIB);
    }
    logged(dir.path(), "at most 400000 fields are read");
}

#[test]
fn what_other_protocols_begin_with_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    // A ClientHello of TLS, an AMQP header, an HTTP/2 preface, and SSH.
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09";
    for bytes in
        [&hello[..], b"AMQP\0\0\x09\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n"]
    {
        assert_eq!(sent(&broker, bytes), None, "{bytes:?}");
    }
    logged(dir.path(), "is this a client of the Kafka protocol?");
    // There is nothing to authenticate to: SaslHandshake and SaslAuthenticate are not served.
    for key in [17, 36] {
        assert_eq!(sent(&broker, &request(key, 0, 1, &string("SCRAM-SHA-256"))), None);
        logged(dir.path(), &format!("a request with API key {key}, which is not served"));
    }
    witness.check(&broker, 20 * MIB);
}

#[test]
fn offsets_and_epochs_that_a_client_claims_are_the_brokers_and_sequences_are_judged() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let mut stream = broker.connect();
    create(&mut stream, "t");
    let mut produce = |batch: &[u8]| {
        let answer = call(&mut stream, &request(0, 7, 9, &produce_body("t", 0, -1, batch))).unwrap();
        (
            i16::from_be_bytes(answer[19..21].try_into().unwrap()),
            i64::from_be_bytes(answer[21..29].try_into().unwrap()),
        )
    };
    let batch = |epoch: i16, sequence: i32| {
        let mut builder = BatchBuilder::new().producer(7, epoch, sequence);
        builder.push(1, None, Some(b"value"));
        builder.finish().unwrap()
    };
    // Neither is covered by the CRC: base offset and leader epoch.
    let mut lying = batch(1, 0);
    lying[..8].copy_from_slice(&(1i64 << 40).to_be_bytes());
    lying[12..16].copy_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(produce(&lying), (0, 0));
    assert_eq!(produce(&batch(1, 5)).0, OUT_OF_ORDER_SEQUENCE, "one to four are missing");
    assert_eq!(produce(&batch(0, 1)).0, INVALID_PRODUCER_EPOCH, "there was a later epoch");
    assert_eq!(produce(&batch(2, 3)).0, OUT_OF_ORDER_SEQUENCE, "a new epoch begins at 0");
    assert_eq!(produce(&batch(1, 0)), (0, 0), "it is there already");
    assert_eq!(produce(&batch(1, 1)), (0, 1), "none of these was stored");
    let stored = fetch(&mut stream, "t");
    let at = stored.len() - 2 * lying.len();
    assert_eq!(stored[at..at + 8], 0i64.to_be_bytes());
    let second = at + lying.len();
    assert_eq!(stored[at + 12..at + 16], stored[second + 12..second + 16], "the broker's own");
    assert_eq!(stored[second..second + 8], 1i64.to_be_bytes());
    witness.check(&broker, 20 * MIB);
}
