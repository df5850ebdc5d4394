//! Segments: their batches, and all of a log against its invariants.

use super::Problem;
use crate::batch::{BatchError, BatchHeader};
use crate::index::{IndexEntries, OffsetEntry, TimeEntry};
use crate::io::{Io, IoFile, IoMode, OpenMode, backend, read_file};
use crate::log::LogConfig;
use crate::offset::{LeaderEpoch, Offset};
use crate::scan::Scanner;
use crate::segment::{Indexer, stem};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest index file that is read.
pub(super) const INDEX_BYTES_MAX: usize = 1 << 30;

/// What checking a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Segments.
    pub segments: u64,
    /// Batches that hold.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of segments.
    pub bytes: u64,
    /// Index entries that hold.
    pub index_entries: u64,
    /// What does not hold.
    pub problems: Vec<Problem>,
}

/// A segment opened for looking.
#[derive(Debug)]
pub struct SegmentReader {
    path: PathBuf,
    file: Arc<dyn IoFile>,
    len: u64,
}

/// A batch as it lies in a segment.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// Where it begins.
    pub position: u64,
    /// Its header.
    pub header: BatchHeader,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl SegmentReader {
    /// Opens a `.log` file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let file = backend(IoMode::Blocking).open(&path, OpenMode::ReadOnly)?;
        let len = file.len()?;
        Ok(Self { path, file, len })
    }

    /// Bytes in the file.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.len
    }

    /// Calls `each` with every batch until one is damaged, which is the problem returned.
    ///
    /// # Errors
    /// The file cannot be read, or `each` failed.
    pub fn batches<E: From<io::Error>>(
        &self,
        mut each: impl FnMut(StoredBatch) -> Result<(), E>,
    ) -> Result<Option<Problem>, E> {
        let mut scan = Scanner::checked(&*self.file, 0, self.len);
        while let Some(step) = scan.step()? {
            match step {
                Ok((position, header)) => {
                    let mut bytes = vec![0; header.size_bytes];
                    self.file.read_at(&mut bytes, position)?;
                    each(StoredBatch { position, header, bytes })?;
                }
                Err(damage) => return Ok(Some(self.problem(damage.position, damage.reason.to_string()))),
            }
        }
        Ok(None)
    }

    fn problem(&self, position: u64, what: String) -> Problem {
        Problem { file: self.path.clone(), position, what }
    }
}

/// The `.log` files of a log's directory, in order.
///
/// # Errors
/// The directory cannot be read.
pub fn segment_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = backend(IoMode::Blocking).list(dir)?;
    names.retain(|name| crate::log::segment_base(name).is_some());
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// Checks every CRC and invariant of a log's directory, and its indexes against its batches.
/// `progress` is told the bytes done after each batch.
///
/// The last segment may end with a batch that is being written, and its indexes with room for
/// entries to come: neither is a problem.
///
/// # Errors
/// A file cannot be read.
pub fn check_log(dir: &Path, mut progress: impl FnMut(u64)) -> io::Result<LogReport> {
    let io = backend(IoMode::Blocking);
    let mut report = LogReport::default();
    let mut expected: Option<Offset> = None;
    let mut epoch = LeaderEpoch(0);
    let paths = segment_files(dir)?;
    for (at, path) in paths.iter().enumerate() {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(base) = crate::log::segment_base(name) else { continue };
        // Before the segment: in a log in use both grow, and an entry is written after its batch.
        let indexes = Indexes::read(&*io, &stem(dir, base))?;
        let reader = SegmentReader::open(path)?;
        let last = at + 1 == paths.len();
        report.segments += 1;
        if expected.is_some_and(|expected| expected != base) {
            let what = format!(
                "it begins at offset {base}; the segment before ends at {}",
                expected.unwrap_or_default()
            );
            report.problems.push(reader.problem(0, what));
        }
        let mut next = base;
        let mut claims = Claims::default();
        let mut indexer = Indexer::new(base, LogConfig::default().index_interval_bytes);
        let mut scan = Scanner::checked(&*reader.file, 0, reader.len);
        while let Some(step) = scan.step()? {
            let (position, header) = match step {
                Ok(found) => found,
                Err(damage) => {
                    let unfinished = last && matches!(damage.reason, BatchError::Incomplete { .. });
                    if !unfinished {
                        report.problems.push(reader.problem(damage.position, damage.reason.to_string()));
                    }
                    break;
                }
            };
            if header.base_offset != next {
                let what = format!("the batch has base offset {}; {next} follows", header.base_offset);
                report.problems.push(reader.problem(position, what));
            }
            if header.leader_epoch < epoch {
                let what = format!("the batch has leader epoch {}; {epoch} came before", header.leader_epoch);
                report.problems.push(reader.problem(position, what));
            }
            epoch = header.leader_epoch;
            next = header.end_offset();
            indexer.batch(&header, position);
            claims.add(base, &header, position, indexer.max_timestamp().map(|max| max.timestamp_ms));
            report.batches += 1;
            report.records += u64::try_from(header.record_count).unwrap_or(0);
            progress(report.bytes + position + header.size_bytes as u64);
        }
        expected = Some(next);
        report.bytes += reader.len;
        indexes.check(&claims, last, &mut report);
    }
    Ok(report)
}

