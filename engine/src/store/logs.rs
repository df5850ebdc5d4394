//! The directories of logs in a store: which there are, what a crash left of others, and which are lost.

use super::{CREATING, DELETED, empty_dir};
use crate::checkpoint::Checkpoint;
use crate::error::OpenError;
use crate::io::Io;
use crate::journal::replay::Replay;
use crate::log::LogId;
use crate::{log_number, partition_metadata};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Name, id and number of a log.
pub(super) type Named = (String, LogId, u64);

/// The logs, and the numbers of those whose deletion left its mark. What a crash left half made goes, and the
/// files of what it left half removed.
///
/// # Errors
/// A directory is that of a log, and does not say of which.
pub(super) fn find_logs(
    io: &dyn Io,
    dir: &Path,
    names: Vec<String>,
    next_number: &mut u64,
    checkpoint: &Checkpoint,
) -> Result<(Vec<Named>, BTreeSet<u64>), OpenError> {
    let mut found = Vec::new();
    let mut deleted = BTreeSet::new();
    let known: HashMap<&str, u64> =
        checkpoint.logs.values().map(|log| (log.name.as_str(), log.number)).collect();
    let is_left = |name: &String| name.starts_with(CREATING) || name.starts_with(DELETED);
    for name in names {
        let path = dir.join(&name);
        let number = name.strip_prefix(DELETED).and_then(|number| number.parse::<u64>().ok());
        if let Some(number) = number.filter(|number| name == format!("{DELETED}{number}")) {
            // Its mark stays until a checkpoint counts that does not have the log.
            empty_dir(io, &path).map_err(OpenError::io("emptied", &path))?;
            deleted.insert(number);
            continue;
        }
        if is_left(&name) {
            io.remove_dir(&path).map_err(OpenError::io("removed", &path))?;
            continue;
        }
        let number_file = path.join(log_number::FILE);
        if io.exists(&path.join(partition_metadata::FILE)) {
            let id = partition_metadata::read(io, &path)
                .map_err(OpenError::io("read", path.join(partition_metadata::FILE)))?;
            let number = log_number::read(io, &path).map_err(OpenError::io("read", &path))?;
            if let (None, Some(known)) = (number, known.get(name.as_str())) {
                let remedy = format!(
                    "if the directory is that of the log, write `number={known}` to the file; else move it away"
                );
                return Err(missing(&number_file, *known, remedy));
            }
            found.push((name, id, number));
        } else if io.exists(&number_file) {
            let number = log_number::read(io, &path).map_err(OpenError::io("read", &path))?;
            let remedy = "restore it, with the topic's id in it".to_owned();
            return Err(missing(&path.join(partition_metadata::FILE), number.unwrap_or_default(), remedy));
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
    *next_number = (*next_number).max(numbered.map_or(0, |number| number + 1));
    let mut logs = Vec::with_capacity(found.len());
    for (name, id, number) in found {
        let number = match number {
            Some(number) => number,
            None => {
                // Of a version that had no journal, or of another program.
                let path = dir.join(&name);
                log_number::write(io, &path, *next_number).map_err(OpenError::io("numbered", &path))?;
                *next_number += 1;
                *next_number - 1
            }
        };
        logs.push((name, id, number));
    }
    Ok((logs, deleted))
}

fn missing(file: &Path, number: u64, remedy: String) -> OpenError {
    let reason = format!("it belongs to log {number} of this store");
    OpenError::Missing { path: file.to_owned(), reason, remedy }
}

/// Refuses a store without a log that checkpoint or journal know, and that nobody deleted.
pub(super) fn refuse_lost(
    dir: &Path,
    dirs: &[Named],
    deleted: &BTreeSet<u64>,
    checkpoint: &Checkpoint,
    replay: &Replay,
) -> Result<(), OpenError> {
    let here: BTreeSet<u64> = dirs.iter().map(|(.., number)| *number).collect();
    let known: BTreeSet<u64> = replay.logs.keys().chain(checkpoint.logs.keys()).copied().collect();
    let is_lost = |number: &&u64| {
        let gone = deleted.contains(number) || replay.logs.get(number).is_some_and(|story| story.deleted);
        !here.contains(number) && !gone
    };
    let Some(number) = known.iter().find(is_lost) else { return Ok(()) };
    let name = checkpoint.logs.get(number).map(|log| log.name.as_str()).filter(|name| !name.is_empty());
    let reason = match name {
        Some(_) => format!("the directory of log {number} is gone, and nobody deleted the log"),
        None => format!(
            "the journal has records of log {number}, no directory has that number, and nobody deleted the log"
        ),
    };
    let remedy = format!(
        "restore it, with its {}; or, to give the log up, make the empty directory {DELETED}{number} in {}",
        log_number::FILE,
        dir.display()
    );
    Err(OpenError::Missing { path: name.map_or(dir.to_owned(), |name| dir.join(name)), reason, remedy })
}
