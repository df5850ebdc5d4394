//! The journal's thread: group commit. Owned by one thread; a store without threads steps it.

use super::draft::Draft;
use super::entry::{ENTRY_HEADER_BYTES, Kind, SECTION_HEADER_BYTES, Section};
use super::inbox::{Copies, Inbox};
use super::space::Space;
use super::window::{Ack, InFlight, SyncJob, Waiting};
use super::{Head, Journal, Limits, NoteError};
use crate::io::{Block, CommitQueue, DirectFile, Done, Io, IoFile, Wake};
use crate::log::Log;
use crate::offset::Offset;
use crate::sync::atomic::Ordering;
use crate::watermark::Range;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;

/// Notes that go into one entry.
const NOTES_PER_ENTRY_MAX: usize = 32;
// Logs are deleted together with notes in one entry, whatever the size of a block.
const _: () = {
    use crate::store::DELETED_TOGETHER as LOGS;
    const LEAST_BLOCK_BYTES: usize = 512;
    assert!(LOGS <= NOTES_PER_ENTRY_MAX);
    assert!(
        ENTRY_HEADER_BYTES + LOGS * SECTION_HEADER_BYTES
            <= super::BLOCKS_PER_CUT as usize * LEAST_BLOCK_BYTES
    );
};

pub(crate) struct Committer {
    queue: Box<dyn CommitQueue>,
    limits: Limits,
    files: Vec<Arc<dyn DirectFile>>,
    space: Space,
    epoch: u64,
    next_sequence: u64,
    /// Entries under way, in order.
    window: VecDeque<InFlight>,
    /// Logs and notes that are to go into the next entry.
    waiting: VecDeque<Arc<Log>>,
    notes: VecDeque<Waiting>,
    /// Of what the logs that were taken last had pending.
    copies: Copies,
    /// Logs whose segments were synced, and the notes that say so. They leave the room that is kept for cuts.
    synced: VecDeque<(Ack, Section)>,
    /// Logs whose segments are being synced, by the token of their syncs.
    syncing: BTreeMap<u64, SyncJob>,
    /// Logs that have a job in `syncing`.
    busy: HashSet<u64>,
    sync_backlog: VecDeque<(u64, Arc<dyn IoFile>)>,
    syncs_under_way: usize,
    next_token: u64,
    /// Not in use, to be used again.
    blocks: Vec<Block>,
    free_before: Option<u64>,
    no_file: bool,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("next_sequence", &self.next_sequence).finish_non_exhaustive()
    }
}

/// What there was to do for one log.
enum Taken {
    Nothing,
    /// It is in the entry.
    Journaled(Ack),
    /// It does not fit into this entry.
    NoRoom,
    /// Its segments are synced instead.
    Sync(Range),
    Failed,
}

impl Committer {
    pub(crate) fn new(io: &dyn Io, limits: Limits, epoch: u64, next_sequence: u64) -> io::Result<Self> {
        let depth = u32::try_from(limits.writes_max + limits.syncs_max).unwrap_or(u32::MAX);
        Ok(Self {
            queue: io.commit_queue(depth)?,
            limits,
            files: Vec::new(),
            space: Space::new(512),
            epoch,
            next_sequence,
            window: VecDeque::new(),
            waiting: VecDeque::new(),
            notes: VecDeque::new(),
            copies: Copies::default(),
            synced: VecDeque::new(),
            syncing: BTreeMap::new(),
            sync_backlog: VecDeque::new(),
            busy: HashSet::new(),
            syncs_under_way: 0,
            next_token: 0,
            blocks: Vec::new(),
            free_before: None,
            no_file: false,
        })
    }

    pub(crate) fn waker(&self) -> Arc<dyn Wake> {
        self.queue.waker()
    }

    pub(crate) fn wait(&mut self) {
        self.queue.wait();
    }

    pub(crate) fn head(&self) -> Head {
        let place = self.space.head();
        Head { sequence: self.next_sequence, file: place.file, position: place.position }
    }

    /// Whether another entry could be begun.
    pub(crate) fn has_room(&self) -> bool {
        self.window.len() < self.limits.writes_max
    }

    /// Whether the thread was told to stop and has nothing to do.
    pub(crate) fn may_stop(&self, journal: &Journal) -> bool {
        let idle = self.window.is_empty() && self.syncing.is_empty();
        (idle || journal.fate.has_failed()) && journal.inbox().stop
    }

    pub(crate) fn add_file(&mut self, file: Arc<dyn DirectFile>, bytes: u64) {
        if self.files.is_empty() {
            self.space = Space::new(file.align_bytes());
        }
        self.space.add_file(bytes);
        self.files.push(file);
    }

