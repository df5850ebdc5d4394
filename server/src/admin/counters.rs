//! What a shard counts. Each shard has counters of its own, which nobody else writes to: counting costs no more than
//! an addition. They are added up when they are asked for.

use crate::api::APIS;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Upper bounds of the classes of latency, in microseconds; what is longer is in a last class.
pub(super) const BOUNDS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];
pub(super) const CLASSES: usize = BOUNDS_US.len() + 1;

/// Of one API.
#[derive(Debug, Default)]
pub(super) struct OfApi {
    pub(super) classes: [AtomicU64; CLASSES],
    pub(super) time_us: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
}

/// Of one shard. Aligned, so that no two shards write to one line of the cache.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(super) apis: Box<[OfApi]>,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) broken: AtomicU64,
    /// Errors that were told, by place in the table of APIs and code. Locked when there are any, by one shard.
    errors: Mutex<BTreeMap<(usize, i16), u64>>,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    /// Its place in the table of APIs, if it has one.
    api: Option<usize>,
    at: Instant,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            apis: APIS.iter().map(|_| OfApi::default()).collect(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            errors: Mutex::default(),
        }
    }
}

/// One writer only: no locked instruction is needed.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

impl Counters {
    /// A whole request was received.
    pub(crate) fn begun(&self, frame: &[u8]) -> Begun {
        let key = frame.first_chunk().map(|key| i16::from_be_bytes(*key));
        let api = key.and_then(|key| APIS.iter().position(|api| api.key as i16 == key));
        if let Some(of_api) = api.and_then(|api| self.apis.get(api)) {
            add(&of_api.received_bytes, frame.len() as u64);
        }
        Begun { api, at: Instant::now() }
    }

    /// Its answer was sent, with these errors in it.
    pub(crate) fn answered(&self, begun: Begun, sent_bytes: u64, errors: &[i16]) {
        let Some(api) = begun.api else { return };
        let Some(of_api) = self.apis.get(api) else { return };
        of_api.took(begun.at.elapsed());
        add(&of_api.sent_bytes, sent_bytes);
        if !errors.is_empty() {
            let mut counts = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
            errors.iter().for_each(|code| *counts.entry((api, *code)).or_default() += 1);
        }
    }

    /// Errors that were told, by place in the table of APIs and code.
    pub(super) fn errors(&self) -> BTreeMap<(usize, i16), u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn accepted(&self) {
        add(&self.accepted, 1);
    }

    pub(crate) fn refused(&self) {
        add(&self.refused, 1);
    }

    /// A connection was closed because of what its peer sent.
    pub(crate) fn broken(&self) {
        add(&self.broken, 1);
    }
}

impl OfApi {
    fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let class = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(counter) = self.classes.get(class) {
            add(counter, 1);
        }
        add(&self.time_us, us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_in_the_class_whose_bound_it_does_not_exceed() {
        let of_api = OfApi::default();
        for us in [0, 50, 51, 10_000_000, 10_000_001] {
            of_api.took(Duration::from_micros(us));
        }
        let counts = of_api.classes.each_ref().map(|class| class.load(Ordering::Relaxed));
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 1, 1, 1));
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!(of_api.time_us.load(Ordering::Relaxed), 20_000_102);
    }

    #[test]
    fn what_is_no_request_is_not_counted() {
        let counters = Counters::default();
        for frame in [&[][..], &[0], &[127, 0]] {
            let begun = counters.begun(frame);
            counters.answered(begun, 10, &[3, 3]);
        }
        assert!(counters.apis.iter().all(|of_api| of_api.sent_bytes.load(Ordering::Relaxed) == 0));
        let begun = counters.begun(&[0, 0, 0, 9]);
        counters.answered(begun, 10, &[3, 3]);
        assert_eq!(counters.apis[0].received_bytes.load(Ordering::Relaxed), 4);
        assert_eq!(counters.apis[0].sent_bytes.load(Ordering::Relaxed), 10);
        assert_eq!(counters.errors(), BTreeMap::from([((0, 3), 2)]));
    }
}
