//! What a fetch gives, what it waits for, and how it fails.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use bytes::Bytes;
use proto_kafka::messages::create_topics_request::CreatableTopic;
use proto_kafka::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use proto_kafka::messages::fetch_response::PartitionData;
use proto_kafka::messages::metadata_request::MetadataRequestTopic;
use proto_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use proto_kafka::messages::*;
use ringmain_engine::BatchBuilder;
use std::io::Write;
use support::protocol::{Client, text};
use support::{Process, produce_body, receive, request};

const FETCH_VERSION: i16 = 12;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC: i16 = 3;
const SESSION_NOT_FOUND: i16 = 70;
const INVALID_SESSION_EPOCH: i16 = 71;
const FENCED_EPOCH: i16 = 74;
const UNKNOWN_EPOCH: i16 = 75;

fn create(client: &mut Client, name: &str) {
    let asked = MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
    let request =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true);
    assert_eq!(client.ask(9, &request).topics[0].error_code, 0);
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new();
    for _ in 0..10 {
        builder.push(1000, None, Some(b"value"));
    }
    builder.finish().unwrap().into()
}

fn produce(client: &mut Client, name: &str) {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch()));
    let topic = TopicProduceData::default().with_name(TopicName(text(name))).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    assert_eq!(client.ask(9, &request).responses[0].partition_responses[0].error_code, 0);
}

fn partition(offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1)
}

fn topic(name: &str, partition: FetchPartition) -> FetchTopic {
    FetchTopic::default().with_topic(TopicName(text(name))).with_partitions(vec![partition])
}

/// Waits for a byte at least, for half a minute: longer than the tests wait for an answer.
fn fetch(topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest::default()
        .with_max_wait_ms(30_000)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(topics)
}

fn only(response: FetchResponse) -> PartitionData {
    response.responses[0].partitions[0].clone()
}

fn bytes(data: &PartitionData) -> usize {
    data.records.as_ref().map_or(0, Bytes::len)
}

#[test]
fn a_fetch_at_the_end_is_answered_by_the_next_append() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let (mut reader, mut writer) = (Client::new(&broker), Client::new(&broker));
    create(&mut writer, "t");
    create(&mut writer, "other");
    let waiting = std::thread::spawn(move || {
        only(reader.ask(FETCH_VERSION, &fetch(vec![topic("t", partition(0)), topic("other", partition(0))])))
    });
    std::thread::sleep(std::time::Duration::from_millis(100)); // most likely it waits by now; either is right
    produce(&mut writer, "t");
    let data = waiting.join().unwrap();
    assert_eq!((data.error_code, data.high_watermark, bytes(&data)), (0, 10, batch().len()));
}

#[test]
fn an_answer_that_is_done_does_not_wait_with_the_one_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    create(&mut Client::new(&broker), "t");
    create(&mut Client::new(&broker), "other");
    let mut stream = broker.connect();
    let produce = request(0, 3, 5, &produce_body("other", 0, 1, &batch()));
    let waits = Client::frame(FETCH_VERSION, &fetch(vec![topic("t", partition(0))]));
    // In one packet, so that both are begun before anything is answered.
    stream.write_all(&[produce.as_slice(), &produce, &waits].concat()).unwrap();
    for _ in 0..2 {
        assert_eq!(receive(&mut stream).unwrap()[..4], 5_i32.to_be_bytes());
    }
}

#[test]
fn a_fetch_waits_for_min_bytes_and_gives_up_with_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    let wait = |client: &mut Client, min| {
        let request = fetch(vec![topic("t", partition(0))]).with_min_bytes(min).with_max_wait_ms(200);
        only(client.ask(FETCH_VERSION, &request))
    };
    assert_eq!(bytes(&wait(&mut client, 1)), 0);
    produce(&mut client, "t");
    assert_eq!(bytes(&wait(&mut client, 1 << 20)), batch().len());
    // And is answered once there is enough, however many appends it takes.
    let mut reader = Client::new(&broker);
    let enough = i32::try_from(batch().len() * 4).unwrap();
    let waiting = std::thread::spawn(move || {
        only(reader.ask(FETCH_VERSION, &fetch(vec![topic("t", partition(0))]).with_min_bytes(enough)))
    });
    for _ in 0..3 {
        produce(&mut client, "t");
    }
    assert_eq!(bytes(&waiting.join().unwrap()), batch().len() * 4);
}

