//! The append path of the engine, without sockets: check of the CRC, stamp, positioned write,
//! indexes, watermarks; and with durability, the sync as well.
#![allow(clippy::unwrap_used, missing_docs)] // a benchmark fails by panicking

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringmain_engine::{BatchBuilder, Durability, Log, LogConfig, LogId, Store, StoreConfig};

/// A log is dropped, and another begun, when it has grown so large: the page cache is measured,
/// not write-back.
const LOG_BYTES_MAX: u64 = 256 << 20;
const RECORD_BYTES: usize = 1024;

/// A log that is replaced, outside the timed part, before it grows too large.
struct Logs {
    store: Store,
    log: Arc<Log>,
    number: u64,
    log_bytes: u64,
}

impl Logs {
    fn open(dir: &Path) -> Self {
        let store = Store::open(dir, StoreConfig::default()).unwrap();
        let log = create(&store, 0);
        Self { store, log, number: 0, log_bytes: 0 }
    }

    /// Appends one batch; returns how long it took.
    fn append(&mut self, batch: &mut [u8], durability: Durability) -> Duration {
        if self.log_bytes + batch.len() as u64 > LOG_BYTES_MAX {
            self.store.delete_log(&name(self.number)).unwrap();
            self.number += 1;
            self.log = create(&self.store, self.number);
            self.log_bytes = 0;
        }
        self.log_bytes += batch.len() as u64;
        let began = Instant::now();
        let appended = self.log.append(black_box(batch), durability).unwrap();
        appended.completion.wait().unwrap();
        began.elapsed()
    }
}

fn name(number: u64) -> String {
    format!("append-{number}")
}

fn create(store: &Store, number: u64) -> Arc<Log> {
    let id = LogId(u128::from(number + 1).to_be_bytes());
    store.create_log(&name(number), id, LogConfig::default()).unwrap()
}

fn batch(records: usize) -> Vec<u8> {
    let value = vec![0xa5; RECORD_BYTES];
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(1_700_000_000_000, None, Some(&value));
    }
    builder.finish().unwrap()
}

fn append(criterion: &mut Criterion) {
    for (name, durability, counts) in [
        ("append/written", Durability::Written, &[1, 16, 1000][..]),
        ("append/durable", Durability::Durable, &[1, 1000][..]),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        for count in counts {
            let mut batch = batch(*count);
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let mut logs = Logs::open(dir.path());
            group.throughput(Throughput::Bytes(batch.len() as u64));
            group.bench_function(BenchmarkId::new("records", count), |bencher| {
                bencher.iter_custom(|iterations| {
                    (0..iterations).map(|_| logs.append(&mut batch, durability)).sum()
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // All benchmarks of the workspace together take a few minutes.
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = append
}
criterion_main!(benches);
