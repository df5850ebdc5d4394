//! The one table of the broker's configuration keys.

use super::{Config, Key, TimestampType, load};
use ringmain_client::wire::compression::Compression;
use ringmain_engine::IoMode;
use std::path::PathBuf;

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
pub(super) const UNSENT_BYTES_MIN: u32 = 64 << 10;
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
            name: "admin.listener",
            doc: "address and port for metrics and health over HTTP; empty: none",
            set: |config, text| {
                config.admin = match text {
                    "" => None,
                    _ => Some(text.parse().map_err(|_| format!("{text:?} is not ADDRESS:PORT"))?),
                };
                Ok(())
            },
            get: |config| config.admin.as_ref().map(ToString::to_string).unwrap_or_default(),
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
                config.auto_create_topics = text
                    .to_ascii_lowercase()
                    .parse()
                    .map_err(|_| format!("{text:?} is not true or false"))?;
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
        Key {
            name: "compression.type",
            doc: "codec that batches are stored with: producer (as they come), uncompressed, gzip, snappy, lz4 or zstd",
            set: |config, text| {
                config.compression = compression(text)?;
                Ok(())
            },
            get: |config| compression_name(config.compression).to_owned(),
        },
        Key {
            name: "log.message.timestamp.type",
            doc: "CreateTime (the producer's) or LogAppendTime (the broker's)",
            set: |config, text| {
                config.timestamp_type = timestamp_type(text)?;
                Ok(())
            },
            get: |config| timestamp_type_name(config.timestamp_type).to_owned(),
        },
        number!(
            "log.message.timestamp.before.max.ms",
            timestamp_before_max_ms,
            i64,
            0..=i64::MAX,
            "how far a record's timestamp may lie before the broker's time"
        ),
        number!(
            "log.message.timestamp.after.max.ms",
            timestamp_after_max_ms,
            i64,
            0..=i64::MAX,
            "how far a record's timestamp may lie after the broker's time"
        ),
        number!(
            "recompress.max.bytes",
            recompress_bytes_max,
            usize,
            1024..=GIB,
            "largest batch, decompressed, whose codec or timestamps the broker changes or checks"
        ),
        number!(
            "recompressions.max",
            recompressions_max,
            usize,
            1..=512,
            "batches whose codec or timestamps are changed or checked at once"
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
            "segments.open.max",
            open_segments_max,
            usize,
            0..=10_000_000,
            "segments that stay open; more are closed once they are synced, and opened when used (0: what the process's limit of open files allows)"
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
            "max.connections.per.ip",
            connections_per_address_max,
            usize,
            1..=i32::MAX as usize,
            "connections that may be open at once from one address"
        ),
        number!(
            "connections.max.idle.ms",
            connection_idle_max_ms,
            u64,
            10..=86_400_000,
            "a connection is closed that sent no whole request for so long, and waits for nothing or reads nothing"
        ),
        number!(
            "queued.max.request.bytes",
            queued_request_bytes_max,
            usize,
            1 << 20..=1 << 40,
            "bytes of all large requests that are being received, and again of all that wait for their answers; at least socket.request.max.bytes"
        ),
        number!(
            "request.stall.max.ms",
            request_stall_max_ms,
            u64,
            10..=3_600_000,
            "a connection is closed of whose large request less than 64 KiB came within so long"
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
            "cold.reads.max",
            cold_reads_max,
            usize,
            1..=512,
            "reads of records that are not in the page cache that are under way at once"
        ),
        number!(
            "max.incremental.fetch.session.cache.slots",
            fetch_sessions_max,
            usize,
            0..=1_000_000,
            "fetch sessions that are remembered; clients without one name all partitions in each fetch"
        ),
        number!(
            "max.request.partition.size.limit",
            described_partitions_max,
            usize,
            1..=1_000_000,
            "partitions that one answer to DescribeTopicPartitions tells of"
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
        number!("max.groups", groups_max, usize, 1..=1_000_000, "groups that may exist"),
        number!(
            "groups.memory.max.bytes",
            groups_memory_bytes_max,
            usize,
            1_048_576..=GIB,
            "bytes that what the members of all groups say of themselves and are assigned may take"
        ),
        number!(
            "offsets.memory.max.bytes",
            offsets_memory_bytes_max,
            usize,
            1_048_576..=1024 * GIB,
            "bytes that committed offsets may take: beyond it none are committed for further partitions"
        ),
        number!(
            "offset.metadata.max.bytes",
            offset_metadata_bytes_max,
            usize,
            0..=i16::MAX as usize,
            "largest text committed with an offset"
        ),
        number!(
            "offsets.retention.minutes",
            offsets_retention_minutes,
            u64,
            1..=i32::MAX as u64,
            "how long offsets are kept after the last member has left, or without members after the commit"
        ),
        number!(
            "offsets.retention.check.interval.ms",
            offsets_retention_check_ms,
            u64,
            1..=86_400_000,
            "how often it is looked for offsets whose time is over"
        ),
        number!(
            "offsets.rewrite.min.records",
            offsets_rewrite_records_min,
            usize,
            1..=1_000_000_000,
            "records in a partition of __consumer_offsets at which those that count are written anew"
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
        number!(
            "timestamp.scans.max",
            timestamp_scans_max,
            usize,
            1..=512,
            "searches by time that are under way at once"
        ),
    ];
}

/// The codec that a topic's batches are stored with; `None`: as they come.
pub(crate) fn compression(text: &str) -> Result<Option<Compression>, String> {
    Ok(Some(match text {
        "producer" => return Ok(None),
        "uncompressed" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => {
            return Err(format!("{text:?} is not one of producer, uncompressed, gzip, snappy, lz4, zstd"));
        }
    }))
}

pub(crate) fn compression_name(compression: Option<Compression>) -> &'static str {
    match compression {
        None => "producer",
        Some(Compression::None) => "uncompressed",
        Some(Compression::Gzip) => "gzip",
        Some(Compression::Snappy) => "snappy",
        Some(Compression::Lz4) => "lz4",
        Some(Compression::Zstd) => "zstd",
    }
}

pub(crate) fn timestamp_type(text: &str) -> Result<TimestampType, String> {
    match text {
        "CreateTime" => Ok(TimestampType::CreateTime),
        "LogAppendTime" => Ok(TimestampType::LogAppendTime),
        _ => Err(format!("{text:?} is not one of CreateTime, LogAppendTime")),
    }
}

pub(crate) fn timestamp_type_name(timestamp_type: TimestampType) -> &'static str {
    match timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}