#[test]
fn limits_cut_at_whole_batches_and_never_starve_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    for name in ["a", "b"] {
        create(&mut client, name);
        for _ in 0..5 {
            produce(&mut client, name);
        }
    }
    let one = batch().len();
    let max = |bytes: usize| i32::try_from(bytes).unwrap();
    let mut sizes = |total: usize, each: usize| -> Vec<usize> {
        let limited = |name: &str| topic(name, partition(0).with_partition_max_bytes(max(each)));
        let request = fetch(vec![limited("a"), limited("b")]).with_max_bytes(max(total));
        let response = client.ask(FETCH_VERSION, &request);
        response.responses.iter().map(|topic| bytes(&topic.partitions[0])).collect()
    };
    assert_eq!(sizes(1 << 20, 1 << 20), [one * 5, one * 5]);
    assert_eq!(sizes(1 << 20, one * 2 + 1), [one * 2, one * 2]);
    assert_eq!(sizes(one * 6 + 1, 1 << 20), [one * 5, one]);
    assert_eq!(sizes(1, 1 << 20), [one, 0], "one batch, though it is larger");
    assert_eq!(sizes(1 << 20, 1), [one, 0]);
    // In mid-batch the whole batch comes.
    let data = only(client.ask(FETCH_VERSION, &fetch(vec![topic("a", partition(23))])));
    assert_eq!(bytes(&data), one * 3);
}

#[test]
fn one_answer_has_little_and_much_of_many_partitions_in_their_order() {
    const PARTITIONS: i32 = 600;
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let made = CreatableTopic::default()
        .with_name(TopicName(text("many")))
        .with_num_partitions(PARTITIONS)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![made]).with_timeout_ms(10_000);
    assert_eq!(client.ask(7, &request).topics[0].error_code, 0);
    let value = |index: i32| vec![index as u8; if index % 7 == 3 { 6000 } else { index as usize % 50 + 1 }];
    let records = |index: i32| {
        let mut builder = BatchBuilder::new();
        builder.push(1000, None, Some(&value(index)));
        Bytes::from(builder.finish().unwrap())
    };
    let data = |index| PartitionProduceData::default().with_index(index).with_records(Some(records(index)));
    // The last has nothing.
    let all = (0..PARTITIONS - 1).map(data).collect();
    let topic = TopicProduceData::default().with_name(TopicName(text("many"))).with_partition_data(all);
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    client.ask(9, &request);
    let asked = (0..PARTITIONS).map(|index| partition(0).with_partition(index)).collect();
    let topic = FetchTopic::default().with_topic(TopicName(text("many"))).with_partitions(asked);
    let answer = client.ask(FETCH_VERSION, &fetch(vec![topic]));
    let told = &answer.responses[0].partitions;
    assert_eq!(told.len(), 600);
    for (index, data) in (0..).zip(told) {
        assert_eq!((data.partition_index, data.error_code), (index, 0));
        let bytes = data.records.clone().unwrap_or_default();
        if index == PARTITIONS - 1 {
            assert!(bytes.is_empty());
            continue;
        }
        let mut found = ringmain_engine::records(&bytes).unwrap();
        assert_eq!(found.next().unwrap().unwrap().value, Some(&value(index)[..]));
        assert!(found.next().is_none());
    }
}

#[test]
fn what_cannot_be_read_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    produce(&mut client, "t");
    let mut code = |name: &str, partition| {
        only(client.ask(FETCH_VERSION, &fetch(vec![topic(name, partition)]))).error_code
    };
    assert_eq!(code("t", partition(11)), OFFSET_OUT_OF_RANGE);
    assert_eq!(code("t", partition(-1)), OFFSET_OUT_OF_RANGE);
    assert_eq!(code("t", partition(0).with_partition(1)), UNKNOWN_TOPIC);
    assert_eq!(code("t", partition(0).with_partition(-1)), UNKNOWN_TOPIC);
    assert_eq!(code("no-such-topic", partition(0)), UNKNOWN_TOPIC);
    assert_eq!(code("t", partition(0).with_current_leader_epoch(9)), UNKNOWN_EPOCH);
    let session = client.ask(FETCH_VERSION, &fetch(vec![]).with_session_id(5).with_session_epoch(3));
    assert_eq!(session.error_code, SESSION_NOT_FOUND);
}

