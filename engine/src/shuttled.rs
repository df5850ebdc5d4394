//! What threads share, run under `shuttle`: the store with its threads on the simulated disk, in many of the
//! orders in which they may take turns. A thread that is not woken shows as a deadlock. See `scripts/shuttle`.
//!
//! Covered: the journal's inbox, parking and waking; completions and watermarks; notes; `begin_sync`,
//! `try_begin_sync` and `end_sync`; `begin_cut`; the housekeeping thread; the end of a store. Not covered: what
//! only the order of memory accesses shows, since all atomics are sequentially consistent here; the queues
//! of the real backends; `event-listener` itself, which `sync` replaces.

use crate::error::AppendError;
use crate::io::sim::Disk;
use crate::io::{
    Block, CommitQueue, DirectFile, Done, Io, IoFile, IoMode, Locked, OpenMode, SyncQueue, Wake,
};
use crate::log::{Log, LogConfig, LogId, WaitError};
use crate::offset::Offset;
use crate::record::BatchBuilder;
use crate::store::{Store, StoreConfig};
use crate::sync::{Condvar, Mutex, thread};
use crate::watermark::Durability;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// Orders tried for each test, unless `RINGMAIN_SHUTTLE` says how many.
const ORDERS: usize = 300;

/// The simulated disk with a journal's queue whose thread sleeps while nothing is to be done.
#[derive(Debug)]
struct Threaded(Disk);

#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

enum Operation {
    Write { token: u64, file: Arc<dyn DirectFile>, position: u64, block: Block },
    Sync { token: u64, file: Arc<dyn IoFile> },
}

#[derive(Default)]
struct Commits {
    begun: Vec<Operation>,
    waited: bool,
    /// Calls of `poll` that found nothing done: it takes a while.
    polls: usize,
    bell: Arc<Bell>,
}

impl CommitQueue for Commits {
    fn write(&mut self, token: u64, file: &Arc<dyn DirectFile>, position: u64, block: Block) {
        self.begun.push(Operation::Write { token, file: Arc::clone(file), position, block });
    }

    fn sync(&mut self, token: u64, file: &Arc<dyn IoFile>) {
        self.begun.push(Operation::Sync { token, file: Arc::clone(file) });
    }

    fn poll(&mut self) -> Vec<Done> {
        self.polls += 1;
        if !std::mem::take(&mut self.waited) && self.polls < 3 {
            return Vec::new();
        }
        self.polls = 0;
        let begun = std::mem::take(&mut self.begun);
        let done = |operation| match operation {
            Operation::Write { token, file, position, block } => {
                Done { token, outcome: file.write_at(&block, position), block: Some(block) }
            }
            Operation::Sync { token, file } => Done { token, outcome: file.sync_data(), block: None },
        };
        begun.into_iter().map(done).collect()
    }

    fn wait(&mut self) {
        self.waited = true;
        let mut rung = self.bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while self.begun.is_empty() && !*rung {
            rung = self.bell.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.bell) as Arc<dyn Wake>
    }
}

