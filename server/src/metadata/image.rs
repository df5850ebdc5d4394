//! The state that the commands make: pure, the same wherever the same commands are applied.

use super::{BrokerConfigs, Command};
use crate::quotas::Settings;
use std::collections::BTreeMap;
use thiserror::Error;
use uuid::Uuid;

/// A topic as the commands tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicImage {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) config: BTreeMap<String, String>,
    /// The leader epoch of each partition.
    pub(crate) leader_epochs: Vec<i32>,
}

/// How a client tells which topic it means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WhichTopic {
    Name(String),
    Id(Uuid),
}

impl From<Uuid> for WhichTopic {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

/// All metadata at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Image {
    pub(crate) cluster_id: String,
    pub(crate) topics: BTreeMap<String, TopicImage>,
    /// Deleted for clients, not yet from the disk.
    pub(crate) deleting: BTreeMap<Uuid, TopicImage>,
    pub(crate) broker_configs: BrokerConfigs,
    pub(crate) client_quotas: Settings,
    /// The first producer id that was never given out.
    pub(crate) next_producer_id: i64,
}

/// A command that does not fit the state: the log was not written by this program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the command does not fit the metadata: {0}")]
pub(crate) struct ApplyError(String);

impl Image {
    /// The topic that is meant, unless it was deleted.
    pub(crate) fn find(&self, which: &WhichTopic) -> Option<&TopicImage> {
        match which {
            WhichTopic::Name(name) => self.topics.get(name),
            WhichTopic::Id(id) => self.topics.values().find(|topic| topic.id == *id),
        }
    }

