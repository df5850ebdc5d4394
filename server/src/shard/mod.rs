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
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use tokio::sync::watch;

/// Starts a shard. It ends when `stop` turns true.
pub(crate) fn start(
    number: usize,
    listener: TcpListener,
    broker: Arc<Broker>,
    stop: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(format!("ringmain-shard-{number}")).spawn(move || {
        let mode = broker.store.io_mode();
        let counters = broker.counters.get(number).cloned().unwrap_or_default();
        if let Err(err) = run(mode, listen::serve(listener, broker, counters, stop)) {
            tracing::error!(shard = number, "the shard ended: {err}");
        }
    })
}

/// Runs on a ring where the probe allowed one, else on a plain runtime.
fn run(mode: IoMode, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    match mode {
        IoMode::Uring => tokio_uring::Runtime::new(&tokio_uring::builder())?.block_on(work),
        IoMode::Blocking => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, work)
        }
    }
}
