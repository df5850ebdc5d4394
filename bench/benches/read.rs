//! Finding a batch: the list of segments, the sparse index, a few headers. Nothing is read of the batch
//! but its header, as for a fetch that is sent by sendfile.
#![allow(clippy::unwrap_used, missing_docs)] // a benchmark fails by panicking

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringmain_engine::{
    BatchBuilder, Durability, Log, LogConfig, LogId, Offset, ReadBound, Store, StoreConfig,
};

const LOG_BYTES: u64 = 128 << 20;
const FETCH_BYTES: u64 = 1 << 20;

/// A log of batches of one record, in segments of the given size.
fn fill(store: &Store, number: u8, value_bytes: usize, segment_bytes: u64) -> Arc<Log> {
    let config = LogConfig { segment_bytes, ..LogConfig::default() };
    let log = store.create_log(&format!("read-{number}"), LogId([number; 16]), config).unwrap();
    let mut builder = BatchBuilder::new();
    builder.push(1_700_000_000_000, None, Some(&vec![0xa5; value_bytes]));
    let mut batch = builder.finish().unwrap();
    for _ in 0..LOG_BYTES / batch.len() as u64 {
        log.append(&mut batch, Durability::Written).unwrap();
    }
    log
}

/// Offsets in no order that could be foreseen, and the same in every run.
struct Offsets {
    state: u64,
    end: u64,
}

impl Offsets {
    fn next(&mut self) -> Offset {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Offset(((self.state >> 33) % self.end) as i64)
    }
}

fn read(criterion: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(dir.path(), StoreConfig::default()).unwrap();
    let mut group = criterion.benchmark_group("read/plan at a random offset");
    let logs = [
        ("1 KB batches, 1 segment", 1000, 1 << 30),
        ("1 KB batches, 64 segments", 1000, 2 << 20),
        ("16 KB batches, 64 segments", 16_000, 2 << 20),
    ];
    for (number, (name, value_bytes, segment_bytes)) in (1..).zip(logs) {
        let log = fill(&store, number, value_bytes, segment_bytes);
        let mut offsets = Offsets { state: 1, end: log.progress().written.0 as u64 };
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                let slice = log.read(black_box(offsets.next()), FETCH_BYTES, true, ReadBound::Visible);
                black_box(slice.unwrap().unwrap().len())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // All benchmarks of the workspace together take a few minutes.
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = read
}
criterion_main!(benches);
