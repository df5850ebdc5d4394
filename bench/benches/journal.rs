//! Putting an entry of the journal together: the sections of its logs, their bytes from the page cache, and
//! the checksum over all of it. What is left after it is one write.
#![allow(clippy::unwrap_used, missing_docs)] // a benchmark fails by panicking

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringmain_engine::hot_paths::JournalEntries;

fn encode(criterion: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut group = criterion.benchmark_group("journal/encode an entry");
    for (name, sections, section_bytes) in [
        ("1 note", 1, 0),
        ("1 log with 200 B", 1, 200),
        ("1 log with 64 KiB", 1, 64 << 10),
        ("16 logs with 4 KiB", 16, 4 << 10),
        ("128 logs with 4 KiB", 128, 4 << 10),
        ("1000 logs with 200 B", 1000, 200),
    ] {
        let mut entries = JournalEntries::new(&dir.path().join("segment"), sections, section_bytes).unwrap();
        group.throughput(Throughput::Bytes(entries.encode().unwrap().len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| black_box(entries.encode().unwrap().len()));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // All benchmarks of the workspace together take a few minutes.
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = encode
}
criterion_main!(benches);
