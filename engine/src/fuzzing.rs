//! What arbitrary bytes must not do, for `scripts/fuzz` and `tests/corpus.rs`: one function for each
//! kind of file. Each panics if the engine does, or serves what it must not.
//!
//! Bytes with a wrong checksum go no further than that, so batches and entries are also given one that holds.

use crate::batch::{BatchHeader, CRC_AT, CRC_COVERS_FROM};
use crate::checkpoint::{self, Checkpoint};
use crate::error::OpenError;
use crate::io::{Io, OpenMode};
use crate::journal::entry::{EntryHeader, sections};
use crate::log::{Log, LogConfig, LogId, ReadBound};
use crate::offset::Offset;
use crate::record::{BatchBuilder, records};
use crate::sim::{self, Disk};
use crate::store::{Store, StoreConfig};
use crate::watermark::Durability;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A kind of input: its name, what takes it, and what is a whole one.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// That of the directory of its corpus.
    pub name: &'static str,
    /// Takes any bytes; panics if something is wrong with the engine.
    pub run: fn(&[u8]),
    /// A sound input.
    pub sound: fn() -> Vec<u8>,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "batch", run: batch, sound: || batches(3) },
    Target { name: "segment", run: segment, sound: || file("t-0/00000000000000000000.log") },
    Target { name: "index", run: index, sound: || file("t-0/00000000000000000000.index") },
    Target { name: "timeindex", run: time_index, sound: || file("t-0/00000000000000000000.timeindex") },
    Target { name: "checkpoint", run: checkpoint, sound: || file(checkpoint::FILE) },
    Target { name: "journal", run: journal, sound: || file("journal/0") },
];

const DIR: &str = "/store";
/// Entries of the journal begin at multiples of it.
const JOURNAL_STEP_BYTES: usize = 4096;
/// What the simulated disk holds at most, in memory: an entry may say that its data lies far behind the end of a segment,
/// where a real disk has a hole.
const DISK_BYTES: u64 = 64 << 20;
/// Batches of the log that is damaged.
const BATCHES: usize = 12;

fn config() -> StoreConfig {
    let log = LogConfig { index_interval_bytes: 200, ..LogConfig::default() };
    StoreConfig { log, journal_file_bytes: 16 << 10, journal_files_max: 2, ..StoreConfig::default() }
}

fn batches(count: usize) -> Vec<u8> {
    let batch = |number: usize| {
        let mut builder = match number % 3 {
            0 => BatchBuilder::new().producer(7, 0, i32::try_from(number / 3).unwrap_or(0) * 2),
            _ => BatchBuilder::new(),
        };
        for record in 0..2i64 {
            let value = format!("{number}:{record}");
            builder.push(1000 + record, Some(b"key"), Some(value.as_bytes()));
        }
        builder.finish().unwrap_or_default()
    };
    (0..count).flat_map(batch).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn read(disk: &Disk, name: &str) -> Vec<u8> {
    crate::io::read_file(disk, &path(name), 1 << 20).unwrap_or_default()
}

fn write(disk: &Disk, name: &str, content: &[u8]) {
    let written = disk.open(&path(name), OpenMode::Any).and_then(|file| {
        file.truncate(0)?;
        file.write_at(&[IoSlice::new(content)], 0)?;
        file.sync_data()
    });
    written.expect("the simulated disk has room");
}

/// A store with a log of a dozen batches, all of them in the journal and none in a checkpoint; left
/// without a clean stop, or after one.
fn made(clean: bool) -> Disk {
    let disk = Disk::new(1);
    disk.set_write_back(0);
    let store = sim::open(&disk, Path::new(DIR), config()).expect("a new store opens");
    store.core().journal.house.want_file();
    while sim::step_checkpoint(&store) {}
    while sim::step_journal(&store) {}
    let log = store.create_log("t-0", LogId([1; 16]), config().log).expect("a log is made");
    let mut rest = &mut batches(BATCHES)[..];
    while !rest.is_empty() {
        let size_bytes = BatchHeader::parse(rest).expect("a batch").size_bytes;
        let (one, after) = rest.split_at_mut(size_bytes);
        let appended = log.append(one, Durability::Durable).expect("it is appended");
        appended.completion.wait().expect("it becomes durable");
        rest = after;
    }
    if clean {
        store.close().expect("it is closed");
    }
    drop((store, log));
    disk.process_kill();
    disk
}

fn file(name: &str) -> Vec<u8> {
    read(&made(name != "journal/0"), name)
}

/// The bytes of the log that is served, each batch whole.
fn served(log: &Log) -> Vec<u8> {
    let mut all = Vec::new();
    let mut next = log.progress().start;
    while let Some(slice) = log.read(next, 1 << 20, true, ReadBound::Written).expect("what is served is read")
    {
        let bytes = slice.read().expect("it is read");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse_whole(rest).expect("what is served after a crash is whole");
            assert_eq!(header.base_offset, next, "offsets follow");
            next = header.end_offset();
            rest = &rest[header.size_bytes..];
        }
        all.extend_from_slice(&bytes);
    }
    assert_eq!(next, log.progress().written, "all of it is read");
    all
}

