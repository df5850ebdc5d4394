//! One connection to one broker: many requests in flight, matched to responses by number.
//!
//! A writer task and a reader task own the two halves of the socket, so a call that is dropped
//! half-way never leaves half a frame on the wire. Whatever ends the connection ends it for every
//! request in flight, with the reason.

use std::collections::HashMap;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::ConnectionConfig;
use crate::error::{CallError, CloseReason, ConnectError};
use crate::wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{self, Api, BrokerError, FRAME_LENGTH_BYTES};

/// Bytes asked of the socket at a time while no large response is under way.
const READ_BYTES: usize = 64 * 1024;
/// Frames up to this size are joined into one write.
const JOINED_WRITE_BYTES: usize = 64 * 1024;
/// The version of ApiVersions tried first; brokers that are older say so in version 0.
const API_VERSIONS_FIRST: i16 = 3;

/// An open connection. Clones share it; it closes when the last is dropped.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Bytes>,
    config: ConnectionConfig,
    /// By API key, what the broker serves.
    versions: HashMap<i16, (i16, i16)>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close(CloseReason::Local);
    }
}

#[derive(Debug)]
struct Shared {
    address: String,
    state: Mutex<State>,
    in_flight: Arc<Semaphore>,
    next_number: AtomicI32,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<i32, Pending>,
    closed: Option<CloseReason>,
    tasks: Vec<AbortHandle>,
}

#[derive(Debug)]
struct Pending {
    reply: oneshot::Sender<Result<Bytes, CallError>>,
    _permit: OwnedSemaphorePermit,
}

/// A request that has been handed to the connection, in order; its response is still to come.
#[derive(Debug)]
pub struct Reply<R: Api> {
    shared: Arc<Shared>,
    receiver: oneshot::Receiver<Result<Bytes, CallError>>,
    version: i16,
    sent: Instant,
    limit: Duration,
    request: PhantomData<fn() -> R>,
}

impl Connection {
    /// Connects to `address` (`HOST:PORT`) and asks what the broker serves.
    ///
    /// # Errors
    /// When nobody listens there, or not a broker, or it does not answer in time.
    pub async fn connect(address: &str, config: &ConnectionConfig) -> Result<Self, ConnectError> {
        timeout(config.connect_timeout, Self::open(address, config)).await.map_err(|_| {
            ConnectError::TimedOut { address: address.to_owned(), after: config.connect_timeout }
        })?
    }

    async fn open(address: &str, config: &ConnectionConfig) -> Result<Self, ConnectError> {
        let stream = TcpStream::connect(address)
            .await
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|source| ConnectError::Io { address: address.to_owned(), source: Arc::new(source) })?;
        let in_flight_max = config.in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            state: Mutex::default(),
            in_flight: Arc::new(Semaphore::new(in_flight_max)),
            next_number: AtomicI32::new(0),
        });
        // One place per request in flight: handing over a frame never waits longer than that.
        let (outgoing, frames) = mpsc::channel(in_flight_max);
        let (read_half, write_half) = stream.into_split();
        let writer = tokio::spawn(write_frames(Arc::clone(&shared), write_half, frames));
        let reader = tokio::spawn(read_frames(Arc::clone(&shared), read_half, config.frame_bytes_max));
        shared.lock().tasks = vec![writer.abort_handle(), reader.abort_handle()];
        let mut inner = Inner { shared, outgoing, config: config.clone(), versions: HashMap::new() };
        inner.versions = inner.ask_versions().await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The address it is connected to.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.shared.address
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.shared.lock().closed.is_some()
    }

    /// The version that requests of type `R` are sent in.
    ///
    /// # Errors
    /// When the broker does not serve them, or only in versions that this client does not speak.
    pub fn version_of<R: Api>(&self) -> Result<i16, CallError> {
        let address = || self.address().to_owned();
        let Some(&(broker_min, broker_max)) = self.inner.versions.get(&R::KEY) else {
            return Err(CallError::Unserved { address: address(), api: R::NAME });
        };
        let version = broker_max.min(R::MAX);
        if version < broker_min.max(R::MIN) {
            return Err(CallError::Version {
                address: address(),
                api: R::NAME,
                broker_min,
                broker_max,
                client_min: R::MIN,
                client_max: R::MAX,
            });
        }
        Ok(version)
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call<R: Api>(&self, request: &R) -> Result<R::Response, CallError> {
        self.submit(request).await?.wait().await
    }

    /// As [`call`](Self::call), for requests that the broker holds back for up to `held`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call_held<R: Api>(&self, request: &R, held: Duration) -> Result<R::Response, CallError> {
        self.submit_held(request, held).await?.wait().await
    }

    /// Hands over a request without waiting for its response. Requests go out in the order in
    /// which this returns.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn submit<R: Api>(&self, request: &R) -> Result<Reply<R>, CallError> {
        self.inner.submit(request, self.version_of::<R>()?).await
    }

    /// As [`submit`](Self::submit), for requests that the broker holds back for up to `held`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn submit_held<R: Api>(&self, request: &R, held: Duration) -> Result<Reply<R>, CallError> {
        let mut reply = self.submit(request).await?;
        reply.limit += held;
        Ok(reply)
    }

    /// Sends a request that has no response (Produce with acks 0).
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send_unanswered<R: Api>(&self, request: &R) -> Result<(), CallError> {
        let version = self.version_of::<R>()?;
        let shared = &self.inner.shared;
        let frame = self.inner.encode(request, version, shared.number())?;
        let place = self.inner.outgoing.reserve().await;
        place.map_err(|_| shared.closed_error())?.send(frame);
        Ok(())
    }
}

