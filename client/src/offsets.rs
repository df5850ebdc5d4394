//! Looking up offsets: the earliest, the latest, and those of a timestamp.

use std::collections::HashMap;

use crate::client::Client;
use crate::config::Isolation;
use crate::error::ClusterError;
use crate::wire::messages::ListOffsetsRequest;
use crate::wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::{self, BrokerError};

/// The timestamp that asks for the end.
const LATEST: i64 = -1;
/// The timestamp that asks for the earliest offset.
const EARLIEST: i64 = -2;

/// A point in a partition, to be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first record still there.
    Earliest,
    /// Behind the last record.
    Latest,
    /// The first record with this timestamp (milliseconds since 1970) or a later one; behind the
    /// last record when there is none.
    Timestamp(i64),
}

/// Why an offset could not be looked up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OffsetError {
    /// The broker to ask could not be found or reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The broker refused.
    #[error("cannot look up offsets of partition {partition} of {topic:?}: {code}; {}", crate::error::advice(*.code))]
    Refused {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The broker's error.
        code: BrokerError,
    },
}

impl OffsetError {
    /// Whether asking again may help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_retriable(),
            Self::Refused { code, .. } => code.is_retriable(),
        }
    }
}

impl Client {
    /// Looks up one offset in each of some partitions of a topic, without retries.
    ///
    /// # Errors
    /// When a leader cannot be reached or refuses.
    pub async fn offsets(
        &self,
        topic: &str,
        wanted: &[(i32, OffsetSpec)],
        isolation: Isolation,
    ) -> Result<HashMap<i32, i64>, OffsetError> {
        let mut by_leader: HashMap<i32, Vec<ListOffsetsPartition>> = HashMap::new();
        for (partition, spec) in wanted {
            let info = self.leader(topic, *partition).await?;
            let timestamp = match spec {
                OffsetSpec::Earliest => EARLIEST,
                OffsetSpec::Latest => LATEST,
                OffsetSpec::Timestamp(timestamp) => (*timestamp).max(0),
            };
            let asked =
                ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(timestamp);
            by_leader.entry(info.leader.unwrap_or(-1)).or_default().push(asked);
        }
        let mut found = HashMap::new();
        for (leader, partitions) in by_leader {
            let result = self.offsets_of(leader, topic, partitions, isolation).await;
            found.extend(result.inspect_err(|_| self.forget(topic))?);
        }
        // No record is as young as the timestamp: go behind the last one.
        let behind: Vec<_> = wanted
            .iter()
            .filter(|(partition, _)| found.get(partition).is_none_or(|offset| *offset < 0))
            .map(|(partition, _)| (*partition, OffsetSpec::Latest))
            .collect();
        if !behind.is_empty() && wanted.iter().any(|(_, spec)| *spec != OffsetSpec::Latest) {
            found.extend(Box::pin(self.offsets(topic, &behind, isolation)).await?);
        }
        Ok(found)
    }

    async fn offsets_of(
        &self,
        leader: i32,
        topic: &str,
        partitions: Vec<ListOffsetsPartition>,
        isolation: Isolation,
    ) -> Result<HashMap<i32, i64>, OffsetError> {
        let connection = self.broker(leader).await?;
        let mut request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![
            ListOffsetsTopic::default().with_name(wire::topic_name(topic)).with_partitions(partitions),
        ]);
        let version = connection.version_of::<ListOffsetsRequest>();
        if version.map_err(ClusterError::from)? >= 2 {
            request.isolation_level = isolation as i8;
        }
        let response = connection.call(&request).await.map_err(ClusterError::from)?;
        let mut found = HashMap::new();
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            if let Some(code) = wire::broker_error(partition.error_code) {
                return Err(OffsetError::Refused {
                    topic: topic.to_owned(),
                    partition: partition.partition_index,
                    code,
                });
            }
            found.insert(partition.partition_index, partition.offset);
        }
        Ok(found)
    }
}
