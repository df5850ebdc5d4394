//! What the engine's tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

pub(crate) mod backend;

use ringmain_engine::{
    BatchBuilder, BatchHeader, Durability, IoMode, Log, LogConfig, LogId, Offset, ReadBound, Store,
    StoreConfig,
};
use std::path::Path;
use std::sync::Arc;

/// Both backends where a ring can be had; `RINGMAIN_IO` narrows it to one.
pub(crate) fn modes() -> Vec<IoMode> {
    let mut modes = vec![IoMode::Blocking];
    if IoMode::detect() == IoMode::Uring {
        modes.push(IoMode::Uring);
    }
    modes
}

pub(crate) fn open(dir: &Path, mode: IoMode) -> Store {
    Store::open(dir, StoreConfig { io_mode: Some(mode), ..StoreConfig::default() }).unwrap()
}

/// Small segments and a dense index, so that a few batches exercise both.
pub(crate) fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 2000,
        index_interval_bytes: 100,
        index_memory_entries_max: 4,
        ..LogConfig::default()
    }
}

/// As `open`, with every log of the `small` configuration.
pub(crate) fn open_small(dir: &Path, mode: IoMode) -> Store {
    let config = StoreConfig { io_mode: Some(mode), log: small(), ..StoreConfig::default() };
    Store::open(dir, config).unwrap()
}

pub(crate) fn id(n: u8) -> LogId {
    LogId([n; 16])
}

/// A batch of `count` records, the values naming `tag` and their number; timestamps from `at_ms`.
pub(crate) fn batch(tag: i64, count: i64, at_ms: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for n in 0..count {
        builder.push(at_ms + n, None, Some(format!("{tag}:{n}").as_bytes()));
    }
    builder.finish().unwrap()
}

pub(crate) fn sequenced(producer: i64, epoch: i16, sequence: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new().producer(producer, epoch, sequence);
    builder.push(0, None, Some(format!("{sequence}").as_bytes()));
    builder.finish().unwrap()
}

pub(crate) fn append(log: &Arc<Log>, mut batch: Vec<u8>, durability: Durability) -> Offset {
    let appended = log.append(&mut batch, durability).unwrap();
    appended.completion.wait().unwrap();
    appended.base_offset
}

/// Every batch from `from` on, read with small limits, whole and with its CRC checked.
pub(crate) fn read_all(log: &Log, from: Offset) -> Vec<(BatchHeader, Vec<u8>)> {
    let mut found = Vec::new();
    let mut next = from;
    while let Some(slice) = log.read(next, 300, true, ReadBound::Visible).unwrap() {
        let bytes = slice.read().unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse_whole(rest).expect("whole batches only");
            let (one, after) = rest.split_at(header.size_bytes);
            next = header.end_offset();
            found.push((header, one.to_vec()));
            rest = after;
        }
    }
    found
}

/// The values of all records, in order.
pub(crate) fn values(log: &Log) -> Vec<String> {
    let mut values = Vec::new();
    for (_, bytes) in read_all(log, log.progress().start) {
        for record in ringmain_engine::records(&bytes).unwrap() {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

pub(crate) fn expected(batches: std::ops::Range<i64>, count: i64) -> Vec<String> {
    batches.flat_map(|tag| (0..count).map(move |n| format!("{tag}:{n}"))).collect()
}
