//! Retries that are forced: a proxy cuts connections after a Produce request was carried out and before its answer
//! comes, so the client cannot know and has to send it again.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use ringmain::{Config, Endpoint, Running};
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(50);
const RECORDS: usize = 1500;
const PARTITIONS: usize = 2;
/// Of so many answers to Produce one is dropped.
const CUT_EVERY: usize = 3;
const PRODUCE: [u8; 2] = [0, 0];

/// What all connections of a proxy share.
#[derive(Default)]
struct Cuts {
    answers: AtomicUsize,
    cuts: AtomicUsize,
}

/// The next frame with its length; an error at the end of the stream.
fn frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = length.to_vec();
    frame.resize(4 + u32::from_be_bytes(length) as usize, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}

/// Passes on what one client asks and what it is answered.
fn relay(client: &TcpStream, broker: &TcpStream, cuts: &Cuts) {
    let asked = Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
            while let Ok(request) = frame(&mut from) {
                if request[4..6] == PRODUCE {
                    asked.lock().unwrap().insert(request[8..12].to_vec());
                }
                if to.write_all(&request).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
        let (mut from, mut to) = (broker.try_clone().unwrap(), client.try_clone().unwrap());
        while let Ok(answer) = frame(&mut from) {
            // The answer is here, so the request was carried out.
            if asked.lock().unwrap().remove(&answer[4..8])
                && cuts.answers.fetch_add(1, Ordering::Relaxed) % CUT_EVERY == CUT_EVERY - 1
            {
                cuts.cuts.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if to.write_all(&answer).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = broker.shutdown(Shutdown::Both);
    });
}

/// A broker whose clients are told the address of a proxy.
fn start(dir: &std::path::Path) -> (Running, SocketAddr, Arc<Cuts>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let advertised = Some(Endpoint { host: "127.0.0.1".to_owned(), port: address.port() });
    let broker =
        Running::start(Config { advertised, num_partitions: PARTITIONS as i32, ..support::config(dir) })
            .unwrap();
    let (behind, cuts) = (broker.address(), Arc::new(Cuts::default()));
    let shared = Arc::clone(&cuts);
    // It ends with the process.
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, cuts) = (client.unwrap(), Arc::clone(&shared));
            if let Ok(broker) = TcpStream::connect(behind) {
                std::thread::spawn(move || relay(&client, &broker, &cuts));
            }
        }
    });
    (broker, address, cuts)
}

/// Sends all records through the proxy with these settings and reads back the numbers in each partition.
fn sent_and_stored(settings: &[(&str, &str)]) -> (Vec<Vec<usize>>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, address, cuts) = start(dir.path());
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string());
    config.set("reconnect.backoff.ms", "5").set("reconnect.backoff.max.ms", "20");
    let mut producing = config.clone();
    producing.set("retry.backoff.ms", "5").set("retry.backoff.max.ms", "20");
    // Many requests, several of them under way when a connection is cut.
    producing.set("linger.ms", "1").set("batch.num.messages", "10");
    for (name, value) in settings {
        producing.set(*name, *value);
    }
    let producer: ThreadedProducer<DefaultProducerContext> = producing.create().unwrap();
    for n in 0..RECORDS {
        let (key, value) = (n.to_string(), n.to_string());
        let record = BaseRecord::to("t").partition((n % PARTITIONS) as i32).key(&key).payload(&value);
        producer.send(record).unwrap();
    }
    producer.flush(PATIENCE).expect("every record is acknowledged");
    let cut = cuts.cuts.load(Ordering::Relaxed);
    assert!(cut >= 20, "only {cut} connections were cut");

    let consumer: BaseConsumer =
        config.set("group.id", "unused").set("enable.auto.commit", "false").create().unwrap();
    let mut stored = vec![Vec::new(); PARTITIONS];
    let mut ends = Vec::new();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS as i32 {
        ends.push(consumer.fetch_watermarks("t", partition, PATIENCE).unwrap().1 as usize);
        assignment.add_partition_offset("t", partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while stored.iter().map(Vec::len).ne(ends.iter().copied()) {
        assert!(Instant::now() < deadline, "not all of {ends:?} came");
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            let number = std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap();
            stored[message.partition() as usize].push(number);
        }
    }
    (stored, cut)
}

fn expected() -> Vec<Vec<usize>> {
    (0..PARTITIONS).map(|first| (first..RECORDS).step_by(PARTITIONS).collect()).collect()
}

#[test]
fn an_idempotent_producers_records_are_there_once_and_in_order_whatever_answers_are_lost() {
    let (stored, cut) = sent_and_stored(&[("enable.idempotence", "true")]);
    assert_eq!(stored, expected(), "after {cut} cuts");
}

#[test]
fn without_idempotence_the_same_cuts_store_records_twice_and_lose_none() {
    // So the test above does force retries of what was stored.
    let settings = [("enable.idempotence", "false"), ("acks", "1"), ("max.in.flight", "1")];
    let (stored, cut) = sent_and_stored(&settings);
    let twice = stored.iter().map(Vec::len).sum::<usize>() - RECORDS;
    assert!(twice >= cut, "{twice} records are there twice after {cut} cuts");
    for (found, expected) in stored.into_iter().zip(expected()) {
        let mut seen = HashSet::new();
        let first: Vec<_> = found.into_iter().filter(|number| seen.insert(*number)).collect();
        assert_eq!(first, expected, "each for the first time in the order of sending");
    }
}
