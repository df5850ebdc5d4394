//! The client of a cluster: knows its brokers and topics, keeps one connection to each broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::cluster::{Cluster, PartitionInfo, TopicInfo};
use crate::config::ClientConfig;
use crate::connection::Connection;
use crate::error::ClusterError;
use crate::wire::messages::metadata_request::MetadataRequestTopic;
use crate::wire::messages::{FindCoordinatorRequest, MetadataRequest, MetadataResponse};
use crate::wire::{self, BrokerError};

/// The kind of coordinator that looks after consumer groups.
const COORDINATOR_OF_GROUP: i8 = 0;

/// A client of a cluster. Clones share its connections and what it knows.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    bootstrap: Vec<String>,
    cluster: Mutex<Cluster>,
    slots: Mutex<HashMap<i32, Arc<Slot>>>,
    /// The connection for whatever any broker can answer.
    seed: Slot,
}

/// The place of one connection; its lock is held while connecting, so that is done only once.
type Slot = tokio::sync::Mutex<Option<Connection>>;

impl Client {
    /// Connects to the first of the `bootstrap` addresses (`HOST:PORT`) that answers.
    ///
    /// # Errors
    /// When none of them answers: the error of the last.
    pub async fn connect(bootstrap: &[String], config: ClientConfig) -> Result<Self, ClusterError> {
        let client = Self {
            inner: Arc::new(Inner {
                config,
                bootstrap: bootstrap.to_vec(),
                cluster: Mutex::default(),
                slots: Mutex::default(),
                seed: Slot::default(),
            }),
        };
        let connection = client.any().await?;
        // No topics: only the brokers are asked for.
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        let response = connection.call(&request).await?;
        client.cluster().learn(&response, Instant::now());
        Ok(client)
    }

