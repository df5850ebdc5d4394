//! What a client may send by mistake or ill will: the protocol's error or a closed connection, memory
//! flat, nothing stored touched, and others served meanwhile.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::BatchBuilder;
use std::io::Write;
use std::time::{Duration, Instant};
use support::*;

const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TOPIC: i16 = 17;
const INVALID_REQUIRED_ACKS: i16 = 21;
const UNSUPPORTED_VERSION: i16 = 35;
const UNSUPPORTED_FORMAT: i16 = 43;
const INVALID_RECORD: i16 = 87;

/// A connection that was there before keeps being served, and the topic holds what it held.
struct Witness {
    stream: std::net::TcpStream,
    records: i64,
}

impl Witness {
    fn new(broker: &Process) -> Self {
        let mut stream = broker.connect();
        create(&mut stream, "good");
        let mut witness = Self { stream, records: 0 };
        witness.check();
        witness
    }

    /// Appends one record and finds it right after the last one.
    fn check(&mut self) {
        let answer = produce(&mut self.stream, "good", -1, &batch()).unwrap();
        assert_eq!(answer, (0, self.records), "the broker serves others, and no bad record was stored");
        self.records += 1;
    }
}

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(1, None, Some(b"value"));
    builder.finish().unwrap()
}

/// Error code and base offset that a Produce request of version 7 is answered with.
fn produce(stream: &mut std::net::TcpStream, topic: &str, acks: i16, records: &[u8]) -> Option<(i16, i64)> {
    let answer = call(stream, &request(0, 7, 9, &produce_body(topic, 0, acks, records)))?;
    // correlation, topics, name, partitions, index
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    let code = i16::from_be_bytes(answer[at..at + 2].try_into().unwrap());
    Some((code, i64::from_be_bytes(answer[at + 2..at + 10].try_into().unwrap())))
}

/// Sends bytes on a new connection and expects it to be closed.
fn closes(broker: &Process, bytes: &[u8]) {
    let mut stream = broker.connect();
    // It may be closed before all is sent.
    let _ = stream.write_all(bytes);
    assert_eq!(receive(&mut stream), None, "closed");
}

#[test]
fn lengths_that_no_request_has_close_the_connection_and_take_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let before = broker.resident_bytes();
    for _ in 0..50 {
        for length in [-1, 0, i32::MAX, i32::MIN, 1] {
            let mut bytes = i32::to_be_bytes(length).to_vec();
            bytes.extend([0; 16]);
            closes(&broker, &bytes);
        }
        closes(&broker, b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n");
        closes(&broker, b"hello\n\0\0\0\0\0\0\0\0\0\0");
    }
    witness.check();
    assert!(broker.resident_bytes() < before + (20 << 20), "memory stays flat");
}

#[test]
fn a_length_is_believed_only_as_far_as_bytes_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let before = broker.resident_bytes();
    let mut held = Vec::new();
    for _ in 0..20 {
        // A produce request of 100 MiB less one, of which nothing comes but its beginning.
        let mut stream = broker.connect();
        stream.write_all(&[&(100 << 20) - 1i32].map(|n| n.to_be_bytes()).concat()).unwrap();
        stream.write_all(&[0; 40]).unwrap();
        held.push(stream);
    }
    witness.check();
    assert!(
        broker.resident_bytes() < before + (20 << 20),
        "2 GiB were promised, nothing came, nothing was taken"
    );
    drop(held);
    witness.check();
}

#[test]
fn unknown_keys_and_versions_close_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    closes(&broker, &request(999, 0, 1, b""));
    closes(&broker, &request(-1, 0, 1, b""));
    closes(&broker, &request(3, 99, 1, &[0; 20]));
    closes(&broker, &request(3, -1, 1, &[0; 20]));
    closes(&broker, &request(1, 3, 1, &[0; 60]));
    witness.check();
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_with_those_that_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut stream = broker.connect();
    let answer = call(&mut stream, &request(18, 77, 5, b"\0")).unwrap();
    assert_eq!(answer[..4], 5i32.to_be_bytes());
    assert_eq!(answer[4..6], UNSUPPORTED_VERSION.to_be_bytes());
    let count = i32::from_be_bytes(answer[6..10].try_into().unwrap());
    assert_eq!(answer.len(), 10 + usize::try_from(count).unwrap() * 6, "in the encoding of version 0");
    // And the connection goes on.
    assert!(call(&mut stream, &request(18, 0, 6, b"")).is_some());
}

#[test]
fn cut_frames_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let whole = request(0, 7, 1, &produce_body("good", 0, 1, &batch()));
    for cut in 1..whole.len() {
        let mut stream = broker.connect();
        stream.write_all(&whole[..cut]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(receive(&mut stream), None);
    }
    // The frame is whole, and what is in it is not.
    for cut in 8..whole.len() - 4 {
        closes(&broker, &framed(&whole[4..4 + cut]));
    }
    witness.check();
}

