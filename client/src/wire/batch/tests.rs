//! What is written is read back, by this module and by the codec crate, and damage is refused.

use bytes::{BufMut, Bytes, BytesMut};
use proto_kafka::records::{
    Compression as TheirCompression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

use super::*;

const ALL: [(Compression, TheirCompression); 5] = [
    (Compression::None, TheirCompression::None),
    (Compression::Gzip, TheirCompression::Gzip),
    (Compression::Snappy, TheirCompression::Snappy),
    (Compression::Lz4, TheirCompression::Lz4),
    (Compression::Zstd, TheirCompression::Zstd),
];
const LIMIT: usize = 1 << 20;

fn sample() -> Vec<BatchRecord> {
    let header = |key: &'static str, value: Option<&'static str>| Header {
        key: Bytes::from(key),
        value: value.map(Bytes::from),
    };
    let record = |offset: i64, timestamp, key: Option<&'static str>, value: Option<Vec<u8>>, headers| {
        BatchRecord { offset, timestamp, key: key.map(Bytes::from), value: value.map(Bytes::from), headers }
    };
    vec![
        record(0, 1_700_000_000_000, Some("k"), Some(b"v".to_vec()), vec![]),
        record(1, 1_600_000_000_000, None, Some(vec![7; 100_000]), vec![]),
        record(2, 1_800_000_000_000, Some(""), None, vec![header("a", Some("1")), header("a", None)]),
        record(3, 1_700_000_000_000, None, Some(vec![]), vec![]),
    ]
}

fn build(records: &[BatchRecord], compression: Compression, stamp: Option<ProducerStamp>) -> Bytes {
    let mut builder = BatchBuilder::new();
    for record in records {
        let bound = builder.bytes()
            + record_bytes_max(record.key.as_deref(), record.value.as_deref(), &record.headers);
        builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &record.headers);
        assert!(builder.bytes() <= bound);
    }
    builder.finish(compression, stamp).unwrap()
}

fn read(mut bytes: Bytes) -> Vec<BatchRecord> {
    let batch = next_batch(&mut bytes).unwrap().unwrap();
    assert!(bytes.is_empty());
    batch.records(LIMIT).unwrap().map(Result::unwrap).collect()
}

/// A batch with some bytes changed and the checksum made right again.
fn patched(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut batch = BytesMut::from(&batch[..]);
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let checksum = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch.freeze()
}

#[test]
fn every_compression_round_trips() {
    for (compression, _) in ALL {
        assert_eq!(read(build(&sample(), compression, None)), sample(), "{compression}");
    }
}

#[test]
fn the_codec_crate_reads_what_is_written() {
    let stamp = ProducerStamp { producer_id: 77, producer_epoch: 3, base_sequence: 1000 };
    for (compression, theirs) in ALL {
        let mut bytes = build(&sample(), compression, Some(stamp));
        let set = RecordBatchDecoder::decode(&mut bytes).unwrap();
        assert_eq!(set.compression, theirs);
        assert_eq!(set.records.len(), sample().len());
        for (index, (their, ours)) in set.records.iter().zip(sample()).enumerate() {
            assert_eq!(their.offset, ours.offset);
            assert_eq!(their.timestamp, ours.timestamp);
            assert_eq!(their.key, ours.key);
            assert_eq!(their.value, ours.value);
            assert_eq!(their.headers.len(), ours.headers.len());
            assert_eq!(their.producer_id, 77);
            assert_eq!(their.producer_epoch, 3);
            assert_eq!(their.sequence, 1000 + index as i32);
        }
    }
}

