//! Taking records away: from the end (truncation) and from the start.

use super::wait::Completion;
use super::{Appender, Log};
use crate::error::CutError;
use crate::journal::entry::{Kind, Section};
use crate::offset::Offset;
use crate::scan::{Reads, Scanner};
use crate::segment::{Extent, Indexer, Segment};
use crate::sync::atomic::Ordering;
use crate::watermark::{Durability, Position};
use std::sync::{Arc, PoisonError};

impl Log {
    /// Cuts the log: the batch that holds `offset` goes, and everything after it. Returns the new end.
    /// When it returns, the cut is durable and so is all that is left. Appends wait meanwhile; who waits
    /// for the durability of what was cut gets an error.
    ///
    /// # Errors
    /// `offset` is before the start; the log was deleted; the store is closed, failed or full.
    pub fn truncate(self: &Arc<Self>, offset: Offset) -> Result<Offset, CutError> {
        let outcome = self.cut_at(offset);
        // Whoever asked for durability while the log was being cut was not heard.
        self.journal.request(self);
        outcome
    }

    fn cut_at(self: &Arc<Self>, offset: Offset) -> Result<Offset, CutError> {
        let _cutting = self.journal.begin_cut();
        let mut appender = self.lock_appender();
        self.may_cut()?;
        let (written, _) = self.watermarks.written();
        let start = self.progress().start;
        if offset < start {
            return Err(CutError::OutOfRange { offset, start, end: written.offset });
        }
        if offset >= written.offset {
            return Ok(written.offset);
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let end = self.boundary(offset).map_err(CutError::Read)?;
        if end.offset < start {
            // The batch holds records before the start, which are not there, and cannot be cut in two.
            return Err(CutError::OutOfRange { offset, start, end: written.offset });
        }
        // First the journal knows: from here on a crash leaves the log cut. What it has of the log
        // beyond is void, and nothing newer may come before this.
        self.journal.note(self.note(Kind::Truncate, end.offset, Offset::ZERO))?;
        self.watermarks.cut(end);
        self.forget_checkpoint();
        self.begin_sync();
        let outcome = self.cut_files(&mut appender, end);
        let failed = outcome.err().map(|err| self.journal.fail(format!("truncating {}", self.name), err));
        self.end_sync();
        // A sync before this one may have failed, and taken the error with it.
        if let Some(failed) = failed.or(self.failure()) {
            return Err(failed.into());
        }
        self.watermarks.checkpointed(end, self.watermarks.written().1);
        // And then that it was done: what a crash finds beyond is newer.
        appender.cut_sequence = self.journal.note(self.note(Kind::Truncated, end.offset, Offset::ZERO))?;
        Ok(end.offset)
    }

    /// Moves the log's start on to `offset` (Kafka's DeleteRecords). Segments that end before it are
    /// removed. When it returns, the new start is durable.
    ///
    /// # Errors
    /// `offset` is beyond what is visible; the log was deleted; the store is closed, failed or full.
    pub fn advance_start(self: &Arc<Self>, offset: Offset) -> Result<Offset, CutError> {
        self.settle(offset);
        let _cutting = self.journal.begin_cut();
        let mut appender = self.lock_appender();
        self.may_cut()?;
        let progress = self.progress();
        if offset > progress.visible {
            return Err(CutError::OutOfRange { offset, start: progress.start, end: progress.visible });
        }
        if offset <= progress.start {
            return Ok(progress.start);
        }
        // What is before the start must be durable, or a crash leaves a log that ends before it starts. It is, unless
        // the log was cut or the disk is full.
        let (end, generation) = self.watermarks.written();
        if progress.durable < offset {
            self.begin_sync();
            let synced = self.sync_segments(progress.durable).and_then(|()| {
                self.dir_changed.store(false, Ordering::Release);
                self.io.sync_dir(&self.dir)
            });
            let failed = synced.err().map(|err| self.journal.fail(format!("syncing {}", self.name), err));
            self.end_sync();
            // A sync before this one may have failed, and taken the error with it.
            if let Some(failed) = failed.or(self.failure()) {
                return Err(failed.into());
            }
            self.watermarks.checkpointed(end, generation);
        }
        let segments = self.segment_list();
        let keep = segments.partition_point(|segment| segment.extent().end <= offset);
        let keep = keep.min(segments.len().saturating_sub(1));
        let first = segments.get(keep).map_or(end.segment, |segment| segment.base);
        self.journal.note(self.note(Kind::Start, offset, first))?;
        self.watermarks.started(offset);
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(segments[keep..].to_vec());
        for segment in &segments[..keep] {
            // What a crash brings back of it is removed by the next start: the start is durable.
            if let Err(err) = segment.remove(&*self.io) {
                tracing::warn!(segment = %segment.path.display(), "it was not removed: {err}");
            }
        }
        if keep > 0 {
            appender.epochs.start_at(first);
        }
        drop(appender);
        Ok(offset)
    }

    /// Waits until what is before `offset` is durable, while appends go on. What stands in the way is found by who looks next.
    fn settle(self: &Arc<Self>, offset: Offset) {
        let (written, generation) = self.watermarks.written();
        let progress = self.progress();
        let is_pending = progress.durable < offset && offset <= written.offset.min(progress.visible);
        if is_pending && self.may_cut().is_ok() && !self.journal.is_full() {
            let _ = Completion::of_duplicate(self, offset, generation, Durability::Durable).wait();
        }
    }

    fn note(&self, kind: Kind, offset: Offset, segment: Offset) -> Section {
        Section::note(kind, self.number, offset, offset, segment)
    }

    fn may_cut(&self) -> Result<(), CutError> {
        if self.is_deleted() {
            return Err(CutError::Deleted);
        }
        if self.journal.fate.is_closed() {
            return Err(CutError::Closed);
        }
        if let Some(failed) = self.failure() {
            return Err(failed.into());
        }
        self.quarantine.as_ref().map_or(Ok(()), |damage| Err(damage.cut_error()))
    }

    /// Where the batch begins that holds `offset`.
    fn boundary(&self, offset: Offset) -> Result<Position, crate::error::ReadError> {
        let segments = self.segment_list();
        for segment in segments.iter() {
            let extent = segment.extent();
            if extent.end <= offset {
                continue;
            }
            if let Some((bytes, header)) = segment.locate(offset, extent.size_bytes, Reads::Any)? {
                return Ok(Position { offset: header.base_offset, segment: segment.base, bytes });
            }
        }
        Ok(self.watermarks.written().0)
    }

    /// Syncs the segments that have something beyond `from`.
    fn sync_segments(&self, from: Offset) -> std::io::Result<()> {
        let segments = self.segment_list();
        let mut beyond = segments.iter().filter(|segment| segment.extent().end > from);
        beyond.try_for_each(|segment| segment.file.sync_data())
    }

    /// Cuts files and what was built from them; durable when it returns.
    fn cut_files(&self, appender: &mut Appender, end: Position) -> std::io::Result<()> {
        let durable = self.progress().durable;
        let segments = self.segment_list();
        let keep = segments.partition_point(|segment| segment.base <= end.segment);
        // From the last on: whatever a crash leaves is without a gap.
        for segment in segments[keep..].iter().rev() {
            segment.remove(&*self.io)?;
        }
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(segments[..keep].to_vec());
        let lost = !appender.producers.cut(end.offset);
        appender.epochs.cut(end.offset);
        appender.next_offset = end.offset;
        if let Some(last) = segments[..keep].last() {
            let interval_bytes = self.config().index_interval_bytes;
            last.file.truncate(end.bytes)?;
            appender.indexer = cut_segment(last, end, interval_bytes)?;
        }
        if lost {
            self.rebuild_producers(appender)?;
        }
        self.sync_segments(durable)?;
        if let Some(last) = segments[..keep].last() {
            last.file.sync_data()?;
        }
        // Rebuilt from the batches if it is lost.
        if let Err(err) = appender.epochs.save(&*self.io, &self.dir) {
            tracing::warn!(log = self.name, "leader epochs were not saved: {err}");
        }
        self.dir_changed.store(false, Ordering::Release);
        self.io.sync_dir(&self.dir)
    }

    /// Of all batches: something that is needed was forgotten before the cut.
    fn rebuild_producers(&self, appender: &mut Appender) -> std::io::Result<()> {
        appender.producers.clear();
        for segment in self.segment_list().iter() {
            let mut scan = Scanner::headers(&*segment.file, 0, segment.extent().size_bytes);
            while let Some(Ok((_, header))) = scan.step()? {
                appender.producers.appended(&header);
            }
        }
        Ok(())
    }
}

/// The segment ends here now: its extent and its indexes as its batches tell them.
fn cut_segment(segment: &Segment, end: Position, interval_bytes: u64) -> std::io::Result<Indexer> {
    let mut indexer = Indexer::new(segment.base, interval_bytes);
    let mut extent = Extent::empty(segment.base);
    let mut entries = crate::index::IndexEntries::default();
    let mut scan = Scanner::headers(&*segment.file, 0, end.bytes);
    while let Some(Ok((position, header))) = scan.step()? {
        let (offset, time) = indexer.batch(&header, position);
        entries.offsets.extend(offset);
        entries.times.extend(time);
        extent.add(&header, position);
    }
    if let Err(err) = segment.index.repair(&entries) {
        tracing::warn!(segment = %segment.path.display(), "its index was not rebuilt: {err}");
    }
    segment.index_synced.store(false, Ordering::Relaxed);
    extent.max_timestamp = indexer.max_timestamp();
    segment.extend(Extent { size_bytes: end.bytes, end: end.offset, ..extent });
    Ok(indexer)
}

impl From<crate::journal::NoteError> for CutError {
    fn from(error: crate::journal::NoteError) -> Self {
        match error {
            crate::journal::NoteError::Failed(failed) => Self::Failed(failed),
            crate::journal::NoteError::NoFile => Self::DiskFull,
            crate::journal::NoteError::Closed => Self::Closed,
        }
    }
}
