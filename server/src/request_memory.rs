//! The memory that requests may take together (`queued.max.request.bytes`): who wants some waits for it, in turn.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Requests beyond this take at most half of the memory, unless one alone needs more: a few that come slowly leave the
/// other half to all others.
const HUGE_BYTES: usize = 8 << 20;

/// What is left of it.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    /// What huge requests may take together: half of it.
    huge: Arc<Semaphore>,
    /// What those may take together that are kept until others are done: a quarter.
    kept: Arc<Semaphore>,
    /// How many wait.
    waiting: AtomicUsize,
    short: Notify,
}

/// A part of it, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: OwnedSemaphorePermit,
    _part: Option<OwnedSemaphorePermit>,
}

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.num_permits()
    }
}

impl RequestMemory {
    /// Of so many bytes, and at least of as many as one request may have.
    pub(crate) fn new(bytes: usize, request_bytes_max: usize) -> Self {
        let enough = |bytes: usize| bytes.max(request_bytes_max).min(Semaphore::MAX_PERMITS);
        Self {
            bytes: Arc::new(Semaphore::new(enough(bytes))),
            bytes_max: enough(bytes),
            huge: Arc::new(Semaphore::new(enough(bytes / 2))),
            kept: Arc::new(Semaphore::new(enough(bytes / 4))),
            waiting: AtomicUsize::new(0),
            short: Notify::new(),
        }
    }

    /// Bytes that are taken, and how many requests wait for some.
    pub(crate) fn use_now(&self) -> (u64, u64) {
        let taken = self.bytes_max.saturating_sub(self.bytes.available_permits());
        (taken as u64, self.waiting.load(Ordering::Relaxed) as u64)
    }

    /// Takes `bytes` of it, or waits for them: in turn, so that who wants much is not passed by for ever. Who waits holds
    /// nothing of the whole, and what it may hold of a part is for its like alone, so all get on.
    ///
    /// # Errors
    /// None while the broker lives.
    pub(crate) async fn hold(&self, bytes: usize) -> io::Result<Held> {
        self.hold_of((bytes > HUGE_BYTES).then_some(&self.huge), bytes).await
    }

    /// As [`RequestMemory::hold`], for a request that may keep it until others are done: with its like it takes a quarter
    /// at most, unless one alone needs more.
    ///
    /// # Errors
    /// As [`RequestMemory::hold`].
    pub(crate) async fn hold_kept(&self, bytes: usize) -> io::Result<Held> {
        self.hold_of(Some(&self.kept), bytes).await
    }

    async fn hold_of(&self, part: Option<&Arc<Semaphore>>, bytes: usize) -> io::Result<Held> {
        let part = match part {
            Some(part) => Some(self.take(part, bytes).await?),
            None => None,
        };
        Ok(Held { bytes: self.take(&self.bytes, bytes).await?, _part: part })
    }

    async fn take(&self, from: &Arc<Semaphore>, bytes: usize) -> io::Result<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(taken) = Arc::clone(from).try_acquire_many_owned(bytes) {
            return Ok(taken);
        }
        let _waits = Waits::new(self);
        Arc::clone(from).acquire_many_owned(bytes).await.map_err(io::Error::other)
    }

    /// Returns when somebody waits for memory: who has some and waits for nothing urgent gives up then.
    pub(crate) async fn is_short(&self) {
        let mut called = pin!(self.short.notified());
        // Before the look: who comes after it calls.
        called.as_mut().enable();
        if self.waiting.load(Ordering::SeqCst) == 0 {
            called.await;
        }
    }
}

/// One that waits.
struct Waits<'a>(&'a RequestMemory);

impl<'a> Waits<'a> {
    fn new(memory: &'a RequestMemory) -> Self {
        memory.waiting.fetch_add(1, Ordering::SeqCst);
        memory.short.notify_waiters();
        Self(memory)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const MIB: usize = 1 << 20;

    #[test]
    fn huge_requests_leave_half_of_it_to_the_others() {
        let memory = RequestMemory::new(64 * MIB, 16 * MIB);
        let hold = |bytes| memory.hold(bytes).now_or_never().transpose().unwrap();
        let kept = |bytes| memory.hold_kept(bytes).now_or_never().transpose().unwrap();
        let first = hold(16 * MIB).unwrap();
        let _second = hold(16 * MIB).unwrap();
        assert!(hold(9 * MIB).is_none(), "the half is taken");
        let waits = kept(10 * MIB).unwrap();
        assert!(kept(7 * MIB).is_none(), "the quarter is taken");
        drop(waits);
        let small: Vec<_> = (0..4).map(|_| hold(8 * MIB).unwrap()).collect();
        assert!(hold(1).is_none(), "all is taken");
        drop(first);
        assert!(hold(9 * MIB).is_some());
        drop(small);
        // One request has room, however little there is for all.
        let little = RequestMemory::new(1, 16 * MIB);
        assert!(little.hold(16 * MIB).now_or_never().is_some());
    }

    #[test]
    fn who_could_give_up_learns_that_somebody_waits() {
        let memory = RequestMemory::new(MIB, MIB);
        let held = memory.hold(MIB).now_or_never().unwrap().unwrap();
        assert_eq!(held.bytes(), MIB);
        let mut short = Box::pin(memory.is_short());
        assert!(short.as_mut().now_or_never().is_none());
        let mut waits = Box::pin(memory.hold(1));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(short.now_or_never().is_some(), "called");
        assert_eq!(memory.use_now(), (MIB as u64, 1));
        assert!(memory.is_short().now_or_never().is_some(), "seen");
        drop(waits);
        assert!(memory.is_short().now_or_never().is_none());
    }
}
