//! Finds out who leads each partition and where to start in it, and starts the fetchers.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::assignment::Start;
use super::error::ConsumeError;
use super::fetcher::Fetcher;
use super::{Event, Shared};
use crate::offsets::OffsetSpec;

/// A partition that lacks something.
struct Lost {
    topic: Arc<str>,
    partition: i32,
    start: Start,
    since: Instant,
}

/// What was found out about a partition.
struct Found {
    leader: i32,
    offset: i64,
}

pub(crate) struct Router {
    shared: Arc<Shared>,
    fetchers: HashMap<i32, Arc<Notify>>,
    tasks: JoinSet<()>,
}

impl Router {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, fetchers: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Runs until it is aborted, with its consumer; its fetchers end with it.
    pub(crate) async fn run(mut self) {
        let config = self.shared.client.config();
        let (first, max) = (config.backoff_first, config.backoff_max);
        let mut pause = first;
        loop {
            let (number, lost) = self.collect();
            if lost.is_empty() {
                pause = first;
                self.shared.lost.notified().await;
                continue;
            }
            let mut failed = false;
            for lost in &lost {
                match self.find(lost).await {
                    Ok(found) => self.route(number, lost, &found),
                    Err(error) => {
                        failed = true;
                        self.report(number, lost, error).await;
                    }
                }
            }
            if failed {
                sleep(pause).await;
                pause = (pause * 2).min(max);
            }
        }
    }

    fn collect(&self) -> (u64, Vec<Lost>) {
        let now = Instant::now();
        let mut assignment = self.shared.lock();
        let lost = assignment
            .partitions
            .iter_mut()
            .filter(|tracked| tracked.is_lost())
            .map(|tracked| Lost {
                topic: Arc::clone(&tracked.topic),
                partition: tracked.partition,
                start: tracked.start,
                since: *tracked.lost.get_or_insert(now),
            })
            .collect();
        (assignment.number, lost)
    }

    async fn find(&self, lost: &Lost) -> Result<Found, ConsumeError> {
        let client = &self.shared.client;
        let info = client.leader(&lost.topic, lost.partition).await?;
        let offset = match lost.start {
            Start::Offset(offset) => offset,
            Start::At(spec) => self.look_up(lost, spec).await?,
        };
        Ok(Found { leader: info.leader.unwrap_or(-1), offset })
    }

    async fn look_up(&self, lost: &Lost, spec: OffsetSpec) -> Result<i64, ConsumeError> {
        let wanted = [(lost.partition, spec)];
        let isolation = self.shared.config.isolation;
        let found = self.shared.client.offsets(&lost.topic, &wanted, isolation).await?;
        Ok(found.get(&lost.partition).copied().unwrap_or(0).max(0))
    }

    fn route(&mut self, number: u64, lost: &Lost, found: &Found) {
        let mut assignment = self.shared.lock();
        let Some(tracked) = assignment.find(number, &lost.topic, lost.partition) else {
            return;
        };
        tracked.leader = Some(found.leader);
        tracked.start = Start::Offset(found.offset);
        tracked.lost = None;
        drop(assignment);
        let shared = &self.shared;
        let tasks = &mut self.tasks;
        let wake = self.fetchers.entry(found.leader).or_insert_with(|| {
            let wake = Arc::new(Notify::new());
            let fetcher =
                Fetcher { shared: Arc::clone(shared), broker: found.leader, wake: Arc::clone(&wake) };
            tasks.spawn(fetcher.run());
            wake
        });
        wake.notify_one();
    }

    /// Tells the application of a failure that asking again does not mend, or has not in time.
    async fn report(&self, number: u64, lost: &Lost, error: ConsumeError) {
        let again = match &error {
            ConsumeError::Cluster(error) => error.is_retriable(),
            ConsumeError::Offset(error) => error.is_retriable(),
            _ => false,
        };
        if again && lost.since.elapsed() < self.shared.config.unavailable_max {
            tracing::debug!(topic = &*lost.topic, partition = lost.partition, %error, "asking again");
            self.shared.client.forget(&lost.topic);
            return;
        }
        {
            let mut assignment = self.shared.lock();
            if assignment.find(number, &lost.topic, lost.partition).is_none() {
                return;
            }
            // It is the application's to deal with, once; not every time it is asked again.
            assignment
                .partitions
                .retain(|tracked| tracked.partition != lost.partition || tracked.topic != lost.topic);
        }
        // Nobody to tell when the consumer is gone.
        let _ = self.shared.events.send((number, Event::Failed(error))).await;
    }
}
