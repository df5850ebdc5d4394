//! The broker: everything that requests work with, and its start and end.

use crate::admin::Admin;
use crate::admin::counters::Counters;
use crate::blocking::{Blocking, BlockingThreads};
use crate::clock;
use crate::cold_reads::ColdReads;
use crate::config::{Config, ConfigError, Endpoint};
use crate::fetch_sessions::FetchSessions;
use crate::group::{Groups, Limits, OffsetStore, Retention};
use crate::line_budget::LineBudget;
use crate::metadata::{Catalog, Controller};
use crate::producer_ids::ProducerIds;
use crate::quotas::Use;
use crate::request_memory::RequestMemory;
use crate::shard;
use ringmain_engine::{OpenError, Store, StoreConfig};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

/// Deletions of records that are under way at once: they sync.
const RECORD_DELETIONS_MAX: usize = 4;
/// Threads for the housekeeping of groups.
const HOUSEKEEPING_THREADS: usize = 1;

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
    /// What it was started with; what can change while it runs is in [`Catalog::config`].
    pub(crate) config: Config,
    pub(crate) endpoint: Endpoint,
    pub(crate) store: Arc<Store>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) controller: Controller,
    pub(crate) groups: Arc<Groups>,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) fetch_sessions: Arc<FetchSessions>,
    pub(crate) connections: AtomicUsize,
    /// Whether a stop waits for what is under way.
    pub(crate) draining: AtomicBool,
    /// Of each shard.
    pub(crate) counters: Vec<Arc<Counters>>,
    /// Lines of the log on produce requests that were refused.
    pub(crate) refusals: LineBudget,
    /// Lines of the log on connections that were too many.
    pub(crate) crowded: LineBudget,
    /// Connections by the address that they come from.
    pub(crate) connections_by_address: Mutex<HashMap<IpAddr, usize>>,
    pub(crate) blocking: Blocking,
    pub(crate) cold_reads: ColdReads,
    /// Searches by time that may be under way.
    pub(crate) timestamp_scans: Semaphore,
    /// Batches whose codec or timestamps may be changed or checked at once.
    pub(crate) recompressions: Semaphore,
    /// Deletions of records that may be under way.
    pub(crate) record_deletions: Semaphore,
    /// Lines of the log on connections that were closed for what they sent.
    pub(crate) broken: LineBudget,
    /// Bytes that large requests may still take while they are received; see `queued.max.request.bytes`.
    pub(crate) receiving_bytes: RequestMemory,
    /// The same for requests that wait for their answers. Apart, so that who holds half a request open does not
    /// keep others from asking.
    pub(crate) waiting_bytes: RequestMemory,
}

impl Broker {
    /// When a request was begun, if anybody wants to know.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.catalog.quotas().any().then(Instant::now)
    }

    /// For how long a client is to wait that used `amount` now, and a thread since `began`.
    pub(crate) fn throttle_ms(&self, client_id: &str, kind: Use, amount: u64, began: Option<Instant>) -> u32 {
        let Some(began) = began else { return 0 };
        let by_bytes = self.catalog.quotas().charge(client_id, kind, amount, clock::monotonic_ms());
        by_bytes.max(self.throttle_for_time_ms(client_id, began.elapsed()))
    }

    /// For how long a client is to wait for whose request a thread was at work for so long.
    pub(crate) fn throttle_for_time_ms(&self, client_id: &str, took: Duration) -> u32 {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.catalog.quotas().charge(client_id, Use::Request, nanos, clock::monotonic_ms())
    }
}