#[test]
fn an_epoch_from_before_a_crash_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    produce(&mut client, "t");
    drop(broker);
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let mut code = |epoch| {
        only(
            client
                .ask(FETCH_VERSION, &fetch(vec![topic("t", partition(0).with_current_leader_epoch(epoch))])),
        )
        .error_code
    };
    assert_eq!((code(0), code(1), code(2)), (FENCED_EPOCH, 0, UNKNOWN_EPOCH));
}

#[test]
fn a_fetch_that_waits_learns_that_its_topic_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let (mut reader, mut other) = (Client::new(&broker), Client::new(&broker));
    create(&mut other, "t");
    let waiting =
        std::thread::spawn(move || only(reader.ask(FETCH_VERSION, &fetch(vec![topic("t", partition(0))]))));
    std::thread::sleep(std::time::Duration::from_millis(100)); // most likely it waits by now; either is right
    let request = DeleteTopicsRequest::default().with_topic_names(vec![TopicName(text("t"))]);
    assert_eq!(other.ask(5, &request).responses[0].error_code, 0);
    assert_eq!(waiting.join().unwrap().error_code, UNKNOWN_TOPIC);
}

#[test]
fn what_was_acknowledged_with_acks_all_can_be_read_at_once() {
    // A record is visible once it is durable: one that is not there yet was acknowledged too early.
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let (mut writer, mut reader) = (Client::new(&broker), Client::new(&broker));
    create(&mut writer, "t");
    for n in 0..200 {
        produce(&mut writer, "t");
        let now = fetch(vec![topic("t", partition(n * 10))]).with_max_wait_ms(0);
        assert_eq!(bytes(&only(reader.ask(FETCH_VERSION, &now))), batch().len(), "batch {n}");
    }
}

/// A fetch of version 12 with a session.
fn in_session(id: i32, epoch: i32, topics: Vec<FetchTopic>, forgotten: &[&str]) -> FetchRequest {
    let forget =
        |name: &&str| ForgottenTopic::default().with_topic(TopicName(text(name))).with_partitions(vec![0]);
    fetch(topics)
        .with_max_wait_ms(0)
        .with_session_id(id)
        .with_session_epoch(epoch)
        .with_forgotten_topics_data(forgotten.iter().map(forget).collect())
}

/// Name, error code and bytes of what was answered.
fn told(response: &FetchResponse) -> Vec<(String, i16, usize)> {
    let of = |topic: &proto_kafka::messages::fetch_response::FetchableTopicResponse| {
        let name = topic.topic.to_string();
        topic.partitions.iter().map(|one| (name.clone(), one.error_code, bytes(one))).collect::<Vec<_>>()
    };
    response.responses.iter().flat_map(of).collect()
}

