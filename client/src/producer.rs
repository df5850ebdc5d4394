//! The producer: gathers records into batches, and keeps each partition's batches in order.
//!
//! Every partition written to has a worker task that sends its batches to whoever leads it. The
//! tasks end when the producer is dropped; what was not flushed is then lost, and says so.

mod error;
pub mod partitioner;
mod queue;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use self::error::ProduceError;
pub use self::queue::Delivery;

use self::partitioner::{Sticky, partition_of_key};
use self::queue::{Fields, Queue};
use self::worker::{Partition, Worker};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::config::{Acks, ProducerConfig};
use crate::error::ClusterError;
use crate::wire::batch::Header;
use crate::wire::messages::{InitProducerIdRequest, MetadataRequest};
use crate::wire::{self, BrokerError};

/// A record to be produced.
#[derive(Debug, Clone, Default)]
pub struct ProducerRecord {
    /// The partition; by default that of the key, or for records without a key a sticky one.
    pub partition: Option<i32>,
    /// Milliseconds since 1970; by default now.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Vec<Header>,
}

/// Who an idempotent producer is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    producer_id: i64,
    producer_epoch: i16,
}

/// What the producer shares with its workers.
#[derive(Debug)]
pub(crate) struct Shared {
    client: Client,
    config: ProducerConfig,
    identity: Option<Identity>,
    /// One permit for every byte that may be buffered.
    buffer: Arc<Semaphore>,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    /// The first failure since the last flush.
    since_flush: Option<ProduceError>,
    /// The first failure ever.
    first: Option<ProduceError>,
}

impl Shared {
    fn failed(&self, error: &ProduceError) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.since_flush.get_or_insert_with(|| error.clone());
        failures.first.get_or_insert_with(|| error.clone());
    }

    /// The error of everything that follows a failure of an idempotent producer.
    fn stopped(&self) -> Option<ProduceError> {
        self.identity?;
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.first.as_ref().map(|first| ProduceError::Stopped { first: Arc::new(first.clone()) })
    }
}

/// A producer. Share it by reference or in an `Arc`; dropping it drops what is not flushed.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    topics: Mutex<HashMap<String, Arc<TopicQueues>>>,
    workers: Mutex<Vec<AbortHandle>>,
}

#[derive(Debug)]
struct TopicQueues {
    partitions: Vec<Arc<Partition>>,
    sticky: Sticky,
    learnt: Instant,
}

impl Drop for Producer {
    fn drop(&mut self) {
        let workers = self.workers.get_mut().unwrap_or_else(PoisonError::into_inner);
        workers.iter().for_each(AbortHandle::abort);
    }
}

