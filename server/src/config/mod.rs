//! Configuration: one table of keys, with Kafka's names where Kafka has the thing.

mod load;

pub use load::ConfigError;

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

/// Everything that can be set. [`Config::KEYS`] tells what each means.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the table of keys documents them, for people and for --help alike")]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub advertised: Option<Endpoint>,
    pub io_mode: Option<IoMode>,
    pub shards: usize,
    pub node_id: i32,
    pub auto_create_topics: bool,
    pub num_partitions: i32,
    pub log: LogConfig,
    pub store: StoreConfig,
    pub offsets_partitions: i32,
    pub partitions_max: usize,
    pub connections_max: usize,
    pub connection_inflight_max: usize,
    pub request_bytes_max: usize,
    pub control_request_bytes_max: usize,
    pub unsent_bytes_max: u32,
    pub buffer_pool_bytes: usize,
    pub control_queue_max: usize,
    pub fetch_bytes_max: usize,
    pub fetch_wait_max_ms: u64,
    pub group_session_min_ms: u64,
    pub group_session_max_ms: u64,
    pub group_initial_delay_ms: u64,
    pub group_members_max: usize,
    pub groups_max: usize,
    pub offset_metadata_bytes_max: usize,
    pub producer_id_block: i64,
    pub timestamp_scan_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./ringmain-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 9092)),
            advertised: None,
            io_mode: None,
            shards: 0,
            node_id: 1,
            auto_create_topics: true,
            num_partitions: 1,
            log: LogConfig::default(),
            store: StoreConfig::default(),
            offsets_partitions: 16,
            partitions_max: 20_000,
            connections_max: 10_000,
            connection_inflight_max: 64,
            request_bytes_max: 100 << 20,
            control_request_bytes_max: 4 << 20,
            unsent_bytes_max: UNSENT_BYTES_MIN,
            buffer_pool_bytes: 16 << 20,
            control_queue_max: 1024,
            fetch_bytes_max: 55 << 20,
            fetch_wait_max_ms: 300_000,
            group_session_min_ms: 6_000,
            group_session_max_ms: 1_800_000,
            group_initial_delay_ms: 0,
            group_members_max: 10_000,
            groups_max: 10_000,
            offset_metadata_bytes_max: 4096,
            producer_id_block: 1000,
            timestamp_scan_bytes_max: 128 << 20,
        }
    }
}

/// A key of the configuration.
pub struct Key {
    /// Its name; Kafka's where Kafka has the thing.
    pub name: &'static str,
    /// What it does, in a line.
    pub doc: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
    get: fn(&Config) -> String,
}

/// A key whose value is a number within bounds.
macro_rules! number {
    ($name:literal, $field:ident $(. $sub:ident)?, $ty:ty, $range:expr, $doc:literal) => {
        Key {
            name: $name,
            doc: $doc,
            set: |config, text| {
                let range = $range;
                let value: $ty = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
                if !range.contains(&value) {
                    return Err(format!("{value} is not in {} to {}", range.start(), range.end()));
                }
                config.$field$(.$sub)? = value;
                Ok(())
            },
            get: |config| config.$field$(.$sub)?.to_string(),
        }
    };
}

const GIB: usize = 1 << 30;
/// No packet is larger, on loopback neither.
const UNSENT_BYTES_MIN: u32 = 64 << 10;
const BATCH_MAX: usize = GIB;