#[test]
fn a_session_tells_what_changed_and_never_what_was_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let (mut client, mut other) = (Client::new(&broker), Client::new(&broker));
    for name in ["a", "b", "c"] {
        create(&mut client, name);
    }
    let one = batch().len();
    let first = client
        .ask(FETCH_VERSION, &in_session(0, 0, vec![topic("a", partition(0)), topic("b", partition(0))], &[]));
    let id = first.session_id;
    assert!(id != 0);
    assert_eq!(told(&first).len(), 2, "all at first");
    produce(&mut client, "b");
    let mut next = |epoch, topics, forgotten: &[&str]| {
        let response = client.ask(FETCH_VERSION, &in_session(id, epoch, topics, forgotten));
        assert_eq!((response.error_code, response.session_id), (0, id));
        told(&response)
    };
    assert_eq!(next(1, vec![], &[]), [("b".into(), 0, one)]);
    assert_eq!(next(2, vec![topic("b", partition(10))], &[]), [], "read to the end, and the mark was told");
    produce(&mut other, "a");
    produce(&mut other, "b");
    assert_eq!(next(3, vec![], &["b"]), [("a".into(), 0, one)], "b was forgotten");
    assert_eq!(next(4, vec![topic("a", partition(10)), topic("c", partition(0))], &[]), [("c".into(), 0, 0)]);
    let request = DeleteTopicsRequest::default().with_topic_names(vec![TopicName(text("c"))]);
    assert_eq!(other.ask(5, &request).responses[0].error_code, 0);
    assert_eq!(next(5, vec![], &[]), [("c".into(), UNKNOWN_TOPIC, 0)]);
    assert_eq!(next(6, vec![], &[]), [("c".into(), UNKNOWN_TOPIC, 0)], "an error is told each time");
    // Another connection may go on with it, as after a reconnect; an epoch that is not next may not.
    let wrong = other.ask(FETCH_VERSION, &in_session(id, 9, vec![], &[]));
    assert_eq!((wrong.error_code, wrong.responses.len()), (INVALID_SESSION_EPOCH, 0));
    assert_eq!(other.ask(FETCH_VERSION, &in_session(id, 7, vec![], &["c"])).error_code, 0);
    // And ends with it.
    let last = other.ask(FETCH_VERSION, &in_session(id, -1, vec![topic("a", partition(0))], &[]));
    assert_eq!((last.session_id, told(&last)), (0, vec![("a".into(), 0, one)]));
    assert_eq!(other.ask(FETCH_VERSION, &in_session(id, 8, vec![], &[])).error_code, SESSION_NOT_FOUND);
}

#[test]
fn a_session_with_room_for_little_brings_all_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    for name in ["a", "b", "c", "d"] {
        create(&mut client, name);
        produce(&mut client, name);
        produce(&mut client, name);
    }
    let one = batch().len();
    let of = |name, offset| topic(name, partition(offset));
    let mut next = |id, epoch, topics| {
        // Half a batch more than one.
        let request =
            in_session(id, epoch, topics, &[]).with_max_bytes(i32::try_from(one + one / 2).unwrap());
        let response = client.ask(FETCH_VERSION, &request.with_min_bytes(i32::MAX).with_max_wait_ms(30_000));
        (response.session_id, told(&response))
    };
    let brings = |name: &str| vec![(name.to_owned(), 0, one)];
    let all = ["a", "b", "c", "d"].map(|name| of(name, 0)).to_vec();
    let (id, first) = next(0, 0, all);
    let with_marks = ["b", "c", "d"].map(|name| (name.to_owned(), 0, 0));
    assert_eq!(first, [brings("a"), with_marks.to_vec()].concat(), "all are told at first");
    assert_eq!(next(id, 1, vec![of("a", 10)]).1, brings("b"));
    assert_eq!(next(id, 2, vec![of("b", 10)]).1, brings("c"));
    assert_eq!(next(id, 3, vec![of("c", 10)]).1, brings("d"));
    assert_eq!(next(id, 4, vec![of("d", 10)]).1, brings("a"));
    assert_eq!(next(id, 5, vec![of("a", 20)]).1, brings("b"), "and not a for ever");
}

#[test]
fn a_session_waits_for_what_it_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let (mut reader, mut writer) = (Client::new(&broker), Client::new(&broker));
    create(&mut writer, "a");
    create(&mut writer, "b");
    let topics = vec![topic("a", partition(0)), topic("b", partition(0))];
    let id = reader.ask(FETCH_VERSION, &in_session(0, 0, topics, &[])).session_id;
    let waiting = std::thread::spawn(move || {
        let request = in_session(id, 1, vec![], &[]).with_max_wait_ms(30_000);
        told(&reader.ask(FETCH_VERSION, &request))
    });
    std::thread::sleep(std::time::Duration::from_millis(100)); // most likely it waits by now; either is right
    produce(&mut writer, "b");
    assert_eq!(waiting.join().unwrap(), [("b".into(), 0, batch().len())]);
}

