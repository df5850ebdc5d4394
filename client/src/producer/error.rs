//! Why records could not be produced.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{CallError, ClusterError, advice};
use crate::wire::BrokerError;
use crate::wire::compression::CompressionError;

/// Why records could not be produced.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProduceError {
    /// The topic, its leader or the broker could not be found or reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The record is too large for this producer.
    #[error(
        "a record of {bytes} bytes for {topic:?} is larger than the {limit} that this producer takes; send smaller records, or raise record_bytes_max"
    )]
    RecordTooLarge {
        /// The topic.
        topic: String,
        /// Bytes of the record.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The broker refused the records.
    #[error("partition {partition} of {topic:?} does not take the records: {code}; {}", advice(*.code))]
    Refused {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The broker's error.
        code: BrokerError,
    },
    /// The records could not be delivered in time; whether some arrived is unknown.
    #[error(
        "records for partition {partition} of {topic:?} were not acknowledged within {after:?}, last because: {last}"
    )]
    DeliveryTimedOut {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The time given.
        after: Duration,
        /// The last failure.
        last: Arc<ProduceError>,
    },
    /// The batch could not be compressed.
    #[error("a batch for {topic:?} could not be compressed ({source}); try without compression")]
    Compression {
        /// The topic.
        topic: String,
        /// Why not.
        source: Arc<CompressionError>,
    },
    /// The broker gave no producer id.
    #[error("the broker gives no producer id: {code}; {}", advice(*.code))]
    NoProducerId {
        /// The broker's error.
        code: BrokerError,
    },
    /// An idempotent producer gave up on records before; what it sends now could be out of order.
    #[error("this idempotent producer has given up on earlier records ({first}); make a new one")]
    Stopped {
        /// What happened to those.
        first: Arc<ProduceError>,
    },
    /// The configuration contradicts itself.
    #[error("an idempotent producer needs acks=all; set it, or turn idempotence off")]
    IdempotenceNeedsAcksAll,
    /// The producer was dropped before the records were delivered.
    #[error("the producer was dropped before the records were sent; flush it first")]
    Dropped,
}

impl ProduceError {
    /// Whether sending again may help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Cluster(ClusterError::Topic { code, .. }) => code.is_retriable(),
            Self::Cluster(error) => error.is_retriable(),
            Self::Call(error) => error.is_retriable(),
            Self::Refused { code, .. } | Self::NoProducerId { code } => code.is_retriable(),
            _ => false,
        }
    }
}
