//! A connection: requests are begun in the order in which they come, and answered in that order. While
//! appends and fetches wait, appends after them are begun; all else is done in turn. A client that is over its
//! quota is not read from for a while, and one that does nothing for long is left.

use super::frames::{BufferPool, FrameError, FrameLimits, FrameReader, Head};
use super::send::Outbox;
use crate::admin::counters::{Begun, Counters};
use crate::api::{self, Answer, Call, Outcome, Promise};
use crate::broker::Broker;
use crate::cold_reads::ColdReads;
use crate::request_memory::{Held, RequestMemory};
use crate::wire::Response;
use futures_util::FutureExt;
use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long requests of a peer that is gone may take to be done.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Answers that are gathered before they are sent, though more are done.
const GATHERED_ANSWERS_MAX: usize = 64;
/// What the requests of a connection that wait for their answers may take of the memory for all, unless it is one alone.
const HELD_BYTES_MAX: usize = 8 << 20;
/// A request of up to so many bytes takes none of it while it is the only such request of its connection: others cannot keep
/// a client from its heartbeats.
const SMALL_REQUEST_BYTES: usize = 16 << 10;
/// How often a connection is looked at within the time after which it is idle.
const IDLE_LOOKS: u32 = 4;

/// Why a connection was closed by this side.
#[derive(Debug, Error)]
pub(super) enum Closed {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Request(String),
    #[error("the answer could not be sent: {0}")]
    Send(std::io::Error),
}

/// Serves a connection until the peer closes it or breaks the protocol.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    broker: Arc<Broker>,
    pool: Rc<BufferPool>,
    counters: &Counters,
    stop: watch::Receiver<bool>,
) -> Result<(), Closed> {
    let (answers, queue) = mpsc::channel(broker.config.connection_inflight_max);
    let (control, traffic) = (Pending::default(), Traffic::new(counters));
    let idle_max = Duration::from_millis(broker.config.connection_idle_max_ms);
    let mut answering = pin!(answer(&stream, queue, &broker.cold_reads, &control, &traffic));
    tokio::select! {
        // What was received is begun first, so that what is done at once leaves together.
        biased;
        ended = receive((&stream, peer), &broker, &pool, answers, (&control, &traffic), stop) => {
            ended?;
            // What was received whole is done, though the peer may take no answer any more, or the broker stops.
            let _ = timeout(DRAIN_MAX, answering).await;
            Ok(())
        }
        ended = &mut answering => ended,
        () = traffic.idle(idle_max) => {
            tracing::info!(%peer, "connection closed: idle for {} ms", idle_max.as_millis());
            Ok(())
        }
    }
}

async fn receive(
    (stream, peer): (&TcpStream, SocketAddr),
    broker: &Arc<Broker>,
    pool: &BufferPool,
    answers: mpsc::Sender<Queued>,
    (control, traffic): (&Pending, &Traffic<'_>),
    mut stop: watch::Receiver<bool>,
) -> Result<(), Closed> {
    let limits = FrameLimits {
        produce_bytes: broker.config.request_bytes_max,
        control_bytes: broker.config.control_request_bytes_max,
        stall_max: Duration::from_millis(broker.config.request_stall_max_ms),
    };
    let mut frames = FrameReader::new(stream, pool, &broker.receiving_bytes, limits);
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    loop {
        let next = async {
            // Room for the answer first: a client that reads none is not read from.
            let Ok(room) = answers.reserve().await else { return Ok(None) };
            let next = next(&mut frames, control, traffic).await?;
            Ok(next.map(|(head, frame)| (room, head, frame)))
        };
        let received = tokio::select! {
            biased;
            received = next => received,
            // Nothing more is received; what was is done and answered. The shard waits for that.
            _ = &mut stopped => return Ok(()),
        };
        let (room, head, frame) = match received {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(()),
            // Resets are how many clients leave.
            Err(FrameError::Io(err)) => {
                tracing::debug!(%peer, "connection lost: {err}");
                return Ok(());
            }
            Err(err) => return Err(err.into()),
        };
        traffic.moved();
        if traffic.gone.get() && api::is_fetch(head.api_key) {
            // Thousands may have been received; what changes something is done, and the rest is for nobody.
            frames.release();
            continue;
        }
        let begun = traffic.counters.begun(frame);
        traffic.at_work.set(true);
        // What is appended is so before the next request is received: only its outcome is waited for.
        let share = match api::is_begun_at_once(head.api_key) {
            true => Share::None,
            false => traffic.share(&broker.waiting_bytes, frame.len()).await.map_err(FrameError::from)?,
        };
        let held_bytes = &traffic.held_bytes;
        let outcome = api::begin(Call { broker, peer, held_bytes, frame }).await;
        frames.release();
        traffic.at_work.set(false);
        match outcome {
            Outcome::Answer(answer) => {
                control.add(matches!(answer, Answer::Control(_)));
                traffic.waiting.set(traffic.waiting.get() + 1);
                room.send((answer, share, begun));
            }
            Outcome::Silent { throttle_ms } => traffic.mute(throttle_ms),
            Outcome::Close(reason) => return Err(Closed::Request(reason)),
        }
    }
}

/// The next request, when its turn has come: until then it takes no memory that others wait for.
async fn next<'f>(
    frames: &'f mut FrameReader<'_>,
    control: &Pending,
    traffic: &Traffic<'_>,
) -> Result<Option<(Head, &'f mut [u8])>, FrameError> {
    let Some(head) = frames.head().await? else { return Ok(None) };
    traffic.until_unmuted().await;
    if api::is_begun_at_once(head.api_key) {
        control.none().await;
    } else {
        traffic.may_hold(head.length).await;
    }
    Ok(Some((head, frames.frame(&head).await?)))
}

