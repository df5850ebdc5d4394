//! The producing phase: one connection, one or two threads, as little work per request as possible.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::latency::Latencies;
use crate::peer::{Peer, PeerError};
use crate::phase::{PhaseName, PhaseRun, Start, run_lanes};
use crate::produce_frame::{ProduceAnswer, ProduceFrame};
use crate::stop::Stop;
use crate::window::Window;

const DURING: &str = "Produce";
/// The kernel's slack for wake-ups of a paced sender; its default of 50 us would count as latency.
const TIMER_SLACK_NS: u64 = 1_000;

/// How a connection learns that all it sent was taken.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Each request is answered.
    Answers,
    /// Nothing is answered but this last request (acks=0).
    Barrier(Vec<u8>),
    /// Nothing is answered; the other side closes when it has taken all (plain relay floor).
    Close,
}

/// One connection and what it sends.
#[derive(Debug)]
pub(crate) struct ProduceLane {
    /// To the leader of its partitions.
    pub(crate) peer: Peer,
    /// The connection's number, part of each record's key.
    pub(crate) stream: u32,
    /// It sends to these in turn.
    pub(crate) partitions: Vec<i32>,
    /// The request.
    pub(crate) frame: ProduceFrame,
    /// Batches to send at most.
    pub(crate) batches_max: u64,
    /// How it ends.
    pub(crate) ending: Ending,
}

/// What all connections have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProducePace {
    /// Requests in flight on each connection.
    pub(crate) in_flight: usize,
    /// Send for so long, if set.
    pub(crate) duration: Option<Duration>,
    /// Time between two requests of one connection, if the rate is fixed.
    pub(crate) interval: Option<Duration>,
    /// Number of connections, to spread the requests of a fixed rate evenly.
    pub(crate) connections: u32,
}

/// What one connection did.
#[derive(Debug)]
pub(crate) struct ProduceOutcome {
    /// The connection's number.
    pub(crate) stream: u32,
    /// Batches sent to each of its partitions.
    pub(crate) sent: Vec<(i32, u64)>,
    /// Of its requests; empty if nothing is answered.
    pub(crate) latencies: Latencies,
    /// When the last of it was taken.
    pub(crate) ended: Instant,
}

/// Runs the phase.
pub(crate) fn produce(
    phase: PhaseName<'_>,
    stop: &Stop,
    lanes: Vec<ProduceLane>,
    pace: ProducePace,
) -> Result<PhaseRun<ProduceOutcome>, PeerError> {
    let mut prepared = Vec::with_capacity(lanes.len());
    for lane in lanes {
        register(stop, &lane.peer)?;
        let answers = Answers::new(&lane)?;
        prepared.push((lane, answers));
    }
    run_lanes(phase, stop, prepared, |(lane, answers), start| run_lane(lane, answers, start, pace))
}

/// Lets Ctrl-C, or the failure of another connection, end this one.
pub(crate) fn register(stop: &Stop, peer: &Peer) -> Result<(), PeerError> {
    stop.register(peer.stream())
        .map_err(|source| PeerError::Connect { peer: peer.name().to_string(), source })
}

fn run_lane(
    mut lane: ProduceLane,
    mut answers: Answers,
    start: &Start,
    pace: ProducePace,
) -> Result<ProduceOutcome, PeerError> {
    let mut sent = vec![0_u64; lane.partitions.len()];
    let mut latencies = Latencies::new();
    match &lane.ending {
        Ending::Answers if pace.in_flight == 1 => {
            let began = start.wait();
            send_all(&mut lane, start, pace, began, &mut sent, |lane, due, request| {
                let since = due.unwrap_or_else(Instant::now);
                lane.send(request)?;
                answers.next()?;
                latencies.record(since.elapsed());
                Ok(true)
            })?;
        }
        Ending::Answers => {
            latencies = run_pipelined(&mut lane, answers, start, pace, &mut sent)?;
        }
        Ending::Barrier(_) | Ending::Close => {
            let began = start.wait();
            send_all(&mut lane, start, pace, began, &mut sent, |lane, _, request| {
                lane.send(request)?;
                Ok(true)
            })?;
        }
    }
    match &lane.ending {
        Ending::Answers => {}
        Ending::Barrier(request) => {
            lane.peer.send(request, DURING)?;
            lane.peer.receive(&mut Vec::new(), "the request behind the last Produce")?;
        }
        Ending::Close => lane.peer.await_close(DURING)?,
    }
    let ended = Instant::now();
    let sent = lane.partitions.iter().copied().zip(sent).collect();
    Ok(ProduceOutcome { stream: lane.stream, sent, latencies, ended })
}

/// The next request of a lane.
#[derive(Debug, Clone, Copy)]
struct Request {
    correlation_id: i32,
    partition: i32,
    number: u64,
}

