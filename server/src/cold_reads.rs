//! Reads that have to wait for the medium: on threads for what blocks, never on a shard, and only so many at once.

use crate::blocking::Blocking;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Who may read at once.
#[derive(Debug)]
pub(crate) struct ColdReads {
    blocking: Blocking,
    slots: Semaphore,
    done: AtomicU64,
    time_us: AtomicU64,
    waiting: AtomicU64,
}

/// Counts of cold reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    /// Those that are over.
    pub(crate) done: u64,
    /// Their time, with that for which they waited for their turn.
    pub(crate) time: Duration,
    /// Those under way, or waiting for their turn.
    pub(crate) waiting: u64,
}

/// One that is under way. Counted as over when it is dropped, however that comes.
struct UnderWay<'a>(&'a ColdReads, Instant);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Self(reads, began) = self;
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        reads.waiting.fetch_sub(1, Ordering::Relaxed);
        reads.done.fetch_add(1, Ordering::Relaxed);
        reads.time_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl ColdReads {
    /// At most `reads_max` at once.
    pub(crate) fn new(reads_max: usize, blocking: Blocking) -> Self {
        let zero = || AtomicU64::new(0);
        Self { blocking, slots: Semaphore::new(reads_max), done: zero(), time_us: zero(), waiting: zero() }
    }

    /// What was counted since the start.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            done: self.done.load(Ordering::Relaxed),
            time: Duration::from_micros(self.time_us.load(Ordering::Relaxed)),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Runs what may block.
    ///
    /// # Errors
    /// It ended early.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _under_way = UnderWay(self, Instant::now());
        let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
        self.blocking.run(read).await
    }
}