/// An answer to come, what its request takes of the memory for requests, and when it was begun.
type Queued = (Answer, Share, Begun);

/// What a request takes of the memory for those that wait.
enum Share {
    None,
    /// None, as the one small request of its connection.
    Small,
    Held(Held),
}

/// What goes on, for telling a connection that is idle.
struct Traffic<'a> {
    counters: &'a Counters,
    /// Changes with every request that was received and whenever some of an answer left.
    moves: Cell<u64>,
    /// Answers that were not sent yet.
    waiting: Cell<usize>,
    /// Whether one of them is being sent.
    sending: Cell<bool>,
    /// Whether a request is being begun that has come whole.
    at_work: Cell<bool>,
    muted_until: Cell<Option<Instant>>,
    /// Whether the peer takes nothing any more.
    gone: Cell<bool>,
    /// Of the memory for requests that wait.
    held_bytes: Rc<Cell<usize>>,
    given_back: Notify,
    /// Whether one waits that takes none.
    small: Cell<bool>,
    small_done: Notify,
}

impl<'a> Traffic<'a> {
    fn new(counters: &'a Counters) -> Self {
        Self {
            counters,
            moves: Cell::default(),
            waiting: Cell::default(),
            sending: Cell::default(),
            at_work: Cell::default(),
            muted_until: Cell::default(),
            gone: Cell::default(),
            held_bytes: Rc::default(),
            given_back: Notify::new(),
            small: Cell::default(),
            small_done: Notify::new(),
        }
    }

    /// Waits until a request of so many bytes does not make its connection's share too large.
    async fn may_hold(&self, bytes: usize) {
        while self.held_bytes.get() > 0 && self.held_bytes.get() + bytes > HELD_BYTES_MAX {
            self.given_back.notified().await;
        }
    }

    async fn share(&self, memory: &RequestMemory, bytes: usize) -> std::io::Result<Share> {
        let is_small = bytes <= SMALL_REQUEST_BYTES;
        let mut held = pin!(memory.hold(bytes));
        loop {
            if is_small && !self.small.replace(true) {
                return Ok(Share::Small);
            }
            tokio::select! {
                biased;
                held = &mut held => {
                    let held = held?;
                    self.held_bytes.set(self.held_bytes.get() + held.bytes());
                    return Ok(Share::Held(held));
                }
                // The one before it is answered, before others give memory back.
                () = self.small_done.notified(), if is_small => {}
            }
        }
    }

    fn give_back(&self, share: Share) {
        match share {
            Share::None => {}
            Share::Small => {
                self.small.set(false);
                self.small_done.notify_one();
            }
            Share::Held(held) => {
                self.held_bytes.set(self.held_bytes.get() - held.bytes());
                self.given_back.notify_one();
            }
        }
    }

    fn moved(&self) {
        self.moves.set(self.moves.get().wrapping_add(1));
    }

    fn mute(&self, throttle_ms: u32) {
        if throttle_ms > 0 {
            self.muted_until.set(Some(Instant::now() + Duration::from_millis(throttle_ms.into())));
        }
    }

    /// Waits while the client is over its quota.
    async fn until_unmuted(&self) {
        while let Some(until) = self.muted_until.take() {
            sleep_until(until).await;
            self.moved();
        }
    }

