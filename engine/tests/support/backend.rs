//! The three backends, so that one test runs on each: plain system calls, a ring, and the simulated disk.

use ringmain_engine::sim::{self, Disk, Faults};
use ringmain_engine::{Completion, IoMode, Log, OpenError, Store, StoreConfig, WaitError};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long the threads of a store may take for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a store lives, and by what I/O.
pub(crate) enum Backend {
    Real { mode: IoMode, root: tempfile::TempDir },
    Sim { disk: Disk },
}

impl Backend {
    pub(crate) fn blocking() -> Self {
        Self::Real { mode: IoMode::Blocking, root: tempfile::tempdir().unwrap() }
    }

    /// Nothing where no ring can be had, or `RINGMAIN_IO` forbids it.
    pub(crate) fn uring() -> Option<Self> {
        let found = IoMode::detect() == IoMode::Uring;
        found.then(|| Self::Real { mode: IoMode::Uring, root: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn sim(seed: u64) -> Self {
        Self::Sim { disk: Disk::new(seed) }
    }

    /// All that can be had here.
    pub(crate) fn all(seed: u64) -> impl Iterator<Item = Self> {
        [Some(Self::blocking()), Self::uring(), Some(Self::sim(seed))].into_iter().flatten()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Real { mode, .. } => mode.name(),
            Self::Sim { .. } => "sim",
        }
    }

    /// The store's directory.
    pub(crate) fn dir(&self) -> PathBuf {
        match self {
            Self::Real { root, .. } => root.path().join("store"),
            Self::Sim { .. } => "/store".into(),
        }
    }

    /// The simulated disk, for what only it can do.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        match self {
            Self::Real { .. } => None,
            Self::Sim { disk } => Some(disk),
        }
    }

    /// The directory, where it can be looked into.
    pub(crate) fn real_dir(&self) -> Option<PathBuf> {
        matches!(self, Self::Real { .. }).then(|| self.dir())
    }

    pub(crate) fn try_open(&self, config: StoreConfig) -> Result<Store, OpenError> {
        match self {
            Self::Real { mode, .. } => {
                Store::open(self.dir(), StoreConfig { io_mode: Some(*mode), ..config })
            }
            Self::Sim { disk } => sim::open(disk, &self.dir(), config),
        }
    }

    pub(crate) fn open(&self, config: StoreConfig) -> Store {
        self.try_open(config).unwrap_or_else(|err| panic!("{}: {err}", self.name()))
    }

    /// As [`Backend::open`], with a file in the journal, which is there from the first start that needed one on.
    pub(crate) fn open_with_journal(&self, config: StoreConfig) -> Store {
        let store = self.open(config);
        let first = store.create_log("first-0", super::id(255), super::small()).unwrap();
        self.with_journal(&store, &first);
        store.delete_log("first-0").unwrap();
        store
    }

    /// The process ends without a clean stop; what was written stays.
    pub(crate) fn crash(&self, store: Store) {
        drop(store);
        if let Self::Sim { disk } = self {
            disk.process_kill();
        }
    }

    /// The worst that can be had here: the loss of power on the simulated disk, else the end of the
    /// process. Says whether what was only written may be lost.
    pub(crate) fn lose_power(&self, store: Store) -> bool {
        drop(store);
        if let Self::Sim { disk } = self {
            disk.power_loss();
        }
        matches!(self, Self::Sim { .. })
    }

    /// Does what the store's threads would do, where it has none.
    pub(crate) fn drive(&self, store: &Store) -> bool {
        match self {
            Self::Real { .. } => false,
            Self::Sim { .. } => sim::step_journal(store),
        }
    }

    /// Waits until the journal has a file to write to; before that, segments are synced.
    pub(crate) fn with_journal(&self, store: &Store, log: &Arc<Log>) {
        super::append(log, super::batch(0, 1, 0), ringmain_engine::Durability::Durable);
        match self {
            Self::Real { .. } => self.until("a journal file", || self.dir().join("journal/0").exists()),
            Self::Sim { .. } => {
                while sim::step_checkpoint(store) {}
                while sim::step_journal(store) {}
            }
        }
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "{}: there is no {what}", self.name());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Awaits a completion, and does the work of a store without threads meanwhile.
    pub(crate) fn block_on(&self, store: &Store, completion: &Completion) -> Result<(), WaitError> {
        self.await_(store, completion.done())
    }

    /// As [`Backend::block_on`], for any future.
    pub(crate) fn await_<T>(&self, store: &Store, future: impl Future<Output = T>) -> T {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        let begun = Instant::now();
        loop {
            if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
                return outcome;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: nobody woke the one who waits", self.name());
            if matches!(self, Self::Sim { .. }) {
                self.drive(store);
                sim::step_checkpoint(store);
            } else {
                std::thread::park_timeout(PATIENCE);
            }
        }
    }
}

/// Ends a disk's misfortunes when dropped.
pub(crate) struct FullDisk<'a>(&'a Disk);

impl<'a> FullDisk<'a> {
    /// From now on nothing more fits.
    pub(crate) fn new(disk: &'a Disk) -> Self {
        disk.set_capacity(disk.used_bytes());
        Self(disk)
    }
}

impl Drop for FullDisk<'_> {
    fn drop(&mut self) {
        self.0.set_capacity(u64::MAX);
        self.0.set_faults(Faults::default());
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Files of a directory that can be looked into, with an ending.
pub(crate) fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|one| one == ending));
    found.sort();
    found
}
