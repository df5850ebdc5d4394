//! Whether a store still takes writes. A failed write or sync ends that for good.

use crate::error::StoreFailed;
use crate::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::OnceLock;

#[derive(Debug, Default)]
pub(crate) struct Fate {
    failed: OnceLock<StoreFailed>,
    closed: AtomicBool,
    ended: AtomicBool,
}

impl Fate {
    pub(crate) fn failure(&self) -> Option<StoreFailed> {
        self.failed.get().cloned()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get().is_some()
    }

    /// Ends all writing to the store. The first failure is the one that is told.
    pub(crate) fn fail(&self, what: String, source: io::Error) -> StoreFailed {
        let failed = self.failed.get_or_init(|| {
            tracing::error!("{what} failed: {source}; the store takes no more writes");
            StoreFailed { what, source: source.into() }
        });
        failed.clone()
    }

    /// Whether the store was closed: no append begins after it.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether nothing becomes durable any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}