#[test]
fn what_the_codec_crate_writes_is_read() {
    let theirs: Vec<TheirRecord> = sample()
        .into_iter()
        .map(|record| TheirRecord {
            transactional: false,
            control: false,
            delete_horizon_ms: None,
            partition_leader_epoch: 4,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: record.offset + 50,
            sequence: -1,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record
                .headers
                .into_iter()
                .map(|header| (header.key.try_into().unwrap(), header.value))
                .collect(),
        })
        .collect();
    for (compression, their_compression) in ALL {
        let options = RecordEncodeOptions { version: 2, compression: their_compression };
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode(&mut bytes, &theirs, &options).unwrap();
        let mut bytes = bytes.freeze();
        let batch = next_batch(&mut bytes).unwrap().unwrap();
        assert_eq!(batch.header.base_offset, 50);
        assert_eq!(batch.header.last_offset, 53);
        assert_eq!(batch.header.leader_epoch, 4);
        let mut expected = sample();
        expected.iter_mut().for_each(|record| record.offset += 50);
        let records: Vec<_> = batch.records(LIMIT).unwrap().map(Result::unwrap).collect();
        assert_eq!(records, expected, "{compression}");
    }
}

#[test]
fn a_batch_cut_short_waits_for_its_rest() {
    let whole = build(&sample(), Compression::None, None);
    for length in [0, 5, 12, 17, 60, 61, whole.len() - 1] {
        assert!(next_batch(&mut whole.slice(..length)).unwrap().is_none(), "{length}");
    }
    let mut two = BytesMut::from(&whole[..]);
    two.put_slice(&whole[..40]);
    let mut two = two.freeze();
    assert!(next_batch(&mut two).unwrap().is_some());
    assert!(next_batch(&mut two).unwrap().is_none());
}

#[test]
fn damage_is_found() {
    let batch = build(&sample(), Compression::None, None);
    for at in [HEADER_BYTES + 1, 30, batch.len() - 1] {
        let mut damaged = BytesMut::from(&batch[..]);
        damaged[at] ^= 1;
        assert!(matches!(next_batch(&mut damaged.freeze()), Err(BatchError::Checksum { base_offset: 0 })));
    }
    let old = patched(&batch, MAGIC_AT, &[1]);
    assert!(matches!(next_batch(&mut old.clone()), Err(BatchError::Magic { magic: 1, .. })));
    let short = patched(&batch, 8, &20_i32.to_be_bytes());
    assert!(matches!(next_batch(&mut short.clone()), Err(BatchError::Length { length: 20, .. })));
    let unknown = patched(&batch, 22, &[6]);
    assert!(matches!(next_batch(&mut unknown.clone()), Err(BatchError::Field { .. })));
}

#[test]
fn a_count_beyond_the_bytes_is_refused_before_anything_is_allocated() {
    let batch = build(&sample(), Compression::None, None);
    let mut many = patched(&batch, 57, &i32::MAX.to_be_bytes());
    let result = next_batch(&mut many).unwrap().unwrap().records(LIMIT);
    assert!(matches!(result, Err(BatchError::Record { .. })));
}

#[test]
fn malformed_records_are_errors_and_end_the_iteration() {
    let batch = build(&sample()[..1], Compression::None, None);
    for at in HEADER_BYTES..batch.len() {
        for byte in [0x00, 0x7f, 0x80, 0xff] {
            let mut damaged = patched(&batch, at, &[byte]);
            let Ok(records) = next_batch(&mut damaged).unwrap().unwrap().records(LIMIT) else {
                continue;
            };
            // Whatever comes out, it comes to an end and nothing panics.
            assert!(records.count() <= 1);
        }
    }
}

#[test]
fn attributes_are_told() {
    let batch = build(&sample(), Compression::None, None);
    let header = |bytes: &Bytes| next_batch(&mut bytes.clone()).unwrap().unwrap().header;
    assert!(!header(&batch).control && header(&batch).append_time.is_none());
    assert!(header(&patched(&batch, 22, &[0x30])).control);
    assert!(header(&patched(&batch, 22, &[0x30])).transactional);
    let appended = patched(&batch, 22, &[0x08]);
    assert_eq!(header(&appended).append_time, Some(1_800_000_000_000));
    assert!(read(appended).iter().all(|record| record.timestamp == 1_800_000_000_000));
}
