//! What is known of a cluster: its brokers, and who leads which partition.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::error::ClusterError;
use crate::wire::messages::MetadataResponse;
use crate::wire::{self, BrokerError};

/// A partition as metadata tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub partition: i32,
    /// The id of its leader, when it has one.
    pub leader: Option<i32>,
    /// The epoch of that leader, or -1 when the broker does not tell.
    pub leader_epoch: i32,
    /// Ids of the brokers that hold it.
    pub replicas: Vec<i32>,
    /// Ids of those that are in sync.
    pub in_sync: Vec<i32>,
}

/// A topic as metadata tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Whether the broker keeps it for itself (offsets, transactions).
    pub internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

impl TopicInfo {
    /// A partition of the topic.
    ///
    /// # Errors
    /// When the topic has no such partition.
    pub fn partition(&self, partition: i32) -> Result<&PartitionInfo, ClusterError> {
        let found = self.partitions.binary_search_by_key(&partition, |info| info.partition);
        found.map(|at| &self.partitions[at]).map_err(|_| ClusterError::NoPartition {
            topic: self.name.clone(),
            partition,
            count: self.partitions.len(),
        })
    }
}

/// Everything known of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// Addresses by broker id.
    pub(crate) brokers: HashMap<i32, String>,
    /// The broker to send topic changes to.
    pub(crate) controller: Option<i32>,
    topics: HashMap<String, (Arc<TopicInfo>, Instant)>,
}

impl Cluster {
    /// A topic, and when it was learnt of.
    pub(crate) fn topic(&self, name: &str) -> Option<(&Arc<TopicInfo>, Instant)> {
        self.topics.get(name).map(|(topic, learnt)| (topic, *learnt))
    }

    /// Takes in a response; gives the errors of single topics.
    pub(crate) fn learn(
        &mut self,
        response: &MetadataResponse,
        now: Instant,
    ) -> HashMap<String, BrokerError> {
        let mut errors = HashMap::new();
        if !response.brokers.is_empty() {
            let brokers = response.brokers.iter();
            self.brokers = brokers
                .map(|broker| (broker.node_id.0, format!("{}:{}", broker.host, broker.port)))
                .collect();
        }
        self.controller = Some(response.controller_id.0).filter(|id| *id >= 0);
        for topic in &response.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.to_string()) else {
                continue;
            };
            if let Some(code) = wire::broker_error(topic.error_code) {
                self.topics.remove(&name);
                errors.insert(name, code);
                continue;
            }
            let ids = |ids: &[wire::messages::BrokerId]| ids.iter().map(|id| id.0).collect();
            let mut partitions: Vec<_> = topic
                .partitions
                .iter()
                .map(|partition| PartitionInfo {
                    partition: partition.partition_index,
                    leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
                    leader_epoch: partition.leader_epoch,
                    replicas: ids(&partition.replica_nodes),
                    in_sync: ids(&partition.isr_nodes),
                })
                .collect();
            partitions.sort_unstable_by_key(|info| info.partition);
            let topic = TopicInfo { name: name.clone(), internal: topic.is_internal, partitions };
            self.topics.insert(name, (Arc::new(topic), now));
        }
        errors
    }

    /// Forgets a topic, so that it is asked for again.
    pub(crate) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };

    fn response(leader: i32, error: i16) -> MetadataResponse {
        let partition = |index: i32, leader: i32| {
            MetadataResponsePartition::default().with_partition_index(index).with_leader_id(leader.into())
        };
        MetadataResponse::default()
            .with_controller_id(1.into())
            .with_brokers(vec![
                MetadataResponseBroker::default()
                    .with_node_id(1.into())
                    .with_host(wire::string("h"))
                    .with_port(9092),
            ])
            .with_topics(vec![
                MetadataResponseTopic::default()
                    .with_error_code(error)
                    .with_name(Some(wire::topic_name("t")))
                    .with_partitions(vec![partition(1, leader), partition(0, 1)]),
            ])
    }

    #[test]
    fn topics_and_brokers_are_learnt() {
        let mut cluster = Cluster::default();
        assert!(cluster.learn(&response(-1, 0), Instant::now()).is_empty());
        assert_eq!(cluster.brokers[&1], "h:9092");
        assert_eq!(cluster.controller, Some(1));
        let (topic, _) = cluster.topic("t").unwrap();
        assert_eq!(topic.partition(0).unwrap().leader, Some(1));
        assert_eq!(topic.partition(1).unwrap().leader, None);
        assert!(matches!(topic.partition(2), Err(ClusterError::NoPartition { partition: 2, count: 2, .. })));
    }

    #[test]
    fn a_topic_with_an_error_is_forgotten() {
        let mut cluster = Cluster::default();
        cluster.learn(&response(1, 0), Instant::now());
        let errors = cluster.learn(&response(1, 3), Instant::now());
        assert_eq!(errors["t"], BrokerError::UnknownTopicOrPartition);
        assert!(cluster.topic("t").is_none());
    }
}
