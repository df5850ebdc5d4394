//! Record batches (magic 2, uncompressed), encoded once and reused with a new sequence number.
//!
//! The key of every record is 16 bytes: the number of the sending connection, the record's place
//! in its batch, and, in the first record, the batch's number in its stream. So only the first few
//! bytes of a batch change from one request to the next, and its checksum, being linear, follows
//! from the checksum of those bytes alone.

use crate::wire::push_varint;

/// Bytes of a batch before its first record.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes of the key of each record: the smallest a record can be.
pub(crate) const KEY_BYTES: usize = 16;
/// The checksum covers everything from here on.
pub(crate) const CRC_COVERS_FROM: usize = 21;
pub(crate) const CRC_AT: usize = 17;
/// Bytes of a record beside key and value, at most.
const RECORD_OVERHEAD_BYTES_MAX: usize = 24;

/// What a run's batches look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchShape {
    /// Records in each batch.
    pub(crate) records: u32,
    /// Key and value of each record, in bytes.
    pub(crate) record_bytes: usize,
}

impl BatchShape {
    /// As many records as fit into `batch_bytes`, and at least one.
    pub(crate) fn fitting(record_bytes: usize, batch_bytes: usize) -> Self {
        assert!(record_bytes >= KEY_BYTES, "the command line has checked this");
        let mut encoded_bytes = HEADER_BYTES;
        let mut records = 0_u32;
        loop {
            encoded_bytes += record_len(record_bytes, records);
            if records > 0 && encoded_bytes > batch_bytes {
                break;
            }
            records += 1;
            if encoded_bytes >= batch_bytes {
                break;
            }
        }
        Self { records, record_bytes }
    }
}

pub(crate) fn varint_len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

fn record_body_len(record_bytes: usize, index: u32) -> usize {
    let value_len = record_bytes - KEY_BYTES;
    // Attributes and timestamp delta, offset delta, key, value, count of headers.
    2 + varint_len(i64::from(index))
        + varint_len(KEY_BYTES as i64)
        + KEY_BYTES
        + varint_len(value_len as i64)
        + value_len
        + 1
}

fn record_len(record_bytes: usize, index: u32) -> usize {
    let body = record_body_len(record_bytes, index);
    varint_len(body as i64) + body
}

/// One encoded batch whose number can be changed in place.
#[derive(Debug, Clone)]
pub(crate) struct BatchTemplate {
    bytes: Vec<u8>,
    editor: BatchEditor,
}

impl BatchTemplate {
    /// Encodes the batch of one connection; the same seed gives the same bytes.
    pub(crate) fn new(shape: BatchShape, stream: u32, timestamp_ms: i64, seed: u64) -> Self {
        let capacity =
            HEADER_BYTES + shape.records as usize * (shape.record_bytes + RECORD_OVERHEAD_BYTES_MAX);
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(&0_i64.to_be_bytes()); // base offset: the broker's
        bytes.extend_from_slice(&0_i32.to_be_bytes()); // length, below
        bytes.extend_from_slice(&(-1_i32).to_be_bytes()); // partition leader epoch: the broker's
        bytes.push(2); // magic
        bytes.extend_from_slice(&0_u32.to_be_bytes()); // CRC, in `set_number`
        bytes.extend_from_slice(&0_i16.to_be_bytes()); // attributes
        bytes.extend_from_slice(&(shape.records as i32 - 1).to_be_bytes()); // last offset delta
        bytes.extend_from_slice(&timestamp_ms.to_be_bytes()); // base timestamp
        bytes.extend_from_slice(&timestamp_ms.to_be_bytes()); // max timestamp
        bytes.extend_from_slice(&(-1_i64).to_be_bytes()); // producer id: none
        bytes.extend_from_slice(&(-1_i16).to_be_bytes()); // producer epoch
        bytes.extend_from_slice(&(-1_i32).to_be_bytes()); // base sequence
        bytes.extend_from_slice(&(shape.records as i32).to_be_bytes());
        assert_eq!(bytes.len(), HEADER_BYTES);

        let value_len = shape.record_bytes - KEY_BYTES;
        let mut noise = Noise::new(seed ^ (u64::from(stream) << 32));
        let mut first_key_at = 0;
        for index in 0..shape.records {
            push_varint(&mut bytes, record_body_len(shape.record_bytes, index) as i64);
            bytes.push(0); // attributes
            push_varint(&mut bytes, 0); // timestamp delta
            push_varint(&mut bytes, i64::from(index)); // offset delta
            push_varint(&mut bytes, KEY_BYTES as i64);
            if index == 0 {
                first_key_at = bytes.len();
            }
            bytes.extend_from_slice(&RecordKey { stream, index, batch: 0 }.encode());
            push_varint(&mut bytes, value_len as i64);
            noise.fill(&mut bytes, value_len);
            push_varint(&mut bytes, 0); // headers
        }
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());

