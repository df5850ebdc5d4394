//! The path of an append: check, stamp, one positioned write, indexes, watermarks.

use super::wait::Completion;
use super::{Appender, Log, LogConfig};
use crate::batch::{BatchHeader, stamp};
use crate::error::AppendError;
use crate::offset::{LeaderEpoch, Offset};
use crate::producers::Verdict;
use crate::segment::{Extent, Indexer, Segment};
use crate::sync::atomic::Ordering;
use crate::watermark::{Durability, Position, Range};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::PoisonError;

/// What became of an append.
#[derive(Debug)]
pub struct Appended {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset after the last record.
    pub end_offset: Offset,
    /// The epoch stamped on it.
    pub leader_epoch: LeaderEpoch,
    /// Whether it was there before: a retry of an idempotent producer. Nothing was appended.
    pub duplicate: bool,
    /// Done when the durability that was asked for holds.
    pub completion: Completion,
}

impl Log {
    /// Appends the record batches in `batches`, all or none, and stamps offsets and epoch into them.
    ///
    /// Returns when they are written to the page cache. [`Appended::completion`] tells when
    /// `durability` holds: at once for [`Durability::Written`].
    ///
    /// # Errors
    /// Bytes that are no valid batches (length, format, CRC, counts), a batch beyond
    /// [`LogConfig::batch_bytes_max`], an idempotent producer out of sequence or fenced, a full
    /// disk, a deleted log, a store that failed. Nothing is appended then.
    pub fn append(
        self: &Arc<Self>,
        batches: &mut [u8],
        durability: Durability,
    ) -> Result<Appended, AppendError> {
        let config = self.config();
        // The costly check, the CRC, is done before the lock is taken.
        let mut headers = check(batches, &config)?;
        let mut appender = self.lock_appender();
        if let Some(failed) = self.journal.fate.failure() {
            return Err(failed.into());
        }
        if self.is_deleted() {
            return Err(AppendError::Deleted);
        }
        if self.journal.fate.is_closed() {
            return Err(AppendError::Closed);
        }
        if let Some(damage) = &self.quarantine {
            return Err(damage.append_error());
        }
        let judged = |header: &BatchHeader| header.is_idempotent() && !header.is_control();
        if headers.len() > 1 && headers.iter().any(judged) {
            return Err(AppendError::NotAlone);
        }
        if let [header] = &headers[..]
            && judged(header)
            && let Verdict::Duplicate(known) = appender.producers.check(header)?
        {
            let generation = self.watermarks.written().1;
            drop(appender);
            // The original may have asked for less than its retry does.
            let completion = Completion::of_duplicate(self, known.end_offset, generation, durability);
            return Ok(Appended {
                base_offset: known.base_offset,
                end_offset: known.end_offset,
                leader_epoch: self.leader_epoch(),
                duplicate: true,
                completion,
            });
        }
        let appended = self.append_checked(&mut appender, batches, &mut headers, &config, durability)?;
        drop(appender);
        let (base_offset, end_offset, leader_epoch, pending) = appended;
        self.journal.house.appended(batches.len() as u64);
        let completion = Completion::of_append(self, batches, &pending, durability);
        Ok(Appended { base_offset, end_offset, leader_epoch, duplicate: false, completion })
    }

    fn append_checked(
        &self,
        appender: &mut Appender,
        batches: &mut [u8],
        headers: &mut [BatchHeader],
        config: &LogConfig,
        durability: Durability,
    ) -> Result<(Offset, Offset, LeaderEpoch, Range), AppendError> {
        let base = appender.next_offset;
        let mut next = base;
        let mut at = 0;
        for header in headers.iter_mut() {
            header.base_offset = next;
            header.leader_epoch = appender.leader_epoch;
            stamp(&mut batches[at..], next, appender.leader_epoch);
            next = header.end_offset();
            at += header.size_bytes;
        }
        let segment = self.segment_for(appender, batches.len() as u64, next, config)?;
        // Until it is written: then it stays open until it is synced.
        let _pinned = segment.file.pin_for_append().map_err(|err| {
            self.journal.house.press();
            AppendError::Unopened(err)
        })?;
        let mut extent = segment.extent();
        if let Err(err) = segment.write(batches) {
            return Err(self.write_failed(&segment, extent, err));
        }
        if appender.epochs.assign(appender.leader_epoch, base) {
            // Rebuilt from the batches if it is lost: not worth failing for.
            if let Err(err) = appender.epochs.save(&*self.io, &self.dir) {
                tracing::warn!(log = self.name, "leader epochs were not saved: {err}");
            }
        }
        for header in headers.iter() {
            self.index(appender, &segment, header, extent.size_bytes);
            extent.add(header, extent.size_bytes);
            appender.producers.appended(header);
        }
        extent.max_timestamp = appender.indexer.max_timestamp();
        segment.extend(extent);
        appender.next_offset = next;
        let position = Position { offset: next, segment: segment.base, bytes: extent.size_bytes };
        let pending = self.watermarks.appended(position, durability);
        Ok((base, next, appender.leader_epoch, pending))
    }

