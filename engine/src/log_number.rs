//! `ringmain-log`: the number by which the journal names a log. No other log of the store ever has it.

use crate::io::{Io, read_file, replace_file};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The file's name.
pub(crate) const FILE: &str = "ringmain-log";

/// What the file of a log says.
pub(crate) fn content(number: u64) -> String {
    format!("number={number}\n")
}

/// Durable when it returns, the directory included.
pub(crate) fn write(io: &dyn Io, dir: &Path, number: u64) -> io::Result<()> {
    replace_file(io, &dir.join(FILE), content(number).as_bytes(), true)
}

/// `None` if there is no file: the log was made by an older version, or by another program.
pub(crate) fn read(io: &dyn Io, dir: &Path) -> io::Result<Option<u64>> {
    let content = match read_file(io, &dir.join(FILE), 4096) {
        Ok(content) => content,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    let text = String::from_utf8_lossy(&content);
    let number = text.lines().find_map(|line| line.strip_prefix("number=")?.parse::<u64>().ok());
    // Numbers are given out one by one: one that large was not written by a store.
    let number = number.filter(|number| *number <= u64::MAX / 2);
    number.map(Some).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "ringmain-log has no valid number"))
}