#[test]
fn array_counts_beyond_the_frame_take_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let before = broker.resident_bytes();
    for count in [i32::MAX, 1 << 24, -2] {
        // Metadata: names of topics.
        closes(&broker, &request(3, 1, 1, &count.to_be_bytes()));
        // Produce: partitions nested in a topic.
        let mut body = produce_body("good", 0, 1, &batch());
        let at = 2 + 2 + 4 + 4 + 2 + 4;
        body[at..at + 4].copy_from_slice(&count.to_be_bytes());
        closes(&broker, &request(0, 7, 1, &body));
        // Fetch, version 4: topics, then partitions nested in one.
        let mut fetch = [-1i32, 100, 1, 1 << 20].map(i32::to_be_bytes).concat();
        fetch.push(0);
        closes(&broker, &request(1, 4, 1, &[&fetch[..], &count.to_be_bytes()].concat()));
        fetch.extend(1i32.to_be_bytes());
        fetch.extend(string("good"));
        closes(&broker, &request(1, 4, 1, &[&fetch[..], &count.to_be_bytes()].concat()));
    }
    // Flexible: a compact array of 2^32-2 elements, and as many tagged fields.
    for body in [&b"\0\xff\xff\xff\xff\x0f"[..], b"\0\x01\0\0\xff\xff\xff\xff\x0f"] {
        closes(&broker, &request(3, 12, 1, body));
    }
    witness.check();
    assert!(broker.resident_bytes() < before + (20 << 20), "memory stays flat");
}

#[test]
fn batches_that_lie_are_refused_with_the_protocols_errors() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let mut stream = broker.connect();
    let before = broker.resident_bytes();
    let mut refused = |records: &[u8]| produce(&mut stream, "good", 1, records).unwrap().0;
    let with = |at: usize, bytes: &[u8]| {
        let mut batch = batch();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        batch
    };
    let sealed = |mut batch: Vec<u8>| {
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    };
    assert_eq!(refused(&with(17, &[0; 4])), CORRUPT_MESSAGE, "wrong CRC");
    assert_eq!(refused(&with(65, b"X")), CORRUPT_MESSAGE, "changed record");
    assert_eq!(refused(&with(8, &i32::MAX.to_be_bytes())), MESSAGE_TOO_LARGE, "length beyond all limits");
    assert_eq!(refused(&with(8, &1000i32.to_be_bytes())), CORRUPT_MESSAGE, "length beyond the request");
    assert_eq!(refused(&with(8, &(-1i32).to_be_bytes())), CORRUPT_MESSAGE, "negative length");
    assert_eq!(refused(&with(16, &[1])), UNSUPPORTED_FORMAT, "message format 1");
    assert_eq!(refused(&with(16, &[0])), UNSUPPORTED_FORMAT, "message format 0");
    assert_eq!(refused(&sealed(with(57, &5i32.to_be_bytes()))), INVALID_RECORD, "record count");
    assert_eq!(refused(&sealed(with(23, &5i32.to_be_bytes()))), INVALID_RECORD, "last offset delta");
    assert_eq!(refused(&sealed(with(21, &0x20i16.to_be_bytes()))), INVALID_RECORD, "control batch");
    assert_eq!(refused(&sealed(with(21, &0x10i16.to_be_bytes()))), INVALID_RECORD, "transactional batch");
    assert_eq!(refused(&sealed(with(43, &7i64.to_be_bytes()))), INVALID_RECORD, "producer without an epoch");
    assert_eq!(refused(&[batch(), batch()].concat()), INVALID_RECORD, "two batches");
    assert_eq!(refused(b""), INVALID_RECORD, "no batch");
    assert_eq!(
        refused(b"plain text, long enough to be taken for a batch by nobody at all, or is it?"),
        UNSUPPORTED_FORMAT
    );
    let mut large = BatchBuilder::new();
    large.push(1, None, Some(&vec![b'x'; 2 << 20]));
    assert_eq!(refused(&large.finish().unwrap()), MESSAGE_TOO_LARGE);
    assert!(broker.resident_bytes() < before + (20 << 20), "memory stays flat");
    witness.check();
}

#[test]
fn older_requests_with_older_formats_get_an_error_they_understand() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let mut stream = broker.connect();
    // A message of format 1: offset, size, crc, magic, attributes, timestamp, key, value.
    let mut message = [0u8; 8].to_vec();
    message.extend(27i32.to_be_bytes());
    message.extend([1, 2, 3, 4, 1, 0]);
    message.extend(1i64.to_be_bytes());
    message.extend((-1i32).to_be_bytes());
    message.extend(5i32.to_be_bytes());
    message.extend(b"value");
    for version in 0..=2 {
        let body = &produce_body("good", 0, 1, &message)[2..]; // no transactional id yet
        let answer = call(&mut stream, &request(0, version, 3, body)).unwrap();
        let at = 4 + 4 + 2 + 4 + 4 + 4;
        assert_eq!(i16::from_be_bytes(answer[at..at + 2].try_into().unwrap()), UNSUPPORTED_FORMAT);
    }
    witness.check();
}

