//! Why a command failed: one line that says what happened and what to do.

use std::io;
use std::path::PathBuf;

use crate::compare::CompareError;
use crate::engine::EngineError;
use crate::floor::FloorError;
use crate::machine::ProcessError;
use crate::page::PageError;
use crate::peer::PeerError;
use crate::result::run::RunFileError;
use crate::verify::VerifyError;
use crate::workload::WorkloadError;

/// The reason of exit code 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The broker, or the way to it.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// What was read back is not what was sent.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A floor.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The comparison.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Its file.
    #[error(transparent)]
    CompareFile(#[from] crate::result::compare::CompareFileError),
    /// No place for its files.
    #[error(transparent)]
    Scratch(#[from] crate::scratch::ScratchError),
    /// The broker's process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A workload.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A result file.
    #[error(transparent)]
    RunFile(#[from] RunFileError),
    /// Files cannot be dropped from the page cache.
    #[error("cannot drop the files in {} from the page cache: {source}; correct --data-dir", path.display())]
    Evict {
        /// Directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The server of the self-check.
    #[error("the self-check failed: {0}; run it again, and look at limits of processes and memory")]
    SelfCheck(String),
    /// The page of a report.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Options that do not go together.
    #[error("{what}; {advice}")]
    Options {
        /// What is asked.
        what: String,
        /// What to ask instead.
        advice: &'static str,
    },
    /// The report cannot be written.
    #[error("cannot write {}: {source}; choose another --out", path.display())]
    Report {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Standard output is gone.
    #[error("cannot print the report: {0}; use --out to keep it in a file")]
    Print(io::Error),
    /// Signals cannot be waited for.
    #[error("cannot set up signals: {0}; check the limits of threads")]
    Signals(io::Error),
    /// Ctrl-C.
    #[error("interrupted, so there are no figures; run it again")]
    Interrupted,
}
