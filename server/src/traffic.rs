//! What went in and out of a topic, since the broker was started.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one topic. They outlive changes of its configuration.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    produced_records: AtomicU64,
    produced_bytes: AtomicU64,
    fetched_bytes: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) produced_records: u64,
    pub(crate) produced_bytes: u64,
    pub(crate) fetched_bytes: u64,
}

impl Traffic {
    /// A batch of a producer was appended.
    pub(crate) fn produced(&self, records: u64, bytes: u64) {
        self.produced_records.fetch_add(records, Ordering::Relaxed);
        self.produced_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Batches were put into the answer to a fetch.
    pub(crate) fn fetched(&self, bytes: u64) {
        self.fetched_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The counts now.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            produced_records: self.produced_records.load(Ordering::Relaxed),
            produced_bytes: self.produced_bytes.load(Ordering::Relaxed),
            fetched_bytes: self.fetched_bytes.load(Ordering::Relaxed),
        }
    }
}
