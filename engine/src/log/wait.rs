//! Waiting for a log to get on, by a thread or by any async runtime, without polling.

use super::Log;
use crate::error::StoreFailed;
use crate::offset::Offset;
use crate::sync::{Event, Listener};
use crate::watermark::{Durability, Range, Standing};
use std::sync::Arc;
use thiserror::Error;

/// Why what was waited for will not come.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The store refuses writes; what was appended may not be durable.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
    /// The log was deleted.
    #[error("the log was deleted")]
    Deleted,
    /// The log was cut before the records became durable; they are gone.
    #[error("the log was truncated before the append was durable")]
    Truncated,
    /// The store was dropped; what was appended may not be durable.
    #[error("the store was closed before the append was durable")]
    Closed,
}

/// Tells when an append is as durable as was asked for.
#[derive(Clone, Debug)]
#[must_use = "an append that asked for durability is not durable before its completion is done"]
pub struct Completion {
    log: Arc<Log>,
    /// Where it ends, and the generation of the watermarks that this end belongs to.
    durable_to: Option<(Offset, u64)>,
}

impl Completion {
    /// Of an append of `bytes` that was just made, after which this is pending.
    pub(super) fn of_append(log: &Arc<Log>, bytes: &[u8], pending: &Range, durability: Durability) -> Self {
        let durable_to =
            (durability == Durability::Durable).then_some((pending.to.offset, pending.generation));
        if durable_to.is_some() {
            log.journal.enqueue(log, Some((bytes, pending)));
        }
        Self { log: Arc::clone(log), durable_to }
    }

    /// Of an append that was made before, and that may have asked for less.
    pub(super) fn of_duplicate(log: &Arc<Log>, end: Offset, generation: u64, durability: Durability) -> Self {
        let durable_to = (durability == Durability::Durable).then_some((end, generation));
        let completion = Self { log: Arc::clone(log), durable_to };
        if completion.known().is_none() {
            log.journal.enqueue(log, None);
        }
        completion
    }

    /// The outcome, if it is known already.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<(), WaitError>> {
        let known = self.known();
        if known.is_none() {
            // Who asks again and again waits, too.
            self.log.journal.hurry();
        }
        known
    }

    fn known(&self) -> Option<Result<(), WaitError>> {
        let Some((end, generation)) = self.durable_to else { return Some(Ok(())) };
        match self.log.watermarks.standing(end, generation) {
            Standing::Durable => return Some(Ok(())),
            Standing::Cut => return Some(Err(WaitError::Truncated)),
            Standing::Pending => {}
        }
        // In this order: what a failure follows may have become durable before it.
        if let Some(failed) = self.log.failure() {
            return Some(Err(failed.into()));
        }
        if self.log.is_deleted() {
            return Some(Err(WaitError::Deleted));
        }
        self.log.journal.fate.has_ended().then_some(Err(WaitError::Closed))
    }

    /// Blocks the thread until the outcome is known.
    ///
    /// # Errors
    /// It will never be durable: the store failed or the log was deleted.
    pub fn wait(&self) -> Result<(), WaitError> {
        self.log.journal.hurry();
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            if self.log.journal.pump(true) {
                continue;
            }
            let listener = self.log.watermarks.durable_moved.listen();
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            listener.wait();
        }
    }

    /// As [`Completion::wait`], without blocking; on any runtime.
    ///
    /// # Errors
    /// As [`Completion::wait`].
    pub async fn done(&self) -> Result<(), WaitError> {
        self.log.journal.hurry();
        until(&self.log.watermarks.durable_moved, || self.outcome()).await
    }
}

impl Drop for Completion {
    /// What was asked for is done though nobody waits for it.
    fn drop(&mut self) {
        if self.durable_to.is_some() {
            self.log.journal.hurry();
        }
    }
}

impl Log {
    /// Waits until more than `end` may be read. Returns at once if so, and when the log is deleted
    /// or the store dropped.
    pub async fn visible_beyond(&self, end: Offset) {
        let moved = || {
            let over = self.is_deleted() || self.journal.fate.has_ended();
            (over || self.progress().visible > end).then_some(())
        };
        until(&self.watermarks.visible_moved, moved).await;
    }
}

/// Looks again whenever `event` rings.
async fn until<T>(event: &Event, look: impl Fn() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        let listener = event.listen();
        // Between the look and the listening it may have rung.
        if let Some(found) = look() {
            return found;
        }
        listener.await;
    }
}
