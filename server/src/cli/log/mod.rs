//! `ringmain log`: looking at the files of a data directory, without a broker and beside one.

mod dump;
mod shared_files;
mod verify;

use clap::Subcommand;
use ringmain_client::wire::batch::BatchError;
use ringmain_engine::inspect::Problem;
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Print what a file holds: batches and records, index entries, the journal, the checkpoint.
    #[command(
        long_about = "Print what a file holds, by its kind:\n  \
            a log's directory or a segment (.log)   batches, and records with --records\n  \
            an .index or .timeindex file            entries\n  \
            DATA/journal or a file in it            every entry whose checksum holds, also those of the past\n  \
            DATA/checkpoint                         logs, segments and producers as the last checkpoint has them\n\n\
            Files are only read. The data directory may be in use.",
        after_help = "Examples:\n  ringmain log dump ringmain-data/orders-0 --records --json\n  \
            ringmain log dump ringmain-data/orders-0/00000000000000000000.timeindex\n  \
            ringmain log dump ringmain-data/journal\n  ringmain log dump ringmain-data/checkpoint --json"
    )]
    Dump(dump::DumpArgs),
    /// Check every CRC and every invariant; exit code 1 if something is wrong.
    #[command(
        long_about = "Check files, and list what is wrong.\n\n\
            Of a log: every CRC, offsets and epochs that follow one another, every index entry. Of a data directory \
            also the checkpoint, and what it says of each log's files; the journal's entries that a start after a \
            crash would put back; the numbers of the logs.\n\n\
            Files are only read. The data directory may be in use. The exit code is 1 if something is wrong.",
        after_help = "Examples:\n  ringmain log verify ringmain-data\n  ringmain log verify ringmain-data/orders-0 --json"
    )]
    Verify(verify::VerifyArgs),
}

#[derive(Debug, Error)]
pub(super) enum LogError {
    #[error("{} cannot be read: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} is not there: while a segment is written to, its indexes have files only if they have many entries; stop the broker, or look at another segment",
        .0.display()
    )]
    NoIndex(PathBuf),
    #[error("the output cannot be written: {0}")]
    Write(#[from] io::Error),
    #[error("a batch at byte {position} of {} cannot be decoded: {source}", .path.display())]
    Decode { path: PathBuf, position: u64, source: BatchError },
    #[error(
        "{} has no log in it; name a directory like DATA/TOPIC-PARTITION, or DATA/journal or DATA/checkpoint",
        .0.display()
    )]
    NoLog(PathBuf),
    #[error("{count} problems in {}; see the list above", .path.display())]
    Problems { path: PathBuf, count: usize },
}

impl LogError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    /// As [`LogError::read`], of an index file.
    fn index(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::NotFound if path.with_extension("log").exists() => Self::NoIndex(path),
            _ => Self::Read { path, source },
        }
    }

    /// An error if there are problems.
    fn of_problems(path: &Path, count: usize) -> Result<(), Self> {
        if count == 0 { Ok(()) } else { Err(Self::Problems { path: path.to_owned(), count }) }
    }
}

pub(super) fn run(command: LogCommand) -> Result<(), LogError> {
    let outcome = match command {
        LogCommand::Dump(args) => dump::run(&args),
        LogCommand::Verify(args) => verify::run(&args),
    };
    match outcome {
        // Who reads the output has seen enough: `| head` does that.
        Err(LogError::Write(err)) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

fn print_problem(out: &mut impl Write, as_json: bool, problem: &Problem) -> io::Result<()> {
    let file = problem.file.display();
    if as_json {
        return writeln!(out, "{}", problem_json(problem));
    }
    writeln!(out, "  PROBLEM in {file} at byte {}: {}", problem.position, problem.what)
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    json!({"problem": problem.what, "file": problem.file.display().to_string(), "position": problem.position})
}
