//! `ringmain log`: looking at the files of a log, without a broker.

use super::output::BytesProgress;
use bytes::Bytes;
use clap::{Args, Subcommand};
use ringmain_client::wire::batch::{BatchError, next_batch};
use ringmain_engine::inspect::{LogReport, Problem, SegmentReader, StoredBatch, check_log, segment_files};
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Print the batches of a log, and their records if asked.
    #[command(after_help = "Example:\n  ringmain log dump ringmain-data/orders-0 --records --json")]
    Dump(DumpArgs),
    /// Check every CRC, every invariant and every index entry; exit code 1 if something is wrong.
    #[command(after_help = "Example:\n  ringmain log verify ringmain-data")]
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// A log's directory, or one segment of it.
    path: PathBuf,
    /// Print records, too, decompressed.
    #[arg(long)]
    records: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// The largest batch, decompressed, that is looked into.
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 20)]
    batch_bytes_max: usize,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A log's directory, or a data directory with many.
    path: PathBuf,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Error)]
pub(super) enum LogError {
    #[error("{} cannot be read: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the output cannot be written: {0}")]
    Write(#[from] io::Error),
    #[error("a batch at byte {position} of {} cannot be decoded: {source}", .path.display())]
    Decode { path: PathBuf, position: u64, source: BatchError },
    #[error("{} has no log in it; name a directory like DATA/TOPIC-PARTITION", .0.display())]
    NoLog(PathBuf),
    #[error("{count} problems in {}; see the list above", .path.display())]
    Problems { path: PathBuf, count: usize },
}

pub(super) fn run(command: LogCommand) -> Result<(), LogError> {
    match command {
        LogCommand::Dump(args) => dump(&args),
        LogCommand::Verify(args) => verify(&args),
    }
}

/// Segments of a directory, or the one named.
fn segments(path: &Path) -> Result<Vec<PathBuf>, LogError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let found = segment_files(path).map_err(|source| LogError::Read { path: path.to_owned(), source })?;
    if found.is_empty() && !path.join("partition.metadata").exists() {
        return Err(LogError::NoLog(path.to_owned()));
    }
    Ok(found)
}

fn dump(args: &DumpArgs) -> Result<(), LogError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut problems = 0;
    for path in segments(&args.path)? {
        if !args.json {
            writeln!(out, "{}", path.display())?;
        }
        let read = |source| LogError::Read { path: path.clone(), source };
        let reader = SegmentReader::open(&path).map_err(read)?;
        let problem = reader.batches(|batch| print_batch(&mut out, args, &path, batch))?;
        if let Some(problem) = problem {
            problems += 1;
            print_problem(&mut out, args.json, &problem)?;
        }
    }
    out.flush()?;
    match problems {
        0 => Ok(()),
        count => Err(LogError::Problems { path: args.path.clone(), count }),
    }
}

fn print_batch(
    out: &mut impl Write,
    args: &DumpArgs,
    path: &Path,
    batch: StoredBatch,
) -> Result<(), LogError> {
    let header = &batch.header;
    let codec = ["none", "gzip", "snappy", "lz4", "zstd"]
        .get(usize::from(header.compression()))
        .unwrap_or(&"unknown");
    if args.json {
        let line = json!({
            "file": path.display().to_string(), "position": batch.position, "size_bytes": header.size_bytes,
            "base_offset": header.base_offset.0, "last_offset": header.last_offset().0,
            "records": header.record_count, "leader_epoch": header.leader_epoch.0, "compression": codec,
            "base_timestamp_ms": header.base_timestamp_ms, "max_timestamp_ms": header.max_timestamp_ms,
            "producer_id": header.producer_id, "producer_epoch": header.producer_epoch,
            "base_sequence": header.base_sequence, "transactional": header.is_transactional(),
            "control": header.is_control(), "crc": header.crc,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "  batch at {}: offsets {} to {}, {} records, {} bytes, epoch {}, {codec}, timestamps {} to {}, \
             producer {} epoch {} sequence {}, crc {:#010x}",
            batch.position,
            header.base_offset,
            header.last_offset(),
            header.record_count,
            header.size_bytes,
            header.leader_epoch,
            header.base_timestamp_ms,
            header.max_timestamp_ms,
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
            header.crc,
        )?;
    }
    if !args.records {
        return Ok(());
    }
    let position = batch.position;
    let decode = |source| LogError::Decode { path: path.to_owned(), position, source };
    let Some(decoded) = next_batch(&mut Bytes::from(batch.bytes)).map_err(decode)? else { return Ok(()) };
    for record in decoded.records(args.batch_bytes_max).map_err(decode)? {
        let record = record.map_err(decode)?;
        let text =
            |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        if args.json {
            let headers: Vec<_> = record.headers.iter().map(|header| format!("{header:?}")).collect();
            let line = json!({
                "offset": record.offset, "timestamp_ms": record.timestamp, "key": text(&record.key),
                "value": text(&record.value), "headers": headers,
            });
            writeln!(out, "{line}")?;
        } else {
            let shown = |field| text(field).unwrap_or_else(|| "null".into());
            writeln!(
                out,
                "    {} at {}: {} = {}",
                record.offset,
                record.timestamp,
                shown(&record.key),
                shown(&record.value)
            )?;
        }
    }
    Ok(())
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

/// The log directories at a path: itself, or those in it.
fn logs(path: &Path) -> Result<Vec<PathBuf>, LogError> {
    let read = |source| LogError::Read { path: path.to_owned(), source };
    let is_log = |dir: &Path| dir.join("partition.metadata").exists();
    if is_log(path) || segment_files(path).is_ok_and(|files| !files.is_empty()) {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read)? {
        let dir = entry.map_err(read)?.path();
        if is_log(&dir) {
            found.push(dir);
        }
    }
    found.sort();
    if found.is_empty() { Err(LogError::NoLog(path.to_owned())) } else { Ok(found) }
}

fn verify(args: &VerifyArgs) -> Result<(), LogError> {
    let dirs = logs(&args.path)?;
    let size = |dir: &PathBuf| -> u64 {
        let files = segment_files(dir).unwrap_or_default();
        files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
    };
    let progress = BytesProgress::new(dirs.iter().map(size).sum());
    let mut out = BufWriter::new(io::stdout().lock());
    let mut total = LogReport::default();
    for dir in &dirs {
        let before = total.bytes;
        let checked = check_log(dir, |done| progress.show(before + done));
        let report = checked.map_err(|source| LogError::Read { path: dir.clone(), source })?;
        if !args.json {
            for problem in &report.problems {
                print_problem(&mut out, false, problem)?;
            }
        }
        total.segments += report.segments;
        total.batches += report.batches;
        total.records += report.records;
        total.bytes += report.bytes;
        total.index_entries += report.index_entries;
        total.problems.extend(report.problems);
    }
    drop(progress);
    if args.json {
        let report = json!({
            "logs": dirs.len(), "segments": total.segments, "batches": total.batches, "records": total.records,
            "bytes": total.bytes, "index_entries": total.index_entries,
            "problems": total.problems.iter().map(problem_json).collect::<Vec<_>>(),
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(
            out,
            "{} logs, {} segments, {} batches, {} records, {} bytes, {} index entries: {} problems",
            dirs.len(),
            total.segments,
            total.batches,
            total.records,
            total.bytes,
            total.index_entries,
            total.problems.len(),
        )?;
    }
    out.flush()?;
    match total.problems.len() {
        0 => Ok(()),
        count => Err(LogError::Problems { path: args.path.clone(), count }),
    }
}
