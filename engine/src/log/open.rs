//! Opening a log: every batch is looked at, producers and epochs are built from them, indexes are
//! repaired, and a torn tail is cut.

use super::{Appender, Log, LogConfig, LogId};
use crate::batch::BatchError;
use crate::epochs::{self, Epochs};
use crate::error::OpenError;
use crate::index::{IndexEntries, SegmentIndex};
use crate::io::{Io, IoFile, OpenMode, read_file};
use crate::offset::{LeaderEpoch, Offset};
use crate::producers::Producers;
use crate::scan::{Damage, Scanner};
use crate::segment::{Extent, Indexer, Segment, stem};
use crate::sync::Syncer;
use crate::watermark::Watermarks;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};

/// Bytes copied at a time when damaged bytes are set aside.
const COPY_BYTES: usize = 1 << 20;

/// What a copy of a segment is called until it takes its place.
const RENEWED: &str = "log.renewed";

/// What the files of a log hold, before it is put to use.
pub(crate) struct LogFiles {
    dir: PathBuf,
    segments: Vec<Arc<Segment>>,
    start: Offset,
    end: Offset,
    epochs: Epochs,
    producers: Producers,
    indexer: Indexer,
    cut: bool,
    /// Where what could not be proven to be on the medium begins.
    unproven_from: Option<Offset>,
}

/// What one segment's scan found.
struct Scanned {
    extent: Extent,
    entries: IndexEntries,
    indexer: Indexer,
    damage: Option<Damage>,
}

impl LogFiles {
    /// A log that has no segment yet.
    pub(crate) fn empty(dir: PathBuf, config: &LogConfig) -> Self {
        Self {
            dir,
            segments: Vec::new(),
            start: Offset::ZERO,
            end: Offset::ZERO,
            epochs: Epochs::default(),
            producers: Producers::new(config.producers_max),
            indexer: Indexer::new(Offset::ZERO, config.index_interval_bytes),
            cut: false,
            unproven_from: None,
        }
    }

    /// Reads a log's directory. After an unclean stop, `durable` tells how far it was proven to be on the
    /// medium: every CRC is checked, and what lies beyond is copied to a new file and synced, so that
    /// whatever is served afterwards is on the medium. (After a failed write-back the page cache holds
    /// pages that look clean and valid and are not on disk; a sync alone would not write them.)
    pub(crate) fn open(
        io: &Arc<dyn Io>,
        dir: PathBuf,
        config: &LogConfig,
        durable: Option<Offset>,
    ) -> Result<Self, OpenError> {
        let names = io.list(&dir).map_err(OpenError::io("listed", &dir))?;
        for name in names.iter().filter(|name| name.ends_with(RENEWED)) {
            // A crash came while a copy was made; what it was made of is still there.
            io.remove(&dir.join(name)).map_err(OpenError::io("removed", dir.join(name)))?;
        }
        let mut bases: Vec<Offset> = names.iter().filter_map(|name| segment_base(name)).collect();
        bases.sort_unstable();
        let mut log = Self::empty(dir, config);
        if let Some(first) = bases.first() {
            (log.start, log.end) = (*first, *first);
        }
        for (at, base) in bases.iter().enumerate() {
            let path = stem(&log.dir, *base).with_extension("log");
            if *base != log.end {
                log.set_aside(io, &bases[at..]).map_err(OpenError::io("set aside", &path))?;
                log.cut = true;
                break;
            }
            let last = at + 1 == bases.len();
            let damaged =
                log.open_segment(io, *base, config, durable, last).map_err(OpenError::io("read", &path))?;
            log.cut |= damaged;
            if damaged && !last {
                log.set_aside(io, &bases[at + 1..]).map_err(OpenError::io("set aside", &path))?;
                break;
            }
        }
        log.check_epochs(io).map_err(OpenError::io("written", log.dir.join(epochs::FILE)))?;
        if durable.is_some() || log.cut {
            io.sync_dir(&log.dir).map_err(OpenError::io("synced", &log.dir))?;
        }
        Ok(log)
    }