impl Config {
    /// All keys.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "log.dirs",
            doc: "the directory that holds the data",
            set: |config, text| {
                config.data_dir = PathBuf::from(text);
                Ok(())
            },
            get: |config| config.data_dir.display().to_string(),
        },
        Key {
            name: "listeners",
            doc: "address and port to listen on",
            set: |config, text| {
                config.listen = text.parse().map_err(|_| format!("{text:?} is not ADDRESS:PORT"))?;
                Ok(())
            },
            get: |config| config.listen.to_string(),
        },
        Key {
            name: "advertised.listeners",
            doc: "host and port that clients are told, where they differ from listeners",
            set: |config, text| {
                config.advertised = Some(load::endpoint(text)?);
                Ok(())
            },
            get: |config| config.advertised.as_ref().map(ToString::to_string).unwrap_or_default(),
        },
        Key {
            name: "io.mode",
            doc: "auto, uring or blocking",
            set: |config, text| {
                config.io_mode = match text {
                    "auto" => None,
                    "uring" => Some(IoMode::Uring),
                    "blocking" => Some(IoMode::Blocking),
                    _ => return Err(format!("{text:?} is not auto, uring or blocking")),
                };
                Ok(())
            },
            get: |config| config.io_mode.map_or("auto", IoMode::name).to_owned(),
        },
        number!(
            "num.shards",
            shards,
            usize,
            0..=1024,
            "threads that serve connections; 0: one for each core"
        ),
        number!("node.id", node_id, i32, 0..=i32::MAX, "this broker's number"),
        Key {
            name: "auto.create.topics.enable",
            doc: "whether a client that asks for an unknown topic has it created",
            set: |config, text| {
                config.auto_create_topics =
                    text.parse().map_err(|_| format!("{text:?} is not true or false"))?;
                Ok(())
            },
            get: |config| config.auto_create_topics.to_string(),
        },
        number!(
            "num.partitions",
            num_partitions,
            i32,
            1..=10_000,
            "partitions of a topic that asks for no number"
        ),
        number!("max.partitions", partitions_max, usize, 1..=1_000_000, "partitions that may exist in all"),
        number!(
            "log.segment.bytes",
            log.segment_bytes,
            u64,
            1024..=i32::MAX as u64,
            "size at which a segment is closed"
        ),
        number!(
            "log.index.interval.bytes",
            log.index_interval_bytes,
            u64,
            0..=i32::MAX as u64,
            "bytes between index entries"
        ),
        number!(
            "log.index.size.max.bytes",
            log.index_bytes_max,
            usize,
            24..=GIB,
            "largest size of an index file"
        ),
        number!("message.max.bytes", log.batch_bytes_max, usize, 61..=BATCH_MAX, "largest record batch"),
        number!(
            "max.producers.per.partition",
            log.producers_max,
            usize,
            1..=1_000_000,
            "idempotent producers that a partition remembers"
        ),
        number!(
            "journal.file.bytes",
            store.journal_file_bytes,
            u64,
            1 << 20..=1 << 40,
            "size of each file of the journal; a multiple of 4096"
        ),
        number!(
            "journal.files.max",
            store.journal_files_max,
            usize,
            2..=10_000,
            "files of the journal; when all are full, acks=all waits for a checkpoint"
        ),
        number!(
            "journal.entry.max.bytes",
            store.journal_entry_bytes_max,
            usize,
            4096..=1 << 30,
            "what one write to the journal holds at most"
        ),
        number!(
            "journal.range.max.bytes",
            store.journal_range_bytes_max,
            u64,
            0..=1 << 30,
            "a partition with more to make durable has its segments synced instead"
        ),
        number!(
            "journal.writes.max",
            store.journal_writes_max,
            usize,
            1..=64,
            "writes to the journal that are under way at once"
        ),
        number!(
            "checkpoint.bytes",
            store.checkpoint_bytes,
            u64,
            1 << 20..=1 << 40,
            "appended bytes after which all segments are synced"
        ),
        number!(
            "checkpoint.interval.ms",
            store.checkpoint_age_ms,
            u64,
            10..=86_400_000,
            "age of the oldest append that is not synced at which all segments are synced"
        ),
        number!(
            "offsets.topic.num.partitions",
            offsets_partitions,
            i32,
            1..=10_000,
            "partitions of __consumer_offsets; counts when it is first made"
        ),
        number!(
            "max.connections",
            connections_max,
            usize,
            1..=1_000_000,
            "connections that may be open at once"
        ),
        number!(
            "max.inflight.requests.per.connection",
            connection_inflight_max,
            usize,
            1..=10_000,
            "requests of a connection that may wait for their answer"
        ),
        number!("socket.request.max.bytes", request_bytes_max, usize, 1024..=GIB, "largest produce request"),
        number!(
            "control.request.max.bytes",
            control_request_bytes_max,
            usize,
            1024..=GIB,
            "largest request of any other kind"
        ),
        Key {
            name: "socket.unsent.max.bytes",
            doc: "bytes that wait in a socket before they are sent (TCP_NOTSENT_LOWAT); 0: as the kernel likes",
            set: |config, text| {
                let bytes = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
                if (1..UNSENT_BYTES_MIN).contains(&bytes) {
                    // The kernel holds back less than a packet, and waits for room that never comes.
                    return Err(format!(
                        "{bytes} is less than the largest packet; 0 or {UNSENT_BYTES_MIN} and more"
                    ));
                }
                config.unsent_bytes_max = bytes;
                Ok(())
            },
            get: |config| config.unsent_bytes_max.to_string(),
        },
        number!(
            "shard.buffer.pool.bytes",
            buffer_pool_bytes,
            usize,
            0..=GIB,
            "receive buffers that a shard keeps for the next large request"
        ),
        number!(
            "control.queue.max",
            control_queue_max,
            usize,
            1..=1_000_000,
            "changes of metadata that may wait"
        ),
        number!(
            "fetch.max.bytes",
            fetch_bytes_max,
            usize,
            1024..=GIB,
            "largest answer to a fetch, but for one larger batch"
        ),
        number!(
            "fetch.max.wait.ms",
            fetch_wait_max_ms,
            u64,
            0..=3_600_000,
            "longest that a fetch may wait for data"
        ),
        number!(
            "group.min.session.timeout.ms",
            group_session_min_ms,
            u64,
            1..=86_400_000,
            "shortest session timeout of a group member"
        ),
        number!(
            "group.max.session.timeout.ms",
            group_session_max_ms,
            u64,
            1..=86_400_000,
            "longest session timeout of a group member"
        ),
        number!(
            "group.initial.rebalance.delay.ms",
            group_initial_delay_ms,
            u64,
            0..=600_000,
            "how long an empty group waits for further members"
        ),
        number!("group.max.size", group_members_max, usize, 1..=100_000, "members that a group may have"),
        number!("max.groups", groups_max, usize, 1..=1_000_000, "groups with members that may exist"),
        number!(
            "offset.metadata.max.bytes",
            offset_metadata_bytes_max,
            usize,
            0..=1 << 20,
            "largest text committed with an offset"
        ),
        number!(
            "producer.id.block.size",
            producer_id_block,
            i64,
            1..=1_000_000,
            "producer ids made durable at once"
        ),
        number!(
            "timestamp.scan.max.bytes",
            timestamp_scan_bytes_max,
            usize,
            1024..=GIB,
            "largest batch, decompressed, that a search by time looks into"
        ),
    ];
}
