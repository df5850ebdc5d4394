//! Why records could not be consumed.

use std::sync::Arc;

use crate::error::{ClusterError, advice};
use crate::offsets::OffsetError;
use crate::wire::BrokerError;
use crate::wire::batch::BatchError;

/// Why records could not be consumed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConsumeError {
    /// The topic, its leader or the broker could not be found or reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The offset to start at could not be looked up.
    #[error(transparent)]
    Offset(#[from] OffsetError),
    /// The broker refused.
    #[error("cannot fetch from partition {partition} of {topic:?}: {code}; {}", advice(*.code))]
    Refused {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The broker's error.
        code: BrokerError,
    },
    /// The wanted offset is not in the log.
    #[error(
        "partition {partition} of {topic:?} does not have offset {offset}; start at the earliest or the latest"
    )]
    OutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// What came is not readable.
    #[error(
        "partition {partition} of {topic:?} cannot be read from offset {offset} ({source}); check the log on the broker"
    )]
    Damaged {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset asked for.
        offset: i64,
        /// What is wrong with it.
        source: Arc<BatchError>,
    },
    /// The broker sends less than a whole batch.
    #[error(
        "the broker sends only part of the batch at offset {offset} of partition {partition} of {topic:?}; raise partition_bytes_max"
    )]
    Cut {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset asked for.
        offset: i64,
    },
    /// The background task of the consumer is gone, with the runtime it ran on.
    #[error("the consumer's background task has ended; make a new consumer")]
    Ended,
}