    /// Whether something that was there is not kept.
    pub(crate) fn was_cut(&self) -> bool {
        self.cut
    }

    /// The end of what was proven to be on the medium.
    pub(crate) fn proven_end(&self) -> Offset {
        self.unproven_from.unwrap_or(self.end)
    }

    /// The largest epoch of any batch.
    pub(crate) fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest()
    }

    /// Says whether the segment was damaged and cut.
    fn open_segment(
        &mut self,
        io: &Arc<dyn Io>,
        base: Offset,
        config: &LogConfig,
        durable: Option<Offset>,
        last: bool,
    ) -> io::Result<bool> {
        let stem = stem(&self.dir, base);
        let path = stem.with_extension("log");
        let mut file = io.open(&path, OpenMode::Existing)?;
        let size_bytes = file.len()?;
        let scan = match durable {
            None => Scanner::headers(&*file, 0, size_bytes),
            Some(_) => Scanner::checked(&*file, 0, size_bytes),
        };
        let mut scanned = self.scan(scan, base, config)?;
        let damaged = scanned.damage.is_some();
        if let Some(damage) = &scanned.damage {
            // Zeros and a batch cut short at the end are what a crash leaves; anything else may be
            // worth a look by a person.
            let torn = last && matches!(damage.reason, BatchError::Incomplete { .. });
            if !torn {
                let aside = unused(&path, &format!("log.damaged-at-{}", damage.position));
                copy_range(&**io, &path, damage.position, size_bytes, &aside)?;
                tracing::error!(segment = %path.display(), position = damage.position, kept = %aside.display(),
                    "the log is damaged: {}; what follows was set aside", damage.reason);
            } else {
                tracing::warn!(segment = %path.display(), position = damage.position,
                    bytes = size_bytes - damage.position, "a torn tail was cut: {}", damage.reason);
            }
            file.truncate(damage.position)?;
        }
        if !last {
            scanned.entries.times.extend(scanned.indexer.time());
        }
        let index = SegmentIndex::open(io, &stem, config.index_bytes_max)?;
        if index.repair(&scanned.entries)? {
            tracing::debug!(segment = %path.display(), "its indexes were rebuilt");
        }
        if durable.is_some() || damaged {
            file.sync_data()?;
        }
        if durable.is_some_and(|durable| durable < scanned.extent.end) {
            match renew(&**io, &path, scanned.extent.size_bytes) {
                Ok(renewed) => file = renewed,
                Err(err) if matches!(err.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                    self.unproven_from.get_or_insert(base);
                    tracing::warn!(segment = %path.display(),
                        "no room for a copy to prove that it is on the medium; it was only synced: {err}");
                }
                Err(err) => return Err(err),
            }
        }
        self.end = scanned.extent.end;
        self.indexer = scanned.indexer;
        self.segments.push(Arc::new(Segment::with(base, path, file, index, scanned.extent)));
        Ok(damaged)
    }

    fn scan(&mut self, mut scan: Scanner<'_>, base: Offset, config: &LogConfig) -> io::Result<Scanned> {
        let mut indexer = Indexer::new(base, config.index_interval_bytes);
        let mut entries = IndexEntries::default();
        let mut extent = Extent { size_bytes: 0, end: base, max_timestamp: None };
        let mut damage = None;
        while let Some(step) = scan.step()? {
            let (position, header) = match step {
                Ok(found) => found,
                Err(found) => {
                    damage = Some(found);
                    break;
                }
            };
            // A batch can be whole and yet not belong here: an older one under a newer file.
            let epoch_falls = self.epochs.latest().is_some_and(|latest| header.leader_epoch < latest);
            if header.base_offset != extent.end || epoch_falls {
                damage = Some(Damage {
                    position,
                    reason: BatchError::Misplaced {
                        base_offset: header.base_offset,
                        expected: extent.end,
                        leader_epoch: header.leader_epoch,
                    },
                });
                break;
            }
            let (offset, time) = indexer.batch(&header, position);
            entries.offsets.extend(offset);
            entries.times.extend(time);
            self.epochs.assign(header.leader_epoch, header.base_offset);
            self.producers.appended(&header);
            extent.size_bytes = position + header.size_bytes as u64;
            extent.end = header.end_offset();
        }
        extent.max_timestamp = indexer.max_timestamp();
        Ok(Scanned { extent, entries, indexer, damage })
    }

    /// Renames segments that do not follow on what precedes them; nothing is deleted.
    fn set_aside(&self, io: &Arc<dyn Io>, bases: &[Offset]) -> io::Result<()> {
        for base in bases {
            let path = stem(&self.dir, *base).with_extension("log");
            let aside = unused(&path, "log.set-aside");
            io.rename(&path, &aside)?;
            tracing::error!(segment = %path.display(), kept = %aside.display(),
                "the segment does not follow on the one before; it was set aside");
        }
        io.sync_dir(&self.dir)
    }

    /// The epoch file is written anew where it does not tell what the batches tell.
    fn check_epochs(&self, io: &Arc<dyn Io>) -> io::Result<()> {
        let expected = self.epochs.encode();
        let found = read_file(&**io, &self.dir.join(epochs::FILE), 1 << 20).ok();
        let none = found.is_none() && self.epochs == Epochs::default();
        if none || found.as_deref() == Some(expected.as_bytes()) {
            return Ok(());
        }
        self.epochs.save(&**io, &self.dir)
    }

    /// The log, ready for use.
    pub(crate) fn into_log(
        self,
        name: String,
        id: LogId,
        config: LogConfig,
        leader_epoch: LeaderEpoch,
        io: Arc<dyn Io>,
        syncer: Arc<Syncer>,
    ) -> Log {
        let leader_epoch = self.epochs.latest().map_or(leader_epoch, |latest| latest.max(leader_epoch));
        Log {
            name,
            id,
            dir: self.dir,
            io,
            syncer,
            watermarks: Watermarks::recovered(self.start, self.end),
            config: RwLock::new(config),
            segments: RwLock::new(Arc::new(self.segments)),
            appender: Mutex::new(Appender {
                next_offset: self.end,
                leader_epoch,
                epochs: self.epochs,
                producers: self.producers,
                indexer: self.indexer,
            }),
            sync_queued: AtomicBool::new(false),
            dir_changed: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
        }
    }
}

