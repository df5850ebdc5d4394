//! The consumer: reads assigned partitions from wherever they are led.
//!
//! A router task finds leaders and start offsets; a fetcher task for each broker fetches ahead of
//! the application into a bounded queue. The tasks end when the consumer is dropped.

mod assignment;
mod error;
mod fetcher;
mod piece;
mod router;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

pub use self::assignment::{Assigned, Start};
pub use self::error::ConsumeError;
pub use self::piece::{Fetched, Record};

use self::assignment::Assignment;
use self::router::Router;
use crate::client::Client;
use crate::config::ConsumerConfig;

/// What the tasks tell the application.
#[derive(Debug)]
pub(crate) enum Event {
    Fetched(Fetched),
    Failed(ConsumeError),
}

/// What the consumer shares with its tasks.
#[derive(Debug)]
pub(crate) struct Shared {
    client: Client,
    config: ConsumerConfig,
    assignment: Mutex<Assignment>,
    /// Told when a partition lacks a leader or a start.
    lost: Notify,
    /// With the number of the assignment it belongs to.
    events: mpsc::Sender<(u64, Event)>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Assignment> {
        // Nothing panics half-way through a change, so it is whole even behind a poisoned lock.
        self.assignment.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the application is in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset behind the last record polled; none before anything came.
    pub next_offset: Option<i64>,
    /// Behind the last record there was, when last heard of.
    pub end_offset: Option<i64>,
}

/// A consumer of assigned partitions.
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    events: mpsc::Receiver<(u64, Event)>,
    positions: Vec<Position>,
    number: u64,
    router: AbortHandle,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.router.abort();
    }
}

impl Consumer {
    /// Makes a consumer that has nothing assigned.
    #[must_use]
    pub fn new(client: Client, config: ConsumerConfig) -> Self {
        let (sender, events) = mpsc::channel(config.buffered_pieces_max.max(1));
        let shared = Arc::new(Shared {
            client,
            config,
            assignment: Mutex::default(),
            lost: Notify::new(),
            events: sender,
        });
        let router = tokio::spawn(Router::new(Arc::clone(&shared)).run());
        Self { shared, events, positions: Vec::new(), number: 0, router: router.abort_handle() }
    }

    /// Reads these partitions from now on, and no others.
    pub fn assign(&mut self, partitions: Vec<Assigned>) {
        self.positions = partitions
            .iter()
            .map(|assigned| Position {
                topic: Arc::clone(&assigned.topic),
                partition: assigned.partition,
                next_offset: match assigned.start {
                    Start::Offset(offset) => Some(offset),
                    Start::At(_) => None,
                },
                end_offset: None,
            })
            .collect();
        self.number = self.shared.lock().replace(partitions);
        self.shared.lost.notify_one();
    }

    /// The next piece that was fetched; none when nothing comes within `wait`.
    ///
    /// May be dropped at any time without losing records.
    ///
    /// # Errors
    /// When a partition cannot be read; it is then no longer read, the others still are.
    pub async fn poll(&mut self, wait: Duration) -> Result<Option<Fetched>, ConsumeError> {
        let deadline = Instant::now() + wait;
        loop {
            let (number, event) = match timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => event,
                Ok(None) => return Err(ConsumeError::Ended),
                Err(_) => return Ok(None),
            };
            if number != self.number {
                continue;
            }
            match event {
                Event::Failed(error) => return Err(error),
                Event::Fetched(fetched) => {
                    let of = |position: &&mut Position| {
                        position.partition == fetched.partition && position.topic == fetched.topic
                    };
                    if let Some(position) = self.positions.iter_mut().find(of) {
                        position.next_offset = Some(fetched.next_offset);
                        position.end_offset = Some(fetched.end_offset);
                    }
                    return Ok(Some(fetched));
                }
            }
        }
    }

    /// How far the application is in each assigned partition.
    #[must_use]
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Whether all that there was when last heard of has been polled, in every partition.
    #[must_use]
    pub fn at_end(&self) -> bool {
        self.positions.iter().all(|position| {
            matches!((position.next_offset, position.end_offset), (Some(next), Some(end)) if next >= end)
        })
    }
}
