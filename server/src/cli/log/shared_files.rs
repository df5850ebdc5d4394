//! Printing what the logs of a data directory share: the journal and the checkpoint.

use super::{LogError, print_problem};
use ringmain_engine::inspect::{
    CheckpointFile, CheckpointLog, JournalEntry, JournalReader, JournalSection, SectionKind, journal_files,
    read_checkpoint,
};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What an entry is to the store as its checkpoint has it.
fn standing(entry: &JournalEntry, checkpoint: Option<&CheckpointFile>) -> &'static str {
    match checkpoint {
        None => "unknown",
        Some(checkpoint) if entry.epoch != checkpoint.epoch => "other epoch",
        Some(checkpoint) if entry.sequence < checkpoint.sequence => "checkpointed",
        Some(_) => "needed",
    }
}

/// Every entry of a journal, or of one of its files. Returns the number of problems.
pub(super) fn print_journal(out: &mut impl Write, path: &Path, as_json: bool) -> Result<usize, LogError> {
    let read = LogError::read(path);
    let whole = path.canonicalize().map_err(LogError::read(path))?;
    let (dir, files) = if whole.is_dir() {
        let files = journal_files(path).map_err(read)?;
        (whole, files)
    } else {
        let dir = whole.parent().map(Path::to_owned).unwrap_or_default();
        (dir, vec![path.to_owned()])
    };
    // Beside the journal. Without it entries are shown, and not what they are to the store.
    let checkpoint = dir.parent().and_then(|store| read_checkpoint(store).ok()??.ok());
    for file in files {
        if !as_json {
            writeln!(out, "{}", file.display())?;
        }
        let reader = JournalReader::open(&file).map_err(LogError::read(&file))?;
        reader.entries(|entry| print_entry(out, &file, &entry, checkpoint.as_ref(), as_json))?;
    }
    Ok(0)
}

