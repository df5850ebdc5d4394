//! Fetches from one broker, again and again, all assigned partitions that it leads.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::assignment::Start;
use super::error::ConsumeError;
use super::piece::{Aborted, Fetched, Source, decode};
use super::{Event, Shared};
use crate::config::{Isolation, OutOfRange};
use crate::connection::Connection;
use crate::error::ClusterError;
use crate::offsets::OffsetSpec;
use crate::wire::messages::fetch_request::{FetchPartition, FetchTopic};
use crate::wire::messages::fetch_response::PartitionData;
use crate::wire::messages::{FetchRequest, FetchResponse};
use crate::wire::{self, BrokerError};

/// A partition as it was when a fetch was sent.
struct Asked {
    topic: Arc<str>,
    partition: i32,
    position: i64,
}

pub(crate) struct Fetcher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) broker: i32,
    /// Told whenever the broker may have got partitions.
    pub(crate) wake: Arc<Notify>,
}

impl Fetcher {
    /// Runs until it is aborted, with its consumer.
    pub(crate) async fn run(self) {
        let mut connection: Option<Connection> = None;
        let mut turn = 0;
        loop {
            let (number, asked) = self.collect(turn);
            turn += 1;
            if asked.is_empty() {
                self.wake.notified().await;
                continue;
            }
            match self.fetch(&mut connection, &asked).await {
                Ok(response) => {
                    if !self.take_in(number, &asked, response).await {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(broker = self.broker, %error, "fetch failed");
                    connection = None;
                    self.lose(number, &asked, error).await;
                }
            }
        }
    }

    /// What to fetch. Every turn another partition comes first, since a response is limited.
    fn collect(&self, turn: usize) -> (u64, Vec<Asked>) {
        let assignment = self.shared.lock();
        let mut asked: Vec<_> = assignment
            .partitions
            .iter()
            .filter(|tracked| tracked.leader == Some(self.broker))
            .filter_map(|tracked| {
                Some(Asked {
                    topic: Arc::clone(&tracked.topic),
                    partition: tracked.partition,
                    position: tracked.position()?,
                })
            })
            .collect();
        if !asked.is_empty() {
            let first = turn % asked.len();
            asked.rotate_left(first);
        }
        (assignment.number, asked)
    }

    async fn fetch(
        &self,
        connection: &mut Option<Connection>,
        asked: &[Asked],
    ) -> Result<FetchResponse, ClusterError> {
        let open = match connection.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.shared.client.own_connection(self.broker).await?,
        };
        let config = &self.shared.config;
        let wait = i32::try_from(config.fetch_wait_max.as_millis()).unwrap_or(i32::MAX);
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(wait)
            .with_min_bytes(config.fetch_bytes_min)
            .with_max_bytes(config.fetch_bytes_max)
            .with_isolation_level(config.isolation as i8)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(topics_of(asked, config.partition_bytes_max));
        let response = open.call_held(&request, config.fetch_wait_max).await?;
        *connection = Some(open);
        Ok(response)
    }

    /// Passes on what came. False when nobody listens any more.
    async fn take_in(&self, number: u64, asked: &[Asked], response: FetchResponse) -> bool {
        if let Some(code) = wire::broker_error(response.error_code) {
            // Of the request as a whole; it is asked again by way of a fresh look at the cluster.
            let error = ClusterError::Topic {
                topic: asked.first().map_or("", |asked| &asked.topic).to_owned(),
                code,
            };
            self.lose(number, asked, error).await;
            return true;
        }
        for topic in response.responses {
            for data in topic.partitions {
                let of =
                    |asked: &&Asked| asked.partition == data.partition_index && *asked.topic == **topic.topic;
                let Some(asked) = asked.iter().find(of) else {
                    continue;
                };
                let event = match wire::broker_error(data.error_code) {
                    None => self.piece(number, asked, data),
                    Some(code) => self.refused(number, asked, code),
                };
                if let Some(event) = event
                    && self.shared.events.send((number, event)).await.is_err()
                {
                    return false;
                }
            }
        }
        true
    }

