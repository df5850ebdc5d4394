//! What is sent: batches that are encoded once, and stamped in place for each request.
//!
//! The value of each record begins with a stamp (big-endian): the number of the sending connection (u32), the
//! record's place in its batch (u32), then, in the first record only, the number of the batch among those of
//! its connection in its partition (u64), and when its request was due (u64, nanoseconds of the run's own
//! clock). Only the header and the first record change from request to request, so the checksum need not be
//! computed over the rest ([`Seal`]). Compressed batches are stamped, and then compressed for each request.

use std::time::Duration;

use ringmain_client::wire::compression::{Compression, compress, decompress};

use crate::admin::PRODUCE;
use crate::batch::{CRC_AT, CRC_COVERS_FROM, HEADER_BYTES, Noise, Seal, varint_len};
use crate::fetch_frame::FetchedBatch;
use crate::wire::{CORRELATION_AT, Malformed, Reader, Writer, push_varint};
use crate::workload::{BATCH_BYTES_MAX, Codec, Producers};

/// Bytes of a stamp.
pub(crate) const STAMP_BYTES: usize = 24;
/// Bytes of a key, where records have one: its number.
pub(crate) const KEY_BYTES: usize = 8;
/// Where the attributes of a batch stand, and its first timestamp.
const ATTRIBUTES_AT: usize = 21;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
/// A batch of our own never decompresses to more.
const DECOMPRESSED_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX as usize;

/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The connection that sent it.
    pub(crate) stream: u32,
    /// Its place in its batch.
    pub(crate) index: u32,
    /// The number of its batch, in the first record.
    pub(crate) number: u64,
    /// When its request was due, in the first record.
    pub(crate) due: Duration,
}

impl Stamp {
    fn encode(self) -> [u8; STAMP_BYTES] {
        let mut out = [0; STAMP_BYTES];
        out[..4].copy_from_slice(&self.stream.to_be_bytes());
        out[4..8].copy_from_slice(&self.index.to_be_bytes());
        out[8..16].copy_from_slice(&self.number.to_be_bytes());
        out[16..].copy_from_slice(&(self.due.as_nanos() as u64).to_be_bytes());
        out
    }

    /// Reads the stamp at the start of a value.
    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(value);
        let stream = reader.i32("a record's stamp")? as u32;
        let index = reader.i32("a record's stamp")? as u32;
        let number = reader.i64("a record's stamp")? as u64;
        let due_ns = reader.i64("a record's stamp")? as u64;
        Ok(Self { stream, index, number, due: Duration::from_nanos(due_ns) })
    }
}

/// What all batches of a run have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload {
    /// Records in each batch.
    pub(crate) records: u32,
    record_bytes: usize,
    repeated: f64,
    compression: Compression,
}

impl Payload {
    /// As the workload has it.
    pub(crate) fn of(producers: &Producers) -> Self {
        Self {
            records: producers.batch_records,
            record_bytes: producers.record_bytes.0 as usize,
            repeated: producers.repeated,
            compression: match producers.compression {
                Codec::None => Compression::None,
                Codec::Gzip => Compression::Gzip,
                Codec::Snappy => Compression::Snappy,
                Codec::Lz4 => Compression::Lz4,
                Codec::Zstd => Compression::Zstd,
            },
        }
    }

    /// Encodes a batch of one connection, with a key for each record or without.
    fn batch(&self, stream: u32, keys: &[u64], noise: &mut Noise) -> (Vec<u8>, usize) {
        let key_bytes = if keys.is_empty() { 0 } else { KEY_BYTES };
        let value_bytes = self.record_bytes - key_bytes;
        let repeated_bytes = ((value_bytes - STAMP_BYTES) as f64 * self.repeated) as usize;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.records as usize * (self.record_bytes + 24));
        bytes.extend_from_slice(&[0; 8]); // base offset: the broker's
        bytes.extend_from_slice(&[0; 4]); // length, below
        bytes.extend_from_slice(&(-1_i32).to_be_bytes()); // leader epoch: the broker's
        bytes.push(2); // magic
        bytes.extend_from_slice(&[0; 4]); // CRC
        bytes.extend_from_slice(&self.compression.code().to_be_bytes());
        bytes.extend_from_slice(&(self.records as i32 - 1).to_be_bytes());
        bytes.extend_from_slice(&[0; 16]); // timestamps
        bytes.extend_from_slice(&(-1_i64).to_be_bytes()); // producer id: none
        bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        bytes.extend_from_slice(&(self.records as i32).to_be_bytes());
        let mut stamp_at = 0;
        for index in 0..self.records {
            let key_len = if keys.is_empty() { -1 } else { KEY_BYTES as i64 };
            let body = 2
                + varint_len(i64::from(index))
                + varint_len(key_len)
                + key_bytes
                + varint_len(value_bytes as i64)
                + value_bytes
                + 1;
            push_varint(&mut bytes, body as i64);
            bytes.push(0); // attributes
            push_varint(&mut bytes, 0); // timestamp delta
            push_varint(&mut bytes, i64::from(index));
            push_varint(&mut bytes, key_len);
            if let Some(key) = keys.get(index as usize) {
                bytes.extend_from_slice(&key.to_be_bytes());
            }
            push_varint(&mut bytes, value_bytes as i64);
            if index == 0 {
                stamp_at = bytes.len();
            }
            bytes.extend_from_slice(&Stamp { stream, index, number: 0, due: Duration::ZERO }.encode());
            noise.fill(&mut bytes, value_bytes - STAMP_BYTES - repeated_bytes);
            bytes.resize(bytes.len() + repeated_bytes, b'r');
            push_varint(&mut bytes, 0); // headers
        }
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        (bytes, stamp_at)
    }
}

