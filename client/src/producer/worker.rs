//! Sends the batches of one partition, in order, and retries in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::error::ProduceError;
use super::queue::{Gathered, Next, Queue};
use crate::backoff::Backoff;
use crate::config::Acks;
use crate::error::{CallError, ClusterError};
use crate::wire::batch::{BatchBuilder, ProducerStamp};
use crate::wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::messages::{ProduceRequest, ProduceResponse};
use crate::wire::{self, BrokerError};

/// A partition as the producer and its worker share it.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) topic: Arc<str>,
    pub(crate) number: i32,
    pub(crate) wake: Notify,
    queue: Mutex<Queue>,
}

impl Partition {
    pub(crate) fn new(topic: Arc<str>, number: i32, queue: Queue) -> Self {
        Self { topic, number, wake: Notify::new(), queue: Mutex::new(queue) }
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics half-way through a change, so it is whole even behind a poisoned lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch in its final bytes, the same at every attempt.
struct Sending {
    batch: Gathered,
    bytes: Bytes,
    last: Option<ProduceError>,
}

type Response = Pin<Box<dyn Future<Output = Result<ProduceResponse, CallError>> + Send>>;

pub(crate) struct Worker {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    in_flight_max: usize,
    /// Sent and not answered, oldest first.
    in_flight: VecDeque<(Sending, Response)>,
    /// To be sent (again) before anything from the queue, oldest first.
    unsent: VecDeque<Sending>,
    next_sequence: i32,
    backoff: Option<Backoff>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, partition: Arc<Partition>) -> Self {
        let config = &shared.config;
        let pipelined = config.idempotent || config.acks == Acks::None;
        let in_flight_max = if pipelined { config.in_flight_per_partition_max.max(1) } else { 1 };
        Self {
            shared,
            partition,
            in_flight_max,
            in_flight: VecDeque::new(),
            unsent: VecDeque::new(),
            next_sequence: 0,
            backoff: None,
        }
    }

    /// Runs until it is aborted, with its producer.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.take_ready();
            if !self.unsent.is_empty() && self.in_flight.len() < self.in_flight_max {
                self.send_first().await;
            } else if self.in_flight.is_empty() {
                wait_for_records(&self.partition, due).await;
            } else {
                let room = self.in_flight.len() < self.in_flight_max;
                self.wait_for_response(room, due).await;
            }
        }
    }

    /// Takes the next batch off the queue if there is room for it; else the time one is due.
    fn take_ready(&mut self) -> Option<Instant> {
        if !self.unsent.is_empty() || self.in_flight.len() >= self.in_flight_max {
            return None;
        }
        let next = self.partition.queue().next(Instant::now());
        match next {
            Next::Ready(batch) => self.prepare(batch),
            Next::At(due) => return Some(due),
            Next::Nothing => {}
        }
        None
    }

    /// Gives a batch its sequence numbers and its final bytes.
    fn prepare(&mut self, mut batch: Gathered) {
        if let Some(error) = self.shared.stopped() {
            return batch.settle(Err(error));
        }
        let builder = std::mem::take(&mut batch.builder);
        let count = builder.count();
        let stamp = self.shared.identity.map(|identity| ProducerStamp {
            producer_id: identity.producer_id,
            producer_epoch: identity.producer_epoch,
            base_sequence: self.next_sequence,
        });
        match finish(builder, &self.shared, stamp, &self.partition.topic) {
            Ok(bytes) => {
                self.next_sequence = sequence_after(self.next_sequence, count);
                self.unsent.push_back(Sending { batch, bytes, last: None });
            }
            Err(error) => {
                self.shared.failed(&error);
                batch.settle(Err(error));
            }
        }
    }

    async fn send_first(&mut self) {
        let Some(mut sending) = self.unsent.pop_front() else {
            return;
        };
        match submit(&self.shared, &self.partition, &sending).await {
            Ok(Some(response)) => self.in_flight.push_back((sending, response)),
            Ok(None) => sending.batch.settle(Ok(None)),
            Err(error) => {
                let fatal = !error.is_retriable();
                sending.last = Some(error.clone());
                if fatal {
                    self.give_up(sending, error);
                } else {
                    self.unsent.push_front(sending);
                }
                self.recover(VecDeque::new()).await;
            }
        }
    }

    async fn wait_for_response(&mut self, room: bool, due: Option<Instant>) {
        let Some((_, response)) = self.in_flight.front_mut() else {
            return;
        };
        let response = tokio::select! {
            biased;
            response = response => response,
            () = wait_for_records(&self.partition, due), if room => return,
        };
        let Some((sending, _)) = self.in_flight.pop_front() else {
            return;
        };
        match self.judge(response) {
            Ok(offset) => {
                self.backoff = None;
                sending.batch.settle(Ok(offset));
            }
            Err(error) => {
                let mut again = VecDeque::new();
                self.sort_failure(sending, error, &mut again);
                self.recover(again).await;
            }
        }
    }

    /// After a failure: waits for what else is in flight, then lines up again what failed, in the
    /// old order, and waits before the next attempt.
    async fn recover(&mut self, mut again: VecDeque<Sending>) {
        while let Some((sending, response)) = self.in_flight.pop_front() {
            let response = response.await;
            match self.judge(response) {
                Ok(offset) => sending.batch.settle(Ok(offset)),
                Err(error) => self.sort_failure(sending, error, &mut again),
            }
        }
        again.append(&mut self.unsent);
        let now = Instant::now();
        let after = self.shared.config.delivery_timeout;
        while let Some(sending) = again.pop_front() {
            let stopped = self.shared.stopped();
            match (&sending.last, stopped) {
                (_, Some(error)) => sending.batch.settle(Err(error)),
                (Some(last), None) if now >= sending.batch.since + after => {
                    let error = ProduceError::DeliveryTimedOut {
                        topic: self.partition.topic.to_string(),
                        partition: self.partition.number,
                        after,
                        last: Arc::new(last.clone()),
                    };
                    self.give_up(sending, error);
                }
                _ => self.unsent.push_back(sending),
            }
        }
        self.shared.client.forget(&self.partition.topic);
        let Some(oldest) = self.unsent.front() else {
            self.backoff = None;
            return;
        };
        let deadline = oldest.batch.since + after;
        let config = self.shared.client.config();
        let backoff = self.backoff.get_or_insert_with(|| Backoff::until(config, deadline));
        if !backoff.wait().await {
            // One last attempt, at the deadline.
            self.backoff = None;
            sleep_until(deadline.max(now + config.backoff_first)).await;
        }
    }

    fn sort_failure(&self, mut sending: Sending, error: ProduceError, again: &mut VecDeque<Sending>) {
        // Behind a batch that failed, the sequence is bound to have a gap: not this one's fault.
        let follows_a_failure = !again.is_empty()
            && matches!(error, ProduceError::Refused { code: BrokerError::OutOfOrderSequenceNumber, .. });
        if error.is_retriable() || follows_a_failure {
            tracing::debug!(%error, "sending again");
            sending.last = Some(error);
            again.push_back(sending);
        } else {
            self.give_up(sending, error);
        }
    }

    fn give_up(&self, sending: Sending, error: ProduceError) {
        self.shared.failed(&error);
        sending.batch.settle(Err(error));
    }

    /// The base offset out of a response, or what went wrong.
    fn judge(&self, response: Result<ProduceResponse, CallError>) -> Result<Option<i64>, ProduceError> {
        let response = response?;
        let partition = &self.partition;
        let found = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .find(|found| found.index == partition.number);
        let Some(found) = found else {
            let what = format!("partition {} of {:?}", partition.number, partition.topic);
            return Err(ProduceError::Cluster(ClusterError::Call(CallError::Missing {
                address: "the leader".to_owned(),
                api: "Produce",
                what,
            })));
        };
        match wire::broker_error(found.error_code) {
            None => Ok(Some(found.base_offset).filter(|offset| *offset >= 0)),
            // It arrived with an earlier attempt, too long ago for the broker to know where.
            Some(BrokerError::DuplicateSequenceNumber) if self.shared.identity.is_some() => Ok(None),
            Some(code) => Err(ProduceError::Refused {
                topic: partition.topic.to_string(),
                partition: partition.number,
                code,
            }),
        }
    }
}