/// The base offset in a segment's file name.
pub(crate) fn segment_base(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    digits.parse().ok().map(Offset)
}

/// A name beside `path` that no file has: what was set aside before is kept, too.
fn unused(path: &Path, ending: &str) -> PathBuf {
    let first = path.with_extension(ending);
    let numbered = (1..).map(|n| path.with_extension(format!("{ending}-{n}")));
    std::iter::once(first.clone()).chain(numbered).find(|name| !name.exists()).unwrap_or(first)
}

/// Replaces a file by a copy of its first `size_bytes`, durably, and opens that.
///
/// Writing again in place is not enough. After a failed write-back ext4 holds pages and block
/// mappings that look whole: a second write goes to the blocks and the file still reads as zeros after
/// the next mount, since the extent was never marked as written. A new file has nothing to look back on.
fn renew(io: &dyn Io, path: &Path, size_bytes: u64) -> io::Result<Arc<dyn IoFile>> {
    let copy = path.with_extension(RENEWED);
    let copied = copy_range(io, path, 0, size_bytes, &copy);
    if let Err(err) = copied {
        // It is read from the old file then, as it was before.
        let _ = io.remove(&copy);
        return Err(err);
    }
    io.rename(&copy, path)?;
    io.open(path, OpenMode::Existing)
}

fn copy_range(io: &dyn Io, from: &Path, start: u64, end: u64, to: &Path) -> io::Result<()> {
    let source = io.open(from, OpenMode::ReadOnly)?;
    let target = io.open(to, OpenMode::Any)?;
    target.truncate(0)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = start;
    while at < end {
        let want = COPY_BYTES.min(usize::try_from(end - at).unwrap_or(COPY_BYTES));
        let read = source.read_at(&mut buffer[..want], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        target.write_at(&[IoSlice::new(&buffer[..read])], at - start)?;
        at += read as u64;
    }
    target.sync_data()
}
