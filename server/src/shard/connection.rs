//! A connection: requests are begun in the order in which they come, and answered in that order. While
//! appends and fetches wait, appends after them are begun; all else is done in turn.

use super::frames::{BufferPool, FrameError, FrameLimits, FrameReader};
use super::send::send_response;
use crate::api::{self, Answer, Call, Outcome};
use crate::broker::Broker;
use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// How long requests of a peer that is gone may take to be done.
const DRAIN_MAX: Duration = Duration::from_secs(5);

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
) -> Result<(), Closed> {
    let (answers, queue) = mpsc::channel(broker.config.connection_inflight_max);
    let control = Pending::default();
    let mut answering = pin!(answer(&stream, queue, &control));
    tokio::select! {
        ended = receive(&stream, peer, &broker, &pool, answers, &control) => {
            ended?;
            // What was received whole is done, though the peer may take no answer any more.
            let _ = timeout(DRAIN_MAX, answering).await;
            Ok(())
        }
        ended = &mut answering => ended,
    }
}

async fn receive(
    stream: &TcpStream,
    peer: SocketAddr,
    broker: &Arc<Broker>,
    pool: &BufferPool,
    answers: mpsc::Sender<Answer>,
    control: &Pending,
) -> Result<(), Closed> {
    let limits = FrameLimits {
        produce_bytes: broker.config.request_bytes_max,
        control_bytes: broker.config.control_request_bytes_max,
    };
    let mut frames = FrameReader::new(stream, pool, limits);
    loop {
        // Room for the answer first: a client that reads none is not read from.
        let Ok(room) = answers.reserve().await else { return Ok(()) };
        let frame = match frames.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            // Resets are how many clients leave.
            Err(FrameError::Io(err)) => {
                tracing::debug!(%peer, "connection lost: {err}");
                return Ok(());
            }
            Err(err) => return Err(err.into()),
        };
        if api::is_begun_at_once(frame) {
            control.none().await;
        }
        match api::begin(Call { broker, peer, frame }) {
            Outcome::Answer(answer) => {
                control.add(matches!(answer, Answer::Control(_)));
                room.send(answer);
            }
            Outcome::Silent => {}
            Outcome::Close(reason) => return Err(Closed::Request(reason)),
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

/// Sends the answers in order, until there are no more requests.
async fn answer(
    stream: &TcpStream,
    mut queue: mpsc::Receiver<Answer>,
    control: &Pending,
) -> Result<(), Closed> {
    let mut gone = false;
    while let Some(answer) = queue.recv().await {
        let response = match answer {
            Answer::Now(response) => response,
            Answer::Later(response) => response.await.map_err(Closed::Request)?,
            Answer::Control(response) => {
                let response = response.await.map_err(Closed::Request)?;
                control.remove();
                response
            }
        };
        if gone {
            continue;
        }
        match send_response(stream, &response).await {
            Ok(()) => {}
            Err(err) if err.kind() == std::io::ErrorKind::UnexpectedEof => return Err(Closed::Send(err)),
            Err(err) => {
                tracing::debug!("connection lost: {err}");
                gone = true;
            }
        }
    }
    Ok(())
}
