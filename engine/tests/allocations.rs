//! Nothing is allocated for a record: an append of one record asks for memory as often as one of a
//! thousand, and so does a read.
//!
//! Counted is what the calling thread asks for. After the first appends, which fill caches, that is
//! [`APPEND`] (2) times for an append and [`DURABLE`] (3) for one that asks for durability, [`READ`] (at most 2) for a read,
//! and none for sending what was read.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::{Durability, LogConfig, Offset, ReadBound};
use std::os::unix::net::UnixStream;
use support::backend::Backend;
use support::*;

/// An append: the list of its batches' headers, and that of the buffers that are written.
const APPEND: u64 = 2;
/// An append that asks for durability, at most: its log waits in a list besides.
const DURABLE: u64 = 3;
/// A read: the window in which the headers are looked for, twice where it ends at a limit.
const READ: u64 = 2;
/// The bytes of a slice in memory: one buffer.
const BYTES: u64 = 1;

/// How often this thread asked for memory meanwhile.
fn counted<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let mut done = None;
    let info = allocation_counter::measure(|| done = Some(work()));
    (info.count_total, done.unwrap())
}

fn backends() -> impl Iterator<Item = Backend> {
    [Some(Backend::blocking()), Backend::uring()].into_iter().flatten()
}

#[test]
fn the_allocator_counts() {
    assert_eq!(counted(|| (Vec::<u8>::with_capacity(10), Box::new(1))).0, 2);
    assert_eq!(counted(|| 1 + 1).0, 0);
}

#[test]
fn an_append_allocates_the_same_for_one_record_and_for_a_thousand() {
    for backend in backends() {
        let store = backend.open(ringmain_engine::StoreConfig::default());
        let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
        backend.with_journal(&store, &log);
        let mut of = Vec::new();
        for durability in [Durability::None, Durability::Written, Durability::Durable] {
            for records in [1, 1000] {
                let mut bytes = batch(0, records, 0);
                // So often that entries of the indexes are among them.
                let counts: Vec<u64> = (0..200)
                    .map(|_| {
                        let (count, appended) = counted(|| log.append(&mut bytes, durability).unwrap());
                        appended.completion.wait().unwrap();
                        count
                    })
                    .collect();
                let allowed = if durability == Durability::Durable { DURABLE } else { APPEND };
                let settled = &counts[100..];
                let usual = *settled.iter().min().unwrap();
                // Now and then an index file grows, or a list of those who wait.
                let more: Vec<_> = settled.iter().filter(|count| **count > allowed).collect();
                println!("{}: {durability:?}, {records} records: {usual}, more: {more:?}", backend.name());
                assert!(
                    usual <= allowed && more.len() <= 5,
                    "{durability:?}, {records} records: {settled:?}"
                );
                assert!(more.iter().all(|count| **count <= allowed + 4), "{settled:?}");
                of.push(usual);
            }
        }
        assert!(of.chunks(2).all(|pair| pair[0] == pair[1]), "{of:?}");
    }
}

#[test]
fn several_batches_in_one_append_cost_one_list() {
    for backend in backends() {
        let store = backend.open(ringmain_engine::StoreConfig::default());
        let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
        let of = |batches: usize| {
            let mut bytes = batch(0, 10, 0).repeat(batches);
            (0..20).for_each(|_| drop(log.append(&mut bytes, Durability::Written).unwrap()));
            counted(|| log.append(&mut bytes, Durability::Written).unwrap()).0
        };
        assert_eq!(of(1), APPEND);
        // The list of headers grows by doubling.
        assert!(of(64) <= APPEND + 6, "{}", of(64));
    }
}

#[test]
fn an_idempotent_producer_costs_nothing_more() {
    for backend in backends() {
        let store = backend.open(ringmain_engine::StoreConfig::default());
        let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
        for sequence in 0..50 {
            let mut bytes = sequenced(7, 0, sequence);
            let (count, _) = counted(|| log.append(&mut bytes, Durability::Written).unwrap());
            assert!(sequence < 10 || count == APPEND, "sequence {sequence}: {count}");
        }
    }
}

#[test]
fn a_read_and_what_is_sent_of_it_allocate_the_same_for_one_record_and_for_a_thousand() {
    for backend in backends() {
        let store = backend.open(ringmain_engine::StoreConfig::default());
        let mut of = Vec::new();
        for (number, records) in [(0, 1), (1, 1000)] {
            let log = store.create_log(&format!("t-{number}"), id(number), LogConfig::default()).unwrap();
            for tag in 0..50 {
                append(&log, batch(tag, records, 0), Durability::Written);
            }
            let one = batch(0, records, 0).len() as u64;
            for (at, bytes_max) in [(0, 1), (20, one * 5), (30, u64::MAX), (49, one)] {
                let read = || log.read(Offset(at * records), bytes_max, true, ReadBound::Visible).unwrap();
                drop(read());
                let (count, slice) = counted(read);
                let slice = slice.unwrap();
                assert!(count <= READ, "{records} records from batch {at}: {count}");
                let (ours, _theirs) = UnixStream::pair().unwrap();
                ours.set_nonblocking(true).unwrap();
                let (sent, _) = counted(|| slice.send_to(&ours, 0).unwrap());
                assert_eq!(sent, 0, "sending allocates");
                let (copied, bytes) = counted(|| slice.read().unwrap());
                assert_eq!((copied, bytes.len() as u64), (BYTES, slice.len()));
                of.push(count);
            }
        }
        let (one, thousand) = of.split_at(of.len() / 2);
        println!("{}: reads {one:?} and {thousand:?}", backend.name());
        assert_eq!(one, thousand);
    }
}
