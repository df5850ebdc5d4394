//! Changing topics: their configuration, their number of partitions, their records.

use super::{Admin, AdminError, millis, refused};
use crate::backoff::Backoff;
use crate::wire;
use crate::wire::messages::create_partitions_request::CreatePartitionsTopic;
use crate::wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use crate::wire::messages::describe_configs_request::DescribeConfigsResource;
use crate::wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use crate::wire::messages::{
    CreatePartitionsRequest, DeleteRecordsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};
use std::collections::BTreeMap;

/// The type of configuration that is a topic's.
const TOPIC: i8 = 2;
/// The source of a value that was set for the topic.
const SET_FOR_TOPIC: i8 = 1;
/// What is done to a key of a configuration.
const SET: i8 = 0;
const DELETE: i8 = 1;
/// The offset that stands for the end of a partition.
const END: i64 = -1;

impl Admin {
    /// What is configured for a topic itself, by key; defaults are left out.
    ///
    /// # Errors
    /// When there is no such topic, or the broker does not answer.
    pub async fn topic_config(&self, topic: &str) -> Result<BTreeMap<String, String>, AdminError> {
        retrying!(self, self.try_topic_config(topic))
    }

    async fn try_topic_config(&self, topic: &str) -> Result<BTreeMap<String, String>, AdminError> {
        let connection = self.client.controller().await?;
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(wire::string(topic))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let mut found = BTreeMap::new();
        for result in connection.call(&request).await?.results {
            let message = result.error_message.map(|message| message.to_string());
            refused("describe", topic, wire::broker_error(result.error_code), message)?;
            let own = result.configs.into_iter().filter(|one| one.config_source == SET_FOR_TOPIC);
            // Values that are secret are not told.
            found.extend(own.filter_map(|one| Some((one.name.to_string(), one.value?.to_string()))));
        }
        Ok(found)
    }

    /// Changes keys of a topic's configuration; `None` takes a key back to its default.
    ///
    /// # Errors
    /// When there is no such topic, a value does not fit, or the broker does not answer.
    pub async fn alter_topic(
        &self,
        topic: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), AdminError> {
        retrying!(self, self.try_alter(topic, changes))
    }

    async fn try_alter(
        &self,
        topic: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), AdminError> {
        let connection = self.client.controller().await?;
        let change = |(name, value): (&String, &Option<String>)| {
            AlterableConfig::default()
                .with_name(wire::string(name))
                .with_config_operation(if value.is_some() { SET } else { DELETE })
                .with_value(value.as_deref().map(wire::string))
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(wire::string(topic))
            .with_configs(changes.iter().map(change).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        for result in connection.call(&request).await?.responses {
            let message = result.error_message.map(|message| message.to_string());
            refused("alter", topic, wire::broker_error(result.error_code), message)?;
        }
        Ok(())
    }

    /// Gives a topic more partitions, so that it has this many in all. Records with keys may go to other partitions
    /// than before.
    ///
    /// # Errors
    /// When there is no such topic, it has that many already, or the broker does not answer.
    pub async fn add_partitions(&self, topic: &str, total: i32) -> Result<(), AdminError> {
        retrying!(self, self.try_add_partitions(topic, total))
    }

    async fn try_add_partitions(&self, topic: &str, total: i32) -> Result<(), AdminError> {
        let connection = self.client.controller().await?;
        let timeout = self.client.config().connection.request_timeout;
        let asked = CreatePartitionsTopic::default().with_name(wire::topic_name(topic)).with_count(total);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![asked.with_assignments(None)])
            .with_timeout_ms(millis(timeout));
        for result in connection.call_held(&request, timeout).await?.results {
            let message = result.error_message.map(|message| message.to_string());
            refused("add partitions to", topic, wire::broker_error(result.error_code), message)?;
        }
        self.client.forget(topic);
        Ok(())
    }

    /// Deletes the records of some partitions that are before an offset, or all that are there now for `None`. Returns
    /// where each partition starts now.
    ///
    /// # Errors
    /// When there is no such partition, it ends before the offset, or its leader does not answer.
    pub async fn delete_records(
        &self,
        topic: &str,
        before: &[(i32, Option<i64>)],
    ) -> Result<BTreeMap<i32, i64>, AdminError> {
        retrying!(self, self.try_delete_records(topic, before))
    }

    async fn try_delete_records(
        &self,
        topic: &str,
        before: &[(i32, Option<i64>)],
    ) -> Result<BTreeMap<i32, i64>, AdminError> {
        let mut by_leader: BTreeMap<i32, Vec<DeleteRecordsPartition>> = BTreeMap::new();
        for (partition, offset) in before {
            let info = self.client.leader(topic, *partition).await?;
            let asked = DeleteRecordsPartition::default()
                .with_partition_index(*partition)
                .with_offset(offset.unwrap_or(END));
            by_leader.entry(info.leader.unwrap_or(-1)).or_default().push(asked);
        }
        let timeout = self.client.config().connection.request_timeout;
        let mut starts = BTreeMap::new();
        for (leader, partitions) in by_leader {
            let connection = self.client.broker(leader).await?;
            let asked =
                DeleteRecordsTopic::default().with_name(wire::topic_name(topic)).with_partitions(partitions);
            let request =
                DeleteRecordsRequest::default().with_topics(vec![asked]).with_timeout_ms(millis(timeout));
            let response = connection.call_held(&request, timeout).await?;
            for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
                refused("delete records of", topic, wire::broker_error(partition.error_code), None)?;
                starts.insert(partition.partition_index, partition.low_watermark);
            }
        }
        Ok(starts)
    }
}
