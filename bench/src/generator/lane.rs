//! One producing connection: what is due is sent as soon as the window allows, and answers are matched.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::generator::payload::{Address, RequestTemplate};
use crate::generator::schedule::Due;
use crate::generator::socket::Socket;
use crate::generator::span::{Figures, Plan, Shared};
use crate::peer::PeerError;
use crate::produce_frame::ProduceAnswer;

const DURING: &str = "Produce";
/// Requests of one connection before others have their turn.
const TURN_REQUESTS_MAX: u32 = 64;

/// A connection and what it sends.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) socket: Socket,
    /// Its number in the run: part of each stamp.
    stream: u32,
    /// Its number among the lanes of the span: which requests of the schedule are its own.
    number: u64,
    /// The partitions it sends to.
    slots: Vec<usize>,
    /// Requests, used in turn; those with keys belong to a place in `slots`.
    templates: Vec<(Option<usize>, RequestTemplate)>,
    /// Requests begun so far.
    begun: u64,
    /// Batches sent to each of its partitions.
    numbers: Vec<u64>,
    in_flight: VecDeque<InFlight>,
    /// When the window last opened, from the start of the run: before that, nothing could be sent.
    open_since: Duration,
    /// The last answer, or the last request into an empty window.
    progress: Duration,
    state: State,
}

/// With acks=0, a last request that is answered proves that all before it were taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Sending,
    /// No more will be sent.
    Ending,
    Done,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    since: Duration,
    partition: i32,
    bytes: u64,
    correlation_id: i32,
}

/// Where a lane stands after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It waits for an answer, for room in the socket, or for time to pass.
    Waits,
    /// It has more to send at once.
    More,
    /// Everything was sent and answered.
    Done,
}

impl Lane {
    pub(crate) fn new(
        socket: Socket,
        stream: u32,
        number: u64,
        slots: Vec<usize>,
        templates: Vec<(Option<usize>, RequestTemplate)>,
    ) -> Self {
        Self {
            socket,
            stream,
            number,
            numbers: vec![0; slots.len()],
            slots,
            templates,
            begun: 0,
            in_flight: VecDeque::new(),
            open_since: Duration::ZERO,
            progress: Duration::ZERO,
            state: State::Sending,
        }
    }

    /// When its next request is due.
    pub(crate) fn due(&self, plan: &Plan<'_>) -> Due {
        plan.schedule.due(self.begun * plan.lanes + self.number)
    }