#[test]
fn names_that_no_topic_can_have_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let mut stream = broker.connect();
    let long = "x".repeat(250);
    for name in ["..", ".", "a/b", "", "a b", "a\0b", "ü", &long, "__ringmain_metadata"] {
        let mut body = 1i32.to_be_bytes().to_vec();
        body.extend(string(name));
        let answer = call(&mut stream, &request(3, 1, 1, &body)).unwrap();
        let at = answer.len() - (2 + 2 + name.len() + 1 + 4);
        assert_eq!(i16::from_be_bytes(answer[at..at + 2].try_into().unwrap()), INVALID_TOPIC, "{name:?}");
        assert_eq!(produce(&mut stream, name, 1, &batch()).unwrap().0, UNKNOWN_TOPIC, "{name:?}");
        // CreateTopics, version 2.
        let mut body = 1i32.to_be_bytes().to_vec();
        body.extend(string(name));
        body.extend(1i32.to_be_bytes());
        body.extend(1i16.to_be_bytes());
        body.extend([0; 8]);
        body.extend(1000i32.to_be_bytes());
        body.push(0);
        let answer = call(&mut stream, &request(19, 2, 1, &body)).unwrap();
        let at = 4 + 4 + 4 + 2 + name.len();
        assert_eq!(i16::from_be_bytes(answer[at..at + 2].try_into().unwrap()), INVALID_TOPIC, "{name:?}");
    }
    let allowed = [
        "good-0",
        "lock",
        "ringmain-store",
        "ringmain-store.tmp",
        "__ringmain_metadata-0",
        "checkpoint",
        "checkpoint.tmp",
        "journal",
    ];
    let entries = std::fs::read_dir(dir.path().join("data")).unwrap();
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(allowed.contains(&name.as_str()), "{name} was made");
    }
    witness.check();
}

#[test]
fn acks_that_do_not_exist_are_refused_and_failed_acks_0_closes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let mut stream = broker.connect();
    assert_eq!(produce(&mut stream, "good", 2, &batch()).unwrap().0, INVALID_REQUIRED_ACKS);
    let mut bad = batch();
    bad[20] ^= 1;
    closes(&broker, &request(0, 7, 1, &produce_body("good", 0, 0, &bad)));
    witness.check();
}

#[test]
fn answers_come_in_the_order_of_requests() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut stream = broker.connect();
    create(&mut stream, "good");
    let mut requests = Vec::new();
    for n in 0..300 {
        requests.extend(match n % 3 {
            0 => request(0, 7, n, &produce_body("good", 0, -1, &batch())),
            1 => request(18, 0, n, b""),
            _ => request(0, 7, n, &produce_body("good", 0, 1, &batch())),
        });
    }
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&requests).unwrap());
    for n in 0..300i32 {
        assert_eq!(receive(&mut stream).unwrap()[..4], n.to_be_bytes());
    }
    sender.join().unwrap();
}

#[test]
fn a_reader_that_never_reads_is_not_read_from_and_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut witness = Witness::new(&broker);
    let mut stream = broker.connect();
    stream.set_nonblocking(true).unwrap();
    let before = broker.resident_bytes();
    let requests = request(18, 0, 1, b"").repeat(1000);
    let mut sent = 0u64;
    // Until the sockets' buffers are full in both directions.
    let mut full = 0;
    while full < 20 && sent < 1 << 30 {
        match stream.write(&requests) {
            Ok(count) => (sent, full) = (sent + count as u64, 0),
            Err(_) => {
                full += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    assert!(sent < 1 << 30, "the broker stopped reading");
    witness.check();
    assert!(broker.resident_bytes() < before + (30 << 20), "memory stays bounded");
}

#[test]
fn why_a_connection_was_closed_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut body = produce_body("good", 0, 0, &batch());
    body[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let cases = [
        (vec![0xff; 20], "claims -1 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "is this a client of the Kafka protocol?"),
        (request(999, 0, 1, b""), "API key 999, which is not served"),
        (request(3, 99, 1, b"\0"), "a Metadata request of version 99; 0 to 13 are served"),
        (request(3, 1, 1, &i32::MAX.to_be_bytes()), "a Metadata request of version 1 is malformed"),
        (request(0, 7, 1, &body), "an array of 2147483647 elements"),
        (request(0, 7, 1, &produce_body("no-such-topic", 0, 0, &batch())), "acks=0 was refused"),
    ];
    for (bytes, reason) in cases {
        closes(&broker, &bytes);
        // The connection is closed first and the reason logged next.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
            if log.contains("connection closed") && log.contains(reason) {
                break;
            }
            assert!(Instant::now() < deadline, "{reason} is not in: {log}");
        }
    }
}