    /// Does what can be done now, without waiting. Says whether that was anything.
    pub(crate) fn step(&mut self, journal: &Journal) -> bool {
        let mut busy = self.take_inbox(journal);
        for done in self.queue.poll() {
            busy = true;
            self.done(journal, done);
        }
        if journal.fate.has_failed() {
            self.give_up(journal);
            return busy;
        }
        self.acknowledge();
        self.free();
        while self.has_room() && self.write_entry(journal) {
            busy = true;
        }
        if journal.fate.has_failed() {
            self.give_up(journal);
        }
        // Without a file whoever cuts waits for one before it locks anything, since who makes it may wait for
        // those locks. If there is none to be had, its note is refused.
        let blocks = match (self.files.is_empty(), self.no_file) {
            (true, true) => u64::MAX,
            _ => self.space.note_blocks(),
        };
        journal.set_note_blocks(blocks);
        busy
    }

    fn take_inbox(&mut self, journal: &Journal) -> bool {
        let Inbox { logs, notes, files, no_file, free_before, .. } = journal.inbox().take(&mut self.copies);
        let any = !(logs.is_empty() && notes.is_empty() && files.is_empty() && free_before.is_none());
        self.waiting.extend(logs);
        self.notes.extend(notes.into_iter().map(Waiting::Note));
        if !files.is_empty() {
            self.no_file = false;
        }
        files.into_iter().for_each(|(file, bytes)| self.add_file(file, bytes));
        self.no_file |= no_file;
        self.free_before = free_before.or(self.free_before);
        any
    }

    /// Frees what a checkpoint made superfluous, but nothing that is still being written.
    fn free(&mut self) {
        let Some(before) = self.free_before else { return };
        let under_way = self.window.front().map_or(self.next_sequence, |first| first.sequence);
        self.space.free_before(before.min(under_way));
        if before <= under_way {
            self.free_before = None;
        }
    }

    fn done(&mut self, journal: &Journal, done: Done) {
        self.blocks.extend(done.block);
        if let Some(entry) = self.window.iter_mut().find(|entry| entry.token == done.token) {
            match done.outcome {
                Ok(()) => entry.done = true,
                Err(err) => drop(journal.fate.fail("writing the journal".into(), err)),
            }
            return;
        }
        // Nobody waits any more for what was given up.
        let Some(job) = self.syncing.get_mut(&done.token) else { return };
        self.syncs_under_way -= 1;
        if let Err(err) = done.outcome {
            journal.fate.fail(format!("syncing {}", job.ack.log.name()), err);
        }
        job.left -= 1;
        let finished = job.left == 0;
        self.start_syncs();
        if finished && let Some(job) = self.syncing.remove(&done.token) {
            self.segments_synced(journal, job.ack);
        }
    }

    /// Marks as durable what the finished entries hold, in order: a later entry is worth nothing while an
    /// earlier one may be missing.
    fn acknowledge(&mut self) {
        while self.window.front().is_some_and(|entry| entry.done) {
            let Some(entry) = self.window.pop_front() else { return };
            for ack in entry.acks {
                ack.log.watermarks.synced(ack.end, ack.generation);
            }
            for note in entry.notes {
                match note {
                    Waiting::Note(note) => note.decide(Ok(entry.sequence)),
                    Waiting::Synced(ack, _) => self.sync_finished(&ack),
                }
            }
        }
    }

    fn sync_finished(&mut self, ack: &Ack) {
        ack.log.watermarks.synced(ack.end, ack.generation);
        // Who asked meanwhile was not heard.
        self.busy.remove(&ack.log.number);
        self.waiting.push_back(Arc::clone(&ack.log));
    }

    /// Nobody is kept waiting by a store that failed.
    fn give_up(&mut self, journal: &Journal) {
        let Some(failed) = journal.fate.failure() else { return };
        let jobs = std::mem::take(&mut self.syncing);
        let entries = std::mem::take(&mut self.window);
        jobs.values().for_each(|job| job.ack.log.end_sync());
        let mut logs: Vec<_> =
            self.waiting.drain(..).chain(jobs.into_values().map(|job| job.ack.log)).collect();
        let mut notes: Vec<_> = self.notes.drain(..).collect();
        logs.extend(self.synced.drain(..).map(|(ack, _)| ack.log));
        for entry in entries {
            logs.extend(entry.acks.into_iter().map(|ack| ack.log));
            notes.extend(entry.notes);
        }
        for note in notes {
            match note {
                Waiting::Note(note) => note.decide(Err(NoteError::Failed(failed.clone()))),
                Waiting::Synced(ack, _) => logs.push(ack.log),
            }
        }
        for log in logs {
            log.queued.store(false, Ordering::Release);
            log.watermarks.wake_all();
        }
        journal.set_note_blocks(u64::MAX);
    }