        let editor = BatchEditor { seal: Seal::new(&bytes, first_key_at + KEY_BYTES), first_key_at };
        let mut template = Self { bytes, editor };
        template.set_number(0);
        template
    }

    /// The whole batch.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes this the batch with that number, and its checksum right again.
    pub(crate) fn set_number(&mut self, number: u64) {
        self.editor.set_number(&mut self.bytes, number);
    }

    /// Sets the base offset, which lies outside the checksum.
    pub(crate) fn set_base_offset(&mut self, offset: i64) {
        self.bytes[..8].copy_from_slice(&offset.to_be_bytes());
    }

    /// What is needed to renumber a copy of the batch inside a request frame.
    pub(crate) fn editor(&self) -> BatchEditor {
        self.editor.clone()
    }
}

/// Renumbers a batch in place.
#[derive(Debug, Clone)]
pub(crate) struct BatchEditor {
    first_key_at: usize,
    seal: Seal,
}

impl BatchEditor {
    /// `batch` is the template's batch, or a copy of it.
    pub(crate) fn set_number(&self, batch: &mut [u8], number: u64) {
        let number_at = self.first_key_at + 8;
        batch[number_at..number_at + 8].copy_from_slice(&number.to_be_bytes());
        self.seal.renew(batch);
    }
}

/// Makes the checksum of a batch right again after a change near its beginning, without reading the rest.
#[derive(Debug, Clone)]
pub(crate) struct Seal {
    /// Nothing changes from here on.
    constant_from: usize,
    constant_crc: u32,
    /// What each bit of the changing part's checksum becomes behind the constant part.
    shift: [u32; 32],
}

impl Seal {
    /// Of a batch that will change before `constant_from` only.
    pub(crate) fn new(batch: &[u8], constant_from: usize) -> Self {
        let constant = &batch[constant_from..];
        let constant_crc = crc32c::crc32c(constant);
        let shift = std::array::from_fn(|bit| crc32c::crc32c_combine(1 << bit, 0, constant.len()));
        Self { constant_from, constant_crc, shift }
    }

    /// Writes the checksum.
    pub(crate) fn renew(&self, batch: &mut [u8]) {
        let prefix_crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..self.constant_from]);
        let crc = self.shifted(prefix_crc) ^ self.constant_crc;
        batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    }

    fn shifted(&self, crc: u32) -> u32 {
        let mut out = 0;
        for (bit, image) in self.shift.iter().enumerate() {
            if crc & (1 << bit) != 0 {
                out ^= image;
            }
        }
        out
    }
}

/// The key of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordKey {
    /// The connection that sent it.
    pub(crate) stream: u32,
    /// Its place in the batch.
    pub(crate) index: u32,
    /// The number of its batch among those of its stream in its partition; in the first record only.
    pub(crate) batch: u64,
}

