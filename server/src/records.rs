//! What a topic's configuration asks of batches: whose timestamps they carry and how far these may be off, and
//! the codec that they are stored with. Pure: the time is given.
//!
//! Records that are not compressed are always walked over, without their contents: consumers trust their number, and
//! searches by time the largest timestamp, which some producers do not give. Compressed ones only where the header tells
//! that one is out of bounds or contradicts itself, or where `message.timestamp.before.max.ms` is set, of which the header does
//! not tell; else a batch is stored as it comes.

use crate::config::TimestampType;
use crate::metadata::TopicConfig;
use crate::wire::ErrorCode;
use crate::wire::produce::RecordError;
use ringmain_client::wire::batch::Outlines;
use ringmain_client::wire::compression::{self, Compression, CompressionError};
use ringmain_engine::{BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES};

/// Record errors that are told of one batch.
const RECORD_ERRORS_MAX: usize = 100;
/// A record without a timestamp.
const NO_TIMESTAMP: i64 = -1;
/// The attribute of batches whose timestamp is the broker's.
const LOG_APPEND_TIME: i16 = 0x08;
const COMPRESSION: i16 = 0x07;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

/// Why a batch is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) reason: String,
    pub(crate) record_errors: Vec<RecordError>,
}

/// A batch as it is to be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// The batch, where it is another than the one that came.
    pub(crate) rebuilt: Option<Vec<u8>>,
    /// The broker's time that was written into it, or -1.
    pub(crate) append_time_ms: i64,
}

impl Default for Prepared {
    fn default() -> Self {
        Self { rebuilt: None, append_time_ms: NO_TIMESTAMP }
    }
}

/// What a topic's configuration asks of a batch with this header.
struct Asked {
    append_time: bool,
    /// It says that its timestamps are the broker's.
    marked: bool,
    recompress: Option<Compression>,
    compressed: bool,
    /// Its records are to be seen, though they are compressed.
    look_inside: bool,
    earliest_ms: i64,
    latest_ms: i64,
}

impl Asked {
    fn of(config: &TopicConfig, header: &BatchHeader, now_ms: i64) -> Self {
        let codec = header.attributes & COMPRESSION;
        let append_time = config.timestamp_type == TimestampType::LogAppendTime;
        let latest_ms = now_ms.saturating_add(config.timestamp_after_max_ms);
        // Some producers do not say which timestamp is the largest: it is before the first then.
        let lies = !(header.base_timestamp_ms..=latest_ms).contains(&header.max_timestamp_ms);
        Self {
            append_time,
            marked: header.attributes & LOG_APPEND_TIME != 0,
            recompress: config.compression.filter(|wanted| wanted.code() != codec),
            compressed: codec != Compression::None.code(),
            look_inside: !append_time && (lies || config.timestamp_before_max_ms != i64::MAX),
            earliest_ms: now_ms.saturating_sub(config.timestamp_before_max_ms),
            latest_ms,
        }
    }

    fn nothing(&self) -> bool {
        !self.append_time && !self.marked && self.recompress.is_none()
    }
}

/// Whether [`prepare`] has to decompress or to compress, which is no work for a shard.
pub(crate) fn is_costly(config: &TopicConfig, header: &BatchHeader, now_ms: i64) -> bool {
    let asked = Asked::of(config, header, now_ms);
    let fits = header.size_bytes <= config.log.batch_bytes_max;
    fits && (asked.recompress.is_some() || asked.compressed && asked.look_inside)
}