    /// Waits until nothing has moved for `max`, and nothing is waited for but the client.
    async fn idle(&self, max: Duration) {
        let mut seen = self.moves.get();
        let mut still = 0;
        while still < IDLE_LOOKS {
            sleep(max / IDLE_LOOKS).await;
            let busy = self.at_work.get() || self.waiting.get() > 0 && !self.sending.get();
            let moves = self.moves.get();
            still = if busy || moves != seen { 0 } else { still + 1 };
            seen = moves;
        }
    }
}

/// Requests of the control plane that were received and are not done.
#[derive(Default)]
struct Pending {
    count: Cell<usize>,
    done: Notify,
}

impl Pending {
    fn add(&self, one: bool) {
        self.count.set(self.count.get() + usize::from(one));
    }

    fn remove(&self) {
        self.count.set(self.count.get() - 1);
        self.done.notify_one();
    }

    /// Waits until there is none. All on one thread: nothing comes between the look and the wait.
    async fn none(&self) {
        while self.count.get() > 0 {
            self.done.notified().await;
        }
    }
}

/// Sends the answers in order, until there are no more requests. Those that are done at the same time leave together:
/// what is gathered is sent before anything is waited for.
async fn answer(
    stream: &TcpStream,
    mut queue: mpsc::Receiver<Queued>,
    cold: &ColdReads,
    control: &Pending,
    traffic: &Traffic<'_>,
) -> Result<(), Closed> {
    let mut leaving = Leaving { out: Outbox::new(stream, cold), traffic, unsent: Vec::new() };
    loop {
        let next = match queue.try_recv() {
            Ok(next) => Some(next),
            Err(_) => {
                leaving.flush().await?;
                queue.recv().await
            }
        };
        let Some((answer, share, begun)) = next else { return Ok(()) };
        let response = match answer {
            Answer::Now(response) => Ok(response),
            Answer::Later(response) => leaving.wait(response).await?,
            Answer::Control(response) => {
                let response = leaving.wait(response).await?;
                control.remove();
                response
            }
        };
        traffic.give_back(share);
        match response {
            Ok(response) => leaving.put(response, begun).await?,
            Err(reason) => {
                leaving.flush().await?;
                return Err(Closed::Request(reason));
            }
        }
    }
}

/// Answers that are done.
struct Leaving<'a> {
    out: Outbox<'a>,
    traffic: &'a Traffic<'a>,
    /// What is to be counted when it was sent, of [`GATHERED_ANSWERS_MAX`] answers at most.
    unsent: Vec<(Begun, u64, Vec<i16>)>,
}

impl Leaving<'_> {
    /// Waits for an answer; what was done before it does not wait with it.
    async fn wait(&mut self, mut response: Promise) -> Result<Result<Response, String>, Closed> {
        if let Some(response) = (&mut response).now_or_never() {
            return Ok(response);
        }
        self.flush().await?;
        Ok(response.await)
    }

    async fn put(&mut self, response: Response, begun: Begun) -> Result<(), Closed> {
        self.traffic.mute(response.throttle_ms);
        // What it asked for is done all the same.
        if self.traffic.gone.get() {
            self.traffic.waiting.set(self.traffic.waiting.get() - 1);
            return Ok(());
        }
        self.traffic.sending.set(true);
        let sent = self.out.put(&response, || self.traffic.moved()).await;
        self.traffic.sending.set(false);
        self.traffic.waiting.set(self.traffic.waiting.get() - 1);
        self.unsent.push((begun, response.size_bytes(), response.errors));
        self.sent(sent)?;
        // A client whose next answer is always done would otherwise never have the last ones sent and counted.
        if self.unsent.len() >= GATHERED_ANSWERS_MAX { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        if self.unsent.is_empty() || self.traffic.gone.get() {
            return Ok(());
        }
        self.traffic.sending.set(true);
        let sent = self.out.flush(|| self.traffic.moved()).await;
        self.traffic.sending.set(false);
        self.sent(sent)?;
        for (begun, bytes, errors) in std::mem::take(&mut self.unsent) {
            if !self.traffic.gone.get() {
                self.traffic.counters.answered(begun, bytes, &errors);
            }
        }
        Ok(())
    }

    fn sent(&mut self, sent: std::io::Result<()>) -> Result<(), Closed> {
        match sent {
            Ok(()) => Ok(()),
            Err(err) if is_peers(&err) => {
                tracing::debug!("connection lost: {err}");
                self.traffic.gone.set(true);
                Ok(())
            }
            // Half an answer may have left, which nothing can follow: of records that cannot be read, or a failed store.
            Err(err) => Err(Closed::Send(err)),
        }
    }
}

/// Whether the peer, or the way to it, is gone.
fn is_peers(err: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable,
        NotConnected, TimedOut,
    };
    matches!(
        err.kind(),
        BrokenPipe
            | ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
            | TimedOut
    )
}
