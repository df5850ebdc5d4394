//! Opening a store: the checkpoint is read, after a crash the journal is put back, then the logs are
//! opened, and what they hold is proven to be on the medium and said in a new checkpoint.

use super::create::NUMBERS_RESERVED;
use super::logs::{find_logs, refuse_lost};
use super::version::{self, JournalFacts, Version};
use super::{CLEAN_FILE, LOCK_FILE, StoreConfig, deleted_dir};
use crate::checkpoint::{self, Checkpoint};
use crate::error::OpenError;
use crate::io::{Io, Locked, read_file};
use crate::journal::replay::{LogStory, Replay};
use crate::journal::{Head, files};
use crate::log::{Known, LogFiles, LogId, LogState, is_intact, prove};
use crate::offset::{LeaderEpoch, Offset};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// A store that is ready for its threads.
pub(super) struct Opened {
    pub(super) lock: Box<dyn Locked>,
    pub(super) clean: bool,
    /// As it is in the store's file.
    pub(super) version: Version,
    /// The next log's.
    pub(super) next_number: u64,
    /// The journal's.
    pub(super) epoch: u64,
    pub(super) next_sequence: u64,
    pub(super) files: Vec<files::JournalFile>,
    pub(super) logs: Vec<FoundLog>,
}

/// A log's directory.
pub(super) struct FoundLog {
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) id: LogId,
    pub(super) files: LogFiles,
    pub(super) state: Arc<LogState>,
}

