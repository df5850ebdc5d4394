//! All of a data directory: every log, the journal, the checkpoint, and what one says of the other.

use super::checkpoint::check_state;
use super::journal::{self, Checked};
use super::{
    CheckpointFile, CheckpointReport, JournalReport, LogReport, Problem, check_log, read_checkpoint,
};
use crate::io::{Io, IoMode, backend, read_file};
use crate::journal::files;
use crate::store::{CLEAN_FILE, DELETED, VERSION_FILE, version, version::Version};
use crate::{log_number, partition_metadata};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// How often journal and checkpoint are looked at, until nothing is wrong: in a store in use they change
/// while they are read.
const TRIES: usize = 3;

/// What checking a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// Logs.
    pub logs: u64,
    /// All logs together; its problems are in [`StoreReport::problems`].
    pub log: LogReport,
    /// The journal.
    pub journal: JournalReport,
    /// The checkpoint, if there is one that holds.
    pub checkpoint: Option<CheckpointReport>,
    /// What does not hold, of all.
    pub problems: Vec<Problem>,
}

/// Whether `dir` is a data directory.
#[must_use]
pub fn is_store(dir: &Path) -> bool {
    backend(IoMode::Blocking).exists(&dir.join(VERSION_FILE))
}

/// The directories of logs in a data directory, in order.
///
/// # Errors
/// The directory cannot be read.
pub fn log_dirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let io = backend(IoMode::Blocking);
    let names = io.list(dir)?.into_iter().filter(|name| !name.starts_with('.'));
    let dirs = names.map(|name| dir.join(name));
    Ok(dirs.filter(|dir| io.exists(&dir.join(partition_metadata::FILE))).collect())
}

/// Checks all of a data directory: each log as [`check_log`] does; the checkpoint's checksum, and what it
/// says of each log's files; the journal's entries from the checkpoint on, which follow one another, hold
/// whole batches and name logs that there are; the numbers of the logs, no two of which are equal.
/// `progress` is told the bytes of segments and journal that are done.
///
/// # Errors
/// A file cannot be read.
pub fn check_store(dir: &Path, mut progress: impl FnMut(u64)) -> io::Result<StoreReport> {
    let mut report = StoreReport::default();
    for log in log_dirs(dir)? {
        let before = report.log.bytes;
        let checked = match check_log(&log, |done| progress(before + done)) {
            Ok(checked) => checked,
            // Deleted while it was looked at.
            Err(err) if err.kind() == ErrorKind::NotFound && !log.exists() => continue,
            Err(err) => return Err(err),
        };
        report.logs += 1;
        report.log.segments += checked.segments;
        report.log.batches += checked.batches;
        report.log.records += checked.records;
        report.log.bytes += checked.bytes;
        report.log.index_entries += checked.index_entries;
        report.problems.extend(checked.problems);
    }
    let mut shared = Shared::look(dir)?;
    for _ in 1..TRIES {
        if !shared.problems.is_empty() {
            shared = Shared::look(dir)?;
        }
    }
    progress(report.log.bytes + shared.journal.bytes);
    report.journal = shared.journal;
    report.checkpoint = shared.checkpoint;
    report.problems.extend(shared.problems);
    Ok(report)
}

/// What the logs of a store share.
#[derive(Debug, Default)]
struct Shared {
    journal: JournalReport,
    checkpoint: Option<CheckpointReport>,
    problems: Vec<Problem>,
}

