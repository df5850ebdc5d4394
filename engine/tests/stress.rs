//! Many threads on one store: appends of every durability, cuts, deletions, checkpoints all the time,
//! and ends of every kind. What only shows between threads; the simulated disk has one thread.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::{
    AppendError, BatchBuilder, CutError, Durability, IoMode, Log, LogConfig, LogId, Offset, ReadBound,
    ReadError, Store, StoreConfig, WaitError, records,
};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::*;

/// How long each backend is worked on; `RINGMAIN_STRESS_SECONDS` makes it longer.
const SECONDS: u64 = 2;
/// Nothing here takes so long, on any disk.
const HANG: Duration = Duration::from_secs(12);
const ROUND: Duration = Duration::from_millis(250);
const NAMES: usize = 6;
const APPENDERS: u64 = 4;

/// Limits so small that every path is taken all the time: checkpoints by age, or, with a tight journal,
/// because it is full.
fn config(mode: IoMode, tight: bool) -> StoreConfig {
    let (journal_file_bytes, journal_files_max) = if tight { (64 << 10, 1) } else { (256 << 10, 3) };
    StoreConfig {
        io_mode: Some(mode),
        log: LogConfig { segment_bytes: 16 << 10, index_interval_bytes: 500, ..LogConfig::default() },
        sync_depth: 4,
        journal_file_bytes,
        journal_files_max,
        journal_entry_bytes_max: 64 << 10,
        journal_range_bytes_max: if tight { 1000 } else { 16 << 10 },
        journal_writes_max: 3,
        checkpoint_age_ms: if tight { 500 } else { 2 },
        ..StoreConfig::default()
    }
}

/// Xorshift: enough to mix.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// An append that was promised something.
#[derive(Clone, Copy, Debug)]
struct Kept {
    base: Offset,
    end: Offset,
    tag: i64,
    begun: u64,
}

/// A truncation: where the log ended after it, and when it was done.
#[derive(Clone, Copy, Debug)]
struct Cut {
    end: Offset,
    done: u64,
}

/// What must hold of one log.
#[derive(Debug, Default)]
struct Story {
    kept: Mutex<Vec<Kept>>,
    cuts: Mutex<Vec<Cut>>,
    cuts_begun: AtomicU64,
    cuts_done: AtomicU64,
    start: AtomicI64,
    deleted: AtomicBool,
}

#[derive(Default)]
struct World {
    clock: AtomicU64,
    tags: AtomicI64,
    ids: AtomicU64,
    /// By log id.
    stories: Mutex<HashMap<[u8; 16], Arc<Story>>>,
    logs: RwLock<BTreeMap<String, Arc<Log>>>,
    stop: AtomicBool,
    /// The store was closed or dropped, or is about to be.
    ending: AtomicBool,
}

impl World {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn story(&self, log: &Log) -> Arc<Story> {
        Arc::clone(self.stories.lock().unwrap().entry(log.id().0).or_default())
    }

