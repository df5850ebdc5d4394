//! The broker's own HTTP: metrics for Prometheus, and whether it lives and is ready. On a thread of its own, never on
//! a shard; it listens before the data is opened, so that a long start can be told from a dead one.

pub(crate) mod counters;
mod scrape;

use crate::broker::Broker;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Connections that are served at once; others wait to be accepted.
const CONNECTIONS_MAX: usize = 32;
/// A connection is for one request, and no longer than this.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the head of a request may take.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Pause after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// What Prometheus is told the metrics are.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the broker is doing.
#[derive(Debug, Default)]
enum Phase {
    #[default]
    Starting,
    Serving(Weak<Broker>),
    Stopping,
}

/// The thread that serves it.
#[derive(Debug)]
pub(crate) struct Admin {
    phase: Arc<RwLock<Phase>>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Listens and serves.
    pub(crate) fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let phase = Arc::new(RwLock::new(Phase::Starting));
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = {
            let phase = Arc::clone(&phase);
            Builder::new().name("ringmain-admin".into()).spawn(move || {
                if let Err(err) = runtime.block_on(serve(listener, phase, stopped)) {
                    tracing::error!("metrics and health are not served any more: {err}");
                }
            })?
        };
        tracing::info!(%address, "metrics and health are served");
        Ok(Self { phase, address, stop, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn serving(&self, broker: &Arc<Broker>) {
        self.enter(Phase::Serving(Arc::downgrade(broker)));
    }

    pub(crate) fn stopping(&self) {
        self.enter(Phase::Stopping);
    }

    fn enter(&self, phase: Phase) {
        *self.phase.write().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: TcpListener,
    phase: Arc<RwLock<Phase>>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = async {
                // Room first: who finds none waits in the kernel's queue.
                let room = Arc::clone(&room).acquire_owned().await;
                (room, listener.accept().await)
            } => accepted,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let (stream, room) = match accepted {
            (room, Ok((stream, _))) => (stream, room),
            (_, Err(err)) => {
                tracing::warn!("a connection for metrics or health could not be accepted: {err}");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let phase = Arc::clone(&phase);
        tokio::spawn(async move {
            let _room = room;
            let service = service_fn(|request| {
                let answer = answer(&request, &phase);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).keep_alive(false);
            let served = http.max_buf_size(HEAD_BYTES_MAX).serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(err)) = timeout(CONNECTION_TIME_MAX, served).await {
                tracing::debug!("a connection for metrics or health ended: {err}");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, phase: &RwLock<Phase>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    let broker = match &*phase.read().unwrap_or_else(PoisonError::into_inner) {
        Phase::Starting => Err("starting\n"),
        Phase::Stopping => Err("stopping\n"),
        Phase::Serving(broker) => broker.upgrade().ok_or("stopping\n"),
    };
    match (request.uri().path(), broker) {
        ("/livez", _) => plain(StatusCode::OK, "alive\n"),
        ("/readyz", Ok(broker)) => match broker.store.failure() {
            None => plain(StatusCode::OK, "ready\n"),
            Some(failed) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{failed}\n")),
        },
        ("/metrics", Ok(broker)) => match scrape::text(broker) {
            Ok(text) => {
                let mut response = plain(StatusCode::OK, text);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
                response
            }
            Err(err) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {err}\n")),
        },
        ("/readyz" | "/metrics", Err(why)) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n"),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: broker\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn it_lives_while_it_starts_and_stops_and_is_not_ready() {
        let admin = Admin::start("127.0.0.1:0".parse().unwrap()).unwrap();
        for says in ["starting", "stopping"] {
            for path in ["/readyz", "/metrics"] {
                let answer = get(admin.address(), path);
                assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(says), "{path}: {answer}");
            }
            let answer = get(admin.address(), "/livez");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            admin.stopping();
        }
    }
}
