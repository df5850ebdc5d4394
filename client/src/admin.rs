//! Administration: topics and groups.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::cluster::TopicInfo;
use crate::config::Isolation;
use crate::connection::Connection;
use crate::error::{CallError, ClusterError, advice};
use crate::offsets::{OffsetError, OffsetSpec};
use crate::wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use crate::wire::messages::{
    ConsumerProtocolAssignment, CreateTopicsRequest, DeleteTopicsRequest, DescribeGroupsRequest,
    ListGroupsRequest, OffsetFetchRequest,
};
use crate::wire::{self, BrokerError};

/// The highest version of the consumer group's embedded messages that is read.
const ASSIGNMENT_VERSION_MAX: i16 = 3;

/// Why something could not be administered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AdminError {
    /// The broker to ask could not be found or reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Offsets could not be looked up.
    #[error(transparent)]
    Offset(#[from] OffsetError),
    /// The broker refused something about a topic.
    #[error("cannot {action} topic {topic:?}: {code}{}; {}", reason(.message), advice(*.code))]
    Topic {
        /// What was to be done.
        action: &'static str,
        /// The topic.
        topic: String,
        /// The broker's error.
        code: BrokerError,
        /// What the broker says about it.
        message: Option<String>,
    },
    /// The broker refused something about a group.
    #[error("cannot {action} group {group:?}: {code}; {}", advice(*.code))]
    Group {
        /// What was to be done.
        action: &'static str,
        /// The group.
        group: String,
        /// The broker's error.
        code: BrokerError,
    },
    /// A broker does not list its groups.
    #[error("broker {broker} does not list its groups: {code}; {}", advice(*.code))]
    ListGroups {
        /// The broker's id.
        broker: i32,
        /// The broker's error.
        code: BrokerError,
    },
}

fn reason(message: &Option<String>) -> String {
    let message = message.as_deref().unwrap_or_default().trim_end_matches('.');
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

impl AdminError {
    /// Whether asking again may help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_retriable(),
            Self::Call(error) => error.is_retriable(),
            Self::Offset(error) => error.is_retriable(),
            // By the protocol this may mend itself; to whoever names a topic, it is a wrong name.
            Self::Topic { code: BrokerError::UnknownTopicOrPartition, .. } => false,
            Self::Topic { code, .. } | Self::Group { code, .. } | Self::ListGroups { code, .. } => {
                code.is_retriable()
            }
        }
    }
}

/// A topic to be created.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its number of partitions; by default the broker's.
    pub partitions: Option<i32>,
    /// Its number of replicas; by default the broker's.
    pub replication_factor: Option<i16>,
    /// Its configuration.
    pub configs: BTreeMap<String, String>,
}

/// A partition with its offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// The partition.
    pub partition: i32,
    /// The id of its leader, when it has one.
    pub leader: Option<i32>,
    /// The epoch of that leader.
    pub leader_epoch: i32,
    /// Ids of the brokers that hold it.
    pub replicas: Vec<i32>,
    /// Ids of those that are in sync.
    pub in_sync: Vec<i32>,
    /// Offset of the first record; none without a leader.
    pub earliest: Option<i64>,
    /// Offset behind the last record; none without a leader.
    pub latest: Option<i64>,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// Its name.
    pub group: String,
    /// What its members use it for; `consumer` for consumer groups.
    pub protocol_type: String,
    /// Its state, where the broker tells it.
    pub state: String,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    /// The id the coordinator gave it.
    pub member_id: String,
    /// The name it gives itself.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// The partitions it has.
    pub assignment: Vec<(String, i32)>,
}

/// What a group has committed of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The committed offset.
    pub committed: i64,
    /// The end of the partition; none when it could not be asked for.
    pub latest: Option<i64>,
}

impl CommittedPartition {
    /// How many offsets the group is behind.
    #[must_use]
    pub fn lag(&self) -> Option<i64> {
        self.latest.map(|latest| (latest - self.committed).max(0))
    }
}

/// A group in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub group: String,
    /// Its state.
    pub state: String,
    /// What its members use it for.
    pub protocol_type: String,
    /// How it assigns partitions.
    pub protocol: String,
    /// Its members.
    pub members: Vec<MemberDescription>,
    /// What it has committed.
    pub committed: Vec<CommittedPartition>,
}

/// Retries an operation until it succeeds, there is no hope, or the operation timeout is over.
macro_rules! retrying {
    ($admin:expr, $attempt:expr) => {{
        let config = $admin.client.config();
        let mut backoff = Backoff::new(config, config.operation_timeout);
        loop {
            match $attempt.await {
                Err(error) if AdminError::is_retriable(&error) && backoff.wait().await => {}
                result => break result,
            }
        }
    }};
}

// After the macro that they use.
mod groups;
mod topics;