    /// How the client is configured.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// A connection to any broker: an open one, else to the first broker that answers.
    ///
    /// # Errors
    /// When none can be connected to.
    pub async fn any(&self) -> Result<Connection, ClusterError> {
        let mut seed = self.inner.seed.lock().await;
        if let Some(connection) = seed.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let mut addresses: Vec<String> = self.cluster().brokers.values().cloned().collect();
        for address in &self.inner.bootstrap {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let mut last = ClusterError::NoAddress;
        for address in addresses {
            match Connection::connect(&address, &self.inner.config.connection).await {
                Ok(connection) => {
                    *seed = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// The connection to a broker.
    ///
    /// # Errors
    /// When the cluster gives no address for it, or it cannot be connected to.
    pub async fn broker(&self, id: i32) -> Result<Connection, ClusterError> {
        let address = self.cluster().brokers.get(&id).cloned();
        let address = address.ok_or(ClusterError::UnknownBroker { broker: id })?;
        let slot = {
            let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(id).or_default())
        };
        let mut slot = slot.lock().await;
        match slot.as_ref() {
            Some(open) if !open.is_closed() && open.address() == address => Ok(open.clone()),
            _ => {
                let connection = Connection::connect(&address, &self.inner.config.connection).await?;
                *slot = Some(connection.clone());
                Ok(connection)
            }
        }
    }

    /// A connection to a broker for one user alone. Brokers answer a connection's requests one
    /// after the other, so requests that they hold back keep others waiting.
    ///
    /// # Errors
    /// When the cluster gives no address for it, or it cannot be connected to.
    pub async fn own_connection(&self, id: i32) -> Result<Connection, ClusterError> {
        let address = self.cluster().brokers.get(&id).cloned();
        let address = address.ok_or(ClusterError::UnknownBroker { broker: id })?;
        Ok(Connection::connect(&address, &self.inner.config.connection).await?)
    }

    /// The connection to the broker that topic changes go to.
    ///
    /// # Errors
    /// When it cannot be connected to.
    pub async fn controller(&self) -> Result<Connection, ClusterError> {
        let controller = self.cluster().controller;
        match controller {
            Some(id) => self.broker(id).await,
            None => self.any().await,
        }
    }

    /// What the cluster says of some topics (`None`: of all), asked for now. `create` lets the
    /// broker create what does not exist, if it is configured to.
    ///
    /// # Errors
    /// When no broker answers. Errors of single topics come in the response.
    pub async fn metadata(
        &self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<MetadataResponse, ClusterError> {
        let topics = topics.map(|topics| {
            let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(wire::topic_name(name)));
            topics.iter().map(topic).collect()
        });
        let connection = self.any().await?;
        let mut request = MetadataRequest::default().with_topics(topics);
        // Before version 4 the broker alone decides, and there is no such field.
        request.allow_auto_topic_creation = create || connection.version_of::<MetadataRequest>()? < 4;
        let response = connection.call(&request).await?;
        self.cluster().learn(&response, Instant::now());
        Ok(response)
    }

    /// What is known of a topic; asked for when not known or too old.
    ///
    /// # Errors
    /// When no broker answers, or there is no such topic. Retrying is up to the caller.
    pub async fn topic(&self, name: &str, create: bool) -> Result<Arc<TopicInfo>, ClusterError> {
        let age_max = self.inner.config.metadata_age_max;
        if let Some((topic, learnt)) = self.cluster().topic(name)
            && learnt.elapsed() < age_max
        {
            return Ok(topic.clone());
        }
        self.fresh_topic(name, create).await
    }

    /// As [`topic`](Self::topic), asked for now.
    ///
    /// # Errors
    /// When no broker answers, or there is no such topic.
    pub async fn fresh_topic(&self, name: &str, create: bool) -> Result<Arc<TopicInfo>, ClusterError> {
        let response = self.metadata(Some(&[name]), create).await?;
        let of_topic = |code| ClusterError::Topic { topic: name.to_owned(), code };
        let found = response
            .topics
            .iter()
            .find(|topic| topic.name.as_ref().is_some_and(|found| found.as_str() == name));
        if let Some(code) = found.and_then(|topic| wire::broker_error(topic.error_code)) {
            return Err(of_topic(code));
        }
        let cluster = self.cluster();
        let known = cluster.topic(name).map(|(topic, _)| topic.clone());
        known.ok_or_else(|| of_topic(BrokerError::UnknownTopicOrPartition))
    }

    /// As [`topic`](Self::topic), asking again while there is hope, for at most the operation
    /// timeout. A topic that does not exist is no hope unless `create` is set.
    ///
    /// # Errors
    /// When no broker answers, or there is no such topic.
    pub async fn topic_retrying(&self, name: &str, create: bool) -> Result<Arc<TopicInfo>, ClusterError> {
        let mut backoff = Backoff::new(&self.inner.config, self.inner.config.operation_timeout);
        loop {
            let error = match self.topic(name, create).await {
                Ok(topic) if !topic.partitions.is_empty() => return Ok(topic),
                Ok(_) => ClusterError::NoLeader { topic: name.to_owned(), partition: 0 },
                Err(error) => error,
            };
            let unknown = ClusterError::is_unknown_topic(&error);
            if !error.is_retriable() || (unknown && !create) || !backoff.wait().await {
                return Err(error);
            }
        }
    }

    /// The leader of a partition, from what is known of the topic.
    ///
    /// # Errors
    /// When there is no such partition, or it has no leader; the topic is then asked for again
    /// next time.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<PartitionInfo, ClusterError> {
        let known = self.topic(topic, false).await?;
        let info = known.partition(partition)?;
        if info.leader.is_none() {
            self.forget(topic);
            return Err(ClusterError::NoLeader { topic: topic.to_owned(), partition });
        }
        Ok(info.clone())
    }

    /// The connection to the leader of a partition.
    ///
    /// # Errors
    /// When there is no leader, or it cannot be connected to; the topic is then asked for again
    /// next time.
    pub async fn leader_connection(&self, topic: &str, partition: i32) -> Result<Connection, ClusterError> {
        let info = self.leader(topic, partition).await?;
        let connection = self.broker(info.leader.unwrap_or(-1)).await;
        if connection.is_err() {
            self.forget(topic);
        }
        connection
    }

    /// Forgets what is known of a topic, so that it is asked for again next time.
    pub fn forget(&self, topic: &str) {
        self.cluster().forget(topic);
    }

    /// The connection to the coordinator of a group, which is asked for now.
    ///
    /// # Errors
    /// When there is none, or it cannot be connected to. Retrying is up to the caller.
    pub async fn group_coordinator(&self, group: &str) -> Result<Connection, ClusterError> {
        let id = self.group_coordinator_id(group).await?;
        self.broker(id).await
    }

    /// The id of the broker that coordinates a group, asked for now.
    ///
    /// # Errors
    /// When there is none. Retrying is up to the caller.
    pub async fn group_coordinator_id(&self, group: &str) -> Result<i32, ClusterError> {
        let connection = self.any().await?;
        let request = FindCoordinatorRequest::default()
            .with_key(wire::string(group))
            .with_key_type(COORDINATOR_OF_GROUP);
        let response = connection.call(&request).await?;
        if let Some(code) = wire::broker_error(response.error_code) {
            return Err(ClusterError::Coordinator { group: group.to_owned(), code });
        }
        let address = format!("{}:{}", response.host, response.port);
        self.cluster().brokers.insert(response.node_id.0, address);
        Ok(response.node_id.0)
    }

    /// Ids of all brokers known.
    #[must_use]
    pub fn broker_ids(&self) -> Vec<i32> {
        let mut ids: Vec<i32> = self.cluster().brokers.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        // Nothing panics half-way through a change, so it is whole even behind a poisoned lock.
        self.inner.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClusterError {
    fn is_unknown_topic(&self) -> bool {
        matches!(self, Self::Topic { code: BrokerError::UnknownTopicOrPartition, .. })
    }
}