impl ProduceLane {
    fn send(&mut self, request: Request) -> Result<(), PeerError> {
        let Request { correlation_id, partition, number } = request;
        self.peer.send(self.frame.prepare(correlation_id, partition, number), DURING)
    }
}

/// Calls `send` for each request when it is due, until the lane's share or the time is used up, or
/// `send` says that it cannot go on.
fn send_all(
    lane: &mut ProduceLane,
    start: &Start,
    pace: ProducePace,
    began: Instant,
    sent: &mut [u64],
    mut send: impl FnMut(&mut ProduceLane, Option<Instant>, Request) -> Result<bool, PeerError>,
) -> Result<(), PeerError> {
    if pace.interval.is_some() {
        // Without it, paced requests only start a little later.
        let _ = nix::sys::prctl::set_timerslack(TIMER_SLACK_NS);
    }
    let batch_bytes = lane.frame.batch_bytes();
    for index in 0..lane.batches_max {
        let due = pace.interval.map(|interval| due_at(began, interval, lane.stream, pace, index));
        // A request that was due within the time is sent, however late: leaving it out would hide
        // exactly the latencies that matter.
        let moment = due.unwrap_or_else(Instant::now);
        if pace.duration.is_some_and(|duration| moment >= began + duration) {
            break;
        }
        if let Some(due) = due
            && !start.sleep_until(due)
        {
            break;
        }
        let slot = (index % lane.partitions.len() as u64) as usize;
        let request =
            Request { correlation_id: index as i32, partition: lane.partitions[slot], number: sent[slot] };
        if !send(lane, due, request)? {
            break;
        }
        sent[slot] += 1;
        start.moved_bytes.fetch_add(batch_bytes, Ordering::Relaxed);
    }
    Ok(())
}

fn due_at(began: Instant, interval: Duration, stream: u32, pace: ProducePace, index: u64) -> Instant {
    let place = index as f64 + f64::from(stream) / f64::from(pace.connections.max(1));
    began + interval.mul_f64(place)
}

/// Sends on this thread and receives on another.
fn run_pipelined(
    lane: &mut ProduceLane,
    mut answers: Answers,
    start: &Start,
    pace: ProducePace,
    sent: &mut [u64],
) -> Result<Latencies, PeerError> {
    let window = Window::new(pace.in_flight);
    let (sending, receiving) = std::thread::scope(|scope| {
        let window = &window;
        let receiver = scope.spawn(move || {
            let mut latencies = Latencies::new();
            let mut outcome = Ok(());
            while let Some(since) = window.oldest() {
                outcome = answers.next();
                if outcome.is_err() {
                    start.give_up();
                    break;
                }
                latencies.record(since.elapsed());
                window.leave();
            }
            window.close();
            outcome.map(|()| latencies)
        });
        let began = start.wait();
        let sending = send_all(lane, start, pace, began, sent, |lane, due, request| {
            if !window.enter(due) {
                return Ok(false);
            }
            lane.send(request)?;
            Ok(true)
        });
        window.close();
        if sending.is_err() {
            // The receiver may wait for an answer to what was never sent whole.
            let _ = lane.peer.stream().shutdown(std::net::Shutdown::Both);
        }
        let receiving = match receiver.join() {
            Ok(receiving) => receiving,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        (sending, receiving)
    });
    // A refusal that the receiver saw says more than the closed connection that the sender saw.
    match (sending, receiving) {
        (Ok(()), receiving) => receiving,
        (Err(_), Err(refused @ PeerError::Refused { .. })) => Err(refused),
        (Err(error), _) => Err(error),
    }
}

/// The receiving side of a connection.
struct Answers {
    peer: Peer,
    partitions: Vec<i32>,
    buffer: Vec<u8>,
    index: u64,
}

impl Answers {
    fn new(lane: &ProduceLane) -> Result<Self, PeerError> {
        Ok(Self {
            peer: lane.peer.try_clone()?,
            partitions: lane.partitions.clone(),
            buffer: Vec::new(),
            index: 0,
        })
    }

    /// Reads the next answer and checks that it is the one that is due, and that it says yes.
    fn next(&mut self) -> Result<(), PeerError> {
        let frame = self.peer.receive(&mut self.buffer, DURING)?;
        let answer = ProduceAnswer::read(frame).map_err(|e| self.peer.malformed(DURING, e))?;
        let partition = self.partitions[(self.index % self.partitions.len() as u64) as usize];
        if answer.correlation_id != self.index as i32 || answer.partition != partition {
            let what = format!(
                "answer {} for partition {} instead of {} for {partition}",
                answer.correlation_id, answer.partition, self.index as i32
            );
            return Err(self.peer.wrong(DURING, what));
        }
        self.peer.accept(answer.code, DURING, || format!("partition {partition}"))?;
        self.index += 1;
        Ok(())
    }
}