    fn any_log(&self, dice: &mut Dice) -> Option<Arc<Log>> {
        let logs = self.logs.read().unwrap();
        logs.values().nth(dice.roll(logs.len().max(1) as u64) as usize).cloned()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

fn tagged(tag: i64, bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let value = format!("{tag}:{}", "x".repeat(bytes));
    builder.push(1_700_000_000_000 + tag, None, Some(value.as_bytes()));
    if bytes % 2 == 1 {
        builder.push(1_700_000_000_000 + tag, None, Some(value.as_bytes()));
    }
    builder.finish().unwrap()
}

fn tag_of(batch: &[u8]) -> i64 {
    let first = records(batch).unwrap().next().unwrap().unwrap();
    let value = std::str::from_utf8(first.value.unwrap()).unwrap().to_owned();
    value.split_once(':').unwrap().0.parse().unwrap()
}

fn append_to_many(world: &World, seed: u64) {
    let mut dice = Dice(seed);
    let mut waiting = Vec::new();
    while !world.stopped() {
        let Some(log) = world.any_log(&mut dice) else { continue };
        let story = world.story(&log);
        let tag = world.tags.fetch_add(1, Ordering::SeqCst);
        let bytes = if dice.roll(10) == 0 { 9_000 } else { dice.roll(300) as usize };
        let durability = [Durability::None, Durability::Written, Durability::Durable][dice.roll(3) as usize];
        let (begun, cuts) = (world.now(), story.cuts_begun.load(Ordering::SeqCst));
        let quiet = story.cuts_done.load(Ordering::SeqCst) == cuts;
        match log.append(&mut tagged(tag, bytes), durability) {
            Ok(appended) => {
                let kept = Kept { base: appended.base_offset, end: appended.end_offset, tag, begun };
                story.kept.lock().unwrap().push(kept);
                if durability == Durability::Durable {
                    waiting.push((log, story, kept, cuts, quiet, appended.completion));
                }
            }
            Err(AppendError::Deleted) => assert!(story.deleted.load(Ordering::SeqCst)),
            Err(AppendError::Closed) => {
                assert!(world.ending.load(Ordering::SeqCst));
                break;
            }
            Err(err) => panic!("{}: {err}", log.name()),
        }
        if waiting.len() as u64 > dice.roll(20) {
            waiting.drain(..).for_each(|one| check_wait(world, one));
        }
    }
    waiting.drain(..).for_each(|one| check_wait(world, one));
}

type Waiting = (Arc<Log>, Arc<Story>, Kept, u64, bool, ringmain_engine::Completion);

fn check_wait(world: &World, (log, story, kept, cuts, quiet, completion): Waiting) {
    let outcome = completion.wait();
    let uncut = quiet && story.cuts_begun.load(Ordering::SeqCst) == cuts;
    match outcome {
        Ok(()) => {
            let durable = log.progress().durable;
            // Looked at again: a cut may have begun between the two.
            let uncut = uncut && story.cuts_begun.load(Ordering::SeqCst) == cuts;
            assert!(!uncut || durable >= kept.end, "{}: {kept:?} told, durable is {durable}", log.name());
        }
        Err(WaitError::Truncated) => assert!(!uncut, "{}: {kept:?} was not cut", log.name()),
        Err(WaitError::Deleted) => assert!(story.deleted.load(Ordering::SeqCst)),
        Err(WaitError::Closed) => assert!(world.ending.load(Ordering::SeqCst)),
        Err(err) => panic!("{}: {err}", log.name()),
    }
}

fn cut_many(world: &World, seed: u64) {
    let mut dice = Dice(seed);
    while !world.stopped() {
        thread::sleep(Duration::from_micros(dice.roll(3000)));
        let Some(log) = world.any_log(&mut dice) else { continue };
        let story = world.story(&log);
        let progress = log.progress();
        let outcome = if dice.roll(2) == 0 {
            let span = (progress.written.0 - progress.start.0).clamp(1, 60) as u64;
            let offset = Offset((progress.written.0 - dice.roll(span) as i64).max(progress.start.0));
            story.cuts_begun.fetch_add(1, Ordering::SeqCst);
            let outcome = log.truncate(offset);
            // Where it ends is not known if it failed.
            let end = *outcome.as_ref().unwrap_or(&Offset(0));
            story.cuts.lock().unwrap().push(Cut { end, done: world.now() });
            story.cuts_done.fetch_add(1, Ordering::SeqCst);
            outcome
        } else {
            let span = (progress.visible.0 - progress.start.0).max(1) as u64;
            let offset = Offset(progress.start.0 + dice.roll(span) as i64 / 2);
            let outcome = log.advance_start(offset);
            if let Ok(start) = outcome {
                assert!(log.progress().start >= start);
                story.start.fetch_max(start.0, Ordering::SeqCst);
            }
            outcome
        };
        match outcome {
            Ok(_) | Err(CutError::OutOfRange { .. }) => {}
            Err(CutError::Deleted) => assert!(story.deleted.load(Ordering::SeqCst)),
            Err(CutError::Closed) => assert!(world.ending.load(Ordering::SeqCst)),
            // A reader that is overtaken by a cut says so in many ways; one that cuts is alone.
            Err(err) => panic!("{}: {err}", log.name()),
        }
    }
}

fn read_many(world: &World, seed: u64) {
    let mut dice = Dice(seed);
    while !world.stopped() {
        let Some(log) = world.any_log(&mut dice) else { continue };
        let progress = log.progress();
        assert!(progress.start <= progress.durable && progress.durable <= progress.written, "{progress:?}");
        assert!(progress.visible <= progress.written, "{progress:?}");
        match log.read(progress.start, 4096, true, ReadBound::Visible) {
            Ok(slice) => drop(slice.map(|slice| slice.read())),
            // Overtaken by a cut.
            Err(ReadError::OutOfRange { .. } | ReadError::Damaged { .. } | ReadError::Io { .. }) => {}
            Err(err) => panic!("{}: {err}", log.name()),
        }
        thread::yield_now();
    }
}

fn create(store: &Store, world: &World, name: &str) {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&world.ids.fetch_add(1, Ordering::SeqCst).to_be_bytes());
    let log = store.create_log(name, LogId(id), config(IoMode::Blocking, false).log).unwrap();
    world.logs.write().unwrap().insert(name.to_owned(), log);
}

fn replace_many(store: &Store, world: &World, seed: u64) {
    let mut dice = Dice(seed);
    let began = Instant::now();
    while began.elapsed() < ROUND && !world.stopped() {
        thread::sleep(Duration::from_micros(dice.roll(8000)));
        let name = format!("t-{}", dice.roll(NAMES as u64));
        let there = world.logs.read().unwrap().get(&name).cloned();
        if let Some(log) = there {
            world.story(&log).deleted.store(true, Ordering::SeqCst);
            store.delete_log(&name).unwrap();
            world.logs.write().unwrap().remove(&name);
        }
        create(store, world, &name);
    }
}

/// How a round ends, with appends and cuts under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Drop,
}