    /// Begins one entry, if there is anything to put into it and room for it.
    fn write_entry(&mut self, journal: &Journal) -> bool {
        if self.waiting.is_empty() && self.notes.is_empty() && self.synced.is_empty() {
            return false;
        }
        if self.space.wants_file(self.limits.files_max) {
            journal.house.want_file();
        }
        if self.files.is_empty() && self.no_file {
            self.refuse_notes();
        }
        let block = self.blocks.pop().unwrap_or_else(|| Block::zeroed(self.block_bytes()));
        let mut draft = Draft::new(block, usize::MAX);
        let (mut acks, mut notes) = (Vec::new(), Vec::new());
        if !self.files.is_empty() {
            while notes.len() < NOTES_PER_ENTRY_MAX
                && let Some(note) = self.notes.pop_front()
            {
                draft.note(match &note {
                    Waiting::Note(note) => &note.section,
                    Waiting::Synced(_, section) => section,
                });
                notes.push(note);
            }
        }
        // Notes may use room that data must leave to them.
        draft.limit = draft.limit.min(usize::try_from(self.space.room_bytes()).unwrap_or(usize::MAX));
        let mut busy = false;
        while (draft.len + SECTION_HEADER_BYTES) <= draft.limit
            && notes.len() < 2 * NOTES_PER_ENTRY_MAX
            && let Some((ack, section)) = self.synced.pop_front()
        {
            if ack.log.is_deleted() {
                // Nobody is told: whether the directory was synced is not known, and the note would come too late.
                self.busy.remove(&ack.log.number);
                ack.log.watermarks.wake_all();
            } else if ack.log.watermarks.written().1 == ack.generation {
                draft.note(&section);
                notes.push(Waiting::Synced(ack, section));
            } else {
                // Of a log that was cut meanwhile it would say too much.
                self.sync_finished(&ack);
            }
        }
        for _ in 0..self.waiting.len() {
            let Some(log) = self.waiting.pop_front() else { break };
            match self.take(journal, &log, &mut draft) {
                Taken::Nothing => {}
                Taken::Journaled(ack) => acks.push(ack),
                Taken::Sync(range) => {
                    busy = true;
                    self.sync_segments(journal, &log, range);
                }
                Taken::NoRoom => {
                    // It waits here already.
                    log.queued.store(true, Ordering::Release);
                    self.waiting.push_front(log);
                    break;
                }
                Taken::Failed => {
                    // All of it is given up in the next step; nobody is forgotten.
                    self.waiting.extend(acks.into_iter().map(|ack: Ack| ack.log));
                    self.waiting.push_back(log);
                    self.notes.extend(notes);
                    return false;
                }
            }
        }
        if draft.sections == 0 {
            if !self.waiting.is_empty() || !self.synced.is_empty() {
                journal.house.press();
            }
            self.blocks.push(draft.block);
            return busy;
        }
        self.submit(journal, draft, acks, notes)
    }

    fn block_bytes(&self) -> usize {
        self.limits.entry_bytes_max.next_multiple_of(4096)
    }

    fn refuse_notes(&mut self) {
        for note in self.notes.drain(..) {
            match note {
                Waiting::Note(note) => note.decide(Err(NoteError::NoFile)),
                Waiting::Synced(ack, section) => self.synced.push_back((ack, section)),
            }
        }
    }