    /// The active segment, or a new one where the batches would not fit it.
    fn segment_for(
        &self,
        appender: &mut Appender,
        bytes: u64,
        end: Offset,
        config: &LogConfig,
    ) -> Result<Arc<Segment>, AppendError> {
        let segments = self.segment_list();
        let Some(active) = segments.last() else {
            return self.roll(appender, config, None);
        };
        let extent = active.extent();
        let fits = extent.size_bytes + bytes <= config.segment_bytes
            && end.0 - active.base.0 <= i64::from(i32::MAX)
            && !active.index.is_full();
        if fits || extent.size_bytes == 0 {
            return Ok(Arc::clone(active));
        }
        self.roll(appender, config, Some(active))
    }

    /// Begins a new segment after the active one, if there is one.
    fn roll(
        &self,
        appender: &mut Appender,
        config: &LogConfig,
        active: Option<&Arc<Segment>>,
    ) -> Result<Arc<Segment>, AppendError> {
        let base = appender.next_offset;
        let created = Segment::create(&self.io, &self.dir, base, config.into());
        let segment = Arc::new(created.map_err(|err| {
            // Nothing was written yet, so nothing is lost: a later append may succeed.
            if is_full(&err) { AppendError::DiskFull } else { AppendError::Segment(err) }
        })?);
        // Set before anything in the file can be asked to be durable.
        self.dir_changed.store(true, Ordering::Release);
        // Only now: without room for a new one the old one may go on. The time index of a closed segment ends
        // with its largest timestamp.
        if let Some(active) = active {
            let pushed = appender.indexer.time().map_or(Ok(true), |entry| active.index.push_time(entry));
            if let Err(err) = pushed.and_then(|_| active.index.close()) {
                tracing::warn!(segment = %active.path.display(), "its index was not closed: {err}");
            }
        }
        appender.indexer = Indexer::new(base, config.index_interval_bytes);
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let mut list = (**segments).clone();
        list.push(Arc::clone(&segment));
        *segments = Arc::new(list);
        Ok(segment)
    }

    /// An index is a help: one that cannot be written is rebuilt at the next opening.
    fn index(&self, appender: &mut Appender, segment: &Segment, header: &BatchHeader, position: u64) {
        let (offset, time) = appender.indexer.batch(header, position);
        let pushed = offset
            .map_or(Ok(true), |entry| segment.index.push_offset(entry))
            .and_then(|_| time.map_or(Ok(true), |entry| segment.index.push_time(entry)));
        if let Err(err) = pushed {
            tracing::warn!(segment = %segment.path.display(), "its index was not extended: {err}");
        }
    }

    /// Takes back what a failed write may have left. A full disk passes; all else ends the writing.
    fn write_failed(&self, segment: &Segment, extent: Extent, err: io::Error) -> AppendError {
        let full = is_full(&err);
        match segment.file.truncate(extent.size_bytes) {
            Ok(()) if full => AppendError::DiskFull,
            Ok(()) => self.journal.fail(format!("writing to {}", segment.path.display()), err).into(),
            Err(err) => self.journal.fail(format!("cutting {}", segment.path.display()), err).into(),
        }
    }
}

fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The headers of `batches`, each checked as a new one.
fn check(batches: &[u8], config: &LogConfig) -> Result<Vec<BatchHeader>, AppendError> {
    let mut headers = Vec::with_capacity(1);
    let mut rest = batches;
    while !rest.is_empty() {
        // Before the CRC: a batch that is too large is not worth computing one.
        let size_bytes = BatchHeader::parse(rest)?.size_bytes;
        if size_bytes > config.batch_bytes_max {
            return Err(AppendError::TooLarge { size_bytes, max_bytes: config.batch_bytes_max });
        }
        let header = BatchHeader::parse_whole(rest)?;
        header.check_new()?;
        rest = &rest[header.size_bytes..];
        headers.push(header);
    }
    if headers.is_empty() {
        return Err(AppendError::Empty);
    }
    Ok(headers)
}
