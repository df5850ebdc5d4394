//! Changing groups that nobody is in: what they have committed, and whether they are there.

use super::{Admin, AdminError};
use crate::backoff::Backoff;
use crate::group::PartitionOffset;
use crate::wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::messages::{DeleteGroupsRequest, OffsetCommitRequest};
use crate::wire::{self, BrokerError};
use std::collections::BTreeMap;

/// The generation of one who is no member.
const NO_GENERATION: i32 = -1;

impl Admin {
    /// Sets what a group has committed. The group comes into being if there is none.
    ///
    /// # Errors
    /// When the group has members, a partition does not exist, or the coordinator does not answer.
    pub async fn set_offsets(&self, group: &str, offsets: &[PartitionOffset]) -> Result<(), AdminError> {
        retrying!(self, self.try_set_offsets(group, offsets))
    }

    async fn try_set_offsets(&self, group: &str, offsets: &[PartitionOffset]) -> Result<(), AdminError> {
        let connection = self.client.group_coordinator(group).await?;
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for one in offsets {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(one.partition)
                .with_committed_offset(one.offset)
                .with_committed_metadata(Some(wire::string("")));
            topics.entry(&one.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetCommitRequestTopic::default().with_name(wire::topic_name(topic)).with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(wire::string(group).into())
            .with_generation_id_or_member_epoch(NO_GENERATION)
            .with_topics(topics.collect());
        let response = connection.call(&request).await?;
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            let code = match wire::broker_error(partition.error_code) {
                None => continue,
                // To a group with members one who is none is a stranger.
                Some(BrokerError::UnknownMemberId) => BrokerError::NonEmptyGroup,
                Some(code) => code,
            };
            return Err(AdminError::Group { action: "set the offsets of", group: group.to_owned(), code });
        }
        Ok(())
    }

    /// Deletes a group with all that it has committed.
    ///
    /// # Errors
    /// When there is none, it has members, or the coordinator does not answer.
    pub async fn delete_group(&self, group: &str) -> Result<(), AdminError> {
        retrying!(self, self.try_delete_group(group))
    }

    async fn try_delete_group(&self, group: &str) -> Result<(), AdminError> {
        let connection = self.client.group_coordinator(group).await?;
        let request = DeleteGroupsRequest::default().with_groups_names(vec![wire::string(group).into()]);
        for result in connection.call(&request).await?.results {
            if let Some(code) = wire::broker_error(result.error_code) {
                return Err(AdminError::Group { action: "delete", group: group.to_owned(), code });
            }
        }
        Ok(())
    }
}