/// Offsets, epochs and CRCs by the plainest walk: the bytes that are whole batches in order.
fn sound_prefix(bytes: &[u8]) -> &[u8] {
    let (mut at, mut next, mut epoch) = (0, Offset::ZERO, None);
    while let Ok(header) = BatchHeader::parse_whole(&bytes[at..]) {
        if header.base_offset != next || epoch.is_some_and(|epoch| header.leader_epoch < epoch) {
            break;
        }
        (next, epoch) = (header.end_offset(), Some(header.leader_epoch));
        at += header.size_bytes;
    }
    &bytes[..at]
}

/// Gives each batch a checksum that holds, as far as there are batches.
#[must_use]
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[at..])
        && header.size_bytes <= bytes.len() - at
    {
        let one = &mut bytes[at..at + header.size_bytes];
        let crc = crc32c::crc32c(&one[CRC_COVERS_FROM..]);
        one[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        at += header.size_bytes;
    }
    bytes
}

fn batch(input: &[u8]) {
    for bytes in [input, &sealed(input)] {
        let _ = BatchHeader::parse(bytes);
        if let Ok(header) = BatchHeader::parse_whole(bytes) {
            assert!(header.size_bytes <= bytes.len());
            let _ = header.check_new();
            assert!(
                header.last_offset() >= header.base_offset && header.last_sequence() >= 0
                    || header.base_sequence < 0
            );
        }
        let whole = BatchHeader::parse_whole(bytes).map_or(bytes, |header| &bytes[..header.size_bytes]);
        if let Ok(found) = records(whole) {
            // Damage ends it; each record takes bytes, so there are not more than those.
            assert!(found.take_while(Result::is_ok).count() <= whole.len());
        }
        // An append takes all of it or nothing.
        let disk = Disk::new(1);
        let store = sim::open(&disk, Path::new(DIR), config()).expect("a new store opens");
        let log = store.create_log("t-0", LogId([1; 16]), config().log).expect("a log is made");
        let mut given = bytes.to_vec();
        let appended = log.append(&mut given, Durability::Written).is_ok();
        assert_eq!(served(&log), if appended { given } else { Vec::new() });
        sim::check_log(&log).expect("what is kept beside the batches is right");
    }
}

fn segment(input: &[u8]) {
    for bytes in [input, &sealed(input)] {
        let expected = sound_prefix(bytes).to_vec();
        let latest = BatchHeader::parse(last_batch(&expected)).map(|header| header.leader_epoch.0);
        if latest == Ok(i32::MAX) {
            continue; // no epoch is above it, which an unclean start needs
        }
        let disk = Disk::new(1);
        let store = sim::open(&disk, Path::new(DIR), config()).expect("a new store opens");
        store.create_log("t-0", LogId([1; 16]), config().log).expect("a log is made");
        drop(store);
        disk.process_kill();
        write(&disk, "t-0/00000000000000000000.log", bytes);
        // And indexes that have nothing to do with it.
        write(&disk, "t-0/00000000000000000000.index", &bytes[..bytes.len().min(64)]);
        write(&disk, "t-0/00000000000000000000.timeindex", &bytes[..bytes.len().min(65)]);
        for _ in 0..2 {
            let store = sim::open(&disk, Path::new(DIR), config()).expect("it opens");
            let log = store.log("t-0").expect("the log is there");
            assert_eq!(served(&log), expected, "neither less nor more than the sound beginning");
            sim::check_log(&log).expect("what is kept beside the batches is right");
            drop((store, log));
            disk.power_loss();
        }
    }
}

fn last_batch(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Ok(header) = BatchHeader::parse(rest)
        && header.size_bytes < rest.len()
    {
        rest = &rest[header.size_bytes..];
    }
    rest
}

fn index(input: &[u8]) {
    damaged_index("t-0/00000000000000000000.index", input);
}