/// What a Produce request is addressed to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address<'a> {
    /// Topic; all topics of a run have names of one length.
    pub(crate) topic: &'a str,
    /// Index in the topic.
    pub(crate) partition: i32,
}

/// How produce requests are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestKind {
    /// Version of the API.
    pub(crate) version: i16,
    /// In the request.
    pub(crate) acks: i16,
    /// In the request.
    pub(crate) timeout_ms: i32,
}

/// A Produce request with one batch, encoded once.
#[derive(Debug)]
pub(crate) struct RequestTemplate {
    bytes: Vec<u8>,
    topic_at: usize,
    partition_at: usize,
    batch_at: usize,
    stamp_at: usize,
    seal: Seal,
    compression: Compression,
    /// The request with the compressed batch.
    compressed: Vec<u8>,
}

impl RequestTemplate {
    /// Encodes the request of one connection. Without `keys`, records have none.
    pub(crate) fn new(
        kind: RequestKind,
        payload: &Payload,
        topic: &str,
        stream: u32,
        keys: &[u64],
        noise: &mut Noise,
    ) -> Self {
        let (batch, stamp_at) = payload.batch(stream, keys, noise);
        let mut request = Writer::request(PRODUCE.key, kind.version, 0);
        request.null_string().i16(kind.acks).i32(kind.timeout_ms).i32(1);
        let topic_at = request.len() + 2;
        request.string(topic).i32(1);
        let partition_at = request.len();
        request.i32(0).i32(batch.len() as i32);
        let batch_at = request.len();
        request.raw(&batch);
        let seal = Seal::new(&batch, stamp_at + STAMP_BYTES);
        let compression = payload.compression;
        let bytes = request.finish();
        Self { bytes, topic_at, partition_at, batch_at, stamp_at, seal, compression, compressed: Vec::new() }
    }

    /// Makes this the request for that batch. Returns it, and how many bytes of it are the batch.
    pub(crate) fn prepare(
        &mut self,
        correlation_id: i32,
        to: Address<'_>,
        number: u64,
        due: Duration,
        timestamp_ms: i64,
    ) -> (&[u8], usize) {
        self.bytes[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        self.bytes[self.topic_at..self.topic_at + to.topic.len()].copy_from_slice(to.topic.as_bytes());
        self.bytes[self.partition_at..self.partition_at + 4].copy_from_slice(&to.partition.to_be_bytes());
        let batch = &mut self.bytes[self.batch_at..];
        let timestamp = timestamp_ms.to_be_bytes();
        batch[BASE_TIMESTAMP_AT..BASE_TIMESTAMP_AT + 8].copy_from_slice(&timestamp);
        batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&timestamp);
        let number_at = self.stamp_at + 8;
        batch[number_at..number_at + 8].copy_from_slice(&number.to_be_bytes());
        batch[number_at + 8..number_at + 16].copy_from_slice(&(due.as_nanos() as u64).to_be_bytes());
        if self.compression == Compression::None {
            self.seal.renew(batch);
            return (&self.bytes, self.bytes.len() - self.batch_at);
        }
        self.compress();
        (&self.compressed, self.compressed.len() - self.batch_at)
    }

    fn compress(&mut self) {
        let records_at = self.batch_at + HEADER_BYTES;
        let out = &mut self.compressed;
        out.clear();
        out.extend_from_slice(&self.bytes[..records_at]);
        // Writing to memory: a codec that fails is a bug, and the broker would refuse the batch.
        let done = compress(self.compression, &self.bytes[records_at..], out);
        assert!(done.is_ok(), "compressing to memory does not fail");
        let batch_len = out.len() - self.batch_at;
        let (frame_len, batch_at) = (out.len() - 4, self.batch_at);
        out[..4].copy_from_slice(&(frame_len as i32).to_be_bytes());
        out[batch_at - 4..batch_at].copy_from_slice(&(batch_len as i32).to_be_bytes());
        let batch = &mut out[batch_at..];
        batch[8..12].copy_from_slice(&(batch_len as i32 - 12).to_be_bytes());
        let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
        batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    }
}

