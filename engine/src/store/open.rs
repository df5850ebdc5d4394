//! Opening a store: the checkpoint is read, after a crash the journal is put back, then the logs are
//! opened, and what they hold is proven to be on the medium and said in a new checkpoint.

use super::version::{self, Version};
use super::{CLEAN_FILE, CREATING, DELETED, LOCK_FILE, NUMBERS_RESERVED, StoreConfig};
use crate::checkpoint::{self, Checkpoint};
use crate::error::OpenError;
use crate::io::{Io, Locked, read_file};
use crate::journal::replay::{LogStory, Replay};
use crate::journal::{Head, files};
use crate::log::{Known, LogFiles, LogId, LogState, prove};
use crate::offset::{LeaderEpoch, Offset};
use crate::{log_number, partition_metadata};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Log numbers that are not given out yet.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) next: u64,
    /// Up to here they are durably taken.
    pub(super) reserved: u64,
}

/// A store that is ready for its threads.
pub(super) struct Opened {
    pub(super) lock: Box<dyn Locked>,
    pub(super) clean: bool,
    pub(super) epoch_floor: LeaderEpoch,
    pub(super) numbers: Numbers,
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
        // A crash may have left names that are there and not durable: none is built upon before it is.
        io.sync_dir(dir).map_err(OpenError::io("synced", dir))?;
    }
    let marked = names.iter().any(|name| name == CLEAN_FILE);
    let clean = is_new || marked;
    if !clean {
        tracing::warn!(store = %dir.display(), "the last stop was not clean: the journal is put back and the logs are checked");
    }
    let checkpoint = read_checkpoint(io_dyn, dir, clean)?;
    let none_known = checkpoint.is_none();
    if none_known && !clean && version.format > 1 && io.is_dir(&dir.join(files::DIR)) {
        let reason = "it is gone, and only it tells what of the journal is needed".to_owned();
        return Err(OpenError::Damaged { file: dir.join(checkpoint::FILE), position: 0, reason });
    }
    let checkpoint = checkpoint.unwrap_or_default();
    if none_known && clean && io.is_dir(&dir.join(files::DIR)) {
        // Nothing in it is needed, and what epoch it has is not known.
        let journal = dir.join(files::DIR);
        io.remove_dir(&journal)
            .and_then(|()| io.sync_dir(dir))
            .map_err(OpenError::io("removed", &journal))?;
    }
    let mut next_log = version.next_log;
    let mut dirs = list_logs(io_dyn, dir, names, &mut next_log)?;
    let replay = if clean {
        Replay::nothing(checkpoint.head.sequence)
    } else {
        put_back(io_dyn, dir, &checkpoint, &mut dirs)?
    };
    let mut found = Vec::with_capacity(dirs.len());
    for (name, id, number) in dirs {
        let mut known = known(&checkpoint, replay.logs.get(&number), number, clean);
        known.start_unknown = none_known || number >= version.next_log;
        let files = LogFiles::open(io, dir.join(&name), &config.log, &known)?;
        found.push((name, id, number, files));
    }
    // What was cut from a log gives its offsets out again, however the last stop was.
    let clean = clean && !found.iter().any(|(.., files)| files.was_cut());
    let mut epoch_floor = version.epoch_floor;
    if !clean {
        let latest = found.iter().filter_map(|(.., files)| files.latest_epoch()).max();
        epoch_floor = LeaderEpoch(latest.unwrap_or_default().max(epoch_floor).0.saturating_add(1));
        let mut queue = io.sync_queue(config.sync_depth.max(1)).map_err(OpenError::io("synced", dir))?;
        prove(io_dyn, &mut *queue, found.iter_mut().map(|(.., files)| files))?;
    }
    let numbers = Numbers { next: next_log, reserved: next_log + NUMBERS_RESERVED };
    let write_version = || {
        let written = version::write(io_dyn, dir, epoch_floor, numbers.reserved);
        written.map_err(OpenError::io("written", &version_file))
    };
    if is_new {
        // What makes the directory a store comes first: without it nobody would know the rest.
        write_version()?;
    }
    let mut logs = Vec::with_capacity(found.len());
    for (name, id, number, files) in found {
        let state = Arc::new(files.state(number));
        logs.push(FoundLog { name, number, id, files, state });
    }
    // What is in the journal now is in the logs, on the medium. Nothing of an epoch that ended counts ever
    // again: a crash leaves entries beyond a gap, and a clean stop entries that were under way.
    let epoch = next_epoch(checkpoint.epoch, io.random());
    let head = Head { sequence: replay.next_sequence, file: 0, position: 0 };
    let states = logs.iter().map(|log| &*log.state);
    Checkpoint::write(io_dyn, dir, epoch, head, states)
        .map_err(OpenError::io("written", dir.join(checkpoint::FILE)))?;
    if !is_new {
        // After the checkpoint: a store of this format that has none is damaged.
        write_version()?;
    }
    if marked && !is_new {
        // Durable before anything is appended: the next start must know.
        let marker = dir.join(CLEAN_FILE);
        io.remove(&marker).and_then(|()| io.sync_dir(dir)).map_err(OpenError::io("removed", &marker))?;
    }
    let files = open_journal(io_dyn, dir, config)?;
    let next_sequence = replay.next_sequence;
    Ok(Opened { lock, clean, epoch_floor, numbers, epoch, next_sequence, files, logs })
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

