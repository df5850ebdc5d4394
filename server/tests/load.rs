//! Thousands of connections, many of which do nothing or never read what they asked for: memory and descriptors are
//! bounded and given back, and the others are served.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringmain_engine::BatchBuilder;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::*;

const PATIENCE: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 5000;
const IDLE: usize = 2000;
const NEVER_READING: usize = 100;
/// What a connection may take. Less than the buffer that a request is received into: who waits has none.
const CONNECTION_BYTES_MAX: u64 = 12 << 10;
/// What as many connections may take once more after those before them have left.
const AGAIN_BYTES_MAX: u64 = 8 << 20;
/// What may stay of it when all have left; that of the C library keeps 40 MiB.
const KEPT_BYTES_MAX: u64 = 12 << 20;
/// What may be taken beside that.
const OTHER_BYTES_MAX: u64 = 16 << 20;
/// Descriptors that this test needs for itself: connections and a few files.
const DESCRIPTORS: u64 = CONNECTIONS as u64 + 200;

/// Lets this process have as many descriptors as it may; the broker does so by itself.
fn raise_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= DESCRIPTORS, "this needs {DESCRIPTORS} descriptors, and {hard} are allowed (ulimit -Hn)");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// But for files of the journal, of which one is made whenever the machine comes to it.
fn descriptors(broker: &Process) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap();
    let links = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    links.filter(|link| !link.parent().is_some_and(|dir| dir.ends_with("journal"))).count()
}

fn batch(value_bytes: usize) -> Vec<u8> {
    let mut batch = BatchBuilder::new();
    batch.push(1, None, Some(&vec![b'x'; value_bytes]));
    batch.finish().unwrap()
}

fn produce(value_bytes: usize) -> Vec<u8> {
    request(0, 7, 9, &produce_body("t", 0, 1, &batch(value_bytes)))
}

/// Fetch version 4 from the beginning, of up to so many bytes.
fn fetch(bytes_max: i32) -> Vec<u8> {
    let mut body = [-1i32, 0, 1, bytes_max].map(i32::to_be_bytes).concat();
    body.push(0);
    body.extend(1i32.to_be_bytes());
    body.extend(string("t"));
    body.extend([1i32, 0].map(i32::to_be_bytes).concat());
    body.extend(0i64.to_be_bytes());
    body.extend(bytes_max.to_be_bytes());
    request(1, 4, 7, &body)
}

fn api_versions() -> Vec<u8> {
    request(18, 0, 1, b"")
}

/// Sends fetches until the sockets' buffers are full on both sides, and reads nothing.
fn ask_and_never_read(stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let questions = fetch(1 << 20).repeat(2000);
    let (mut at, mut full) = (0, 0);
    while full < 3 {
        match (&*stream).write(&questions[at..]) {
            Ok(count) => (at, full) = ((at + count) % questions.len(), 0),
            Err(err) => {
                assert_eq!(err.kind(), ErrorKind::WouldBlock);
                full += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Waits until this holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A topic with 4 MiB in it.
fn fill(broker: &Process) {
    let mut stream = broker.connect();
    create(&mut stream, "t");
    for _ in 0..64 {
        assert!(call(&mut stream, &produce(64 << 10)).is_some());
    }
}

/// All connections at once while another client is served. Returns the most memory that was resident, ever.
fn wave(broker: &Process) -> u64 {
    let descriptors_before = descriptors(broker);
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // Somebody else, who is answered all the while: its reads have a deadline.
        scope.spawn(|| {
            let mut stream = broker.connect();
            while !stop.load(Ordering::Relaxed) {
                let answer = call(&mut stream, &produce(1000)).unwrap();
                assert_eq!(answer[19..21], [0, 0], "stored");
                assert!(call(&mut stream, &fetch(100_000)).unwrap().len() > 60_000, "read");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| broker.connect()).collect();
        // Half of the idle ones have said something before.
        for stream in &mut connections[..IDLE / 2] {
            assert!(call(stream, &api_versions()).is_some());
        }
        connections[IDLE..][..NEVER_READING].iter().for_each(ask_and_never_read);
        let before = served.load(Ordering::Relaxed);
        for _ in 0..3 {
            // Each has a request under way before the first answer is read.
            let busy = &mut connections[IDLE + NEVER_READING..];
            busy.iter_mut().for_each(|stream| stream.write_all(&produce(100)).unwrap());
            for stream in busy {
                assert_eq!(receive(stream).unwrap()[19..21], [0, 0], "stored");
            }
        }
        until("another client is served", || served.load(Ordering::Relaxed) > before + 10);
        assert!(descriptors(broker) >= descriptors_before + CONNECTIONS, "all are still connected");
        for stream in &mut connections[..IDLE] {
            stream.set_nonblocking(true).unwrap();
            assert_eq!(
                stream.peek(&mut [0]).unwrap_err().kind(),
                ErrorKind::WouldBlock,
                "nothing, not closed"
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
    until("descriptors are given back", || descriptors(broker) <= descriptors_before);
    broker.resident_max_bytes()
}

#[test]
fn thousands_of_connections_take_bounded_memory_and_give_it_back() {
    raise_descriptors();
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    fill(&broker);
    let before = broker.resident_bytes();
    let first = wave(&broker);
    let limit = before + CONNECTIONS as u64 * CONNECTION_BYTES_MAX + OTHER_BYTES_MAX;
    assert!(first < limit, "{} MiB were resident, {} before", first >> 20, before >> 20);
    until("memory is given back", || broker.resident_bytes() < before + KEPT_BYTES_MAX);
    // What stayed is bounded above: the second wave takes no more beside it than the first did.
    let between = broker.resident_bytes().max(before);
    let again = wave(&broker);
    until("memory is given back once more", || broker.resident_bytes() < before + KEPT_BYTES_MAX);
    let (grown, grown_first) = (again - between, first - before);
    assert!(grown < grown_first + AGAIN_BYTES_MAX, "{} MiB, first {}", grown >> 20, grown_first >> 20);
}

#[test]
fn connections_that_do_nothing_for_long_are_closed_and_those_that_do_something_stay() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "connections.max.idle.ms=1000"]);
    fill(&broker);
    let mut busy = broker.connect();
    assert!(call(&mut busy, &api_versions()).is_some());
    let before = descriptors(&broker);
    let idle: Vec<_> = (0..300).map(|_| broker.connect()).collect();
    let greedy: Vec<_> = (0..20).map(|_| broker.connect()).collect();
    greedy.iter().for_each(ask_and_never_read);
    until("all of them are closed", || {
        assert!(call(&mut busy, &api_versions()).is_some(), "who goes on asking stays");
        descriptors(&broker) <= before
    });
    for mut stream in idle {
        assert_eq!(receive(&mut stream), None, "closed");
    }
}
