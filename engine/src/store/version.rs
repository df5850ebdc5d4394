//! The file `ringmain-store`: what makes a directory a store, its format, what its journal consists of, and
//! numbers that never fall.

use crate::io::{Io, replace_file};
use crate::offset::LeaderEpoch;
use crate::sync::{Mutex, MutexGuard};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// The file's name.
pub(crate) const FILE: &str = "ringmain-store";
/// The format that this version writes. It reads formats 1 and 2, too.
pub(super) const FORMAT: i64 = 3;

/// The files of a journal. Those that are not counted hold nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JournalFacts {
    /// Each file of the journal begins with it, and no file of another.
    pub(crate) id: u64,
    /// How many there are: `journal/0` and so on.
    pub(crate) files: usize,
    /// The size of each, in bytes.
    pub(crate) file_bytes: u64,
}

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) format: i64,
    /// Batches made since the store was opened last have this epoch at least.
    pub(crate) epoch_floor: LeaderEpoch,
    /// No batch of the store ever had a higher epoch.
    pub(crate) epoch_ceiling: LeaderEpoch,
    /// Log numbers from here on were never used.
    pub(crate) next_log: u64,
    pub(crate) journal: JournalFacts,
    /// Whether a first start came to its end: from then on there is a checkpoint.
    pub(crate) started: bool,
}

/// Replaces the file, durably.
pub(crate) fn write(io: &dyn Io, dir: &Path, version: &Version) -> io::Result<()> {
    replace_file(io, &dir.join(FILE), encode(version).as_bytes(), true)
}

fn encode(version: &Version) -> String {
    let Version { epoch_floor, epoch_ceiling, next_log, journal, started, .. } = version;
    let body = format!(
        "format={FORMAT}\nepoch_floor={epoch_floor}\nepoch_ceiling={epoch_ceiling}\nnext_log={next_log}\n\
         journal={}\njournal_files={}\njournal_file_bytes={}\nstarted={}\n",
        journal.id,
        journal.files,
        journal.file_bytes,
        u8::from(*started)
    );
    let checksum = crc32c::crc32c(body.as_bytes());
    format!("{body}checksum={checksum:08x}\n")
}

pub(crate) fn decode(content: &[u8]) -> Result<Version, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not text".to_owned())?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.and_then(|value| value.parse::<i64>().ok()).ok_or_else(|| format!("it has no valid {key}"))
    };
    let format = value("format")?;
    if !(1..=FORMAT).contains(&format) {
        return Err(format!(
            "it has format {format}, this version reads formats 1 to {FORMAT}; use the version that wrote it"
        ));
    }
    let number = |key: &str| u64::try_from(value(key)?).map_err(|_| format!("it has no valid {key}"));
    let epoch =
        |key: &str| i32::try_from(value(key)?).map(LeaderEpoch).map_err(|_| format!("it has no valid {key}"));
    let epoch_floor = epoch("epoch_floor")?;
    let next_log = if format == 1 { 0 } else { number("next_log")? };
    if format < 3 {
        let started = format == 2;
        return Ok(Version {
            format,
            epoch_floor,
            epoch_ceiling: epoch_floor,
            next_log,
            started,
            ..Version::default()
        });
    }
    let body = text.find("checksum=").unwrap_or(0);
    if text[body..].trim_end() != format!("checksum={:08x}", crc32c::crc32c(&content[..body])) {
        return Err("its checksum does not hold".into());
    }
    let files =
        usize::try_from(number("journal_files")?).map_err(|_| "it has no valid journal_files".to_owned())?;
    Ok(Version {
        format,
        epoch_floor,
        epoch_ceiling: epoch("epoch_ceiling")?,
        next_log,
        journal: JournalFacts { id: number("journal")?, files, file_bytes: number("journal_file_bytes")? },
        started: value("started")? == 1,
    })
}

/// The file of an open store, for all who change it.
#[derive(Debug)]
pub(crate) struct StoreFile {
    io: Arc<dyn Io>,
    dir: PathBuf,
    known: Mutex<Version>,
}

impl StoreFile {
    /// `version` is what the file says.
    pub(crate) fn new(io: &Arc<dyn Io>, dir: &Path, version: Version) -> Self {
        Self { io: Arc::clone(io), dir: dir.to_owned(), known: Mutex::new(version) }
    }

    fn lock(&self) -> MutexGuard<'_, Version> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> Version {
        *self.lock()
    }

    /// Durable when it returns. After an error the file says the old or the new.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Version)) -> io::Result<()> {
        let mut known = self.lock();
        let mut changed = *known;
        change(&mut changed);
        if changed != *known {
            write(&*self.io, &self.dir, &changed)?;
            *known = changed;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Version {
        Version {
            format: FORMAT,
            epoch_floor: LeaderEpoch(4),
            epoch_ceiling: LeaderEpoch(9),
            next_log: 1024,
            journal: JournalFacts { id: u64::MAX >> 1, files: 3, file_bytes: 32 << 20 },
            started: true,
        }
    }

    #[test]
    fn what_is_written_is_read_and_any_flipped_bit_is_noticed() {
        let text = encode(&version());
        assert_eq!(decode(text.as_bytes()), Ok(version()));
        assert_eq!(decode(text.trim_end().as_bytes()), Ok(version()));
        for at in 0..text.len() - 1 {
            let mut flipped = text.clone().into_bytes();
            flipped[at] ^= 1;
            assert_ne!(decode(&flipped), Ok(version()), "flipped at {at}");
            assert!(decode(&flipped).is_err() || flipped.starts_with(b"format=2"), "flipped at {at}");
            assert!(decode(&text.as_bytes()[..at]).is_err(), "cut at {at}");
        }
    }
}
