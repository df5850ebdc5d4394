//! The file `checkpoint`, and what it says of the logs against their files.

use super::Problem;
use super::journal::Story;
use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::checkpoint::{Checkpoint, FILE};
use crate::index::Summary;
use crate::io::{Io, IoMode, OpenMode, backend, read_file};
use crate::offset::{LeaderEpoch, Offset};
use crate::segment::stem;
use std::io::{self, ErrorKind};
use std::path::Path;

/// How far everything was when a checkpoint was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Only journal entries of this epoch count.
    pub epoch: u64,
    /// The first journal entry that a start after a crash needs.
    pub sequence: u64,
    /// The journal file where that entry is expected.
    pub file: u64,
    /// Where in it, in bytes.
    pub position: u64,
    /// The logs, by number.
    pub logs: Vec<CheckpointLog>,
}

/// What a checkpoint has of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointLog {
    /// The number in the log's `ringmain-log`.
    pub number: u64,
    /// The name of its directory; empty in a checkpoint of format 2.
    pub name: String,
    /// The log start offset.
    pub start: Offset,
    /// The end of what was written; all of it is on the medium.
    pub end: Offset,
    /// The base offset of the last segment.
    pub segment: Offset,
    /// Bytes of the last segment.
    pub bytes: u64,
    /// What must be there; beyond `end` in a log that is in quarantine.
    pub durable: Offset,
    /// Cuts that the journal tells of up to this entry are in these figures.
    pub cut_sequence: u64,
    /// Leader epochs, with the offset where each begins.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Its segments, in order.
    pub segments: Vec<CheckpointSegment>,
    /// Its idempotent producers; the one used longest ago comes first.
    pub producers: Vec<CheckpointProducer>,
}

/// What a checkpoint has of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSegment {
    /// Its base offset.
    pub base: Offset,
    /// The offset after its last record.
    pub end: Offset,
    /// Its bytes.
    pub bytes: u64,
    /// The largest timestamp in it, in milliseconds since 1970, and the last offset of the first batch that
    /// has it.
    pub max_timestamp: Option<(i64, Offset)>,
    /// The CRC in the header of its first batch, if there is one that was kept.
    pub first_crc: Option<u32>,
    /// Entries of the `.index` file, and their CRC-32C.
    pub index: (u64, u32),
    /// Entries of the `.timeindex` file, and their CRC-32C.
    pub timeindex: (u64, u32),
}

/// What a checkpoint has of an idempotent producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointProducer {
    /// The producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// First and last sequence number, base and end offset of its last batches.
    pub batches: Vec<(i32, i32, Offset, Offset)>,
}

impl CheckpointFile {
    fn new(found: &Checkpoint) -> Self {
        let mut logs: Vec<_> = found.logs.values().map(|log| CheckpointLog::new(log)).collect();
        logs.sort_unstable_by_key(|log| log.number);
        let (sequence, position) = (found.head.sequence, found.head.position);
        Self { epoch: found.epoch, sequence, file: found.head.file as u64, position, logs }
    }
}

impl CheckpointLog {
    fn new(log: &crate::log::LogState) -> Self {
        let summary = |summary: Summary| (summary.entries as u64, summary.checksum);
        let segment = |one: &crate::log::SegmentState| CheckpointSegment {
            base: one.base,
            end: one.end,
            bytes: one.bytes,
            max_timestamp: one.max_timestamp.map(|max| (max.timestamp_ms, max.offset)),
            first_crc: one.first_crc,
            index: summary(one.index.offsets),
            timeindex: summary(one.index.times),
        };
        let producer = |one: &crate::producers::ProducerState| CheckpointProducer {
            id: one.id,
            epoch: one.epoch,
            batches: (one.batches.iter())
                .map(|batch| (batch.first_sequence, batch.last_sequence, batch.base_offset, batch.end_offset))
                .collect(),
        };
        Self {
            number: log.number,
            name: log.name.clone(),
            start: log.start,
            end: log.end.offset,
            segment: log.end.segment,
            bytes: log.end.bytes,
            durable: log.durable,
            cut_sequence: log.cut_sequence,
            epochs: log.epochs.iter().collect(),
            segments: log.segments.iter().map(segment).collect(),
            producers: log.producers.iter().map(producer).collect(),
        }
    }
}