impl RecordKey {
    fn encode(self) -> [u8; KEY_BYTES] {
        let mut out = [0; KEY_BYTES];
        out[..4].copy_from_slice(&self.stream.to_be_bytes());
        out[4..8].copy_from_slice(&self.index.to_be_bytes());
        out[8..].copy_from_slice(&self.batch.to_be_bytes());
        out
    }

    /// Reads the key of a record; `None` if it is not one of ours.
    pub(crate) fn decode(key: &[u8]) -> Option<Self> {
        let key: &[u8; KEY_BYTES] = key.try_into().ok()?;
        let (stream, rest) = key.split_first_chunk::<4>()?;
        let (index, rest) = rest.split_first_chunk::<4>()?;
        let (batch, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            stream: u32::from_be_bytes(*stream),
            index: u32::from_be_bytes(*index),
            batch: u64::from_be_bytes(*batch),
        })
    }
}

/// A seeded stream of bytes that do not compress (splitmix64).
pub(crate) struct Noise {
    state: u64,
}

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn fill(&mut self, bytes: &mut Vec<u8>, len: usize) {
        let end = bytes.len() + len;
        while bytes.len() + 8 <= end {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        let tail = end - bytes.len();
        bytes.extend_from_slice(&self.next().to_le_bytes()[..tail]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proto_kafka::records::RecordBatchDecoder;

    fn decode(batch: &[u8]) -> Vec<proto_kafka::records::Record> {
        let mut bytes = Bytes::copy_from_slice(batch);
        RecordBatchDecoder::decode(&mut bytes).unwrap().records
    }

    #[test]
    fn another_codec_reads_every_record() {
        let shape = BatchShape::fitting(100, 16 << 10);
        let mut template = BatchTemplate::new(shape, 7, 1_700_000_000_000, 42);
        template.set_number(123_456);
        let records = decode(template.bytes());
        assert_eq!(records.len(), shape.records as usize);
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.offset, index as i64);
            assert_eq!(record.timestamp, 1_700_000_000_000);
            assert_eq!(record.producer_id, -1);
            let key = RecordKey::decode(record.key.as_ref().unwrap()).unwrap();
            assert_eq!((key.stream, key.index), (7, index as u32));
            assert_eq!(key.batch, if index == 0 { 123_456 } else { 0 });
            assert_eq!(record.value.as_ref().unwrap().len(), 100 - KEY_BYTES);
        }
    }

    #[test]
    fn the_shifted_checksum_equals_the_plain_one() {
        for record_bytes in [16, 17, 100, 1024, 70_000] {
            let shape = BatchShape::fitting(record_bytes, 64 << 10);
            let mut template = BatchTemplate::new(shape, 3, 1, record_bytes as u64);
            for number in [0, 1, 255, 1 << 33, u64::MAX] {
                template.set_number(number);
                let bytes = template.bytes();
                let stored = u32::from_be_bytes(bytes[CRC_AT..CRC_AT + 4].try_into().unwrap());
                assert_eq!(stored, crc32c::crc32c(&bytes[CRC_COVERS_FROM..]));
            }
        }
    }

    #[test]
    fn a_batch_fills_its_size_and_no_more() {
        for record_bytes in [16, 100, 1024, 5000] {
            for batch_bytes in [512, 16 << 10, 1 << 20] {
                let shape = BatchShape::fitting(record_bytes, batch_bytes);
                let len = BatchTemplate::new(shape, 0, 0, 0).bytes().len();
                assert!(len <= batch_bytes || shape.records == 1, "{record_bytes} {batch_bytes}");
                let more = BatchShape { records: shape.records + 1, ..shape };
                assert!(BatchTemplate::new(more, 0, 0, 0).bytes().len() > batch_bytes);
            }
        }
    }

    #[test]
    fn the_seed_decides_the_payload() {
        let shape = BatchShape::fitting(1024, 4096);
        let make = |seed| BatchTemplate::new(shape, 0, 0, seed).bytes().to_vec();
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }
}
