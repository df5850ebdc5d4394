//! How far a log is: start, durable, written, and what may be read.
//!
//! One type owns them, so their order holds everywhere: `start <= durable <= written` and
//! `visible <= written`. Ends are exclusive.

use crate::offset::Offset;
use crate::sync::Event;
use crate::sync::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::PoisonError;

/// What an append waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: what happens to it is not asked.
    None,
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

/// A batch boundary: an offset, and where it is in which segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: Offset,
    /// The segment, by its base offset.
    pub(crate) segment: Offset,
    pub(crate) bytes: u64,
}

/// What a log has that the journal has not seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) from: Position,
    pub(crate) to: Position,
    pub(crate) durable: Offset,
    /// Another one means that the log was cut since: what was begun for it counts no more.
    pub(crate) generation: u64,
}

impl Range {
    pub(crate) fn is_empty(&self) -> bool {
        self.from.offset >= self.to.offset
    }
}

/// The rule, without threads.
#[derive(Debug)]
struct Marks {
    start: Offset,
    durable: Offset,
    /// What is in the journal or on its way to it, at least.
    journaled: Position,
    written: Position,
    /// Appended with [`Durability::Durable`] and not durable yet, in order.
    pending: VecDeque<(Offset, Offset)>,
    generation: u64,
    /// Where the latest cuts were, one for each generation.
    cuts: VecDeque<Offset>,
}

/// Cuts remembered: whoever has waited through more of them is told that its records were cut.
const CUTS_MAX: u64 = 64;

/// What has become of records that someone waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Pending,
    Durable,
    /// The log was cut before them.
    Cut,
}

impl Marks {
    fn recovered(start: Offset, end: Position) -> Self {
        let durable = end.offset;
        Self {
            start,
            durable,
            journaled: end,
            written: end,
            pending: VecDeque::new(),
            generation: 0,
            cuts: VecDeque::new(),
        }
    }

    /// Of what was appended in `generation` and ends at `end`.
    fn standing(&self, end: Offset, generation: u64) -> Standing {
        let since = self.generation - generation;
        let kept = since <= CUTS_MAX && self.cuts.iter().rev().take(since as usize).all(|cut| end <= *cut);
        match (kept, self.durable >= end) {
            (false, _) => Standing::Cut,
            (true, true) => Standing::Durable,
            (true, false) => Standing::Pending,
        }
    }

    fn range(&self) -> Range {
        let (from, to) = (self.journaled, self.written);
        Range { from, to, durable: self.durable, generation: self.generation }
    }

    fn visible(&self) -> Offset {
        self.pending.front().map_or(self.written.offset, |(base, _)| (*base).max(self.durable))
    }

    fn appended(&mut self, end: Position, durability: Durability) {
        assert!(end.offset > self.written.offset, "an append moves the end on");
        let base = self.written.offset;
        self.written = end;
        if durability == Durability::Durable {
            let crowded = self.pending.len() >= PENDING_MAX;
            match self.pending.back_mut() {
                Some((_, last)) if *last == base || crowded => *last = end.offset,
                _ => self.pending.push_back((base, end.offset)),
            }
        }
        self.check();
    }

    fn synced(&mut self, end: Offset, generation: u64) {
        if generation != self.generation {
            return;
        }
        self.durable = self.durable.max(end);
        while self.pending.front().is_some_and(|(_, end)| *end <= self.durable) {
            self.pending.pop_front();
        }
        self.check();
    }

    fn taken(&mut self, to: Position, generation: u64) {
        if generation == self.generation && self.journaled.offset < to.offset {
            self.journaled = to;
        }
    }

    fn checkpointed(&mut self, end: Position, generation: u64) {
        self.taken(end, generation);
        self.synced(end.offset, generation);
    }

    fn cut(&mut self, end: Position) {
        assert!(self.start <= end.offset && end.offset <= self.written.offset, "a cut lies in the log");
        self.generation += 1;
        self.cuts.push_back(end.offset);
        if self.cuts.len() as u64 > CUTS_MAX {
            self.cuts.pop_front();
        }
        self.written = end;
        self.durable = self.durable.min(end.offset);
        if self.journaled.offset > end.offset {
            self.journaled = end;
        }
        self.pending.retain_mut(|(base, last)| {
            *last = (*last).min(end.offset);
            *base < *last
        });
        self.check();
    }

    fn check(&self) {
        assert!(self.start <= self.durable, "the log begins after what is durable");
        assert!(self.durable <= self.written.offset, "more is durable than was written");
        assert!(self.durable <= self.journaled.offset, "more is durable than was journaled or synced");
        assert!(self.journaled.offset <= self.written.offset, "more is journaled than was written");
        assert!(self.visible() <= self.written.offset, "more is visible than was written");
    }

    fn progress(&self) -> Progress {
        let (durable, visible) = (self.durable, self.visible());
        Progress { start: self.start, durable, written: self.written.offset, visible }
    }
}