pub(super) fn open(dir: &Path, config: &StoreConfig, io: &Arc<dyn Io>) -> Result<Opened, OpenError> {
    let io_dyn = &**io;
    make_dirs(io_dyn, dir)?;
    // Before the lock, so that nothing is put into a directory of something else; and after it,
    // since another process may have changed what is there.
    list_store(io_dyn, dir)?;
    let lock = lock(io_dyn, dir)?;
    let names = list_store(io_dyn, dir)?;
    let version_file = dir.join(version::FILE);
    let is_new = !names.iter().any(|name| name == version::FILE);
    let mut version = Version::default();
    if !is_new {
        let content = read_file(io_dyn, &version_file, 4096).map_err(OpenError::io("read", &version_file))?;
        version = version::decode(&content)
            .map_err(|reason| OpenError::Version { file: version_file.clone(), reason })?;
    }
    if is_new {
        // A crash may have come between the making of a directory and its sync.
        for above in dir.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            match io.sync_dir(above) {
                Err(err) if err.kind() != ErrorKind::PermissionDenied => {
                    return Err(OpenError::io("synced", above)(err));
                }
                _ => {}
            }
        }
    }
    if !is_new {
        // A crash may have left names that are there and not durable: none is built upon before it is. A log whose
        // new name was taken back would come back in part.
        io.sync_dir(dir).map_err(OpenError::io("synced", dir))?;
    }
    let marked = names.iter().any(|name| name == CLEAN_FILE);
    let clean = is_new || marked;
    if !clean {
        tracing::warn!(store = %dir.display(), "the last stop was not clean: the journal is put back and the logs are checked");
    }
    let checkpoint = read_checkpoint(io_dyn, dir, clean)?;
    let none_known = checkpoint.is_none();
    let may_be_none = match version.format {
        1 => true,
        2 => !io.is_dir(&dir.join(files::DIR)),
        _ => !version.started,
    };
    if none_known && !clean && !may_be_none {
        let reason = "it is gone, and only it tells what of the journal is needed".to_owned();
        return Err(OpenError::Damaged { file: dir.join(checkpoint::FILE), position: 0, reason });
    }
    let checkpoint = checkpoint.unwrap_or_default();
    let mut journal = open_journal(io_dyn, dir, &version, clean)?;
    if none_known && clean {
        // Nothing in it is needed, and what epoch it has is not known.
        drop(journal.take());
        if version.journal.files > 0 {
            version.journal = JournalFacts::default();
            version::write(io_dyn, dir, &version).map_err(OpenError::io("written", &version_file))?;
        }
        files::remove_unused(io_dyn, dir, &JournalFacts::default())
            .map_err(OpenError::io("removed", dir.join(files::DIR)))?;
    }
    let mut next_number = version.next_log;
    let (mut dirs, deleted) = find_logs(io_dyn, dir, names, &mut next_number, &checkpoint)?;
    let (replay, readable) = if clean {
        (Replay::nothing(checkpoint.head.sequence), journal)
    } else {
        let replay = put_back(io_dyn, dir, journal.unwrap_or_default(), &checkpoint, &mut dirs)?;
        (replay, None)
    };
    if version.format > 2 {
        refuse_lost(dir, &dirs, &deleted, &checkpoint, &replay)?;
    }
    let mut found = Vec::with_capacity(dirs.len());
    for (name, id, number) in dirs {
        let mut known = known(&checkpoint, replay.logs.get(&number), number, clean);
        known.start_unknown = none_known || number >= version.next_log;
        let files = LogFiles::open(io, dir.join(&name), &config.log, &known)?;
        found.push((name, id, number, files));
    }
    // What was cut from a log gives its offsets out again, however the last stop was.
    let clean = clean && !found.iter().any(|(.., files)| files.was_cut());
    let latest = found.iter().filter_map(|(.., files)| files.latest_epoch()).max().unwrap_or_default();
    version.epoch_ceiling = version.epoch_ceiling.max(version.epoch_floor).max(latest);
    if !clean {
        version.epoch_floor = LeaderEpoch(version.epoch_ceiling.0.saturating_add(1));
        version.epoch_ceiling = version.epoch_floor;
        let mut queue = io.sync_queue(config.sync_depth.max(1)).map_err(OpenError::io("synced", dir))?;
        prove(io_dyn, &mut *queue, found.iter_mut().map(|(.., files)| files))?;
    }
    version.next_log = next_number + NUMBERS_RESERVED;
    if is_new {
        // What makes the directory a store comes first: without it nobody would know the rest.
        version::write(io_dyn, dir, &version).map_err(OpenError::io("written", &version_file))?;
    }
    let mut logs = Vec::with_capacity(found.len());
    for (name, id, number, files) in found {
        let state = Arc::new(files.state(&name, number, version.epoch_floor));
        logs.push(FoundLog { name, number, id, files, state });
    }
    // What is in the journal now is in the logs, on the medium. Nothing of an epoch that ended counts ever
    // again: a crash leaves entries beyond a gap, and a clean stop entries that were under way.
    let epoch = next_epoch(checkpoint.epoch, io.random());
    let next_sequence = replay.next_sequence;
    let head = Head { sequence: next_sequence, file: 0, position: 0 };
    let states = logs.iter().map(|log| &*log.state);
    Checkpoint::write(io_dyn, dir, epoch, head, states)
        .map_err(OpenError::io("written", dir.join(checkpoint::FILE)))?;
    // After the checkpoint: a store that was started and has none is damaged, and without it the journal's
    // files are needed.
    let files = usable(readable.unwrap_or_else(|| replay.into_files()), config, &mut version);
    (version.format, version.started) = (version::FORMAT, true);
    version::write(io_dyn, dir, &version).map_err(OpenError::io("written", &version_file))?;
    if marked && !is_new {
        // Durable before anything is appended: the next start must know.
        let marker = dir.join(CLEAN_FILE);
        io.remove(&marker).and_then(|()| io.sync_dir(dir)).map_err(OpenError::io("removed", &marker))?;
    }
    files::remove_unused(io_dyn, dir, &version.journal)
        .map_err(OpenError::io("removed", dir.join(files::DIR)))?;
    for gone in deleted.iter().map(|number| deleted_dir(dir, *number)) {
        io.remove_dir(&gone).map_err(OpenError::io("removed", &gone))?;
    }
    Ok(Opened { lock, clean, version, next_number, epoch, next_sequence, files, logs })
}