fn time_index(input: &[u8]) {
    damaged_index("t-0/00000000000000000000.timeindex", input);
}

/// An index never matters to what is served.
fn damaged_index(name: &str, input: &[u8]) {
    for clean in [true, false] {
        let disk = made(clean);
        let all = read(&disk, "t-0/00000000000000000000.log");
        write(&disk, name, input);
        let store = sim::open(&disk, Path::new(DIR), config()).expect("it opens");
        assert_eq!(store.was_clean(), clean);
        let log = store.log("t-0").expect("the log is there");
        assert_eq!(served(&log), all);
        sim::check_log(&log).expect("the indexes are those of the batches");
        for at in 0..log.progress().written.0 {
            let slice = log.read(Offset(at), 1, true, ReadBound::Written).expect("it is read");
            assert!(slice.is_some(), "offset {at}");
        }
        log.find_timestamp(1001).expect("it is searched").expect("there is such a record");
    }
}

fn checkpoint(input: &[u8]) {
    let _ = Checkpoint::decode(input);
    // The same with a checksum that holds, so that each line is looked at.
    let body = String::from_utf8_lossy(input);
    let body: String =
        body.lines().take_while(|line| !line.starts_with("end ")).map(|line| format!("{line}\n")).collect();
    let _ = Checkpoint::decode(format!("{body}end {:08x}\n", crc32c::crc32c(body.as_bytes())).as_bytes());
    let sound = file(checkpoint::FILE);
    for clean in [true, false] {
        let disk = made(clean);
        let all = read(&disk, "t-0/00000000000000000000.log");
        let real = read(&disk, checkpoint::FILE);
        if input == sound || input == real {
            continue; // of another stop it is sound, and tells of another moment
        }
        write(&disk, checkpoint::FILE, input);
        match sim::open(&disk, Path::new(DIR), config()) {
            Ok(store) => {
                assert!(clean, "a damaged checkpoint is a loss where the journal is needed");
                assert_eq!(served(&store.log("t-0").expect("the log is there")), all);
            }
            Err(err) => {
                assert!(!clean && matches!(err, OpenError::Damaged { .. }), "{err}");
            }
        }
    }
}

fn journal(input: &[u8]) {
    let _ = EntryHeader::open(input);
    sections(input).take(1000).for_each(drop);
    lying_journal(input);
    let disk = made(false);
    let all = read(&disk, "t-0/00000000000000000000.log");
    let sound = read(&disk, "journal/0") == input;
    write(&disk, "journal/0", input);
    // The loss of power took the segment.
    write(&disk, "t-0/00000000000000000000.log", &[]);
    match sim::open(&disk, Path::new(DIR), config()) {
        Ok(store) => {
            let log = store.log("t-0").expect("the log is there");
            let left = served(&log);
            assert!(all.starts_with(&left), "what is put back is what was written");
            assert!(!sound || left == all, "a sound journal puts back all of it");
            sim::check_log(&log).expect("what is kept beside the batches is right");
            append_one(&store);
        }
        Err(err) => {
            // Of a length that no journal file has, it cannot be read past the page cache.
            let odd = matches!(err, OpenError::Io { .. }) && !input.len().is_multiple_of(512);
            let clear = odd || matches!(err, OpenError::Damaged { .. } | OpenError::Version { .. });
            assert!(!sound && clear, "{err}");
        }
    }
}

/// Gives each entry of a journal file a checksum that holds.
fn sealed_entries(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    for at in (0..file.len()).step_by(JOURNAL_STEP_BYTES) {
        if let Some(header) = EntryHeader::peek(&file[at..])
            && let Some(entry) = file[at..].get_mut(..header.len())
        {
            header.seal(entry);
        }
    }
    file
}

/// Entries that lie: the store opens or does not, and what it serves is whole.
fn lying_journal(input: &[u8]) {
    let disk = made(false);
    disk.set_capacity(DISK_BYTES);
    write(&disk, "journal/0", &sealed_entries(input));
    write(&disk, "t-0/00000000000000000000.log", &[]);
    let Ok(store) = sim::open(&disk, Path::new(DIR), config()) else { return };
    if let Some(log) = store.log("t-0") {
        served(&log);
    }
}

fn append_one(store: &Store) {
    let log: Arc<Log> = store.log("t-0").expect("the log is there");
    let mut builder = BatchBuilder::new();
    builder.push(1, None, Some(b"one more"));
    let appended = log.append(&mut builder.finish().unwrap_or_default(), Durability::Durable);
    appended.expect("it is appended").completion.wait().expect("it becomes durable");
}
