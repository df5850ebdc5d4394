//! What an append does with a batch before it is written: check its header and its CRC, and put
//! offset and leader epoch into it.
#![allow(clippy::unwrap_used, missing_docs)] // a benchmark fails by panicking

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringmain_engine::{BatchBuilder, BatchHeader};

/// Where the engine puts what it stamps; both lie outside of the CRC.
const BASE_OFFSET: std::ops::Range<usize> = 0..8;
const LEADER_EPOCH: std::ops::Range<usize> = 12..16;

fn batch(records: usize, value_bytes: usize) -> Vec<u8> {
    let value = vec![0xa5; value_bytes];
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(1_700_000_000_000, None, Some(&value));
    }
    builder.finish().unwrap()
}

fn check_and_patch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch/check and patch");
    for (name, records, value_bytes) in [("100 B", 1, 100), ("4 KiB", 4, 1000), ("64 KiB", 64, 1000)] {
        let mut batch = batch(records, value_bytes);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let mut offset = 0_i64;
            bencher.iter(|| {
                let header = BatchHeader::parse_whole(black_box(&batch)).unwrap();
                batch[BASE_OFFSET].copy_from_slice(&offset.to_be_bytes());
                batch[LEADER_EPOCH].copy_from_slice(&1_i32.to_be_bytes());
                offset += i64::from(header.record_count);
                black_box(&mut batch);
            });
        });
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch/build");
    for (name, records, value_bytes) in [("100 B", 1, 100), ("64 KiB", 64, 1000)] {
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| black_box(batch(records, value_bytes)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // All benchmarks of the workspace together take a few minutes.
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = check_and_patch, build
}
criterion_main!(benches);
