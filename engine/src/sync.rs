//! The syncing thread: makes the logs durable that someone waits for, many at once.
//!
//! Whoever waits puts its log in the queue; the thread takes all that are there, syncs their files
//! side by side and moves their watermarks. What arrives meanwhile shares the next round.

use crate::error::StoreFailed;
use crate::io::{Io, SyncQueue};
use crate::log::Log;
use crate::offset::Offset;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

/// What the syncing thread is asked to do, and the store's failure if there was one.
#[derive(Debug, Default)]
pub(crate) struct Syncer {
    queue: Mutex<Queue>,
    asked: Condvar,
    failed: OnceLock<StoreFailed>,
    closed: AtomicBool,
    ended: AtomicBool,
}

/// At most one entry for each log of the store.
#[derive(Debug, Default)]
struct Queue {
    logs: Vec<Arc<Log>>,
    stop: bool,
}

impl Syncer {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the log made durable up to its present end. Once is enough for all who wait.
    pub(crate) fn request(&self, log: &Arc<Log>) {
        if !log.sync_queued.swap(true, Ordering::AcqRel) {
            self.lock().logs.push(Arc::clone(log));
            self.asked.notify_one();
        }
    }

    pub(crate) fn failure(&self) -> Option<StoreFailed> {
        self.failed.get().cloned()
    }

    /// Whether the store was closed: no append begins after it.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether nothing will be synced any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Ends all writing to the store. The first failure is the one that is told.
    pub(crate) fn fail(&self, what: String, source: io::Error) -> StoreFailed {
        let failed = self.failed.get_or_init(|| {
            tracing::error!("{what} failed: {source}; the store takes no more writes");
            StoreFailed { what, source: Arc::new(source) }
        });
        failed.clone()
    }

    /// Starts the thread. `depth` syncs run at once where the backend can.
    pub(crate) fn start(self: &Arc<Self>, io: &Arc<dyn Io>, depth: u32) -> io::Result<SyncThread> {
        let queue = io.sync_queue(depth)?;
        let (syncer, io) = (Arc::clone(self), Arc::clone(io));
        let thread = Builder::new().name("ringmain-sync".into()).spawn(move || syncer.run(&*io, queue))?;
        Ok(SyncThread { syncer: Arc::clone(self), thread: Some(thread) })
    }

    fn run(&self, io: &dyn Io, mut queue: Box<dyn SyncQueue>) {
        loop {
            let (logs, stop) = {
                let mut asked = self.lock();
                while asked.logs.is_empty() && !asked.stop {
                    asked = self.asked.wait(asked).unwrap_or_else(PoisonError::into_inner);
                }
                (std::mem::take(&mut asked.logs), asked.stop)
            };
            self.round(io, &mut *queue, &logs);
            if stop {
                return;
            }
        }
    }

    fn round(&self, io: &dyn Io, queue: &mut dyn SyncQueue, logs: &[Arc<Log>]) {
        let mut ends: Vec<Offset> = Vec::with_capacity(logs.len());
        for (token, log) in logs.iter().enumerate() {
            // In this order: what is asked for from here on belongs to the next round, what was
            // asked for before is written already.
            log.sync_queued.store(false, Ordering::Release);
            let progress = log.progress();
            ends.push(progress.written);
            if self.failed.get().is_some() {
                continue;
            }
            for segment in log.segment_list().iter() {
                if segment.extent().end > progress.durable && segment.base < progress.written {
                    queue.submit(token, Arc::clone(&segment.file));
                }
            }
            // A log is marked as deleted before its directory goes away: the error may be only that.
            if log.dir_changed.swap(false, Ordering::AcqRel)
                && let Err(err) = io.sync_dir(&log.dir)
                && !log.is_deleted()
            {
                self.fail(format!("syncing the directory of {}", log.name), err);
            }
        }
        for (token, outcome) in queue.wait_all() {
            if let Err(err) = outcome {
                self.fail(format!("syncing {}", logs[token].name), err);
            }
        }
        for (log, end) in logs.iter().zip(ends) {
            // After a failure nothing counts as durable; those who wait find the failure.
            if self.failed.get().is_none() {
                log.watermarks.synced(end);
            }
            log.watermarks.wake_all();
        }
    }
}

/// Stops the thread when dropped, after the round under way.
#[derive(Debug)]
pub(crate) struct SyncThread {
    syncer: Arc<Syncer>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.syncer.lock().stop = true;
        self.syncer.asked.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by it.
            let _ = thread.join();
        }
    }
}