fn round(dir: &Path, mode: IoMode, world: &Arc<World>, seed: u64, end: End) {
    let store = Store::open(dir, config(mode, seed.is_multiple_of(4))).unwrap();
    for log in store.logs() {
        check_log(&log, &world.story(&log));
        world.logs.write().unwrap().insert(log.name().to_owned(), log);
    }
    for name in (0..NAMES).map(|n| format!("t-{n}")) {
        if store.log(&name).is_none() {
            create(&store, world, &name);
        }
    }
    let worker = |work: fn(&World, u64), seed: u64| {
        let world = Arc::clone(world);
        thread::spawn(move || work(&world, seed))
    };
    let mut workers: Vec<_> = (0..APPENDERS).map(|n| worker(append_to_many, seed * 31 + n + 1)).collect();
    workers.push(worker(cut_many, seed * 37 + 1));
    workers.push(worker(cut_many, seed * 41 + 1));
    workers.push(worker(read_many, seed * 43 + 1));
    replace_many(&store, world, seed * 47 + 1);
    world.ending.store(true, Ordering::SeqCst);
    if end == End::Close {
        store.close().unwrap();
    }
    assert!(store.failure().is_none());
    drop(store);
    world.stop.store(true, Ordering::SeqCst);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    world.logs.write().unwrap().clear();
    world.stop.store(false, Ordering::SeqCst);
    world.ending.store(false, Ordering::SeqCst);
}

/// Everything that was appended is there, unless it was taken away; and nothing else is.
fn check_log(log: &Log, story: &Story) {
    let progress = log.progress();
    assert_eq!(progress.durable, progress.written);
    assert!(!story.deleted.load(Ordering::SeqCst), "{} was deleted", log.name());
    assert!(progress.start.0 >= story.start.load(Ordering::SeqCst), "{} starts again before", log.name());
    let mut found = HashMap::new();
    let mut next = None;
    for (header, bytes) in read_all(log, progress.start) {
        assert!(next.is_none_or(|next| next == header.base_offset), "{}: a gap", log.name());
        next = Some(header.end_offset());
        found.insert(header.base_offset, tag_of(&bytes));
    }
    assert!(next.is_none_or(|next| next == progress.written));
    let cuts = story.cuts.lock().unwrap();
    let kept = story.kept.lock().unwrap();
    for one in kept.iter().filter(|one| one.base >= progress.start) {
        let cut = cuts.iter().any(|cut| cut.end < one.end && cut.done > one.begun);
        let there = found.get(&one.base) == Some(&one.tag);
        assert!(there || cut, "{}: {one:?} is lost, {progress:?}", log.name());
    }
    for (base, tag) in found {
        let appended = kept.iter().any(|one| (one.base, one.tag) == (base, tag));
        assert!(appended, "{}: nobody appended {tag} at {base}", log.name());
    }
}

fn stress(mode: IoMode, seconds: u64) {
    let began = Instant::now();
    let mut seed = 0x5eed;
    while began.elapsed() < Duration::from_secs(seconds) {
        // A new store now and then: the first file of the journal is made in the middle of it all.
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(World::default());
        for end in [End::Drop, End::Close, End::Drop] {
            seed += 1;
            round(dir.path(), mode, &world, seed, end);
        }
        let store = Store::open(dir.path(), config(mode, false)).unwrap();
        store.logs().iter().for_each(|log| check_log(log, &world.story(log)));
    }
}

#[test]
fn threads_keep_every_promise_and_nobody_waits_for_ever() {
    let seconds = std::env::var("RINGMAIN_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds: u64 = seconds.unwrap_or(SECONDS);
    for mode in modes() {
        let (done, finished) = mpsc::sync_channel(1);
        let work = thread::spawn(move || {
            stress(mode, seconds);
            done.send(()).unwrap();
        });
        match finished.recv_timeout(Duration::from_secs(seconds) + HANG) {
            Ok(()) => work.join().unwrap(),
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{mode:?}: {:?}", work.join().err()),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{mode:?}: it hangs"),
        }
    }
}
