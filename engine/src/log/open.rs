//! Opening a log. What a checkpoint knows is taken over; what comes after it is looked at batch by batch:
//! producers and epochs are built from it, indexes are made anew, a torn tail is cut. What had become
//! durable and is damaged puts the log into quarantine.

use super::files::{Adopted, RENEWED, adopt_segment, cut_damage, remove_segment, segment_base, unused};
use super::{LogConfig, LogState};
use crate::batch::BatchError;
use crate::epochs::{self, Epochs};
use crate::error::{AppendError, CutError, OpenError};
use crate::index::{IndexEntries, SegmentIndex};
use crate::io::{Io, OpenMode, read_file};
use crate::offset::{LeaderEpoch, Offset};
use crate::producers::Producers;
use crate::scan::{Damage, Scanner};
use crate::segment::{Extent, Indexer, Segment, stem};
use crate::watermark::Position;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is known of a log before its files are looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// As the checkpoint has it, if that still holds.
    pub(crate) state: Option<Arc<LogState>>,
    /// Everything before must be there.
    pub(crate) durable: Offset,
    /// Log start and base of the first segment, if they moved since the checkpoint.
    pub(crate) start: Option<(Offset, Offset)>,
    /// Where it was about to be cut.
    pub(crate) cut_to: Option<Offset>,
    pub(crate) cut_sequence: u64,
    /// Of a store or a log that was not made by this version: it may start anywhere.
    pub(crate) start_unknown: bool,
    /// After a clean stop nothing is checked that the checkpoint knows.
    pub(crate) clean: bool,
}

/// Damage to what was durable. Nothing is changed in such a log, and nothing appended to it.
#[derive(Clone, Debug)]
pub(crate) struct Quarantine {
    pub(crate) file: PathBuf,
    pub(crate) position: u64,
    pub(crate) reason: String,
    pub(crate) durable: Offset,
}

impl Quarantine {
    pub(crate) fn append_error(&self) -> AppendError {
        let Self { file, position, reason, .. } = self.clone();
        AppendError::Quarantined { file, position, reason }
    }

    pub(crate) fn cut_error(&self) -> CutError {
        let Self { file, position, reason, .. } = self.clone();
        CutError::Quarantined { file, position, reason }
    }
}

/// What the files of a log hold, before it is put to use.
pub(crate) struct LogFiles {
    pub(super) dir: PathBuf,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) start: Offset,
    pub(super) end: Offset,
    pub(super) epochs: Epochs,
    pub(super) producers: Producers,
    pub(super) indexer: Indexer,
    /// The least that new batches carry, as far as the checkpoint knows.
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) cut_sequence: u64,
    cut: bool,
    /// As the checkpoint has it, where a segment is not the one that it knows.
    pub(super) foreign: Option<LogState>,
    /// Up to here a checkpoint proved that everything is on the medium.
    pub(super) proven: Position,
    pub(super) quarantine: Option<Quarantine>,
}

/// What one segment's scan found.
struct Scanned {
    extent: Extent,
    entries: IndexEntries,
    indexer: Indexer,
    stop: Option<Stop>,
}