/// Administers topics and groups.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// An administrator that uses this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// When it exists, or the broker refuses.
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<(), AdminError> {
        retrying!(self, self.try_create(topic))
    }

    async fn try_create(&self, topic: &NewTopic) -> Result<(), AdminError> {
        let connection = self.client.controller().await?;
        let configs = topic.configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(wire::string(name))
                .with_value(Some(wire::string(value)))
        });
        // -1 leaves it to the broker, from version 4 on; older ones then say what they want.
        let created = CreatableTopic::default()
            .with_name(wire::topic_name(&topic.name))
            .with_num_partitions(topic.partitions.unwrap_or(-1))
            .with_replication_factor(topic.replication_factor.unwrap_or(-1))
            .with_configs(configs.collect());
        let timeout = self.client.config().connection.request_timeout;
        let request =
            CreateTopicsRequest::default().with_topics(vec![created]).with_timeout_ms(millis(timeout));
        let response = connection.call_held(&request, timeout).await?;
        for result in response.topics {
            let code = wire::broker_error(result.error_code);
            let message = result.error_message.map(|message| message.to_string());
            refused("create", &topic.name, code, message)?;
        }
        self.client.forget(&topic.name);
        Ok(())
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// When there is none, or the broker refuses.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), AdminError> {
        let attempt = || async {
            let connection = self.client.controller().await?;
            let timeout = self.client.config().connection.request_timeout;
            let request = DeleteTopicsRequest::default()
                .with_topic_names(vec![wire::topic_name(topic)])
                .with_timeout_ms(millis(timeout));
            let response = connection.call_held(&request, timeout).await?;
            for result in response.responses {
                let code = wire::broker_error(result.error_code);
                let message = result.error_message.map(|message| message.to_string());
                refused("delete", topic, code, message)?;
            }
            self.client.forget(topic);
            Ok::<_, AdminError>(())
        };
        retrying!(self, attempt())
    }

    /// All topics, by name; the broker's own ones too.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn topics(&self) -> Result<Vec<Arc<TopicInfo>>, AdminError> {
        let response = retrying!(self, async {
            let response = self.client.metadata(None, false).await;
            response.map_err(AdminError::from)
        })?;
        let mut cluster = crate::cluster::Cluster::default();
        cluster.learn(&response, tokio::time::Instant::now());
        let names = response.topics.iter().filter_map(|topic| topic.name.as_ref());
        let mut topics: Vec<_> =
            names.filter_map(|name| cluster.topic(name).map(|(topic, _)| topic.clone())).collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// The partitions of a topic with their offsets.
    ///
    /// # Errors
    /// When there is no such topic, or a leader does not answer.
    pub async fn describe_topic(&self, topic: &str) -> Result<Vec<PartitionDescription>, AdminError> {
        self.client.forget(topic);
        self.client.topic_retrying(topic, false).await?;
        retrying!(self, self.try_describe(topic))
    }

    async fn try_describe(&self, topic: &str) -> Result<Vec<PartitionDescription>, AdminError> {
        let info = self.client.topic(topic, false).await?;
        let led = info.partitions.iter().filter(|partition| partition.leader.is_some());
        let led: Vec<i32> = led.map(|partition| partition.partition).collect();
        let earliest = self.offsets(topic, &led, OffsetSpec::Earliest).await?;
        let latest = self.offsets(topic, &led, OffsetSpec::Latest).await?;
        let describe = |partition: &crate::cluster::PartitionInfo| PartitionDescription {
            partition: partition.partition,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            earliest: earliest.get(&partition.partition).copied(),
            latest: latest.get(&partition.partition).copied(),
            replicas: partition.replicas.clone(),
            in_sync: partition.in_sync.clone(),
        };
        Ok(info.partitions.iter().map(describe).collect())
    }

    async fn offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Result<HashMap<i32, i64>, OffsetError> {
        let wanted: Vec<_> = partitions.iter().map(|partition| (*partition, spec)).collect();
        self.client.offsets(topic, &wanted, Isolation::ReadUncommitted).await
    }

    /// All groups of all brokers, by name.
    ///
    /// # Errors
    /// When a broker does not answer.
    pub async fn groups(&self) -> Result<Vec<GroupListing>, AdminError> {
        let mut groups = Vec::new();
        for broker in self.client.broker_ids() {
            groups.extend(retrying!(self, self.groups_of(broker))?);
        }
        groups.sort_unstable_by(|a: &GroupListing, b| a.group.cmp(&b.group));
        Ok(groups)
    }

    async fn groups_of(&self, broker: i32) -> Result<Vec<GroupListing>, AdminError> {
        let connection = self.client.broker(broker).await?;
        let response = connection.call(&ListGroupsRequest::default()).await?;
        if let Some(code) = wire::broker_error(response.error_code) {
            return Err(AdminError::ListGroups { broker, code });
        }
        let groups = response.groups.into_iter().map(|group| GroupListing {
            group: group.group_id.to_string(),
            protocol_type: group.protocol_type.to_string(),
            state: group.group_state.to_string(),
        });
        Ok(groups.collect())
    }

    /// A group with its members, what it has committed and how far it is behind.
    ///
    /// # Errors
    /// When there is no such group, or its coordinator does not answer.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, AdminError> {
        let (mut description, committed) = retrying!(self, self.try_describe_group(group))?;
        // A group that nobody knows is described as dead and empty.
        if committed.is_empty() && description.members.is_empty() && description.state == "Dead" {
            return Err(AdminError::Group {
                action: "describe",
                group: group.to_owned(),
                code: BrokerError::GroupIdNotFound,
            });
        }
        let mut topics: BTreeMap<String, Vec<(i32, i64)>> = BTreeMap::new();
        for (topic, partition, offset) in committed {
            topics.entry(topic).or_default().push((partition, offset));
        }
        for (topic, mut partitions) in topics {
            partitions.sort_unstable();
            let numbers: Vec<i32> = partitions.iter().map(|(partition, _)| *partition).collect();
            // A topic may have been deleted since: its commits are shown without a lag.
            let latest = self.offsets(&topic, &numbers, OffsetSpec::Latest).await;
            let latest = latest.unwrap_or_default();
            for (partition, committed) in partitions {
                description.committed.push(CommittedPartition {
                    topic: topic.clone(),
                    partition,
                    committed,
                    latest: latest.get(&partition).copied(),
                });
            }
        }
        Ok(description)
    }

    async fn try_describe_group(
        &self,
        group: &str,
    ) -> Result<(GroupDescription, Vec<(String, i32, i64)>), AdminError> {
        let connection = self.client.group_coordinator(group).await?;
        let refused = |code| AdminError::Group { action: "describe", group: group.to_owned(), code };
        let request = DescribeGroupsRequest::default().with_groups(vec![wire::string(group).into()]);
        let response = connection.call(&request).await?;
        let found = response.groups.into_iter().next();
        let found = found.ok_or_else(|| refused(BrokerError::GroupIdNotFound))?;
        if let Some(code) = wire::broker_error(found.error_code) {
            return Err(refused(code));
        }
        let members = found.members.into_iter().map(|member| MemberDescription {
            member_id: member.member_id.to_string(),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment: assignment_of(&member.member_assignment),
        });
        let description = GroupDescription {
            group: group.to_owned(),
            state: found.group_state.to_string(),
            protocol_type: found.protocol_type.to_string(),
            protocol: found.protocol_data.to_string(),
            members: members.collect(),
            committed: Vec::new(),
        };
        let committed = committed_of(&connection, group).await;
        Ok((description, committed?))
    }
}