/// The journal's files, if it has those that it should have. After a clean stop none of them is needed.
fn open_journal(
    io: &dyn Io,
    dir: &Path,
    version: &Version,
    clean: bool,
) -> Result<Option<Vec<files::Readable>>, OpenError> {
    if version.format < 3 {
        let found = files::open_uncounted(io, dir).map_err(OpenError::io("read", dir.join(files::DIR)))?;
        return Ok(Some(found));
    }
    match files::open(io, dir, &version.journal) {
        Ok(found) => Ok(Some(found)),
        Err(err @ (OpenError::Damaged { .. } | OpenError::Version { .. })) if clean => {
            tracing::error!(store = %dir.display(),
                "{err}: but the store was stopped cleanly, so the journal is made anew");
            Ok(None)
        }
        Err(err) => Err(err),
    }
}

/// The journal's files that go on being used, all of which are free now: all or none.
fn usable(
    found: Vec<files::Readable>,
    config: &StoreConfig,
    version: &mut Version,
) -> Vec<files::JournalFile> {
    let facts = &mut version.journal;
    let fits = version.format > 2
        && found.len() == facts.files
        && facts.files <= config.journal_files_max
        && facts.file_bytes == config.journal_file_bytes;
    if !fits {
        // Damaged, of an older format, or of another configuration. Nothing in them is needed.
        *facts = JournalFacts::default();
        return Vec::new();
    }
    found.into_iter().map(|one| (one.file, one.bytes)).collect()
}

/// Higher than the last, and not to be guessed: records that clients send lie in the journal's files, and what
/// looks like an entry in them must never be taken for one.
fn next_epoch(last: u64, random: u64) -> u64 {
    (((last >> 32) + 1) << 32) | (random & u64::from(u32::MAX))
}

/// A checkpoint that cannot be read is a loss only if the journal is needed.
fn read_checkpoint(io: &dyn Io, dir: &Path, clean: bool) -> Result<Option<Checkpoint>, OpenError> {
    let file = dir.join(checkpoint::FILE);
    match Checkpoint::read(io, dir).map_err(OpenError::io("read", &file))? {
        None => Ok(None),
        Some(Ok(checkpoint)) => Ok(Some(checkpoint)),
        Some(Err(malformed)) if clean => {
            tracing::error!(file = %file.display(), position = malformed.position,
                "the checkpoint is damaged: {}; the store was stopped cleanly, so all logs are read instead", malformed.reason);
            Ok(None)
        }
        Some(Err(malformed)) => {
            Err(OpenError::Damaged { file, position: malformed.position, reason: malformed.reason })
        }
    }
}

/// Replays the journal into the logs' segments, and finishes deletions.
fn put_back(
    io: &dyn Io,
    dir: &Path,
    files: Vec<files::Readable>,
    checkpoint: &Checkpoint,
    dirs: &mut Vec<(String, LogId, u64)>,
) -> Result<Replay, OpenError> {
    let durable = |number: u64| {
        let state = checkpoint.logs.get(&number);
        state.map_or((Offset::ZERO, 0), |state| (state.durable, state.cut_sequence))
    };
    let replay = Replay::read(files, dir, checkpoint.epoch, checkpoint.head, durable)?;
    let is_deleted = |number: &u64| replay.logs.get(number).is_some_and(|story| story.deleted);
    for (name, _, number) in dirs.iter().filter(|(.., number)| is_deleted(number)) {
        // All of it at once, durably: a part of a log is nothing that the next start would understand.
        let path = dir.join(name);
        let gone = deleted_dir(dir, *number);
        io.rename(&path, &gone)
            .and_then(|()| io.sync_dir(dir))
            .and_then(|()| io.remove_dir(&gone))
            .map_err(OpenError::io("removed", &path))?;
    }
    dirs.retain(|(.., number)| !is_deleted(number));
    let mut paths = HashMap::with_capacity(dirs.len());
    for (name, _, number) in dirs.iter() {
        let path = dir.join(name);
        if is_ready(io, &path, checkpoint, &replay, *number).map_err(OpenError::io("read", &path))? {
            paths.insert(*number, path);
        }
    }
    replay.restore(io, &paths)?;
    tracing::info!(store = %dir.display(), entries = replay.len(), "the journal was put back");
    Ok(replay)
}

