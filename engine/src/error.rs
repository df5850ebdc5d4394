//! Errors, one type per operation.

use crate::batch::BatchError;
use crate::offset::{LeaderEpoch, Offset};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// Why a store cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process; stop that one or choose another directory", .0.display())]
    Locked(PathBuf),
    /// The directory holds something, and it is no store.
    #[error("{} is not empty and not a Ringmain store (there is no {file} in it); choose an empty directory", .dir.display(), file = crate::store::VERSION_FILE)]
    NotAStore {
        /// The directory.
        dir: PathBuf,
    },
    /// Written by a later version, or damaged.
    #[error("{} cannot be read: {reason}", .file.display())]
    Version {
        /// The version file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that nothing can replace is damaged.
    #[error("{} is damaged at byte {position}: {reason}; restore the store from a copy or a replica", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where.
        position: u64,
        /// How.
        reason: String,
    },
    /// A file or directory that belongs to the store is not there.
    #[error("{} is missing: {reason}; {remedy}", .path.display())]
    Missing {
        /// What is missing, or where.
        path: PathBuf,
        /// How that is known.
        reason: String,
        /// What a person can do.
        remedy: String,
    },
    /// The operating system refused something.
    #[error("{} cannot be {action}: {source}; {}", .path.display(), advice(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// What a person can do about it.
fn advice(err: &io::Error) -> &'static str {
    match err.kind() {
        io::ErrorKind::PermissionDenied => {
            "give this user permission to write there, or choose another directory"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "choose a directory",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room, or choose another disk",
        io::ErrorKind::ReadOnlyFilesystem => "choose a directory on a disk that can be written",
        _ => "check the disk, and use another directory if it is at fault",
    }
}

impl OpenError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Why a log cannot be created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Not a name for a directory.
    #[error(
        "{0:?} cannot name a log: a name has 1 to 255 bytes, none of them '/' or NUL, and is not '.' or '..'"
    )]
    Name(String),
    /// There is one already.
    #[error("the log {0} exists")]
    Exists(String),
    /// The store refuses writes.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
    /// The operating system refused.
    #[error("the log {name} cannot be created: {source}")]
    Io {
        /// The log.
        name: String,
        /// The reason.
        source: io::Error,
    },
}

/// Why a log cannot be deleted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// The operating system refused.
    #[error("the log {name} cannot be deleted: {source}")]
    Io {
        /// The log.
        name: String,
        /// The reason.
        source: io::Error,
    },
    /// The store was closed, and what it is opened with next is decided: the log is there then.
    #[error("the log {name} is not deleted: the store is closed")]
    Closed {
        /// The log.
        name: String,
    },
}

/// A write or a sync failed, so the store takes no more writes until it is opened again: after a
/// failed sync the kernel marks pages clean, and a second sync would succeed over lost data.
#[derive(Clone, Debug, Error)]
#[error("the store refuses writes since {what} failed: {source}; mend the disk and restart")]
pub struct StoreFailed {
    /// What failed.
    pub what: String,
    /// How.
    pub source: Arc<io::Error>,
}

/// Why a leader epoch was not raised.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RaiseEpochError {
    /// The store refuses writes.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
    /// It could not be made durable that the epoch was given out; another try may succeed.
    #[error("the leader epoch {epoch} cannot be kept: {source}")]
    Io {
        /// The epoch.
        epoch: LeaderEpoch,
        /// The reason.
        source: io::Error,
    },
}

/// Why an append was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// There was no batch.
    #[error("there is no batch to append")]
    Empty,
    /// The bytes are not a valid batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A batch is larger than the log's configuration allows.
    #[error("a batch has {size_bytes} bytes, more than the {max_bytes} allowed")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The idempotent producer's sequence number leaves a gap or goes back.
    #[error("producer {producer_id} sent sequence {sequence}, expected was {expected}")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// The batch's first sequence number.
        sequence: i32,
        /// The one that would follow.
        expected: i32,
    },
    /// The producer's epoch is older than one already seen.
    #[error("producer {producer_id} has epoch {epoch}, but {current} was seen")]
    ProducerFenced {
        /// The producer.
        producer_id: i64,
        /// The batch's epoch.
        epoch: i16,
        /// The latest seen.
        current: i16,
    },
    /// No space; nothing was appended, and a later append may succeed.
    #[error("the disk is full; free some space")]
    DiskFull,
    /// An idempotent producer's batch came together with others: each is judged by itself.
    #[error("a batch of an idempotent producer is appended alone")]
    NotAlone,
    /// A new segment could not be made; nothing was appended, and a later append may succeed.
    #[error("a new segment cannot be made: {0}")]
    Segment(#[source] io::Error),
    /// The segment is closed, since a store has a limit of open files ([`crate::StoreConfig::open_files_max`]), and could not be
    /// opened: nothing was appended. A checkpoint was asked for, after which a later append may succeed.
    #[error("the segment cannot be opened: {0}; allow more open files, or try again")]
    Unopened(#[source] io::Error),
    /// Something that had become durable is damaged. What lies before it can be read; nothing is
    /// appended, since offsets that were given out would be given out again.
    #[error(
        "the log is damaged at byte {position} of {}, which was durable: {reason}; restore that file or delete the log",
        .file.display()
    )]
    Quarantined {
        /// The segment.
        file: PathBuf,
        /// Where.
        position: u64,
        /// How.
        reason: String,
    },
    /// The log was deleted.
    #[error("the log was deleted")]
    Deleted,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The store refuses writes.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
}

/// Why a log was not cut.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CutError {
    /// The offset is not in the log.
    #[error("offset {offset} is outside of what can be cut, which is {start} to {end}")]
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The log start offset.
        start: Offset,
        /// The end.
        end: Offset,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Read(ReadError),
    /// See [`AppendError::Quarantined`].
    #[error("the log is damaged at byte {position} of {}: {reason}; restore that file or delete the log", .file.display())]
    Quarantined {
        /// The segment.
        file: PathBuf,
        /// Where.
        position: u64,
        /// How.
        reason: String,
    },
    /// No space for the journal; nothing was cut.
    #[error("the disk is full; free some space")]
    DiskFull,
    /// The log was deleted.
    #[error("the log was deleted")]
    Deleted,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The store refuses writes.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
}

/// Why a read failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The offset is not in the log.
    #[error("offset {offset} is outside of the log, which has {start} to {end}")]
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The log start offset.
        start: Offset,
        /// The end of what may be read.
        end: Offset,
    },
    /// The store failed, and what it has in memory is no more what was written. A restart puts back what was
    /// durable.
    #[error("{failed}; byte {position} of {} is not what was written: {reason}", .file.display())]
    Lost {
        /// The segment.
        file: PathBuf,
        /// Where.
        position: u64,
        /// How.
        reason: BatchError,
        /// Why the store failed.
        failed: Box<StoreFailed>,
    },
    /// What is on disk is not what was written.
    #[error("the log is damaged at byte {position} of {}: {reason}", .file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where.
        position: u64,
        /// How.
        reason: BatchError,
    },
    /// The operating system refused.
    #[error("{} cannot be read: {source}", .file.display())]
    Io {
        /// The segment.
        file: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl ReadError {
    /// Whether nothing is wrong but that the medium had to be waited for; see
    /// [`Log::read_cached`](crate::Log::read_cached).
    #[must_use]
    pub fn is_cold(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock)
    }
}