impl Shared {
    fn look(dir: &Path) -> io::Result<Self> {
        let io = backend(IoMode::Blocking);
        let mut shared = Self::default();
        let clean = io.exists(&dir.join(CLEAN_FILE));
        let checkpoint = match read_checkpoint(dir)? {
            Some(Ok(checkpoint)) => Some(checkpoint),
            Some(Err(problem)) => {
                shared.problems.push(problem);
                None
            }
            None => None,
        };
        let has_journal = io.is_dir(&dir.join(files::DIR));
        let version = version::decode(&read_file(&*io, &dir.join(VERSION_FILE), 4096)?);
        let facts = version.as_ref().ok().filter(|version| version.format > 2).map(|version| version.journal);
        let checked = match &checkpoint {
            Some(checkpoint) => journal::check(dir, checkpoint, facts, clean)?,
            // Without a checkpoint nothing tells which entries count.
            None => Checked::default(),
        };
        // After the journal: what it names was there before.
        let numbers = shared.numbers(&*io, dir, version)?;
        shared.journal = checked.report.clone();
        if let Some(checkpoint) = checkpoint {
            shared.states(&*io, dir, &checkpoint, &checked, &numbers, has_journal)?;
        }
        let deleted = io.list(dir)?;
        for (number, story) in checked.logs.iter().filter(|(number, _)| !numbers.contains_key(number)) {
            if !story.deleted && !deleted.contains(&format!("{DELETED}{number}")) {
                let what = format!("the entry names log {number}, which is not there and was not deleted");
                shared.problems.push(Problem::new(&story.first.0, story.first.1, what));
            }
        }
        shared.problems.extend(checked.problems);
        Ok(shared)
    }

    /// The logs by number.
    fn numbers(
        &mut self,
        io: &dyn Io,
        dir: &Path,
        version: Result<Version, String>,
    ) -> io::Result<BTreeMap<u64, PathBuf>> {
        let file = dir.join(VERSION_FILE);
        let next_log = match version {
            Ok(version) if version.format > 1 => Some(version.next_log),
            Ok(_) => None,
            Err(what) => {
                self.problems.push(Problem::new(&file, 0, what));
                None
            }
        };
        let mut numbers: BTreeMap<u64, PathBuf> = BTreeMap::new();
        for log in log_dirs(dir)? {
            let number = match log_number::read(io, &log) {
                Ok(Some(number)) => number,
                Ok(None) => continue, // the next start gives it one
                Err(err) if err.kind() == ErrorKind::NotFound => continue,
                Err(err) if err.kind() == ErrorKind::InvalidData => {
                    self.problems.push(Problem::new(log.join(log_number::FILE), 0, err.to_string()));
                    continue;
                }
                Err(err) => return Err(err),
            };
            if next_log.is_some_and(|next| number >= next) {
                let what = format!("the log has number {number}, and {VERSION_FILE} says that none has");
                self.problems.push(Problem::new(log.join(log_number::FILE), 0, what));
            }
            if let Some(other) = numbers.insert(number, log.clone()) {
                let what = format!("the log has number {number}, and so has {}", other.display());
                self.problems.push(Problem::new(log.join(log_number::FILE), 0, what));
            }
        }
        Ok(numbers)
    }

    fn states(
        &mut self,
        io: &dyn Io,
        dir: &Path,
        checkpoint: &CheckpointFile,
        checked: &Checked,
        numbers: &BTreeMap<u64, PathBuf>,
        has_journal: bool,
    ) -> io::Result<()> {
        let mut report = CheckpointReport { epoch: checkpoint.epoch, ..CheckpointReport::default() };
        for log in &checkpoint.logs {
            report.logs += 1;
            let story = checked.logs.get(&log.number);
            let deleted = story.is_some_and(|story| story.deleted);
            match numbers.get(&log.number) {
                _ if deleted => {}
                Some(path) => check_state(path, log, story, &mut report, &mut self.problems)?,
                // Without a journal a deletion is noted nowhere.
                None if !has_journal => {}
                None if io.is_dir(&dir.join(format!("{DELETED}{}", log.number))) => {}
                None => {
                    let what = format!("it has log {}, which is not there and was not deleted", log.number);
                    self.problems.push(Problem::new(dir.join(crate::checkpoint::FILE), 0, what));
                }
            }
        }
        self.checkpoint = Some(report);
        Ok(())
    }
}