/// The logs: name, id and number of each. What a crash left half made or half removed goes.
fn list_logs(
    io: &dyn Io,
    dir: &Path,
    names: Vec<String>,
    next_log: &mut u64,
) -> Result<Vec<(String, LogId, u64)>, OpenError> {
    let mut found = Vec::new();
    let is_left = |name: &String| name.starts_with(CREATING) || name.starts_with(DELETED);
    if names.iter().any(is_left) {
        // A log whose new name a crash takes back must not come back in part.
        io.sync_dir(dir).map_err(OpenError::io("synced", dir))?;
    }
    for name in names {
        let path = dir.join(&name);
        if is_left(&name) {
            io.remove_dir(&path).map_err(OpenError::io("removed", &path))?;
        } else if io.exists(&path.join(partition_metadata::FILE)) {
            let id = partition_metadata::read(io, &path)
                .map_err(OpenError::io("read", path.join(partition_metadata::FILE)))?;
            let number = log_number::read(io, &path).map_err(OpenError::io("read", &path))?;
            found.push((name, id, number));
        }
    }
    let mut names: HashMap<u64, &str> = HashMap::new();
    for (name, _, number) in &found {
        if let Some(other) = number.and_then(|number| names.insert(number, name)) {
            let reason = format!("it has the number of {other}: one is a copy of the other and must go");
            return Err(OpenError::Version { file: dir.join(name).join(log_number::FILE), reason });
        }
    }
    let numbered = found.iter().filter_map(|(.., number)| *number).max();
    *next_log = (*next_log).max(numbered.map_or(0, |number| number + 1));
    let mut logs = Vec::with_capacity(found.len());
    for (name, id, number) in found {
        let number = match number {
            Some(number) => number,
            None => {
                // Of a version that had no journal.
                let path = dir.join(&name);
                log_number::write(io, &path, *next_log).map_err(OpenError::io("numbered", &path))?;
                *next_log += 1;
                *next_log - 1
            }
        };
        logs.push((name, id, number));
    }
    Ok(logs)
}

/// Replays the journal into the logs' segments, and finishes deletions.
fn put_back(
    io: &dyn Io,
    dir: &Path,
    checkpoint: &Checkpoint,
    dirs: &mut Vec<(String, LogId, u64)>,
) -> Result<Replay, OpenError> {
    let durable = |number: u64| {
        let state = checkpoint.logs.get(&number);
        state.map_or((Offset::ZERO, 0), |state| (state.durable, state.cut_sequence))
    };
    let replay = Replay::read(io, dir, checkpoint.epoch, checkpoint.head, durable)?;
    let is_deleted = |number: &u64| replay.logs.get(number).is_some_and(|story| story.deleted);
    for (name, _, number) in dirs.iter().filter(|(.., number)| is_deleted(number)) {
        // All of it at once, durably: a part of a log is nothing that the next start would understand.
        let (path, gone) = (dir.join(name), dir.join(format!("{DELETED}{number}")));
        io.rename(&path, &gone)
            .and_then(|()| io.sync_dir(dir))
            .and_then(|()| io.remove_dir(&gone))
            .map_err(OpenError::io("removed", &path))?;
    }
    dirs.retain(|(.., number)| !is_deleted(number));
    let paths: HashMap<u64, PathBuf> =
        dirs.iter().map(|(name, _, number)| (*number, dir.join(name))).collect();
    for number in replay.logs.keys().chain(checkpoint.logs.keys()) {
        if !paths.contains_key(number) && !is_deleted(number) {
            tracing::error!(store = %dir.display(), number, "the directory of a log is gone, and nobody deleted it");
        }
    }
    replay.restore(io, &paths)?;
    tracing::info!(store = %dir.display(), entries = replay.len(), "the journal was put back");
    Ok(replay)
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

/// The journal's files, all of them free.
fn open_journal(io: &dyn Io, dir: &Path, config: &StoreConfig) -> Result<Vec<files::JournalFile>, OpenError> {
    let journal = dir.join(files::DIR);
    let all = files::open_all(io, dir).map_err(OpenError::io("opened", &journal))?;
    let fits = |(_, bytes): &files::JournalFile| *bytes == config.journal_file_bytes;
    if all.len() <= config.journal_files_max && all.iter().all(fits) {
        return Ok(all);
    }
    // Of another configuration. Nothing in them is needed.
    drop(all);
    io.remove_dir(&journal).and_then(|()| io.sync_dir(dir)).map_err(OpenError::io("removed", &journal))?;
    Ok(Vec::new())
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