/// Every offset that a group has committed.
async fn committed_of(connection: &Connection, group: &str) -> Result<Vec<(String, i32, i64)>, AdminError> {
    let mut request = OffsetFetchRequest::default().with_group_id(wire::string(group).into());
    // From version 2 on, no list means all topics; older brokers cannot be asked for all.
    request.topics =
        if connection.version_of::<OffsetFetchRequest>()? >= 2 { None } else { Some(Vec::new()) };
    let response = connection.call(&request).await?;
    let refused = |code| AdminError::Group { action: "read the offsets of", group: group.to_owned(), code };
    if let Some(code) = wire::broker_error(response.error_code) {
        return Err(refused(code));
    }
    let mut committed = Vec::new();
    for topic in response.topics {
        for partition in topic.partitions {
            if let Some(code) = wire::broker_error(partition.error_code) {
                return Err(refused(code));
            }
            if partition.committed_offset >= 0 {
                let entry = (topic.name.to_string(), partition.partition_index);
                committed.push((entry.0, entry.1, partition.committed_offset));
            }
        }
    }
    Ok(committed)
}

/// The partitions in a member's assignment; none when it is not that of a consumer.
fn assignment_of(bytes: &bytes::Bytes) -> Vec<(String, i32)> {
    let assignment = wire::decode_embedded::<ConsumerProtocolAssignment>(bytes, ASSIGNMENT_VERSION_MAX);
    let topics = assignment.map(|found| found.assigned_partitions).unwrap_or_default();
    topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|number| (topic.topic.to_string(), *number)))
        .collect()
}

fn refused(
    action: &'static str,
    topic: &str,
    code: Option<BrokerError>,
    message: Option<String>,
) -> Result<(), AdminError> {
    code.map_or(Ok(()), |code| Err(AdminError::Topic { action, topic: topic.to_owned(), code, message }))
}

fn millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