/// Checks the batch in `records`, which has this header, and changes it as its topic's configuration asks. What
/// the engine will refuse anyhow is left as it is.
pub(crate) fn prepare(
    config: &TopicConfig,
    header: &BatchHeader,
    records: &mut [u8],
    now_ms: i64,
    bytes_max: usize,
) -> Result<Prepared, Refusal> {
    let asked = Asked::of(config, header, now_ms);
    let Some(body) = records.get(HEADER_BYTES..header.size_bytes) else { return Ok(Prepared::default()) };
    // Nothing is made of a batch that is too large.
    let too_large = header.size_bytes > config.log.batch_bytes_max;
    if too_large || asked.compressed && asked.nothing() && !asked.look_inside {
        return Ok(Prepared::default());
    }
    let seen = (!asked.compressed).then(|| largest_timestamp(&asked, header, body));
    if asked.nothing() && seen == Some(Ok(header.max_timestamp_ms)) {
        return Ok(Prepared::default());
    }
    // Nor of a damaged one: a new checksum would hide the damage, and no other reason is told.
    if BatchHeader::parse_whole(records).is_err() {
        return Ok(Prepared::default());
    }
    let body = &records[HEADER_BYTES..];
    let plain = match Compression::from_code(header.attributes & COMPRESSION) {
        Some(codec) if asked.compressed && (asked.look_inside || asked.recompress.is_some()) => {
            Some(compression::decompress(codec, body, bytes_max).map_err(|err| uncompressible(&err))?)
        }
        _ => None,
    };
    let seen = seen.or_else(|| plain.as_deref().map(|plain| largest_timestamp(&asked, header, plain)));
    let mut max_timestamp_ms = seen.transpose()?.unwrap_or(header.max_timestamp_ms);
    let mut rebuilt = match asked.recompress {
        Some(codec) => Some(recompressed(&records[..HEADER_BYTES], plain.as_deref().unwrap_or(body), codec)?),
        None => None,
    };
    if asked.append_time {
        max_timestamp_ms = now_ms;
    }
    if !asked.nothing() || max_timestamp_ms != header.max_timestamp_ms {
        seal(rebuilt.as_deref_mut().unwrap_or(records), asked.append_time, max_timestamp_ms);
    }
    let append_time_ms = if asked.append_time { now_ms } else { NO_TIMESTAMP };
    Ok(Prepared { rebuilt, append_time_ms })
}

/// The largest timestamp of the records in `body`, if they are as many as the header says, one after the other, and their
/// timestamps within bounds.
fn largest_timestamp(asked: &Asked, header: &BatchHeader, body: &[u8]) -> Result<i64, Refusal> {
    let count = usize::try_from(header.record_count).unwrap_or(0);
    let mut largest = NO_TIMESTAMP;
    let mut record_errors = Vec::new();
    for (index, outline) in (0..).zip(Outlines::new(body, count)) {
        let Some(outline) = outline.filter(|outline| outline.offset_delta == index) else {
            let reason = format!("record {index} of {count} of the batch cannot be read");
            return Err(Refusal { code: ErrorCode::InvalidRecord, reason, record_errors: Vec::new() });
        };
        let timestamp = header.base_timestamp_ms.wrapping_add(outline.timestamp_delta);
        largest = largest.max(timestamp);
        let within = asked.append_time || (asked.earliest_ms..=asked.latest_ms).contains(&timestamp);
        if timestamp != NO_TIMESTAMP && !within && record_errors.len() < RECORD_ERRORS_MAX {
            let message =
                format!("timestamp {timestamp} is not within {} to {}", asked.earliest_ms, asked.latest_ms);
            record_errors.push(RecordError { index, message });
        }
    }
    match record_errors.is_empty() {
        true => Ok(largest),
        false => Err(Refusal {
            code: ErrorCode::InvalidTimestamp,
            reason: "one or more records have an invalid timestamp".into(),
            record_errors,
        }),
    }
}

fn uncompressible(err: &CompressionError) -> Refusal {
    let code = match err {
        CompressionError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        _ => ErrorCode::InvalidRecord,
    };
    Refusal { code, reason: err.to_string(), record_errors: Vec::new() }
}

/// A batch of these records under another codec; its checksum is not set.
fn recompressed(header: &[u8], plain: &[u8], codec: Compression) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(HEADER_BYTES + plain.len() / 2);
    out.extend_from_slice(header);
    match codec {
        Compression::None => out.extend_from_slice(plain),
        codec => compression::compress(codec, plain, &mut out).map_err(|err| uncompressible(&err))?,
    }
    let length = i32::try_from(out.len() - LENGTH_PREFIX_BYTES).unwrap_or(i32::MAX);
    out[8..12].copy_from_slice(&length.to_be_bytes());
    let attributes = attributes(header) & !COMPRESSION | codec.code();
    out[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    Ok(out)
}