/// Reads the checkpoint of the store in `dir`; `None` if there is none. A file that is not what was written
/// is a problem.
///
/// # Errors
/// The file cannot be read.
pub fn read_checkpoint(dir: &Path) -> io::Result<Option<Result<CheckpointFile, Problem>>> {
    let found = Checkpoint::read(&*backend(IoMode::Blocking), dir)?;
    Ok(found.map(|found| match found {
        Ok(found) => Ok(CheckpointFile::new(&found)),
        Err(malformed) => Err(Problem::new(dir.join(FILE), malformed.position, malformed.reason)),
    }))
}

/// What checking a checkpoint found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Its epoch.
    pub epoch: u64,
    /// Logs in it.
    pub logs: u64,
    /// Segments in it whose files agree.
    pub segments: u64,
}

/// Checks what the checkpoint says of a log against its directory. What the journal tells since goes before.
pub(super) fn check_state(
    dir: &Path,
    log: &CheckpointLog,
    story: Option<&Story>,
    report: &mut CheckpointReport,
    problems: &mut Vec<Problem>,
) -> io::Result<()> {
    if story.is_some_and(|story| story.cut.is_some_and(|cut| cut < log.end)) {
        return Ok(()); // it holds no more
    }
    if log.durable > log.end {
        let what =
            format!("the log ends at offset {}, and {} was durable: it is damaged", log.end, log.durable);
        problems.push(Problem::new(dir, 0, what));
    }
    let first = story.and_then(|story| story.first_segment);
    for segment in log.segments.iter().filter(|segment| first.is_none_or(|first| segment.base >= first)) {
        let before = problems.len();
        check_segment(dir, log, segment, problems)?;
        report.segments += u64::from(problems.len() == before);
    }
    Ok(())
}

fn check_segment(
    dir: &Path,
    log: &CheckpointLog,
    known: &CheckpointSegment,
    problems: &mut Vec<Problem>,
) -> io::Result<()> {
    let io = backend(IoMode::Blocking);
    let path = stem(dir, known.base).with_extension("log");
    let mut first = [0; HEADER_BYTES];
    let len = match io.open(&path, OpenMode::ReadOnly) {
        Ok(file) => {
            file.read_at(&mut first, 0)?;
            file.len()?
        }
        Err(err) if err.kind() == ErrorKind::NotFound => {
            problems.push(Problem::new(path, 0, "the segment is gone, and the checkpoint has it"));
            return Ok(());
        }
        Err(err) => return Err(err),
    };
    let sealed = known.base != log.segment;
    if len < known.bytes || (sealed && len > known.bytes) {
        let what = format!("the segment has {len} bytes, and the checkpoint says {}", known.bytes);
        problems.push(Problem::new(&path, len.min(known.bytes), what));
    }
    let crc = BatchHeader::parse(&first).ok().map(|header| header.crc);
    if known.first_crc.is_some_and(|known| Some(known) != crc) {
        let what = "it does not begin with the batch that the checkpoint knows: it is of another log or time";
        problems.push(Problem::new(&path, 0, what));
    }
    for (ending, entry_bytes, summary) in [("index", 8, known.index), ("timeindex", 12, known.timeindex)] {
        check_summary(&*io, &path.with_extension(ending), entry_bytes, summary, problems)?;
    }
    Ok(())
}

/// An index begins with the entries that the checkpoint knows.
fn check_summary(
    io: &dyn Io,
    path: &Path,
    entry_bytes: u64,
    (entries, checksum): (u64, u32),
    problems: &mut Vec<Problem>,
) -> io::Result<()> {
    if entries == 0 {
        return Ok(()); // none, or one that the checkpoint does not vouch for
    }
    let content = match read_file(io, path, super::segments::INDEX_BYTES_MAX) {
        Ok(content) => content,
        Err(err) if err.kind() == ErrorKind::NotFound => Vec::new(),
        Err(err) => return Err(err),
    };
    let known = usize::try_from(entries * entry_bytes).ok().and_then(|bytes| content.get(..bytes));
    if known.is_none_or(|known| crc32c::crc32c(known) != checksum) {
        let what = format!(
            "the first {entries} entries are not those of the checkpoint; the next start makes it anew"
        );
        problems.push(Problem::new(path, 0, what));
    }
    Ok(())
}