    /// Puts what the log has beyond its last journaled position into the entry.
    fn take(&self, journal: &Journal, log: &Arc<Log>, draft: &mut Draft) -> Taken {
        // In this order: who asks from here on is heard again.
        log.queued.store(false, Ordering::Release);
        // Held by who cuts the log, and who then asks for it again.
        let Ok(_reading) = log.reading.try_lock() else { return Taken::Nothing };
        if log.is_deleted() {
            log.watermarks.wake_all();
            return Taken::Nothing;
        }
        let range = log.watermarks.range();
        if range.is_empty() || self.busy.contains(&log.number) {
            return Taken::Nothing; // under way, or durable
        }
        // A copy is of one segment. That is not even looked at: its owner, on another processor, has it at hand and
        // would have to fetch it back.
        let copy = self.copies.get(log.number, &range);
        let pieces = if copy.is_some() { Vec::new() } else { log.pieces(&range) };
        let lengths = pieces.iter().map(|piece| piece.len).chain(copy.map(|copy| copy.len() as u64));
        let bytes: u64 = lengths.map(|len| len + SECTION_HEADER_BYTES as u64).sum();
        let most = self.space.entry_bytes_max().min(self.block_bytes() as u64);
        if self.files.is_empty()
            || bytes > self.limits.range_bytes_max
            || bytes + ENTRY_HEADER_BYTES as u64 > most
        {
            if !log.try_begin_sync() {
                return Taken::Nothing; // a checkpoint syncs it, and asks for it again
            }
            log.watermarks.taken(&range);
            return Taken::Sync(range);
        }
        if draft.len as u64 + bytes > draft.limit as u64 {
            return Taken::NoRoom;
        }
        let section = |position, len, offset, end, segment| Section {
            position,
            payload_bytes: u32::try_from(len).unwrap_or(u32::MAX),
            ..Section::note(Kind::Data, log.number, offset, end, segment)
        };
        if let Some(copy) = copy {
            let (from, to) = (range.from, range.to);
            draft.copied(&section(from.bytes, copy.len() as u64, from.offset, to.offset, from.segment), copy);
        }
        for piece in &pieces {
            let section = section(piece.position, piece.len, piece.offset, piece.end, piece.segment.base);
            if let Err(err) = draft.data(&section, &*piece.segment.file) {
                journal.fate.fail(format!("reading {}", piece.segment.path.display()), err);
                return Taken::Failed;
            }
        }
        log.watermarks.taken(&range);
        Taken::Journaled(Ack { log: Arc::clone(log), end: range.to.offset, generation: range.generation })
    }

    fn submit(&mut self, journal: &Journal, draft: Draft, acks: Vec<Ack>, notes: Vec<Waiting>) -> bool {
        let sequence = self.next_sequence;
        let len = self.space.padded(draft.len as u64);
        let Some(place) = self.space.place(sequence, len) else {
            // Only for notes: data was within the room there is. They wait for a checkpoint.
            notes.into_iter().rev().for_each(|note| self.notes.push_front(note));
            if journal.house.is_full() {
                self.refuse_notes();
            }
            self.blocks.push(draft.block);
            journal.house.press();
            return false;
        };
        let proven = self.window.front().map_or(sequence, |first| first.sequence);
        let block = draft.sealed(self.epoch, sequence, proven, usize::try_from(len).unwrap_or(usize::MAX));
        self.next_sequence += 1;
        let token = self.token();
        self.window.push_back(InFlight { sequence, token, done: false, acks, notes });
        self.queue.write(token, &self.files[place.file], place.position, block);
        journal.counts.entries.fetch_add(1, Ordering::Relaxed);
        journal.counts.bytes.fetch_add(len, Ordering::Relaxed);
        journal.set_head(self.head());
        if self.space.is_crowded(self.limits.files_max) {
            journal.house.press();
        }
        true
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// Syncs the segments that a range spans, instead of writing it twice.
    fn sync_segments(&mut self, journal: &Journal, log: &Arc<Log>, range: Range) {
        let ack = Ack { log: Arc::clone(log), end: range.to.offset, generation: range.generation };
        let segments = log.segment_list();
        let spanned = segments
            .iter()
            .filter(|segment| segment.extent().end > range.durable && segment.base < range.to.offset);
        let files: Vec<_> = spanned.map(|segment| Arc::clone(&segment.file)).collect();
        self.busy.insert(log.number);
        if files.is_empty() {
            return self.segments_synced(journal, ack);
        }
        journal.counts.segment_syncs.fetch_add(files.len() as u64, Ordering::Relaxed);
        let token = self.token();
        self.syncing.insert(token, SyncJob { ack, left: files.len() });
        self.sync_backlog.extend(files.into_iter().map(|file| (token, file)));
        self.start_syncs();
    }

    fn start_syncs(&mut self) {
        while self.syncs_under_way < self.limits.syncs_max
            && let Some((token, file)) = self.sync_backlog.pop_front()
        {
            self.syncs_under_way += 1;
            self.queue.sync(token, &file);
        }
    }

    fn segments_synced(&mut self, journal: &Journal, ack: Ack) {
        let log = &ack.log;
        if let Err(err) = log.sync_names() {
            journal.fate.fail(format!("syncing the directory of {}", log.name()), err);
        }
        log.end_sync();
        if journal.fate.has_failed() {
            log.watermarks.wake_all();
            return;
        }
        // Of a log that was cut meanwhile it would say too much.
        if self.files.is_empty() || log.watermarks.written().1 != ack.generation {
            return self.sync_finished(&ack);
        }
        let zero = Offset::ZERO;
        let section = Section::note(Kind::Synced, log.number, zero, ack.end, zero);
        self.synced.push_back((ack, section));
    }
}