fn attributes(batch: &[u8]) -> i16 {
    i16::from_be_bytes([batch[ATTRIBUTES_AT], batch[ATTRIBUTES_AT + 1]])
}

/// Says whose timestamps the batch carries and which is the largest, and sets its checksum.
fn seal(batch: &mut [u8], append_time: bool, max_timestamp_ms: i64) {
    let mut attributes = attributes(batch) & !LOG_APPEND_TIME;
    if append_time {
        attributes |= LOG_APPEND_TIME;
    }
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp_ms.to_be_bytes());
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use bytes::Bytes;
    use ringmain_client::wire::batch::{BatchBuilder, BatchRecord, next_batch};

    const NOW: i64 = 1_700_000_000_000;
    const HOUR: i64 = 3_600_000;

    fn config(pairs: &[(&str, &str)]) -> TopicConfig {
        let set = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TopicConfig::parse(&set, TopicConfig::defaults(&Config::default())).unwrap()
    }

    fn batch(timestamps: &[i64], codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for timestamp in timestamps {
            builder.push(*timestamp, Some(b"key"), Some(&[b'v'; 200]), &[]);
        }
        builder.finish(codec, None).unwrap().to_vec()
    }

    fn run(config: &TopicConfig, batch: &mut [u8]) -> Result<Prepared, Refusal> {
        let header = BatchHeader::parse(batch).unwrap();
        prepare(config, &header, batch, NOW, 1 << 20)
    }

    fn read(batch: &[u8]) -> Vec<BatchRecord> {
        BatchHeader::parse_whole(batch).unwrap();
        let batch = next_batch(&mut Bytes::copy_from_slice(batch)).unwrap().unwrap();
        batch.records(1 << 20).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_batch_is_stored_as_it_comes_unless_something_else_is_asked_for() {
        for codec in [Compression::None, Compression::Lz4] {
            let mut one = batch(&[NOW, 5], codec);
            let before = one.clone();
            assert_eq!(run(&config(&[]), &mut one).unwrap(), Prepared::default());
            assert_eq!(
                run(&config(&[("compression.type", "lz4")]), &mut one).unwrap().rebuilt.is_none(),
                codec == Compression::Lz4
            );
            assert_eq!(one, before);
        }
    }

    #[test]
    fn the_append_time_is_that_of_every_record() {
        let mut one = batch(&[1, 2, NOW + 100 * HOUR], Compression::None);
        let prepared = run(&config(&[("message.timestamp.type", "LogAppendTime")]), &mut one).unwrap();
        assert_eq!((prepared.rebuilt, prepared.append_time_ms), (None, NOW));
        assert_eq!(read(&one).iter().map(|record| record.timestamp).collect::<Vec<_>>(), [NOW; 3]);
        // And with CreateTime a producer cannot claim to be the broker.
        run(&config(&[("message.timestamp.after.max.ms", "9223372036854775807")]), &mut one).unwrap();
        assert_eq!(read(&one)[0].timestamp, 1);
    }

    #[test]
    fn a_damaged_batch_is_not_given_a_new_checksum() {
        for pair in [("message.timestamp.type", "LogAppendTime"), ("compression.type", "gzip")] {
            let mut one = batch(&[NOW], Compression::None);
            one[70] ^= 1;
            let before = one.clone();
            assert_eq!(run(&config(&[pair]), &mut one).unwrap(), Prepared::default());
            assert_eq!(one, before);
        }
    }

    #[test]
    fn every_codec_can_be_had_from_every_other() {
        use Compression::{Gzip, Lz4, None, Snappy, Zstd};
        for from in [None, Gzip, Snappy, Lz4, Zstd] {
            for (name, to) in
                [("uncompressed", None), ("gzip", Gzip), ("snappy", Snappy), ("lz4", Lz4), ("zstd", Zstd)]
            {
                let mut one = batch(&[NOW, NOW + 1], from);
                let prepared = run(&config(&[("compression.type", name)]), &mut one).unwrap();
                let stored = prepared.rebuilt.unwrap_or_else(|| one.clone());
                assert_eq!(BatchHeader::parse(&stored).unwrap().compression(), to.code() as u8);
                assert_eq!(read(&stored), read(&one));
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let mut builder = BatchBuilder::new();
            builder.push(NOW, None, Some(&vec![0; 2 << 20]), &[]);
            let mut one = builder.finish(codec, None).unwrap().to_vec();
            for pair in [("compression.type", "uncompressed"), ("message.timestamp.before.max.ms", "1000")] {
                let refused = run(&config(&[pair]), &mut one).unwrap_err();
                assert_eq!(refused.code, ErrorCode::MessageTooLarge, "{codec}");
            }
        }
    }

    #[test]
    fn records_out_of_bounds_are_named() {
        for codec in [Compression::None, Compression::Zstd] {
            let far = NOW + 2 * HOUR;
            let refused = run(&config(&[]), &mut batch(&[NOW, far, NOW, far], codec)).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidTimestamp);
            assert_eq!(refused.record_errors.iter().map(|error| error.index).collect::<Vec<_>>(), [1, 3]);
            let bounded = config(&[("message.timestamp.before.max.ms", "1000")]);
            let refused = run(&bounded, &mut batch(&[NOW, NOW - 999, NOW - 1001], codec)).unwrap_err();
            assert_eq!(refused.record_errors.iter().map(|error| error.index).collect::<Vec<_>>(), [2]);
            assert!(run(&bounded, &mut batch(&[NOW - 1000, NOW + HOUR, -1], codec)).is_ok());
            assert!(run(&config(&[]), &mut batch(&[0, NOW + HOUR], codec)).is_ok());
        }
    }

    /// Writes into the header, and the checksum.
    fn forge(batch: &mut [u8], at: usize, bytes: &[u8]) {
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
        batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    }

    #[test]
    fn the_largest_timestamp_is_that_of_the_records_whatever_the_header_says() {
        for codec in [Compression::None, Compression::Zstd] {
            for claimed in [-1, 5, i64::MAX] {
                let mut one = batch(&[NOW, NOW + 7, NOW + 3], codec);
                forge(&mut one, MAX_TIMESTAMP_AT, &i64::to_be_bytes(claimed));
                run(&config(&[]), &mut one).unwrap();
                assert_eq!(
                    BatchHeader::parse_whole(&one).unwrap().max_timestamp_ms,
                    NOW + 7,
                    "{codec} {claimed}"
                );
                assert_eq!(read(&one).len(), 3);
            }
        }
    }

    #[test]
    fn a_batch_that_lies_about_its_records_is_refused() {
        const LAST_OFFSET_DELTA_AT: usize = 23;
        const RECORD_COUNT_AT: usize = 57;
        for count in [1_i32, 3] {
            let mut one = batch(&[NOW, NOW], Compression::None);
            forge(&mut one, LAST_OFFSET_DELTA_AT, &(count - 1).to_be_bytes());
            forge(&mut one, RECORD_COUNT_AT, &count.to_be_bytes());
            assert_eq!(run(&config(&[]), &mut one).unwrap_err().code, ErrorCode::InvalidRecord, "{count}");
        }
        let mut rubbish = batch(&[NOW, NOW], Compression::None);
        forge(&mut rubbish, HEADER_BYTES, &[0xff; 20]);
        assert_eq!(run(&config(&[]), &mut rubbish).unwrap_err().code, ErrorCode::InvalidRecord);
    }

    #[test]
    fn what_needs_a_codec_is_costly() {
        let costly = |pairs: &[(&str, &str)], batch: &[u8]| {
            is_costly(&config(pairs), &BatchHeader::parse(batch).unwrap(), NOW)
        };
        let (plain, packed) = (batch(&[NOW], Compression::None), batch(&[NOW], Compression::Lz4));
        let late = batch(&[NOW + 2 * HOUR], Compression::Lz4);
        assert!(!costly(&[], &plain) && !costly(&[], &packed) && costly(&[], &late));
        assert!(costly(&[("compression.type", "lz4")], &plain));
        assert!(!costly(&[("compression.type", "lz4")], &packed));
        assert!(!costly(&[("message.timestamp.before.max.ms", "9")], &plain));
        assert!(costly(&[("message.timestamp.before.max.ms", "9")], &packed));
    }
}
