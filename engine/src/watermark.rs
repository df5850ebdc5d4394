//! How far a log is: start, durable, written, and what may be read.
//!
//! One type owns them, so their order holds everywhere: `start <= durable <= written` and
//! `visible <= written`. Ends are exclusive.

use crate::offset::Offset;
use event_listener::Event;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What an append waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In the page cache: survives the end of the process.
    Written,
    /// On the medium: survives the loss of power.
    Durable,
}

/// The watermarks of a log at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The first offset that the log still has (Kafka's log start offset).
    pub start: Offset,
    /// The end of what survives the loss of power.
    pub durable: Offset,
    /// The end of what was appended (Kafka's log end offset).
    pub written: Offset,
    /// The end of what may be read: a batch is visible once what its own producer asked for holds
    /// for it and for everything before it.
    pub visible: Offset,
}

/// Ranges remembered that wait for durability; beyond it neighbours are merged, which only delays
/// visibility.
const PENDING_MAX: usize = 1024;

/// The rule, without threads.
#[derive(Debug)]
struct Marks {
    start: Offset,
    durable: Offset,
    written: Offset,
    /// Appended with [`Durability::Durable`] and not durable yet, in order.
    pending: VecDeque<(Offset, Offset)>,
}

impl Marks {
    fn visible(&self) -> Offset {
        self.pending.front().map_or(self.written, |(base, _)| (*base).max(self.durable))
    }

    fn appended(&mut self, end: Offset, durability: Durability) {
        assert!(end > self.written, "an append moves the end on");
        let base = self.written;
        self.written = end;
        if durability == Durability::Durable {
            let crowded = self.pending.len() >= PENDING_MAX;
            match self.pending.back_mut() {
                Some((_, last)) if *last == base || crowded => *last = end,
                _ => self.pending.push_back((base, end)),
            }
        }
        self.check();
    }

    fn synced(&mut self, end: Offset) {
        self.durable = self.durable.max(end);
        while self.pending.front().is_some_and(|(_, end)| *end <= self.durable) {
            self.pending.pop_front();
        }
        self.check();
    }

    fn check(&self) {
        assert!(self.start <= self.durable, "the log begins after what is durable");
        assert!(self.durable <= self.written, "more is durable than was written");
        assert!(self.visible() <= self.written, "more is visible than was written");
    }

    fn progress(&self) -> Progress {
        Progress { start: self.start, durable: self.durable, written: self.written, visible: self.visible() }
    }
}

/// The watermarks of one log, shared by its appender, its readers and the syncing thread.
#[derive(Debug)]
pub(crate) struct Watermarks {
    marks: Mutex<Marks>,
    /// Rung when `visible` moves, and at the log's end.
    pub(crate) visible_moved: Event,
    /// Rung when `durable` moves, and when waiting for it has become useless.
    pub(crate) durable_moved: Event,
}

impl Watermarks {
    /// Of a log that was recovered: all there is, is durable.
    pub(crate) fn recovered(start: Offset, end: Offset) -> Self {
        let marks = Marks { start, durable: end, written: end, pending: VecDeque::new() };
        marks.check();
        Self { marks: Mutex::new(marks), visible_moved: Event::new(), durable_moved: Event::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn progress(&self) -> Progress {
        self.lock().progress()
    }

    pub(crate) fn appended(&self, end: Offset, durability: Durability) {
        let moved = {
            let mut marks = self.lock();
            let before = marks.visible();
            marks.appended(end, durability);
            marks.visible() > before
        };
        if moved {
            self.visible_moved.notify(usize::MAX);
        }
    }

    pub(crate) fn synced(&self, end: Offset) {
        let moved = {
            let mut marks = self.lock();
            let before = marks.visible();
            marks.synced(end);
            marks.visible() > before
        };
        self.durable_moved.notify(usize::MAX);
        if moved {
            self.visible_moved.notify(usize::MAX);
        }
    }

    pub(crate) fn wake_all(&self) {
        self.durable_moved.notify(usize::MAX);
        self.visible_moved.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Durable, Written};

    fn marks() -> Marks {
        Marks { start: Offset(0), durable: Offset(0), written: Offset(0), pending: VecDeque::new() }
    }

    #[test]
    fn a_written_batch_is_visible_at_once() {
        let mut marks = marks();
        marks.appended(Offset(3), Written);
        assert_eq!(marks.visible(), Offset(3));
        assert_eq!(marks.durable, Offset(0));
    }

    #[test]
    fn a_durable_batch_hides_itself_and_all_after_it_until_it_is_synced() {
        let mut marks = marks();
        marks.appended(Offset(2), Written);
        marks.appended(Offset(5), Durable);
        marks.appended(Offset(7), Written);
        assert_eq!(marks.visible(), Offset(2));
        marks.synced(Offset(5));
        assert_eq!(marks.visible(), Offset(7));
    }

    #[test]
    fn a_sync_of_a_part_shows_that_part_only() {
        let mut marks = marks();
        marks.appended(Offset(2), Durable);
        marks.appended(Offset(4), Written);
        marks.appended(Offset(6), Durable);
        marks.synced(Offset(2));
        assert_eq!(marks.visible(), Offset(4));
        marks.synced(Offset(6));
        assert_eq!(marks.visible(), Offset(6));
    }

    #[test]
    fn many_pending_ranges_are_merged_and_never_shown_early() {
        let mut marks = marks();
        for n in 0..4 * PENDING_MAX as i64 {
            marks.appended(Offset(2 * n + 1), Written);
            marks.appended(Offset(2 * n + 2), Durable);
        }
        assert!(marks.pending.len() <= PENDING_MAX);
        assert_eq!(marks.visible(), Offset(1));
        let end = marks.written;
        marks.synced(end);
        assert_eq!(marks.visible(), end);
    }
}
