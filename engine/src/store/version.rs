//! The file `ringmain-store`: what makes a directory a store, its format, and two numbers that never fall.

use crate::io::{Io, replace_file};
use crate::offset::LeaderEpoch;
use std::io;
use std::path::Path;

/// The file's name.
pub(crate) const FILE: &str = "ringmain-store";
/// The format that this version writes. It reads format 1, too, which had no journal.
const FORMAT: i64 = 2;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) format: i64,
    /// No batch of the store has a higher epoch.
    pub(crate) epoch_floor: LeaderEpoch,
    /// Log numbers from here on were never used.
    pub(crate) next_log: u64,
}

pub(crate) fn write(io: &dyn Io, dir: &Path, epoch_floor: LeaderEpoch, next_log: u64) -> io::Result<()> {
    let text = format!("format={FORMAT}\nepoch_floor={epoch_floor}\nnext_log={next_log}\n");
    replace_file(io, &dir.join(FILE), text.as_bytes(), true)
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
    let epoch_floor =
        i32::try_from(value("epoch_floor")?).map_err(|_| "it has no valid epoch_floor".to_owned())?;
    let next_log = if format == 1 { 0 } else { value("next_log")? };
    let next_log = u64::try_from(next_log).map_err(|_| "it has no valid next_log".to_owned())?;
    Ok(Version { format, epoch_floor: LeaderEpoch(epoch_floor), next_log })
}