/// The records of a batch, decompressed if need be into `buffer`.
fn records<'a>(batch: FetchedBatch<'a>, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let body = &batch.bytes[HEADER_BYTES..];
    let attributes = i16::from_be_bytes([batch.bytes[ATTRIBUTES_AT], batch.bytes[ATTRIBUTES_AT + 1]]);
    let compression = Compression::from_code(attributes & 7).ok_or(Malformed { field: "the codec" })?;
    if compression == Compression::None {
        return Ok(body);
    }
    *buffer = decompress(compression, body, DECOMPRESSED_BYTES_MAX)
        .map_err(|_| Malformed { field: "the compressed records" })?;
    Ok(buffer)
}

/// The stamp of the first record of a batch.
pub(crate) fn first_stamp(batch: FetchedBatch<'_>, buffer: &mut Vec<u8>) -> Result<Stamp, Malformed> {
    next_stamp(&mut Reader::new(records(batch, buffer)?)).map(|(_, stamp)| stamp)
}

/// Looks at every record of a batch; returns the first stamp.
pub(crate) fn check_records(batch: FetchedBatch<'_>, buffer: &mut Vec<u8>) -> Result<Stamp, Malformed> {
    let mut reader = Reader::new(records(batch, buffer)?);
    let mut first: Option<Stamp> = None;
    for place in 0..batch.records {
        let (delta, stamp) = next_stamp(&mut reader)?;
        let first = first.get_or_insert(stamp);
        if delta != i64::from(place) || stamp.index != place as u32 || stamp.stream != first.stream {
            return Err(Malformed { field: "the order of the records" });
        }
    }
    if !reader.is_empty() {
        return Err(Malformed { field: "the end of the batch" });
    }
    first.ok_or(Malformed { field: "the number of records" })
}

fn next_stamp(reader: &mut Reader<'_>) -> Result<(i64, Stamp), Malformed> {
    let field = "a record";
    let length = usize::try_from(reader.varint(field)?).map_err(|_| Malformed { field })?;
    let mut record = Reader::new(reader.take(length, field)?);
    record.i8(field)?;
    record.varint(field)?;
    let delta = record.varint(field)?;
    let key_len = record.varint(field)?.max(0) as usize;
    record.take(key_len, field)?;
    let value_len = usize::try_from(record.varint(field)?).map_err(|_| Malformed { field })?;
    Ok((delta, Stamp::decode(record.take(value_len, field)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch_frame::whole_batches;
    use bytes::Bytes;
    use proto_kafka::messages::{ProduceRequest, RequestHeader};
    use proto_kafka::protocol::Decodable;
    use proto_kafka::records::RecordBatchDecoder;

    fn request(codec: Codec, keys: &[u64]) -> RequestTemplate {
        let producers =
            Producers { batch_records: 3, compression: codec, repeated: 0.5, ..Producers::default() };
        let kind = RequestKind { version: 7, acks: -1, timeout_ms: 1000 };
        RequestTemplate::new(kind, &Payload::of(&producers), "topic-0", 9, keys, &mut Noise::new(1))
    }

    #[test]
    fn another_codec_reads_requests_and_records() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            for keys in [&[][..], &[5, 6, 7]] {
                let mut template = request(codec, keys);
                for number in [0, 77] {
                    let due = Duration::from_nanos(1_234_567);
                    let to = Address { topic: "topic-3", partition: 4 };
                    let (frame, batch_bytes) = template.prepare(8, to, number, due, 1_700_000_000_000);
                    let mut rest = Bytes::copy_from_slice(&frame[4..]);
                    assert_eq!(frame[..4], (rest.len() as u32).to_be_bytes());
                    RequestHeader::decode(&mut rest, 1).unwrap();
                    let decoded = ProduceRequest::decode(&mut rest, 7).unwrap();
                    let topic = &decoded.topic_data[0];
                    assert_eq!((&*topic.name.0, topic.partition_data[0].index), ("topic-3", 4));
                    let mut batch = topic.partition_data[0].records.clone().unwrap();
                    assert_eq!(batch.len(), batch_bytes);
                    let whole = batch.clone();
                    let fetched = whole_batches(&whole).next().unwrap().unwrap();
                    let stamp = check_records(fetched, &mut Vec::new()).unwrap();
                    assert_eq!(stamp, Stamp { stream: 9, index: 0, number, due });
                    assert_eq!(first_stamp(fetched, &mut Vec::new()).unwrap(), stamp);
                    // Checks the checksum, too.
                    let records = RecordBatchDecoder::decode(&mut batch).unwrap().records;
                    assert_eq!(records.len(), 3);
                    assert_eq!(records[2].timestamp, 1_700_000_000_000);
                    let key = records[2].key.as_ref().map(|key| key[7]);
                    assert_eq!(key, keys.get(2).map(|key| *key as u8));
                    let len = records[2].value.as_ref().unwrap().len() + key.map_or(0, |_| KEY_BYTES);
                    assert_eq!(len, 1024);
                }
            }
        }
    }
}
