//! Why the engine could not be measured.

use std::io;

use ringmain_engine::{AppendError, CreateError, DeleteError, OpenError, WaitError};

use crate::floor::FloorError;
use crate::scratch::ScratchError;

/// A write or a sync of a file beside the engine failed.
#[derive(Debug, thiserror::Error)]
#[error("a file cannot be made durable: {0}; look at the free space and the device of --dir")]
pub(crate) struct CommitFailed(pub(crate) io::Error);

/// One line that says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// A store.
    #[error("the store cannot be opened: {0}")]
    Open(#[from] OpenError),
    /// A log.
    #[error("a log cannot be made: {0}; look at space and the limit of open files")]
    Create(#[from] CreateError),
    /// A log.
    #[error("a log cannot be deleted: {0}; choose another --dir")]
    Delete(#[from] DeleteError),
    /// An append.
    #[error("an append failed: {0}")]
    Append(#[from] AppendError),
    /// An append.
    #[error("an append did not become durable: {0}; look at the device of --dir")]
    Wait(#[from] WaitError),
    /// A store.
    #[error("the store cannot be stopped cleanly: {0}; look at the device of --dir")]
    Close(io::Error),
    /// A commit without the engine.
    #[error(transparent)]
    Commit(#[from] CommitFailed),
    /// The files beside it.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// The memory that is touched beforehand.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// The process that fills a store.
    #[error("the process that fills a store failed: {0}")]
    Filler(String),
    /// What was opened is not what was filled.
    #[error("after it was opened the store holds {found} bytes, not {filled}; this is a defect, report it")]
    Lost {
        /// Bytes in the opened store.
        found: u64,
        /// Bytes appended.
        filled: u64,
    },
    /// A device or a log that is no use for the question.
    #[error("{what}; {advice}")]
    Useless {
        /// What is wrong.
        what: String,
        /// What to change.
        advice: &'static str,
    },
    /// Ctrl-C.
    #[error("interrupted, so there are no figures; run it again")]
    Interrupted,
}