/// Why a scan ended before the file did.
enum Stop {
    Damage(Damage),
    /// From here on it was to be cut.
    Cut(u64),
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
            leader_epoch: LeaderEpoch::default(),
            cut_sequence: 0,
            cut: false,
            foreign: None,
            proven: Position::default(),
            quarantine: None,
        }
    }

    /// Reads a log's directory.
    pub(crate) fn open(
        io: &Arc<dyn Io>,
        dir: PathBuf,
        config: &LogConfig,
        known: &Known,
    ) -> Result<Self, OpenError> {
        let names = io.list(&dir).map_err(OpenError::io("listed", &dir))?;
        for name in names.iter().filter(|name| name.ends_with(RENEWED)) {
            // A crash came while a copy was made; what it was made of is still there.
            io.remove(&dir.join(name)).map_err(OpenError::io("removed", dir.join(name)))?;
        }
        let mut bases: Vec<Offset> = names.iter().filter_map(|name| segment_base(name)).collect();
        bases.sort_unstable();
        let first = known.start.map(|(_, first)| first);
        let first = first.max(known.state.as_ref().and_then(|state| Some(state.segments.first()?.base)));
        if let Some(first) = first {
            // The start moved on, and a crash brought back what lies before it.
            for base in bases.iter().filter(|base| **base < first) {
                remove_segment(&**io, &dir, *base).map_err(OpenError::io("cleared of old segments", &dir))?;
            }
            bases.retain(|base| *base >= first);
        }
        let begins = first.unwrap_or_default();
        let adopt =
            |state: &Arc<LogState>| Self::adopt(io, &dir, config, state, (begins, &bases), known.clean);
        let adopted = known.state.as_ref().map(adopt);
        let mut log = match adopted.transpose().map_err(OpenError::io("read", &dir))?.flatten() {
            Some(log) => log,
            None => {
                let mut log = Self::empty(dir, config);
                let start = known.state.as_ref().map_or(Offset::ZERO, |state| state.start);
                // Though none of its batches is left: epochs never fall.
                log.leader_epoch =
                    known.state.as_ref().map_or(LeaderEpoch::default(), |state| state.leader_epoch);
                // A first segment that is missing was lost, unless the start moved on.
                let begin = if known.start_unknown { bases.first().copied() } else { first };
                log.end = begin.unwrap_or(start);
                log.start = log.end.max(start);
                log
            }
        };
        log.cut_sequence = known.cut_sequence;
        if let Some((start, _)) = known.start {
            log.start = log.start.max(start);
        }
        if let Some(foreign) = &mut log.foreign {
            // What the journal tells since is not told again.
            (foreign.start, foreign.durable) = (log.start, known.durable);
            foreign.cut_sequence = known.cut_sequence;
        }
        if let Some(first) = log.segments.first() {
            log.epochs.start_at(first.base);
        }
        let have = log.segments.len();
        if log.quarantine.is_none() {
            log.scan_rest(io, config, known, &bases[have.saturating_sub(1).min(bases.len())..])?;
        }
        if log.end < known.durable && log.quarantine.is_none() {
            let file = log.segments.last().map_or(log.dir.clone(), |segment| segment.path.clone());
            let position = log.segments.last().map_or(0, |segment| segment.extent().size_bytes);
            let reason = format!("the log ends at offset {}, and {} was durable", log.end, known.durable);
            log.quarantine(Quarantine { file, position, reason, durable: known.durable });
        }
        log.start = log.start.min(log.end);
        if log.quarantine.is_none() {
            log.check_epochs(io).map_err(OpenError::io("written", log.dir.join(epochs::FILE)))?;
        }
        Ok(log)
    }

    /// Takes over what a checkpoint knows, without reading it. Nothing if the files disagree: then all of
    /// the log is looked at.
    fn adopt(
        io: &Arc<dyn Io>,
        dir: &Path,
        config: &LogConfig,
        state: &LogState,
        (first, bases): (Offset, &[Offset]),
        clean: bool,
    ) -> io::Result<Option<Self>> {
        let mut log = Self::empty(dir.to_owned(), config);
        let known: Vec<Offset> = state.segments.iter().map(|segment| segment.base).collect();
        let kept: Vec<Offset> = bases.iter().copied().take(known.len()).collect();
        if state.end.segment < first {
            return Ok(None); // all of it was removed since
        }
        // The start may have moved on since.
        let since: Vec<_> = known.into_iter().filter(|base| *base >= first).collect();
        if kept.len() < since.len() || kept[..since.len()] != since[..] {
            return Ok(None);
        }
        let last = state.segments.last();
        for segment in state.segments.iter().filter(|segment| segment.base >= first) {
            let sealed = last.is_some_and(|last| last.base != segment.base);
            match adopt_segment(io, dir, config, segment, sealed, clean)? {
                Adopted::Known(opened) => log.segments.push(opened),
                Adopted::Unknown => return Ok(None),
                Adopted::Foreign(reason) => {
                    let file = stem(dir, segment.base).with_extension("log");
                    log.quarantine(Quarantine { file, position: 0, reason, durable: state.durable });
                    // What is kept of it stays as it is, until the file is what it was, or the log is deleted.
                    log.foreign = Some(state.clone());
                    (log.start, log.end) = (state.start, segment.base);
                    return Ok(Some(log));
                }
            }
        }
        (log.start, log.end, log.proven) = (state.start, state.end.offset, state.end);
        log.epochs = state.epochs.clone();
        log.leader_epoch = state.leader_epoch;
        log.producers.restore(&state.producers);
        log.indexer = Indexer::restored(
            last.map_or(state.end.offset, |last| last.base),
            config.index_interval_bytes,
            state.indexer,
            last.and_then(|last| last.max_timestamp),
        );
        Ok(Some(log))
    }

    /// Looks at what comes after what was adopted: the rest of its last segment, and further ones.
    fn scan_rest(
        &mut self,
        io: &Arc<dyn Io>,
        config: &LogConfig,
        known: &Known,
        bases: &[Offset],
    ) -> Result<(), OpenError> {
        for (at, base) in bases.iter().enumerate() {
            let path = stem(&self.dir, *base).with_extension("log");
            let read = OpenError::io("read", &path);
            let resumed = self.segments.last().is_some_and(|last| last.base == *base);
            if *base != self.end && !resumed {
                if self.end < known.durable {
                    return Ok(()); // said by the caller
                }
                self.set_aside(io, &bases[at..]).map_err(OpenError::io("set aside", &path))?;
                return Ok(());
            }
            let last = at + 1 == bases.len();
            let from = if resumed { self.segments.pop() } else { None };
            if let Some(before) = self.segments.last().filter(|_| !resumed) {
                // The time index of a closed segment ends with its largest timestamp.
                let entry = self.indexer.time();
                entry
                    .map_or(Ok(true), |entry| before.index.push_time(entry))
                    .map_err(OpenError::io("indexed", &path))?;
                before.index.close().map_err(OpenError::io("indexed", &path))?;
            }
            match self.open_segment(io, *base, config, known, from, last).map_err(read)? {
                None => {}
                Some(Stop::Cut(_)) => {
                    for base in bases[at + 1..].iter().rev() {
                        remove_segment(&**io, &self.dir, *base).map_err(OpenError::io("cut", &path))?;
                    }
                    return Ok(());
                }
                Some(Stop::Damage(_)) if self.quarantine.is_some() => return Ok(()),
                Some(Stop::Damage(_)) => {
                    if !last {
                        self.set_aside(io, &bases[at + 1..]).map_err(OpenError::io("set aside", &path))?;
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn quarantine(&mut self, damage: Quarantine) {
        tracing::error!(file = %damage.file.display(), position = damage.position,
            "what was durable is damaged: {}; the log is read up to there and takes no appends", damage.reason);
        self.quarantine = Some(damage);
    }

    /// Whether something that was there is not kept.
    pub(crate) fn was_cut(&self) -> bool {
        self.cut
    }

    /// The largest epoch of any batch.
    pub(crate) fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest()
    }

    /// Looks at a segment, or at what comes after the part of it that is known.
    fn open_segment(
        &mut self,
        io: &Arc<dyn Io>,
        base: Offset,
        config: &LogConfig,
        known: &Known,
        resumed: Option<Arc<Segment>>,
        last: bool,
    ) -> io::Result<Option<Stop>> {
        let stem = stem(&self.dir, base);
        let path = stem.with_extension("log");
        let begun = resumed.map(|segment| (segment.extent(), segment));
        let file = match &begun {
            Some((_, segment)) => Arc::clone(&segment.file),
            None => io.open(&path, OpenMode::Existing)?,
        };
        let size_bytes = file.len()?;
        if let Some((extent, segment)) = &begun
            && extent.size_bytes == size_bytes
            && known.cut_to.is_none()
            && last
        {
            self.segments.push(Arc::clone(segment));
            return Ok(None);
        }
        let extent = begun.as_ref().map_or(Extent::empty(base), |one| one.0);
        let indexer = match &begun {
            Some(_) => self.indexer.clone(),
            None => Indexer::new(base, config.index_interval_bytes),
        };
        // What no checkpoint knows after a clean stop is of a store that made none.
        let scan = match known.clean && known.state.is_none() {
            true => Scanner::headers(&*file, extent.size_bytes, size_bytes),
            false => Scanner::checked(&*file, extent.size_bytes, size_bytes),
        };
        let scanned = self.scan(scan, extent, indexer, known.cut_to)?;
        match &scanned.stop {
            Some(Stop::Damage(damage)) if scanned.extent.end < known.durable => {
                let (file, position) = (path.clone(), damage.position);
                let reason = damage.reason.to_string();
                self.quarantine(Quarantine { file, position, reason, durable: known.durable });
            }
            Some(Stop::Damage(damage)) => {
                self.cut = true;
                cut_damage(&**io, &*file, &path, damage, size_bytes, last)?;
            }
            Some(Stop::Cut(position)) => file.truncate(*position)?,
            None => {}
        }
        let segment = match begun {
            Some((_, segment)) => {
                segment.index.add(&scanned.entries)?;
                segment.extend(scanned.extent);
                segment
            }
            None => {
                let index = SegmentIndex::open(io, &stem, config.into())?;
                if index.repair(&scanned.entries)? {
                    tracing::debug!(segment = %path.display(), "its indexes were rebuilt");
                }
                Arc::new(Segment::with(base, path, file, index, scanned.extent))
            }
        };
        self.end = scanned.extent.end;
        self.indexer = scanned.indexer;
        self.segments.push(segment);
        Ok(scanned.stop)
    }

    fn scan(
        &mut self,
        mut scan: Scanner<'_>,
        mut extent: Extent,
        mut indexer: Indexer,
        cut_to: Option<Offset>,
    ) -> io::Result<Scanned> {
        let mut entries = IndexEntries::default();
        let mut stop = None;
        while let Some(step) = scan.step()? {
            let (position, header) = match step {
                Ok(found) => found,
                Err(found) => {
                    stop = Some(Stop::Damage(found));
                    break;
                }
            };
            // A batch can be whole and yet not belong here: an older one under a newer file.
            let epoch_falls = self.epochs.latest().is_some_and(|latest| header.leader_epoch < latest);
            if header.base_offset != extent.end || epoch_falls {
                let (base_offset, leader_epoch) = (header.base_offset, header.leader_epoch);
                let reason = BatchError::Misplaced { base_offset, expected: extent.end, leader_epoch };
                stop = Some(Stop::Damage(Damage { position, reason }));
                break;
            }
            if cut_to.is_some_and(|cut_to| header.base_offset >= cut_to) {
                stop = Some(Stop::Cut(position));
                break;
            }
            let (offset, time) = indexer.batch(&header, position);
            entries.offsets.extend(offset);
            entries.times.extend(time);
            self.epochs.assign(header.leader_epoch, header.base_offset);
            self.producers.appended(&header);
            extent.add(&header, position);
        }
        extent.max_timestamp = indexer.max_timestamp();
        Ok(Scanned { extent, entries, indexer, stop })
    }

    /// Renames segments that do not follow on what precedes them; nothing is deleted.
    fn set_aside(&mut self, io: &Arc<dyn Io>, bases: &[Offset]) -> io::Result<()> {
        for base in bases {
            let path = stem(&self.dir, *base).with_extension("log");
            let aside = unused(&**io, &path, "log.set-aside");
            io.rename(&path, &aside)?;
            tracing::error!(segment = %path.display(), kept = %aside.display(),
                "the segment does not follow on the one before; it was set aside");
        }
        self.cut = true;
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
}
