//! Why there is no page.

use std::io;
use std::path::PathBuf;

use crate::page::draw::DrawError;

/// A report that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// A result cannot be read.
    #[error("cannot read {}: {source}; check the path", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A result is larger than any of ours.
    #[error("{} has {bytes} bytes, more than the {max} of any result; is it one?", path.display())]
    TooLarge {
        /// File.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// It is no JSON.
    #[error("{} is no JSON: {source}; give a file that a command wrote with --out", path.display())]
    Json {
        /// File.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// It is of another tool, or of another version.
    #[error(
        "{}: the field `{field}` is {found}, and this version knows {known}; \
         report it with the version that measured it, or measure again", path.display()
    )]
    Format {
        /// File.
        path: PathBuf,
        /// Which field tells.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it could hold.
        known: String,
    },
    /// It says to be ours, and a field is not as it should be.
    #[error("{}: the field `{field}` is wrong: {source}; measure again", path.display())]
    Field {
        /// File.
        path: PathBuf,
        /// Where, such as `phases[3].latency.p50_us`.
        field: String,
        /// Cause.
        source: serde_json::Error,
    },
    /// A README without the two lines.
    #[error("{} has no lines `{begin}` and `{end}`; write them where pictures and table shall be", path.display())]
    NoPlace {
        /// README.
        path: PathBuf,
        /// First line.
        begin: &'static str,
        /// Last line.
        end: &'static str,
    },
    /// A README that cannot name the pictures.
    #[error("{} is not below the directory of {}; copy it there", path.display(), readme.display())]
    NotBelow {
        /// README.
        readme: PathBuf,
        /// Result.
        path: PathBuf,
    },
    /// Not one comparison.
    #[error(
        "--readme shows one comparison, and there are {0} among the results; give one file that `compare` wrote"
    )]
    NotOne(usize),
    /// A plot.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// The page or a picture cannot be written.
    #[error("cannot write {}: {source}; choose another --out or --svg", path.display())]
    Write {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A check that was asked for, and that could not fail.
    #[error(
        "--fail-on-regression: no figure of the results could be compared with one of --against; \
         give results of the same commands and workloads, with 3 rounds or more"
    )]
    NothingCompared,
}