/// A broker at work. Dropped without [`Running::stop`] it counts as crashed.
#[derive(Debug)]
pub struct Running {
    /// There until it is dropped.
    broker: Option<Arc<Broker>>,
    address: SocketAddr,
    admin: Option<Admin>,
    endpoint: Endpoint,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    /// There until the others have ended, who use them.
    blocking: Option<BlockingThreads>,
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
        let admin = match config.admin {
            None => None,
            Some(address) => Some(Admin::start(address).map_err(|err| StartError::Listen {
                address,
                reason: listen_reason(&err).replace("--listen", "--admin"),
            })?),
        };
        let open_files_max =
            if config.open_segments_max == 0 { usize::MAX } else { config.open_segments_max };
        let store_config =
            StoreConfig { io_mode: config.io_mode, log: config.log, open_files_max, ..config.store.clone() };
        let store = Arc::new(Store::open(&config.data_dir, store_config)?);
        tracing::info!(io = store.io_mode().name(), data = %config.data_dir.display(), "store opened");
        if !store.was_clean() {
            tracing::warn!(
                epoch = store.epoch_floor().0,
                "all logs were checked; the leader epoch was raised"
            );
        }
        let metadata = |err: &dyn std::fmt::Display| StartError::Metadata(err.to_string());
        let catalog = Catalog::open(Arc::clone(&store), config.clone()).map_err(|err| metadata(&err))?;
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
            memory_bytes_max: config.groups_memory_bytes_max,
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
        let reads_max = config.cold_reads_max + config.timestamp_scans_max + config.recompressions_max;
        let threads_max = reads_max + RECORD_DELETIONS_MAX + HOUSEKEEPING_THREADS;
        let (blocking_threads, blocking) = BlockingThreads::start(threads_max).map_err(StartError::Thread)?;
        let cold_reads = ColdReads::new(config.cold_reads_max, blocking.clone());
        let record_deletions = Semaphore::new(RECORD_DELETIONS_MAX);
        let timestamp_scans = Semaphore::new(config.timestamp_scans_max);
        let recompressions = Semaphore::new(config.recompressions_max);
        let request_bytes_max = config.request_bytes_max.max(config.control_request_bytes_max);
        let queued_bytes_max = config.queued_request_bytes_max;
        let memory = || RequestMemory::new(queued_bytes_max, request_bytes_max);
        let fetch_sessions = Arc::new(FetchSessions::new(config.fetch_sessions_max));
        let groups = Arc::new(groups);
        let broker = Arc::new(Broker {
            config,
            endpoint,
            store,
            catalog,
            controller,
            groups,
            producer_ids,
            fetch_sessions,
            connections,
            refusals: LineBudget::default(),
            crowded: LineBudget::default(),
            connections_by_address: Mutex::default(),
            blocking,
            cold_reads,
            timestamp_scans,
            recompressions,
            record_deletions,
            broken: LineBudget::default(),
            receiving_bytes: memory(),
            waiting_bytes: memory(),
            draining: AtomicBool::new(false),
            counters: (0..shards).map(|_| Arc::default()).collect(),
        });
        let (stop, stopped) = watch::channel(false);
        let mut threads = vec![timer(&broker, stopped.clone()).map_err(StartError::Thread)?];
        for (number, listener) in listeners.into_iter().enumerate() {
            let shard = shard::start(number, listener, Arc::clone(&broker), stopped.clone());
            threads.push(shard.map_err(StartError::Thread)?);
        }
        let endpoint = broker.endpoint.clone();
        if let Some(admin) = &admin {
            admin.serving(&broker);
        }
        let (blocking, control) = (Some(blocking_threads), Some(control));
        Ok(Self { broker: Some(broker), address, admin, endpoint, stop, threads, blocking, control })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are served, if they are.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// What clients are told.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Answers what is under way, for a second at most, ends all connections, makes everything durable and leaves the mark of a clean stop.
    ///
    /// # Errors
    /// Something could not be made durable.
    pub fn stop(mut self) -> io::Result<()> {
        if let Some(broker) = &self.broker {
            broker.draining.store(true, Ordering::Release);
        }
        self.end_threads();
        self.broker.as_ref().map_or(Ok(()), |broker| {
            broker.catalog.close();
            broker.store.close()
        })
    }

    fn end_threads(&mut self) {
        if let Some(admin) = &self.admin {
            admin.stopping();
        }
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
        self.blocking = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_threads();
        self.admin = None;
        // The controller's thread ends once nobody can ask it for anything.
        self.broker = None;
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}

/// The thread that keeps the groups' time.
fn timer(broker: &Broker, mut stop: watch::Receiver<bool>) -> io::Result<JoinHandle<()>> {
    let (groups, blocking) = (Arc::clone(&broker.groups), broker.blocking.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("ringmain-timer".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = Arc::clone(&groups).run_timer() => {}
                () = groups.run_housekeeping(blocking) => {}
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
