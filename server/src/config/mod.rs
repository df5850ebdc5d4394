//! Configuration: one table of keys, with Kafka's names where Kafka has the thing.

pub(crate) mod keys;
mod load;

pub use load::ConfigError;

use ringmain_client::wire::compression::Compression;
use ringmain_engine::{IoMode, LogConfig, StoreConfig};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A host and a port as clients are told them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which time a record's timestamp tells. Kafka's `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// That of its creation, as its producer says.
    CreateTime,
    /// That of its append, which the broker writes into it.
    LogAppendTime,
}

/// Everything that can be set. [`Config::KEYS`] tells what each means.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the table of keys documents them, for people and for --help alike")]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub advertised: Option<Endpoint>,
    pub admin: Option<SocketAddr>,
    pub io_mode: Option<IoMode>,
    pub shards: usize,
    pub node_id: i32,
    pub auto_create_topics: bool,
    pub num_partitions: i32,
    pub log: LogConfig,
    pub compression: Option<Compression>,
    pub timestamp_type: TimestampType,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    pub recompress_bytes_max: usize,
    /// `recompressions.max`: batches for which that is done at once, each by a thread for what blocks.
    pub recompressions_max: usize,
    pub store: StoreConfig,
    pub open_segments_max: usize,
    pub offsets_partitions: i32,
    pub partitions_max: usize,
    pub connections_max: usize,
    /// What the limit of open files leaves for connections, whatever `max.connections` says. No key.
    pub connections_bound: usize,
    pub connections_per_address_max: usize,
    pub connection_idle_max_ms: u64,
    pub queued_request_bytes_max: usize,
    pub request_stall_max_ms: u64,
    pub connection_inflight_max: usize,
    pub request_bytes_max: usize,
    pub control_request_bytes_max: usize,
    pub unsent_bytes_max: u32,
    pub buffer_pool_bytes: usize,
    pub control_queue_max: usize,
    pub fetch_bytes_max: usize,
    pub fetch_wait_max_ms: u64,
    pub described_partitions_max: usize,
    pub fetch_sessions_max: usize,
    pub cold_reads_max: usize,
    pub group_session_min_ms: u64,
    pub group_session_max_ms: u64,
    pub group_initial_delay_ms: u64,
    pub group_members_max: usize,
    pub groups_max: usize,
    pub groups_memory_bytes_max: usize,
    pub offsets_memory_bytes_max: usize,
    pub offset_metadata_bytes_max: usize,
    pub offsets_retention_minutes: u64,
    pub offsets_retention_check_ms: u64,
    pub offsets_rewrite_records_min: usize,
    pub producer_id_block: i64,
    pub timestamp_scan_bytes_max: usize,
    pub timestamp_scans_max: usize,
}

impl Config {
    /// Topics and partitions that one request may name: all that there may be, each in a topic of its own.
    pub(crate) fn places_max(&self) -> usize {
        self.partitions_max.saturating_mul(2)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./ringmain-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 9092)),
            advertised: None,
            admin: None,
            io_mode: None,
            shards: 0,
            node_id: 1,
            auto_create_topics: true,
            num_partitions: 1,
            log: LogConfig::default(),
            compression: None,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            recompress_bytes_max: 64 << 20,
            recompressions_max: 4,
            store: StoreConfig::default(),
            open_segments_max: 0,
            offsets_partitions: 16,
            partitions_max: 20_000,
            connections_max: 10_000,
            connections_bound: usize::MAX,
            connections_per_address_max: i32::MAX as usize,
            connection_idle_max_ms: 600_000,
            queued_request_bytes_max: 512 << 20,
            request_stall_max_ms: 10_000,
            connection_inflight_max: 64,
            request_bytes_max: 100 << 20,
            control_request_bytes_max: 4 << 20,
            unsent_bytes_max: keys::UNSENT_BYTES_MIN,
            buffer_pool_bytes: 16 << 20,
            control_queue_max: 1024,
            fetch_bytes_max: 55 << 20,
            fetch_wait_max_ms: 300_000,
            described_partitions_max: 2000,
            fetch_sessions_max: 1000,
            cold_reads_max: 16,
            group_session_min_ms: 6_000,
            group_session_max_ms: 1_800_000,
            group_initial_delay_ms: 0,
            group_members_max: 10_000,
            groups_max: 100_000,
            groups_memory_bytes_max: 256 << 20,
            offsets_memory_bytes_max: 1 << 30,
            offset_metadata_bytes_max: 4096,
            offsets_retention_minutes: 10_080,
            offsets_retention_check_ms: 600_000,
            offsets_rewrite_records_min: 10_000,
            producer_id_block: 1000,
            timestamp_scan_bytes_max: 128 << 20,
            timestamp_scans_max: 4,
        }
    }
}

/// A key of the configuration.
pub struct Key {
    /// Its name; Kafka's where Kafka has the thing.
    pub name: &'static str,
    /// What it does, in a line.
    pub doc: &'static str,
    pub(crate) set: fn(&mut Config, &str) -> Result<(), String>,
    pub(crate) get: fn(&Config) -> String,
}