/// Hands a batch to the connection; gives the response to come, if one will.
async fn submit(
    shared: &Shared,
    partition: &Partition,
    sending: &Sending,
) -> Result<Option<Response>, ProduceError> {
    let config = &shared.config;
    let client = &shared.client;
    let connection = client.leader_connection(&partition.topic, partition.number).await?;
    let timeout = client.config().connection.request_timeout;
    let request = ProduceRequest::default()
        .with_acks(config.acks.code())
        .with_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(vec![
            TopicProduceData::default().with_name(wire::topic_name(&partition.topic)).with_partition_data(
                vec![
                    PartitionProduceData::default()
                        .with_index(partition.number)
                        .with_records(Some(sending.bytes.clone())),
                ],
            ),
        ]);
    if config.acks == Acks::None {
        connection.send_unanswered(&request).await?;
        return Ok(None);
    }
    let reply = connection.submit_held(&request, timeout).await?;
    Ok(Some(Box::pin(reply.wait())))
}

async fn wait_for_records(partition: &Partition, due: Option<Instant>) {
    match due {
        None => partition.wake.notified().await,
        Some(due) => {
            tokio::select! {
                () = partition.wake.notified() => {}
                () = sleep_until(due) => {}
            }
        }
    }
}

fn finish(
    builder: BatchBuilder,
    shared: &Shared,
    stamp: Option<ProducerStamp>,
    topic: &str,
) -> Result<Bytes, ProduceError> {
    builder
        .finish(shared.config.compression, stamp)
        .map_err(|source| ProduceError::Compression { topic: topic.to_owned(), source: Arc::new(source) })
}

/// The sequence number behind `count` records; after the largest comes 0.
fn sequence_after(sequence: i32, count: i32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1)) as i32
}

#[cfg(test)]
mod tests {
    use super::sequence_after;

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        assert_eq!(sequence_after(0, 5), 5);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    }
}