impl Inner {
    fn encode<R: Api>(&self, request: &R, version: i16, number: i32) -> Result<Bytes, CallError> {
        wire::encode_frame(request, version, number, &self.config.client_id).map_err(|source| {
            CallError::Encode {
                address: self.shared.address.clone(),
                api: R::NAME,
                version,
                source: Arc::new(source),
            }
        })
    }

    async fn submit<R: Api>(&self, request: &R, version: i16) -> Result<Reply<R>, CallError> {
        let shared = &self.shared;
        let limit = self.config.request_timeout;
        let sent = Instant::now();
        let number = shared.number();
        let frame = self.encode(request, version, number)?;
        let ready = async {
            let permit = Arc::clone(&shared.in_flight).acquire_owned().await;
            let permit = permit.map_err(|_| shared.closed_error())?;
            let place = self.outgoing.reserve().await;
            Ok((permit, place.map_err(|_| shared.closed_error())?))
        };
        let (permit, place) = match timeout(limit, ready).await {
            Ok(ready) => ready?,
            Err(_) => return Err(shared.time_out(R::NAME, limit)),
        };
        let (reply, receiver) = oneshot::channel();
        {
            let mut state = shared.lock();
            if state.closed.is_some() {
                drop(state);
                return Err(shared.closed_error());
            }
            let pending = Pending { reply, _permit: permit };
            state.pending.insert(number, pending);
        }
        place.send(frame);
        Ok(Reply { shared: Arc::clone(shared), receiver, version, sent, limit, request: PhantomData })
    }

    async fn ask_versions(&self) -> Result<HashMap<i16, (i16, i16)>, ConnectError> {
        let handshake = |source| ConnectError::Handshake { address: self.shared.address.clone(), source };
        let request = ApiVersionsRequest::default()
            .with_client_software_name(wire::string("ringmain"))
            .with_client_software_version(wire::string(env!("CARGO_PKG_VERSION")));
        let reply = self.submit(&request, API_VERSIONS_FIRST).await.map_err(handshake)?;
        let bytes = reply.bytes().await.map_err(handshake)?;
        let mut response = self.decode_versions(bytes, API_VERSIONS_FIRST).map_err(handshake)?;
        if wire::broker_error(response.error_code) == Some(BrokerError::UnsupportedVersion) {
            let request = ApiVersionsRequest::default();
            let reply = self.submit(&request, 0).await.map_err(handshake)?;
            let bytes = reply.bytes().await.map_err(handshake)?;
            response = self.decode_versions(bytes, 0).map_err(handshake)?;
        }
        if let Some(code) = wire::broker_error(response.error_code) {
            return Err(ConnectError::Refused { address: self.shared.address.clone(), code });
        }
        let served = response.api_keys.iter();
        Ok(served.map(|api| (api.api_key, (api.min_version, api.max_version))).collect())
    }

    fn decode_versions(&self, frame: Bytes, version: i16) -> Result<ApiVersionsResponse, CallError> {
        // A broker that does not know the version asked for answers in version 0.
        let code_at = FRAME_LENGTH_BYTES;
        let code = frame.get(code_at..code_at + 2);
        let unsupported = BrokerError::UnsupportedVersion.code().to_be_bytes();
        let version = if code == Some(&unsupported) { 0 } else { version };
        decode::<ApiVersionsRequest>(&self.shared.address, frame, version)
    }
}

