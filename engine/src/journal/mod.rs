//! The journal: one sequential durable stream that all logs of a store share.
//!
//! Whoever waits for durability puts its log in the inbox; the journal's thread takes all logs that are
//! there, puts what each has beyond its last journaled position into one entry, and writes it durably.
//! What arrives meanwhile goes into the next. `commit` is that thread's work, `entry` the bytes,
//! `space` the files' room, `replay` what a start after a crash does with them.

mod commit;
pub(crate) mod draft;
pub(crate) mod entry;
pub(crate) mod files;
mod inbox;
pub(crate) mod replay;
mod space;
mod window;

pub(crate) use commit::Committer;

use crate::checkpoint::StoreCore;
use crate::error::StoreFailed;
use crate::fate::Fate;
use crate::housekeeping::House;
use crate::io::Wake;
use crate::log::Log;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::{Builder, JoinHandle};
use crate::sync::{Event, Listener};
use crate::sync::{Mutex, MutexGuard};
use crate::watermark::Range;
use entry::Section;
use inbox::Inbox;
use std::io;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::time::Duration;
use thiserror::Error;

/// Bounds of the journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest entry, header included.
    pub(crate) entry_bytes_max: usize,
    /// A log with more than this pending has its segments synced instead.
    pub(crate) range_bytes_max: u64,
    /// Entries under way at once.
    pub(crate) writes_max: usize,
    /// Syncs of segments under way at once.
    pub(crate) syncs_max: usize,
    /// Files of the journal.
    pub(crate) files_max: usize,
}

/// Where the next entry is written, as a checkpoint keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sequence: u64,
    pub(crate) file: usize,
    pub(crate) position: u64,
}

impl Default for Head {
    /// Sequence 0 is before all entries.
    fn default() -> Self {
        Self { sequence: 1, file: 0, position: 0 }
    }
}

/// What the journal's thread shares with all others.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) fate: Fate,
    pub(crate) house: House,
    inbox: Mutex<Inbox>,
    head: Mutex<Head>,
    waker: OnceLock<Arc<dyn Wake>>,
    /// Whether the thread waits for its waker.
    parked: AtomicBool,
    /// Whether logs are in the inbox and nobody waits for them yet.
    unheard: AtomicBool,
    /// Held by who cuts or deletes a log: each needs room for its notes, and there is room kept for one.
    cutting: Mutex<()>,
    /// Blocks that notes may take.
    note_blocks: AtomicU64,
    room_moved: Event,
    counts: Counts,
    /// In a store without threads, what they would own.
    manual: Mutex<Option<Manual>>,
    is_manual: AtomicBool,
}

/// What the journal did since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Entries that were begun: each is one durable write.
    pub entries: u64,
    /// Bytes of those entries, headers and padding included.
    pub bytes: u64,
    /// Syncs of segments that were begun in the place of entries, for logs with much to make durable at once.
    pub segment_syncs: u64,
}

#[derive(Debug, Default)]
struct Counts {
    entries: AtomicU64,
    bytes: AtomicU64,
    segment_syncs: AtomicU64,
}

#[derive(Debug)]
struct Manual {
    committer: Committer,
    core: Weak<StoreCore>,
}

/// So many bytes are worth an entry, though nobody waits for them yet: it is under way while more is appended.
const EAGER_BYTES: usize = 256 << 10;

/// How often the thread of a store that failed looks who is to be told.
const FAILED_PAUSE: Duration = Duration::from_millis(20);

/// Blocks that the notes of one cut take at most.
pub(crate) const BLOCKS_PER_CUT: u64 = 4;

/// Something other than data that must be durable before its maker goes on.
#[derive(Debug)]
pub(crate) struct Note {
    section: Section,
    outcome: OnceLock<Result<u64, NoteError>>,
    decided: Event,
}

/// Why a note is not in the journal.
#[derive(Clone, Debug, Error)]
pub(crate) enum NoteError {
    /// The store refuses writes.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
    /// There is no journal file, and none can be made: nothing in a journal is void by this note.
    #[error("there is no room for a journal")]
    NoFile,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Note {
    fn decide(&self, outcome: Result<u64, NoteError>) {
        let _ = self.outcome.set(outcome);
        self.decided.notify(usize::MAX);
    }
}

impl Journal {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the log made durable up to its present end. Once is enough for all who wait.
    pub(crate) fn request(&self, log: &Arc<Log>) {
        self.enqueue(log, None);
        self.hurry();
    }