    /// The topic that is meant, if it was deleted and something of it is left.
    pub(crate) fn find_deleting(&self, which: &WhichTopic) -> Option<&TopicImage> {
        match which {
            WhichTopic::Name(name) => self.deleting.values().find(|topic| topic.name == *name),
            WhichTopic::Id(id) => self.deleting.get(id),
        }
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut TopicImage, ApplyError> {
        let topic = self.topics.values_mut().find(|topic| topic.id == id);
        topic.ok_or_else(|| ApplyError(format!("no topic {id}")))
    }

    /// Applies one command. A refused one changes nothing.
    pub(crate) fn apply(&mut self, command: &Command) -> Result<(), ApplyError> {
        match command {
            Command::ClusterCreated { cluster_id } => {
                if !self.cluster_id.is_empty() {
                    return Err(ApplyError("the cluster has an id already".into()));
                }
                self.cluster_id.clone_from(cluster_id);
            }
            Command::TopicCreated { name, id, partitions, config, leader_epoch } => {
                if self.topics.contains_key(name) || self.topics.values().any(|topic| topic.id == *id) {
                    return Err(ApplyError(format!("topic {name} exists")));
                }
                let count = usize::try_from(*partitions).ok().filter(|count| *count > 0);
                let count = count.ok_or_else(|| ApplyError(format!("{partitions} partitions")))?;
                let topic = TopicImage {
                    name: name.clone(),
                    id: *id,
                    config: config.clone(),
                    leader_epochs: vec![*leader_epoch; count],
                };
                self.topics.insert(name.clone(), topic);
            }
            Command::TopicConfigured { id, config } => {
                self.topic_mut(*id)?.config.clone_from(config);
            }
            Command::PartitionsAdded { id, total, leader_epoch } => {
                let topic = self.topic_mut(*id)?;
                let total = usize::try_from(*total).ok().filter(|total| *total > topic.leader_epochs.len());
                let total = total.ok_or_else(|| ApplyError(format!("topic {id} has as many partitions")))?;
                topic.leader_epochs.resize(total, *leader_epoch);
            }
            Command::BrokerConfigured { node_id, config } => {
                if config.is_empty() {
                    self.broker_configs.remove(node_id);
                } else {
                    self.broker_configs.insert(*node_id, config.clone());
                }
            }
            Command::ClientQuotasSet { client_id, quotas } => {
                if quotas.is_empty() {
                    self.client_quotas.remove(client_id);
                } else {
                    self.client_quotas.insert(client_id.clone(), quotas.clone());
                }
            }
            Command::TopicDeleted { id } => {
                let name = self.topics.values().find(|topic| topic.id == *id).map(|topic| topic.name.clone());
                let topic = name.and_then(|name| self.topics.remove(&name));
                let topic = topic.ok_or_else(|| ApplyError(format!("no topic {id}")))?;
                self.deleting.insert(*id, topic);
            }
            Command::TopicPurged { id } => {
                self.deleting.remove(id).ok_or_else(|| ApplyError(format!("topic {id} was not deleted")))?;
            }
            Command::LeaderEpochsRaised { to } => {
                for epoch in self.topics.values_mut().flat_map(|topic| &mut topic.leader_epochs) {
                    *epoch = (*epoch).max(*to);
                }
            }
            Command::ProducerIdsReserved { end } => {
                if *end < self.next_producer_id {
                    return Err(ApplyError(format!("producer ids go back to {end}")));
                }
                self.next_producer_id = *end;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(name: &str, id: u128) -> Command {
        Command::TopicCreated {
            name: name.into(),
            id: Uuid::from_u128(id),
            partitions: 2,
            config: BTreeMap::new(),
            leader_epoch: 3,
        }
    }

    #[test]
    fn a_topic_lives_and_dies_and_its_name_can_be_used_again() {
        let mut image = Image::default();
        image.apply(&created("a", 1)).unwrap();
        assert!(image.apply(&created("a", 2)).is_err());
        image.apply(&Command::LeaderEpochsRaised { to: 5 }).unwrap();
        assert_eq!(image.topics["a"].leader_epochs, [5, 5]);
        image.apply(&Command::TopicDeleted { id: Uuid::from_u128(1) }).unwrap();
        assert!(image.topics.is_empty());
        image.apply(&created("a", 2)).unwrap();
        assert_eq!(image.deleting.len(), 1);
        image.apply(&Command::TopicPurged { id: Uuid::from_u128(1) }).unwrap();
        assert_eq!((image.topics.len(), image.deleting.len()), (1, 0));
    }

    #[test]
    fn a_refused_command_changes_nothing() {
        let mut image = Image::default();
        image.apply(&Command::ProducerIdsReserved { end: 10 }).unwrap();
        let before = image.clone();
        let refused = [
            Command::ProducerIdsReserved { end: 9 },
            Command::TopicDeleted { id: Uuid::from_u128(9) },
            Command::TopicPurged { id: Uuid::from_u128(9) },
            Command::TopicConfigured { id: Uuid::from_u128(9), config: BTreeMap::new() },
            Command::PartitionsAdded { id: Uuid::from_u128(9), total: 9, leader_epoch: 0 },
            Command::TopicCreated {
                name: "x".into(),
                id: Uuid::from_u128(1),
                partitions: 0,
                config: BTreeMap::new(),
                leader_epoch: 0,
            },
        ];
        for command in refused {
            assert!(image.apply(&command).is_err());
            assert_eq!(image, before);
        }
    }

    #[test]
    fn partitions_are_added_and_never_taken() {
        let mut image = Image::default();
        image.apply(&created("a", 1)).unwrap();
        let id = Uuid::from_u128(1);
        image.apply(&Command::PartitionsAdded { id, total: 4, leader_epoch: 7 }).unwrap();
        assert_eq!(image.topics["a"].leader_epochs, [3, 3, 7, 7]);
        assert!(image.apply(&Command::PartitionsAdded { id, total: 4, leader_epoch: 7 }).is_err());
        assert!(image.apply(&Command::PartitionsAdded { id, total: -1, leader_epoch: 7 }).is_err());
        let config = BTreeMap::from([("durability".to_owned(), "fsync".to_owned())]);
        image.apply(&Command::TopicConfigured { id, config: config.clone() }).unwrap();
        assert_eq!((image.topics["a"].config.clone(), image.topics["a"].leader_epochs.len()), (config, 4));
    }

    #[test]
    fn commands_are_read_back_as_they_were_written() {
        let command = created("orders", 7);
        let json = serde_json::to_string(&command).unwrap();
        assert!(json.starts_with(r#"{"command":"topic_created","name":"orders""#), "{json}");
        assert_eq!(serde_json::from_str::<Command>(&json).unwrap(), command);
    }
}
