//! Records that are not in the page cache are read by other threads than the shards, which serve all others
//! meanwhile.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use bytes::Bytes;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use proto_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use proto_kafka::messages::*;
use ringmain_engine::{BatchBuilder, HEADER_BYTES};
use std::fs::File;
use std::path::Path;
use support::protocol::{Client, text};
use support::{Process, create, produce_body, request};

const BATCHES: u8 = 40;
const BATCH_BYTES: usize = 400_000;

/// Bytes that the threads whose names begin so had read from the medium.
fn read_bytes(pid: u32, shards: bool) -> u64 {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap().path();
        // A thread may end while it is looked at.
        let Ok(name) = std::fs::read_to_string(task.join("comm")) else { continue };
        let Ok(io) = std::fs::read_to_string(task.join("io")) else { continue };
        if name.starts_with("ringmain-shard") == shards {
            let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap();
            total += line.parse::<u64>().unwrap();
        }
    }
    total
}

fn evict(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "log") {
            let file = File::open(path).unwrap();
            file.sync_all().unwrap();
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        }
    }
}

fn fetch(client: &mut Client, offset: i64) -> Bytes {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(50 << 20)
        .with_current_leader_epoch(-1);
    let topic = FetchTopic::default().with_topic(TopicName(text("t"))).with_partitions(vec![partition]);
    let request =
        FetchRequest::default().with_max_bytes(50 << 20).with_session_epoch(-1).with_topics(vec![topic]);
    client.ask(12, &request).responses[0].partitions[0].records.clone().unwrap()
}

#[test]
fn cold_records_are_read_by_other_threads_than_shards() {
    // On a disk: in /tmp there may be nothing that can be evicted.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let broker = Process::start(dir.path());
    let mut stream = broker.connect();
    create(&mut stream, "t");
    for n in 0..BATCHES {
        let mut batch = BatchBuilder::new();
        batch.push(1, None, Some(&vec![n; BATCH_BYTES]));
        let body = produce_body("t", 0, -1, &batch.finish().unwrap());
        let answer = support::call(&mut stream, &request(0, 7, 1, &body)).unwrap();
        assert_eq!(answer[19..21], [0, 0]);
    }
    let mut client = Client::new(&broker);
    let warm = fetch(&mut client, 0);
    assert!(warm.len() > usize::from(BATCHES) * BATCH_BYTES);
    let whole = warm.len() as u64;
    for round in 0..3 {
        evict(&dir.path().join("data/t-0"));
        let (shards, others) = (read_bytes(broker.pid(), true), read_bytes(broker.pid(), false));
        // From the middle on first: there the headers are found in cold pages, too.
        let offset = i64::from(BATCHES / 2);
        let half = fetch(&mut client, offset);
        assert_eq!(half[..8], offset.to_be_bytes());
        assert_eq!(half[HEADER_BYTES + 100], BATCHES / 2, "the value's bytes");
        assert_eq!(fetch(&mut client, 0), warm, "round {round}");
        // What a read that waits for nothing has the kernel begin counts, too: a few pages.
        let by_shards = read_bytes(broker.pid(), true) - shards;
        assert!(by_shards < whole / 50, "shards read {by_shards} of {whole} bytes from the disk");
        let by_others = read_bytes(broker.pid(), false) - others;
        assert!(by_others > whole / 2, "nothing was cold: {by_others} of {whole} bytes were read");
    }
}
