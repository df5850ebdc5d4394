//! `ringmain log verify`: whether files are as they should be.

use super::{LogError, print_problem, problem_json};
use crate::cli::output::BytesProgress;
use clap::Args;
use ringmain_engine::inspect::{
    StoreReport, check_log, check_store, is_store, journal_files, log_dirs, segment_files,
};
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// A data directory, or a log's directory in it.
    path: PathBuf,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs) -> Result<(), LogError> {
    let read = |source| LogError::Read { path: args.path.clone(), source };
    let is_store = is_store(&args.path);
    let dirs = if is_store { log_dirs(&args.path).map_err(read)? } else { logs(&args.path)? };
    let journal = journal_files(&args.path.join("journal")).unwrap_or_default();
    let segments = dirs.iter().flat_map(|dir| segment_files(dir).unwrap_or_default());
    let sizes = segments.chain(journal.into_iter().filter(|_| is_store));
    let total = sizes.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    let progress = BytesProgress::new(total);
    let report = if is_store {
        check_store(&args.path, |done| progress.show(done)).map_err(read)?
    } else {
        check_logs(&dirs, &progress)?
    };
    drop(progress);
    let mut out = BufWriter::new(io::stdout().lock());
    print_report(&mut out, &report, args.json)?;
    out.flush()?;
    LogError::of_problems(&args.path, report.problems.len())
}

/// The log directories at a path that is no store: itself, or those in it.
fn logs(path: &Path) -> Result<Vec<PathBuf>, LogError> {
    let is_log = path.join("partition.metadata").exists();
    if is_log || segment_files(path).is_ok_and(|files| !files.is_empty()) {
        return Ok(vec![path.to_owned()]);
    }
    let found = log_dirs(path).map_err(LogError::read(path))?;
    if found.is_empty() { Err(LogError::NoLog(path.to_owned())) } else { Ok(found) }
}

fn check_logs(dirs: &[PathBuf], progress: &BytesProgress) -> Result<StoreReport, LogError> {
    let mut report = StoreReport::default();
    for dir in dirs {
        let before = report.log.bytes;
        let checked = check_log(dir, |done| progress.show(before + done)).map_err(LogError::read(dir))?;
        report.logs += 1;
        report.log.segments += checked.segments;
        report.log.batches += checked.batches;
        report.log.records += checked.records;
        report.log.bytes += checked.bytes;
        report.log.index_entries += checked.index_entries;
        report.problems.extend(checked.problems);
    }
    Ok(report)
}

fn print_report(out: &mut impl Write, report: &StoreReport, as_json: bool) -> io::Result<()> {
    let StoreReport { logs, log, journal, checkpoint, problems } = report;
    if as_json {
        let line = json!({
            "logs": logs, "segments": log.segments, "batches": log.batches, "records": log.records,
            "bytes": log.bytes, "index_entries": log.index_entries,
            "journal": {
                "files": journal.files, "bytes": journal.bytes, "entries": journal.entries,
                "batches": journal.batches, "batch_bytes": journal.batch_bytes,
            },
            "checkpoint": checkpoint.as_ref().map(|found| {
                json!({"epoch": found.epoch, "logs": found.logs, "segments": found.segments})
            }),
            "problems": problems.iter().map(problem_json).collect::<Vec<_>>(),
        });
        return writeln!(out, "{line}");
    }
    for problem in problems {
        print_problem(out, false, problem)?;
    }
    if let Some(checkpoint) = checkpoint {
        writeln!(
            out,
            "checkpoint: epoch {}, {} logs, {} segments as it says",
            checkpoint.epoch, checkpoint.logs, checkpoint.segments
        )?;
    }
    if journal.files > 0 {
        writeln!(
            out,
            "journal: {} files, {} entries since the checkpoint with {} batches of {} bytes",
            journal.files, journal.entries, journal.batches, journal.batch_bytes
        )?;
    }
    writeln!(
        out,
        "{logs} logs, {} segments, {} batches, {} records, {} bytes, {} index entries: {} problems",
        log.segments,
        log.batches,
        log.records,
        log.bytes,
        log.index_entries,
        problems.len(),
    )
}