impl Io for Threaded {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        self.0.open(path, mode)
    }

    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DirectFile>> {
        self.0.open_direct(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Locked>> {
        self.0.lock(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.exists(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.0.is_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    fn sync_queue(&self, depth: u32) -> io::Result<Box<dyn SyncQueue>> {
        self.0.sync_queue(depth)
    }

    fn commit_queue(&self, _depth: u32) -> io::Result<Box<dyn CommitQueue>> {
        Ok(Box::new(Commits::default()))
    }
}

/// A store with its threads, and a log; with a journal, or before there is a file of it.
fn made(journal: bool, range_bytes_max: u64) -> (Arc<Store>, Arc<Log>) {
    let disk = Disk::new(1);
    disk.set_write_back(0);
    let dir = Path::new("/store");
    let config = StoreConfig {
        journal_file_bytes: 16 << 10,
        journal_files_max: 2,
        journal_entry_bytes_max: 4096,
        journal_range_bytes_max: range_bytes_max,
        ..StoreConfig::default()
    };
    if journal {
        let store = crate::sim::open(&disk, dir, config.clone()).unwrap();
        store.core().journal.house.want_file();
        while crate::sim::step_checkpoint(&store) {}
    }
    let io: Arc<dyn Io> = Arc::new(Threaded(disk));
    let store = Store::open_with(dir.to_owned(), config, IoMode::Blocking, io, true).unwrap();
    let log = store.create_log("t-0", LogId([1; 16]), LogConfig::default()).unwrap();
    (Arc::new(store), log)
}

fn append(log: &Arc<Log>, durability: Durability) -> Result<crate::Appended, AppendError> {
    let mut builder = BatchBuilder::new();
    builder.push(1, None, Some(b"value"));
    log.append(&mut builder.finish().unwrap(), durability)
}

fn durable(log: &Arc<Log>) {
    append(log, Durability::Durable).unwrap().completion.wait().unwrap();
}

fn orders(test: impl Fn() + Send + Sync + 'static) {
    let orders = std::env::var("RINGMAIN_SHUTTLE").ok().and_then(|count| count.parse().ok());
    let orders = orders.unwrap_or(ORDERS);
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    let test = Arc::new(test);
    let again = Arc::clone(&test);
    let random = shuttle::scheduler::RandomScheduler::new(orders);
    shuttle::Runner::new(random, config.clone()).run(move || test());
    // Few changes of turn at unlikely places.
    let few = shuttle::scheduler::PctScheduler::new(3, orders);
    shuttle::Runner::new(few, config).run(move || again());
}

/// Runs all in threads of their own.
fn together(works: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = works.into_iter().map(thread::spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn who_waits_for_durability_is_woken() {
    for (journal, range_bytes_max) in [(true, 4096), (true, 0), (false, 4096)] {
        orders(move || {
            let (store, log) = made(journal, range_bytes_max);
            let other = store.create_log("t-1", LogId([2; 16]), LogConfig::default()).unwrap();
            let work = |log: Arc<Log>| -> Box<dyn FnOnce() + Send> {
                Box::new(move || (0..2).for_each(|_| durable(&log)))
            };
            together(vec![work(Arc::clone(&log)), work(Arc::clone(&log)), work(other)]);
            assert_eq!(log.progress().durable, Offset(4));
        });
    }
}

#[test]
fn a_checkpoint_and_a_sync_of_segments_take_turns() {
    for range_bytes_max in [4096, 0] {
        orders(move || {
            let (store, log) = made(true, range_bytes_max);
            let (one, two, keeper) = (Arc::clone(&log), Arc::clone(&log), Arc::clone(&store));
            together(vec![
                Box::new(move || durable(&one)),
                Box::new(move || keeper.core().checkpoint(true).unwrap()),
                Box::new(move || durable(&two)),
            ]);
            assert_eq!(log.progress().durable, Offset(2));
        });
    }
}

#[test]
fn a_cut_leaves_nobody_waiting() {
    for range_bytes_max in [4096, 0] {
        orders(move || {
            let (store, log) = made(true, range_bytes_max);
            durable(&log);
            let (one, two, keeper) = (Arc::clone(&log), Arc::clone(&log), Arc::clone(&store));
            together(vec![
                Box::new(move || {
                    let appended = append(&one, Durability::Durable).unwrap();
                    assert!(matches!(appended.completion.wait(), Ok(()) | Err(WaitError::Truncated)));
                }),
                Box::new(move || assert_eq!(two.truncate(Offset(1)).unwrap(), Offset(1))),
                Box::new(move || keeper.core().checkpoint(true).unwrap()),
            ]);
            durable(&log);
        });
    }
}

#[test]
fn two_cuts_and_a_deletion_take_turns() {
    orders(|| {
        let (store, log) = made(true, 4096);
        let other = store.create_log("t-1", LogId([2; 16]), LogConfig::default()).unwrap();
        durable(&log);
        durable(&other);
        let keeper = Arc::clone(&store);
        together(vec![
            Box::new(move || assert_eq!(log.truncate(Offset(0)).unwrap(), Offset(0))),
            Box::new(move || drop(other.advance_start(Offset(1)))),
            Box::new(move || keeper.delete_log("t-1").unwrap()),
        ]);
    });
}

#[test]
fn the_end_of_a_store_leaves_nobody_waiting() {
    orders(|| {
        let (store, log) = made(true, 4096);
        let other = Arc::clone(&log);
        together(vec![
            Box::new(move || match append(&other, Durability::Durable) {
                Ok(appended) => {
                    assert!(matches!(appended.completion.wait(), Ok(()) | Err(WaitError::Closed)))
                }
                Err(refused) => assert!(matches!(refused, AppendError::Closed)),
            }),
            Box::new(move || drop(store)),
        ]);
        assert!(append(&log, Durability::Written).is_err());
    });
}

#[test]
fn whoever_awaits_is_woken() {
    orders(|| {
        let (_store, log) = made(true, 4096);
        let other = Arc::clone(&log);
        let reader = thread::spawn(move || shuttle::future::block_on(other.visible_beyond(Offset(0))));
        let appended = append(&log, Durability::Durable).unwrap();
        shuttle::future::block_on(appended.completion.done()).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn what_nobody_waits_for_becomes_durable() {
    orders(|| {
        let (store, log) = made(true, 4096);
        let other = store.create_log("t-1", LogId([2; 16]), LogConfig::default()).unwrap();
        let quiet = Arc::clone(&other);
        let reader = thread::spawn(move || shuttle::future::block_on(quiet.visible_beyond(Offset(0))));
        drop(append(&other, Durability::Durable).unwrap());
        // Visible only when it is durable; nobody else asks for that.
        reader.join().unwrap();
        durable(&log);
    });
}

#[test]
fn who_waits_for_several_logs_is_woken() {
    orders(|| {
        let (store, log) = made(true, 4096);
        let other = store.create_log("t-1", LogId([2; 16]), LogConfig::default()).unwrap();
        let (one, two) = (Arc::clone(&log), Arc::clone(&other));
        let waits = move || {
            let pending = [&one, &two].map(|log| append(log, Durability::Durable).unwrap().completion);
            pending.iter().for_each(|completion| completion.wait().unwrap());
        };
        together(vec![Box::new(waits), Box::new(move || durable(&other))]);
    });
}

#[test]
fn a_sync_that_was_refused_is_asked_for_again() {
    orders(|| {
        // Without threads, so that nobody takes the log out of the inbox.
        let disk = Disk::new(1);
        let store = crate::sim::open(&disk, Path::new("/store"), StoreConfig::default()).unwrap();
        let log = store.create_log("t-0", LogId([1; 16]), LogConfig::default()).unwrap();
        log.begin_sync();
        let (one, two) = (Arc::clone(&log), Arc::clone(&log));
        let other = thread::spawn(move || one.end_sync());
        let begun = two.try_begin_sync();
        other.join().unwrap();
        assert!(begun || log.queued.load(crate::sync::atomic::Ordering::SeqCst), "it is forgotten");
    });
}
