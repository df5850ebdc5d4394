//! Why taking part in a group failed.

use crate::consumer::ConsumeError;
use crate::error::{CallError, ClusterError, advice};
use crate::wire::BrokerError;

/// Why taking part in a group failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GroupError {
    /// The coordinator, a topic or a broker could not be found or reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A partition could not be read.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// The coordinator refused.
    #[error("cannot {action} group {group:?}: {code}; {}", advice(*.code))]
    Refused {
        /// What was to be done.
        action: &'static str,
        /// The group.
        group: String,
        /// The coordinator's error.
        code: BrokerError,
    },
    /// The group has gone on without this member, or is about to share its partitions anew.
    #[error(
        "group {group:?} is sharing its partitions anew ({code}); poll again, records not committed come again"
    )]
    Rebalanced {
        /// The group.
        group: String,
        /// The coordinator's error.
        code: BrokerError,
    },
    /// Nothing is committed, and the configuration names no place to start.
    #[error(
        "group {group:?} has committed nothing of partition {partition} of {topic:?}; start at the earliest or the latest"
    )]
    NothingCommitted {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// What another member or the coordinator sent is not the consumer protocol.
    #[error("a member of group {group:?} does not speak the consumer protocol; use another group name")]
    Protocol {
        /// The group.
        group: String,
    },
}

impl GroupError {
    /// Whether asking the coordinator, or another one, again may help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_retriable(),
            Self::Call(error) => error.is_retriable(),
            Self::Refused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }
}
