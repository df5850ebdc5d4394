//! What the housekeeping thread does. A checkpoint has three phases, so that a store without threads can
//! have appends between them: capture, sync, write.

use super::Checkpoint;
use crate::io::{DirectFile, Io, SyncQueue, no_descriptor};
use crate::journal::{Head, Journal, files};
use crate::log::{Log, LogState};
use crate::offset::Offset;
use crate::store::{JournalFacts, StoreFile};
use crate::sync::thread::{Builder, JoinHandle};
use crate::sync::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Write-back of a segment that still grows is begun in whole pieces of so many bytes: with ten thousand logs, each of
/// which has got a few records, a call and a write for each of them would cost more than the appends.
const WRITE_BACK_PIECE_BYTES: u64 = 64 << 10;

/// What a store shares with its threads.
#[derive(Debug)]
pub(crate) struct StoreCore {
    pub(crate) dir: PathBuf,
    pub(crate) io: Arc<dyn Io>,
    pub(crate) logs: RwLock<BTreeMap<String, Arc<Log>>>,
    /// Held while directories are made and removed, and while a checkpoint looks which there are.
    pub(crate) changing: Mutex<()>,
    pub(crate) journal: Arc<Journal>,
    /// `ringmain-store`.
    pub(crate) file: Arc<StoreFile>,
    pub(crate) keeper: Mutex<Keeper>,
    pub(crate) checkpoint_bytes: u64,
    pub(crate) checkpoint_age: Duration,
}

/// Makes checkpoints and journal files.
pub(crate) struct Keeper {
    sync: Box<dyn SyncQueue>,
    phase: Phase,
    epoch: u64,
    file_bytes: u64,
    files: usize,
    files_max: usize,
    /// Of a journal that has no file yet: the same for each try.
    new_id: Option<u64>,
    /// How far each log was given to write-back: segment and bytes.
    written_back: HashMap<u64, (Offset, u64)>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("files", &self.files).finish_non_exhaustive()
    }
}

enum Phase {
    Idle,
    Captured(Capture),
    Synced(Capture),
}

/// All logs at one moment. Whatever is in entries before `head` is in their states.
struct Capture {
    head: Head,
    logs: Vec<Captured>,
    changed: bool,
}

struct Captured {
    log: Arc<Log>,
    state: Arc<LogState>,
    changed: bool,
    generation: u64,
}

impl Keeper {
    /// `files` of the journal are there already.
    pub(crate) fn new(
        io: &dyn Io,
        depth: u32,
        epoch: u64,
        file_bytes: u64,
        files: usize,
        files_max: usize,
    ) -> io::Result<Self> {
        let sync = io.sync_queue(depth)?;
        let written_back = HashMap::new();
        Ok(Self { sync, phase: Phase::Idle, epoch, file_bytes, files, files_max, new_id: None, written_back })
    }