#[test]
fn a_flood_of_sessions_takes_no_more_memory_than_its_slots() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), &["--set", "max.incremental.fetch.session.cache.slots=3"]);
    let (mut client, mut other) = (Client::new(&broker), Client::new(&broker));
    create(&mut client, "t");
    let before = broker.resident_bytes();
    let mut new = || {
        let topics = (0..100).map(|_| topic("t", partition(0))).collect();
        client.ask(FETCH_VERSION, &in_session(0, 0, topics, &[])).session_id
    };
    let ids: Vec<_> = (0..2000).map(|_| new()).collect();
    assert!(ids[..3].iter().all(|id| *id != 0), "{:?}", &ids[..3]);
    assert!(ids[3..].iter().all(|id| *id == 0), "served, without a session");
    assert!(broker.resident_bytes() < before + (20 << 20), "memory stays bounded");
    produce(&mut other, "t");
}

#[test]
fn who_read_what_is_not_there_learns_where_the_logs_part() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    produce(&mut client, "t");
    drop(broker); // kill -9: the epoch is raised
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    let mut diverging = |offset, epoch| {
        let asked = topic("t", partition(offset).with_last_fetched_epoch(epoch));
        let data = only(client.ask(FETCH_VERSION, &fetch(vec![asked]).with_max_wait_ms(0)));
        assert_eq!(data.error_code, 0);
        (data.diverging_epoch.epoch, data.diverging_epoch.end_offset, bytes(&data))
    };
    assert_eq!(diverging(10, 0), (-1, -1, 0));
    assert_eq!(diverging(5, 0), (-1, -1, batch().len()));
    assert_eq!(diverging(12, 0), (0, 10, 0), "epoch 0 ended before");
}

#[test]
fn huge_sizes_and_waits_and_a_replica_id_give_a_client_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let broker =
        Process::start_with(dir.path(), &["--set", "fetch.max.bytes=1024", "--set", "fetch.max.wait.ms=300"]);
    let mut client = Client::new(&broker);
    let mut other = Client::new(&broker);
    create(&mut client, "t");
    create(&mut client, "kept");
    for _ in 0..20 {
        produce(&mut client, "t");
    }
    let asked = topic("t", partition(0).with_partition_max_bytes(i32::MAX));
    let request = fetch(vec![asked]).with_max_bytes(i32::MAX).with_max_wait_ms(i32::MAX);
    let data = only(client.ask(FETCH_VERSION, &request.clone().with_replica_id(BrokerId(3))));
    assert!(bytes(&data) <= 1024 && data.high_watermark == 200, "{} bytes", bytes(&data));
    let before = broker.resident_bytes();
    let began = std::time::Instant::now();
    let at_end = request.with_topics(vec![topic("t", partition(200))]);
    client.send(FETCH_VERSION, &at_end);
    produce(&mut other, "kept"); // another does not wait with it
    assert!(support::receive(&mut client.stream).is_some());
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "the wait was cut short");
    assert!(broker.resident_bytes() < before + (20 << 20), "sizes that are asked for take no memory");
}

/// What a limit or the end of a segment keeps from an answer comes with the next: it is not waited for.
#[test]
fn a_fetch_that_can_have_no_more_than_it_has_is_answered_at_once() {
    const WAIT_MS: i32 = 300_000;
    let dir = tempfile::tempdir().unwrap();
    let size = batch().len();
    let broker = Process::start(dir.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    for _ in 0..3 {
        produce(&mut client, "t");
    }
    let asked = |partition_max: usize, min: usize, max: usize| {
        let partition = partition(0).with_partition_max_bytes(i32::try_from(partition_max).unwrap());
        fetch(vec![topic("t", partition)])
            .with_min_bytes(i32::try_from(min).unwrap())
            .with_max_bytes(i32::try_from(max).unwrap())
            .with_max_wait_ms(WAIT_MS)
    };
    let mut ask = |request: &FetchRequest| bytes(&only(client.ask(FETCH_VERSION, request)));
    assert_eq!(
        ask(&asked(2 * size - 1, 2 * size - 1, 1 << 20)),
        size,
        "two do not fit into the partition's share"
    );
    assert_eq!(ask(&asked(1 << 20, 1 << 20, 2 * size)), 2 * size, "nor three into the answer");
    assert_eq!(ask(&asked(1 << 20, 1 << 20, 3 * size)), 3 * size, "more than it may have is not waited for");
}
