//! The requests of the classic group protocol, one method each.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::assignor::{Subscriber, assign_ranges};
use super::error::GroupError;
use crate::client::Client;
use crate::config::GroupConfig;
use crate::connection::Connection;
use crate::error::{CallError, ClusterError};
use crate::wire::messages::consumer_protocol_assignment::TopicPartition;
use crate::wire::messages::join_group_request::JoinGroupRequestProtocol;
use crate::wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::messages::offset_fetch_request::OffsetFetchRequestTopic;
use crate::wire::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use crate::wire::{self, BrokerError};

/// What the members of consumer groups call their protocol.
const PROTOCOL_TYPE: &str = "consumer";
/// The name of the range assignor.
const RANGE: &str = "range";
/// The version in which subscriptions and assignments are sent: every client reads it.
const EMBEDDED_VERSION: i16 = 0;
/// The highest version in which those of others are read.
const EMBEDDED_VERSION_MAX: i16 = 3;

/// A partition of a topic, and an offset in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// What identifies a member.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) group: String,
    pub(crate) member_id: String,
    pub(crate) generation: i32,
}

impl Member {
    fn group_id(&self) -> GroupId {
        wire::string(&self.group).into()
    }

    /// The error of a code: one that says "join again" apart from one that says "no".
    fn check(&self, action: &'static str, code: i16) -> Result<(), GroupError> {
        let group = self.group.clone();
        match wire::broker_error(code) {
            None => Ok(()),
            Some(
                code @ (BrokerError::RebalanceInProgress
                | BrokerError::IllegalGeneration
                | BrokerError::UnknownMemberId
                | BrokerError::MemberIdRequired),
            ) => Err(GroupError::Rebalanced { group, code }),
            Some(code) => Err(GroupError::Refused { action, group, code }),
        }
    }

    /// Joins: waits until all members have. Keeps the member id that the coordinator gives.
    pub(crate) async fn join(
        &mut self,
        connection: &Connection,
        config: &GroupConfig,
        topics: &[String],
    ) -> Result<JoinGroupResponse, GroupError> {
        let subscription = ConsumerProtocolSubscription::default()
            .with_topics(topics.iter().map(|topic| wire::string(topic)).collect());
        let metadata = wire::encode_embedded(&subscription, EMBEDDED_VERSION);
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(millis(config.session_timeout))
            .with_rebalance_timeout_ms(millis(config.rebalance_timeout))
            .with_member_id(wire::string(&self.member_id))
            .with_protocol_type(wire::string(PROTOCOL_TYPE))
            .with_protocols(vec![
                JoinGroupRequestProtocol::default()
                    .with_name(wire::string(RANGE))
                    .with_metadata(metadata.map_err(|_| self.not_the_protocol())?),
            ]);
        // Version 0 has the members wait as long as the session.
        let held = config.rebalance_timeout.max(config.session_timeout);
        let response = connection.call_held(&request, held).await?;
        match wire::broker_error(response.error_code) {
            Some(BrokerError::UnknownMemberId) => self.member_id.clear(),
            Some(BrokerError::MemberIdRequired) | None => {
                self.member_id = response.member_id.to_string();
            }
            Some(_) => {}
        }
        self.check("join", response.error_code)?;
        self.generation = response.generation_id;
        Ok(response)
    }

    /// As the leader of the group, shares out the partitions of all topics wanted.
    pub(crate) async fn plan(
        &self,
        client: &Client,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>, GroupError> {
        if joined.leader != joined.member_id {
            return Ok(Vec::new());
        }
        let mut members = Vec::new();
        for member in &joined.members {
            let subscription =
                wire::decode_embedded::<ConsumerProtocolSubscription>(&member.metadata, EMBEDDED_VERSION_MAX)
                    .map_err(|_| self.not_the_protocol())?;
            members.push(Subscriber {
                member: member.member_id.to_string(),
                topics: subscription.topics.iter().map(|topic| topic.to_string()).collect(),
            });
        }
        let mut topics: Vec<&str> =
            members.iter().flat_map(|member| &member.topics).map(String::as_str).collect();
        topics.sort_unstable();
        topics.dedup();
        let response = client.metadata(Some(&topics), false).await?;
        let mut partitions = BTreeMap::new();
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            match wire::broker_error(topic.error_code) {
                None => {
                    partitions.insert(name.to_string(), topic.partitions.len() as i32);
                }
                // The other topics are read all the same.
                Some(code) => tracing::warn!(topic = name.as_str(), %code, "topic not assigned"),
            }
        }
        let plan = assign_ranges(&members, &partitions);
        plan.into_iter()
            .map(|(member, topics)| {
                let topics = topics.into_iter().map(|(topic, partitions)| {
                    TopicPartition::default().with_topic(wire::topic_name(&topic)).with_partitions(partitions)
                });
                let assignment =
                    ConsumerProtocolAssignment::default().with_assigned_partitions(topics.collect());
                let bytes = wire::encode_embedded(&assignment, EMBEDDED_VERSION)
                    .map_err(|_| self.not_the_protocol())?;
                Ok(SyncGroupRequestAssignment::default()
                    .with_member_id(wire::string(&member))
                    .with_assignment(bytes))
            })
            .collect()
    }