    /// The next phase. `Ok(false)` when the checkpoint is complete, or there was nothing to do.
    ///
    /// # Errors
    /// The disk is full, or the process has no descriptor left: the old checkpoint still counts, and another try may
    /// succeed. (Any other failure ends all writing to the store.)
    pub(crate) fn step(&mut self, core: &StoreCore, whatever: bool) -> io::Result<bool> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => {
                core.journal.house.checkpoint_begins();
                let capture = capture(core);
                if !capture.changed && !whatever {
                    return Ok(false);
                }
                self.phase = Phase::Captured(capture);
                Ok(true)
            }
            Phase::Captured(capture) => {
                if self.sync(core, &capture) {
                    self.phase = Phase::Synced(capture);
                    return Ok(true);
                }
                Ok(false)
            }
            Phase::Synced(capture) => self.write(core, &capture).map(|()| false),
        }
    }

    /// Makes durable what was captured. `false` if the store failed.
    fn sync(&mut self, core: &StoreCore, capture: &Capture) -> bool {
        let fate = &core.journal.fate;
        let changed: Vec<_> = capture.logs.iter().filter(|one| one.changed).collect();
        changed.iter().for_each(|one| one.log.begin_sync());
        for (token, one) in changed.iter().enumerate() {
            let before = one.log.checkpointed_end();
            let segments = one.log.segment_list();
            for segment in segments.iter() {
                if segment.extent().end > before && segment.base < one.state.end.offset {
                    self.sync.submit(token, Arc::clone(&segment.file));
                }
            }
            // All but the last are closed.
            for segment in segments.iter().rev().skip(1) {
                segment.sync_index();
            }
            if one.log.take_changed_names() {
                self.sync.submit_dir(changed.len() + token, &one.log.dir);
            }
        }
        for (token, outcome) in self.sync.wait_all() {
            let (what, outcome) = match token.checked_sub(changed.len()) {
                None => (changed[token].log.name().to_owned(), outcome),
                Some(at) => {
                    let log = &changed[at].log;
                    (format!("the directory of {}", log.name()), log.names_synced(outcome))
                }
            };
            if let Err(err) = outcome {
                core.journal.fail(format!("syncing {what}"), err);
            }
        }
        for one in changed {
            if !fate.has_failed() {
                one.log.watermarks.checkpointed(one.state.end, one.generation);
            }
            one.log.end_sync();
            one.log.watermarks.wake_all();
        }
        !fate.has_failed()
    }

    fn write(&mut self, core: &StoreCore, capture: &Capture) -> io::Result<()> {
        let states = capture.logs.iter().map(|one| &*one.state);
        match Checkpoint::write(&*core.io, &core.dir, self.epoch, capture.head, states) {
            Ok(()) => core.journal.house.checkpoint_made(),
            Err(err) if is_full(&err) || no_descriptor(&err) => {
                core.journal.house.checkpoint_put_off();
                core.journal.room_changed();
                return Err(err);
            }
            Err(err) => {
                core.journal.fail(format!("writing {}", core.dir.join(super::FILE).display()), err);
                return Ok(());
            }
        }
        // First: who holds what the rest needs may wait for the room.
        core.journal.free_before(capture.head.sequence);
        for one in &capture.logs {
            one.log.set_checkpointed(Arc::clone(&one.state), one.generation);
        }
        Ok(())
    }

    /// A whole checkpoint. `whatever` writes one though nothing has changed.
    pub(crate) fn checkpoint(&mut self, core: &StoreCore, whatever: bool) -> io::Result<()> {
        // One that was begun before knows less.
        self.phase = Phase::Idle;
        while self.step(core, whatever)? {}
        Ok(())
    }

    /// Makes a further file for the journal.
    pub(crate) fn make_file(&mut self, core: &StoreCore) {
        if self.files >= self.files_max || core.journal.fate.has_failed() {
            return;
        }
        let made = self.make_counted(core);
        match &made {
            Ok(_) => self.files += 1,
            Err(err) => tracing::warn!(store = %core.dir.display(),
                "no further journal file can be made, so segments are synced instead: {err}"),
        }
        core.journal.house.file_made(made.is_ok());
        core.journal.add_file(made.map(|file| (file, self.file_bytes)));
    }

    /// A file is used once `ringmain-store` counts it: from then on a start misses it if it is lost.
    fn make_counted(&mut self, core: &StoreCore) -> io::Result<Arc<dyn DirectFile>> {
        let known = core.file.get().journal;
        let new_id = self.new_id.get_or_insert_with(|| core.io.random() >> 1);
        let id = if known.files == 0 { *new_id } else { known.id };
        let (files, file_bytes) = (self.files + 1, self.file_bytes);
        let file = files::make(&*core.io, &core.dir, self.files, id, file_bytes)?;
        core.file.change(|version| version.journal = JournalFacts { id, files, file_bytes })?;
        Ok(file)
    }

    /// Has the kernel begin to write what was appended, so that a checkpoint finds little to wait for.
    fn write_back(&mut self, core: &StoreCore) {
        let logs = all_logs(core);
        // Anew each time: logs that are deleted leave nothing.
        let before = std::mem::replace(&mut self.written_back, HashMap::with_capacity(logs.len()));
        for log in logs {
            let segments = log.segment_list();
            let (mut base, mut from) = before.get(&log.number).copied().unwrap_or_default();
            for (at, segment) in segments.iter().enumerate() {
                if segment.base < base {
                    continue;
                }
                let begin = if segment.base == base { from } else { 0 };
                let end = write_back_end(segment.extent().size_bytes, at + 1 < segments.len());
                if end > begin {
                    // It proves nothing, and what it cannot write a sync will tell.
                    let _ = segment.file.write_back(begin, end - begin);
                }
                (base, from) = (segment.base, end);
            }
            self.written_back.insert(log.number, (base, from));
        }
    }
}

/// How far write-back of a segment is to get: to its end once it is closed.
fn write_back_end(size_bytes: u64, closed: bool) -> u64 {
    if closed { size_bytes } else { size_bytes - size_bytes % WRITE_BACK_PIECE_BYTES }
}

fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn all_logs(core: &StoreCore) -> Vec<Arc<Log>> {
    core.logs.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
}