fn print_entry(
    out: &mut impl Write,
    file: &Path,
    entry: &JournalEntry,
    checkpoint: Option<&CheckpointFile>,
    as_json: bool,
) -> Result<(), LogError> {
    let standing = standing(entry, checkpoint);
    if as_json {
        let line = json!({
            "file": file.display().to_string(), "position": entry.position, "size_bytes": entry.size_bytes,
            "epoch": entry.epoch, "sequence": entry.sequence, "proven": entry.proven, "standing": standing,
            "sections": entry.sections.iter().map(section_json).collect::<Vec<_>>(), "known": entry.is_known,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "  entry at {}: epoch {}, sequence {}, proven {}, {} bytes, {} sections, {standing}",
        entry.position,
        entry.epoch,
        entry.sequence,
        entry.proven,
        entry.size_bytes,
        entry.sections.len(),
    )?;
    for section in &entry.sections {
        let JournalSection { kind, log, offset, end, segment, position, bytes } = section;
        let (name, bytes) = (kind.name(), bytes.len());
        match kind {
            SectionKind::Data => writeln!(
                out,
                "    {name} of log {log}: offsets {offset} to {end}, segment {segment}, position {position}, {bytes} bytes"
            )?,
            SectionKind::Start => {
                writeln!(out, "    {name} of log {log}: offset {offset}, first segment {segment}")?;
            }
            SectionKind::Synced => writeln!(out, "    {name} of log {log}: to offset {end}")?,
            SectionKind::Delete => writeln!(out, "    {name} of log {log}")?,
            _ => writeln!(out, "    {name} of log {log}: at offset {offset}")?,
        }
    }
    if !entry.is_known {
        writeln!(out, "    and sections that this version does not know")?;
    }
    Ok(())
}

fn section_json(section: &JournalSection) -> Value {
    json!({
        "kind": section.kind.name(), "log": section.log, "offset": section.offset.0, "end": section.end.0,
        "segment": section.segment.0, "position": section.position, "bytes": section.bytes.len(),
    })
}

/// The checkpoint, one log after the other. Returns the number of problems.
pub(super) fn print_checkpoint(out: &mut impl Write, path: &Path, as_json: bool) -> Result<usize, LogError> {
    let whole = path.canonicalize().map_err(LogError::read(path))?;
    let dir = whole.parent().map_or_else(PathBuf::new, Path::to_owned);
    let checkpoint = match read_checkpoint(&dir).map_err(LogError::read(path))? {
        Some(Ok(checkpoint)) => checkpoint,
        Some(Err(problem)) => {
            print_problem(out, as_json, &problem)?;
            return Ok(1);
        }
        None => return Err(LogError::read(path)(std::io::ErrorKind::NotFound.into())),
    };
    let CheckpointFile { epoch, sequence, file, position, logs } = checkpoint;
    if as_json {
        let line = json!({
            "epoch": epoch, "sequence": sequence, "file": file, "position": position, "logs": logs.len(),
        });
        writeln!(out, "{line}")?;
        for log in &logs {
            writeln!(out, "{}", log_json(log))?;
        }
        return Ok(0);
    }
    writeln!(
        out,
        "epoch {epoch}; the journal is needed from entry {sequence} on, expected at {position} of file {file}; {} logs",
        logs.len()
    )?;
    for log in &logs {
        print_log(out, log)?;
    }
    Ok(0)
}

fn print_log(out: &mut impl Write, log: &CheckpointLog) -> Result<(), LogError> {
    writeln!(
        out,
        "  log {}: offsets {} to {}, durable {}, ends at {} of segment {}, cuts up to entry {} are in it",
        log.number, log.start, log.end, log.durable, log.bytes, log.segment, log.cut_sequence,
    )?;
    for (epoch, offset) in &log.epochs {
        writeln!(out, "    epoch {epoch} from offset {offset}")?;
    }
    for segment in &log.segments {
        let max = segment.max_timestamp.map_or_else(String::new, |(timestamp_ms, offset)| {
            format!(", largest timestamp {timestamp_ms} at offset {offset}")
        });
        writeln!(
            out,
            "    segment {}: to offset {}, {} bytes{max}, index {} entries {:#010x}, timeindex {} entries {:#010x}",
            segment.base,
            segment.end,
            segment.bytes,
            segment.index.0,
            segment.index.1,
            segment.timeindex.0,
            segment.timeindex.1,
        )?;
    }
    for producer in &log.producers {
        let last = producer.batches.last();
        let last = last.map_or_else(String::new, |(_, sequence, _, end)| {
            format!(", last sequence {sequence}, end offset {end}")
        });
        writeln!(
            out,
            "    producer {} epoch {}: {} batches{last}",
            producer.id,
            producer.epoch,
            producer.batches.len()
        )?;
    }
    Ok(())
}

fn log_json(log: &CheckpointLog) -> Value {
    let segments = log.segments.iter().map(|segment| {
        json!({
            "base": segment.base.0, "end": segment.end.0, "bytes": segment.bytes,
            "max_timestamp_ms": segment.max_timestamp.map(|max| max.0),
            "max_timestamp_offset": segment.max_timestamp.map(|max| max.1.0),
            "index_entries": segment.index.0, "index_crc": segment.index.1,
            "timeindex_entries": segment.timeindex.0, "timeindex_crc": segment.timeindex.1,
        })
    });
    let producers = log.producers.iter().map(|producer| {
        let batches = producer.batches.iter().map(|(first, last, base, end)| {
            json!({"first_sequence": first, "last_sequence": last, "base_offset": base.0, "end_offset": end.0})
        });
        json!({"id": producer.id, "epoch": producer.epoch, "batches": batches.collect::<Vec<_>>()})
    });
    let epochs = log.epochs.iter().map(|(epoch, offset)| json!({"epoch": epoch.0, "offset": offset.0}));
    json!({
        "log": log.number, "start": log.start.0, "end": log.end.0, "durable": log.durable.0,
        "segment": log.segment.0, "bytes": log.bytes, "cut_sequence": log.cut_sequence,
        "epochs": epochs.collect::<Vec<_>>(), "segments": segments.collect::<Vec<_>>(),
        "producers": producers.collect::<Vec<_>>(),
    })
}
