//! Shards: one thread each, with its own runtime, listener and connections. A connection lives and
//! dies on its shard.

mod connection;
mod frames;
mod listen;
mod send;

pub(crate) use listen::bind;

use crate::broker::Broker;
use ringmain_engine::IoMode;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use tokio::sync::watch;

/// Starts a shard. It ends when `stop` turns true.
///
/// # Errors
/// It has no thread or no runtime.
pub(crate) fn start(
    number: usize,
    listener: TcpListener,
    broker: Arc<Broker>,
    stop: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let (built, is_built) = mpsc::sync_channel(1);
    let thread = Builder::new().name(format!("ringmain-shard-{number}")).spawn(move || {
        let runtime = match Runtime::new(broker.store.io_mode()) {
            Ok(runtime) => runtime,
            Err(err) => return drop(built.send(Err(err))),
        };
        // Whoever starts it waits for this.
        let _ = built.send(Ok(()));
        let counters = broker.counters.get(number).cloned().unwrap_or_default();
        if let Err(err) = runtime.block_on(listen::serve(listener, broker, counters, stop)) {
            tracing::error!(shard = number, "the shard ended: {err}");
        }
    })?;
    is_built.recv().map_err(io::Error::other)??;
    Ok(thread)
}

/// On a ring where the probe allowed one and it can be had, else a plain one.
enum Runtime {
    Ring(tokio_uring::Runtime),
    Plain(tokio::runtime::Runtime),
}

impl Runtime {
    fn new(mode: IoMode) -> io::Result<Self> {
        if mode == IoMode::Uring {
            match tokio_uring::Runtime::new(&tokio_uring::builder()) {
                Ok(runtime) => return Ok(Self::Ring(runtime)),
                Err(err) => tracing::warn!("a shard has no ring and does without: {err}"),
            }
        }
        Ok(Self::Plain(tokio::runtime::Builder::new_current_thread().enable_all().build()?))
    }

    fn block_on(self, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        match self {
            Self::Ring(runtime) => runtime.block_on(work),
            Self::Plain(runtime) => tokio::task::LocalSet::new().block_on(&runtime, work),
        }
    }
}
