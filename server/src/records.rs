//! What a topic's configuration asks of batches: whose timestamps they carry and how far these may be off, and
//! the codec that they are stored with. Pure: the time is given.
//!
//! A batch that is stored as it comes costs a comparison or two. Single records are looked at only where the
//! header tells that one is out of bounds, or where `message.timestamp.before.max.ms` is set, which the header
//! does not tell of.

use crate::config::TimestampType;
use crate::metadata::TopicConfig;
use crate::wire::ErrorCode;
use crate::wire::produce::RecordError;
use bytes::Bytes;
use ringmain_client::wire::batch::{BatchError, next_batch};
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

/// Checks the batch in `records`, which has this header, and changes it as its topic's configuration asks. What
/// the engine will refuse anyhow is left as it is.
pub(crate) fn prepare(
    config: &TopicConfig,
    header: &BatchHeader,
    records: &mut [u8],
    now_ms: i64,
    bytes_max: usize,
) -> Result<Prepared, Refusal> {
    let append_time = config.timestamp_type == TimestampType::LogAppendTime;
    let (earliest, latest) = (
        now_ms.saturating_sub(config.timestamp_before_max_ms),
        now_ms.saturating_add(config.timestamp_after_max_ms),
    );
    let look_inside =
        !append_time && (config.timestamp_before_max_ms != i64::MAX || header.max_timestamp_ms > latest);
    let marked = header.attributes & LOG_APPEND_TIME != 0;
    let recompress = config.compression.filter(|codec| codec.code() != header.attributes & COMPRESSION);
    if !look_inside && !append_time && !marked && recompress.is_none() {
        return Ok(Prepared::default());
    }
    // Nothing is made of a batch that is too large or damaged: a new checksum would hide the damage.
    let too_large = header.size_bytes > config.log.batch_bytes_max;
    if too_large || BatchHeader::parse_whole(records).is_err() {
        return Ok(Prepared::default());
    }
    if look_inside {
        check_timestamps(records, earliest, latest, bytes_max)?;
    }
    let mut rebuilt = match recompress {
        Some(codec) => Some(recompressed(records, codec, bytes_max)?),
        None => None,
    };
    let append_time_ms = if append_time { now_ms } else { NO_TIMESTAMP };
    if append_time || marked || rebuilt.is_some() {
        seal(rebuilt.as_deref_mut().unwrap_or(records), append_time.then_some(now_ms));
    }
    Ok(Prepared { rebuilt, append_time_ms })
}

fn check_timestamps(records: &[u8], earliest: i64, latest: i64, bytes_max: usize) -> Result<(), Refusal> {
    let mut bytes = Bytes::copy_from_slice(records);
    let batch = next_batch(&mut bytes).map_err(|err| unreadable(&err))?;
    let mut record_errors = Vec::new();
    let records = batch.map(|batch| batch.records(bytes_max)).transpose().map_err(|err| unreadable(&err))?;
    for (index, record) in (0..).zip(records.into_iter().flatten()) {
        let timestamp = record.map_err(|err| unreadable(&err))?.timestamp;
        if timestamp != NO_TIMESTAMP && !(earliest..=latest).contains(&timestamp) {
            let message = format!("timestamp {timestamp} is not within {earliest} to {latest}");
            record_errors.push(RecordError { index, message });
            if record_errors.len() == RECORD_ERRORS_MAX {
                break;
            }
        }
    }
    match record_errors.is_empty() {
        true => Ok(()),
        false => Err(Refusal {
            code: ErrorCode::InvalidTimestamp,
            reason: "one or more records have an invalid timestamp".into(),
            record_errors,
        }),
    }
}

fn unreadable(err: &BatchError) -> Refusal {
    let code = match err {
        BatchError::Compression { source: CompressionError::TooLarge { .. }, .. } => {
            ErrorCode::MessageTooLarge
        }
        _ => ErrorCode::InvalidRecord,
    };
    Refusal { code, reason: err.to_string(), record_errors: Vec::new() }
}

/// The batch with its records under another codec; the header's checksum is not set.
fn recompressed(batch: &[u8], codec: Compression, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let refuse = |err: CompressionError| {
        let code = match err {
            CompressionError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            _ => ErrorCode::InvalidRecord,
        };
        Refusal { code, reason: err.to_string(), record_errors: Vec::new() }
    };
    let attributes = attributes(batch);
    let body = &batch[HEADER_BYTES..];
    let plain;
    let body = match Compression::from_code(attributes & COMPRESSION) {
        None | Some(Compression::None) => body,
        Some(from) => {
            plain = compression::decompress(from, body, bytes_max).map_err(refuse)?;
            &plain[..]
        }
    };
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len() / 2);
    out.extend_from_slice(&batch[..HEADER_BYTES]);
    match codec {
        Compression::None => out.extend_from_slice(body),
        codec => compression::compress(codec, body, &mut out).map_err(refuse)?,
    }
    let length = i32::try_from(out.len() - LENGTH_PREFIX_BYTES).unwrap_or(i32::MAX);
    out[8..12].copy_from_slice(&length.to_be_bytes());
    let attributes = attributes & !COMPRESSION | codec.code();
    out[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    Ok(out)
}

fn attributes(batch: &[u8]) -> i16 {
    i16::from_be_bytes([batch[ATTRIBUTES_AT], batch[ATTRIBUTES_AT + 1]])
}

/// Says whose timestamps the batch carries, and sets its checksum.
fn seal(batch: &mut [u8], append_time_ms: Option<i64>) {
    let mut attributes = attributes(batch) & !LOG_APPEND_TIME;
    if let Some(now_ms) = append_time_ms {
        attributes |= LOG_APPEND_TIME;
        batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&now_ms.to_be_bytes());
    }
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use ringmain_client::wire::batch::BatchBuilder;
    use ringmain_client::wire::batch::BatchRecord;

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
}