    /// Which request of all that is.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Batches sent to each slot.
    pub(crate) fn sent(&self) -> impl Iterator<Item = ((usize, u32), u64)> + '_ {
        self.slots.iter().zip(&self.numbers).map(|(slot, batches)| ((*slot, self.stream), *batches))
    }

    /// Sends what is due, as far as the window, the socket and the turn allow.
    pub(crate) fn pump(
        &mut self,
        plan: &Plan<'_>,
        shared: &Shared,
        began: Duration,
        figures: &mut Figures,
    ) -> Result<Turn, PeerError> {
        let answered = plan.request.acks != 0;
        let mut sent = 0;
        while self.state == State::Sending && !self.socket.blocked() {
            if sent == TURN_REQUESTS_MAX {
                self.socket.flush(DURING)?;
                return Ok(Turn::More);
            }
            if answered && self.in_flight.len() >= plan.in_flight {
                break;
            }
            let now = plan.clock.now();
            let since = match self.due(plan) {
                Due::AtOnce if now < began.saturating_add(plan.schedule.end()) => now,
                Due::At(at) if began + at <= now => began + at,
                Due::At(_) => break,
                Due::AtOnce | Due::Over => {
                    self.state = State::Ending;
                    break;
                }
            };
            if shared.sent_bytes.load(Ordering::Relaxed) >= plan.bytes_max {
                self.state = State::Ending;
                break;
            }
            figures.lag.record(now.saturating_sub(since.max(self.open_since)));
            self.send(plan, shared, since, now)?;
            if !answered {
                let bytes = shared_bytes(&mut self.in_flight);
                let warmup = plan.schedule.warmup();
                let (moment, at) = (since - began, now - began);
                figures.produce.record(warmup, moment, at, None, u64::from(plan.records), bytes);
            }
            sent += 1;
        }
        self.socket.flush(DURING)?;
        if self.state == State::Ending && self.in_flight.is_empty() && !self.socket.pending() {
            self.state = State::Done;
        }
        Ok(if self.state == State::Done { Turn::Done } else { Turn::Waits })
    }

    fn send(
        &mut self,
        plan: &Plan<'_>,
        shared: &Shared,
        since: Duration,
        now: Duration,
    ) -> Result<(), PeerError> {
        let turn = (self.begun % self.templates.len() as u64) as usize;
        let in_turn = (self.begun % self.slots.len() as u64) as usize;
        let (place, template) = &mut self.templates[turn];
        let place = place.unwrap_or(in_turn);
        let slot = &plan.slots[self.slots[place]];
        let to = Address { topic: &plan.topics[slot.topic], partition: slot.partition };
        let correlation_id = self.begun as i32;
        let timestamp_ms = plan.origin_ms + now.as_millis() as i64;
        let (frame, bytes) = template.prepare(correlation_id, to, self.numbers[place], since, timestamp_ms);
        self.socket.send(frame, DURING)?;
        if self.in_flight.is_empty() {
            self.progress = now;
        }
        let partition = slot.partition;
        self.in_flight.push_back(InFlight { since, partition, bytes: bytes as u64, correlation_id });
        self.numbers[place] += 1;
        self.begun += 1;
        shared.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        shared.sent_records.fetch_add(u64::from(plan.records), Ordering::Relaxed);
        Ok(())
    }

    /// Reads the answers that have come. `false`: there may be more.
    pub(crate) fn receive(
        &mut self,
        plan: &Plan<'_>,
        began: Duration,
        figures: &mut Figures,
        live: &mut Option<crate::latency::Latencies>,
    ) -> Result<bool, PeerError> {
        let all = self.socket.fill(DURING)?;
        let now = plan.clock.now();
        while let Some(range) = self.socket.take_frame(DURING)? {
            let peer = self.socket.peer();
            let answer =
                ProduceAnswer::read(self.socket.frame(range)).map_err(|e| peer.malformed(DURING, e))?;
            let due = self.in_flight.pop_front();
            let due = due.filter(|due| {
                due.correlation_id == answer.correlation_id && due.partition == answer.partition
            });
            let Some(due) = due else {
                let what = format!(
                    "answer {} for partition {}, which is not due",
                    answer.correlation_id, answer.partition
                );
                return Err(peer.wrong(DURING, what));
            };
            peer.accept(answer.code, DURING, || format!("partition {}", answer.partition))?;
            if self.in_flight.len() + 1 == plan.in_flight {
                self.open_since = now;
            }
            self.progress = now;
            let latency = now.saturating_sub(due.since);
            let (moment, at) = (due.since - began, now - began);
            let records = u64::from(plan.records);
            figures.produce.record(plan.schedule.warmup(), moment, at, Some(latency), records, due.bytes);
            if let Some(live) = live {
                live.record(latency);
            }
        }
        Ok(all)
    }

    /// Whether an answer has been due for longer than the run waits.
    pub(crate) fn check_progress(&self, plan: &Plan<'_>, now: Duration) -> Result<(), PeerError> {
        if self.in_flight.is_empty() || now.saturating_sub(self.progress) < plan.timeout {
            return Ok(());
        }
        Err(PeerError::TimedOut { peer: self.socket.peer().name().to_owned(), during: DURING })
    }
}

/// With acks=0 nothing stays in flight.
fn shared_bytes(in_flight: &mut VecDeque<InFlight>) -> u64 {
    in_flight.pop_front().map_or(0, |sent| sent.bytes)
}
