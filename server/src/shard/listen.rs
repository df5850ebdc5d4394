//! Listening: every shard has a socket of its own on the same port, and the kernel spreads
//! connections over them.

use super::connection;
use super::frames::BufferPool;
use crate::admin::counters::Counters;
use crate::broker::Broker;
use crate::clock;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::cmp::Ordering::{Equal, Greater, Less};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;
/// Silence after which the kernel asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long a stop waits for answers that are under way.
const STOP_MAX: Duration = Duration::from_secs(1);
/// How often it looks whether they are.
const STOP_STEP: Duration = Duration::from_millis(5);
/// Pause after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

fn socket(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listener for each shard.
///
/// # Errors
/// The address cannot be had, or another process listens there.
pub(crate) fn bind(address: SocketAddr, shards: usize) -> io::Result<Vec<TcpListener>> {
    // A shared port could be shared with another broker of the same user: without sharing, the
    // kernel tells.
    if address.port() != 0 {
        socket(address, false)?.listen(1)?;
    }
    let mut address = address;
    let mut listeners = Vec::with_capacity(shards);
    for _ in 0..shards {
        let socket = socket(address, true)?;
        socket.listen(BACKLOG)?;
        let listener: TcpListener = socket.into();
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Accepts connections until told to stop.
pub(super) async fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    counters: Arc<Counters>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let pool = Rc::new(BufferPool::new(broker.config.buffer_pool_bytes));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Its sender is dropped only with the broker: that, too, means stop.
            _ = stop.wait_for(|stop| *stop) => {
                drop(listener);
                drain(&broker).await;
                return Ok(());
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                if let Some(left_out) = broker.crowded.take(clock::monotonic_ms()) {
                    tracing::warn!(left_out, "a connection could not be accepted: {err}");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        counters.accepted();
        let (guard, open, from_there) = Open::count(&broker, peer.ip());
        let config = broker.catalog.config();
        let (max, named) = match config.connections_max.cmp(&config.connections_bound) {
            Less | Equal => (config.connections_max, "max.connections"),
            Greater => (config.connections_bound, "what the limit of open files leaves for them"),
        };
        if open > max {
            if let Some(left_out) = broker.crowded.take(clock::monotonic_ms()) {
                let open = open - 1;
                tracing::warn!(%peer, left_out, "refused: {open} connections are open, which is {named}");
            }
            counters.refused();
            continue;
        }
        if from_there > config.connections_per_address_max {
            if let Some(left_out) = broker.crowded.take(clock::monotonic_ms()) {
                let others = from_there - 1;
                tracing::warn!(%peer, left_out, "refused: {others} connections of its address are open, which is max.connections.per.ip");
            }
            counters.refused();
            continue;
        }
        // Both only make things better: a socket that refuses them serves all the same.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        if broker.config.unsent_bytes_max > 0 {
            // A short queue stays in the processor's cache; what is under way is not bounded by it.
            let _ = SockRef::from(&stream).set_tcp_notsent_lowat(broker.config.unsent_bytes_max);
        }
        let (broker, pool) = (Arc::clone(&broker), Rc::clone(&pool));
        let (counters, stop) = (Arc::clone(&counters), stop.clone());
        tokio::task::spawn_local(async move {
            let _guard = guard;
            tracing::debug!(%peer, "connected");
            match connection::serve(stream, peer, Arc::clone(&broker), pool, &counters, stop).await {
                Ok(()) => tracing::debug!(%peer, "disconnected"),
                Err(reason) => {
                    counters.broken();
                    if let Some(left_out) = broker.broken.take(clock::monotonic_ms()) {
                        tracing::warn!(%peer, left_out, "connection closed: {reason}");
                    }
                }
            }
        });
    }
}

/// Waits until what is under way on all connections is answered, but not for ever.
async fn drain(broker: &Broker) {
    if !broker.draining.load(Ordering::Acquire) {
        return;
    }
    let deadline = tokio::time::Instant::now() + STOP_MAX;
    while broker.connections.load(Ordering::Acquire) > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(STOP_STEP).await;
    }
}

/// Counts a connection for as long as it is there.
struct Open(Arc<Broker>, IpAddr);

impl Open {
    /// Counts one more: all that are open then, and those of its address.
    fn count(broker: &Arc<Broker>, address: IpAddr) -> (Self, usize, usize) {
        let open = broker.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let mut all = broker.connections_by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let from_there = all.entry(address).or_default();
        *from_there += 1;
        (Self(Arc::clone(broker), address), open, *from_there)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        let mut all = self.0.connections_by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(from_there) = all.get_mut(&self.1) {
            *from_there -= 1;
            if *from_there == 0 {
                all.remove(&self.1);
            }
        }
    }
}
