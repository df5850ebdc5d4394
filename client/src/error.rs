//! Errors of connections, calls and cluster lookups. Those of the producer, the consumers and
//! the administration stand with what they belong to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::{BrokerError, ProtoError};

/// Why a connection could not be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The operating system could not connect.
    #[error("cannot connect to {address} ({source}); check that a broker listens there")]
    Io {
        /// The address.
        address: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Nothing came of it in time.
    #[error(
        "{address} did not take the connection within {after:?}; check that it is a broker and reachable"
    )]
    TimedOut {
        /// The address.
        address: String,
        /// The time given.
        after: Duration,
    },
    /// Something answered, but not like a broker.
    #[error("{address} does not answer like a broker ({source}); check the port")]
    Handshake {
        /// The address.
        address: String,
        /// What went wrong with the first request.
        source: CallError,
    },
    /// The broker refused the handshake.
    #[error(
        "{address} refuses to say which requests it serves ({code}); check its version and its security settings"
    )]
    Refused {
        /// The address.
        address: String,
        /// The broker's error.
        code: BrokerError,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CloseReason {
    /// The broker closed it.
    #[error("the broker closed it")]
    Eof,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// A response is larger than allowed, or of negative length.
    #[error("a response of {bytes} bytes came, and {limit} are allowed")]
    FrameSize {
        /// The length found.
        bytes: i64,
        /// The limit.
        limit: usize,
    },
    /// A response answers no request.
    #[error("a response came for the request number {0}, which was not sent")]
    Unasked(i32),
    /// A response did not come in time.
    #[error("a response did not come in time")]
    TimedOut,
    /// This side closed it.
    #[error("it was closed on this side")]
    Local,
}

/// Why a request has no usable response.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The connection ended first.
    #[error("the connection to {address} ended: {reason}; check the broker")]
    Closed {
        /// The address.
        address: String,
        /// Why it ended.
        reason: CloseReason,
    },
    /// The response did not come in time.
    #[error("{address} did not answer {api} within {after:?}; check its load and health")]
    TimedOut {
        /// The address.
        address: String,
        /// The request.
        api: &'static str,
        /// The time given.
        after: Duration,
    },
    /// There is no version that both sides speak.
    #[error(
        "{address} serves {api} in versions {broker_min} to {broker_max} and this client in {client_min} to {client_max}; update the older one"
    )]
    Version {
        /// The address.
        address: String,
        /// The request.
        api: &'static str,
        /// The broker's lowest version.
        broker_min: i16,
        /// The broker's highest version.
        broker_max: i16,
        /// This client's lowest version.
        client_min: i16,
        /// This client's highest version.
        client_max: i16,
    },
    /// The broker does not serve this request.
    #[error("{address} does not serve {api}; use a broker that does")]
    Unserved {
        /// The address.
        address: String,
        /// The request.
        api: &'static str,
    },
    /// The request cannot be expressed in the version.
    #[error(
        "{api} cannot be sent to {address} in version {version} ({source}); use a newer broker or fewer options"
    )]
    Encode {
        /// The address.
        address: String,
        /// The request.
        api: &'static str,
        /// The version.
        version: i16,
        /// What the codec said.
        source: Arc<ProtoError>,
    },
    /// The response makes no sense.
    #[error(
        "the answer of {address} to {api} version {version} cannot be read ({source}); report it with both versions"
    )]
    Decode {
        /// The address.
        address: String,
        /// The request.
        api: &'static str,
        /// The version.
        version: i16,
        /// What the codec said.
        source: Arc<ProtoError>,
    },
    /// The response lacks what was asked for.
    #[error("the answer of {address} to {api} says nothing of {what}; check the broker's log")]
    Missing {
        /// The address.
        address: String,
        /// The request.
        api: &'static str,
        /// What is missing.
        what: String,
    },
}

impl CallError {
    /// Whether the same request may succeed on a new connection.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::TimedOut { .. })
    }
}

/// Why a broker for something could not be found or reached.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    /// No broker address was given.
    #[error("no broker address was given; name at least one as HOST:PORT")]
    NoAddress,
    /// A broker could not be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The broker reports an error with a topic.
    #[error("topic {topic:?}: {code}; {}", advice(*.code))]
    Topic {
        /// The topic.
        topic: String,
        /// The broker's error.
        code: BrokerError,
    },
    /// The topic has no such partition.
    #[error("topic {topic:?} has no partition {partition}; it has {count}, numbered from 0")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How many it has.
        count: usize,
    },
    /// The partition has no leader at the moment.
    #[error("partition {partition} of {topic:?} has no leader; check that its replicas are up")]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The cluster does not know the broker it names as a leader or coordinator.
    #[error("the cluster names broker {broker} without an address; check its listeners")]
    UnknownBroker {
        /// The broker's id.
        broker: i32,
    },
    /// The coordinator of a group is not available.
    #[error("group {group:?} has no coordinator: {code}; {}", advice(*.code))]
    Coordinator {
        /// The group.
        group: String,
        /// The broker's error.
        code: BrokerError,
    },
}

impl ClusterError {
    /// Whether asking again may help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::Refused { .. }),
            Self::Call(error) => error.is_retriable(),
            Self::Topic { code, .. } | Self::Coordinator { code, .. } => code.is_retriable(),
            Self::NoLeader { .. } | Self::UnknownBroker { .. } => true,
            Self::NoAddress | Self::NoPartition { .. } => false,
        }
    }
}

/// What to do about a broker's error.
#[must_use]
pub fn advice(code: BrokerError) -> &'static str {
    match code {
        BrokerError::UnknownTopicOrPartition => "create the topic, or check its name",
        BrokerError::TopicAlreadyExists => "choose another name, or use the topic as it is",
        BrokerError::InvalidTopicException => "use 1 to 249 letters, digits, dots, underscores and hyphens",
        BrokerError::InvalidPartitions => "ask for at least one partition",
        BrokerError::InvalidReplicationFactor => "ask for at most as many replicas as brokers",
        BrokerError::InvalidConfig => "check the configuration given",
        BrokerError::PolicyViolation => "ask for less at once, or check the configuration given",
        BrokerError::LeaderNotAvailable | BrokerError::NotLeaderOrFollower | BrokerError::NotController => {
            "the cluster is electing; try again"
        }
        BrokerError::NotEnoughReplicas | BrokerError::NotEnoughReplicasAfterAppend => {
            "bring replicas back, or lower min.insync.replicas"
        }
        BrokerError::MessageTooLarge | BrokerError::RecordListTooLarge => {
            "send smaller records, or raise max.message.bytes"
        }
        BrokerError::OffsetOutOfRange => "start at the earliest or the latest offset",
        BrokerError::CoordinatorNotAvailable
        | BrokerError::CoordinatorLoadInProgress
        | BrokerError::NotCoordinator => "the coordinator is starting or moving; try again",
        BrokerError::NonEmptyGroup => "stop its members first",
        BrokerError::GroupIdNotFound => "check the name of the group",
        BrokerError::InvalidSessionTimeout => {
            "stay within group.min.session.timeout.ms and group.max.session.timeout.ms"
        }
        BrokerError::InconsistentGroupProtocol => {
            "use the same assignor and protocol type as the other members"
        }
        BrokerError::TopicAuthorizationFailed
        | BrokerError::GroupAuthorizationFailed
        | BrokerError::ClusterAuthorizationFailed => "grant this user the right to it",
        BrokerError::KafkaStorageError => "check the disk of the broker",
        BrokerError::RequestTimedOut => "check the load of the broker and its replicas",
        _ => "see the log of the broker",
    }
}
