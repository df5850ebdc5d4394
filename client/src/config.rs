//! The bounds of a client, all named, with their defaults.

use std::time::Duration;

use crate::wire::compression::Compression;

/// How a connection behaves.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// The name told to brokers. Default `ringmain`.
    pub client_id: String,
    /// Longest time to connect, the handshake included. Default 10 s.
    pub connect_timeout: Duration,
    /// Longest wait for a response; beyond it the connection is given up. Default 30 s.
    pub request_timeout: Duration,
    /// Most requests sent and not yet answered on one connection. Default 64.
    pub in_flight_max: usize,
    /// Largest response accepted, in bytes. Default 128 MiB.
    pub frame_bytes_max: usize,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            client_id: "ringmain".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            in_flight_max: 64,
            frame_bytes_max: 128 << 20,
        }
    }
}

/// How a client deals with its cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Its connections.
    pub connection: ConnectionConfig,
    /// Longest time for an operation, retries included. Default 60 s.
    pub operation_timeout: Duration,
    /// Wait before the first retry; it doubles with every further one. Default 20 ms.
    pub backoff_first: Duration,
    /// Longest wait between two retries. Default 1 s.
    pub backoff_max: Duration,
    /// Age beyond which what is known of a topic is asked for again. Default 5 min.
    pub metadata_age_max: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            connection: ConnectionConfig::default(),
            operation_timeout: Duration::from_secs(60),
            backoff_first: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            metadata_age_max: Duration::from_secs(300),
        }
    }
}

/// Whose confirmation a producer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// Nobody's: records are sent and forgotten.
    None,
    /// The leader's.
    Leader,
    /// That of every in-sync replica.
    #[default]
    All,
}

impl Acks {
    /// The number in a Produce request.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How a producer gathers and sends records.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// Whose confirmation to wait for. Default: every in-sync replica's.
    pub acks: Acks,
    /// Compression of batches. Default none.
    pub compression: Compression,
    /// Whether brokers drop what a retry sends twice; needs [`Acks::All`]. Default false.
    pub idempotent: bool,
    /// Bytes at which a batch is sent, before compression. Default 256 KiB.
    pub batch_bytes_max: usize,
    /// Largest single record, in bytes. Default 1,000,000: just below a broker's usual limit.
    pub record_bytes_max: usize,
    /// How long a batch waits for more records. Default 5 ms.
    pub linger: Duration,
    /// Most bytes of records not yet acknowledged; [`send`](crate::Producer::send) waits beyond.
    /// Default 32 MiB.
    pub buffered_bytes_max: usize,
    /// Most batches of a partition in flight. Default 5, the most that idempotence allows. With
    /// acknowledgements and without idempotence it is always 1: else a retry could reorder.
    pub in_flight_per_partition_max: usize,
    /// Longest time from [`send`](crate::Producer::send) to the acknowledgement, retries
    /// included. Default 120 s.
    pub delivery_timeout: Duration,
    /// Whether naming an unknown topic asks the broker to create it. Default true; the broker has
    /// the last word.
    pub create_topics: bool,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::default(),
            compression: Compression::default(),
            idempotent: false,
            batch_bytes_max: 256 << 10,
            record_bytes_max: 1_000_000,
            linger: Duration::from_millis(5),
            buffered_bytes_max: 32 << 20,
            in_flight_per_partition_max: 5,
            delivery_timeout: Duration::from_secs(120),
            create_topics: true,
        }
    }
}

/// Which records a consumer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// All up to the high watermark, those of aborted transactions included.
    #[default]
    ReadUncommitted,
    /// Those of committed transactions, and those outside of transactions.
    ReadCommitted,
}

/// Where to go when the wanted offset is no longer, or not yet, in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfRange {
    /// To the earliest record.
    #[default]
    Earliest,
    /// To the end.
    Latest,
    /// Nowhere: it is an error.
    Fail,
}

/// How a consumer fetches.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Which records it is given. Default all.
    pub isolation: Isolation,
    /// Where to go when the wanted offset is not in the log. Default the earliest record.
    pub out_of_range: OutOfRange,
    /// Bytes for which a broker holds a fetch back. Default 1: it answers as soon as it has any.
    pub fetch_bytes_min: i32,
    /// Most bytes of one fetch; a single larger batch is still fetched. Default 16 MiB.
    pub fetch_bytes_max: i32,
    /// Most bytes of one partition in one fetch. Default 2 MiB.
    pub partition_bytes_max: i32,
    /// How long a broker holds a fetch back that has nothing. Default 500 ms.
    pub fetch_wait_max: Duration,
    /// Most pieces (one partition's share of a fetch) waiting to be polled. Default 16.
    pub buffered_pieces_max: usize,
    /// Most bytes that one batch may decompress to. Default 128 MiB.
    pub batch_bytes_max: usize,
    /// How long a partition may have no known leader or start before that is an error.
    /// Default 60 s.
    pub unavailable_max: Duration,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            isolation: Isolation::default(),
            out_of_range: OutOfRange::default(),
            fetch_bytes_min: 1,
            fetch_bytes_max: 16 << 20,
            partition_bytes_max: 2 << 20,
            fetch_wait_max: Duration::from_millis(500),
            buffered_pieces_max: 16,
            batch_bytes_max: 128 << 20,
            unavailable_max: Duration::from_secs(60),
        }
    }
}

/// How a consumer takes part in a group.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// How it fetches. `out_of_range` also says where to start without a committed offset.
    pub consumer: ConsumerConfig,
    /// Without a heartbeat for this long a member is taken for dead. Default 45 s.
    pub session_timeout: Duration,
    /// Time between two heartbeats. Default 3 s.
    pub heartbeat_interval: Duration,
    /// Longest time that members are given to rejoin when the group rebalances. Default 60 s.
    pub rebalance_timeout: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            consumer: ConsumerConfig::default(),
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(60),
        }
    }
}
