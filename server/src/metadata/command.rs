//! The commands of the metadata log. A record's value is one of them as JSON, so that a dump can be
//! read by a person. Fields are only ever added, with a default.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A change of the metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum Command {
    /// The first command of all.
    ClusterCreated { cluster_id: String },
    /// A topic, and what it was created with.
    TopicCreated {
        name: String,
        id: Uuid,
        partitions: i32,
        #[serde(default)]
        config: BTreeMap<String, String>,
        /// The epoch that its partitions begin with.
        leader_epoch: i32,
    },
    /// A topic's own configuration, all of it.
    TopicConfigured { id: Uuid, config: BTreeMap<String, String> },
    /// A topic has more partitions: `total` in all, the new ones with this epoch.
    PartitionsAdded { id: Uuid, total: i32, leader_epoch: i32 },
    /// What is set for the broker of a number, or for all brokers; all of it.
    BrokerConfigured { node_id: Option<i32>, config: BTreeMap<String, String> },
    /// The quotas of a client id, or of all that have none of their own; all of them.
    ClientQuotasSet { client_id: Option<String>, quotas: BTreeMap<String, f64> },
    /// A topic is gone for clients; its logs are about to be removed.
    TopicDeleted { id: Uuid },
    /// The logs of a deleted topic are removed.
    TopicPurged { id: Uuid },
    /// No partition has a lower epoch from here on: after an unclean stop.
    LeaderEpochsRaised { to: i32 },
    /// Producer ids below this one may have been given out.
    ProducerIdsReserved { end: i64 },
}