/// The watermarks of one log, shared by its appender, its readers and the journal's thread.
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
    pub(crate) fn recovered(start: Offset, end: Position) -> Self {
        let marks = Marks::recovered(start, end);
        marks.check();
        Self { marks: Mutex::new(marks), visible_moved: Event::new(), durable_moved: Event::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn progress(&self) -> Progress {
        self.lock().progress()
    }

    pub(crate) fn standing(&self, end: Offset, generation: u64) -> Standing {
        self.lock().standing(end, generation)
    }

    /// What is to be journaled next.
    pub(crate) fn range(&self) -> Range {
        self.lock().range()
    }

    /// The end, and the generation it belongs to.
    pub(crate) fn written(&self) -> (Position, u64) {
        let marks = self.lock();
        (marks.written, marks.generation)
    }

    /// All of the range is on its way to the medium. (A checkpoint may have got further meanwhile.)
    pub(crate) fn taken(&self, range: &Range) {
        self.lock().taken(range.to, range.generation);
    }

    /// Changes the marks and wakes whoever may have waited for that.
    fn change<T>(&self, change: impl FnOnce(&mut Marks) -> T) -> T {
        let (visible, durable, result) = {
            let mut marks = self.lock();
            let before = (marks.visible(), marks.durable);
            let result = change(&mut marks);
            (marks.visible() != before.0, marks.durable != before.1, result)
        };
        if durable {
            self.durable_moved.notify(usize::MAX);
        }
        if visible {
            self.visible_moved.notify(usize::MAX);
        }
        result
    }

    /// Returns what is to be journaled with it.
    pub(crate) fn appended(&self, end: Position, durability: Durability) -> Range {
        self.change(|marks| {
            marks.appended(end, durability);
            marks.range()
        })
    }

    /// Everything before `end` is on the medium.
    pub(crate) fn synced(&self, end: Offset, generation: u64) {
        self.change(|marks| marks.synced(end, generation));
    }

    /// As [`Watermarks::synced`], and the journal need not write it any more.
    pub(crate) fn checkpointed(&self, end: Position, generation: u64) {
        self.change(|marks| marks.checkpointed(end, generation));
    }

    /// The log ends here now. What was begun for what lay beyond counts no more.
    pub(crate) fn cut(&self, end: Position) {
        self.change(|marks| marks.cut(end));
        self.wake_all();
    }

    /// The log starts here now.
    pub(crate) fn started(&self, start: Offset) {
        self.change(|marks| {
            marks.start = marks.start.max(start);
            marks.check();
        });
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
        Marks::recovered(Offset(0), Position::default())
    }

    fn at(offset: i64) -> Position {
        Position { offset: Offset(offset), segment: Offset(0), bytes: offset as u64 }
    }

    /// As a commit does it.
    fn sync(marks: &mut Marks, end: i64) {
        marks.journaled = at(end.max(marks.journaled.offset.0));
        marks.synced(Offset(end), marks.generation);
    }

    #[test]
    fn a_written_batch_is_visible_at_once() {
        for durability in [Durability::None, Written] {
            let mut marks = marks();
            marks.appended(at(3), durability);
            assert_eq!(marks.visible(), Offset(3));
            assert_eq!(marks.durable, Offset(0));
        }
    }

    #[test]
    fn a_durable_batch_hides_itself_and_all_after_it_until_it_is_synced() {
        let mut marks = marks();
        marks.appended(at(2), Written);
        marks.appended(at(5), Durable);
        marks.appended(at(7), Written);
        assert_eq!(marks.visible(), Offset(2));
        sync(&mut marks, 5);
        assert_eq!(marks.visible(), Offset(7));
    }

    #[test]
    fn a_sync_of_a_part_shows_that_part_only() {
        let mut marks = marks();
        marks.appended(at(2), Durable);
        marks.appended(at(4), Written);
        marks.appended(at(6), Durable);
        sync(&mut marks, 2);
        assert_eq!(marks.visible(), Offset(4));
        sync(&mut marks, 6);
        assert_eq!(marks.visible(), Offset(6));
    }

    #[test]
    fn many_pending_ranges_are_merged_and_never_shown_early() {
        let mut marks = marks();
        for n in 0..4 * PENDING_MAX as i64 {
            marks.appended(at(2 * n + 1), Written);
            marks.appended(at(2 * n + 2), Durable);
        }
        assert!(marks.pending.len() <= PENDING_MAX);
        assert_eq!(marks.visible(), Offset(1));
        let end = marks.written.offset;
        sync(&mut marks, end.0);
        assert_eq!(marks.visible(), end);
    }

    #[test]
    fn what_was_begun_before_a_cut_counts_no_more() {
        let mut marks = marks();
        marks.appended(at(4), Written);
        marks.appended(at(8), Durable);
        let before = marks.generation;
        marks.journaled = at(8);
        marks.cut(at(6));
        assert_eq!(
            (marks.visible(), marks.written.offset, marks.journaled.offset),
            (Offset(4), Offset(6), Offset(6))
        );
        marks.appended(at(9), Written);
        marks.synced(Offset(8), before);
        assert_eq!(marks.durable, Offset(0), "offsets 6 and 7 are others now");
        sync(&mut marks, 6);
        assert_eq!(marks.visible(), Offset(9));
        sync(&mut marks, 9);
        let of = |end, generation| marks.standing(Offset(end), generation);
        assert_eq!(
            [of(6, before), of(8, before), of(9, before + 1)],
            [Standing::Durable, Standing::Cut, Standing::Durable]
        );
    }

    #[test]
    fn a_checkpoint_may_get_further_than_an_entry_that_is_being_put_together() {
        let mut marks = marks();
        marks.appended(at(4), Durable);
        let range = marks.written;
        marks.appended(at(9), Durable);
        marks.checkpointed(at(9), 0);
        marks.taken(range, 0);
        marks.synced(Offset(4), 0);
        assert_eq!((marks.durable, marks.journaled.offset), (Offset(9), Offset(9)));
    }

    #[test]
    #[should_panic(expected = "more is durable than was journaled or synced")]
    fn nothing_is_durable_that_was_not_on_its_way() {
        let mut marks = marks();
        marks.appended(at(4), Durable);
        marks.synced(Offset(4), 0);
    }
}