impl Producer {
    /// Makes a producer; an idempotent one asks the cluster for its producer id.
    ///
    /// # Errors
    /// When the configuration contradicts itself, or there is no producer id to be had.
    pub async fn new(client: Client, config: ProducerConfig) -> Result<Self, ProduceError> {
        let identity = if config.idempotent {
            if config.acks != Acks::All {
                return Err(ProduceError::IdempotenceNeedsAcksAll);
            }
            Some(new_identity(&client).await?)
        } else {
            None
        };
        let buffered_bytes_max = config.buffered_bytes_max.clamp(1, u32::MAX as usize >> 1);
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                config,
                identity,
                buffer: Arc::new(Semaphore::new(buffered_bytes_max)),
                failures: Mutex::default(),
            }),
            topics: Mutex::default(),
            workers: Mutex::default(),
        })
    }

    /// Takes a record, waiting for room in the buffer. It is sent with others, soon; the delivery
    /// tells what became of it, and may be dropped.
    ///
    /// # Errors
    /// When the record cannot be taken: too large, no such topic or partition, or an idempotent
    /// producer that has given up on earlier records.
    pub async fn send(&self, topic: &str, record: ProducerRecord) -> Result<Delivery, ProduceError> {
        let config = &self.shared.config;
        let fields = Fields {
            timestamp: record.timestamp.unwrap_or_else(now_millis),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        };
        let bytes = fields.bytes_max();
        if bytes > config.record_bytes_max {
            return Err(ProduceError::RecordTooLarge {
                topic: topic.to_owned(),
                bytes,
                limit: config.record_bytes_max,
            });
        }
        if let Some(error) = self.shared.stopped() {
            return Err(error);
        }
        let queues = self.queues_of(topic).await?;
        // A record larger than the whole buffer waits until it has the buffer for itself.
        let reserved = bytes.min(config.buffered_bytes_max.clamp(1, u32::MAX as usize >> 1));
        match self.shared.buffer.acquire_many(reserved as u32).await {
            Ok(permits) => permits.forget(),
            // Never closed while the producer lives.
            Err(_) => return Err(ProduceError::Dropped),
        }
        let count = queues.partitions.len();
        let number = match (record.partition, &record.key) {
            (Some(partition), _) => usize::try_from(partition).unwrap_or(usize::MAX),
            (None, Some(key)) => partition_of_key(key, count),
            (None, None) => {
                let gathers = |number: usize| {
                    queues.partitions.get(number).is_some_and(|found| found.queue().gathers())
                };
                queues.sticky.choose(count, gathers)
            }
        };
        let Some(partition) = queues.partitions.get(number) else {
            self.shared.buffer.add_permits(reserved);
            return Err(ProduceError::Cluster(ClusterError::NoPartition {
                topic: topic.to_owned(),
                partition: record.partition.unwrap_or(-1),
                count,
            }));
        };
        let pushed = partition.queue().push(&fields, reserved, Instant::now());
        if record.partition.is_none() && record.key.is_none() {
            if pushed.filled {
                queues.sticky.move_on();
            } else if pushed.started {
                queues.sticky.begin();
            }
        }
        if pushed.filled || pushed.started {
            partition.wake.notify_one();
        }
        Ok(pushed.delivery)
    }

    /// Sends what is gathered without waiting for more, and waits for it to be acknowledged.
    ///
    /// # Errors
    /// The first failure of any record since the last flush.
    pub async fn flush(&self) -> Result<(), ProduceError> {
        let topics: Vec<_> = self.lock_topics().values().cloned().collect();
        let mut newest = Vec::new();
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            // Batches of a partition are settled in order, so the newest is settled last.
            newest.extend(partition.queue().seal());
            partition.wake.notify_one();
        }
        for outcome in newest {
            // A failure is in the list of failures, where earlier ones come first.
            let _ = outcome.wait().await;
        }
        if self.shared.config.acks == Acks::None {
            self.pass_through(&topics).await;
        }
        let mut failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.since_flush.take().map_or(Ok(()), Err)
    }

    /// Without acknowledgements, sent means handed to the connection. Brokers answer in order, so
    /// the answer to any request tells that everything before it has arrived.
    async fn pass_through(&self, topics: &[Arc<TopicQueues>]) {
        let client = &self.shared.client;
        let mut asked: Vec<String> = Vec::new();
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            let connection = client.leader_connection(&partition.topic, partition.number).await;
            let Ok(connection) = connection else { continue };
            if asked.iter().any(|address| address == connection.address()) {
                continue;
            }
            asked.push(connection.address().to_owned());
            let request = MetadataRequest::default().with_topics(Some(Vec::new()));
            // Where it fails, records may be lost: that is what acks 0 stands for.
            if let Err(error) = connection.call(&request).await {
                tracing::debug!(%error, "unacknowledged records may be lost");
            }
        }
    }

    /// Whether any record has failed since the last flush, without waiting.
    ///
    /// # Errors
    /// The first failure of any record since the last flush; the next flush gives it too.
    pub fn check(&self) -> Result<(), ProduceError> {
        let failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.since_flush.clone().map_or(Ok(()), Err)
    }

    fn lock_topics(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<TopicQueues>>> {
        // Nothing panics half-way through a change, so it is whole even behind a poisoned lock.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn queues_of(&self, topic: &str) -> Result<Arc<TopicQueues>, ProduceError> {
        let client = &self.shared.client;
        let age_max = client.config().metadata_age_max;
        let known = self.lock_topics().get(topic).cloned();
        if let Some(queues) = known
            && queues.learnt.elapsed() < age_max
        {
            return Ok(queues);
        }
        let found = client.topic_retrying(topic, self.shared.config.create_topics).await?;
        let mut topics = self.lock_topics();
        // Another caller may have been faster; and what is queued stays where it is.
        let mut partitions = Vec::new();
        let mut sticky = start_of_sticky();
        if let Some(queues) = topics.get(topic) {
            partitions.clone_from(&queues.partitions);
            sticky = queues.sticky.current(queues.partitions.len());
        }
        for number in partitions.len()..found.partitions.len() {
            partitions.push(self.start_partition(topic, number as i32));
        }
        let queues =
            Arc::new(TopicQueues { partitions, sticky: Sticky::starting_at(sticky), learnt: Instant::now() });
        topics.insert(topic.to_owned(), Arc::clone(&queues));
        Ok(queues)
    }

    fn start_partition(&self, topic: &str, number: i32) -> Arc<Partition> {
        let config = &self.shared.config;
        let queue =
            Queue::new(number, config.batch_bytes_max, config.linger, Arc::clone(&self.shared.buffer));
        let partition = Arc::new(Partition::new(topic.into(), number, queue));
        let worker = Worker::new(Arc::clone(&self.shared), Arc::clone(&partition));
        let task = tokio::spawn(worker.run());
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(task.abort_handle());
        partition
    }
}

async fn new_identity(client: &Client) -> Result<Identity, ProduceError> {
    let mut backoff = Backoff::new(client.config(), client.config().operation_timeout);
    loop {
        let error = match ask_identity(client).await {
            Ok(identity) => return Ok(identity),
            Err(error) => error,
        };
        if !error.is_retriable() || !backoff.wait().await {
            return Err(error);
        }
    }
}

async fn ask_identity(client: &Client) -> Result<Identity, ProduceError> {
    let connection = client.any().await?;
    let request =
        InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(i32::MAX);
    let response = connection.call(&request).await?;
    match wire::broker_error(response.error_code) {
        None => Ok(Identity { producer_id: response.producer_id.0, producer_epoch: response.producer_epoch }),
        // Another broker may have given it out already.
        Some(BrokerError::ConcurrentTransactions) => {
            Err(ProduceError::NoProducerId { code: BrokerError::CoordinatorLoadInProgress })
        }
        Some(code) => Err(ProduceError::NoProducerId { code }),
    }
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Producers that start together should not all begin with the same partition.
fn start_of_sticky() -> usize {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.subsec_micros() as usize)
}
