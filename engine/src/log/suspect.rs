//! Reads in a store that failed. After a failed write-back the kernel may drop pages whose data is durable in the
//! journal only, or nowhere: what is read then is not what was written. So what no checkpoint proved is read
//! into memory and checked, and given from there.

use super::{Log, Slice};
use crate::batch::{BatchError, BatchHeader};
use crate::error::{ReadError, StoreFailed};
use crate::offset::Offset;
use crate::segment::Segment;
use std::path::PathBuf;
use std::sync::PoisonError;

/// How many bytes from the beginning on are whole batches that follow one another, and what is wrong after them.
/// `first` is an offset that the first batch holds, if any will not do.
fn sound(bytes: &[u8], first: Option<Offset>) -> (usize, Option<BatchError>) {
    let (mut at, mut next) = (0, None);
    while at < bytes.len() {
        let header = match BatchHeader::parse_whole(&bytes[at..]) {
            Ok(header) => header,
            Err(reason) => return (at, Some(reason)),
        };
        let BatchHeader { base_offset, leader_epoch, .. } = header;
        let expected = next.or(first.filter(|first| !(base_offset..header.end_offset()).contains(first)));
        if let Some(expected) = expected.filter(|expected| base_offset != *expected) {
            return (at, Some(BatchError::Misplaced { base_offset, expected, leader_epoch }));
        }
        next = Some(header.end_offset());
        at += header.size_bytes;
    }
    (at, None)
}

/// All of `bytes`, from `position` of a segment on, must be sound.
pub(super) fn check(
    segment: &Segment,
    position: u64,
    bytes: &[u8],
    failed: StoreFailed,
) -> Result<(), ReadError> {
    match sound(bytes, None) {
        (_, None) => Ok(()),
        (at, Some(reason)) => Err(lost(segment.path.clone(), position + at as u64, reason, failed)),
    }
}

fn lost(file: PathBuf, position: u64, reason: BatchError, failed: StoreFailed) -> ReadError {
    ReadError::Lost { file, position, reason, failed: failed.into() }
}

impl Log {
    /// What a read found, as it may be given away: in a store that failed, checked.
    pub(super) fn vouched(
        &self,
        found: Result<Option<Slice>, ReadError>,
        offset: Option<Offset>,
    ) -> Result<Option<Slice>, ReadError> {
        let Some(failed) = self.failure() else { return found };
        let mut slice = match found {
            // Headers are read from the same pages.
            Err(ReadError::Damaged { file, position, reason }) => {
                return Err(lost(file, position, reason, failed));
            }
            Ok(Some(slice)) => slice,
            other => return other,
        };
        slice.checked = true;
        if self.is_proven(&slice.segment, slice.position + slice.len) {
            return Ok(Some(slice));
        }
        let mut bytes = slice.bytes()?;
        let (len, reason) = sound(&bytes, offset);
        match reason {
            Some(reason) if len == 0 => {
                return Err(lost(slice.segment.path.clone(), slice.position, reason, failed));
            }
            _ => bytes.truncate(len),
        }
        (slice.len, slice.held) = (len as u64, Some(bytes.into()));
        Ok(Some(slice))
    }

    /// Whether the last checkpoint says that the segment is on the medium up to `end`.
    fn is_proven(&self, segment: &Segment, end: u64) -> bool {
        let known = self.checkpointed.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|known| {
            segment.base < known.end.segment || (segment.base == known.end.segment && end <= known.end.bytes)
        })
    }
}