/// Whether the journal's data goes on where the files of a log end. Beyond the end of one that is shorter than the
/// checkpoint says it would only hide the hole; opened as it is, the log is put into quarantine.
fn is_ready(
    io: &dyn Io,
    dir: &Path,
    checkpoint: &Checkpoint,
    replay: &Replay,
    number: u64,
) -> io::Result<bool> {
    let (Some(state), Some(story)) = (checkpoint.logs.get(&number), replay.logs.get(&number)) else {
        return Ok(true);
    };
    is_intact(io, dir, state, story.start.map(|(_, first)| first), story.cut_since(state.cut_sequence))
}

/// What is known of a log before it is looked at.
fn known(checkpoint: &Checkpoint, story: Option<&LogStory>, number: u64, clean: bool) -> Known {
    let state = checkpoint.logs.get(&number);
    let cut_sequence = state.map_or(0, |state| state.cut_sequence);
    let Some(story) = story else {
        let durable = state.map_or(Offset::ZERO, |state| state.durable);
        return Known { state: state.cloned(), durable, cut_sequence, clean, ..Known::default() };
    };
    // What the checkpoint built on, was cut.
    let cut = story.cut_since(cut_sequence);
    let holds = |state: &&Arc<LogState>| cut.is_none_or(|cut| cut >= state.end.offset);
    let first = state.and_then(|state| Some((state.start, state.segments.first()?.base)));
    Known {
        state: state.filter(holds).cloned(),
        durable: story.durable,
        start: story.start.max(first),
        cut_to: story.cut_to,
        start_unknown: false,
        cut_sequence: story.cuts.last().map_or(cut_sequence, |(sequence, _)| cut_sequence.max(*sequence)),
        clean,
    }
}

/// The names in a store's directory, or in one that can become a store.
fn list_store(io: &dyn Io, dir: &Path) -> Result<Vec<String>, OpenError> {
    let names = io.list(dir).map_err(OpenError::io("listed", dir))?;
    // A lock alone, or a version file under way, is what a crash in the first start leaves.
    let first_start = |name: &String| [LOCK_FILE, "ringmain-store.tmp"].contains(&name.as_str());
    if names.iter().any(|name| name == version::FILE) || names.iter().all(first_start) {
        return Ok(names);
    }
    Err(OpenError::NotAStore { dir: dir.to_owned() })
}

/// Makes a directory with those above it, durably: a store whose directory the loss of power takes
/// away has lost everything.
fn make_dirs(io: &dyn Io, dir: &Path) -> Result<(), OpenError> {
    let missing: Vec<_> =
        dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !io.exists(dir)).collect();
    for dir in missing.into_iter().rev() {
        io.create_dir(dir).map_err(OpenError::io("created", dir))?;
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        io.sync_dir(above).map_err(OpenError::io("synced", above))?;
    }
    if io.is_dir(dir) {
        Ok(())
    } else {
        Err(OpenError::io("used as a directory", dir)(ErrorKind::NotADirectory.into()))
    }
}

fn lock(io: &dyn Io, dir: &Path) -> Result<Box<dyn Locked>, OpenError> {
    let path = dir.join(LOCK_FILE);
    io.lock(&path).map_err(|err| match err.kind() {
        ErrorKind::WouldBlock => OpenError::Locked(dir.to_owned()),
        _ => OpenError::io("locked", &path)(err),
    })
}
