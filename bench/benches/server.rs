//! What the broker does for each request besides receiving, appending and sending: reading it, finding what
//! to answer, and writing the answer. Requests are made, and answers checked, by a codec that is not ours.
#![allow(clippy::unwrap_used, missing_docs)] // a benchmark fails by panicking

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use proto_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use proto_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use proto_kafka::messages::{
    ApiKey, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
    TopicName,
};
use proto_kafka::protocol::{Decodable, Encodable, StrBytes};
use ringmain::hot_paths::{Answer, Fetch, ProduceAnswer, Served, decode_produce};
use ringmain_engine::BatchBuilder;

const TOPIC: &str = "orders";
/// The newest that is served, with topic ids.
const FETCH_VERSION: i16 = 16;
const PRODUCE_VERSION: i16 = 12;
/// Of the protocol before flexible versions.
const PRODUCE_VERSION_OLD: i16 = 7;
const LENGTH_BYTES: usize = 4;
/// Batches in each partition that is fetched from.
const BATCHES: usize = 64;
const FETCH_BYTES_MAX: i32 = 50 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;

fn batch(records: usize, value_bytes: usize) -> Vec<u8> {
    let value = vec![0xa5; value_bytes];
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(1_700_000_000_000, None, Some(&value));
    }
    builder.finish().unwrap()
}

fn topic_name() -> TopicName {
    StrBytes::from_static_str(TOPIC).into()
}

/// A frame without its length prefix.
fn frame(key: ApiKey, version: i16, body: &impl Encodable) -> Vec<u8> {
    let mut out = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str("bench")));
    header.encode(&mut out, key.request_header_version(version)).unwrap();
    body.encode(&mut out, version).unwrap();
    out.to_vec()
}

/// The message of an answer; a wrong length prefix or correlation id ends the benchmark.
fn message<M: Decodable>(key: ApiKey, version: i16, answer: &Answer, batch_bytes: u64) -> M {
    let mut bytes = Bytes::from(answer.own_bytes());
    let length = bytes.split_to(LENGTH_BYTES);
    let length = u32::from_be_bytes(length[..].try_into().unwrap());
    assert_eq!(u64::from(length), bytes.len() as u64 + batch_bytes);
    let header = ResponseHeader::decode(&mut bytes, key.response_header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 7);
    M::decode(&mut bytes, version).unwrap()
}

fn produce_frame(version: i16, partitions: i32, records: &[u8]) -> Vec<u8> {
    let records = Bytes::copy_from_slice(records);
    let data = (0..partitions)
        .map(|index| PartitionProduceData::default().with_index(index).with_records(Some(records.clone())));
    let topic = TopicProduceData::default().with_name(topic_name()).with_partition_data(data.collect());
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    frame(ApiKey::Produce, version, &request)
}

fn fetch_frame(topic_id: [u8; 16], partitions: i32, offset: i64) -> Vec<u8> {
    let asked = (0..partitions).map(|index| {
        FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(PARTITION_BYTES_MAX)
    });
    let topic = FetchTopic::default()
        .with_topic_id(uuid::Uuid::from_bytes(topic_id))
        .with_partitions(asked.collect());
    let request = FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(FETCH_BYTES_MAX)
        .with_topics(vec![topic]);
    frame(ApiKey::Fetch, FETCH_VERSION, &request)
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("server/decode a produce request");
    for (name, version, partitions, records) in [
        ("1 partition, 200 B", PRODUCE_VERSION, 1, batch(1, 100)),
        ("1 partition, 200 B, version 7", PRODUCE_VERSION_OLD, 1, batch(1, 100)),
        ("1 partition, 1 MiB", PRODUCE_VERSION, 1, batch(1000, 1000)),
        ("128 partitions, 200 B each", PRODUCE_VERSION, 128, batch(1, 100)),
    ] {
        let mut frame = produce_frame(version, partitions, &records);
        assert_eq!(decode_produce(&mut frame), Some(records.len() * partitions as usize));
        group.throughput(Throughput::Elements(partitions as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| decode_produce(black_box(&mut frame)).unwrap());
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("server/decode a fetch request");
    for partitions in [1, 16, 128] {
        let mut frame = fetch_frame([7; 16], partitions, 5);
        group.throughput(Throughput::Elements(partitions as u64));
        group.bench_function(BenchmarkId::new("partitions", partitions), |bencher| {
            bencher.iter(|| Fetch::decode(black_box(&mut frame)).unwrap());
        });
    }
    group.finish();
}

fn encode_produce(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("server/encode a produce response");
    for partitions in [1, 16, 128] {
        let answer = ProduceAnswer::new(PRODUCE_VERSION, TOPIC, partitions);
        let told: ProduceResponse = message(ApiKey::Produce, PRODUCE_VERSION, &answer.encode(), 0);
        assert_eq!(told.responses[0].partition_responses.len(), partitions as usize);
        group.throughput(Throughput::Elements(partitions as u64));
        group.bench_function(BenchmarkId::new("partitions", partitions), |bencher| {
            bencher.iter(|| black_box(&answer).encode());
        });
    }
    group.finish();
}

/// Fetches of all partitions of a topic: of records from an offset on, or at the end where there are none.
fn fetch(criterion: &mut Criterion) {
    for partitions in [1, 16, 128] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let served = Served::create(dir.path(), TOPIC, partitions).unwrap();
        let mut batch = batch(1, 1000);
        (0..BATCHES).for_each(|_| served.append(&mut batch).unwrap());
        let with_records = |from| (BATCHES - from) as u64 * batch.len() as u64 * partitions as u64;

        let mut group = criterion.benchmark_group("server/plan a fetch");
        group.throughput(Throughput::Elements(partitions as u64));
        for (name, from) in [("with records", BATCHES / 2), ("at the end", BATCHES)] {
            let fetch = Fetch::decode(&mut fetch_frame(served.topic_id(), partitions, from as i64)).unwrap();
            assert_eq!(served.plan(&fetch).batch_bytes(), with_records(from));
            group.bench_function(BenchmarkId::new(name, partitions), |bencher| {
                bencher.iter(|| served.plan(black_box(&fetch)));
            });
        }
        group.finish();

        let mut group = criterion.benchmark_group("server/encode fetch headers");
        group.throughput(Throughput::Elements(partitions as u64));
        let fetch = Fetch::decode(&mut fetch_frame(served.topic_id(), partitions, BATCHES as i64)).unwrap();
        let told: FetchResponse =
            message(ApiKey::Fetch, FETCH_VERSION, &served.plan(&fetch).encode(&fetch), 0);
        assert_eq!(told.responses[0].partitions.len(), partitions as usize);
        let fetch = Fetch::decode(&mut fetch_frame(served.topic_id(), partitions, 0)).unwrap();
        group.bench_function(BenchmarkId::new("with records", partitions), |bencher| {
            let plan = || served.plan(&fetch);
            bencher.iter_batched(plan, |plan| plan.encode(black_box(&fetch)), BatchSize::SmallInput);
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // All benchmarks of the workspace together take a few minutes.
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = decode, encode_produce, fetch
}
criterion_main!(benches);
