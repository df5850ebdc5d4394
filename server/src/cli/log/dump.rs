//! `ringmain log dump`: what a file holds, by its kind.

use super::shared_files::{print_checkpoint, print_journal};
use super::{LogError, print_problem};
use crate::cli::record_json::Content;
use bytes::Bytes;
use clap::Args;
use ringmain_client::wire::batch::next_batch;
use ringmain_engine::inspect::{SegmentReader, StoredBatch, offset_index, segment_files, time_index};
use serde::Serialize;
use serde_json::json;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(in crate::cli) struct DumpArgs {
    /// A log's directory, a segment, an index file, DATA/journal or a file in it, or DATA/checkpoint.
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

#[derive(Serialize)]
struct JsonRecord<'a> {
    offset: i64,
    timestamp_ms: i64,
    #[serde(flatten)]
    content: Content<'a>,
}

/// What a path names.
enum Kind {
    Batches,
    OffsetIndex,
    TimeIndex,
    Journal,
    Checkpoint,
}

fn kind(path: &Path) -> Kind {
    let named = |path: &Path, name: &str| path.file_name() == Some(OsStr::new(name));
    // As the system knows it: the path may be `.` or end with `..`.
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let number = whole.file_name().and_then(OsStr::to_str).is_some_and(|name| name.parse::<u64>().is_ok());
    if whole.is_dir() {
        let is_log = whole.join("partition.metadata").exists();
        return if named(&whole, "journal") && !is_log { Kind::Journal } else { Kind::Batches };
    }
    match whole.extension().and_then(OsStr::to_str) {
        Some("index") => Kind::OffsetIndex,
        Some("timeindex") => Kind::TimeIndex,
        None if named(&whole, "checkpoint") => Kind::Checkpoint,
        None if number && whole.parent().is_some_and(|dir| named(dir, "journal")) => Kind::Journal,
        _ => Kind::Batches,
    }
}

pub(super) fn run(args: &DumpArgs) -> Result<(), LogError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let problems = match kind(&args.path) {
        Kind::Batches => print_segments(&mut out, args)?,
        Kind::OffsetIndex => print_offset_index(&mut out, args)?,
        Kind::TimeIndex => print_time_index(&mut out, args)?,
        Kind::Journal => print_journal(&mut out, &args.path, args.json)?,
        Kind::Checkpoint => print_checkpoint(&mut out, &args.path, args.json)?,
    };
    out.flush()?;
    LogError::of_problems(&args.path, problems)
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

fn print_segments(out: &mut impl Write, args: &DumpArgs) -> Result<usize, LogError> {
    let mut problems = 0;
    for path in segments(&args.path)? {
        if !args.json {
            writeln!(out, "{}", path.display())?;
        }
        let reader = SegmentReader::open(&path).map_err(LogError::read(&path))?;
        let problem = reader.batches(|batch| print_batch(out, args, &path, batch))?;
        if let Some(problem) = problem {
            problems += 1;
            print_problem(out, args.json, &problem)?;
        }
    }
    Ok(problems)
}

fn print_offset_index(out: &mut impl Write, args: &DumpArgs) -> Result<usize, LogError> {
    for entry in offset_index(&args.path).map_err(LogError::index(&args.path))? {
        if args.json {
            let line = json!({"at": entry.at, "offset": entry.offset.0, "position": entry.position});
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "  offset {} is in the batch at {}", entry.offset, entry.position)?;
        }
    }
    Ok(0)
}

fn print_time_index(out: &mut impl Write, args: &DumpArgs) -> Result<usize, LogError> {
    for entry in time_index(&args.path).map_err(LogError::index(&args.path))? {
        if args.json {
            let line = json!({"at": entry.at, "timestamp_ms": entry.timestamp_ms, "offset": entry.offset.0});
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "  timestamp {} is the largest up to offset {}", entry.timestamp_ms, entry.offset)?;
        }
    }
    Ok(0)
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
        if args.json {
            let content = Content::new(record.key.as_ref(), record.value.as_ref(), &record.headers);
            let line = JsonRecord { offset: record.offset, timestamp_ms: record.timestamp, content };
            serde_json::to_writer(&mut *out, &line).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            let shown = |field: &Option<Bytes>| match field {
                Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                None => "null".to_owned(),
            };
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