fn decode<R: Api>(address: &str, frame: Bytes, version: i16) -> Result<R::Response, CallError> {
    wire::decode_response::<R>(frame, version).map_err(|source| CallError::Decode {
        address: address.to_owned(),
        api: R::NAME,
        version,
        source: Arc::new(source),
    })
}

impl<R: Api> Reply<R> {
    /// Waits for the response. A response that does not come in time ends the connection: those
    /// behind it cannot come either.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn wait(self) -> Result<R::Response, CallError> {
        let shared = Arc::clone(&self.shared);
        let version = self.version;
        let frame = self.bytes().await?;
        decode::<R>(&shared.address, frame, version)
    }

    async fn bytes(self) -> Result<Bytes, CallError> {
        match timeout_at(self.sent + self.limit, self.receiver).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.shared.closed_error()),
            Err(_) => Err(self.shared.time_out(R::NAME, self.limit)),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, so the state is whole even behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> i32 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    fn closed_error(&self) -> CallError {
        CallError::Closed {
            address: self.address.clone(),
            reason: self.lock().closed.clone().unwrap_or(CloseReason::Local),
        }
    }

    fn time_out(&self, api: &'static str, after: Duration) -> CallError {
        self.close(CloseReason::TimedOut);
        CallError::TimedOut { address: self.address.clone(), api, after }
    }

    fn close(&self, reason: CloseReason) {
        let mut state = self.lock();
        if state.closed.is_some() {
            return;
        }
        tracing::debug!(address = self.address, %reason, "connection ended");
        state.closed = Some(reason.clone());
        let pending = std::mem::take(&mut state.pending);
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        self.in_flight.close();
        for entry in pending.into_values() {
            // Nobody listens any more when the call was dropped.
            let _ = entry
                .reply
                .send(Err(CallError::Closed { address: self.address.clone(), reason: reason.clone() }));
        }
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Hands a response to whoever asked for it.
    fn answer(&self, frame: Bytes) -> Result<(), CloseReason> {
        let number = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
        let number =
            number.ok_or(CloseReason::FrameSize { bytes: frame.len() as i64, limit: FRAME_LENGTH_BYTES })?;
        let entry = self.lock().pending.remove(&number);
        let entry = entry.ok_or(CloseReason::Unasked(number))?;
        // Nobody listens any more when the call was dropped.
        let _ = entry.reply.send(Ok(frame));
        Ok(())
    }
}

async fn write_frames(shared: Arc<Shared>, mut socket: OwnedWriteHalf, mut frames: mpsc::Receiver<Bytes>) {
    let mut joined = BytesMut::with_capacity(JOINED_WRITE_BYTES);
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        // Small frames that wait already go out together.
        while let Some(frame) = next.take() {
            if joined.len() + frame.len() > JOINED_WRITE_BYTES {
                next = Some(frame);
                break;
            }
            joined.extend_from_slice(&frame);
            next = frames.try_recv().ok();
        }
        let mut result = socket.write_all(&joined).await;
        joined.clear();
        if let (Ok(()), Some(frame)) = (&result, next) {
            result = socket.write_all(&frame).await;
        }
        if let Err(error) = result {
            return shared.close(CloseReason::Io(Arc::new(error)));
        }
    }
}

async fn read_frames(shared: Arc<Shared>, mut socket: OwnedReadHalf, frame_bytes_max: usize) {
    let mut buffer = BytesMut::new();
    let reason = loop {
        match read_frame(&mut socket, &mut buffer, frame_bytes_max).await {
            Ok(frame) => {
                if let Err(reason) = shared.answer(frame) {
                    break reason;
                }
            }
            Err(reason) => break reason,
        }
    };
    shared.close(reason);
}

async fn read_frame(
    socket: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    frame_bytes_max: usize,
) -> Result<Bytes, CloseReason> {
    let mut want = FRAME_LENGTH_BYTES;
    loop {
        if let Some(length) = buffer.first_chunk().map(|bytes| i32::from_be_bytes(*bytes)) {
            let bytes = usize::try_from(length).unwrap_or(usize::MAX);
            if bytes > frame_bytes_max {
                return Err(CloseReason::FrameSize { bytes: i64::from(length), limit: frame_bytes_max });
            }
            want = FRAME_LENGTH_BYTES + bytes;
            if buffer.len() >= want {
                buffer.advance(FRAME_LENGTH_BYTES);
                return Ok(buffer.split_to(bytes).freeze());
            }
        }
        buffer.reserve((want - buffer.len()).max(READ_BYTES));
        match socket.read_buf(buffer).await {
            Ok(0) => return Err(CloseReason::Eof),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CloseReason::Io(Arc::new(error))),
        }
    }
}
