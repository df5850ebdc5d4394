//! One consuming connection: a fetch in flight, every batch looked at.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::fetch_frame::whole_batches;
use crate::generator::fetch_session::FetchSession;
use crate::generator::payload::first_stamp;
use crate::generator::socket::Socket;
use crate::generator::span::{Figures, Plan, Shared};
use crate::peer::PeerError;

const DURING: &str = "Fetch";

/// A connection and what it reads.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) socket: Socket,
    session: FetchSession,
    /// Which set of consumers it belongs to.
    set: usize,
    /// Time between two records, if the set has a limit.
    record_time: Option<Duration>,
    /// It asks for nothing before.
    pub(crate) not_before: Duration,
    asked: Option<Duration>,
    correlation_id: i32,
    consumed: u64,
    buffer: Vec<u8>,
}

impl Reader {
    /// `records_per_s_max` is this connection's share.
    pub(crate) fn new(
        socket: Socket,
        session: FetchSession,
        set: usize,
        records_per_s_max: Option<f64>,
    ) -> Self {
        Self {
            socket,
            session,
            set,
            record_time: records_per_s_max.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            not_before: Duration::ZERO,
            asked: None,
            correlation_id: 0,
            consumed: 0,
            buffer: Vec::new(),
        }
    }

    /// Whether it may ask for more now.
    pub(crate) fn idle(&self, now: Duration) -> bool {
        self.asked.is_none() && self.not_before <= now
    }

    /// Whether it waits for time to pass.
    pub(crate) fn waits(&self) -> bool {
        self.asked.is_none()
    }

    /// Sends a fetch.
    pub(crate) fn ask(&mut self, now: Duration) -> Result<(), PeerError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let request = self.session.request(self.correlation_id);
        self.socket.send(&request, DURING)?;
        self.socket.flush(DURING)?;
        self.asked = Some(now);
        Ok(())
    }

    /// Reads an answer if it has come whole. `false`: there may be more to receive.
    pub(crate) fn receive(
        &mut self,
        plan: &Plan<'_>,
        shared: &Shared,
        began: Duration,
        figures: &mut Figures,
    ) -> Result<bool, PeerError> {
        let all = self.socket.fill(DURING)?;
        let Some(range) = self.socket.take_frame(DURING)? else {
            return Ok(all);
        };
        let now = plan.clock.now();
        let Some(asked) = self.asked.take() else {
            return Err(self.socket.peer().wrong(DURING, "an answer that nobody asked for".into()));
        };
        let peer = self.socket.peer();
        let frame = self.socket.frame(range);
        let (correlation_id, parts) = self.session.read(frame).map_err(|e| peer.malformed(DURING, e))?;
        if correlation_id != self.correlation_id {
            return Err(peer.wrong(DURING, "another request was answered".into()));
        }
        let parts = match parts {
            Ok(parts) => parts,
            Err(code) => return peer.accept(code, DURING, || "all partitions".into()).map(|()| all),
        };
        let warmup = plan.schedule.warmup();
        let (mut records, mut bytes) = (0, 0);
        for part in parts {
            let at = self.session.positions()[part.place];
            peer.accept(part.code, DURING, || format!("{}-{}", plan.topics[at.topic], at.partition))?;
            let mut position = at.offset;
            for batch in whole_batches(part.batches) {
                let batch = batch.map_err(|e| peer.malformed(DURING, e))?;
                if batch.base_offset != position {
                    return Err(PeerError::Gap {
                        peer: peer.name().to_owned(),
                        partition: at.partition,
                        due: position,
                        found: batch.base_offset,
                    });
                }
                position = batch.next_offset;
                let len = batch.bytes.len() as u64;
                records += batch.records as u64;
                bytes += len;
                let stamp = first_stamp(batch, &mut self.buffer).map_err(|e| peer.malformed(DURING, e))?;
                // What was sent in another span says nothing about this one.
                if stamp.due >= began {
                    let latency = now.saturating_sub(stamp.due);
                    let (moment, at) = (stamp.due - began, now - began);
                    let end_to_end = &mut figures.sets[self.set].1;
                    end_to_end.record(warmup, moment, at, Some(latency), batch.records as u64, len);
                }
            }
            if position > at.offset {
                self.session.advance(part.place, position);
            } else if !part.batches.is_empty() {
                let what = format!("no whole batch at offset {position} of partition {}", at.partition);
                return Err(peer.wrong(DURING, what));
            }
        }
        if records > 0 {
            let at = now.saturating_sub(began);
            let latency = now.saturating_sub(asked);
            figures.sets[self.set].0.record(warmup, at, at, Some(latency), records, bytes);
            shared.consumed[self.set].fetch_add(records, Ordering::Relaxed);
            self.consumed += records;
        }
        if let Some(record_time) = self.record_time {
            self.not_before = began + record_time.mul_f64(self.consumed as f64);
        }
        Ok(all)
    }

    /// Whether an answer has been due for longer than the run waits.
    pub(crate) fn check_progress(&self, plan: &Plan<'_>, now: Duration) -> Result<(), PeerError> {
        match self.asked {
            Some(asked) if now.saturating_sub(asked) >= plan.timeout => {
                Err(PeerError::TimedOut { peer: self.socket.peer().name().to_owned(), during: DURING })
            }
            _ => Ok(()),
        }
    }
}