fn capture(core: &StoreCore) -> Capture {
    let _changing = core.changing.lock().unwrap_or_else(PoisonError::into_inner);
    // In this order: what is in an entry before this was written before the states are taken.
    let head = core.journal.head();
    let mut logs = all_logs(core);
    logs.sort_unstable_by_key(|log| log.number);
    let captured = |log: Arc<Log>| {
        let (state, changed, generation) = log.capture();
        Captured { log, state, changed, generation }
    };
    let logs: Vec<_> = logs.into_iter().map(captured).collect();
    let changed = logs.iter().any(|one| one.changed);
    Capture { head, logs, changed }
}

impl StoreCore {
    fn keeper(&self) -> crate::sync::MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A whole checkpoint now.
    pub(crate) fn checkpoint(&self, whatever: bool) -> io::Result<()> {
        self.keeper().checkpoint(self, whatever)
    }

    /// What the housekeeping thread would do now, in a store without threads.
    pub(crate) fn do_chores(&self, may_checkpoint: bool) {
        // Who waits may be the keeper itself.
        let Ok(mut keeper) = self.keeper.try_lock() else { return };
        let due = self.journal.house.take(may_checkpoint);
        if due.file {
            keeper.make_file(self);
        }
        if due.checkpoint {
            // One that fails is tried again when the journal is full the next time.
            let _ = keeper.checkpoint(self, true);
        }
    }

    /// The next phase of a checkpoint, and a journal file if one is wanted, in a store without threads.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn step(&self) -> bool {
        self.do_chores(false);
        self.keeper().step(self, true).unwrap_or(false)
    }

    /// Starts the housekeeping thread.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<KeeperThread> {
        let core = Arc::clone(self);
        let run = move || {
            loop {
                let due = core.journal.house.wait(core.checkpoint_bytes, core.checkpoint_age);
                if due.stop {
                    return;
                }
                let mut keeper = core.keeper();
                if due.file {
                    keeper.make_file(&core);
                }
                if core.journal.fate.has_failed() {
                    core.journal.house.checkpoint_begins();
                    continue;
                }
                if due.write_back {
                    keeper.write_back(&core);
                }
                if due.checkpoint
                    && let Err(err) = keeper.checkpoint(&core, true)
                {
                    tracing::warn!(store = %core.dir.display(), "no checkpoint was made, and the journal fills: {err}");
                }
            }
        };
        let thread = Builder::new().name("ringmain-keeper".into()).spawn(run)?;
        Ok(KeeperThread { core: Arc::clone(self), thread: Some(thread) })
    }
}

/// Stops the thread when dropped, after what it is at.
#[derive(Debug)]
pub(crate) struct KeeperThread {
    core: Arc<StoreCore>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for KeeperThread {
    fn drop(&mut self) {
        self.core.journal.house.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogConfig, LogId};
    use crate::record::BatchBuilder;
    use crate::sim::{self, Disk, Faults};
    use crate::store::{Store, StoreConfig};
    use crate::watermark::Durability;
    use std::path::Path;

    fn open(disk: &Disk) -> Store {
        sim::open(disk, Path::new("/data"), StoreConfig::default()).unwrap()
    }

    #[test]
    fn write_back_is_begun_once_and_in_whole_pieces() {
        let disk = Disk::new(1);
        disk.set_write_back(0);
        // It fails where it is begun: failures are counted.
        disk.set_faults(Faults { write_back_per_mille: 1000, ..Faults::default() });
        let store = open(&disk);
        let log = store.create_log("t-0", LogId([1; 16]), LogConfig::default()).unwrap();
        let append = |value_bytes: u64| {
            let mut builder = BatchBuilder::new();
            builder.push(1, None, Some(&vec![b'x'; value_bytes as usize]));
            log.append(&mut builder.finish().unwrap(), Durability::Written).unwrap();
        };
        let begun = || {
            store.core().keeper().write_back(store.core());
            disk.fault_hits().write_backs
        };
        append(WRITE_BACK_PIECE_BYTES / 2);
        assert_eq!(begun(), 0, "less than a piece");
        append(WRITE_BACK_PIECE_BYTES);
        assert_eq!(begun(), 1);
        assert_eq!(begun(), 1, "all but a part of a piece was begun");
        assert_eq!(write_back_end(WRITE_BACK_PIECE_BYTES + 1, true), WRITE_BACK_PIECE_BYTES + 1);
    }

    #[test]
    fn write_back_remembers_no_deleted_log() {
        let store = open(&Disk::new(1));
        let remembered = || {
            store.core().keeper().write_back(store.core());
            store.core().keeper().written_back.len()
        };
        for name in ["t-0", "t-1"] {
            store.create_log(name, LogId([1; 16]), LogConfig::default()).unwrap();
        }
        assert_eq!(remembered(), 2);
        store.delete_log("t-1").unwrap();
        assert_eq!(remembered(), 1);
    }
}
