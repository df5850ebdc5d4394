//! How far each log was proven to be on the medium, kept for the next unclean start.
//!
//! Written when everything was just synced: at a clean stop, and after an unclean start. What lies
//! below need not be written again after a crash.

use crate::io::{Io, read_file, replace_file};
use crate::log::LogId;
use crate::offset::Offset;
use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::path::Path;

/// The file's name.
pub(crate) const FILE: &str = "recovery-points";
/// The largest file that is read: some 300 bytes a log.
const FILE_BYTES_MAX: usize = 1 << 30;

/// Ends by log. Not knowing one costs a rewrite, never data.
#[derive(Debug, Default)]
pub(crate) struct RecoveryPoints(HashMap<String, (String, Offset)>);

impl RecoveryPoints {
    /// An unreadable file knows nothing.
    pub(crate) fn read(io: &dyn Io, dir: &Path) -> Self {
        let content = read_file(io, &dir.join(FILE), FILE_BYTES_MAX).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (name, id, end) = (words.next()?, words.next()?, words.next()?);
            Some((name.to_owned(), (id.to_owned(), Offset(end.parse().ok()?))))
        };
        Self(String::from_utf8_lossy(&content).lines().filter_map(line).collect())
    }

    /// The end that was proven for a log; a log of the same name and another id is another.
    pub(crate) fn of(&self, name: &str, id: LogId) -> Offset {
        let known = self.0.get(name).filter(|(known, _)| *known == format!("{id:?}"));
        known.map_or(Offset::ZERO, |(_, end)| *end)
    }

    pub(crate) fn write<'a>(
        io: &dyn Io,
        dir: &Path,
        logs: impl Iterator<Item = (&'a str, LogId, Offset)>,
    ) -> io::Result<()> {
        let mut text = String::new();
        for (name, id, end) in logs.filter(|(name, ..)| !name.contains([' ', '\n'])) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{name} {id:?} {end}");
        }
        replace_file(io, &dir.join(FILE), text.as_bytes(), true)
    }
}