    /// Hands in the leader's plan, or nothing, and gets this member's share.
    pub(crate) async fn sync(
        &self,
        connection: &Connection,
        config: &GroupConfig,
        plan: Vec<SyncGroupRequestAssignment>,
    ) -> Result<Vec<(Arc<str>, i32)>, GroupError> {
        let request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(wire::string(&self.member_id))
            .with_assignments(plan);
        let response = connection.call_held(&request, config.rebalance_timeout).await?;
        self.check("join", response.error_code)?;
        self.share(&response.assignment)
    }

    fn share(&self, bytes: &Bytes) -> Result<Vec<(Arc<str>, i32)>, GroupError> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let assignment = wire::decode_embedded::<ConsumerProtocolAssignment>(bytes, EMBEDDED_VERSION_MAX)
            .map_err(|_| self.not_the_protocol())?;
        let mut share = Vec::new();
        for topic in assignment.assigned_partitions {
            let name: Arc<str> = topic.topic.as_str().into();
            share.extend(topic.partitions.iter().map(|partition| (Arc::clone(&name), *partition)));
        }
        Ok(share)
    }

    /// Tells the coordinator that this member lives.
    pub(crate) async fn heartbeat(&self, connection: &Connection) -> Result<(), GroupError> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(wire::string(&self.member_id));
        let response = connection.call(&request).await?;
        self.check("stay in", response.error_code)
    }

    /// Leaves, so that the others need not wait for the session to time out.
    pub(crate) async fn leave(&self, connection: &Connection) -> Result<(), GroupError> {
        let request = LeaveGroupRequest::default()
            .with_group_id(self.group_id())
            .with_member_id(wire::string(&self.member_id));
        let response = connection.call(&request).await?;
        self.check("leave", response.error_code)
    }

    /// Commits offsets.
    pub(crate) async fn commit(
        &self,
        connection: &Connection,
        offsets: &[PartitionOffset],
    ) -> Result<(), GroupError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for offset in offsets {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(offset.partition)
                .with_committed_offset(offset.offset)
                .with_committed_metadata(Some(wire::string("")));
            topics.entry(&offset.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetCommitRequestTopic::default().with_name(wire::topic_name(topic)).with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(wire::string(&self.member_id))
            .with_topics(topics.collect());
        let response = connection.call(&request).await?;
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        for partition in partitions {
            self.check("commit offsets of", partition.error_code)?;
        }
        Ok(())
    }

    /// What the group has committed of some partitions; those without a commit are left out.
    pub(crate) async fn committed(
        &self,
        connection: &Connection,
        partitions: &[(Arc<str>, i32)],
    ) -> Result<HashMap<(Arc<str>, i32), i64>, GroupError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in partitions {
            topics.entry(topic).or_default().push(*partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetFetchRequestTopic::default()
                .with_name(wire::topic_name(topic))
                .with_partition_indexes(partitions)
        });
        let request =
            OffsetFetchRequest::default().with_group_id(self.group_id()).with_topics(Some(topics.collect()));
        let response = connection.call(&request).await?;
        self.check("read the offsets of", response.error_code)?;
        let mut committed = HashMap::new();
        for topic in response.topics {
            let name: Arc<str> = topic.name.as_str().into();
            for partition in topic.partitions {
                self.check("read the offsets of", partition.error_code)?;
                if partition.committed_offset >= 0 {
                    let place = (Arc::clone(&name), partition.partition_index);
                    committed.insert(place, partition.committed_offset);
                }
            }
        }
        Ok(committed)
    }

    fn not_the_protocol(&self) -> GroupError {
        GroupError::Protocol { group: self.group.clone() }
    }
}

/// Opens a connection to the coordinator. It is not shared: joining keeps it waiting.
pub(crate) async fn coordinator(client: &Client, group: &str) -> Result<Connection, GroupError> {
    let id = client.group_coordinator_id(group).await?;
    Ok(client.own_connection(id).await?)
}

/// Whether the coordinator has to be looked for again.
pub(crate) fn coordinator_is_gone(error: &GroupError) -> bool {
    match error {
        GroupError::Cluster(ClusterError::Call(error)) | GroupError::Call(error) => {
            matches!(error, CallError::Closed { .. } | CallError::TimedOut { .. })
        }
        GroupError::Cluster(error) => error.is_retriable(),
        GroupError::Refused { code, .. } => matches!(
            code,
            BrokerError::NotCoordinator
                | BrokerError::CoordinatorNotAvailable
                | BrokerError::CoordinatorLoadInProgress
        ),
        _ => false,
    }
}

fn millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
