//! The fetching phase: one connection, one thread, one request in flight, as consumers do it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::fetch_frame::{FetchFrame, FetchedBatch, whole_batches};
use crate::latency::Latencies;
use crate::peer::{Peer, PeerError};
use crate::phase::{PhaseName, PhaseRun, Start, run_lanes};
use crate::producer::register;
use crate::stop::Stop;

const DURING: &str = "Fetch";
/// So many answers in a row may hold nothing although there is more to read.
const EMPTY_ANSWERS_MAX: u32 = 100;

/// A stretch of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Index in the topic.
    pub(crate) partition: i32,
    /// First offset to read.
    pub(crate) start: i64,
    /// One behind the last.
    pub(crate) end: i64,
}

/// Reads stretches in order over one connection.
#[derive(Debug)]
pub(crate) struct FetchLane {
    peer: Peer,
    frame: FetchFrame,
    buffer: Vec<u8>,
    correlation_id: i32,
    /// What it reads, in turns of one request.
    pub(crate) stretches: Vec<Stretch>,
    /// Reads over and over for so long, if set.
    pub(crate) duration: Option<Duration>,
}

/// What one connection read.
#[derive(Debug)]
pub(crate) struct FetchOutcome {
    /// Records that the batch headers count.
    pub(crate) records: u64,
    /// Bytes of whole batches.
    pub(crate) batch_bytes: u64,
    /// Of its requests.
    pub(crate) latencies: Latencies,
    /// When the last answer was read.
    pub(crate) ended: Instant,
}

/// Runs the phase.
pub(crate) fn fetch(
    phase: PhaseName<'_>,
    stop: &Stop,
    lanes: Vec<FetchLane>,
) -> Result<PhaseRun<FetchOutcome>, PeerError> {
    for lane in &lanes {
        register(stop, &lane.peer)?;
    }
    run_lanes(phase, stop, lanes, FetchLane::run)
}

impl FetchLane {
    pub(crate) fn new(peer: Peer, frame: FetchFrame, stretches: Vec<Stretch>) -> Self {
        Self { peer, frame, buffer: Vec::new(), correlation_id: 0, stretches, duration: None }
    }

    /// The connection, to go on with.
    pub(crate) fn into_peer(self) -> Peer {
        self.peer
    }

    fn run(mut self, start: &Start) -> Result<FetchOutcome, PeerError> {
        let mut outcome =
            FetchOutcome { records: 0, batch_bytes: 0, latencies: Latencies::new(), ended: Instant::now() };
        let began = start.wait();
        loop {
            self.read_once(start, began, &mut outcome)?;
            match self.duration {
                Some(duration) if began.elapsed() < duration && outcome.records > 0 => {}
                _ => break,
            }
        }
        outcome.ended = Instant::now();
        Ok(outcome)
    }

    /// Reads each stretch once, a request from each in turn.
    fn read_once(
        &mut self,
        start: &Start,
        began: Instant,
        outcome: &mut FetchOutcome,
    ) -> Result<(), PeerError> {
        let mut left = self.stretches.clone();
        while !left.is_empty() {
            let mut slot = 0;
            while slot < left.len() {
                if self.duration.is_some_and(|duration| began.elapsed() >= duration) {
                    return Ok(());
                }
                let since = Instant::now();
                let mut moved_bytes = 0;
                left[slot].start = self.next(left[slot], |batch| {
                    outcome.records += batch.records as u64;
                    moved_bytes += batch.bytes.len() as u64;
                })?;
                outcome.latencies.record(since.elapsed());
                outcome.batch_bytes += moved_bytes;
                start.moved_bytes.fetch_add(moved_bytes, Ordering::Relaxed);
                if left[slot].start >= left[slot].end {
                    left.swap_remove(slot);
                } else {
                    slot += 1;
                }
            }
        }
        Ok(())
    }

    /// Fetches from the start of a stretch, shows each whole batch, and returns the next offset.
    pub(crate) fn next(
        &mut self,
        stretch: Stretch,
        mut see: impl FnMut(FetchedBatch<'_>),
    ) -> Result<i64, PeerError> {
        let Stretch { partition, start, .. } = stretch;
        for _ in 0..EMPTY_ANSWERS_MAX {
            self.correlation_id = self.correlation_id.wrapping_add(1);
            let request = self.frame.prepare(self.correlation_id, partition, start);
            self.peer.send(request, DURING)?;
            let frame = self.peer.receive(&mut self.buffer, DURING)?;
            let answer = self.frame.read(frame).map_err(|e| self.peer.malformed(DURING, e))?;
            self.peer.accept(answer.code, DURING, || format!("partition {partition}"))?;
            if answer.correlation_id != self.correlation_id || answer.partition != partition {
                return Err(self.peer.wrong(DURING, "another request was answered".into()));
            }
            let mut position = start;
            for batch in whole_batches(answer.batches) {
                let batch = batch.map_err(|cause| self.peer.malformed(DURING, cause))?;
                if batch.base_offset != position {
                    return Err(PeerError::Gap {
                        peer: self.peer.name().to_string(),
                        partition,
                        due: position,
                        found: batch.base_offset,
                    });
                }
                position = batch.next_offset;
                see(batch);
            }
            if position > start {
                return Ok(position);
            }
            if !answer.batches.is_empty() {
                let what = format!("no whole batch at offset {start} of partition {partition}");
                return Err(self.peer.wrong(DURING, what));
            }
        }
        let what =
            format!("nothing at offset {start} of partition {partition}, which ends at {}", stretch.end);
        Err(self.peer.wrong(DURING, what))
    }
}
