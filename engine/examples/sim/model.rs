//! The plainest model of a log that can be: a list of batches, and what was promised of each.

use ringmain_engine::{BatchHeader, Durability, Log, LogId, Offset, ReadBound, ReadError};

/// Where the leader epoch of a batch begins, and the rest after it.
const EPOCH_AT: usize = 12;
const AFTER_EPOCH: usize = 16;

/// A batch as it was stamped by the log.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) base: i64,
    pub(crate) end: i64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) asked: Durability,
    /// Promised to survive the loss of power.
    pub(crate) durable: bool,
    /// Id, first sequence number, and the one after the last.
    pub(crate) producer: Option<(i64, i32, i32)>,
}

impl Batch {
    /// The batches in `bytes`, one after the other from `base` on.
    pub(crate) fn list(mut bytes: &[u8], base: i64, asked: Durability) -> Result<Vec<Self>, String> {
        let (mut list, mut base) = (Vec::new(), base);
        while !bytes.is_empty() {
            let header = BatchHeader::parse_whole(bytes).map_err(|err| format!("not a batch: {err}"))?;
            let (one, rest) = bytes.split_at(header.size_bytes);
            let end = base + i64::from(header.last_offset_delta) + 1;
            let sequences = (header.base_sequence, header.base_sequence + header.record_count);
            let producer =
                (header.producer_id >= 0).then_some((header.producer_id, sequences.0, sequences.1));
            list.push(Self { base, end, bytes: one.to_vec(), asked, durable: false, producer });
            base = end;
            bytes = rest;
        }
        Ok(list)
    }

    /// Whether it is the batch found in the log. The epoch of one that was under way is not known.
    fn is(&self, found: &Found, in_doubt: bool) -> bool {
        let (ours, theirs) = (&self.bytes, &found.bytes);
        self.base == found.base
            && ours.len() == theirs.len()
            && ours[AFTER_EPOCH..] == theirs[AFTER_EPOCH..]
            && (in_doubt || ours[EPOCH_AT..AFTER_EPOCH] == theirs[EPOCH_AT..AFTER_EPOCH])
    }
}

/// A batch that was read.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) base: i64,
    pub(crate) end: i64,
    pub(crate) epoch: i32,
    pub(crate) bytes: Vec<u8>,
}

/// Every batch from `from` on, read in pieces, each whole and with its CRC checked.
pub(crate) fn read_all(log: &Log, from: i64, bound: ReadBound, piece: u64) -> Result<Vec<Found>, String> {
    let mut found: Vec<Found> = Vec::new();
    let mut next = from;
    loop {
        let slice = log.read(Offset(next), piece, true, bound);
        let Some(slice) = slice.map_err(|err| format!("reading offset {next}: {err}"))? else { break };
        let bytes = slice.read().map_err(|err| format!("reading offset {next}: {err}"))?;
        if bytes.is_empty() {
            return Err(format!("reading offset {next} gives an empty slice"));
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse_whole(rest)
                .map_err(|err| format!("what is read from offset {next} is no batch: {err}"))?;
            let (one, after) = rest.split_at(header.size_bytes);
            let (base, end) = (header.base_offset.0, header.end_offset().0);
            let follows = if found.is_empty() { base <= next && next < end } else { base == next };
            if !follows {
                return Err(format!("offset {next} is followed by a batch of {base} to {end}"));
            }
            if found.last().is_some_and(|last| header.leader_epoch.0 < last.epoch) {
                return Err(format!("the epoch falls to {} at offset {base}", header.leader_epoch));
            }
            found.push(Found { base, end, epoch: header.leader_epoch.0, bytes: one.to_vec() });
            next = end;
            rest = after;
        }
    }
    Ok(found)
}

/// Whether a log is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Sure,
    /// Its creation or deletion did not end well.
    InDoubt,
}

/// A log, as it must be.
#[derive(Debug)]
pub(crate) struct LogModel {
    pub(crate) id: LogId,
    pub(crate) presence: Presence,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) batches: Vec<Batch>,
    /// Starts that were asked for and not acknowledged.
    pub(crate) starts_in_doubt: Vec<i64>,
    /// The lowest end of a truncation that was not acknowledged.
    pub(crate) cut_in_doubt: Option<i64>,
    /// What an append was not acknowledged for.
    pub(crate) appends_in_doubt: Vec<Batch>,
    /// The highest epoch that any batch of it had.
    pub(crate) epoch: i32,
}

impl LogModel {
    pub(crate) fn new(id: LogId, presence: Presence) -> Self {
        Self {
            id,
            presence,
            start: 0,
            end: 0,
            batches: Vec::new(),
            starts_in_doubt: Vec::new(),
            cut_in_doubt: None,
            appends_in_doubt: Vec::new(),
            epoch: 0,
        }
    }

    pub(crate) fn appended(&mut self, batches: Vec<Batch>, epoch: i32) {
        self.end = batches.last().map_or(self.end, |last| last.end);
        self.batches.extend(batches);
        self.epoch = self.epoch.max(epoch);
    }

    pub(crate) fn cut(&mut self, end: i64) {
        self.batches.retain(|batch| batch.end <= end);
        self.end = end;
    }

    /// Everything before `end` was promised to survive the loss of power.
    pub(crate) fn durable_to(&mut self, end: i64) {
        for batch in self.batches.iter_mut().filter(|batch| batch.end <= end) {
            batch.durable = true;
        }
    }