    fn piece(&self, number: u64, asked: &Asked, data: PartitionData) -> Option<Event> {
        let committed = self.shared.config.isolation == Isolation::ReadCommitted;
        let mut aborted: Vec<_> = data
            .aborted_transactions
            .unwrap_or_default()
            .iter()
            .filter(|_| committed)
            .map(|aborted| Aborted { producer_id: aborted.producer_id.0, first_offset: aborted.first_offset })
            .collect();
        aborted.sort_unstable_by_key(|aborted| aborted.first_offset);
        let source = Source {
            topic: &asked.topic,
            partition: asked.partition,
            from: asked.position,
            batch_bytes_max: self.shared.config.batch_bytes_max,
            aborted: &aborted,
        };
        let bytes = data.records.unwrap_or_default();
        let came = !bytes.is_empty();
        let (records, next_offset) = match decode(&source, bytes) {
            Ok(decoded) => decoded,
            Err(source) => {
                return self.stop(number, asked, |topic, partition| ConsumeError::Damaged {
                    topic,
                    partition,
                    offset: asked.position,
                    source: Arc::new(source),
                });
            }
        };
        if came && next_offset == asked.position {
            return self.stop(number, asked, |topic, partition| ConsumeError::Cut {
                topic,
                partition,
                offset: asked.position,
            });
        }
        let end_offset = if committed && data.last_stable_offset >= 0 {
            data.last_stable_offset
        } else {
            data.high_watermark
        };
        let mut assignment = self.shared.lock();
        let tracked = assignment.find(number, &asked.topic, asked.partition)?;
        tracked.start = Start::Offset(next_offset);
        let news = Some((end_offset, next_offset));
        if records.is_empty() && tracked.told == news {
            return None;
        }
        tracked.told = news;
        Some(Event::Fetched(Fetched {
            topic: Arc::clone(&asked.topic),
            partition: asked.partition,
            records,
            next_offset,
            end_offset,
            high_watermark: data.high_watermark,
        }))
    }

    /// Deals with a partition that the broker refuses.
    fn refused(&self, number: u64, asked: &Asked, code: BrokerError) -> Option<Event> {
        let config = &self.shared.config;
        if code == BrokerError::OffsetOutOfRange {
            let spec = match config.out_of_range {
                OutOfRange::Earliest => OffsetSpec::Earliest,
                OutOfRange::Latest => OffsetSpec::Latest,
                OutOfRange::Fail => {
                    return self.stop(number, asked, |topic, partition| ConsumeError::OutOfRange {
                        topic,
                        partition,
                        offset: asked.position,
                    });
                }
            };
            tracing::warn!(
                topic = &*asked.topic,
                partition = asked.partition,
                offset = asked.position,
                "the offset is not in the log: going on at {spec:?}"
            );
            let mut assignment = self.shared.lock();
            assignment.find(number, &asked.topic, asked.partition)?.start = Start::At(spec);
            drop(assignment);
            self.shared.lost.notify_one();
            return None;
        }
        if !code.is_retriable() {
            return self.stop(number, asked, |topic, partition| ConsumeError::Refused {
                topic,
                partition,
                code,
            });
        }
        self.shared.client.forget(&asked.topic);
        let mut assignment = self.shared.lock();
        assignment.find(number, &asked.topic, asked.partition)?.leader = None;
        drop(assignment);
        self.shared.lost.notify_one();
        None
    }

    /// Ends the fetching of a partition: its error is the application's to deal with.
    fn stop(
        &self,
        number: u64,
        asked: &Asked,
        error: impl FnOnce(String, i32) -> ConsumeError,
    ) -> Option<Event> {
        let mut assignment = self.shared.lock();
        assignment.find(number, &asked.topic, asked.partition)?;
        assignment
            .partitions
            .retain(|tracked| tracked.partition != asked.partition || tracked.topic != asked.topic);
        Some(Event::Failed(error(asked.topic.to_string(), asked.partition)))
    }

    /// After a failed fetch: asks for the leaders anew, or gives up where that is no help.
    async fn lose(&self, number: u64, asked: &[Asked], error: ClusterError) {
        if !error.is_retriable() {
            // Nobody to tell when the consumer is gone.
            let _ = self.shared.events.send((number, Event::Failed(error.into()))).await;
        }
        for asked in asked {
            self.shared.client.forget(&asked.topic);
            let mut assignment = self.shared.lock();
            if let Some(tracked) = assignment.find(number, &asked.topic, asked.partition) {
                tracked.leader = None;
            }
        }
        // A broker that takes connections and drops them must not be asked in a tight loop.
        sleep(self.shared.client.config().backoff_first).await;
        self.shared.lost.notify_one();
    }
}

fn topics_of(asked: &[Asked], partition_bytes_max: i32) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for asked in asked {
        let partition = FetchPartition::default()
            .with_partition(asked.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(asked.position)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(partition_bytes_max);
        let same = topics.iter_mut().find(|topic| **topic.topic == *asked.topic);
        match same {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                FetchTopic::default()
                    .with_topic(wire::topic_name(&asked.topic))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    topics
}
