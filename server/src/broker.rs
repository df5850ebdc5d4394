//! The broker: everything that requests work with, and its start and end.

use crate::config::{Config, ConfigError, Endpoint};
use crate::group::{Groups, Limits, OffsetStore, Retention};
use crate::metadata::{Catalog, Controller, TopicConfig};
use crate::producer_ids::ProducerIds;
use crate::shard;
use ringmain_engine::{OpenError, Store, StoreConfig};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use thiserror::Error;
use tokio::sync::watch;

/// Why the broker cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The metadata cannot be read.
    #[error("{0}")]
    Metadata(String),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not, and what to do.
        reason: String,
    },
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// What requests work with.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) config: Config,
    pub(crate) endpoint: Endpoint,
    pub(crate) store: Arc<Store>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) controller: Controller,
    pub(crate) groups: Arc<Groups>,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) connections: AtomicUsize,
}

/// A broker at work. Dropped without [`Running::stop`] it counts as crashed.
#[derive(Debug)]
pub struct Running {
    /// There until it is dropped.
    broker: Option<Arc<Broker>>,
    address: SocketAddr,
    endpoint: Endpoint,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    control: Option<JoinHandle<()>>,
}

impl Running {
    /// Opens the data, and serves it.
    ///
    /// # Errors
    /// The configuration, the data directory or the address cannot be used.
    pub fn start(config: Config) -> Result<Self, StartError> {
        // First what a second broker would trip over: the port, then the lock of the data.
        let shards = match config.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            shards => shards,
        };
        let listen =
            |err: io::Error| StartError::Listen { address: config.listen, reason: listen_reason(&err) };
        let listeners = shard::bind(config.listen, shards).map_err(listen)?;
        let address = listeners.first().and_then(|one| one.local_addr().ok()).unwrap_or(config.listen);
        let endpoint = config.advertise(address)?;
        let store_config = StoreConfig { io_mode: config.io_mode, log: config.log, ..config.store.clone() };
        let store = Arc::new(Store::open(&config.data_dir, store_config)?);
        tracing::info!(io = store.io_mode().name(), data = %config.data_dir.display(), "store opened");
        if !store.was_clean() {
            tracing::warn!(
                epoch = store.epoch_floor().0,
                "all logs were checked; the leader epoch was raised"
            );
        }
        let metadata = |err: &dyn std::fmt::Display| StartError::Metadata(err.to_string());
        let catalog = Catalog::open(Arc::clone(&store), TopicConfig::defaults(&config))
            .map_err(|err| metadata(&err))?;
        let catalog = Arc::new(catalog);
        let offsets = OffsetStore::open(Arc::clone(&catalog))
            .map_err(|err| StartError::Metadata(format!("committed offsets cannot be read: {err}")))?;
        let offsets = Arc::new(offsets);
        let forget = {
            let offsets = Arc::clone(&offsets);
            move |topic: &str| offsets.forget_topic(topic).map_err(|err| err.to_string())
        };
        let (controller, control) =
            Controller::start(Arc::clone(&catalog), forget, config.control_queue_max, config.partitions_max)
                .map_err(StartError::Thread)?;
        let limits = Limits {
            session_min_ms: config.group_session_min_ms,
            session_max_ms: config.group_session_max_ms,
            initial_delay_ms: config.group_initial_delay_ms,
            members_max: config.group_members_max,
            groups_max: config.groups_max,
        };
        let retention = Retention {
            offsets_ms: config.offsets_retention_minutes.saturating_mul(60_000),
            check_interval_ms: config.offsets_retention_check_ms,
            rewrite_records_min: config.offsets_rewrite_records_min,
        };
        let partitions = config.offsets_partitions;
        let groups =
            Groups::new(Arc::clone(&catalog), controller.clone(), offsets, limits, retention, partitions);
        let producer_ids = ProducerIds::new(config.producer_id_block);
        let connections = AtomicUsize::new(0);
        let groups = Arc::new(groups);
        let broker = Arc::new(Broker {
            config,
            endpoint,
            store,
            catalog,
            controller,
            groups,
            producer_ids,
            connections,
        });
        let (stop, stopped) = watch::channel(false);
        let mut threads =
            vec![timer(Arc::clone(&broker.groups), stopped.clone()).map_err(StartError::Thread)?];
        for (number, listener) in listeners.into_iter().enumerate() {
            let shard = shard::start(number, listener, Arc::clone(&broker), stopped.clone());
            threads.push(shard.map_err(StartError::Thread)?);
        }
        let endpoint = broker.endpoint.clone();
        Ok(Self { broker: Some(broker), address, endpoint, stop, threads, control: Some(control) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients are told.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Ends all connections, makes everything durable and leaves the mark of a clean stop.
    ///
    /// # Errors
    /// Something could not be made durable.
    pub fn stop(mut self) -> io::Result<()> {
        self.end_threads();
        self.broker.as_ref().map_or(Ok(()), |broker| broker.store.close())
    }

    fn end_threads(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_threads();
        // The controller's thread ends once nobody can ask it for anything.
        self.broker = None;
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}

/// The thread that keeps the groups' time.
fn timer(groups: Arc<Groups>, mut stop: watch::Receiver<bool>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("ringmain-timer".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = Arc::clone(&groups).run_timer() => {}
                () = groups.run_housekeeping() => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    })
}

fn listen_reason(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there; stop it, or choose another port with --listen".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; choose another with --listen".into()
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need privileges; choose another with --listen".into()
        }
        _ => err.to_string(),
    }
}
