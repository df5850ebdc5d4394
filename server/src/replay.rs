//! Reading a log of the broker's own from its start to its end, record by record.

use ringmain_engine::{BatchHeader, Log, ReadBound, ReadError, Record, RecordsError, records};
use thiserror::Error;

/// Bytes read at a time.
const READ_BYTES: u64 = 1 << 20;

/// Why a log of the broker's own cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ReplayError {
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Records(#[from] RecordsError),
    #[error("the record at offset {offset} is not understood: {reason}")]
    Record { offset: i64, reason: String },
}

/// Calls `apply` with every record in the log.
pub(crate) fn replay(
    log: &Log,
    mut apply: impl FnMut(&Record<'_>) -> Result<(), String>,
) -> Result<(), ReplayError> {
    let mut next = log.progress().start;
    while let Some(slice) = log.read(next, READ_BYTES, true, ReadBound::Written)? {
        let bytes = slice.read()?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).map_err(RecordsError::from)?;
            for record in records(rest)? {
                let record = record?;
                apply(&record).map_err(|reason| ReplayError::Record { offset: record.offset.0, reason })?;
            }
            next = header.end_offset();
            rest = &rest[header.size_bytes..];
        }
    }
    Ok(())
}