    /// A batch that may be read and asked to be durable is durable, and so is all before it.
    pub(crate) fn visible_to(&mut self, end: i64) {
        let shown = |batch: &&Batch| batch.end <= end && batch.asked == Durability::Durable;
        if let Some(end) = self.batches.iter().rev().find(shown).map(|batch| batch.end) {
            self.durable_to(end);
        }
    }

    /// The end of what a crash must have left.
    fn required(&self, only_durable: bool) -> i64 {
        let kept = |batch: &&Batch| !only_durable || batch.durable;
        let end = self.batches.iter().rev().find(kept).map_or(0, |batch| batch.end);
        end.min(self.cut_in_doubt.unwrap_or(i64::MAX))
    }

    /// Compares a running log with the model.
    pub(crate) fn compare(&self, log: &Log, piece: u64) -> Result<(), String> {
        let progress = log.progress();
        if (progress.start.0, progress.written.0) != (self.start, self.end) {
            return Err(format!(
                "the log has {} to {}, it should have {} to {}",
                progress.start, progress.written, self.start, self.end
            ));
        }
        let found = read_all(log, self.start, ReadBound::Visible, piece)?;
        let mut expected = self.batches.iter().filter(|batch| batch.end > self.start);
        for one in &found {
            if !expected.next().is_some_and(|batch| batch.is(one, false)) {
                return Err(format!(
                    "offsets {} to {} have something else than was appended",
                    one.base, one.end
                ));
            }
        }
        let end = found.last().map_or(self.start, |last| last.end);
        let next = expected.next().map_or(i64::MAX, |batch| batch.end);
        if end > progress.visible.0.max(self.start) || next <= progress.visible.0 {
            return Err(format!("up to {end} can be read, {} should be visible", progress.visible));
        }
        Ok(())
    }

    /// Compares a log of a store that failed, of which the kernel has dropped pages, with the model: each batch is
    /// what was appended, or its loss is told. Says how many are lost.
    pub(crate) fn compare_lost(&self, log: &Log, piece: u64) -> Result<u64, String> {
        let visible = log.progress().visible.0;
        let mut lost = 0;
        let mut all = self.batches.iter().filter(|batch| batch.end > self.start && batch.end <= visible);
        while let Some(first) = all.next() {
            let from = first.base.max(self.start);
            let found = log.read(Offset(from), piece, true, ReadBound::Visible);
            let bytes = match found.and_then(|slice| slice.map_or(Ok(Vec::new()), |slice| slice.read())) {
                Ok(bytes) => bytes,
                Err(ReadError::Lost { .. }) => {
                    lost += 1;
                    continue;
                }
                Err(err) => return Err(format!("reading offset {from}: {err}")),
            };
            let mut rest = &bytes[..];
            let mut expected = Some(first);
            while !rest.is_empty() {
                let one = expected.or_else(|| all.next());
                expected = None;
                let same = one.filter(|one| rest.starts_with(&one.bytes));
                let Some(same) = same else {
                    return Err(format!("what is read from offset {from} is not what was appended"));
                };
                rest = &rest[same.bytes.len()..];
            }
            if expected.is_some() {
                return Err(format!("offset {from} cannot be read, and nobody says why"));
            }
        }
        Ok(lost)
    }

    /// Compares what a start after a stop found with the model, which takes it over as the truth.
    /// `only_durable`: what was only written may be lost. Says how many batches were lost.
    pub(crate) fn recover(&mut self, log: &Log, only_durable: bool) -> Result<u64, String> {
        let progress = log.progress();
        let start = progress.start.0;
        if start != self.start && !self.starts_in_doubt.contains(&start) {
            return Err(format!(
                "the log has {start} to {}, it should start at {} (or at one of {:?}; it had an end of {})",
                progress.written, self.start, self.starts_in_doubt, self.end
            ));
        }
        let found = read_all(log, start, ReadBound::Written, u64::MAX)?;
        let end = found.last().map_or(start, |last| last.end);
        if end != progress.written.0 {
            return Err(format!("the log ends at {}, what can be read at {end}", progress.written));
        }
        if progress.visible > progress.written || progress.durable > progress.written {
            return Err(format!("the order of the watermarks does not hold: {progress:?}"));
        }
        let mut truth: Vec<Batch> = Vec::new();
        for one in &found {
            let known = self.batches.iter().find(|batch| batch.is(one, false));
            let in_doubt = || self.appends_in_doubt.iter().find(|batch| batch.is(one, true));
            let Some(batch) = known.or_else(in_doubt) else {
                return Err(format!(
                    "offsets {} to {} (epoch {}) have what was never appended there, or was taken away",
                    one.base, one.end, one.epoch
                ));
            };
            self.epoch = self.epoch.max(one.epoch);
            truth.push(Batch { bytes: one.bytes.clone(), ..batch.clone() });
        }
        let required = self.required(only_durable);
        if end < required {
            return Err(format!(
                "the log ends at {end}, up to {required} was promised to survive (it had {} to {})",
                self.start, self.end
            ));
        }
        let lost = self.batches.iter().filter(|batch| batch.base >= end).count() as u64;
        let epoch = self.epoch;
        *self = Self::new(self.id, Presence::Sure);
        (self.start, self.end, self.batches, self.epoch) = (start, end, truth, epoch);
        Ok(lost)
    }
}