    /// As [`Journal::request`], perhaps after an append of these bytes that left this pending, but nothing is begun before
    /// somebody calls [`Journal::hurry`] or [`EAGER_BYTES`] have come: who appends to many logs and then waits gets
    /// few entries for all of them.
    pub(crate) fn enqueue(&self, log: &Arc<Log>, appended: Option<(&[u8], &Range)>) {
        if self.fate.has_ended() {
            return;
        }
        let is_new = !log.queued.swap(true, Ordering::AcqRel);
        let mut inbox = self.inbox();
        let was_ripe = inbox.is_ripe();
        if is_new {
            inbox.logs.push(Arc::clone(log));
        }
        if let Some((bytes, pending)) = appended {
            inbox.appended(log, is_new, bytes, pending);
        }
        let is_ripe = inbox.is_ripe();
        if !is_ripe {
            self.unheard.store(true, Ordering::Release);
        }
        drop(inbox);
        if is_ripe && !was_ripe {
            self.wake();
        }
    }

    /// Somebody waits for what was enqueued.
    pub(crate) fn hurry(&self) {
        if self.unheard.load(Ordering::Acquire) && self.unheard.swap(false, Ordering::AcqRel) {
            self.inbox().hurried = true;
            self.wake();
        }
    }

    /// Waits for room for the notes of a cut. To be called before anything is locked that a checkpoint
    /// needs, since a checkpoint makes the room.
    pub(crate) fn begin_cut(&self) -> MutexGuard<'_, ()> {
        let cutting = self.cutting.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = || {
            self.note_blocks.load(Ordering::Acquire) >= BLOCKS_PER_CUT
                || self.fate.has_failed()
                || self.fate.has_ended()
                // No room will come: a deletion does without its note, all else is refused.
                || self.house.is_full()
        };
        while !enough() {
            self.house.want_file();
            self.house.press();
            if self.pump(true) {
                continue;
            }
            let listener = self.room_moved.listen();
            if !enough() {
                listener.wait();
            }
        }
        cutting
    }

    /// Whoever waits for room looks again.
    pub(crate) fn room_changed(&self) {
        self.room_moved.notify(usize::MAX);
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    /// What notes may take; without a file it does not matter.
    fn set_note_blocks(&self, blocks: u64) {
        if self.note_blocks.swap(blocks, Ordering::AcqRel) < blocks {
            self.room_moved.notify(usize::MAX);
        }
    }

    /// Makes a note durable. Returns the sequence number of the entry that holds it.
    pub(crate) fn note(&self, section: Section) -> Result<u64, NoteError> {
        self.notes([section]).swap_remove(0)
    }

    /// Makes notes durable, all in one entry; an outcome for each. At most as many as go into one.
    pub(crate) fn notes(&self, sections: impl IntoIterator<Item = Section>) -> Vec<Result<u64, NoteError>> {
        let new = |section| Arc::new(Note { section, outcome: OnceLock::new(), decided: Event::new() });
        let notes: Vec<_> = sections.into_iter().map(new).collect();
        self.inbox().notes.extend(notes.iter().cloned());
        self.wake();
        notes.iter().map(|note| self.outcome(note)).collect()
    }

    fn outcome(&self, note: &Note) -> Result<u64, NoteError> {
        loop {
            if let Some(outcome) = note.outcome.get() {
                return outcome.clone();
            }
            if self.pump(false) {
                continue;
            }
            let listener = note.decided.listen();
            if let Some(outcome) = note.outcome.get() {
                return outcome.clone();
            }
            if self.fate.has_ended() {
                return Err(NoteError::Closed);
            }
            listener.wait();
        }
    }

    /// Gives the journal a file to write to.
    pub(crate) fn add_file(&self, file: io::Result<files::JournalFile>) {
        let mut inbox = self.inbox();
        inbox.no_file = file.is_err();
        inbox.files.extend(file.ok());
        drop(inbox);
        self.wake();
    }

    /// What is in entries before `sequence` is not needed any more.
    pub(crate) fn free_before(&self, sequence: u64) {
        self.inbox().free_before = Some(sequence);
        self.wake();
    }

    /// Whether it cannot be emptied for want of space.
    pub(crate) fn is_full(&self) -> bool {
        self.house.is_full()
    }

    /// What was done until now.
    pub(crate) fn stats(&self) -> JournalStats {
        let Counts { entries, bytes, segment_syncs } = &self.counts;
        JournalStats {
            entries: entries.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
            segment_syncs: segment_syncs.load(Ordering::Relaxed),
        }
    }

    /// Where the next entry goes.
    pub(crate) fn head(&self) -> Head {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_head(&self, head: Head) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }

    /// Ends all writing to the store, and has everybody told who waits for the journal's thread.
    pub(crate) fn fail(&self, what: String, source: io::Error) -> StoreFailed {
        let failed = self.fate.fail(what, source);
        // Whether it is parked or about to be: the bell is heard by the next wait.
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
        self.room_moved.notify(usize::MAX);
        failed
    }

    fn wake(&self) {
        // In this order with the thread's own: it parks, then looks at the inbox again.
        if self.parked.load(Ordering::SeqCst)
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
    }

    /// In a store without threads, does a step of the threads' work and says so. A checkpoint may be a part of
    /// it only where nothing is locked.
    pub(crate) fn pump(&self, may_checkpoint: bool) -> bool {
        if !self.is_manual.load(Ordering::Acquire) {
            return false;
        }
        let core = {
            let mut manual = self.manual.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(manual) = &mut *manual else { return false };
            if manual.committer.step(self) {
                return true;
            }
            manual.committer.wait();
            manual.core.upgrade()
        };
        if let Some(core) = core {
            core.do_chores(may_checkpoint);
        }
        true
    }

    /// Does a step without waiting for anything, in a store without threads.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn step(&self) -> bool {
        let mut manual = self.manual.lock().unwrap_or_else(PoisonError::into_inner);
        manual.as_mut().is_some_and(|manual| manual.committer.step(self))
    }