/// What index entries may say of a segment.
#[derive(Debug, Default)]
struct Claims {
    entries: IndexEntries,
}

impl Claims {
    fn add(&mut self, base: Offset, header: &BatchHeader, position: u64, max_ms: Option<i64>) {
        let relative_offset = u32::try_from(header.last_offset().0 - base.0).unwrap_or(u32::MAX);
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        self.entries.offsets.push(OffsetEntry { relative_offset, position });
        self.entries.times.push(TimeEntry { timestamp_ms: max_ms.unwrap_or(-1), relative_offset });
    }

    /// An entry points to a batch by its last offset and its position.
    fn holds_offset(&self, entry: OffsetEntry) -> bool {
        self.entries
            .offsets
            .binary_search_by_key(&entry.relative_offset, |one| one.relative_offset)
            .is_ok_and(|at| self.entries.offsets[at] == entry)
    }

    /// Up to an entry's batch, its timestamp is the largest.
    fn holds_time(&self, entry: TimeEntry) -> bool {
        self.entries
            .times
            .binary_search_by_key(&entry.relative_offset, |one| one.relative_offset)
            .is_ok_and(|at| self.entries.times[at] == entry)
    }
}

/// The index files of a segment, with what is in them.
struct Indexes {
    offsets: (PathBuf, Vec<u8>),
    times: (PathBuf, Vec<u8>),
}

impl Indexes {
    fn read(io: &dyn Io, stem: &Path) -> io::Result<Self> {
        let read = |ending| {
            let path = stem.with_extension(ending);
            match read_file(io, &path, INDEX_BYTES_MAX) {
                Ok(content) => Ok((path, content)),
                // An index with no entry has no file.
                Err(err) if err.kind() == io::ErrorKind::NotFound => Ok((path, Vec::new())),
                Err(err) => Err(err),
            }
        };
        Ok(Self { offsets: read("index")?, times: read("timeindex")? })
    }

    fn check(&self, claims: &Claims, last: bool, report: &mut LogReport) {
        check_index(&self.offsets, last, report, |bytes| {
            let entry = OffsetEntry::decode(bytes);
            (u64::from(entry.relative_offset), claims.holds_offset(entry))
        });
        check_index(&self.times, last, report, |bytes| {
            let entry = TimeEntry::decode(bytes);
            (u64::from(entry.relative_offset), claims.holds_time(entry))
        });
    }
}

fn check_index<const N: usize>(
    (path, content): &(PathBuf, Vec<u8>),
    last: bool,
    report: &mut LogReport,
    holds: impl Fn([u8; N]) -> (u64, bool),
) {
    let problem = |position: usize, what: &str| Problem::new(path, position as u64, what);
    let mut offset_before = None;
    for (at, bytes) in content.chunks(N).enumerate() {
        let Ok(bytes) = <[u8; N]>::try_from(bytes) else {
            if !last {
                report.problems.push(problem(at * N, "the file ends within an entry"));
            }
            break;
        };
        if last && bytes.iter().all(|byte| *byte == 0) {
            break; // room for entries to come
        }
        let (offset, held) = holds(bytes);
        if offset_before.is_some_and(|before| before >= offset) {
            report.problems.push(problem(at * N, "the entry does not follow on the one before"));
        } else if held {
            report.index_entries += 1;
        } else {
            report.problems.push(problem(at * N, "the entry does not agree with the segment"));
        }
        offset_before = Some(offset);
    }
}