    /// Without a thread: [`Journal::pump`] does the work.
    pub(crate) fn start_manual(&self, committer: Committer, core: Weak<StoreCore>) {
        self.set_head(committer.head());
        *self.manual.lock().unwrap_or_else(PoisonError::into_inner) = Some(Manual { committer, core });
        self.is_manual.store(true, Ordering::Release);
    }

    /// Starts the journal's thread.
    pub(crate) fn start(self: &Arc<Self>, mut committer: Committer) -> io::Result<JournalThread> {
        self.set_head(committer.head());
        let _ = self.waker.set(committer.waker());
        let journal = Arc::clone(self);
        let thread = Builder::new().name("ringmain-journal".into()).spawn(move || {
            while committer.step(&journal) || !committer.may_stop(&journal) {
                journal.park(&mut committer);
            }
        })?;
        Ok(JournalThread { journal: Arc::clone(self), thread: Some(thread) })
    }

    fn park(&self, committer: &mut Committer) {
        if !committer.has_room() {
            // Only something that is done changes that: what is asked for meanwhile shares the next entry.
            return committer.wait();
        }
        if self.fate.has_failed() {
            // What is under way may never be done, and nobody waits for it.
            return crate::sync::thread::sleep(FAILED_PAUSE);
        }
        self.parked.store(true, Ordering::SeqCst);
        let is_quiet = self.inbox().is_quiet();
        if is_quiet {
            committer.wait();
        }
        self.parked.store(false, Ordering::SeqCst);
    }

    /// Lets go of what waits: nothing becomes durable any more.
    pub(crate) fn end(&self) {
        self.fate.end();
        self.is_manual.store(false, Ordering::Release);
        *self.manual.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (logs, notes) = {
            let mut inbox = self.inbox();
            (std::mem::take(&mut inbox.logs), std::mem::take(&mut inbox.notes))
        };
        notes.iter().for_each(|note| note.decide(Err(NoteError::Closed)));
        logs.iter().for_each(|log| log.watermarks.wake_all());
        self.room_moved.notify(usize::MAX);
    }
}

/// Stops the thread when dropped, after what is under way.
#[derive(Debug)]
pub(crate) struct JournalThread {
    journal: Arc<Journal>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for JournalThread {
    fn drop(&mut self) {
        self.journal.inbox().stop = true;
        if let Some(waker) = self.journal.waker.get() {
            waker.wake();
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::Disk;
    use crate::log::{LogConfig, LogId};
    use crate::store::StoreConfig;

    #[derive(Debug, Default)]
    struct Bell(AtomicU64);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_thread_that_parked_with_a_late_hurry_is_woken() {
        let store =
            crate::sim::open(&Disk::new(1), std::path::Path::new("/store"), StoreConfig::default()).unwrap();
        let log = store.create_log("t-0", LogId([1; 16]), LogConfig::default()).unwrap();
        let (journal, bell) = (Journal::default(), Arc::new(Bell::default()));
        journal.waker.set(Arc::clone(&bell) as Arc<dyn Wake>).unwrap();
        let mut copies = inbox::Copies::default();
        journal.enqueue(&log, None);
        journal.inbox().hurried = true;
        // The thread has taken the log out of the inbox, but has not come to it.
        assert_eq!(journal.inbox().take(&mut copies).logs.len(), 1);
        journal.enqueue(&log, None);
        journal.hurry();
        journal.parked.store(true, Ordering::SeqCst);
        assert!(journal.inbox().is_quiet());
        log.queued.store(false, Ordering::SeqCst);
        journal.enqueue(&log, None);
        journal.hurry();
        assert_eq!(bell.0.load(Ordering::SeqCst), 1);
        assert_eq!(journal.inbox().take(&mut copies).logs.len(), 1);
    }
}
